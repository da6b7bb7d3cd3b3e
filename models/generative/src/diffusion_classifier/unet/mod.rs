//! The U-Net.

mod attention;
mod model;
mod residual;

pub use attention::AttentionBlock;
pub use model::{Layer, Stage, UNet};
pub use residual::{Resampling, ResidualBlock};

use burn::module::Initializer;
use burn::tensor::Device;
use menagerie_nn::conv::{Conv2d, Conv2dConfig};
use menagerie_nn::vit::{Linear, LinearConfig};

/// The ε of every group normalisation.
const EPSILON: f64 = 1e-5;

/// PyTorch's draw for weights: uniform within 1 / √inputs.
fn pytorch() -> Initializer {
    Initializer::KaimingUniform {
        gain: 1.0 / 3.0_f64.sqrt(),
        fan_out_only: false,
    }
}

/// A linear layer as PyTorch draws it.
pub(super) fn linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    let mut linear = LinearConfig {
        initializer: pytorch(),
        ..LinearConfig::new(inputs, outputs)
    }
    .init(device);
    linear.bias = Some(pytorch().init_with([outputs], Some(inputs), Some(outputs), device));
    linear
}

/// A 3×3 convolution that keeps the size, or with a stride halves it.
fn convolution(channels: [usize; 2], stride: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [3, 3])
        .with_stride([stride; 2])
        .with_padding(1)
        .init(device)
}

/// A 3×3 convolution that starts at 0.
fn silent_convolution(channels: [usize; 2], device: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [3, 3])
        .with_padding(1)
        .with_initializer(Initializer::Zeros)
        .init(device)
}
