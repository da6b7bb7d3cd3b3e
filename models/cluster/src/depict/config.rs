//! Sizes, dropout and loss weights of the network.

use burn::config::Config;
use menagerie_core::{Error, Result};
use menagerie_nn::conv::Padding;

/// Stride of every convolution.
pub(super) const STRIDE: [usize; 2] = [2, 2];

/// A clustering autoencoder: two convolutions, an embedding of as many values as there are clusters,
/// the mirrored decoder, and a softmax layer on the embedding.
#[derive(Config, Debug, PartialEq)]
pub struct DepictConfig {
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// Number of clusters K, which is also the length of the embedding.
    pub clusters: usize,
    /// Maps after the first and the second convolution.
    #[config(default = "[50, 50]")]
    pub maps: [usize; 2],
    /// Kernel sides k1 and k2 of the two convolutions, whose stride is 2.
    #[config(default = "[4, 5]")]
    pub kernels: [usize; 2],
    /// Rows and columns of zeros on every side of their inputs, p1 and p2; the transposed
    /// convolutions crop as many.
    #[config(default = "[0, 2]")]
    pub padding: [usize; 2],
    /// Dropout in the noisy path.
    #[config(default = "Dropout::new()")]
    pub dropout: Dropout,
    /// Weights of the objective.
    #[config(default = "LossWeights::new()")]
    pub weights: LossWeights,
}

/// Shares of the values that the noisy path drops; the others are scaled by `1 / (1 − share)`.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct Dropout {
    /// Of the image.
    #[config(default = 0.1)]
    pub input: f64,
    /// Of the maps after the first convolution.
    #[config(default = 0.1)]
    pub first: f64,
    /// Of the maps after the second.
    #[config(default = 0.0)]
    pub second: f64,
}

/// Weights of the terms of the objective.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct LossWeights {
    /// Of the reconstruction losses L_R.
    #[config(default = 1.0)]
    pub reconstruction: f64,
    /// Of the clustering loss L_C.
    #[config(default = 1.0)]
    pub clustering: f64,
    /// Of the reconstructions of the two hidden layers within L_R: 0.1 in the released code, where
    /// the paper weighs all layers alike.
    #[config(default = 0.1)]
    pub hidden: f64,
}

impl LossWeights {
    /// Without the reconstruction losses: the paper's ablation.
    pub fn without_reconstruction() -> Self {
        Self::new().with_reconstruction(0.0)
    }
}

/// Side of the images, kernel sides and padding of the published configurations.
const GEOMETRIES: [(usize, [usize; 2], [usize; 2]); 4] = [
    (28, [4, 5], [0, 2]),
    (16, [4, 5], [0, 2]),
    (32, [4, 5], [2, 2]),
    (55, [5, 4], [2, 0]),
];

impl DepictConfig {
    const NAME: &str = "DepictConfig";

    /// MNIST, all or the test set alone: 28×28×1, 10 clusters, 178 211 parameters and 110 of the
    /// softmax layer.
    pub fn mnist() -> Self {
        Self::new([1, 28, 28], 10)
    }

    /// USPS: 16×16×1, 10 clusters.
    pub fn usps() -> Self {
        Self::new([1, 16, 16], 10)
    }

    /// CMU-PIE: 32×32×1, 68 clusters.
    pub fn cmu_pie() -> Self {
        Self::new([1, 32, 32], 68).with_padding([2, 2])
    }

    /// FRGC: 32×32×3, 20 clusters.
    pub fn frgc() -> Self {
        Self::new([3, 32, 32], 20).with_padding([2, 2])
    }

    /// YTF: 55×55×3, 41 clusters.
    pub fn ytf() -> Self {
        Self::new([3, 55, 55], 41)
            .with_kernels([5, 4])
            .with_padding([2, 0])
    }

    /// Any images: kernels and padding of the published configuration for their size; for other sizes
    /// the first of the published ones whose decoder comes back to the size of the image, which
    /// [`validate`](Self::validate) refuses if there is none.
    pub fn for_images(image: [usize; 3], clusters: usize) -> Self {
        let base = Self::new(image, clusters);
        let [_, height, width] = image;
        let published = GEOMETRIES
            .into_iter()
            .filter(|(side, ..)| [height, width] == [*side; 2]);
        published
            .chain(GEOMETRIES)
            .map(|(_, kernels, padding)| base.clone().with_kernels(kernels).with_padding(padding))
            .find(|config| config.validate().is_ok())
            .unwrap_or(base)
    }

    /// Height and width of the image and after each of the two convolutions; `None` where a kernel
    /// is larger than what it is laid on.
    pub fn sizes(&self) -> Option<[[usize; 2]; 3]> {
        let [_, height, width] = self.image;
        let first = self.convolved(0, [height, width])?;
        let second = self.convolved(1, first)?;
        Some([[height, width], first, second])
    }

    fn convolved(&self, layer: usize, size: [usize; 2]) -> Option<[usize; 2]> {
        let padding = Padding::symmetric(self.padding[layer]);
        padding.convolved(size, [self.kernels[layer]; 2], STRIDE)
    }

    /// Maps, height and width before the embedding.
    pub fn latent(&self) -> [usize; 3] {
        let [_, _, [height, width]] = self.sizes().unwrap_or_default();
        [self.maps[1], height, width]
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: &str| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        if self.image.contains(&0) {
            let rule = "channels, height and width must be at least 1";
            return refuse("image", &self.image, rule);
        }
        if self.clusters < 2 {
            return refuse("clusters", &self.clusters, "must be at least 2");
        }
        for (field, values) in [("maps", self.maps), ("kernels", self.kernels)] {
            if values.contains(&0) {
                return refuse(field, &values, "must be at least 1");
            }
        }
        let Some(sizes) = self.sizes() else {
            let rule = format!(
                "kernels {:?} with padding {:?} are larger than what they are laid on",
                self.kernels, self.padding
            );
            return refuse("image", &self.image, &rule);
        };
        for layer in [1, 0] {
            let crop = Padding::symmetric(self.padding[layer]);
            let back = crop.transposed(sizes[layer + 1], [self.kernels[layer]; 2], STRIDE);
            if back != Some(sizes[layer]) {
                let [from, to] = [sizes[layer + 1], sizes[layer]];
                let rule = format!(
                    "the decoder must come back to the size of the image: with kernel {} and \
                     padding {} it goes from {from:?} to {back:?}, not to {to:?}",
                    self.kernels[layer], self.padding[layer]
                );
                return refuse("image", &self.image, &rule);
            }
        }
        self.dropout.validate()?;
        self.weights.validate()
    }
}

impl Dropout {
    /// Refuses shares outside of [0, 1).
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, share) in [
            ("input", self.input),
            ("first", self.first),
            ("second", self.second),
        ] {
            if !(0.0..1.0).contains(&share) {
                let rule = "must be at least 0 and below 1";
                return Err(Error::config("Dropout", field, share, rule));
            }
        }
        Ok(())
    }
}

impl LossWeights {
    /// Refuses weights that are negative or not finite.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, weight) in [
            ("reconstruction", self.reconstruction),
            ("clustering", self.clustering),
            ("hidden", self.hidden),
        ] {
            if !weight.is_finite() || weight < 0.0 {
                let rule = "must be finite and not negative";
                return Err(Error::config("LossWeights", field, weight, rule));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_sizes_come_back_to_the_image() {
        for (config, sizes) in [
            (DepictConfig::mnist(), [28, 13, 7]),
            (DepictConfig::usps(), [16, 7, 4]),
            (DepictConfig::cmu_pie(), [32, 17, 9]),
            (DepictConfig::frgc(), [32, 17, 9]),
            (DepictConfig::ytf(), [55, 28, 13]),
        ] {
            config.validate().unwrap();
            assert_eq!(config.sizes(), Some(sizes.map(|side| [side; 2])));
            let found = DepictConfig::for_images(config.image, config.clusters);
            assert_eq!(found, config);
        }
        assert_eq!(
            DepictConfig::for_images([1, 8, 8], 10).sizes(),
            Some([[8; 2], [3; 2], [2; 2]])
        );
    }

    #[test]
    fn configurations_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net.toml");
        let config = DepictConfig::ytf().with_weights(LossWeights::without_reconstruction());
        menagerie_core::config::save(&config, &path).unwrap();
        let back: DepictConfig = menagerie_core::config::load(&path).unwrap();
        assert_eq!(back, config);
    }
}
