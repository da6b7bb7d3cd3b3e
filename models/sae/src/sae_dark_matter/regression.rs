//! Linear maps between activations, fitted on the training rows of a split.

pub use menagerie_nn::regression::{LeastSquares, LeastSquaresConfig, LinearFit};

use super::rows::{Split, matching};
use burn::tensor::Tensor;
use menagerie_core::Result;

/// Fits `y` `[rows, outputs]` on `x` `[rows, inputs]` over the training rows of `split`. The paper's
/// error and norm predictors have no constant; its regressions between widths do.
///
/// # Errors
/// [`menagerie_core::Error::Input`] if the row counts differ, a value is not finite or there are
/// fewer training rows than coefficients of one output, and whatever
/// [`LeastSquaresConfig::validate`] refuses.
pub fn least_squares(
    x: Tensor<2>,
    y: Tensor<2>,
    split: &Split,
    config: &LeastSquaresConfig,
) -> Result<LinearFit> {
    matching("the targets", &y, &x)?;
    split.covers(&x)?;
    let ([_, inputs], [_, outputs]) = (x.dims(), y.dims());
    let mut sums = LeastSquares::new(inputs, outputs, config)?;
    sums.add_where(x, y, |row| split.is_training(row))?;
    sums.solve()
}
