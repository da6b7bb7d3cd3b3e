//! The training step, its two parameter groups, and the published schedule.

use super::{
    config::weight,
    model::Qlae,
    objective::{QlaeLoss, squared_error},
};
use burn::{
    config::Config,
    grad_clipping::GradientClipping,
    module::ParamGroup,
    optim::{AdamConfig, AdamWConfig, ModuleOptimizer},
    tensor::{Tensor, activation::sigmoid},
    train::{InferenceStep, TrainOutput, TrainStep},
};
use menagerie_core::{Error, Result};
use menagerie_train::Scalars;

/// How the paper trains (section 4.1): a constant learning rate, batches drawn with replacement,
/// no augmentation.
#[derive(Config, Debug, PartialEq)]
pub struct TrainingConfig {
    /// Learning rate of both groups.
    #[config(default = 1e-3)]
    pub learning_rate: f64,
    /// Decoupled weight decay λ of the regularised group: `p -= lr · (adam + λ · p)`.
    ///
    /// What it does depends on `lr · λ · steps`, the number of time constants of the decay, which
    /// is 20 in the published runs: a run of 12,000 steps needs a λ near 1 to show the effect.
    #[config(default = 0.1)]
    pub weight_decay: f64,
    /// Each element of a regularised gradient is clipped to ± this before Adam sees it.
    #[config(default = 1.0)]
    pub clip: f64,
    /// Decay of Adam's first moment.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of Adam's second moment.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Images per batch.
    #[config(default = 128)]
    pub batch: usize,
    /// Number of steps.
    #[config(default = 200_000)]
    pub steps: usize,
    /// Steps between evaluations.
    #[config(default = 5_000)]
    pub evaluate_every: usize,
    /// Images in an evaluation, drawn from the training images: the field has no held-out split.
    #[config(default = 10_000)]
    pub evaluation_images: usize,
}

impl TrainingConfig {
    const NAME: &str = "TrainingConfig";

    /// The published run of QLAE: weight decay 0.1 on every data set.
    pub fn published() -> Self {
        Self::new()
    }

    /// The published run of the VQ-VAE with weight decay, 0.01.
    pub fn published_vqvae() -> Self {
        Self::new().with_weight_decay(0.01)
    }

    /// The published run of the generative adversarial models: Adam(0, 0.9) at 2e-4, batches of
    /// 64, weight decay 1e-3.
    pub fn published_gan() -> Self {
        Self::new()
            .with_learning_rate(2e-4)
            .with_weight_decay(1e-3)
            .with_beta_1(0.0)
            .with_beta_2(0.9)
            .with_batch(64)
    }

    /// 12,000 steps of 64 images with weight decay 1, for 900 small images.
    pub fn small() -> Self {
        Self::new()
            .with_weight_decay(1.0)
            .with_batch(64)
            .with_steps(12_000)
            .with_evaluate_every(3_000)
            .with_evaluation_images(900)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("learning_rate", self.learning_rate), ("clip", self.clip)] {
            if !value.is_finite() || value <= 0.0 {
                return Err(Error::config(
                    Self::NAME,
                    field,
                    value,
                    "must be finite and above 0",
                ));
            }
        }
        weight(Self::NAME, "weight_decay", self.weight_decay)?;
        for (field, value) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::config(
                    Self::NAME,
                    field,
                    value,
                    "must be at least 0 and below 1",
                ));
            }
        }
        for (field, value) in [
            ("batch", self.batch),
            ("steps", self.steps),
            ("evaluate_every", self.evaluate_every),
            ("evaluation_images", self.evaluation_images),
        ] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        Ok(())
    }

    /// The two groups: clipped AdamW for weights, normalisation gains and the learned input map;
    /// plain Adam for biases and codebooks, which would collapse to zero under decay.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn optimizer(&self) -> Result<ModuleOptimizer> {
        const EPSILON: f32 = 1e-8;
        self.validate()?;
        let (beta_1, beta_2) = (self.beta_1 as f32, self.beta_2 as f32);
        let regularised = AdamWConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(EPSILON)
            .with_weight_decay(self.weight_decay as f32);
        let unregularised = AdamConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(EPSILON);
        Ok(ModuleOptimizer::from(regularised.build())
            .with_grad_clipping(GradientClipping::Value(self.clip as f32))
            .with_group(unregularised_group()?, unregularised.build(), None))
    }
}

/// Biases (called beta in a layer normalisation) and everything below a field named `latent`.
fn unregularised_group() -> Result<ParamGroup> {
    ParamGroup::from_any_regexes(vec![r"\.(bias|beta)$", r"(^|\.)latent\."]).map_err(|error| {
        Error::other(
            "the group of unregularised parameters",
            format!("{error:?}"),
        )
    })
}

impl TrainStep for Qlae {
    /// Images `[batch, channels, height, width]` in 0..1.
    type Input = Tensor<4>;
    type Output = Scalars;

    fn step(&self, images: Tensor<4>) -> TrainOutput<Scalars> {
        let (loss, _) = self.loss(images);
        quantized_step(self, loss)
    }
}

impl InferenceStep for Qlae {
    /// Images `[batch, channels, height, width]` in 0..1.
    type Input = Tensor<4>;
    type Output = Scalars;

    fn step(&self, images: Tensor<4>) -> Scalars {
        let (loss, pass) = self.loss(images.clone());
        quantized_scalars(&loss).with("mse", mean_squared_error(pass.logits, images))
    }
}

/// The backward pass of a quantising autoencoder's objective, averaged over the batch.
pub(crate) fn quantized_step<M: burn::module::Module>(
    model: &M,
    loss: QlaeLoss,
) -> TrainOutput<Scalars> {
    let scalars = quantized_scalars(&loss);
    TrainOutput::new(model, loss.total.mean().backward(), scalars)
}

pub(crate) fn quantized_scalars(loss: &QlaeLoss) -> Scalars {
    Scalars::new()
        .with("loss", mean(&loss.total))
        .with("bce", mean(&loss.reconstruction))
        .with("quantization", mean(&loss.quantization))
        .with("commitment", mean(&loss.commitment))
}

/// The batch mean of a per-sample loss, for a report.
pub(crate) fn mean(loss: &Tensor<1>) -> Tensor<1> {
    loss.clone().without_autodiff().mean()
}

/// Mean squared error of the Bernoulli means, from which -10·log₁₀ gives the PSNR in dB.
pub(crate) fn mean_squared_error(logits: Tensor<4>, images: Tensor<4>) -> Tensor<1> {
    squared_error(
        sigmoid(logits.without_autodiff()),
        images.without_autodiff(),
    )
    .mean()
}
