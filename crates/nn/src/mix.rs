//! Mixup and CutMix: a batch mixed with itself in reverse order.

use burn::config::Config;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result, Seed};
use rand::{Rng, RngExt};
use std::ops::Range;

/// How batches are mixed in fine-tuning: mixup (Zhang et al., arXiv:1710.09412) or CutMix (Yun et
/// al., arXiv:1905.04899), one draw for a batch.
#[derive(Config, Copy, Debug, PartialEq)]
pub struct MixConfig {
    /// The parameter of the distribution Beta(α, α) of a blended image's share; 0 for none.
    #[config(default = 0.8)]
    pub mixup: f64,
    /// The parameter of the distribution of the share outside of a pasted rectangle; 0 for none.
    #[config(default = 1.0)]
    pub cutmix: f64,
    /// How often a batch is mixed at all.
    #[config(default = 1.0)]
    pub probability: f64,
    /// How often it is pasted rather than blended, where both are on.
    #[config(default = 0.5)]
    pub switch: f64,
}

/// What is done to a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Mix {
    /// Nothing.
    None,
    /// Every image keeps this share of itself.
    Blend(f64),
    /// A rectangle of every image comes from its partner.
    Paste {
        /// Rows of the rectangle.
        rows: Range<usize>,
        /// Columns of the rectangle.
        columns: Range<usize>,
        /// The share of the image outside of it.
        share: f64,
    },
}

impl MixConfig {
    const NAME: &str = "MixConfig";

    /// No mixing.
    pub fn none() -> Self {
        Self::new().with_mixup(0.0).with_cutmix(0.0)
    }

    /// Refuses parameters outside of their ranges.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if !(value.is_finite() && value >= 0.0) {
                let rule = "must be finite and not negative";
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        for (field, value) in [("probability", self.probability), ("switch", self.switch)] {
            if !(0.0..=1.0).contains(&value) {
                let rule = "must lie between 0 and 1";
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        Ok(())
    }

    /// The draw for a batch of images of `[height, width]`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn draw(&self, [height, width]: [usize; 2], seed: Seed) -> Result<Mix> {
        self.validate()?;
        let mut rng = seed.rng();
        let mixes = rng.random::<f64>() < self.probability;
        let pastes = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (false, false) => return Ok(Mix::None),
            (true, true) => rng.random::<f64>() < self.switch,
            (_, pastes) => pastes,
        };
        if !mixes {
            return Ok(Mix::None);
        }
        if !pastes {
            return Ok(Mix::Blend(beta(self.mixup, &mut rng)));
        }
        let side = (1.0 - beta(self.cutmix, &mut rng)).sqrt();
        let mut span = |length: usize| {
            let cut = (length as f64 * side) as usize;
            let centre = rng.random_range(0..length.max(1));
            centre.saturating_sub(cut / 2)..(centre + cut / 2).min(length)
        };
        let (rows, columns) = (span(height), span(width));
        // What the border cut off stays.
        let pasted = (rows.len() * columns.len()) as f64 / (height * width).max(1) as f64;
        Ok(Mix::Paste {
            rows,
            columns,
            share: 1.0 - pasted,
        })
    }
}

/// A draw from Beta(α, α): Ulrich's closed form where α is above 1, Jöhnk's rejection below, in
/// logarithms, so that no α starves either of accepted draws or of precision.
fn beta(alpha: f64, rng: &mut impl Rng) -> f64 {
    // 1 - u is never 0.
    let mut uniform = || 1.0 - rng.random::<f64>();
    if alpha > 1.0 {
        let radius = (1.0 - uniform().powf(2.0 / (2.0 * alpha - 1.0))).sqrt();
        return 0.5 * (1.0 + radius * (std::f64::consts::TAU * uniform()).cos());
    }
    loop {
        let [u, v] = [(); 2].map(|()| uniform().ln());
        if (u / alpha).exp() + (v / alpha).exp() <= 1.0 {
            return 1.0 / (1.0 + ((v - u) / alpha).exp());
        }
    }
}

impl Mix {
    /// Images `[batch, channels, height, width]` and targets `[batch, classes]`, mixed.
    pub fn apply(&self, images: Tensor<4>, targets: Tensor<2>) -> (Tensor<4>, Tensor<2>) {
        let blend = |targets: Tensor<2>, share: f64| {
            let partner = targets.clone().flip([0]);
            targets * share + partner * (1.0 - share)
        };
        match self {
            Self::None => (images, targets),
            Self::Blend(share) => {
                let partner = images.clone().flip([0]);
                let images = images * *share + partner * (1.0 - share);
                (images, blend(targets, *share))
            }
            Self::Paste { rows, columns, .. } if rows.is_empty() || columns.is_empty() => {
                (images, targets)
            }
            Self::Paste {
                rows,
                columns,
                share,
            } => {
                let [batch, channels, _, _] = images.dims();
                let at = [0..batch, 0..channels, rows.clone(), columns.clone()];
                let partner = images.clone().flip([0]).slice(at.clone());
                (images.slice_assign(at, partner), blend(targets, *share))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    fn batch() -> (Tensor<4>, Tensor<2>) {
        let device = Device::default();
        let images =
            Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0], &device);
        let targets = Tensor::from_floats([[1.0, 0.0], [0.0, 1.0]], &device);
        (images.reshape([2, 1, 2, 2]), targets)
    }

    #[test]
    fn images_blend_with_their_partner_and_so_do_targets() {
        let (images, targets) = batch();
        let (images, targets) = Mix::Blend(0.75).apply(images, targets);
        assert_eq!(values(images)[..2], [3.25, 6.5]);
        assert_eq!(values(targets), [0.75, 0.25, 0.25, 0.75]);
    }

    #[test]
    fn a_rectangle_comes_from_the_partner() {
        let (images, targets) = batch();
        let paste = Mix::Paste {
            rows: 1..2,
            columns: 0..1,
            share: 0.75,
        };
        let (images, targets) = paste.apply(images, targets);
        assert_eq!(values(images), [1., 2., 30., 4., 10., 20., 3., 40.]);
        assert_eq!(values(targets), [0.75, 0.25, 0.25, 0.75]);
    }

    #[test]
    fn shares_are_spread_as_their_parameter_says() {
        for alpha in [1e-9, 0.3, 0.8, 1.0, 2.5, 40.0, 1e6] {
            let mut rng = Seed(5).rng();
            let draws: Vec<f64> = (0..4_000).map(|_| beta(alpha, &mut rng)).collect();
            assert!(draws.iter().all(|share| (0.0..=1.0).contains(share)));
            let count = draws.len() as f64;
            let mean = draws.iter().sum::<f64>() / count;
            let variance = draws.iter().map(|d| (d - 0.5).powi(2)).sum::<f64>() / count;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            // Five standard errors.
            assert!(
                (mean - 0.5).abs() < 5.0 * (expected / count).sqrt(),
                "{alpha}: {mean}"
            );
            assert!(
                (variance / expected - 1.0).abs() < 0.15,
                "{alpha}: {variance}"
            );
        }
    }

    #[test]
    fn draws_have_the_share_that_they_say() {
        let (mut blends, mut pastes) = (Vec::new(), 0);
        for seed in 0..400 {
            match MixConfig::new().draw([8, 6], Seed(seed)).unwrap() {
                Mix::None => panic!("every batch is mixed"),
                Mix::Blend(share) => blends.push(share),
                Mix::Paste {
                    rows,
                    columns,
                    share,
                } => {
                    assert!(rows.end <= 8 && columns.end <= 6);
                    let outside = 48 - rows.len() * columns.len();
                    assert!((share - outside as f64 / 48.0).abs() < 1e-12);
                    pastes += 1;
                }
            }
        }
        assert!((150..250).contains(&pastes), "{pastes}");
        let mean = blends.iter().sum::<f64>() / blends.len() as f64;
        // The variance of Beta(0.8, 0.8) is 1 / (4 · 2.6).
        let spread = blends.iter().map(|b| (b - 0.5).powi(2)).sum::<f64>() / blends.len() as f64;
        assert!((mean - 0.5).abs() < 0.07, "{mean}");
        assert!((spread - 1.0 / 10.4).abs() < 0.03, "{spread}");
        assert_eq!(MixConfig::none().draw([8, 6], Seed(0)).unwrap(), Mix::None);
        let error = MixConfig::new().with_switch(2.0).draw([8, 6], Seed(0));
        assert_eq!(
            error.unwrap_err().to_string(),
            "MixConfig.switch = 2.0: must lie between 0 and 1"
        );
    }
}
