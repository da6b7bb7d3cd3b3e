//! All sounds below a folder.

use crate::clip::check_rate;
use crate::{Channels, Clip, resample, silence, wav};
use menagerie_core::{Error, Result, Seed};
use rand::seq::SliceRandom;
use std::fmt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// What becomes of the files in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FolderConfig {
    /// Samples per second to bring every file to; `None` keeps them, so that all must have the rate
    /// of the first one.
    pub rate: Option<u32>,
    /// What becomes of several channels.
    pub channels: Channels,
    /// The level in decibels below which the ends of a file are cut off, in blocks of 10 ms of the
    /// first channel; `None` keeps them.
    pub silence: Option<f64>,
}

/// The sounds of a folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sounds {
    /// In the order of their paths.
    pub clips: Vec<Clip>,
}

/// What [`folder`](fn@folder) read and what it left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderReport {
    /// The files of the clips, in their order.
    pub read: Vec<PathBuf>,
    /// The files that were left out, in the order of their names, and why.
    pub skipped: Vec<(PathBuf, String)>,
}

impl fmt::Display for FolderReport {
    /// A line for the count and one for each file that was left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [self.read.len(), self.skipped.len()];
        write!(f, "{} sounds read, {} skipped", counts[0], counts[1])?;
        self.skipped
            .iter()
            .try_for_each(|(path, reason)| write!(f, "\nskipped {}: {reason}", path.display()))
    }
}

/// Reads the sounds below `dir` at any depth: files by extension (`wav`, `wave`), ordered by their
/// paths; hidden ones are ignored. A file that is broken, empty, silent or of another rate is left
/// out and reported.
///
/// # Errors
/// [`Error::Input`] for a rate of zero or above a million, [`Error::Io`] for a folder that cannot be read,
/// [`Error::Format`] where no sound could be read.
pub fn folder(dir: &Path, config: &FolderConfig) -> Result<(Sounds, FolderReport)> {
    config.rate.map_or(Ok(()), check_rate)?;
    let (mut sounds, mut report) = (Sounds::default(), FolderReport::default());
    let mut rate = config.rate;
    for path in list(dir)? {
        match load(&path, config, rate) {
            Ok(clip) => {
                rate.get_or_insert(clip.rate());
                sounds.clips.push(clip);
                report.read.push(path);
            }
            Err(error) => report.skipped.push((path, error.to_string())),
        }
    }
    if sounds.clips.is_empty() {
        let problem = match report.skipped.first() {
            Some((path, reason)) => format!(
                "holds no sound that can be read; the first of {} files, {}: {reason}",
                report.skipped.len(),
                path.display()
            ),
            None => "holds no .wav file".into(),
        };
        return Err(Error::format(dir, problem));
    }
    Ok((sounds, report))
}

/// The sound files below `dir`, in the order of their paths.
fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let visible = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.')
    };
    for entry in WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(visible)
    {
        let entry = entry.map_err(|error| Error::io("read", dir)(error.into()))?;
        let extension = entry.path().extension().unwrap_or_default();
        let extension = extension.to_string_lossy().to_lowercase();
        if entry.file_type().is_file() && matches!(extension.as_str(), "wav" | "wave") {
            paths.push(entry.into_path());
        }
    }
    Ok(paths)
}

fn load(path: &Path, config: &FolderConfig, rate: Option<u32>) -> Result<Clip> {
    let mut clip = wav::read(path)?.select(config.channels)?;
    match rate {
        Some(rate) if config.rate.is_some() => clip = resample(&clip, rate)?,
        Some(rate) if rate != clip.rate() => {
            let rule = format!("must be {rate}, that of the first file, or one must be asked for");
            return Err(Error::input("the sample rate", clip.rate(), rule));
        }
        _ => (),
    }
    let Some(decibels) = config.silence else {
        return Ok(clip);
    };
    let block = (clip.rate() as usize / 100).max(1);
    let kept = silence::trimmed(&clip.channels()[0], decibels, block)?;
    if kept.is_empty() {
        return Err(Error::format(path, format!("is silent at {decibels} dB")));
    }
    let channels = clip.channels().iter();
    let channels = channels.map(|channel| channel[kept.clone()].to_vec());
    Clip::new(channels.collect(), clip.rate())
}

/// Share of the files that validate, where nothing else is said.
pub const VALIDATION: f64 = 0.02;

/// Indices for training and for validation out of `count`, both ascending: `share` of them at
/// random for validation, but at least one each.
///
/// # Errors
/// [`Error::Input`] for a share that is not above 0 and below 1, or fewer than two.
pub fn split(count: usize, share: f64, seed: Seed) -> Result<(Vec<usize>, Vec<usize>)> {
    if !(share > 0.0 && share < 1.0) {
        let rule = "must be above 0 and below 1";
        return Err(Error::input("the validation share", share, rule));
    }
    if count < 2 {
        let rule = "must be at least 2: one for training, one for validation";
        return Err(Error::input("the number of files to split", count, rule));
    }
    let held = ((count as f64 * share).round() as usize).clamp(1, count - 1);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut seed.rng());
    let mut train = order.split_off(held);
    train.sort_unstable();
    order.sort_unstable();
    Ok((train, order))
}
