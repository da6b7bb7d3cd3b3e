//! Least squares of many outputs on one set of inputs, plain or with a ridge penalty, in `f64`.
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
mod rows;

pub use normal::LeastSquares;

use burn::{
    config::Config,
    tensor::{Device, Tensor, TensorData},
};
use menagerie_core::{Error, Result};

/// How a linear map is fitted.
#[derive(Config, Debug, PartialEq)]
pub struct LeastSquaresConfig {
    /// Whether a constant is fitted beside the linear map.
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
    inputs: usize,
    outputs: usize,
    weight: Vec<f64>,
    intercept: Option<Vec<f64>>,
    rank: usize,
}

impl LinearFit {
    /// A map that was fitted elsewhere, without a constant: `weight` is `[inputs, outputs]`.
    ///
    /// # Errors
    /// If a weight is not finite.
    pub fn from_weight(weight: Tensor<2>) -> Result<Self> {
        let [inputs, outputs] = weight.dims();
        let weight = rows::host(weight, "the weight of a linear map")?;
        let weight = weight.into_iter().map(f64::from).collect();
        Self::from_parts([inputs, outputs], weight, None)
    }

    /// A map that was fitted elsewhere: `weight` is `[inputs, outputs]` row by row, `intercept`
    /// `[outputs]`.
    ///
    /// # Errors
    /// [`Error::Input`] if a length does not fit.
    pub fn from_parts(
        [inputs, outputs]: [usize; 2],
        weight: Vec<f64>,
        intercept: Option<Vec<f64>>,
    ) -> Result<Self> {
        let constants = intercept.as_ref().map_or(outputs, Vec::len);
        for (what, found, needed) in [
            ("coefficients", weight.len(), inputs * outputs),
            ("constants", constants, outputs),
        ] {
            if found != needed {
                let what = format!("the number of {what} of a linear map");
                return Err(Error::input(what, found, format!("must be {needed}")));
            }
        }
        Ok(Self {
            inputs,
            outputs,
            weight,
            intercept,
            rank: inputs,
        })
    }

    /// The widths of inputs and outputs.
    pub fn widths(&self) -> [usize; 2] {
        [self.inputs, self.outputs]
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
