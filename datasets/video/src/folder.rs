//! Labelled clips in folders.

use crate::{Clip, frames::natural_order, read};
use menagerie_core::{Error, Result};
use std::path::{Path, PathBuf};

/// Clips below a folder with one sub-folder per class. A clip is a folder of frames, a `.gif` or a
/// `.y4m` file; it is read when it is asked for, since a set of films does not fit into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipFolder {
    paths: Vec<PathBuf>,
    labels: Vec<usize>,
    class_names: Vec<String>,
}

impl ClipFolder {
    /// Lists the clips below `dir`. Classes and clips are ordered by name, numbers by value; hidden
    /// files and files of other kinds are ignored.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that cannot be read, [`Error::Format`] where there is no clip.
    pub fn open(dir: &Path) -> Result<Self> {
        let mut set = Self {
            paths: Vec::new(),
            labels: Vec::new(),
            class_names: Vec::new(),
        };
        for (name, path) in entries(dir)? {
            if !path.is_dir() {
                continue;
            }
            let clips: Vec<PathBuf> = entries(&path)?
                .into_iter()
                .map(|(_, path)| path)
                .filter(|path| is_clip(path))
                .collect();
            if clips.is_empty() {
                continue;
            }
            let label = set.class_names.len();
            set.labels.extend(std::iter::repeat_n(label, clips.len()));
            set.paths.extend(clips);
            set.class_names.push(name);
        }
        if set.paths.is_empty() {
            let problem = "holds no clip: expected a folder per class, with a folder of frames, a \
                           .gif or a .y4m file for each clip";
            return Err(Error::format(dir, problem));
        }
        Ok(set)
    }

    /// The number of clips.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there is no clip; never, as [`open`](Self::open) refuses that.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The class of every clip.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The name of every class.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Reads the clip `index` in colour.
    ///
    /// # Errors
    /// [`Error::Input`] for an index that is not below [`len`](Self::len), else as [`read()`](read()).
    pub fn read(&self, index: usize) -> Result<Clip> {
        let path = self.paths.get(index).ok_or_else(|| {
            Error::input(
                "a clip index",
                index,
                format!("must be below {}", self.len()),
            )
        })?;
        read(path)
    }
}

/// What is in a folder, in natural order of the names.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((name, entry.path()));
        }
    }
    found.sort_by(|(a, _), (b, _)| natural_order(a, b));
    Ok(found)
}

fn is_clip(path: &Path) -> bool {
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    path.is_dir() || matches!(extension.as_str(), "gif" | "y4m")
}
