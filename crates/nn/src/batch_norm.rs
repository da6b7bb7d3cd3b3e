//! Batch normalisation of the columns of a matrix, with the ReLU and the dropout after it.
//!
//! On `flex` each is two passes over memory and its gradient two more; written on Burn operations they
//! are a dozen. Sums are taken in an order that does not depend on the number of threads.

use crate::dropout::Dropout;
use burn::tensor::{Tensor, activation};

/// Mean and variance of every column, `[columns]` each, without autodiff.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The mean over rows.
    pub mean: Tensor<1>,
    /// The mean squared distance from the mean: not corrected for the number of rows.
    pub variance: Tensor<1>,
}

impl Moments {
    /// Those of `x [rows, columns]`.
    pub fn of(x: &Tensor<2>) -> Self {
        let x = x.clone().without_autodiff();
        #[cfg(feature = "flex")]
        if let Some(moments) = crate::flex::batch_norm::moments(&x) {
            return moments;
        }
        let mean = x.clone().mean_dim(0);
        let variance = (x - mean.clone()).square().mean_dim(0);
        Self {
            mean: mean.squeeze_dim::<1>(0),
            variance: variance.squeeze_dim::<1>(0),
        }
    }
}

/// `drop(relu((x - mean) / sqrt(var + epsilon) * gain + shift))` over the rows of `x [rows, columns]`, gain
/// and shift `[columns]`, and the moments that were taken out; gradients go through them.
///
/// # Panics
/// If the shapes do not fit each other, or `x` is empty.
pub fn norm_relu_dropout(
    x: Tensor<2>,
    gain: Tensor<1>,
    shift: Tensor<1>,
    epsilon: f64,
    dropout: Option<Dropout>,
) -> (Tensor<2>, Moments) {
    let [rows, columns] = x.dims();
    assert!(
        rows * columns > 0,
        "batch norm: {rows} rows of {columns} columns"
    );
    assert_eq!(gain.dims(), [columns], "batch norm: shape of the gain");
    assert_eq!(shift.dims(), [columns], "batch norm: shape of the shift");
    let moments = Moments::of(&x);
    #[cfg(feature = "flex")]
    {
        let tracked = x.is_autodiff() || gain.is_autodiff();
        let found = crate::flex::batch_norm::norm_relu_dropout(
            &tracking(x.clone(), tracked),
            [
                tracking(gain.clone(), tracked),
                tracking(shift.clone(), tracked),
            ],
            &moments,
            epsilon,
            dropout,
        );
        if let Some(y) = found {
            return (y, moments);
        }
    }
    (
        plain::norm_relu_dropout(x, gain, shift, epsilon, dropout),
        moments,
    )
}

/// `drop(relu(x))`.
pub fn relu_dropout(x: Tensor<2>, dropout: Option<Dropout>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(y) = crate::flex::batch_norm::relu_dropout(&x, dropout) {
        return y;
    }
    plain::dropped(activation::relu(x), dropout)
}

/// A kernel wants all of its tensors with autodiff or none.
#[cfg(feature = "flex")]
fn tracking<const D: usize>(tensor: Tensor<D>, tracked: bool) -> Tensor<D> {
    if tracked { tensor.autodiff() } else { tensor }
}

/// The same in Burn operations, for every backend.
pub mod plain {
    use super::{Dropout, Tensor, activation};

    /// [`norm_relu_dropout`](super::norm_relu_dropout) without the moments.
    pub fn norm_relu_dropout(
        x: Tensor<2>,
        gain: Tensor<1>,
        shift: Tensor<1>,
        epsilon: f64,
        dropout: Option<Dropout>,
    ) -> Tensor<2> {
        let centred = x.clone() - x.mean_dim(0);
        let variance = centred.clone().square().mean_dim(0);
        let normal = centred / (variance + epsilon).sqrt();
        let y = normal * gain.unsqueeze::<2>() + shift.unsqueeze::<2>();
        dropped(activation::relu(y), dropout)
    }

    pub(super) fn dropped(x: Tensor<2>, dropout: Option<Dropout>) -> Tensor<2> {
        match dropout.filter(|dropout| dropout.rate > 0.0) {
            Some(dropout) => dropout.apply(x),
            None => x,
        }
    }
}
