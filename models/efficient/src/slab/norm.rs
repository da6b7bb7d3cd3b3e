//! Progressive re-parameterised batch normalisation (section 3.1 of the paper).

use burn::config::Config;
use burn::module::{Initializer, Module, Param, RunningState};
use burn::tensor::{Device, Tensor, TensorData, module as functional};
use menagerie_core::{Error, Result};
use menagerie_nn::vit::LayerNorm;

/// What normalises tokens.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum NormKind {
    /// Layer normalisation: the baseline.
    Layer,
    /// Root-mean-square normalisation (LLaMA).
    Rms,
    /// Plain batch normalisation.
    Batch,
    /// RepBN from the start: `BN(x) + α x`.
    RepBatch,
    /// PRepBN: from layer normalisation to RepBN in the course of training.
    Progressive,
    /// PRepBN that begins with root-mean-square normalisation, its RepBN with zeros (LLaMA).
    ProgressiveRms,
    /// Nothing: what is left when a norm was folded into its neighbours.
    Folded,
}

/// How a norm is built.
#[derive(Config, Debug, PartialEq)]
pub struct NormConfig {
    /// What normalises.
    pub kind: NormKind,
    /// The ε of layer and root-mean-square normalisation.
    #[config(default = 1e-6)]
    pub epsilon: f64,
    /// Calls at the start of training that leave the batch normalisation alone.
    #[config(default = 0)]
    pub warm: usize,
    /// The ε of batch normalisation.
    #[config(default = 1e-5)]
    pub batch_epsilon: f64,
    /// The share of a batch in the running statistics.
    #[config(default = 0.1)]
    pub momentum: f64,
    /// Calls T over which layer normalisation fades out; its weight is `λ(t) = r (T − t) / T`.
    #[config(default = 300_000)]
    pub steps: usize,
    /// The weight r of layer normalisation at the start of the fade, the official `r0`.
    #[config(default = 1.0)]
    pub start: f64,
    /// Every how many calls in training the counters move: the micro-batches of an update.
    #[config(default = 1)]
    pub period: usize,
}

impl NormConfig {
    const NAME: &str = "NormConfig";
    /// The largest count that single precision holds exactly.
    const LARGEST: usize = 1 << 24;

    /// PRepBN as in LLaMA: 10 000 updates of warm-up, then 18 000, in 16 micro-batches each. Both of
    /// its norms take the model's ε.
    pub fn llama() -> Self {
        Self::new(NormKind::ProgressiveRms)
            .with_batch_epsilon(1e-6)
            .with_warm(10_000)
            .with_steps(18_000)
            .with_period(16)
    }

    /// Refuses lengths and an ε that no norm can have.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value, least) in [
            ("warm", self.warm, 0),
            ("steps", self.steps, 1),
            ("period", self.period, 1),
        ] {
            if !(least..=Self::LARGEST).contains(&value) {
                let rule = format!("must lie between {least} and {}", Self::LARGEST);
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        for (field, value) in [
            ("epsilon", self.epsilon),
            ("batch_epsilon", self.batch_epsilon),
        ] {
            if !(value.is_finite() && value > 0.0) {
                let rule = "must be finite and above 0";
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        for (field, value) in [("momentum", self.momentum), ("start", self.start)] {
            if !(0.0..=1.0).contains(&value) {
                let rule = "must lie between 0 and 1";
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        Ok(())
    }

    /// A norm of tokens of width `size`.
    pub(crate) fn init(&self, size: usize, device: &Device) -> Norm {
        use NormKind::{Folded, Layer, Progressive, ProgressiveRms, RepBatch, Rms};
        let kind = self.kind;
        let from_zero = kind == ProgressiveRms;
        let alpha = match from_zero {
            true => Initializer::Zeros,
            false => Initializer::Ones,
        };
        Norm {
            layer: matches!(kind, Layer | Progressive)
                .then(|| LayerNorm::new(size, self.epsilon, device)),
            rms: matches!(kind, Rms | ProgressiveRms)
                .then(|| RmsNorm::new(size, self.epsilon, device)),
            bn: (!matches!(kind, Layer | Rms | Folded))
                .then(|| BatchNorm::new(self, size, from_zero, device)),
            alpha: matches!(kind, RepBatch | Progressive | ProgressiveRms)
                .then(|| alpha.init([1], device)),
            blend: matches!(kind, Progressive | ProgressiveRms).then(|| Blend::new(self, device)),
        }
    }
}

/// What a pass through a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch, running ones updated, and the blend moves on.
    Train,
    /// Running statistics.
    Evaluate,
    /// Everything as in evaluation, but batch normalisation as in training: re-estimates its running
    /// statistics.
    Estimate,
}

/// The root-mean-square normalisation of the last axis with a gain.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// The gain, `[size]`.
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl RmsNorm {
    fn new(size: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([size], device),
            epsilon,
        }
    }

    /// `[.., size]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let mean = x.clone().square().mean_dim(2) + self.epsilon;
        x / mean.sqrt() * self.weight.val().unsqueeze()
    }
}

/// Batch normalisation of tokens: statistics over all tokens of all images.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// γ, `[size]`.
    pub weight: Param<Tensor<1>>,
    /// β, `[size]`.
    pub bias: Param<Tensor<1>>,
    /// Running mean, `[size]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Running variance, unbiased, `[size]`.
    pub running_var: RunningState<Tensor<1>>,
    /// How often the running statistics were updated, `[1]`.
    pub num_batches_tracked: RunningState<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
    #[module(skip)]
    momentum: f64,
}

impl BatchNorm {
    fn new(config: &NormConfig, size: usize, from_zero: bool, device: &Device) -> Self {
        let gain = match from_zero {
            true => Initializer::Zeros,
            false => Initializer::Ones,
        };
        Self {
            weight: gain.init([size], device),
            bias: Initializer::Zeros.init([size], device),
            running_mean: state(vec![0.0; size], device),
            running_var: state(vec![1.0; size], device),
            num_batches_tracked: state(vec![0.0], device),
            epsilon: config.batch_epsilon,
            momentum: config.momentum,
        }
    }

    /// `x [batch, tokens, size]` by its own statistics, which the running ones take in: with the
    /// weight `share [1]`, or wholly.
    fn train(&self, x: Tensor<3>, share: Option<Tensor<1>>) -> Tensor<3> {
        let dims @ [batch, tokens, size] = x.dims();
        let rows = x.reshape([batch * tokens, size]);
        let (gain, bias) = (self.weight.val(), self.bias.val());
        let result = functional::batch_norm_train(rows, gain, bias, self.epsilon);
        let count = (batch * tokens) as f64;
        // PyTorch keeps the unbiased variance.
        let unbiased = result.variance * (count / (count - 1.0).max(1.0));
        let share = share.unwrap_or_else(|| result.mean.ones_like().narrow(0, 0, 1));
        let share = share.detach();
        let (mean, share) = on_one_device(result.mean, share);
        for (running, new) in [(&self.running_mean, mean), (&self.running_var, unbiased)] {
            let old = running.value_sync();
            let (new, old) = on_one_device(new.detach(), old);
            let step = (new - old.clone()) * share.clone() * self.momentum;
            write(running, old + step);
        }
        let (count, share) = on_one_device(self.num_batches_tracked.value_sync(), share);
        write(&self.num_batches_tracked, count + share);
        result.output.reshape(dims)
    }

    /// What it multiplies with and adds by the running statistics, `[size]` each.
    fn affine(&self) -> (Tensor<1>, Tensor<1>) {
        let gain = self.weight.val();
        let mean = like(self.running_mean.value_sync(), &gain);
        let variance = like(self.running_var.value_sync(), &gain);
        let scale = gain / (variance + self.epsilon).sqrt();
        let offset = self.bias.val() - mean * scale.clone();
        (scale, offset)
    }

    /// The running statistics and how often they were updated.
    pub(crate) fn statistics(&self) -> [Tensor<1>; 3] {
        [
            &self.running_mean,
            &self.running_var,
            &self.num_batches_tracked,
        ]
        .map(RunningState::value_sync)
    }

    /// Puts [`statistics`](Self::statistics) back.
    pub(crate) fn restore(&self, [mean, variance, count]: [Tensor<1>; 3]) {
        write(&self.running_mean, mean);
        write(&self.running_var, variance);
        write(&self.num_batches_tracked, count);
    }
}

/// How far a norm is on its way from layer normalisation to RepBN.
#[derive(Module, Debug)]
pub struct Blend {
    /// Updates of warm-up that are left, `[1]`.
    pub warm: RunningState<Tensor<1>>,
    /// Updates of the fade that are left, `[1]`.
    pub iter: RunningState<Tensor<1>>,
    /// Updates of the whole fade, T, `[1]`.
    pub total_step: RunningState<Tensor<1>>,
    /// Calls since the counters last moved, `[1]`; where an update has several.
    pub num_step: Option<RunningState<Tensor<1>>>,
    #[module(skip)]
    period: usize,
    #[module(skip)]
    start: f64,
}

impl Blend {
    fn new(config: &NormConfig, device: &Device) -> Self {
        let count = |value: usize| state(vec![value as f32], device);
        Self {
            warm: count(config.warm),
            iter: count(config.steps),
            total_step: count(config.steps),
            num_step: (config.period > 1).then(|| count(0)),
            period: config.period,
            start: config.start,
        }
    }

    /// The weight of layer normalisation in this call and what batch normalisation counts for, 0 in
    /// the warm-up and 1 after it, `[1]` each; the counters move on. Nothing is read from the device.
    fn advance(&self) -> (Tensor<1>, Tensor<1>) {
        let (warm, iter) = (self.warm.value_sync(), self.iter.value_sync());
        let warming = warm.clone().greater_elem(0.0).float();
        let lambda = iter.clone() * self.start / self.total_step.value_sync();
        let weight = warming.clone() + (1.0 - warming.clone()) * lambda;
        let due = match &self.num_step {
            None => warming.ones_like(),
            Some(calls) => {
                let call = calls.value_sync();
                let last = call.clone().equal_elem(self.period as f64 - 1.0).float();
                write(calls, (call.clone() + 1.0) * (1.0 - last));
                call.equal_elem(0.0).float()
            }
        };
        let after: Tensor<1> = 1.0 - warming.clone();
        write(&self.warm, (warm - warming * due.clone()).clamp_min(0.0));
        write(&self.iter, (iter - after.clone() * due).clamp_min(0.0));
        (weight, after)
    }
}

/// One norm of a network.
#[derive(Module, Debug)]
pub struct Norm {
    /// Layer normalisation, for itself or at the start of PRepBN.
    pub layer: Option<LayerNorm>,
    /// Root-mean-square normalisation, for itself or at the start of PRepBN.
    pub rms: Option<RmsNorm>,
    /// Batch normalisation, plain or in RepBN.
    pub bn: Option<BatchNorm>,
    /// RepBN's α, `[1]`.
    pub alpha: Option<Param<Tensor<1>>>,
    /// The way of PRepBN.
    pub blend: Option<Blend>,
}

impl Norm {
    /// Tokens `[batch, tokens, size]` to the same shape.
    ///
    /// In evaluation PRepBN is RepBN, wherever its blend stands.
    ///
    /// # Panics
    /// If the last axis is not `size`.
    pub fn forward(&self, x: Tensor<3>, mode: Mode) -> Tensor<3> {
        let Some(bn) = &self.bn else {
            return self.by_token(x);
        };
        match (&self.blend, mode) {
            (_, Mode::Evaluate) => {
                let (scale, offset) = self.rep_affine(bn);
                x * scale.unsqueeze() + offset.unsqueeze()
            }
            (None, _) | (Some(_), Mode::Estimate) => self.rep_train(bn, x, None),
            (Some(blend), Mode::Train) => {
                let (weight, share) = blend.advance();
                let weight = like(weight, &bn.weight.val()).unsqueeze::<3>();
                let new = self.rep_train(bn, x.clone(), Some(share));
                let old = self.by_token(x);
                old * weight.clone() + new * (1.0 - weight)
            }
        }
    }

    fn by_token(&self, x: Tensor<3>) -> Tensor<3> {
        match (&self.layer, &self.rms) {
            (Some(norm), _) => norm.forward(x),
            (None, Some(norm)) => norm.forward(x),
            (None, None) => x,
        }
    }

    fn rep_train(&self, bn: &BatchNorm, x: Tensor<3>, share: Option<Tensor<1>>) -> Tensor<3> {
        let normalised = bn.train(x.clone(), share);
        match &self.alpha {
            None => normalised,
            Some(alpha) => normalised + x * alpha.val().unsqueeze(),
        }
    }

    fn rep_affine(&self, bn: &BatchNorm) -> (Tensor<1>, Tensor<1>) {
        let (scale, offset) = bn.affine();
        match &self.alpha {
            None => (scale, offset),
            Some(alpha) => (scale + alpha.val(), offset),
        }
    }

    /// The vectors `(a, b)` with which evaluation is `a x + b`: `a = γ / √(σ² + ε) + α`, `b = β − γ μ
    /// / √(σ² + ε)`, `[size]` each. None for a norm that looks at each token, or that is folded.
    pub fn affine(&self) -> Option<(Tensor<1>, Tensor<1>)> {
        self.bn.as_ref().map(|bn| self.rep_affine(bn))
    }

    /// Whether there is nothing left of it.
    pub fn is_folded(&self) -> bool {
        self.layer.is_none() && self.rms.is_none() && self.bn.is_none()
    }

    /// The weight of layer normalisation in the next call of training, 1 in the warm-up; none where
    /// there is no blend.
    ///
    /// # Errors
    /// If the counters cannot be read.
    pub fn lambda(&self) -> Result<Option<f64>> {
        let (Some((left, total, warm)), Some(blend)) = (self.counters()?, &self.blend) else {
            return Ok(None);
        };
        Ok(Some(match warm > 0.0 {
            true => 1.0,
            false => blend.start * left / total,
        }))
    }

    /// Updates of the fade that are left, of all, and of the warm-up that are left.
    pub(crate) fn counters(&self) -> Result<Option<(f64, f64, f64)>> {
        let Some(blend) = &self.blend else {
            return Ok(None);
        };
        let read = |state: &RunningState<Tensor<1>>| {
            let value = state.value_sync();
            let value = value.try_into_scalar::<f64>();
            value.map_err(|error| Error::other("reading the progress of a norm", error))
        };
        let (iter, total) = (read(&blend.iter)?, read(&blend.total_step)?);
        Ok(Some((iter, total, read(&blend.warm)?)))
    }

    /// Puts the blend where `left` of its updates are to come, after the warm-up; nothing where
    /// there is no blend.
    ///
    /// # Errors
    /// [`Error::Input`] if there are fewer in all.
    pub fn set_progress(&self, left: usize) -> Result<()> {
        let (Some(blend), Some((_, total, _))) = (&self.blend, self.counters()?) else {
            return Ok(());
        };
        if left as f64 > total {
            let rule = format!("must be at most all of them, {total}");
            return Err(Error::input("updates that are left", left, rule));
        }
        let set = |state: &RunningState<Tensor<1>>, value: usize| {
            let old = state.value_sync();
            write(state, old.zeros_like() + value as f64);
        };
        set(&blend.warm, 0);
        set(&blend.iter, left);
        Ok(())
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

/// Writes through at once: a checkpoint may follow.
fn write(state: &RunningState<Tensor<1>>, value: Tensor<1>) {
    state.update(value.detach());
    let _ = state.value_sync();
}

/// Both on the device of the second, with or without autodiff.
fn on_one_device(new: Tensor<1>, old: Tensor<1>) -> (Tensor<1>, Tensor<1>) {
    (like(new, &old), old)
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
