//! The score that selects, and the objective with what it selects.

use super::config::{GradientSaeConfig, GradientScale};
use crate::sae::{ObjectiveConfig, SaeLoss, SaeOutput, Situation, SparseAutoencoder};
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};
use menagerie_nn::sparse::{Pattern, attributed};

/// |⟨W_dec,i, g⟩| `[rows, latents]`: by how much the loss changes to first order with a unit of each
/// latent, for gradients `[rows, d]` and dictionary vectors `[latents, d]`. A constant.
pub fn attribution(gradient: Tensor<2>, decoder: Tensor<2>) -> Tensor<2> {
    let decoder = decoder.without_autodiff();
    gradient
        .without_autodiff()
        .matmul(decoder.transpose())
        .abs()
}

/// h (1 + β a) `[rows, latents]` of pre-activations h and attributions a. A negative h becomes more
/// negative: a latent that would not be active is not made so.
pub fn scores(h: Tensor<2>, attribution: Tensor<2>, beta: f64) -> Tensor<2> {
    h * (attribution * beta + 1.0)
}

/// `gradient` `[rows, d]` divided by the mean norm of its rows; unchanged where that is 0.
pub fn standardise(gradient: Tensor<2>) -> Tensor<2> {
    let norms: Tensor<2> = gradient.clone().square().sum_dim(1).sqrt();
    let mean = norms.mean();
    let off = mean.clone().lower_equal_elem(0.0);
    gradient / mean.mask_fill(off, 1.0).unsqueeze()
}

pub(super) fn scaled(config: &GradientSaeConfig, g: Tensor<2>) -> Tensor<2> {
    match config.gradient {
        GradientScale::Sum => g,
        GradientScale::UnitMeanNorm => standardise(g),
    }
}

pub(super) fn select(
    sae: &SparseAutoencoder,
    config: &GradientSaeConfig,
    h: &Tensor<2>,
    g: Tensor<2>,
) -> Pattern {
    // One product of [rows, d] with [d, latents] less for plain TopK.
    if config.beta == 0.0 {
        return Pattern::topk(h, config.k);
    }
    let scores = attributed(h.clone(), g, sae.decoder.val(), config.beta);
    Pattern::topk(&scores, config.k)
}

/// [`GradientSae::loss`] for weights that a trainer holds.
pub(super) fn loss(
    sae: &SparseAutoencoder,
    config: &GradientSaeConfig,
    x: Tensor<2>,
    g: Tensor<2>,
    objective: &ObjectiveConfig,
    situation: Situation,
) -> Result<(SaeLoss, SaeOutput)> {
    check(&x, &g)?;
    let g = scaled(config, g);
    sae.loss_selected(x, None, objective, situation, &|sae, h| {
        select(sae, config, h, g.clone())
    })
}

pub(super) fn check(x: &Tensor<2>, g: &Tensor<2>) -> Result<()> {
    if x.dims() != g.dims() {
        return Err(Error::input(
            "shape of the gradient",
            g.dims(),
            format!("must be that of x, {:?}", x.dims()),
        ));
    }
    let sum = g
        .clone()
        .without_autodiff()
        .abs()
        .sum()
        .into_data()
        .convert::<f32>();
    let sum = sum
        .as_slice::<f32>()
        .ok()
        .and_then(|sum| sum.first().copied());
    match sum {
        Some(sum) if sum.is_finite() => Ok(()),
        sum => Err(Error::input(
            "sum of |g|",
            sum.unwrap_or(f32::NAN),
            "must be finite: a gradient is NaN or infinite",
        )),
    }
}
