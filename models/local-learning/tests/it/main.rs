//! Integration tests.
#![allow(clippy::unwrap_used)]

mod noprop;

use burn::tensor::{Device, Tensor};
use menagerie_core::Seed;
use menagerie_nn::noise::draw_normal;

/// The device under test: `MENAGERIE_DEVICE`, else `flex`.
pub(crate) fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or_else(|_| "flex".into());
    menagerie_core::device::parse(&name).unwrap()
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.without_autodiff().into_data().iter().collect()
}

/// The largest difference between two tensors of a shape.
pub(crate) fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let pairs = values(a).into_iter().zip(values(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Normal numbers that the seed decides.
pub(crate) fn normal<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    draw_normal(shape, Seed(seed), device)
}

pub(crate) fn text<T: std::fmt::Debug>(result: menagerie_core::Result<T>) -> String {
    result.unwrap_err().to_string()
}
