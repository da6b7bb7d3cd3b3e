//! Optdigits: 3 823 + 1 797 grey images of 8x8 pixels in ten classes.
//!
//! A line holds the 64 pixels of an image, row by row, and its class, separated by commas. A pixel
//! counts how many of 4x4 points are set, 0 to 16; copies with a line of headings are about.

use crate::{ImageSet, Split, mnist::DIGITS};
use menagerie_core::{Error, Result, fs};
use std::path::Path;

/// Points that a pixel counts at most.
const POINTS: usize = 16;

/// Optdigits, found or fetched by [`menagerie_data::find`]: 3 823 or 1 797 images `[1, 8, 8]`, counts
/// of 0 to 16 brought to 0 to 255.
///
/// # Errors
/// As [`menagerie_data::find`] and [`read`].
pub fn optdigits(split: Split) -> Result<ImageSet> {
    let name = match split {
        Split::Train => "optdigits.tra",
        Split::Test => "optdigits.tes",
    };
    read(&menagerie_data::find("optdigits")?.join(name))
}

/// Reads a file of the set.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read, [`Error::Format`] with the line that is not 64 counts
/// of 0 to 16 and a digit, or if there is no such line.
pub fn read(path: &Path) -> Result<ImageSet> {
    let text = fs::read_to_string(path)?;
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if index == 0 && line.starts_with(|first: char| first.is_ascii_alphabetic()) {
            continue;
        }
        let fields: Option<Vec<usize>> = line
            .split(',')
            .map(|field| field.trim().parse().ok())
            .collect();
        let Some([image @ .., label]) = fields.as_deref().filter(|fields| fields.len() == 65)
        else {
            let problem = format!("line {}: expected 65 numbers between commas", index + 1);
            return Err(Error::format(path, problem));
        };
        let most = image.iter().max().copied().unwrap_or_default();
        if most > POINTS || *label >= DIGITS.len() {
            let problem = format!(
                "line {}: expected 64 numbers of at most {POINTS} and a digit, found {most} and {label}",
                index + 1
            );
            return Err(Error::format(path, problem));
        }
        pixels.extend(
            image
                .iter()
                .map(|&count| ((255 * count + POINTS / 2) / POINTS) as u8),
        );
        labels.push(*label);
    }
    if labels.is_empty() {
        return Err(Error::format(path, "holds no image"));
    }
    let names = DIGITS.iter().map(ToString::to_string).collect();
    ImageSet::new(pixels, [1, 8, 8], labels, names)
}
