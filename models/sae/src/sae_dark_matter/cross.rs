//! Error from elsewhere in the model: a linear map from other autoencoders' reconstructions.

use super::{
    model::Decomposition,
    objective::Score,
    regression::{LeastSquaresConfig, least_squares},
    rows::Split,
};
use burn::tensor::Tensor;
use menagerie_core::Result;

/// How much of an error and its parts follows from the reconstructions at another site: R² on the
/// held-out rows, the mean over dimensions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossComponent {
    /// Of `x - Sae(x)`.
    pub error: f64,
    /// Of its linear part.
    pub linear: f64,
    /// Of its nonlinear part.
    pub nonlinear: f64,
}

/// Predicts the parts of a decomposition from `site` `[rows, site width]`, the reconstructions by
/// an autoencoder elsewhere (the paper: residual stream of this and the previous layer, MLP
/// output, attention).
///
/// # Errors
/// [`Error::Input`](menagerie_core::Error::Input) if row counts differ, there are fewer training
/// rows than the site is wide, or a dimension of a part does not vary.
pub fn cross_component(
    site: Tensor<2>,
    parts: &Decomposition,
    split: &Split,
    config: &LeastSquaresConfig,
) -> Result<CrossComponent> {
    let site = site.without_autodiff();
    // One pass over the site serves the three targets, side by side.
    let targets = [&parts.error, &parts.linear, &parts.nonlinear].map(Tensor::clone);
    let targets = Tensor::cat(targets.to_vec(), 1);
    let fit = least_squares(site.clone(), targets.clone(), split, config)?;
    let prediction = fit.predict(site)?;
    let score = Score::of_rows(&targets, &prediction, |row| split.is_held_out(row))?;
    let each = score.r2_per_dimension()?;
    let width = each.len() / 3;
    let mean = |part: usize| each[part * width..][..width].iter().sum::<f64>() / width as f64;
    Ok(CrossComponent {
        error: mean(0),
        linear: mean(1),
        nonlinear: mean(2),
    })
}
