//! Training: the published recipe, the step, and the re-estimation of statistics after it.

use super::model::{Classifier, SlabCswin, SlabDeit, SlabPvt, SlabSwin};
use super::norm::Mode;
use super::objective::{accuracy, soft_cross_entropy};
use crate::deit::{DeitRecipe, Pace, SoftLabelled};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::{Result, Seed};
use menagerie_train::Scalars;

/// The published recipe: 20 epochs of warm-up, rates that move at every step, gradients clipped at a
/// norm of 5.
pub fn recipe() -> DeitRecipe {
    DeitRecipe::new()
        .with_warmup(20)
        .with_warmup_rate(5e-7)
        .with_floor(5e-6)
        .with_cooldown(0)
        .with_pace(Pace::Step)
        .with_clip(Some(5.0))
        .with_repeats(1)
}

/// Passes over the training images after training, in which statistics alone are re-estimated.
pub const ESTIMATION_PASSES: usize = 10;

/// Whether a parameter decays: all but vectors, class token, absolute and relative positions.
pub fn decays(path: &str, rank: usize) -> bool {
    !path.ends_with("relative_position_bias_table") && crate::deit::decays(path, rank)
}

/// AdamW with the decay of [`decays`].
///
/// # Errors
/// What [`DeitRecipe::validate`] reports.
pub fn optimizer<M: Module>(recipe: &DeitRecipe, model: &M) -> Result<ModuleOptimizer> {
    recipe.optimizer(model, decays)
}

/// A training batch of augmented, normalised images `[batch, channels, height, width]` for `model`;
/// see [`DeitRecipe::prepare`].
///
/// # Errors
/// What [`DeitRecipe::prepare`] reports.
pub fn prepare(
    recipe: &DeitRecipe,
    model: &impl Classifier,
    images: Tensor<4>,
    labels: &[usize],
    seed: Seed,
) -> Result<SoftLabelled> {
    recipe.prepare(model.classes(), model.drop_path(), images, labels, seed)
}

/// Lets the running statistics of a model take in a batch, everything else as in evaluation: part of
/// the re-estimation after training.
///
/// # Errors
/// [`menagerie_core::Error::Input`] if the images are not of the configured size.
pub fn estimate(model: &impl Classifier, images: Tensor<4>) -> Result<()> {
    model.run(images, Mode::Estimate, &[])?;
    Ok(())
}

/// The soft-target cross-entropy of a batch in training, of shape `[1]`, and its scores.
///
/// # Errors
/// [`menagerie_core::Error::Input`] if images or draws do not fit the configuration.
pub fn loss(
    model: &impl Classifier,
    batch: SoftLabelled,
    mode: Mode,
) -> Result<(Tensor<1>, Tensor<2>)> {
    let logits = model.run(batch.images, mode, &batch.keep)?;
    let loss = soft_cross_entropy(logits.clone(), batch.targets);
    Ok((loss, logits))
}

/// A step panics where [`loss`] reports an error.
macro_rules! steps {
    ($($model:ty),*) => {$(
        impl TrainStep for $model {
            type Input = SoftLabelled;
            type Output = Scalars;

            fn step(&self, batch: SoftLabelled) -> TrainOutput<Scalars> {
                let loss = match loss(self, batch, Mode::Train) {
                    Ok((loss, _)) => loss,
                    Err(error) => panic!("a training batch: {error}"),
                };
                let scalars = Scalars::new().with("loss", loss.clone());
                TrainOutput::new(self, loss.backward(), scalars)
            }
        }

        impl InferenceStep for $model {
            type Input = SoftLabelled;
            type Output = Scalars;

            fn step(&self, batch: SoftLabelled) -> Scalars {
                let targets = batch.targets.clone();
                match loss(self, batch, Mode::Evaluate) {
                    Ok((loss, logits)) => Scalars::new()
                        .with("loss", loss)
                        .with("accuracy", accuracy(logits, targets)),
                    Err(error) => panic!("a batch: {error}"),
                }
            }
        }
    )*};
}
steps!(SlabCswin, SlabDeit, SlabPvt, SlabSwin);
