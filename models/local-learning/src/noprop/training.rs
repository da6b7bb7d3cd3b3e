//! Training: one block after the other, or one alone.

use super::adjoint::Adjoint;
use super::backprop::Backprop;
use super::continuous::{CtDraws, NoPropCt};
use super::flow::{FmDraws, NoPropFm};
use super::layers::Mode;
use super::model::{DtNoise, NoPropDt};
use super::readout::{Labelled, Readout};
use burn::config::Config;
use burn::module::Module;
use burn::optim::{AdamWState, GradientsParams, LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::noise::draw_normal;
use menagerie_train::{
    AdamW, Metrics, Procedure, Scalars, load_module, load_optimiser, non_finite, save_module,
    save_optimiser,
};
use std::path::Path;

/// How the paper trains: a constant rate, no augmentation.
#[derive(Config, Debug, PartialEq)]
pub struct TrainingConfig {
    /// The learning rate.
    #[config(default = 1e-3)]
    pub rate: f64,
    /// The weight decay: decoupled for blocks in discrete time and the baselines, else part of the
    /// gradient.
    #[config(default = 1e-3)]
    pub weight_decay: f64,
    /// Images of a batch.
    #[config(default = 128)]
    pub batch: usize,
    /// Epochs. One of a model of several blocks passes over the data once for each block.
    #[config(default = 100)]
    pub epochs: usize,
}

impl TrainingConfig {
    /// Blocks in discrete time, and back-propagation, on CIFAR; 100 epochs, as
    /// [`new`](Self::new) has them, are those of all methods but the adjoint one on MNIST.
    pub fn cifar() -> Self {
        Self::new().with_epochs(150)
    }

    /// Continuous time and flow matching on CIFAR-10.
    pub fn continuous_cifar10() -> Self {
        Self::new().with_epochs(500)
    }

    /// Continuous time and flow matching on CIFAR-100.
    pub fn continuous_cifar100() -> Self {
        Self::new().with_epochs(1_000)
    }

    /// The adjoint method on MNIST.
    pub fn adjoint_mnist() -> Self {
        Self::new().with_epochs(2)
    }

    /// The adjoint method on CIFAR.
    pub fn adjoint_cifar() -> Self {
        Self::new().with_epochs(4)
    }

    /// Updates of a pass over `images` images, the last batch left out if it is not full.
    pub fn pass(&self, images: usize) -> usize {
        images.checked_div(self.batch).unwrap_or(0)
    }

    /// Updates of a whole training on `images` images of a model of which as many blocks take turns, a
    /// pass each in every epoch (algorithm 1).
    pub fn steps(&self, images: usize, turns: usize) -> usize {
        self.epochs * turns * self.pass(images)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        const NAME: &str = "TrainingConfig";
        if !(self.rate.is_finite() && self.rate > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(NAME, "rate", self.rate, rule));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            let rule = "must be finite and at least 0";
            return Err(Error::config(NAME, "weight_decay", self.weight_decay, rule));
        }
        for (field, value) in [("batch", self.batch), ("epochs", self.epochs)] {
            if value == 0 {
                return Err(Error::config(NAME, field, 0, "must be at least 1"));
            }
        }
        Ok(())
    }
}

/// A model that [`Training`] can train.
pub trait Learner: Module {
    /// Gradients of a step for a batch on a device with autodiff, with draws from `seed`, and what it
    /// logs. `block`, counted from 0, is the one that learns, of [`turns`](Self::turns).
    ///
    /// # Errors
    /// [`Error::Input`] for a batch that does not fit.
    fn gradients(
        &self,
        batch: &Labelled,
        block: usize,
        seed: Seed,
    ) -> Result<(GradientsParams, Scalars)>;

    /// The classes `[batch]` of images `[batch, channels, height, width]`, with draws from `seed`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are of another size.
    fn classify(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>>;

    /// Embeddings and head.
    fn readout_mut(&mut self) -> &mut Readout;

    /// How many blocks take turns, a pass over the data each.
    fn turns(&self) -> usize {
        1
    }

    /// The published optimiser: AdamW.
    ///
    /// # Errors
    /// What [`TrainingConfig::validate`] reports.
    fn optimiser(&self, config: &TrainingConfig) -> Result<ModuleOptimizer> {
        config.validate()?;
        // Parameters without a gradient are left alone: they do not even decay.
        let adam = AdamW::new().with_weight_decay(config.weight_decay);
        Ok(ModuleOptimizer::from(adam))
    }
}

/// Adam with the weight decay as part of the gradient, as PyTorch's has it: one pass over memory,
/// where Burn's own makes a dozen.
#[derive(Clone)]
struct CoupledAdam {
    adam: AdamW,
    decay: f64,
}

impl CoupledAdam {
    fn optimiser(config: &TrainingConfig) -> Result<ModuleOptimizer> {
        config.validate()?;
        Ok(ModuleOptimizer::from(Self {
            adam: AdamW::new().with_weight_decay(0.0),
            decay: config.weight_decay,
        }))
    }
}

impl Optimizer for CoupledAdam {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let gradient = match self.decay {
            0.0 => gradient,
            decay => gradient + tensor.clone() * decay,
        };
        self.adam.step(rate, tensor, gradient, state)
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        <AdamW as Optimizer>::to_device(state, device)
    }
}

/// Rows and width of the noise of a batch.
fn shape(batch: &Labelled, readout: &Readout) -> [usize; 2] {
    [batch.images.dims()[0], readout.config().dim]
}

impl Learner for NoPropDt {
    fn gradients(
        &self,
        batch: &Labelled,
        block: usize,
        seed: Seed,
    ) -> Result<(GradientsParams, Scalars)> {
        let shape = shape(batch, &self.readout);
        let noise = DtNoise::draw(shape, seed.stream("noise"), &batch.images.device());
        let loss = self.loss(block, batch, noise, Mode::Train(seed.stream("dropout")))?;
        let scalars = Scalars::new()
            .with("loss", loss.total.clone())
            .with("classification", loss.classification)
            .with("denoising", loss.denoising)
            .with_value("block", (block + 1) as f64);
        let gradients = GradientsParams::from_grads(loss.total.backward(), self);
        Ok((gradients, scalars))
    }

    fn classify(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>> {
        self.predict(images, seed)
    }

    fn readout_mut(&mut self) -> &mut Readout {
        &mut self.readout
    }

    fn turns(&self) -> usize {
        self.blocks.len()
    }
}

impl Learner for NoPropCt {
    fn gradients(
        &self,
        batch: &Labelled,
        _: usize,
        seed: Seed,
    ) -> Result<(GradientsParams, Scalars)> {
        let shape = shape(batch, &self.readout);
        let draws = CtDraws::draw(shape, seed.stream("draws"), &batch.images.device());
        let loss = self.loss(batch, draws, Mode::Train(seed.stream("dropout")))?;
        let scalars = Scalars::new()
            .with("loss", loss.total.clone())
            .with("classification", loss.classification)
            .with("divergence", loss.divergence)
            .with("denoising", loss.denoising);
        let gradients = GradientsParams::from_grads(loss.total.backward(), self);
        Ok((gradients, scalars))
    }

    fn classify(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>> {
        self.predict(images, seed)
    }

    fn readout_mut(&mut self) -> &mut Readout {
        &mut self.readout
    }

    fn optimiser(&self, config: &TrainingConfig) -> Result<ModuleOptimizer> {
        CoupledAdam::optimiser(config)
    }
}

impl Learner for NoPropFm {
    fn gradients(
        &self,
        batch: &Labelled,
        _: usize,
        seed: Seed,
    ) -> Result<(GradientsParams, Scalars)> {
        let shape = shape(batch, &self.readout);
        let draws = FmDraws::draw(shape, seed.stream("draws"), &batch.images.device());
        let loss = self.loss(batch, draws, Mode::Train(seed.stream("dropout")))?;
        let scalars = Scalars::new()
            .with("loss", loss.total.clone())
            .with("flow", loss.flow);
        let gradients = GradientsParams::from_grads(loss.total.backward(), self);
        Ok((gradients, scalars))
    }

    fn classify(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>> {
        self.predict(images, seed)
    }

    fn readout_mut(&mut self) -> &mut Readout {
        &mut self.readout
    }

    fn optimiser(&self, config: &TrainingConfig) -> Result<ModuleOptimizer> {
        CoupledAdam::optimiser(config)
    }
}

impl Learner for Backprop {
    fn gradients(
        &self,
        batch: &Labelled,
        _: usize,
        seed: Seed,
    ) -> Result<(GradientsParams, Scalars)> {
        let shape = shape(batch, &self.readout);
        let start = draw_normal(shape, seed.stream("start"), &batch.images.device());
        let loss = self.loss(batch, start, Mode::Train(seed.stream("dropout")))?;
        let scalars = Scalars::new().with("loss", loss.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), self);
        Ok((gradients, scalars))
    }

    fn classify(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>> {
        self.predict(images, seed)
    }

    fn readout_mut(&mut self) -> &mut Readout {
        &mut self.readout
    }
}

impl Learner for Adjoint {
    fn gradients(
        &self,
        batch: &Labelled,
        _: usize,
        seed: Seed,
    ) -> Result<(GradientsParams, Scalars)> {
        let shape = shape(batch, &self.readout);
        let start = draw_normal(shape, seed.stream("start"), &batch.images.device());
        // The same dropout at all times: the equation is one.
        let mode = Mode::Train(seed.stream("dropout"));
        let (loss, gradients) = Adjoint::gradients(self, batch, start, mode)?;
        Ok((gradients, Scalars::new().with("loss", loss)))
    }

    fn classify(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>> {
        self.predict(images, seed)
    }

    fn readout_mut(&mut self) -> &mut Readout {
        &mut self.readout
    }
}

type Batch<'a> = Box<dyn FnMut(usize, &Device) -> Result<Labelled> + 'a>;
type Evaluate<'a, M> = Box<dyn FnMut(&M, usize) -> Result<Metrics> + 'a>;

/// Trains a model (algorithms 1-3). Where blocks take turns, each learns for a pass over the data
/// before the next one does, and after the last one the first one again.
pub struct Training<'a, M: Learner> {
    model: Option<M>,
    optimiser: ModuleOptimizer,
    rate: f64,
    pass: usize,
    only: Option<usize>,
    seed: Seed,
    batch: Batch<'a>,
    evaluate: Option<Evaluate<'a, M>>,
    device: Device,
}

impl<'a, M: Learner> Training<'a, M> {
    /// A model on a device with autodiff, its settings, the number of steps of a pass over the data,
    /// and the batch of each step.
    ///
    /// # Errors
    /// What [`TrainingConfig::validate`] reports; [`Error::Input`] for a pass without steps.
    pub fn new(
        model: M,
        config: &TrainingConfig,
        steps_per_pass: usize,
        seed: Seed,
        batch: impl FnMut(usize, &Device) -> Result<Labelled> + 'a,
    ) -> Result<Self> {
        if steps_per_pass == 0 {
            return Err(Error::input("steps of a pass", 0, "must be at least 1"));
        }
        let device = model.devices().into_iter().next().unwrap_or_default();
        Ok(Self {
            optimiser: model.optimiser(config)?,
            model: Some(model),
            rate: config.rate,
            pass: steps_per_pass,
            only: None,
            seed,
            batch: Box::new(batch),
            evaluate: None,
            device: device.autodiff(),
        })
    }

    /// Trains block `block` alone, counted from 0, as one of several workers; see
    /// [`NoPropDt::adopt`].
    ///
    /// # Errors
    /// [`Error::Input`] if the model has no such block.
    pub fn train_block(mut self, block: usize) -> Result<Self> {
        let turns = self.model()?.turns();
        if block >= turns {
            let rule = format!("must be below the number of blocks, {turns}");
            return Err(Error::input("the block", block, rule));
        }
        self.only = Some(block);
        Ok(self)
    }

    /// Measures the model, without autodiff, during training.
    pub fn evaluating(mut self, evaluate: impl FnMut(&M, usize) -> Result<Metrics> + 'a) -> Self {
        self.evaluate = Some(Box::new(evaluate));
        self
    }

    /// The model in its present state, without autodiff.
    ///
    /// # Errors
    /// If a step failed half-way and left no model.
    pub fn trained(&self) -> Result<M> {
        Ok(self.model()?.valid())
    }

    fn model(&self) -> Result<&M> {
        self.model.as_ref().ok_or_else(lost)
    }
}

impl<M: Learner> Procedure for Training<'_, M> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        let batch = (self.batch)(step, &self.device)?;
        let seed = self.seed.stream("step").at(step as u64);
        let model = self.model()?;
        let turn = step / self.pass % model.turns();
        let (gradients, scalars) = model.gradients(&batch, self.only.unwrap_or(turn), seed)?;
        let model = self.model.take().ok_or_else(lost)?;
        self.model = Some(self.optimiser.step(self.rate, model, gradients));
        Ok(scalars)
    }

    fn evaluate(&mut self, step: usize) -> Result<Metrics> {
        let model = self.trained()?;
        match &mut self.evaluate {
            Some(evaluate) => evaluate(&model, step),
            None => Ok(Metrics::new()),
        }
    }

    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        non_finite(self.model()?)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        save_module(self.model()?, &folder.join("model.bpk"))?;
        save_optimiser(&self.optimiser, &folder.join("optimiser.bpk"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let model = self.model.take().ok_or_else(lost)?;
        self.model = Some(load_module(model, &folder.join("model.bpk"))?);
        self.optimiser = load_optimiser(self.optimiser.clone(), &folder.join("optimiser.bpk"))?;
        Ok(())
    }
}

fn lost() -> Error {
    Error::other(
        "training",
        "an earlier step failed half-way: start again from the last checkpoint",
    )
}
