//! Sizes, initialisation and loss weights.

use burn::{config::Config, module::Initializer};
use menagerie_core::{Error, Result};

/// A network that explains its predictions by prototypes.
#[derive(Config, Debug, PartialEq)]
pub struct PrototypeNetConfig {
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// Maps after each encoder layer; a layer is a 3×3 convolution with stride 2. The decoder
    /// mirrors them.
    pub maps: Vec<usize>,
    /// Number of prototypes m.
    pub prototypes: usize,
    /// Number of classes K.
    pub classes: usize,
    /// Weights of the four terms of the objective.
    #[config(default = "LossWeights::new()")]
    pub weights: LossWeights,
    /// How the filters are drawn.
    #[config(default = "Initialisation::Published")]
    pub initialisation: Initialisation,
    /// Whether an image side may be so small that some layer halves a single row or column, which
    /// leaves the latent without any position. Refused unless asked for.
    #[config(default = false)]
    pub single_position: bool,
}

/// How the filters of encoder and decoder are drawn. Biases start at 0, prototypes and the
/// classifier's weights from U[0, 1), in either case.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum Initialisation {
    /// N(0, 0.01²), as in the official code: about 1 000 steps pass before the loss falls.
    Published,
    /// N(0, 2 / fan-in) (He et al. 2015), for short runs; fan-in is 9 times the maps that enter.
    He,
}

impl Initialisation {
    /// The distribution of the filters.
    pub(super) fn filters(self) -> Initializer {
        match self {
            Self::Published => Initializer::Normal {
                mean: 0.0,
                std: 0.01,
            },
            Self::He => Initializer::KaimingNormal {
                gain: std::f64::consts::SQRT_2,
                fan_out_only: false,
            },
        }
    }
}

/// The weights λ of the objective (paper, "Cost Function"; defaults from the official code, whose ratio
/// is that of the paper).
#[derive(Config, Debug, PartialEq, Copy)]
pub struct LossWeights {
    /// Of the cross-entropy; `lambda_class` in the official code.
    #[config(default = 20.0)]
    pub classification: f64,
    /// Of the squared reconstruction error, summed over pixels; `lambda_ae`.
    #[config(default = 1.0)]
    pub reconstruction: f64,
    /// Of R1, which draws each prototype to the nearest image of the batch; `lambda_1`.
    #[config(default = 1.0)]
    pub r1: f64,
    /// Of R2, which draws each image to its nearest prototype; `lambda_2`.
    #[config(default = 1.0)]
    pub r2: f64,
}

impl LossWeights {
    /// Without the two terms that tie prototypes and data to each other, the paper's ablation.
    pub fn without_prototype_terms() -> Self {
        Self::new().with_r1(0.0).with_r2(0.0)
    }

    /// Refuses weights that are negative or not finite.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("classification", self.classification),
            ("reconstruction", self.reconstruction),
            ("r1", self.r1),
            ("r2", self.r2),
        ] {
            if !value.is_finite() || value < 0.0 {
                return Err(Error::config(
                    "LossWeights",
                    field,
                    value,
                    "must be finite and not negative",
                ));
            }
        }
        Ok(())
    }
}

impl PrototypeNetConfig {
    const NAME: &str = "PrototypeNetConfig";

    /// The official configuration for MNIST: 28×28×1, 15 prototypes, q = 40, 44 153 parameters.
    pub fn mnist() -> Self {
        Self::new([1, 28, 28], vec![32, 32, 32, 10], 15, 10)
    }

    /// The paper's third case study: as [`mnist`](Self::mnist).
    pub fn fashion_mnist() -> Self {
        Self::mnist()
    }

    /// The paper's second case study: cars seen from 11 angles, 11 prototypes.
    ///
    /// Numbers of prototypes and classes are those of the published weight tables. The image size
    /// and the maps are **not verified**: no source at hand states them, and the network of
    /// [`mnist`](Self::mnist) stands in on 64×64×3.
    pub fn cars() -> Self {
        Self::new([3, 64, 64], vec![32, 32, 32, 10], 11, 11)
    }

    /// Height and width of the image and after each layer: half of the layer before, rounded up.
    pub fn sizes(&self) -> Vec<[usize; 2]> {
        let [_, height, width] = self.image;
        std::iter::successors(Some([height, width]), |size| {
            Some(size.map(|side| side.div_ceil(2)))
        })
        .take(self.maps.len() + 1)
        .collect()
    }

    /// Channels, height and width of the map between encoder and decoder.
    pub fn latent(&self) -> [usize; 3] {
        let [height, width] = self.sizes().pop().unwrap_or_default();
        let channels = self.maps.last().copied().unwrap_or(self.image[0]);
        [channels, height, width]
    }

    /// The length q of a latent and of a prototype.
    pub fn features(&self) -> usize {
        self.latent().iter().product()
    }

    /// Refuses impossible sizes and weights.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: String| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        if self.image.contains(&0) {
            let rule = "channels, height and width must be at least 1";
            return refuse("image", &self.image, rule.into());
        }
        if self.maps.is_empty() || self.maps.contains(&0) {
            let rule = "needs at least one layer, each with at least one map";
            return refuse("maps", &self.maps, rule.into());
        }
        let least = u32::try_from(self.maps.len())
            .ok()
            .and_then(|layers| 2_usize.checked_pow(layers))
            .unwrap_or(usize::MAX);
        let [_, height, width] = self.image;
        if height.min(width) < least && !self.single_position {
            let rule = format!(
                "{} layers with stride 2 need sides of at least {least}, unless single_position \
                 is set",
                self.maps.len()
            );
            return refuse("image", &self.image, rule);
        }
        if self.prototypes == 0 {
            return refuse("prototypes", &0, "must be at least 1".into());
        }
        if self.classes < 2 {
            return refuse("classes", &self.classes, "must be at least 2".into());
        }
        self.weights.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_sizes_add_up() {
        let mnist = PrototypeNetConfig::mnist();
        assert_eq!(mnist.sizes(), [[28, 28], [14, 14], [7, 7], [4, 4], [2, 2]]);
        assert_eq!(mnist.features(), 40);
        assert_eq!(PrototypeNetConfig::cars().latent(), [10, 4, 4]);
        for config in [mnist, PrototypeNetConfig::cars()] {
            config.validate().unwrap();
        }
    }

    #[test]
    fn weights_of_the_code_have_the_ratio_of_the_paper() {
        let weights = LossWeights::new();
        for term in [weights.reconstruction, weights.r1, weights.r2] {
            assert!((term / weights.classification - 0.05).abs() < 1e-12);
        }
    }

    #[test]
    fn configurations_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net.toml");
        let config = PrototypeNetConfig::mnist().with_initialisation(Initialisation::He);
        menagerie_core::config::save(&config, &path).unwrap();
        let back: PrototypeNetConfig = menagerie_core::config::load(&path).unwrap();
        assert_eq!(back, config);
    }
}
