//! MNIST and Fashion-MNIST: 60 000 + 10 000 grey images of 28x28 pixels in ten classes.

use crate::{ImageSet, Split, idx};
use menagerie_core::{Error, Result};
use std::path::{Path, PathBuf};

/// The classes of MNIST.
pub const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// The classes of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, table 2).
pub const GARMENTS: [&str; 10] = [
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

/// Images that [`validation_split`] sets aside.
pub const VALIDATION: usize = 5_000;

/// MNIST, found or fetched by [`menagerie_data::find`]: 60 000 or 10 000 images `[1, 28, 28]`.
///
/// # Errors
/// As [`menagerie_data::find`] and [`read`].
pub fn mnist(split: Split) -> Result<ImageSet> {
    read(&menagerie_data::find("mnist")?, split, &DIGITS)
}

/// Fashion-MNIST, found or fetched by [`menagerie_data::find`]: 60 000 or 10 000 images
/// `[1, 28, 28]`.
///
/// # Errors
/// As [`menagerie_data::find`] and [`read`].
pub fn fashion_mnist(split: Split) -> Result<ImageSet> {
    read(&menagerie_data::find("fashion-mnist")?, split, &GARMENTS)
}

/// Reads a split in MNIST's format from a folder that holds the four files under their canonical
/// names, with or without `.gz`.
///
/// # Errors
/// [`Error::Io`] for a file that is missing, [`Error::Format`] for one that is not what its name
/// says.
pub fn read(dir: &Path, split: Split, class_names: &[&str]) -> Result<ImageSet> {
    let prefix = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let images = either(dir, &format!("{prefix}-images-idx3-ubyte"));
    let labels = either(dir, &format!("{prefix}-labels-idx1-ubyte"));
    let set = idx::read_labelled(&images, &labels, class_names)?;
    if set.image_shape() != [1, 28, 28] {
        let problem = format!(
            "holds images of {}x{}, expected 28x28",
            set.height(),
            set.width()
        );
        return Err(Error::format(images, problem));
    }
    Ok(set)
}

/// Splits the training images as TensorFlow's MNIST tutorial did: the first 5 000 are the validation
/// set. Returns training and validation images.
///
/// # Errors
/// [`Error::Input`] where `train` has no more than 5 000 images.
pub fn validation_split(train: &ImageSet) -> Result<(ImageSet, ImageSet)> {
    if train.len() <= VALIDATION {
        let rule = "must be above 5000 to leave any for training";
        return Err(Error::input(
            "the number of images to split",
            train.len(),
            rule,
        ));
    }
    let (validation, train) = train.split_at(VALIDATION)?;
    Ok((train, validation))
}

/// The compressed file where it exists, else the plain one.
fn either(dir: &Path, name: &str) -> PathBuf {
    let plain = dir.join(name);
    let compressed = dir.join(format!("{name}.gz"));
    if plain.is_file() && !compressed.is_file() {
        plain
    } else {
        compressed
    }
}
