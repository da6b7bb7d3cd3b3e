//! Training of one autoencoder after the other, each on all pixels.

use super::{
    chain::Before,
    code::CodeVariance,
    config::{AutoencoderConfig, StackConfig, StageConfig},
    direct::Direct,
    model::{Autoencoder, Stack},
};
use crate::fingerprint::Fingerprint;
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
    before: Before,
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
        Self::after(Before::default(), model, pixels, config, seed)
    }

    /// The same on what the autoencoders before it make of pixels `[n, bands]`.
    fn after(
        before: Before,
        model: &Autoencoder,
        pixels: &'a [f32],
        config: &StageConfig,
        seed: Seed,
    ) -> Result<Self> {
        config.validate()?;
        let bands = before.bands(model.config().inputs);
        let count = pixels.len() / bands;
        if count == 0 || !pixels.len().is_multiple_of(bands) || count > u32::MAX as usize {
            let rule = format!("must be a positive multiple of {bands}, the values of a pixel");
            return Err(Error::input("the number of values", pixels.len(), rule));
        }
        Ok(Self {
            state: Direct::new(model)?,
            model: model.valid(),
            before,
            pixels,
            config: config.clone(),
            seed,
            order: None,
        })
    }

    fn bands(&self) -> usize {
        self.before.bands(self.state.inputs())
    }

    fn count(&self) -> usize {
        self.pixels.len() / self.bands()
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
            let order = draw_order(self.count(), epoch, self.seed);
            self.order = Some((epoch, order));
        }
    }
}

/// The order in which a pass, counted from 0, visits `count` pixels.
pub fn draw_order(count: usize, pass: usize, seed: Seed) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.shuffle(&mut seed.stream("batches").at(pass as u64).rng());
    order
}

impl Procedure for AutoencoderTraining<'_> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        self.shuffle(step);
        let start = step % self.steps_per_epoch() * self.config.batch;
        let end = self.count().min(start + self.config.batch);
        let (bands, pixels) = (self.bands(), self.pixels);
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let batch = &order[start..end];
        let pixel = |place: usize| &pixels[batch[place] as usize * bands..][..bands];
        self.before.feed(batch.len(), pixel, &mut self.state);
        let terms = self.state.backward(batch.len(), self.config.penalty as f32);
        self.state.update(self.config.learning_rate);
        Ok(Scalars::new()
            .with_value("loss", terms.error + terms.activity)
            .with_value("error", terms.error)
            .with_value("activity", terms.activity))
    }

    /// The mean squared error over all pixels.
    fn evaluate(&mut self, _step: usize) -> Result<Metrics> {
        let survey = self.before.survey(&self.state, self.pixels, false);
        Ok(Metrics::new().with("error", survey.error))
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
    /// For each autoencoder how its codes of all pixels vary, in order.
    pub codes: Vec<CodeVariance>,
}

impl<M> Trained<M> {
    /// Whether a code has collapsed.
    pub fn collapsed(&self) -> bool {
        self.codes.iter().any(CodeVariance::collapsed)
    }
}

/// What a stage is trained on, and how.
struct Stage<'a> {
    name: &'a str,
    config: &'a StageConfig,
    pixels: Pixels<'a>,
    before: Before,
}

/// What identifies a stage: `config.json` of its folder.
#[derive(Serialize)]
struct Setup<'a> {
    model: &'a AutoencoderConfig,
    stage: StageConfig,
    pixels: Identity,
    seed: Seed,
    attempt: usize,
}

/// Which pixels: another scene of the same size is not this one.
#[derive(Clone, Copy, Serialize)]
struct Identity {
    values: usize,
    hash: Fingerprint,
}

/// Pixels `[n, bands]` and who they are.
#[derive(Clone, Copy)]
struct Pixels<'a> {
    values: &'a [f32],
    identity: Identity,
}

impl<'a> Pixels<'a> {
    fn new(values: &'a [f32]) -> Self {
        let identity = Identity {
            values: values.len(),
            hash: Fingerprint::of(values),
        };
        Self { values, identity }
    }
}

impl Fit<'_> {
    /// Trains one autoencoder on pixels `[n, inputs]` in 0..1, drawn from the seed.
    ///
    /// # Errors
    /// What [`AutoencoderTraining::new`] and [`Run::fit`] report; with `resume`, [`Error::Format`] if
    /// the folder holds a run of other pixels, settings or seed; [`Error::Input`] if there are fewer
    /// than two pixels, or the code collapses in every attempt of a stage that has
    /// [`restarts`](StageConfig::restarts).
    pub fn autoencoder(
        &self,
        name: &str,
        config: &AutoencoderConfig,
        stage: &StageConfig,
        pixels: &[f32],
    ) -> Result<Trained<Autoencoder>> {
        let stage = Stage {
            name,
            config: stage,
            pixels: Pixels::new(pixels),
            before: Before::default(),
        };
        self.train(&self.draw_autoencoder(name, config)?, &stage)
    }

    /// The autoencoder that [`autoencoder`](Self::autoencoder) starts from.
    ///
    /// # Errors
    /// What [`AutoencoderConfig::validate`] reports.
    pub fn draw_autoencoder(&self, name: &str, config: &AutoencoderConfig) -> Result<Autoencoder> {
        let seed = self.stage_seed(name).stream("weights");
        initialise(self.device, seed, || config.init(self.device))
    }

    /// The stack that [`stack`](Self::stack) starts from.
    ///
    /// # Errors
    /// What [`StackConfig::validate`] reports.
    pub fn draw_stack(&self, config: &StackConfig) -> Result<Stack> {
        let seed = self.stage_seed("stack").stream("weights");
        initialise(self.device, seed, || config.init(self.device))
    }

    /// From which a stage of that name draws its weights and the orders of its passes
    /// ([`draw_order`]). The stages of a stack are called `stack-1` to `stack-3`.
    pub fn stage_seed(&self, name: &str) -> Seed {
        self.seed.stream(name)
    }

    /// The first attempt whose code has not collapsed, if that matters.
    fn train(&self, model: &Autoencoder, stage: &Stage) -> Result<Trained<Autoencoder>> {
        let seed = self.stage_seed(stage.name);
        let mut trained = self.attempt(stage, 0, model, seed)?;
        let restarts = stage.config.restarts;
        for attempt in 1..=restarts {
            if !trained.collapsed() {
                break;
            }
            let seed = seed.stream("again").at(attempt as u64);
            let config = model.config();
            let again = initialise(self.device, seed.stream("weights"), || {
                config.init(self.device)
            })?;
            trained = self.attempt(stage, attempt, &again, seed)?;
        }
        if restarts > 0
            && let Some(code) = trained.codes.iter().find(|code| code.collapsed())
        {
            let rule = format!(
                "must be {}, its units: {} attempts from different weights have collapsed; lower the \
                 penalty or allow more restarts",
                code.along.len(),
                restarts + 1
            );
            let what = format!("the rank of the codes of {}", stage.name);
            return Err(Error::input(what, code.rank(), rule));
        }
        Ok(trained)
    }

    fn attempt(
        &self,
        stage: &Stage,
        attempt: usize,
        model: &Autoencoder,
        seed: Seed,
    ) -> Result<Trained<Autoencoder>> {
        let (before, pixels) = (stage.before.clone(), stage.pixels);
        let mut training =
            AutoencoderTraining::after(before, model, pixels.values, stage.config, seed)?;
        let setup = Setup {
            model: model.config(),
            // More restarts do not make it another attempt.
            stage: stage.config.clone().with_restarts(0),
            pixels: pixels.identity,
            seed: self.seed,
            attempt,
        };
        let name = match attempt {
            0 => stage.name.to_string(),
            _ => format!("{}-again-{attempt}", stage.name),
        };
        let run = Run::create(&self.folder.join(&name), &setup, self.resume)?;
        let fit = training.fit_config();
        run.fit(&mut training, &fit, &self.progress.labelled(&name))?;
        let survey = stage.before.survey(&training.state, pixels.values, true);
        Ok(Trained {
            model: training.trained()?,
            errors: vec![survey.error],
            codes: vec![CodeVariance::of(&survey.codes, model.config().code())?],
        })
    }

    /// Trains the three autoencoders of a stack on pixels `[n, D]` in 0..1, one after the other, each on
    /// what the finished ones before it leave.
    ///
    /// What the second and the third are trained on is computed for every batch from the pixels, so
    /// that memory holds these and four bytes more for each. Where even that is too much, a
    /// [`sample`](super::sample) of the pixels takes their place.
    ///
    /// # Errors
    /// As [`autoencoder`](Self::autoencoder).
    pub fn stack(
        &self,
        config: &StackConfig,
        stages: &[StageConfig; 3],
        pixels: &[f32],
    ) -> Result<Trained<Stack>> {
        let mut stack = self.draw_stack(config)?;
        let pixels = Pixels::new(pixels);
        let (mut errors, mut codes) = (Vec::new(), Vec::new());
        let mut keep = |trained: Trained<Autoencoder>| {
            errors.extend(trained.errors);
            codes.extend(trained.codes);
            trained.model
        };
        let stage = |name, index: usize, before| Stage {
            name,
            config: &stages[index],
            pixels,
            before,
        };
        let first = stage("stack-1", 0, Before::default());
        stack.ae1 = keep(self.train(&stack.ae1, &first)?);
        let before = Before::second(Direct::new(&stack.ae1)?);
        let second = stage("stack-2", 1, before.clone());
        stack.ae2 = keep(self.train(&stack.ae2, &second)?);
        let before = before.third(Direct::new(&stack.ae2)?);
        stack.ae3 = keep(self.train(&stack.ae3, &stage("stack-3", 2, before))?);
        Ok(Trained {
            model: stack,
            errors,
            codes,
        })
    }
}
