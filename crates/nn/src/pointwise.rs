//! Operations on every value alone, and their means.
//!
//! Written on Burn operations each is several passes over memory, forward and backward.

use burn::tensor::{Tensor, activation};

/// The hyperbolic tangent.
pub fn tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if x.dims().iter().product::<usize>() > 0
        && let Some(y) = crate::flex::pointwise::tanh(&x)
    {
        return y;
    }
    activation::tanh(x)
}

/// `mean((a - b)²)` over all elements, shape `[1]`; the gradient goes to both sides.
///
/// # Panics
/// If the shapes differ.
pub fn mean_squared_error<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<1> {
    assert_eq!(a.dims(), b.dims(), "mean squared error: shapes");
    #[cfg(feature = "flex")]
    if a.dims().iter().product::<usize>() > 0 {
        // A kernel wants all of its tensors with autodiff or none.
        let tracked = a.is_autodiff() || b.is_autodiff();
        let track = |tensor: &Tensor<D>| {
            if tracked {
                tensor.clone().autodiff()
            } else {
                tensor.clone()
            }
        };
        if let Some(error) = crate::flex::pointwise::mean_squared_error(&track(&a), &track(&b)) {
            return error;
        }
    }
    (a - b).square().mean()
}
