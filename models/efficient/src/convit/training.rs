//! Training: the published recipe and the step.

use super::config::ConVitConfig;
use super::model::ConVit;
use super::objective::{accuracy, soft_cross_entropy};
use crate::deit::{DeitRecipe, SoftLabelled, decays};
use burn::optim::ModuleOptimizer;
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::Scalars;

/// The published recipe, with the batch of 1 024 images that the official code trains ConViT-Ti
/// with. Its options name 10 epochs of cool-down, but the official loop ends after 300, so that there
/// are none.
pub fn recipe() -> DeitRecipe {
    DeitRecipe::new()
}

/// AdamW that lets matrices decay, the positional projections included, but no vector (the gates
/// among them), class token or position.
///
/// # Errors
/// What [`DeitRecipe::validate`] reports.
pub fn optimizer(recipe: &DeitRecipe, model: &ConVit) -> Result<ModuleOptimizer> {
    recipe.optimizer(model, decays)
}

impl ConVitConfig {
    /// A training batch of augmented, normalised images `[batch, channels, height, width]`; see
    /// [`DeitRecipe::prepare`].
    ///
    /// # Errors
    /// What [`DeitRecipe::prepare`] reports.
    pub fn prepare(
        &self,
        recipe: &DeitRecipe,
        images: Tensor<4>,
        labels: &[usize],
        seed: Seed,
    ) -> Result<SoftLabelled> {
        let depth = (self.drop_path, self.depth);
        recipe.prepare(self.classes, depth, images, labels, seed)
    }
}

/// The epochs of a run on a share of the images: the published ones divided by the share, so that
/// the number of updates stays.
///
/// # Errors
/// [`Error::Input`] for a share that is not above 0 and at most 1.
pub fn epochs_for_share(epochs: usize, share: f64) -> Result<usize> {
    if !(share > 0.0 && share <= 1.0) {
        let rule = "must be above 0 and at most 1";
        return Err(Error::input("the share of the images", share, rule));
    }
    Ok((epochs as f64 / share).round() as usize)
}

impl ConVit {
    /// The soft-target cross-entropy of a batch, of shape `[1]`, and its scores `[batch, classes]`.
    ///
    /// # Panics
    /// If the images are not of the configured size; see [`forward`](ConVit::forward).
    pub fn loss(&self, batch: SoftLabelled) -> (Tensor<1>, Tensor<2>) {
        let logits = self.scores(batch.images, &batch.keep);
        let loss = soft_cross_entropy(logits.clone(), batch.targets);
        (loss, logits)
    }
}

impl TrainStep for ConVit {
    type Input = SoftLabelled;
    type Output = Scalars;

    fn step(&self, batch: SoftLabelled) -> TrainOutput<Scalars> {
        let (loss, _) = self.loss(batch);
        let scalars = Scalars::new().with("loss", loss.clone());
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for ConVit {
    type Input = SoftLabelled;
    type Output = Scalars;

    fn step(&self, batch: SoftLabelled) -> Scalars {
        let targets = batch.targets.clone();
        let (loss, logits) = self.loss(batch);
        Scalars::new()
            .with("loss", loss)
            .with("accuracy", accuracy(logits, targets))
    }
}
