//! The statistics of one signal on another: adaptive instance normalisation.

use super::state::{flag, plain, read, state, write};
use burn::module::{Module, RunningState};
use burn::tensor::{Device, Tensor};

/// Signals in a batch that have statistics of their own (`cached_conv.MAX_BATCH_SIZE` of the released
/// code).
pub const MOST_SIGNALS: usize = 64;

/// Added to a deviation before it divides.
const FLOOR: f64 = 1e-5;

/// Whose statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Of the signals that come in (`x` in the released code).
    Source,
    /// Of the signals that they are to resemble (`y` in the released code).
    Target,
}

/// Mean and deviation of each channel over time, averaged over the signals that were learned from.
#[derive(Module, Debug)]
pub struct Style {
    /// `[64, channels, 1]`, a row for each signal of a batch; 0 at first.
    pub mean: RunningState<Tensor<3>>,
    /// The standard deviation, unbiased, in the same shape; 1 at first.
    pub std: RunningState<Tensor<3>>,
    /// 1 while it learns from what comes by, `[1]`.
    pub learning: RunningState<Tensor<1>>,
    /// How often it has learned, `[1]`.
    pub updates: RunningState<Tensor<1>>,
}

impl Style {
    fn new(channels: usize, device: &Device) -> Self {
        let on = device.clone().without_autodiff();
        let shape = [MOST_SIGNALS, channels, 1];
        Self {
            mean: state(Tensor::zeros(shape, &on), device),
            std: state(Tensor::ones(shape, &on), device),
            learning: state(Tensor::zeros([1], &on), device),
            updates: state(Tensor::zeros([1], &on), device),
        }
    }

    /// Whether it learns from what comes by.
    pub fn is_learning(&self) -> bool {
        flag(&self.learning)
    }

    /// Whether it has learned from any signal.
    pub fn is_known(&self) -> bool {
        flag(&self.updates)
    }

    pub(super) fn set_learning(&self, learning: bool) {
        let value = read(&self.learning).full_like(f64::from(u8::from(learning)));
        write(&self.learning, value);
    }

    pub(super) fn reset(&self) {
        write(&self.mean, read(&self.mean).zeros_like());
        write(&self.std, read(&self.std).ones_like());
        write(&self.updates, read(&self.updates).zeros_like());
    }

    /// The running average of mean and deviation goes on by those of `x`, `[batch, channels, time]`.
    fn learn(&self, x: Tensor<3>) {
        let x = plain(x);
        let [batch, channels, time] = x.dims();
        // A lone frame has no deviation.
        if time < 2 {
            return;
        }
        let count = read(&self.updates) + 1.0;
        let mean = x.clone().mean_dim(2);
        let std = x.var(2).sqrt();
        for (state, new) in [(&self.mean, mean), (&self.std, std)] {
            let old = read(state);
            let first = old.clone().narrow(0, 0, batch);
            let count: Tensor<3> = count.clone().reshape([1, 1, 1]);
            let moved = first.clone() + (new - first) / count.expand([batch, channels, 1]);
            let rest = MOST_SIGNALS - batch;
            write(
                state,
                match rest {
                    0 => moved,
                    rest => Tensor::cat(vec![moved, old.narrow(0, batch, rest)], 0),
                },
            );
        }
        write(&self.updates, count);
    }

    /// Mean and deviation of the first `batch` signals, `[batch, channels, 1]` each.
    fn first(&self, batch: usize) -> [Tensor<3>; 2] {
        [&self.mean, &self.std].map(|state| read(state).narrow(0, 0, batch))
    }
}

/// Adaptive instance normalisation (Huang and Belongie, 2017;
/// `blocks.AdaptiveInstanceNormalization` of the released code) before a residual unit: in training,
/// and until both sides are known, it does nothing; then
/// `(x − mean of the source) / (deviation of the source + 1e-5) · deviation of the target + mean of
/// the target`, channel by channel.
#[derive(Module, Debug)]
pub struct AdaIn {
    /// Of the signals that come in.
    pub source: Style,
    /// Of the signals that they are to resemble.
    pub target: Style,
}

impl AdaIn {
    /// For `channels` channels, without any statistics.
    pub fn new(channels: usize, device: &Device) -> Self {
        Self {
            source: Style::new(channels, device),
            target: Style::new(channels, device),
        }
    }

    /// The statistics of one side.
    pub fn side(&self, side: Side) -> &Style {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// `x`, `[batch, channels, time]` with up to 64 signals, in inference: learned from where a side
    /// is learning (the target alone if both are, and then `x` is left as it is), and normalised
    /// once both sides are known.
    ///
    /// # Panics
    /// If the channels are others, or there are more signals.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        if self.target.is_learning() {
            self.target.learn(x.clone());
            return x;
        }
        if self.source.is_learning() {
            self.source.learn(x.clone());
        }
        if !(self.source.is_known() && self.target.is_known()) {
            return x;
        }
        let batch = x.dims()[0];
        let autodiff = x.device().is_autodiff();
        let [source, target] = [&self.source, &self.target].map(|side| {
            side.first(batch).map(|tensor| match autodiff {
                true => Tensor::from_inner(tensor),
                false => tensor,
            })
        });
        let [mean, std] = source;
        let x = (x - mean) / (std + FLOOR);
        let [mean, std] = target;
        x * std + mean
    }
}
