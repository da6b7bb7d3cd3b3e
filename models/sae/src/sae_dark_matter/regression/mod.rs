//! Ordinary least squares of many outputs on one set of inputs, in `f64`.
//!
//! The inputs are read once, in blocks of rows, into the normal equations; those are solved by a
//! Cholesky factor with diagonal pivoting after the columns were scaled to unit length. Directions
//! that the inputs do not have (dead dimensions, centred residuals) are found by the pivots, and
//! the solution of least norm is taken, as LAPACK's `gelsy` does. Squaring halves the digits, so
//! directions below about 1e-7 of a column's length count as missing; inputs in `f32` hold nothing
//! but rounding there.

mod dense;
mod factor;
mod normal;

pub use normal::LeastSquares;

use super::rows::{Split, chunks, matching};
use burn::{
    config::Config,
    tensor::{Device, Tensor, TensorData},
};
use menagerie_core::{Error, Result};

/// How a linear map is fitted.
#[derive(Config, Debug, PartialEq)]
pub struct LeastSquaresConfig {
    /// Whether a constant is fitted beside the linear map. The paper's error and norm predictors
    /// have none; its regressions between widths do.
    #[config(default = false)]
    pub intercept: bool,
    /// Directions of the inputs whose length is below this share of the largest count as missing,
    /// after the columns were scaled to unit length. The precision of the normal equations, about
    /// 1e-7, bounds it from below.
    #[config(default = 1e-9)]
    pub rcond: f64,
    /// Ridge penalty on the coefficients of unit-length columns: 0 for ordinary least squares.
    #[config(default = 0.0)]
    pub ridge: f64,
}

impl LeastSquaresConfig {
    const NAME: &str = "LeastSquaresConfig";

    /// Least squares with a constant.
    pub fn with_constant() -> Self {
        Self::new().with_intercept(true)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.rcond) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(Self::NAME, "rcond", self.rcond, rule));
        }
        if !self.ridge.is_finite() || self.ridge < 0.0 {
            let rule = "must be finite and at least 0";
            return Err(Error::config(Self::NAME, "ridge", self.ridge, rule));
        }
        Ok(())
    }
}

/// A fitted map `y ≈ x · weight + intercept`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearFit {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) weight: Vec<f64>,
    pub(super) intercept: Option<Vec<f64>>,
    pub(super) rank: usize,
}

impl LinearFit {
    /// A map that was fitted elsewhere, without a constant: `weight` is `[inputs, outputs]`.
    ///
    /// # Errors
    /// If a weight is not finite.
    pub fn from_weight(weight: Tensor<2>) -> Result<Self> {
        let [inputs, outputs] = weight.dims();
        let weight = super::rows::host(weight, "the weight of a linear map")?;
        Ok(Self {
            inputs,
            outputs,
            weight: weight.into_iter().map(f64::from).collect(),
            intercept: None,
            rank: inputs,
        })
    }

    /// How many directions of the inputs were seen in fitting.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The coefficients, `[inputs, outputs]` row by row.
    pub fn coefficients(&self) -> &[f64] {
        &self.weight
    }

    /// The constants `[outputs]`, if they were fitted.
    pub fn intercept(&self) -> Option<&[f64]> {
        self.intercept.as_deref()
    }

    /// The coefficients as a tensor `[inputs, outputs]`.
    pub fn weight(&self, device: &Device) -> Tensor<2> {
        let values: Vec<f32> = self.weight.iter().map(|&value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, [self.inputs, self.outputs]), device)
    }

    /// `x · weight + intercept`: `[rows, inputs]` to `[rows, outputs]`, on the device of `x`.
    ///
    /// # Errors
    /// If `x` has another width.
    pub fn predict(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        let [_, width] = x.dims();
        if width != self.inputs {
            return Err(Error::input(
                "the inputs of a linear map",
                format!("{width} wide"),
                format!("the map was fitted on {} inputs", self.inputs),
            ));
        }
        let device = x.device();
        let prediction = x.matmul(self.weight(&device));
        Ok(match &self.intercept {
            Some(constants) => {
                let constants: Vec<f32> = constants.iter().map(|&value| value as f32).collect();
                let shape = [1, self.outputs];
                prediction + Tensor::from_data(TensorData::new(constants, shape), &device)
            }
            None => prediction,
        })
    }
}

/// Fits `y` `[rows, outputs]` on `x` `[rows, inputs]` over the training rows of `split`.
///
/// # Errors
/// [`Error::Input`] if the row counts differ, a value is not finite or there are fewer training
/// rows than coefficients of one output, and whatever [`LeastSquaresConfig::validate`] refuses.
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
    chunks([&x, &y], |rows, [x, y]| {
        sums.add_rows(&x, &y, |row| split.is_training(rows.start + row));
        Ok(())
    })?;
    sums.solve()
}
