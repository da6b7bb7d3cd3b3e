//! The error of a sparse autoencoder as a linear function of its input, and the rest.

use super::{
    objective::{Score, normalized_error},
    regression::{LeastSquaresConfig, LinearFit, least_squares},
    rows::{Split, same_shape},
};
use burn::tensor::Tensor;
use menagerie_core::Result;

/// `x - Sae(x) = linear + nonlinear` with `linear = x · b*`.
#[derive(Clone, Debug)]
pub struct Decomposition {
    /// `x - Sae(x)` `[rows, width]`. (The official code stores the negative.)
    pub error: Tensor<2>,
    /// The part of the error that is linear in x, `x · b*` `[rows, width]`, all rows.
    pub linear: Tensor<2>,
    /// The rest of the error `[rows, width]`.
    pub nonlinear: Tensor<2>,
    /// b* `[width, width]`.
    pub probe: LinearFit,
    /// R² of the error from x on the held-out rows, the mean over dimensions.
    pub r2: f64,
    /// The same for each dimension.
    pub r2_per_dimension: Vec<f64>,
    /// Fraction of the variance of x that `Sae(x)` leaves unexplained, over all rows.
    pub fvu: f64,
    /// The same for `Sae(x) + x · b*`: the FVU of the nonlinear error.
    pub fvu_nonlinear: f64,
    /// Mean over tokens of `‖Sae(x) - x‖² / ‖x‖²`.
    pub nmse: f64,
    /// The same for `Sae(x) + x · b*`.
    pub nmse_nonlinear: f64,
}

/// Splits the error of `reconstruction = Sae(x)`, both `[rows, width]`, by a map from x that is
/// fitted on the training rows of `split` (section 4 of the paper, with its sign).
///
/// The paper fits no constant: [`LeastSquaresConfig::new`]. A dead autoencoder has error x, which
/// is linear in x through and through: read R² together with `fvu`.
///
/// # Errors
/// [`Error::Input`](menagerie_core::Error::Input) if shapes differ, a value is not finite, there
/// are fewer training rows than `width`, or a dimension of the error does not vary.
pub fn decompose(
    x: Tensor<2>,
    reconstruction: Tensor<2>,
    split: &Split,
    config: &LeastSquaresConfig,
) -> Result<Decomposition> {
    same_shape("the reconstruction", &reconstruction, &x)?;
    let (x, reconstruction) = (x.without_autodiff(), reconstruction.without_autodiff());
    let error = x.clone() - reconstruction.clone();
    let probe = least_squares(x.clone(), error.clone(), split, config)?;
    let linear = probe.predict(x.clone())?;
    let nonlinear = error.clone() - linear.clone();
    let score = Score::of_rows(&error, &linear, |row| split.is_held_out(row))?;
    let r2_per_dimension = score.r2_per_dimension()?;
    let predicted = reconstruction.clone() + linear.clone();
    Ok(Decomposition {
        r2: score.r2()?,
        r2_per_dimension,
        fvu: Score::of(&x, &reconstruction)?.fvu()?,
        fvu_nonlinear: Score::of(&x, &predicted)?.fvu()?,
        nmse: normalized_error(&x, &reconstruction)?,
        nmse_nonlinear: normalized_error(&x, &predicted)?,
        error,
        linear,
        nonlinear,
        probe,
    })
}
