//! Training of one autoencoder after the other, each on all pixels.

use super::{
    config::{AutoencoderConfig, StackConfig, StageConfig},
    direct::Direct,
    model::{Autoencoder, Stack, in_parts},
};
use burn::{module::Module, tensor::Device};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::{FitConfig, Metrics, Procedure, Progress, Run, Scalars, initialise};
use rand::seq::SliceRandom;
use serde::Serialize;
use std::path::Path;

/// Trains an autoencoder on pixels in host memory, as Keras does: every pass visits all pixels once in a
/// new random order, and its last batch is the rest.
///
/// Steps are computed without tensors, on the processor; so small a network would keep any other device
/// waiting.
pub struct AutoencoderTraining<'a> {
    model: Autoencoder,
    state: Direct,
    pixels: &'a [f32],
    config: StageConfig,
    seed: Seed,
    /// The order of the pass that was last asked for.
    order: Option<(usize, Vec<u32>)>,
}

impl<'a> AutoencoderTraining<'a> {
    /// Trains `model` on `pixels`, `[n, inputs]`.
    ///
    /// # Errors
    /// What [`StageConfig::validate`] reports; [`Error::Input`] if the pixels are not whole or there is
    /// none.
    pub fn new(
        model: &Autoencoder,
        pixels: &'a [f32],
        config: &StageConfig,
        seed: Seed,
    ) -> Result<Self> {
        config.validate()?;
        let inputs = model.config().inputs;
        let count = pixels.len() / inputs;
        if count == 0 || !pixels.len().is_multiple_of(inputs) || count > u32::MAX as usize {
            let rule = format!("must be a positive multiple of {inputs}, the values of a pixel");
            return Err(Error::input("the number of values", pixels.len(), rule));
        }
        Ok(Self {
            state: Direct::new(model)?,
            model: model.valid(),
            pixels,
            config: config.clone(),
            seed,
            order: None,
        })
    }

    fn inputs(&self) -> usize {
        self.model.config().inputs
    }

    fn count(&self) -> usize {
        self.pixels.len() / self.inputs()
    }

    /// Batches of a pass over the pixels.
    pub fn steps_per_epoch(&self) -> usize {
        self.count().div_ceil(self.config.batch)
    }

    /// How [`Run::fit`] runs the whole stage.
    pub fn fit_config(&self) -> FitConfig {
        let epoch = self.steps_per_epoch();
        FitConfig {
            log_every: (epoch / 4).max(1),
            evaluate_every: epoch,
            checkpoint_every: epoch,
            keep_checkpoints: 1,
            ..FitConfig::new(self.config.epochs * epoch)
        }
    }

    /// The autoencoder in its present state, without autodiff.
    ///
    /// # Errors
    /// None in practice: the parameters are those of the network.
    pub fn trained(&self) -> Result<Autoencoder> {
        self.state.write(self.model.clone())
    }

    /// Shuffles the pixels for the pass of a step, unless they are.
    fn shuffle(&mut self, step: usize) {
        let epoch = step / self.steps_per_epoch();
        if self.order.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let mut order: Vec<u32> = (0..self.count() as u32).collect();
            order.shuffle(&mut self.seed.stream("batches").at(epoch as u64).rng());
            self.order = Some((epoch, order));
        }
    }
}

impl Procedure for AutoencoderTraining<'_> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        self.shuffle(step);
        let start = step % self.steps_per_epoch() * self.config.batch;
        let end = self.count().min(start + self.config.batch);
        let (inputs, pixels) = (self.inputs(), self.pixels);
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let batch = &order[start..end];
        let pixel = |place: usize| &pixels[batch[place] as usize * inputs..][..inputs];
        let terms = self
            .state
            .backward(batch.len(), pixel, self.config.penalty as f32);
        self.state.update(self.config.learning_rate);
        Ok(Scalars::new()
            .with_value("loss", terms.error + terms.activity)
            .with_value("error", terms.error)
            .with_value("activity", terms.activity))
    }

    /// The mean squared error over all pixels.
    fn evaluate(&mut self, _step: usize) -> Result<Metrics> {
        let error = reconstruction_error(&self.trained()?, self.pixels)?;
        Ok(Metrics::new().with("error", error))
    }

    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        let found = self.state.non_finite();
        Ok(found.map(|value| ("a parameter".to_string(), value)))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.state.save(&folder.join("state.safetensors"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        self.state.load(&folder.join("state.safetensors"))
    }
}

/// The mean squared error of `model` over pixels `[n, inputs]`.
fn reconstruction_error(model: &Autoencoder, pixels: &[f32]) -> Result<f64> {
    let device = model.devices().into_iter().next().unwrap_or_default();
    let device = device.without_autodiff();
    let rebuilt = in_parts(pixels, model.config().inputs, &device, |x| {
        model.reconstruct(x)
    })?;
    let pairs = pixels.iter().zip(&rebuilt);
    let squares: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
    Ok(squares / pixels.len() as f64)
}

/// Where and from which seed autoencoders are trained.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    /// From which everything random is drawn.
    pub seed: Seed,
    /// The run's folder; every stage has one of its own in it.
    pub folder: &'a Path,
    /// Whether stages that are there are continued.
    pub resume: bool,
    /// Where progress is shown.
    pub progress: &'a Progress,
    /// Where the networks live, without autodiff.
    pub device: &'a Device,
}

/// An autoencoder after training and how well it reconstructs.
#[derive(Clone, Debug)]
pub struct Trained<M> {
    /// The network, without autodiff.
    pub model: M,
    /// For each autoencoder the mean squared error over all its inputs, in order.
    pub errors: Vec<f64>,
}

#[derive(Serialize)]
struct Setup<'a> {
    model: &'a AutoencoderConfig,
    stage: &'a StageConfig,
    values: usize,
    seed: Seed,
}

impl Fit<'_> {
    /// Trains one autoencoder on pixels `[n, inputs]` in 0..1, drawn from the seed.
    ///
    /// # Errors
    /// What [`AutoencoderTraining::new`] and [`Run::fit`] report.
    pub fn autoencoder(
        &self,
        name: &str,
        config: &AutoencoderConfig,
        stage: &StageConfig,
        pixels: &[f32],
    ) -> Result<Trained<Autoencoder>> {
        let seed = self.seed.stream(name);
        let model = initialise(self.device, seed.stream("weights"), || {
            config.init(self.device)
        })?;
        self.train(name, &model, stage, pixels)
    }

    fn train(
        &self,
        name: &str,
        model: &Autoencoder,
        stage: &StageConfig,
        pixels: &[f32],
    ) -> Result<Trained<Autoencoder>> {
        let seed = self.seed.stream(name);
        let mut training = AutoencoderTraining::new(model, pixels, stage, seed)?;
        let setup = Setup {
            model: model.config(),
            stage,
            values: pixels.len(),
            seed: self.seed,
        };
        let run = Run::create(&self.folder.join(name), &setup, self.resume)?;
        let fit = training.fit_config();
        run.fit(&mut training, &fit, &self.progress.labelled(name))?;
        let model = training.trained()?;
        let error = reconstruction_error(&model, pixels)?;
        Ok(Trained {
            model,
            errors: vec![error],
        })
    }

    /// Trains the three autoencoders of a stack on pixels `[n, D]` in 0..1, one after the other, each on
    /// what the finished ones before it leave.
    ///
    /// # Errors
    /// As [`autoencoder`](Self::autoencoder).
    pub fn stack(
        &self,
        config: &StackConfig,
        stages: &[StageConfig; 3],
        pixels: &[f32],
    ) -> Result<Trained<Stack>> {
        let seed = self.seed.stream("stack").stream("weights");
        let mut stack = initialise(self.device, seed, || config.init(self.device))?;
        let mut errors = Vec::new();
        let mut keep = |trained: Trained<Autoencoder>| {
            errors.extend(trained.errors);
            trained.model
        };
        stack.ae1 = keep(self.train("stack-1", &stack.ae1, &stages[0], pixels)?);
        let second = in_parts(pixels, config.bands, self.device, |x| stack.second_input(x))?;
        stack.ae2 = keep(self.train("stack-2", &stack.ae2, &stages[1], &second)?);
        let columns = 2 * config.bands;
        let third = in_parts(&second, columns, self.device, |x| stack.third_input(x))?;
        drop(second);
        stack.ae3 = keep(self.train("stack-3", &stack.ae3, &stages[2], &third)?);
        Ok(Trained {
            model: stack,
            errors,
        })
    }
}
