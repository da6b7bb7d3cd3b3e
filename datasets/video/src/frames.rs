//! Folders of PNG and JPEG frames.

use crate::Clip;
use image::ImageReader;
use menagerie_core::{Error, Result};
use std::{
    cmp::Ordering,
    path::{Path, PathBuf},
};

/// Reads the frames in `dir` in [natural order](natural_order) of their names, with `channels` 1
/// (Rec. 709 luma) or 3. Frames are files by extension (`png`, `jpg`, `jpeg`), decoded by content;
/// hidden files are ignored, transparency is dropped.
///
/// # Errors
/// [`Error::Input`] for another number of channels, [`Error::Io`] for a folder that cannot be read,
/// [`Error::Format`] with the path for a folder without frames, a frame that cannot be decoded or
/// one of another size.
pub fn read(dir: &Path, channels: usize) -> Result<Clip> {
    if !matches!(channels, 1 | 3) {
        let rule = "must be 1 (grey) or 3 (colour)";
        return Err(Error::input("channels", channels, rule));
    }
    let paths = list(dir)?;
    let decoded = paths.iter().map(|path| decode(path, channels));
    Clip::collect(decoded, channels, |index, problem| {
        Error::format(&paths[index], problem)
    })?
    .ok_or_else(|| Error::format(dir, "holds no .png, .jpg or .jpeg frame"))
}

/// The frames' files in natural order of their names.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut named = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let path = entry.map_err(Error::io("read", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.into_owned();
        if is_frame(&path) && !name.starts_with('.') && path.is_file() {
            named.push((name, path));
        }
    }
    named.sort_by(|(a, _), (b, _)| natural_order(a, b));
    Ok(named.into_iter().map(|(_, path)| path).collect())
}

fn is_frame(path: &Path) -> bool {
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    matches!(extension.as_str(), "png" | "jpg" | "jpeg")
}

fn decode(path: &Path, channels: usize) -> Result<(Vec<u8>, [usize; 2])> {
    let image = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(Error::io("read", path))?
        .decode()
        .map_err(|error| Error::format(path, format!("cannot be decoded: {error}")))?;
    let size = [image.height() as usize, image.width() as usize];
    let pixels = if channels == 1 {
        image.into_luma8().into_raw()
    } else {
        image.into_rgb8().into_raw()
    };
    Ok((pixels, size))
}

/// Numbers within names by value, so that `frame-10` comes after `frame-9`; all else by character.
/// Names that differ in leading zeros only keep the plain order.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (x, y) = (digits(left), digits(right));
        let order = if !x.is_empty() && !y.is_empty() {
            left = &left[x.len()..];
            right = &right[y.len()..];
            let (x, y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            x.len().cmp(&y.len()).then(x.cmp(y))
        } else {
            let (mut xs, mut ys) = (left.chars(), right.chars());
            let (x, y) = (xs.next(), ys.next());
            if x.is_none() && y.is_none() {
                return a.cmp(b);
            }
            (left, right) = (xs.as_str(), ys.as_str());
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn digits(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    &text[..end]
}
