//! Folders of PNG and JPEG files.

use crate::{
    ImageSet,
    augment::{Augmentation, Image},
};
use image::{DynamicImage, ImageReader, imageops::FilterType};
use menagerie_core::{Error, Result, Seed};
use rayon::prelude::*;
use std::{
    fmt,
    path::{Path, PathBuf},
};
use walkdir::{DirEntry, WalkDir};

/// What becomes of the files in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderConfig {
    /// 1 for grey (Rec. 709 luma), 3 for red, green and blue. Transparency is dropped.
    pub channels: usize,
    /// `[height, width]` to bring every image to: cropped to the centre of these proportions, then
    /// scaled (triangle filter). `None` keeps the images as they are, so that all must have the size
    /// of the first one.
    pub size: Option<[usize; 2]>,
}

impl Default for FolderConfig {
    /// Colour images of their own size.
    fn default() -> Self {
        Self {
            channels: 3,
            size: None,
        }
    }
}

/// What [`folder`](fn@folder) read and what it left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderReport {
    /// The files of the set's images, in the set's order.
    pub read: Vec<PathBuf>,
    /// The image files that were left out, in the order of their names, and why.
    pub skipped: Vec<(PathBuf, String)>,
}

impl fmt::Display for FolderReport {
    /// A line for the count and one for each file that was left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} images read, {} skipped",
            self.read.len(),
            self.skipped.len()
        )?;
        self.skipped
            .iter()
            .try_for_each(|(path, reason)| write!(f, "\nskipped {}: {reason}", path.display()))
    }
}

/// The largest side that images are brought to.
const MAX_SIDE: usize = 1 << 14;

/// Reads the images below `dir`.
///
/// Each sub-folder that holds an image file at any depth is a class; classes are numbered in the
/// order of their names, files ordered by their paths. Without such a sub-folder the images of `dir`
/// itself are an unlabelled set. Files are images by extension (`png`, `jpg`, `jpeg`) and decoded by
/// content; hidden files are ignored. A file that cannot be decoded is left out and reported.
///
/// # Errors
/// [`Error::Input`] for an impossible configuration, [`Error::Io`] for a folder that cannot be read,
/// [`Error::Format`] where no image could be read.
pub fn folder(dir: &Path, config: &FolderConfig) -> Result<(ImageSet, FolderReport)> {
    check_channels(config.channels)?;
    if config
        .size
        .is_some_and(|size| size.iter().any(|side| !(1..=MAX_SIDE).contains(side)))
    {
        return Err(Error::input(
            "size",
            config.size,
            "both sides must lie in 1..=16384",
        ));
    }
    let mut report = FolderReport::default();
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    let mut size = config.size;
    let listing = list(dir)?;
    for (class, path) in listing.files {
        match decode(&path, config, size) {
            Ok((image, found)) => {
                size = Some(found);
                pixels.extend_from_slice(&image);
                labels.extend(class);
                report.read.push(path);
            }
            Err(reason) => report.skipped.push((path, reason)),
        }
    }
    for path in listing.outside {
        report
            .skipped
            .push((path, "lies outside of the class folders".into()));
    }
    report.skipped.sort();
    let Some([height, width]) = size.filter(|_| !report.read.is_empty()) else {
        let problem = match report.skipped.first() {
            Some((path, reason)) => format!(
                "none of its {} image files can be read; {}: {reason}",
                report.skipped.len(),
                path.display()
            ),
            None => "holds no .png, .jpg or .jpeg file".into(),
        };
        return Err(Error::format(dir, problem));
    };
    let set = ImageSet::new(
        pixels,
        [config.channels, height, width],
        labels,
        listing.classes,
    )?;
    Ok((set, report))
}

/// The image files of a folder, which are decoded at their own size when they are asked for: for what
/// does not fit into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderFiles {
    paths: Vec<PathBuf>,
    labels: Vec<usize>,
    class_names: Vec<String>,
    channels: usize,
}

impl FolderFiles {
    /// Lists the images below `dir`; classes and their order are those of [`folder`](fn@folder). No
    /// file is opened. `channels` is 1 for grey, 3 for colour.
    ///
    /// # Errors
    /// [`Error::Input`] for other channels, [`Error::Io`] for a folder that cannot be read,
    /// [`Error::Format`] where there is no image file.
    pub fn list(dir: &Path, channels: usize) -> Result<Self> {
        check_channels(channels)?;
        let listing = list(dir)?;
        if listing.files.is_empty() {
            return Err(Error::format(dir, "holds no .png, .jpg or .jpeg file"));
        }
        let (mut labels, mut paths) = (Vec::new(), Vec::new());
        for (class, path) in listing.files {
            labels.extend(class);
            paths.push(path);
        }
        Ok(Self {
            paths,
            labels,
            class_names: listing.classes,
            channels,
        })
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The files, in order.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The class of every file; empty for a folder without classes.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The names of the classes, by number.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// A random subset of `count` files in which every class keeps its share, chosen as by
    /// [`ImageSet::stratified`] before any file is opened.
    ///
    /// # Errors
    /// [`Error::Input`] without classes, or where `count` exceeds the number of files.
    pub fn stratified(&self, count: usize, seed: Seed) -> Result<Self> {
        // The choice depends on the labels alone: a pixel stands for each file.
        let pixels = vec![0; self.len()];
        let (labels, names) = (self.labels.clone(), self.class_names.clone());
        let chosen = ImageSet::new(pixels, [1, 1, 1], labels, names)?;
        let chosen = chosen.stratified_indices(count, seed)?;
        let of = |index: &usize| Some((self.paths.get(*index)?, *self.labels.get(*index)?));
        let files = chosen.iter().filter_map(of);
        let (paths, labels) = files.map(|(path, label)| (path.clone(), label)).unzip();
        Ok(Self {
            paths,
            labels,
            class_names: self.class_names.clone(),
            channels: self.channels,
        })
    }

    /// File `index` at its own size.
    ///
    /// # Errors
    /// [`Error::Input`] for an index that is not below the number of files, [`Error::Format`] that
    /// names a file that cannot be decoded.
    pub fn image(&self, index: usize) -> Result<Image> {
        let Some(path) = self.paths.get(index) else {
            let rule = format!("must be below {}", self.len());
            return Err(Error::input("image index", index, rule));
        };
        let config = FolderConfig {
            channels: self.channels,
            size: None,
        };
        let (planes, [height, width]) =
            decode(path, &config, None).map_err(|reason| Error::format(path, reason))?;
        Image::from_planes(&planes, [self.channels, height, width])
    }

    /// The files `indices` decoded and augmented, `[indices, channels, height, width]`, in parallel.
    /// The draws are those of [`Augmentation::batch`] for the same seed.
    ///
    /// # Errors
    /// As [`image`](Self::image) and [`Augmentation::image`].
    pub fn batch(
        &self,
        augmentation: &Augmentation,
        indices: &[usize],
        seed: Seed,
    ) -> Result<Vec<f32>> {
        let images = indices.par_iter().enumerate().map(|(place, &index)| {
            let image = self.image(index)?;
            augmentation.image(&image, seed.at(place as u64))
        });
        Ok(images.collect::<Result<Vec<_>>>()?.concat())
    }
}

/// Every image file below `dir` in the order of the paths, decoded at its own size, or why it could
/// not be.
pub(crate) fn images(dir: &Path, channels: usize) -> Result<Vec<Decoded>> {
    check_channels(channels)?;
    let listing = list(dir)?;
    let mut paths = listing.outside;
    paths.extend(listing.files.into_iter().map(|(_, path)| path));
    paths.sort();
    let config = FolderConfig {
        channels,
        size: None,
    };
    let decoded = paths.into_iter().map(|path| {
        let image = decode(&path, &config, None).and_then(|(planes, [height, width])| {
            let shape = [channels, height, width];
            Image::from_planes(&planes, shape).map_err(|error| error.to_string())
        });
        (path, image)
    });
    Ok(decoded.collect())
}

/// A file with its image or the reason why there is none.
type Decoded = (PathBuf, Result<Image, String>);

fn check_channels(channels: usize) -> Result<()> {
    if matches!(channels, 1 | 3) {
        return Ok(());
    }
    let rule = "must be 1 (grey) or 3 (colour)";
    Err(Error::input("channels", channels, rule))
}

struct Listing {
    classes: Vec<String>,
    /// Image files with their class, `None` where there are no classes.
    files: Vec<(Option<usize>, PathBuf)>,
    /// Image files beside the class folders.
    outside: Vec<PathBuf>,
}

fn list(dir: &Path) -> Result<Listing> {
    let mut listing = Listing {
        classes: Vec::new(),
        files: Vec::new(),
        outside: Vec::new(),
    };
    let walk = WalkDir::new(dir)
        .min_depth(1)
        .follow_links(true)
        .sort_by_file_name();
    for entry in walk.into_iter().filter_entry(|entry| !is_hidden(entry)) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(dir).to_path_buf();
            Error::io("read", path)(error.into())
        })?;
        if !entry.file_type().is_file() || !is_image(entry.path()) {
            continue;
        }
        let class = entry
            .path()
            .strip_prefix(dir)
            .ok()
            .filter(|_| entry.depth() > 1)
            .and_then(|below| below.components().next())
            .map(|folder| folder.as_os_str().to_string_lossy().into_owned());
        match class {
            None => listing.outside.push(entry.into_path()),
            Some(class) => {
                // Entries come folder by folder, so a new name is a new class.
                if listing.classes.last() != Some(&class) {
                    listing.classes.push(class);
                }
                listing
                    .files
                    .push((Some(listing.classes.len() - 1), entry.into_path()));
            }
        }
    }
    if listing.classes.is_empty() {
        listing.files = listing.outside.drain(..).map(|path| (None, path)).collect();
    }
    Ok(listing)
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with('.')
}

fn is_image(path: &Path) -> bool {
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    matches!(extension.as_str(), "png" | "jpg" | "jpeg")
}

/// Pixels `[channels, height, width]` and `[height, width]`, or why there are none.
fn decode(
    path: &Path,
    config: &FolderConfig,
    size: Option<[usize; 2]>,
) -> Result<(Vec<u8>, [usize; 2]), String> {
    let image = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|error| error.to_string())?
        .decode()
        .map_err(|error| error.to_string())?;
    let image = match config.size {
        Some(size) => fill(&image, size),
        None => image,
    };
    let found = [image.height() as usize, image.width() as usize];
    if let Some(expected) = size.filter(|expected| *expected != found) {
        return Err(format!(
            "is {}x{} pixels, but the images before it are {}x{}",
            found[1], found[0], expected[1], expected[0]
        ));
    }
    Ok((planes(&image, config.channels), found))
}

/// The central part of `image` with the proportions of `[height, width]`, scaled to it.
fn fill(image: &DynamicImage, [height, width]: [usize; 2]) -> DynamicImage {
    let (rows, columns) = (u64::from(image.height()), u64::from(image.width()));
    let (height, width) = (height as u64, width as u64);
    // Cropping comes first: a thin image scaled to cover the size would take any amount of memory.
    let crop_rows = (columns * height / width).clamp(1, rows);
    let crop_columns = (rows * width / height).clamp(1, columns);
    image
        .crop_imm(
            ((columns - crop_columns) / 2) as u32,
            ((rows - crop_rows) / 2) as u32,
            crop_columns as u32,
            crop_rows as u32,
        )
        .resize_exact(width as u32, height as u32, FilterType::Triangle)
}

/// From interleaved to planar.
fn planes(image: &DynamicImage, channels: usize) -> Vec<u8> {
    if channels == 1 {
        return image.to_luma8().into_raw();
    }
    let interleaved = image.to_rgb8().into_raw();
    (0..channels)
        .flat_map(|channel| interleaved.iter().skip(channel).step_by(channels).copied())
        .collect()
}
