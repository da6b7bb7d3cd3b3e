//! Where things lie.

use crate::{
    fault::{Fault, Result},
    manifest::Manifest,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The folders that hold packages, besides the packages `examples` and `xtask` at the top.
const PACKAGE_FOLDERS: &[&str] = &["crates", "datasets", "models"];

/// The checkout that the commands work on.
pub struct Workspace {
    root: PathBuf,
}

/// A package of the workspace.
pub struct Package {
    /// Its name in the manifest.
    pub name: String,
    /// Its folder, relative to the workspace, e.g. `crates/core`.
    pub dir: String,
    /// Its manifest.
    pub manifest: Manifest,
}

impl Workspace {
    /// The workspace that this program belongs to, else the one around the current folder.
    ///
    /// # Errors
    /// [`Fault::Failed`] if there is none.
    pub fn find() -> Result<Self> {
        let start = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => env::current_dir().map_err(Fault::io("find", Path::new(".")))?,
        };
        start
            .ancestors()
            .find(|dir| dir.join("xtask/Cargo.toml").is_file())
            .map(Self::at)
            .ok_or_else(|| {
                let start = start.display();
                Fault::failed(format!(
                    "{start}: run this inside of the Menagerie workspace"
                ))
            })
    }

    /// The workspace at `root`.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// The absolute path of a file named relative to the workspace.
    pub fn path(&self, relative: &str) -> PathBuf {
        if relative.is_empty() {
            self.root.clone()
        } else {
            self.root.join(relative)
        }
    }

    /// Whether a file or folder is there.
    pub fn exists(&self, relative: &str) -> bool {
        self.path(relative).exists()
    }

    /// A text file of the workspace.
    ///
    /// # Errors
    /// [`Fault::Failed`] that names the file.
    pub fn read(&self, relative: &str) -> Result<String> {
        fs::read_to_string(self.path(relative)).map_err(Fault::io("read", Path::new(relative)))
    }

    /// A text file of the workspace, empty if it is not there.
    pub fn read_or_empty(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).unwrap_or_default()
    }

    /// Replaces a text file of the workspace, whole or not at all.
    ///
    /// # Errors
    /// [`Fault::Failed`] that names the file.
    pub fn write(&self, relative: &str, text: &str) -> Result<()> {
        let path = self.path(relative);
        let temporary = path.with_extension("part");
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Fault::io("create the folder", parent))?;
        }
        fs::write(&temporary, text)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(Fault::io("write", Path::new(relative)))
    }

    /// The families: the folders under `models`.
    ///
    /// # Errors
    /// [`Fault::Failed`] if the folder cannot be read.
    pub fn families(&self) -> Result<Vec<String>> {
        self.packages_below("models")
    }

    /// Every package, by folder.
    ///
    /// # Errors
    /// [`Fault::Failed`] if a manifest cannot be read or names no package.
    pub fn packages(&self) -> Result<Vec<Package>> {
        let mut dirs = vec!["examples".to_owned(), "xtask".to_owned()];
        for folder in PACKAGE_FOLDERS {
            let below = self.packages_below(folder)?;
            dirs.extend(below.into_iter().map(|name| format!("{folder}/{name}")));
        }
        dirs.sort();
        dirs.retain(|dir| self.exists(&format!("{dir}/Cargo.toml")));
        dirs.into_iter()
            .map(|dir| {
                let manifest = Manifest::parse(&self.read(&format!("{dir}/Cargo.toml"))?);
                let name = manifest.get("package", "name").ok_or_else(|| {
                    Fault::failed(format!("{dir}/Cargo.toml: [package] has no name"))
                })?;
                Ok(Package {
                    name: name.to_owned(),
                    dir,
                    manifest,
                })
            })
            .collect()
    }

    fn packages_below(&self, folder: &str) -> Result<Vec<String>> {
        let mut names: Vec<String> = entries(&self.path(folder))?
            .into_iter()
            .filter(|path| path.join("Cargo.toml").is_file())
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// The files below a folder whose names end in `.{extension}`, relative to the workspace and
    /// sorted; build outputs, run folders and hidden ones aside. A missing folder has none.
    ///
    /// # Errors
    /// [`Fault::Failed`] if a folder cannot be read.
    pub fn files(&self, folder: &str, extension: &str) -> Result<Vec<String>> {
        let mut found: Vec<String> = files_below(&self.path(folder))?
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == extension))
            .map(|path| self.relative(path))
            .collect();
        found.sort();
        Ok(found)
    }

    /// A path as the user would write it from the root of the workspace.
    pub fn relative(&self, path: &Path) -> String {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        relative.to_string_lossy().replace('\\', "/")
    }
}

/// Every file below `folder`, build outputs, run folders and hidden ones aside.
///
/// # Errors
/// [`Fault::Failed`] if a folder cannot be read.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        if !folder.is_dir() {
            continue;
        }
        for path in entries(&folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || ["target", "runs", "__pycache__"].contains(&&*name) {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(Fault::io("read the folder", folder))
}

/// `path` as seen from the folder in which the user typed the command, without `..` if it is there.
///
/// # Errors
/// [`Fault::Failed`] if there is no current folder.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .map_err(Fault::io("resolve", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_without_build_outputs() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        for file in [
            "a/x.rs",
            "a/b/y.rs",
            "a/target/z.rs",
            "a/.git/w.rs",
            "a/n.md",
        ] {
            workspace.write(file, "text").unwrap();
        }
        assert_eq!(workspace.files("a", "rs").unwrap(), ["a/b/y.rs", "a/x.rs"]);
        assert!(workspace.files("none", "rs").unwrap().is_empty());
        assert_eq!(workspace.read("a/n.md").unwrap(), "text");
        let error = workspace.read("a/none.md").unwrap_err().to_string();
        assert!(error.starts_with("cannot read a/none.md: "), "{error}");
    }
}
