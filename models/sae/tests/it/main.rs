//! Integration tests: refusals, objectives, training, formats, hosts.
#![allow(clippy::unwrap_used)]

mod activations;
mod dark_matter;
mod dark_matter_injection;
mod formats;
mod gradient;
mod host;
mod host_files;
#[cfg(feature = "tokenizer")]
mod host_tokenizer;
mod host_training;
mod sae;
mod sae_training;
mod shards;

use burn::tensor::{Device, Distribution, Tensor};

/// The device under test: `MENAGERIE_DEVICE`, else `flex`.
fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or_else(|_| "flex".into());
    menagerie_core::device::parse(&name).unwrap()
}

/// Standard normal draws.
fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.without_autodiff().into_data().convert::<f32>();
    data.try_to_vec().unwrap()
}

fn text<T>(result: menagerie_core::Result<T>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}
