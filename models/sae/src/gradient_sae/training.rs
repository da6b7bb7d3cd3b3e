//! Training on pairs of activation and gradient, and what a latent does to the logits.

use super::{config::GradientSaeConfig, model::GradientSae, objective::loss};
use crate::{
    activations::Batches,
    host::{HookPoint, LanguageModel},
    sae::{
        AuxK, Convention, ObjectiveConfig, Reconstruction, SaeRun, SparseAutoencoder,
        training::{Constraint, DeadRule, RateSchedule, SaeTrainer, SaeTrainingConfig},
    },
};
use burn::{
    config::Config,
    tensor::{Int, Tensor},
};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::{AdamConfig, Scalars};

/// The TopK recipe that the paper builds on: FVU + AuxK/32, Adam with ε = 6.25e-10, unit-norm
/// decoder with its gradient projected, clipping at 1.
#[derive(Config, Debug, PartialEq)]
pub struct GradientSaeTrainingConfig {
    /// Number of steps.
    #[config(default = 48_828)]
    pub steps: usize,
    /// Rows per step.
    #[config(default = 4_096)]
    pub batch: usize,
    /// The learning rate, 1e-4 to 1e-3.
    #[config(default = 1e-4)]
    pub learning_rate: f64,
    /// Dead latents that take part in AuxK at most.
    #[config(default = 256)]
    pub auxk: usize,
    /// Weight of AuxK.
    #[config(default = 0.03125)]
    pub auxk_coefficient: f64,
    /// Steps without an activation after which a latent is dead.
    #[config(default = 2_500)]
    pub dead_after: u64,
}

impl GradientSaeTrainingConfig {
    /// 1,200 steps of 1,024 rows at 1e-3, for the small character model.
    pub fn small() -> Self {
        Self::new()
            .with_steps(1_200)
            .with_batch(1_024)
            .with_learning_rate(1e-3)
            .with_auxk(32)
            .with_dead_after(100)
    }

    /// Layer 7 of GPT-2 small: 200 million tokens in batches of 4,096.
    pub fn gpt2_small() -> Self {
        Self::new()
    }

    /// The objective: FVU + AuxK.
    pub fn objective(&self) -> ObjectiveConfig {
        let auxiliary = AuxK::new(Convention::DictionaryLearning)
            .with_k(self.auxk)
            .with_coefficient(self.auxk_coefficient);
        ObjectiveConfig::new()
            .with_reconstruction(Reconstruction::Fvu)
            .with_auxiliary(Some(auxiliary))
    }

    /// The same for the trainer of every autoencoder.
    pub fn training(&self) -> SaeTrainingConfig {
        let rate = RateSchedule::Constant {
            rate: self.learning_rate,
        };
        SaeTrainingConfig::new(self.objective(), rate)
            .with_adam(AdamConfig {
                epsilon: 6.25e-10,
                ..AdamConfig::default()
            })
            .with_constraint(Constraint::ProjectStepNormalize)
            .with_dead(DeadRule::Steps(self.dead_after))
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("steps", self.steps), ("batch", self.batch)] {
            if value == 0 {
                let rule = "must be at least 1";
                return Err(Error::config("GradientSaeTrainingConfig", field, 0, rule));
            }
        }
        Ok(())
    }
}

/// A g-SAE in training.
pub struct GradientSaeTrainer {
    /// Weights, optimiser and dead latents.
    pub inner: SaeTrainer,
    config: GradientSaeConfig,
}

impl GradientSaeTrainer {
    /// Before the first step; the autoencoder lies on a device with autodiff.
    ///
    /// # Errors
    /// What the configurations' `validate` report.
    pub fn new(sae: GradientSae, training: &GradientSaeTrainingConfig, seed: Seed) -> Result<Self> {
        training.validate()?;
        Ok(Self {
            config: sae.config().clone(),
            inner: SaeTrainer::new(sae.sae, training.training(), seed)?,
        })
    }

    /// Step `step` on activations `x` and gradients `g`, `[rows, d_in]` each.
    ///
    /// # Errors
    /// As [`GradientSae::loss`].
    pub fn step(&mut self, step: usize, x: Tensor<2>, g: Tensor<2>) -> Result<Scalars> {
        let config = &self.config;
        self.inner
            .step_with(step, x.clone(), |sae, objective, situation| {
                loss(sae, config, x, g, objective, situation)
            })
    }

    /// The whole training on a stream of activations, each paired with its gradient.
    ///
    /// # Errors
    /// A stream of another width; a step fails on a batch without gradients.
    pub fn run<'a, B: Batches>(self, batches: B) -> Result<SaeRun<'a, B>> {
        let config = self.config;
        let run = SaeRun::new(self.inner, batches)?;
        Ok(run.stepping(move |trainer, step, batch| {
            let g = batch.paired.ok_or_else(|| {
                Error::input(
                    "gradient",
                    "missing",
                    "selection by gradient needs one beside every activation",
                )
            })?;
            let x = batch.x;
            trainer.step_with(step, x.clone(), |sae, objective, situation| {
                loss(sae, &config, x, g, objective, situation)
            })
        }))
    }

    /// The autoencoder as it stands.
    ///
    /// # Errors
    /// None in practice: the weights are those of the configuration.
    pub fn model(&self) -> Result<GradientSae> {
        GradientSae::from_sae(self.inner.sae.clone(), self.config.clone())
    }
}

/// How much adding `scale` times a latent's dictionary vector at every position of `hook` changes
/// the logits: the norm of the change at each position `[batch, tokens]`, and the steered logits
/// `[batch, tokens, vocabulary]`.
///
/// `clean` are the logits without it.
///
/// # Errors
/// Those of the host; a latent that does not exist.
pub fn logit_change(
    host: &LanguageModel,
    hook: &HookPoint,
    tokens: Tensor<2, Int>,
    clean: &Tensor<3>,
    sae: &SparseAutoencoder,
    latent: usize,
    scale: f64,
) -> Result<(Tensor<2>, Tensor<3>)> {
    let direction = sae.direction(latent)? * scale;
    let steered = host.forward_with(tokens, hook, |x| Ok(x + direction.unsqueeze()))?;
    let change = (steered.clone() - clean.clone()).square().sum_dim(2).sqrt();
    Ok((change.squeeze_dim(2), steered))
}
