//! What is clustered: bands, principal components, codes.

use super::{
    model::{Autoencoder, Stack, in_parts},
    pca::Pca,
};
use burn::tensor::Device;
use menagerie_core::Result;

/// How pixels become features.
#[derive(Clone, Debug)]
pub enum Features {
    /// The scaled bands themselves, so many.
    Bands(usize),
    /// So many leading principal components.
    Pca(Pca, usize),
    /// The code of one autoencoder, computed on a device.
    Autoencoder(Autoencoder, Device),
    /// The code of a stack.
    Stack(Stack, Device),
}

impl Features {
    /// The leading components that hold at least this share of the variance.
    pub fn principal(pca: Pca, threshold: f64) -> Self {
        let count = pca.select(threshold);
        Self::Pca(pca, count)
    }

    /// Values of a pixel before.
    pub fn bands(&self) -> usize {
        match self {
            Self::Bands(bands) => *bands,
            Self::Pca(pca, _) => pca.mean.len(),
            Self::Autoencoder(model, _) => model.config().inputs,
            Self::Stack(model, _) => model.ae1.config().inputs,
        }
    }

    /// Values of a pixel's features.
    pub fn dim(&self) -> usize {
        match self {
            Self::Bands(bands) => *bands,
            Self::Pca(_, count) => *count,
            Self::Autoencoder(model, _) => model.config().code(),
            Self::Stack(model, _) => model.ae3.config().code(),
        }
    }

    /// The features `[n, dim]` of pixels `[n, bands]` in 0..1.
    ///
    /// # Errors
    /// [`Error::Input`](menagerie_core::Error::Input) if the pixels are not of as many bands; what the
    /// device reports.
    pub fn of(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        match self {
            Self::Bands(_) => Ok(pixels.to_vec()),
            Self::Pca(pca, count) => pca.project(pixels, *count),
            Self::Autoencoder(model, device) => {
                in_parts(pixels, self.bands(), device, |x| model.encode(x))
            }
            Self::Stack(model, device) => {
                in_parts(pixels, self.bands(), device, |x| model.encode(x))
            }
        }
    }
}
