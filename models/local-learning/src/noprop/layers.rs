//! Layers of a block's paths: the image path, batch normalisation of rows.

use super::config::NetworkConfig;
use super::rectify::rectify;
use burn::module::{Initializer, Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData, activation::relu, module as functional};
use menagerie_core::Seed;
use menagerie_nn::conv::{Padding, conv2d};

/// Added to a variance.
const EPSILON: f64 = 1e-5;
/// The share of a batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch, which running ones take in, and dropout drawn from the seed.
    Train(Seed),
    /// Running statistics, nothing dropped.
    Evaluate,
}

impl Mode {
    /// The draws of one of several parts of a pass.
    pub(super) fn stream(self, name: &str) -> Self {
        match self {
            Self::Train(seed) => Self::Train(seed.stream(name)),
            Self::Evaluate => Self::Evaluate,
        }
    }
}

/// Batch normalisation of rows.
#[derive(Module, Debug)]
pub struct RowNorm {
    /// Gains `[width]`.
    pub weight: Param<Tensor<1>>,
    /// Offsets `[width]`.
    pub bias: Param<Tensor<1>>,
    /// Running means `[width]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Running variances, unbiased, `[width]`.
    pub running_var: RunningState<Tensor<1>>,
}

impl RowNorm {
    pub(super) fn new(width: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([width], device),
            bias: Initializer::Zeros.init([width], device),
            running_mean: constant(0.0, width, device),
            running_var: constant(1.0, width, device),
        }
    }

    /// Rows `[batch, width]` to the same shape.
    ///
    /// # Panics
    /// If they are of another width.
    pub fn forward(&self, x: Tensor<2>, mode: Mode) -> Tensor<2> {
        let (gain, offset) = (self.weight.val(), self.bias.val());
        if mode == Mode::Evaluate {
            let states = [&self.running_mean, &self.running_var];
            let [mean, variance] = states.map(|state| like(state.value_sync(), &gain));
            return functional::batch_norm(x, gain, offset, mean, variance, EPSILON);
        }
        let count = x.dims()[0] as f64;
        let result = functional::batch_norm_train(x, gain, offset, EPSILON);
        // PyTorch keeps the unbiased variance.
        let unbiased = result.variance * (count / (count - 1.0).max(1.0));
        for (running, new) in [
            (&self.running_mean, result.mean),
            (&self.running_var, unbiased),
        ] {
            let old = running.value_sync();
            let new = like(new.detach(), &old);
            running.update((old * (1.0 - MOMENTUM) + new * MOMENTUM).detach());
            // Written through at once: a checkpoint may follow.
            let _ = running.value_sync();
        }
        result.output
    }
}

/// A buffer without gradient on `device`.
fn constant(value: f32, width: usize, device: &Device) -> RunningState<Tensor<1>> {
    let plain = device.clone().without_autodiff();
    let value = Tensor::from_data(TensorData::new(vec![value; width], [width]), &plain);
    RunningState::new(match device.is_autodiff() {
        true => Tensor::from_inner(value),
        false => value,
    })
}

/// `value` on the device of `other`, with or without autodiff as that is.
fn like(value: Tensor<1>, other: &Tensor<1>) -> Tensor<1> {
    match (value.is_autodiff(), other.is_autodiff()) {
        (true, false) => value.without_autodiff(),
        (false, true) => value.autodiff(),
        _ => value,
    }
    .to_device(&other.device())
}

/// Three convolutions of 3×3, two of them with pooling after them, and a linear layer (figure 6):
/// images, or prototypes, to rows.
#[derive(Module, Debug)]
pub struct ImagePath {
    /// Of the image.
    pub conv1: Conv2d,
    /// At half its sides.
    pub conv2: Conv2d,
    /// At half its sides.
    pub conv3: Conv2d,
    /// At a quarter of its sides.
    pub fc: Linear,
    /// After the linear layer, of blocks in discrete time.
    pub bn: Option<RowNorm>,
    dropout: f64,
}

impl ImagePath {
    /// The path of `config`, with batch normalisation or without.
    pub(super) fn new(config: &NetworkConfig, normed: bool, device: &Device) -> Self {
        let [first, second, third] = config.convs;
        let conv = |inputs: usize, outputs: usize| {
            Conv2dConfig::new([inputs, outputs], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        Self {
            conv1: conv(config.image[0], first),
            conv2: conv(first, second),
            conv3: conv(second, third),
            fc: LinearConfig::new(config.flattened(), config.fc).init(device),
            bn: normed.then(|| RowNorm::new(config.fc, device)),
            dropout: config.dropout,
        }
    }

    /// Images `[batch, channels, height, width]` to `[batch, fc]`: normalised where the path has a
    /// norm, else rectified.
    ///
    /// # Panics
    /// If the images are of another size.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        let after = |x, pooled, name: &str| rectify(x, pooled, self.dropout, mode.stream(name));
        let x = after(convolve(&self.conv1, images), true, "first");
        let x = after(convolve(&self.conv2, x), false, "second");
        let x = after(convolve(&self.conv3, x), true, "third");
        let x = self.fc.forward(x.flatten(1, 3));
        match &self.bn {
            Some(norm) => norm.forward(x, mode),
            None => relu(x),
        }
    }
}

/// A convolution that keeps the sides.
fn convolve(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let bias = conv.bias.as_ref().map(Param::val);
    conv2d(x, conv.weight.val(), bias, [1, 1], Padding::symmetric(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_statistics_take_in_a_tenth_of_a_batch() {
        let device = Device::default();
        let norm = RowNorm::new(2, &device);
        let rows = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 6.0]], &device);
        norm.forward(rows, Mode::Train(Seed(0)));
        let read = |state: &RunningState<Tensor<1>>| -> Vec<f32> {
            state.value_sync().into_data().iter().collect()
        };
        let near = |found: Vec<f32>, wanted: [f32; 2]| {
            let pairs = found.iter().zip(wanted);
            assert!(
                pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6),
                "{found:?}"
            );
        };
        near(read(&norm.running_mean), [0.2, 0.4]);
        // Unbiased variances of 2 and 8.
        near(read(&norm.running_var), [1.1, 1.7]);
    }
}
