//! Integration tests: sizes, refusals, objectives, training groups, baselines, weights.
#![allow(clippy::unwrap_used)]

mod baselines;
mod configs;
mod model;
mod objective;
mod training;
mod weights;

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use menagerie_core::Seed;
use rand::RngExt;

/// The device under test: `MENAGERIE_DEVICE`, else `flex`.
fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or_else(|_| "flex".into());
    menagerie_core::device::parse(&name).unwrap()
}

/// Reproducible images in 0..1.
fn images(shape: [usize; 4], seed: u64, device: &Device) -> Tensor<4> {
    let mut rng = Seed(seed).rng();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Standard normal draws.
fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .without_autodiff()
        .into_data()
        .convert::<f32>()
        .try_to_vec()
        .unwrap()
}

fn integers<const D: usize>(tensor: Tensor<D, burn::tensor::Int>) -> Vec<i64> {
    tensor.into_data().convert::<i64>().try_to_vec().unwrap()
}

fn text<T: std::fmt::Debug>(result: menagerie_core::Result<T>) -> String {
    result.unwrap_err().to_string()
}
