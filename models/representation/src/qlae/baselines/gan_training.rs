//! The alternation of critic and generator steps.

use super::{
    super::training::{TrainingConfig, mean},
    infogan::{GanDraws, InfoGan, InfoGanConfig},
};
use burn::{
    module::Module,
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::{
    Procedure, Scalars, initialise, load_module, load_optimiser, save_module, save_optimiser,
};
use std::path::Path;

/// The real images `[batch, channels, height, width]` of a step, on the given device.
type Images<'a> = Box<dyn FnMut(usize, &Device) -> Result<Tensor<4>> + 'a>;

/// Trains an [`InfoGan`]: the critic in every step, the generator and the codebooks in every
/// `generator_every`-th.
pub struct GanTraining<'a> {
    model: Option<InfoGan>,
    critic: ModuleOptimizer,
    generator: ModuleOptimizer,
    learning_rate: f64,
    generator_every: usize,
    latents: usize,
    seed: Seed,
    device: Device,
    images: Images<'a>,
}

impl<'a> GanTraining<'a> {
    /// A fresh model of `config` on `device` and its optimisers; `seed` draws the parameters, the
    /// latents and the interpolations.
    ///
    /// # Errors
    /// What the configurations' `validate` reports.
    pub fn new(
        config: &InfoGanConfig,
        training: &TrainingConfig,
        seed: Seed,
        device: &Device,
        images: impl FnMut(usize, &Device) -> Result<Tensor<4>> + 'a,
    ) -> Result<Self> {
        let device = device.clone().autodiff();
        Ok(Self {
            model: Some(initialise(&device, seed.stream("init"), || {
                config.init(&device)
            })?),
            critic: training.optimizer()?,
            generator: training.optimizer()?,
            learning_rate: training.learning_rate,
            generator_every: config.generator_every,
            latents: config.latents,
            seed: seed.stream("gan"),
            device,
            images: Box::new(images),
        })
    }

    /// The model in its present state, without autodiff.
    ///
    /// # Errors
    /// If a step failed half-way and left no model.
    pub fn trained(&self) -> Result<InfoGan> {
        self.model.as_ref().map(Module::valid).ok_or_else(lost)
    }
}

fn lost() -> Error {
    Error::other(
        "adversarial training",
        "an earlier step failed and left no model",
    )
}

impl Procedure for GanTraining<'_> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        let images = (self.images)(step, &self.device)?;
        let batch = images.dims()[0];
        let draw = |name: &str| {
            let seed = self.seed.stream(name);
            GanDraws::draw(batch, self.latents, &self.device, seed, step)
        };
        let mut model = self.model.take().ok_or_else(lost)?;

        let loss = model.critic_loss(images, &draw("critic"));
        let mut scalars = Scalars::new()
            .with("critic", mean(&loss.total))
            .with("value", mean(&loss.value))
            .with("gradient", mean(&loss.gradient))
            .with("latent", mean(&loss.latent));
        let mut gradients = loss.total.mean().backward();
        let gradients = GradientsParams::from_module(&mut gradients, &model.encoder);
        model = self.critic.step(self.learning_rate, model, gradients);

        if (step + 1).is_multiple_of(self.generator_every) {
            let loss = model.generator_loss(&draw("generator"));
            scalars = scalars.with("generator", mean(&loss.total));
            let mut gradients = loss.total.mean().backward();
            let mut updates = GradientsParams::from_module(&mut gradients, &model.generator);
            if let Some(quantizer) = &model.latent
                && let Some(gradient) = quantizer.values.val().grad(&gradients)
            {
                updates.register(quantizer.values.id, gradient);
            }
            model = self.generator.step(self.learning_rate, model, updates);
        }
        self.model = Some(model);
        Ok(scalars)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let model = self.model.as_ref().ok_or_else(lost)?;
        save_module(model, &folder.join("model.bpk"))?;
        save_optimiser(&self.critic, &folder.join("critic.bpk"))?;
        save_optimiser(&self.generator, &folder.join("generator.bpk"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let model = self.model.take().ok_or_else(lost)?;
        self.model = Some(load_module(model, &folder.join("model.bpk"))?);
        self.critic = load_optimiser(self.critic.clone(), &folder.join("critic.bpk"))?;
        self.generator = load_optimiser(self.generator.clone(), &folder.join("generator.bpk"))?;
        Ok(())
    }
}
