//! Random squares of large images: a data set out of a few photographs.

use crate::{FolderReport, ImageSet, augment::Region, folder};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;
use rayon::prelude::*;
use std::path::Path;

/// How squares are cut out of the images of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropsConfig {
    /// 1 for grey (Rec. 709 luma), 3 for red, green and blue. Transparency is dropped.
    pub channels: usize,
    /// Rows and columns of a square.
    pub size: usize,
    /// How many squares there are in all.
    pub count: usize,
}

/// Cuts `count` random squares out of the images below `dir`: the images take turns, places are
/// uniform. The class of a square is its image, named by its file, so that a split can keep the
/// squares of one photograph together. The same for the same seed.
///
/// Files are found as by [`folder`](fn@crate::folder), at any depth; a file that cannot be decoded
/// or is smaller than a square is left out and reported.
///
/// # Errors
/// [`Error::Input`] for an impossible configuration, [`Error::Io`] for a folder that cannot be read,
/// [`Error::Format`] where no image could be used.
pub fn crops(dir: &Path, config: &CropsConfig, seed: Seed) -> Result<(ImageSet, FolderReport)> {
    let &CropsConfig {
        channels,
        size,
        count,
    } = config;
    let bytes = size
        .checked_mul(size)
        .and_then(|area| area.checked_mul(channels)?.checked_mul(count))
        .filter(|bytes| *bytes <= isize::MAX as usize);
    if size == 0 || count == 0 || bytes.is_none() {
        let rule = "size and count must be at least 1, and the squares fit into memory";
        return Err(Error::input("the crops", config, rule));
    }
    let mut report = FolderReport::default();
    let mut images = Vec::new();
    for (path, image) in folder::images(dir, channels)? {
        match image {
            Ok(image) if image.height() < size || image.width() < size => {
                let reason = format!(
                    "is {}x{} pixels, smaller than {size}x{size}",
                    image.width(),
                    image.height()
                );
                report.skipped.push((path, reason));
            }
            Ok(image) => {
                images.push(image);
                report.read.push(path);
            }
            Err(reason) => report.skipped.push((path, reason)),
        }
    }
    if images.is_empty() {
        let problem = match report.skipped.first() {
            Some((path, reason)) => format!(
                "none of its {} image files can be used; {}: {reason}",
                report.skipped.len(),
                path.display()
            ),
            None => "holds no .png, .jpg or .jpeg file".into(),
        };
        return Err(Error::format(dir, problem));
    }
    let stream = seed.stream("crops");
    let squares: Vec<Vec<u8>> = (0..count)
        .into_par_iter()
        .map(|at| {
            let image = &images[at % images.len()];
            let mut rng = stream.at(at as u64).rng();
            let region = Region {
                top: rng.random_range(0..=image.height() - size),
                left: rng.random_range(0..=image.width() - size),
                height: size,
                width: size,
            };
            Ok(region.crop(image)?.to_planes())
        })
        .collect::<Result<_>>()?;
    let names = report.read.iter().map(|path| {
        let name = path.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    });
    let set = ImageSet::new(
        squares.concat(),
        [channels, size, size],
        (0..count).map(|at| at % images.len()).collect(),
        names.collect(),
    )?;
    Ok((set, report))
}
