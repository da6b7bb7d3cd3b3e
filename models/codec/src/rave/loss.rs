//! What generator and discriminator minimise in each stage.

use super::config::Version;
use super::discriminator::Discriminator;
use super::model::Rave;
use super::objective::{
    self, Adversarial, feature_matching_after, hinge, loudness_distance, skipped_features,
};
use burn::config::Config;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// Weights of the losses' parts, and how they are measured, where the released configurations differ.
#[derive(Config, Debug, PartialEq)]
pub struct LossWeights {
    /// Of the spectral distance of the sub-bands.
    #[config(default = 1.0)]
    pub multiband: f64,
    /// Of the spectral distance of the waveforms.
    #[config(default = 1.0)]
    pub fullband: f64,
    /// Of the discriminators' verdict.
    #[config(default = 1.0)]
    pub adversarial: f64,
    /// Added to magnitudes before their logarithm (`log_epsilon`).
    #[config(default = "objective::FLOOR")]
    pub log_floor: f64,
    /// Convolutions of each discriminator whose features are not compared (`num_skipped_features`);
    /// those of the discriminators' version where it is absent.
    #[config(default = "None")]
    pub skipped_features: Option<usize>,
}

impl LossWeights {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let name = "LossWeights";
        for (field, value) in [
            ("multiband", self.multiband),
            ("fullband", self.fullband),
            ("adversarial", self.adversarial),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                let rule = "must be finite and not negative";
                return Err(Error::config(name, field, value, rule));
            }
        }
        if !(self.log_floor.is_finite() && self.log_floor > 0.0) {
            let rule = "must be finite and positive";
            return Err(Error::config(name, "log_floor", self.log_floor, rule));
        }
        Ok(())
    }
}

/// How far a reconstruction is from its original.
#[derive(Clone, Debug)]
pub struct Distance {
    /// The spectral distance of the sub-bands, `[1]`.
    pub multiband: Tensor<1>,
    /// The spectral distance of the waveforms, `[1]`.
    pub fullband: Tensor<1>,
    /// The distance in loudness, `[1]` (V1).
    pub loudness: Option<Tensor<1>>,
    /// The waveforms that were compared, `[batch, 1, time]`: the original and the reconstruction.
    /// Both have gone through the same synthesis, so that neither is late.
    pub waveforms: [Tensor<3>; 2],
}

impl Distance {
    /// The sum, `[1]`.
    pub fn total(&self) -> Tensor<1> {
        let sum = self.multiband.clone() + self.fullband.clone();
        match &self.loudness {
            Some(loudness) => sum + loudness.clone(),
            None => sum,
        }
    }
}

/// What the generator minimises.
#[derive(Clone, Debug)]
pub struct GeneratorLoss {
    /// The weighted sum, `[1]`.
    pub total: Tensor<1>,
    /// Of the reconstruction.
    pub distance: Distance,
    /// The bottleneck's part before its weight β, `[1]`: the divergence of a variational one.
    pub kl: Tensor<1>,
    /// The distance of features, weighted, `[1]` (second stage).
    pub feature_matching: Option<Tensor<1>>,
    /// The adversarial losses of both sides (second stage).
    pub adversarial: Option<Adversarial>,
}

impl Rave {
    /// The distance of `reconstruction` from `original`, both sub-bands `[batch, bands, time]`.
    ///
    /// # Errors
    /// As [`spectral_distance`](objective::spectral_distance) and, in V1,
    /// [`loudness`](objective::loudness).
    pub fn distance(
        &self,
        original: Tensor<3>,
        reconstruction: Tensor<3>,
        scales: &[usize],
    ) -> Result<Distance> {
        self.weighted_distance(original, reconstruction, scales, &LossWeights::new())
    }

    /// [`distance`](Self::distance) with its parts weighted.
    ///
    /// # Errors
    /// As [`distance`](Self::distance).
    pub fn weighted_distance(
        &self,
        original: Tensor<3>,
        reconstruction: Tensor<3>,
        scales: &[usize],
        weights: &LossWeights,
    ) -> Result<Distance> {
        let version = self.config().version;
        let spectral = |x: &Tensor<3>, y: &Tensor<3>| {
            let (x, y, floor) = (x.clone(), y.clone(), weights.log_floor);
            let distance = objective::spectral_distance_above(x, y, scales, version, floor)?;
            Ok::<_, Error>(distance.total())
        };
        let multiband = spectral(&original, &reconstruction)?;
        let x = self.pqmf().synthesis(original);
        let y = self.pqmf().synthesis(reconstruction);
        let rate = self.config().sample_rate;
        Ok(Distance {
            multiband: multiband * weights.multiband,
            fullband: spectral(&x, &y)? * weights.fullband,
            loudness: match version {
                Version::V1 => Some(loudness_distance(x.clone(), y.clone(), rate)?),
                Version::V2 => None,
            },
            waveforms: [x, y],
        })
    }
}

/// The weight of the features' distance: 10 in V1, and in V2 twenty twice, as the released code
/// applies it.
pub fn feature_weight(version: Version) -> f64 {
    match version {
        Version::V1 => 10.0,
        Version::V2 => 400.0,
    }
}

/// Stage one: the distance and `beta` times the divergence.
pub fn representation_loss(distance: Distance, kl: Tensor<1>, beta: f64) -> GeneratorLoss {
    GeneratorLoss {
        total: distance.total() + kl.clone() * beta,
        distance,
        kl,
        feature_matching: None,
        adversarial: None,
    }
}

/// Stage two: the same with the discriminators' verdict and the distance of their features,
/// weighted with `weight`.
pub fn adversarial_loss(
    distance: Distance,
    kl: Tensor<1>,
    beta: f64,
    discriminator: &Discriminator,
    weight: f64,
) -> GeneratorLoss {
    let weights = LossWeights::new();
    weighted_adversarial_loss(distance, kl, beta, discriminator, weight, &weights)
}

/// [`adversarial_loss`] with other weights, those of the distance applied already
/// ([`Rave::weighted_distance`]).
pub fn weighted_adversarial_loss(
    distance: Distance,
    kl: Tensor<1>,
    beta: f64,
    discriminator: &Discriminator,
    weight: f64,
    weights: &LossWeights,
) -> GeneratorLoss {
    let waveforms = Tensor::cat(distance.waveforms.to_vec(), 0);
    let [real, fake] = discriminator.forward(waveforms).halves();
    let version = discriminator.config().version;
    let skipped = weights
        .skipped_features
        .unwrap_or_else(|| skipped_features(version));
    let matching = feature_matching_after(&real, &fake, version, skipped) * weight;
    let adversarial = hinge(&real, &fake);
    let total = distance.total()
        + kl.clone() * beta
        + adversarial.generator.clone() * weights.adversarial
        + matching.clone();
    GeneratorLoss {
        total,
        distance,
        kl,
        feature_matching: Some(matching),
        adversarial: Some(adversarial),
    }
}

/// What the discriminators minimise for the waveforms `real` and `fake`, `[batch, 1, time]` each: the
/// hinge loss, `[1]`.
pub fn discriminator_loss(nets: &Discriminator, real: Tensor<3>, fake: Tensor<3>) -> Tensor<1> {
    let waveforms = Tensor::cat(vec![real, fake], 0);
    let [real, fake] = nets.forward(waveforms).halves();
    hinge(&real, &fake).discriminator
}
