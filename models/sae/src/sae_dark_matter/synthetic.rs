//! A test of the argument itself: noise of known kind, and the part of the error it lands in.
//!
//! The activations are reconstructions, on which the autoencoder is nearly exact. Noise on them
//! stands for what the paper calls *Dense*: it is linear in the new activation. Noise on the
//! reconstruction stands for error that the autoencoder *introduces*. Latents that are taken out
//! stand for features that it has not learned.

use super::{
    objective::Score,
    regression::{LeastSquaresConfig, least_squares},
    rows::{Split, host, matching, same_shape},
};
use crate::draw::normal;
use burn::tensor::{Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};

/// Two standard normal draws.
#[derive(Clone, Debug)]
pub struct Noise {
    /// For the activations `[rows, width]`.
    pub activation: Tensor<2>,
    /// For the reconstructions `[rows, width]`.
    pub reconstruction: Tensor<2>,
}

/// How much of each disturbance is added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disturbance {
    /// Scale of the noise on the activations.
    pub activation: f64,
    /// Scale of the noise on the reconstructions.
    pub reconstruction: f64,
    /// The share of latents that are taken out, the least used first: 0 to 1.
    pub ablated: f64,
}

impl Disturbance {
    const NAME: &str = "Disturbance";

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("activation", self.activation),
            ("reconstruction", self.reconstruction),
        ] {
            if !value.is_finite() || value < 0.0 {
                let rule = "must be finite and at least 0";
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        if !(0.0..=1.0).contains(&self.ablated) {
            let rule = "must be a share between 0 and 1";
            return Err(Error::config(Self::NAME, "ablated", self.ablated, rule));
        }
        Ok(())
    }
}

/// What a disturbance does to the explained variance.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// The disturbed activations `[rows, width]`.
    pub x: Tensor<2>,
    /// The disturbed reconstructions `[rows, width]`.
    pub reconstruction: Tensor<2>,
    /// 1 for a latent that was kept, 0 for one that was taken out `[latents]`.
    pub kept: Tensor<1>,
    /// R² of the reconstruction, over all entries of all rows.
    pub reconstruction_r2: f64,
    /// R² of the reconstruction plus the linear prediction of its error, likewise.
    pub linear_r2: f64,
}

/// Draws the two noises for activations of the shape of `x`.
pub fn draw_noise(x: &Tensor<2>, seed: Seed) -> Noise {
    let device = x.device();
    let [rows, width] = x.dims();
    let mut rng = seed.rng();
    let mut draw = || {
        let values = normal(rows * width, &mut rng);
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, [rows, width]), &device)
    };
    Noise {
        activation: draw(),
        reconstruction: draw(),
    }
}

/// Disturbs activations and their reconstruction and explains the error linearly.
///
/// `x` `[rows, width]` should be reconstructions, `latents` `[rows, latents]` are the
/// autoencoder's activations on them, and `decode` is its decoder. Those are the latents of the
/// undisturbed x, so that all noise on the activations ends in the error.
///
/// # Errors
/// [`Error::Input`] if shapes do not fit or there are fewer training rows than `width`, what
/// [`Disturbance::validate`] refuses, and what `decode` reports.
pub fn synthetic(
    x: Tensor<2>,
    latents: Tensor<2>,
    decode: impl FnOnce(Tensor<2>) -> Result<Tensor<2>>,
    noise: &Noise,
    disturbance: &Disturbance,
    split: &Split,
) -> Result<Synthetic> {
    disturbance.validate()?;
    matching("the latents", &latents, &x)?;
    same_shape("the noise on the activations", &noise.activation, &x)?;
    same_shape(
        "the noise on the reconstructions",
        &noise.reconstruction,
        &x,
    )?;
    let kept = most_used(&latents, disturbance.ablated)?;
    let decoded = decode(latents * kept.clone().unsqueeze())?;
    same_shape("the decoder's output", &decoded, &x)?;
    let x = x + noise.activation.clone() * disturbance.activation;
    let reconstruction = decoded + noise.reconstruction.clone() * disturbance.reconstruction;
    let error = x.clone() - reconstruction.clone();
    let probe = least_squares(x.clone(), error, split, &LeastSquaresConfig::new())?;
    let explained = reconstruction.clone() + probe.predict(x.clone())?;
    Ok(Synthetic {
        reconstruction_r2: Score::of(&x, &reconstruction)?.global_r2()?,
        linear_r2: Score::of(&x, &explained)?.global_r2()?,
        x,
        reconstruction,
        kept,
    })
}

/// A mask `[latents]` without the share of latents of the least mean activation.
fn most_used(latents: &Tensor<2>, ablated: f64) -> Result<Tensor<1>> {
    let [_, count] = latents.dims();
    let usage = host(latents.clone().sum_dim(0), "a latent's activation")?;
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| usage[a].total_cmp(&usage[b]));
    // 0.29 of 100 is 28.999… in binary.
    let taken = (ablated * count as f64 + 1e-9).floor() as usize;
    let mut mask = vec![1.0_f32; count];
    for &latent in order.iter().take(taken) {
        mask[latent] = 0.0;
    }
    Ok(Tensor::from_data(
        TensorData::new(mask, [count]),
        &latents.device(),
    ))
}
