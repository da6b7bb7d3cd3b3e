//! Integration tests.
#![allow(clippy::unwrap_used)]

mod maestro;

use burn::tensor::{Device, Distribution, Tensor};

/// The device under test: `MENAGERIE_DEVICE`, else `flex`.
pub(crate) fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or_else(|_| "flex".into());
    menagerie_core::device::parse(&name).unwrap()
}

/// The largest difference between two tensors of a shape.
pub(crate) fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    let values = |x: Tensor<D>| -> Vec<f32> { x.without_autodiff().into_data().iter().collect() };
    assert_eq!(a.dims(), b.dims());
    let pairs = values(a).into_iter().zip(values(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Normal images `[batch, 1, 28, 28]`.
pub(crate) fn images(batch: usize, device: &Device) -> Tensor<4> {
    Tensor::random([batch, 1, 28, 28], Distribution::Normal(0.0, 1.0), device)
}
