//! Layers of a block's paths: the image path, batch normalisation of rows, dropout from a seed.

use super::config::NetworkConfig;
use burn::module::{Initializer, Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{
    Device, Tensor, TensorData, activation::relu, module as functional, ops::MaxPoolOptions,
};
use menagerie_core::Seed;
use menagerie_nn::conv::{Padding, conv2d};
use rand::Rng;

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

/// `x` with a share of its numbers set to 0 in training and the others scaled so that the mean stays.
fn dropout(x: Tensor<4>, share: f64, mode: Mode) -> Tensor<4> {
    let Mode::Train(seed) = mode else {
        return x;
    };
    if share == 0.0 {
        return x;
    }
    let mut rng = seed.rng();
    let (kept, dims) = ((1.0 / (1.0 - share)) as f32, x.dims());
    // Half a draw for each number: its upper 16 bits of randomness are plenty for a share.
    let below = (share * 65_536.0).round() as u32;
    let mut bits = 0;
    let values: Vec<f32> = (0..dims.iter().product())
        .map(|at: usize| {
            bits = if at.is_multiple_of(2) {
                rng.next_u32()
            } else {
                bits >> 16
            };
            if bits & 0xffff < below { 0.0 } else { kept }
        })
        .collect();
    x.clone() * Tensor::from_data(TensorData::new(values, dims), &x.device())
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
        let drop = |x, name: &str| dropout(x, self.dropout, mode.stream(name));
        let x = drop(halved(relu(convolve(&self.conv1, images))), "first");
        let x = drop(relu(convolve(&self.conv2, x)), "second");
        let x = drop(halved(relu(convolve(&self.conv3, x))), "third");
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

/// The largest of every 2×2 numbers.
fn halved(x: Tensor<4>) -> Tensor<4> {
    functional::max_pool2d(x, MaxPoolOptions::new([2, 2]).with_stride([2, 2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_follows_the_seed_and_keeps_the_mean() {
        let device = Device::default();
        let x = Tensor::<4>::ones([10, 10, 10, 11], &device);
        let drop = |seed| dropout(x.clone(), 0.25, Mode::Train(Seed(seed)));
        assert_eq!(drop(1).into_data(), drop(1).into_data());
        assert_ne!(drop(1).into_data(), drop(2).into_data());
        let values: Vec<f32> = drop(3).into_data().iter().collect();
        let dropped = values.iter().filter(|value| **value == 0.0).count();
        assert!((2_500..3_000).contains(&dropped), "{dropped} of 11 000");
        let mean = drop(3).mean().into_scalar::<f32>();
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        assert_eq!(
            dropout(x.clone(), 0.25, Mode::Evaluate).into_data(),
            x.into_data()
        );
    }

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
