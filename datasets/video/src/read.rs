//! One entry for all formats.

use crate::{Clip, frames, gif, y4m};
use menagerie_core::{Error, Result};
use std::path::Path;

/// Reads the clip at `path` in colour: a folder of PNG and JPEG frames, a `.gif` or a `.y4m` file.
///
/// # Errors
/// [`Error::Io`] where it cannot be read; [`Error::Format`] with the path where it is none of these
/// or damaged.
pub fn read(path: &Path) -> Result<Clip> {
    let kind = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if kind.is_dir() {
        return frames::read(path, 3);
    }
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    match extension.as_str() {
        "gif" => gif::read(path),
        "y4m" => y4m::read(path).map(Clip::into_colour),
        _ => Err(Error::format(
            path,
            "is neither a folder of frames nor a .gif or .y4m file; convert films with `ffmpeg -i \
             film.mp4 film.y4m`",
        )),
    }
}
