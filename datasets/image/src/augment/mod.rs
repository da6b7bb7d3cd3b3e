//! Augmentations of images, as pipelines of Pillow, torchvision and timm compute them.
//!
//! Draws are separated from their application: `draw` turns a generator into plain parameters,
//! `apply` is a pure function of an image and parameters. A clip is augmented by one draw for all
//! of its frames, a test hands in the draw that it wants.
//!
//! | step | what | where it comes from |
//! | --- | --- | --- |
//! | [`RandomResizedCrop`] | a random part of random proportions, resized | torchvision; without the retry loop as TensorFlow's |
//! | [`Resize`], [`CenterCrop`] | evaluation | torchvision |
//! | [`ScaledCrop`] | a square of an image at a random size | guided-diffusion |
//! | [`Flip`] | horizontal and vertical | torchvision |
//! | [`RandAugment`] | random operations of a random strength | timm (`rand-m9-mstd0.5-inc1`) |
//! | [`Normalise`] | planes of floats, standardised by channel | torchvision |
//! | [`RandomErasing`] | rectangles of noise | timm |
//! | [`Augmentation`] | all of them in order, over batches in parallel | |
//!
//! Images are 8-bit and interleaved, `[height, width, channels]`, up to [`Normalise`], which makes
//! planes of floats, `[channels, height, width]`. Every 8-bit operation rounds as Pillow does.
//!
//! ```
//! use menagerie_core::Seed;
//! use menagerie_data_image::{ImageSet, augment::Augmentation};
//!
//! let set = ImageSet::new(vec![128; 2 * 3 * 40 * 30], [3, 40, 30], vec![], vec![])?;
//! let batch = Augmentation::pre_training(32).batch(&set, &[1, 0, 1], Seed(7))?;
//! assert_eq!(batch.len(), 3 * 3 * 32 * 32); // [3, channels, 32, 32]
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod affine;
mod colour;
mod crop;
mod erasing;
mod image;
mod normalise;
mod operation;
mod pipeline;
mod rand_augment;
mod resample;
mod scaled;

pub use affine::{Affine, Interpolation};
pub use crop::{Attempts, CenterCrop, Flip, Flips, RandomResizedCrop, Region, Resize};
pub use erasing::{Erased, ErasingMode, RandomErasing};
pub use image::Image;
pub use normalise::{IMAGENET_MEAN, IMAGENET_STD, Normalise};
pub use operation::{Operation, OperationKind};
pub use pipeline::{Augmentation, Framing};
pub use rand_augment::RandAugment;
pub use resample::Filter;
pub use scaled::{ScaledCrop, ScaledDraw};

use menagerie_core::{Error, Result};
use rand::{Rng, RngExt};

/// Uniform in `low..=high`, in the form of Python's `random.uniform`.
fn uniform(low: f64, high: f64, rng: &mut impl Rng) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    // 1 - u is never 0.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// Refuses a probability outside of 0..=1.
fn probability(config: &'static str, field: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::config(config, field, value, "must lie in 0..=1"))
}

/// Refuses a range that is empty, not finite or not above `floor`.
fn range(config: &'static str, field: &str, value: (f64, f64)) -> Result<()> {
    if value.0 > 0.0 && value.0 <= value.1 && value.1.is_finite() {
        return Ok(());
    }
    let rule = "must be (low, high) with 0 < low <= high";
    Err(Error::config(config, field, value, rule))
}
