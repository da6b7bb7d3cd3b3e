//! The kernels against Burn's own operations.
//!
//! Double-precision tensors always take the plain form, so the same call in `f64` is the reference
//! for the call in `f32`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it stands"
)]

mod adam;
mod clustering;
mod conv;
mod conv1d;
mod group_norm;
mod norm;
mod ode;
mod pointwise;
mod resample;
mod sparse;
mod stft;
mod tables;
mod transformer;
mod vit;

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Values without pattern in -1..1, the same on every machine.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Every value is exact in single precision, so that both forms start from the same.
            ((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0) as f32 as f64
        })
        .collect()
}

/// The noise of `seed` as a tensor of either precision.
pub(crate) fn tensor<const D: usize>(
    seed: u64,
    dims: [usize; D],
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    let data = TensorData::new(noise(seed, dims.iter().product()), dims);
    Tensor::from_data(data, (device, dtype))
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.cast(DType::F64).into_data().try_to_vec().unwrap()
}

/// Compares two lists of named results, relative to the largest reference value of each.
pub(crate) fn assert_close(
    case: &str,
    ours: &[(&'static str, Vec<f64>)],
    reference: &[(&'static str, Vec<f64>)],
    tolerance: f64,
) {
    assert_eq!(ours.len(), reference.len());
    for ((name, ours), (_, reference)) in ours.iter().zip(reference) {
        assert_eq!(ours.len(), reference.len(), "{case}: length of {name}");
        let scale = reference.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
        for (i, (a, b)) in ours.iter().zip(reference).enumerate() {
            let error = (a - b).abs() / scale;
            assert!(error <= tolerance, "{case}: {name}[{i}] is {a}, not {b}");
        }
    }
}
