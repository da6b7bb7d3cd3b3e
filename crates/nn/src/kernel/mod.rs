//! Kernels on `f32` slices for the `flex` backend.
//!
//! A convolution, the adjoint that gives its input gradient (and every transposed convolution),
//! and its weight gradient, each for a group of samples at a time so that callers can put work
//! before and after while the group is in the cache.

pub(crate) mod adam;
pub(crate) mod attention;
pub(crate) mod batch_norm;
pub(crate) mod bilinear;
pub(crate) mod block;
pub(crate) mod block_sum;
pub(crate) mod conv;
pub(crate) mod conv1d;
pub(crate) mod depthwise;
pub(crate) mod embedding;
pub(crate) mod gelu;
pub(crate) mod gemm;
pub(crate) mod group_norm;
pub(crate) mod layout;
pub(crate) mod linear_attention;
pub(crate) mod micro;
pub(crate) mod norm;
pub(crate) mod one_tap;
pub(crate) mod parts;
pub(crate) mod pointwise;
pub(crate) mod resample;
pub(crate) mod rows;
pub(crate) mod sgemm;
pub(crate) mod sparse;
pub(crate) mod stft;
pub(crate) mod weight;

use std::cell::RefCell;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Hands `work` a scratch slice of `len` values with arbitrary contents; calls must not nest.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        work(&mut scratch[..len])
    })
}
