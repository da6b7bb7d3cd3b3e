//! Image data sets in their canonical file formats, as one [`ImageSet`].
//!
//! | module | reads |
//! | --- | --- |
//! | [`idx`] | IDX files, plain or gzip: MNIST's format |
//! | [`mnist`](mod@mnist) | MNIST and Fashion-MNIST |
//! | [`optdigits`](mod@optdigits) | Optdigits, comma-separated |
//! | [`cifar`] | CIFAR-10 and CIFAR-100, binary version, unpacked or as the archive |
//! | [`geotiff`] | GeoTIFF rasters and scenes of several bands; writes them and maps of classes, too |
//! | [`folder`](mod@folder) | folders of PNG and JPEG files, one sub-folder per class |
//! | [`crops`](mod@crops) | random squares of a folder's photographs |
//!
//! [`augment`] has the augmentations of training pipelines.
//!
//! ```no_run
//! use menagerie_core::Seed;
//! use menagerie_data_image::{Split, mnist};
//!
//! let (train, validation) = mnist::validation_split(&mnist(Split::Train)?)?;
//! assert_eq!((train.len(), validation.len()), (55_000, 5_000));
//!
//! // 8 000 images with every class at its share, the same for the same seed.
//! let small = train.stratified(8_000, Seed(0))?;
//! let batch = small.to_f32(0..250)?; // [250, 1, 28, 28], values in 0..=1
//! # Ok::<(), menagerie_core::Error>(())
//! ```

pub mod augment;
mod bytes;
pub mod cifar;
pub mod crops;
pub mod folder;
pub mod geotiff;
pub mod idx;
pub mod mnist;
pub mod optdigits;
mod set;

pub use cifar::{Cifar100Labels, cifar10, cifar100};
pub use crops::{CropsConfig, crops};
pub use folder::{FolderConfig, FolderReport, folder};
pub use mnist::{fashion_mnist, mnist};
pub use optdigits::optdigits;
pub use set::ImageSet;

/// The part of a data set that its authors trained on or tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// The training images.
    Train,
    /// The test images.
    Test,
}
