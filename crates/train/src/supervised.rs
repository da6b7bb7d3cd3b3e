//! A loss, an optimiser and data: the procedure behind most papers.

use crate::{
    Ema, Metrics, Procedure, Rates, Scalars,
    checkpoint::{load_module, load_optimiser, save_module, save_optimiser},
    gradients::{clip_global_norm, scale},
};
use burn::data::{
    dataloader::{DataLoaderIterator, Progress as DataProgress},
    dataset::DatasetError,
};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use burn::train::{
    ExecutionStrategy, LearnerModel, MultiDeviceOptim, TrainStep, train::MultiDevicesTrainStep,
};
use menagerie_core::{Error, Result, Seed};
use std::path::Path;

/// Burn's data-parallel strategy over `devices` for its own `SupervisedTraining`: one device alone,
/// several with the optimiser on the first.
///
/// # Errors
/// [`Error::Input`] if there is no device.
pub fn execution_strategy(devices: &[Device]) -> Result<ExecutionStrategy> {
    match devices {
        [] => Err(Error::input(
            "devices",
            "[]",
            "must name at least one device",
        )),
        [device] => Ok(ExecutionStrategy::single(device.clone())),
        devices => Ok(ExecutionStrategy::multi(
            devices.to_vec(),
            MultiDeviceOptim::OptimMainDevice,
        )),
    }
}

/// What an evaluation computes from the model without autodiff.
type Evaluate<'a, M> = Box<dyn FnMut(&M, usize) -> Result<Metrics> + 'a>;
/// The batch of a micro-step, with its random draws, on the given device.
type Batch<'a, M> = Box<dyn FnMut(usize, &Device) -> Result<<M as TrainStep>::Input> + 'a>;

/// Trains a model that implements Burn's `TrainStep` with one optimiser (which may hold several
/// parameter groups).
///
/// A step takes `accumulate` micro-batches on each of the devices, averages their gradients,
/// clips them by their common norm if asked to, and updates the weights and their average.
pub struct Supervised<'a, M: LearnerModel> {
    model: Option<M>,
    optimiser: ModuleOptimizer,
    rates: Rates,
    batch: Batch<'a, M>,
    evaluate: Option<Evaluate<'a, M>>,
    ema: Option<Ema<M>>,
    clip: Option<f64>,
    accumulate: usize,
    seed: Option<Seed>,
    devices: Vec<Device>,
    workers: Option<MultiDevicesTrainStep<M>>,
}

impl<'a, M> Supervised<'a, M>
where
    M: LearnerModel + TrainStep<Output = Scalars>,
{
    /// A model with autodiff, its optimiser, its learning rates and its data.
    ///
    /// `batch(index, device)` gives the `index`-th micro-batch of the run: the step's number with
    /// one device and no accumulation, else `step · accumulate · devices + …`.
    pub fn new(
        model: M,
        optimiser: impl Into<ModuleOptimizer>,
        rates: impl Into<Rates>,
        batch: impl FnMut(usize, &Device) -> Result<<M as TrainStep>::Input> + 'a,
    ) -> Self {
        let devices = model
            .devices()
            .into_iter()
            .take(1)
            .map(Device::autodiff)
            .collect();
        Self {
            model: Some(model),
            optimiser: optimiser.into(),
            rates: rates.into(),
            batch: Box::new(batch),
            evaluate: None,
            ema: None,
            clip: None,
            accumulate: 1,
            seed: None,
            devices,
            workers: None,
        }
    }

    /// Measures the model (its average, if there is one), without autodiff, during training.
    pub fn evaluating(mut self, evaluate: impl FnMut(&M, usize) -> Result<Metrics> + 'a) -> Self {
        self.evaluate = Some(Box::new(evaluate));
        self
    }

    /// Keeps an exponential moving average of the weights.
    ///
    /// # Errors
    /// [`Error::Config`] if `decay` does not lie in `[0, 1]`.
    pub fn averaging(mut self, decay: f64) -> Result<Self> {
        self.ema = Some(Ema::new(self.model()?, decay)?);
        Ok(self)
    }

    /// Clips the gradients by their common norm.
    ///
    /// # Errors
    /// [`Error::Config`] if `norm` is not positive.
    pub fn clipping(mut self, norm: f64) -> Result<Self> {
        if norm.is_nan() || norm <= 0.0 {
            return Err(Error::config(
                "Supervised",
                "clip",
                norm,
                "must be positive",
            ));
        }
        self.clip = Some(norm);
        Ok(self)
    }

    /// Averages the gradients of `micro_batches` batches before each update.
    ///
    /// # Errors
    /// [`Error::Config`] if it is 0.
    pub fn accumulating(mut self, micro_batches: usize) -> Result<Self> {
        if micro_batches == 0 {
            return Err(Error::config(
                "Supervised",
                "accumulate",
                0,
                "must be at least 1",
            ));
        }
        self.accumulate = micro_batches;
        Ok(self)
    }

    /// Restarts the devices' own random generators from `seed` at every step, for models whose
    /// layers draw from them (dropout, drop path), so that a resumed run draws the same. A backend
    /// has one generator for the whole process: do not train two such models at once.
    pub fn seeding(mut self, seed: Seed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Computes each step's gradients on several devices, one micro-batch each, through
    /// burn-train's data-parallel step; weights and optimiser stay on the first. With more than two
    /// devices their gradients are added in the order in which they arrive, so the last bits of a
    /// run may differ from time to time.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no device.
    pub fn on_devices(mut self, devices: Vec<Device>) -> Result<Self> {
        if devices.is_empty() {
            return Err(Error::input(
                "devices",
                "[]",
                "must name at least one device",
            ));
        }
        self.devices = devices.into_iter().map(Device::autodiff).collect();
        if let (Some(model), [first, ..]) = (self.model.take(), &self.devices[..]) {
            self.model = Some(model.fork(first));
            self.ema = self.ema.map(|ema| ema.fork(first));
        }
        self.workers = (self.devices.len() > 1).then(|| MultiDevicesTrainStep::new(&self.devices));
        Ok(self)
    }

    /// The model in its present state, with autodiff.
    ///
    /// # Errors
    /// If a step failed half-way and left no model.
    pub fn model(&self) -> Result<&M> {
        self.model.as_ref().ok_or_else(lost)
    }

    /// The model to use: the average if there is one, else the trained model; without autodiff.
    ///
    /// # Errors
    /// If a step failed half-way and left no model.
    pub fn trained(&self) -> Result<M> {
        match &self.ema {
            Some(ema) => Ok(ema.module().clone()),
            None => Ok(self.model()?.valid()),
        }
    }

    /// Gradients of one micro-step on every device.
    fn gradients(&mut self, index: usize) -> Result<Vec<(GradientsParams, Scalars)>> {
        let model = self.model.as_ref().ok_or_else(lost)?;
        let mut inputs = Vec::with_capacity(self.devices.len());
        for (offset, device) in self.devices.iter().enumerate() {
            inputs.push((self.batch)(index + offset, device)?);
        }
        match &self.workers {
            None => Ok(inputs
                .into_iter()
                .map(|input| {
                    let output = TrainStep::step(model, input);
                    (output.grads, output.item)
                })
                .collect()),
            Some(workers) => {
                let mut loaders: Vec<Box<dyn DataLoaderIterator<<M as TrainStep>::Input>>> = inputs
                    .into_iter()
                    .map(|input| Box::new(Once(Some(input))) as Box<dyn DataLoaderIterator<_>>)
                    .collect();
                let (outputs, _) = workers
                    .step(&mut loaders, model)
                    .map_err(|error| Error::other("the data-parallel step", error))?;
                Ok(outputs
                    .into_iter()
                    .map(|output| {
                        let grads = output.output.grads.to_device(&self.devices[0], model);
                        (grads, output.output.item)
                    })
                    .collect())
            }
        }
    }
}

impl<M> Procedure for Supervised<'_, M>
where
    M: LearnerModel + TrainStep<Output = Scalars>,
{
    fn step(&mut self, step: usize) -> Result<Scalars> {
        self.rates.validate()?;
        if let Some(seed) = self.seed {
            for device in &self.devices {
                device.seed(seed.at(step as u64).0);
            }
        }
        let parts = self.accumulate * self.devices.len();
        let (mut gradients, scalars) = if parts == 1 {
            self.gradients(step)?.pop().ok_or_else(lost)?
        } else {
            let mut accumulator = GradientsAccumulator::new();
            let mut scalars = Vec::with_capacity(parts);
            for micro in 0..self.accumulate {
                let index = step * parts + micro * self.devices.len();
                for (gradients, part) in self.gradients(index)? {
                    accumulator.accumulate(self.model()?, gradients);
                    scalars.push(part);
                }
            }
            let factor = Tensor::from_floats([1.0 / parts as f32], &self.devices[0]);
            let factor = factor.without_autodiff();
            (
                scale(self.model()?, accumulator.grads(), &factor),
                Scalars::mean(scalars, &self.devices[0].clone().without_autodiff()),
            )
        };
        if let Some(limit) = self.clip {
            gradients = clip_global_norm(self.model()?, gradients, limit);
        }
        let model = self.model.take().ok_or_else(lost)?;
        let model = model.optimize(&mut self.optimiser, self.rates.at(step), gradients);
        if let Some(ema) = &mut self.ema {
            ema.update(&model);
        }
        self.model = Some(model);
        Ok(scalars)
    }

    fn evaluate(&mut self, step: usize) -> Result<Metrics> {
        match self.evaluate.take() {
            None => Ok(Metrics::new()),
            Some(mut evaluate) => {
                let metrics = evaluate(&self.trained()?, step);
                self.evaluate = Some(evaluate);
                metrics
            }
        }
    }

    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        non_finite(self.model()?)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        save_module(self.model()?, &folder.join("model.bpk"))?;
        save_optimiser(&self.optimiser, &folder.join("optimiser.bpk"))?;
        self.ema
            .as_ref()
            .map_or(Ok(()), |ema| ema.save(&folder.join("average.bpk")))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let model = self.model.take().ok_or_else(lost)?;
        self.model = Some(load_module(model, &folder.join("model.bpk"))?);
        self.optimiser = load_optimiser(self.optimiser.clone(), &folder.join("optimiser.bpk"))?;
        self.ema
            .as_mut()
            .map_or(Ok(()), |ema| ema.load(&folder.join("average.bpk")))
    }
}

/// The first parameter of `module` that holds a NaN or an infinity, and what its values add up to:
/// what [`Procedure::non_finite`] asks for.
///
/// # Errors
/// A parameter that cannot be read.
pub fn non_finite<M: Module>(module: &M) -> Result<Option<(String, f64)>> {
    let mut search = NonFinite::default();
    module.visit(&mut search);
    match search.error {
        Some(error) => Err(error),
        None => Ok(search.found),
    }
}

/// Looks for a parameter whose values do not add up to a finite number.
#[derive(Default)]
struct NonFinite {
    path: Vec<String>,
    found: Option<(String, f64)>,
    error: Option<Error>,
}

impl ModuleVisitor for NonFinite {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.found.is_some() {
            return;
        }
        let sum = param.val().without_autodiff().abs().sum();
        match sum.try_into_scalar::<f64>() {
            Ok(sum) if sum.is_finite() => {}
            Ok(sum) => self.found = Some((self.path.join("."), sum)),
            Err(error) => self.error = Some(Error::other("reading the parameters", error)),
        }
    }
}

fn lost() -> Error {
    Error::other(
        "training",
        "an earlier step failed half-way: start again from the last checkpoint",
    )
}

/// A data loader of one batch, as burn-train's data-parallel step wants it.
struct Once<I>(Option<I>);

impl<I> Iterator for Once<I> {
    type Item = std::result::Result<I, DatasetError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl<I> DataLoaderIterator<I> for Once<I> {
    fn progress(&self) -> DataProgress {
        DataProgress::new(1, 1, None)
    }
}
