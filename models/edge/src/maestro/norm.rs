//! Normalisation of channels, whose statistics do not outlive a truncation.

use super::config::{NormConfig, NormKind};
use burn::module::{Initializer, Module, Param, RunningState};
use burn::tensor::{Device, Tensor, TensorData, module as functional};

/// Added to a variance.
const EPSILON: f64 = 1e-5;
/// The share of a batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// What a pass through a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch, of which running ones take in a tenth.
    Train,
    /// Running statistics.
    Evaluate,
    /// Statistics of the batch, of which running ones become the mean over this batch and the `seen`
    /// ones before: none of them forgets what was there.
    Estimate {
        /// Batches of the estimation that went before.
        seen: usize,
    },
}

/// Batch normalisation, or normalisation in groups of channels.
#[derive(Module, Debug)]
pub struct ChannelNorm {
    /// Gains, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// Offsets, `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// Running means, `[channels]`; none in groups.
    pub running_mean: Option<RunningState<Tensor<1>>>,
    /// Running variances, unbiased, `[channels]`; none in groups.
    pub running_var: Option<RunningState<Tensor<1>>>,
    #[module(skip)]
    groups: usize,
}

impl NormConfig {
    /// A norm of `channels` channels.
    pub(crate) fn init(&self, channels: usize, device: &Device) -> ChannelNorm {
        let batch = self.kind == NormKind::Batch;
        let state = |value: f32| batch.then(|| state(vec![value; channels], device));
        ChannelNorm {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
            running_mean: state(0.0),
            running_var: state(1.0),
            groups: groups(channels),
        }
    }
}

/// Into how many groups the official code divides channels: of 8 where there are few of them, of 16,
/// of 32 and more where there are many.
fn groups(channels: usize) -> usize {
    let most = match channels {
        0..=7 => 1,
        8..=64 => channels / 8,
        65..=512 => channels / 16,
        _ => 32,
    };
    (1..=most)
        .rev()
        .find(|groups| channels.is_multiple_of(*groups))
        .unwrap_or(1)
}

impl ChannelNorm {
    /// `[batch, channels, height, width]` to the same shape.
    ///
    /// # Panics
    /// If there are other channels.
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let (gain, offset) = (self.weight.val(), self.bias.val());
        let (Some(mean), Some(variance)) = (&self.running_mean, &self.running_var) else {
            return self.grouped(x);
        };
        let share = match mode {
            Mode::Evaluate => {
                let (mean, variance) = (mean.value_sync(), variance.value_sync());
                let (mean, variance) = (like(mean, &gain), like(variance, &gain));
                return functional::batch_norm(x, gain, offset, mean, variance, EPSILON);
            }
            Mode::Train => MOMENTUM,
            Mode::Estimate { seen } => 1.0 / (seen as f64 + 1.0),
        };
        let [batch, _, height, width] = x.dims();
        let count = (batch * height * width) as f64;
        let result = functional::batch_norm_train(x, gain, offset, EPSILON);
        // PyTorch keeps the unbiased variance.
        let unbiased = result.variance * (count / (count - 1.0).max(1.0));
        for (running, new) in [(mean, result.mean), (variance, unbiased)] {
            let old = running.value_sync();
            let new = like(new.detach(), &old);
            running.update((old * (1.0 - share) + new * share).detach());
            // Written through at once: a checkpoint may follow.
            let _ = running.value_sync();
        }
        result.output
    }

    /// Gives the statistics, which a clone shares, a place of their own.
    pub(crate) fn own_statistics(&mut self) {
        for state in [&mut self.running_mean, &mut self.running_var] {
            *state = state
                .as_ref()
                .map(|state| RunningState::new(state.value_sync()));
        }
    }

    fn grouped(&self, x: Tensor<4>) -> Tensor<4> {
        let dims @ [batch, channels, height, width] = x.dims();
        let within = channels / self.groups * height * width;
        let x = x.reshape([batch, self.groups, within]);
        let centred = x.clone() - x.mean_dim(2);
        let variance = centred.clone().square().mean_dim(2);
        let x = (centred / (variance + EPSILON).sqrt()).reshape(dims);
        let each = |param: &Param<Tensor<1>>| param.val().reshape([1, channels, 1, 1]);
        x * each(&self.weight) + each(&self.bias)
    }
}

/// A buffer without gradient on `device`.
fn state(values: Vec<f32>, device: &Device) -> RunningState<Tensor<1>> {
    let plain = device.clone().without_autodiff();
    let shape = [values.len()];
    let value = Tensor::from_data(TensorData::new(values, shape), &plain);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_grouped_as_officially() {
        let official = [
            (16, 2),
            (32, 4),
            (64, 8),
            (128, 8),
            (256, 16),
            (512, 32),
            (2048, 32),
        ];
        for (channels, count) in official {
            assert_eq!(groups(channels), count, "{channels}");
        }
        // Five of them would not divide the channels.
        assert_eq!(groups(44), 4);
    }

    #[test]
    fn estimation_forgets_and_takes_the_mean_of_batches() {
        let device = Device::default();
        let norm = NormConfig::new(NormKind::Batch).init(2, &device);
        let batch = |values: [f32; 4]| {
            let data = TensorData::new(values.to_vec(), [2, 2, 1, 1]);
            Tensor::<4>::from_data(data, &device)
        };
        // Channels 1, 3 and 2, 6; then 5, 9 and 0, 2.
        norm.forward(batch([1.0, 2.0, 3.0, 6.0]), Mode::Estimate { seen: 0 });
        norm.forward(batch([5.0, 0.0, 9.0, 2.0]), Mode::Estimate { seen: 1 });
        let read = |state: &Option<RunningState<Tensor<1>>>| -> Vec<f32> {
            state.as_ref().map_or(Vec::new(), |state| {
                state.value_sync().into_data().iter().collect()
            })
        };
        assert_eq!(read(&norm.running_mean), [4.5, 2.5]);
        // Unbiased: (2 + 8) / 2 and (8 + 2) / 2.
        let variances = read(&norm.running_var);
        assert!(
            variances.iter().all(|value| (value - 5.0).abs() < 1e-5),
            "{variances:?}"
        );
        let y: Vec<f32> = norm
            .forward(batch([4.5, 2.5, 9.5, 2.5]), Mode::Evaluate)
            .into_data()
            .iter()
            .collect();
        assert!(
            (y[2] - 5.0 / 5.0f32.sqrt()).abs() < 1e-3 && y[0].abs() < 1e-5,
            "{y:?}"
        );
        norm.forward(batch([4.5, 2.5, 4.5, 2.5]), Mode::Train);
        assert!(
            read(&norm.running_var)
                .iter()
                .all(|value| (value - 4.5).abs() < 1e-5)
        );
    }

    #[test]
    fn groups_have_mean_0_and_variance_1() {
        let device = Device::default();
        let norm = NormConfig::new(NormKind::Group).init(16, &device);
        let x = Tensor::<1, burn::tensor::Int>::arange(0..2 * 16 * 4, &device).float();
        let y = norm.forward(x.reshape([2, 16, 2, 2]), Mode::Train);
        let y = y.reshape([4, 32]);
        let [mean, square] = [y.clone(), y.square()].map(|y| y.mean_dim(1));
        let values = |x: Tensor<2>| -> Vec<f32> { x.into_data().iter().collect() };
        assert!(values(mean).iter().all(|value| value.abs() < 1e-5));
        assert!(
            values(square)
                .iter()
                .all(|value| (value - 1.0).abs() < 1e-4)
        );
    }
}
