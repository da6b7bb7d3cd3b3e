//! Training: the published recipes and the step.

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

/// The published recipe of DeiT and Swin, of every size: 20 epochs of warm-up, rates that move at
/// every step, all of them for 512 images, gradients clipped at a norm of 5, 1 024 images.
pub fn recipe() -> DeitRecipe {
    DeitRecipe::new()
        .with_warmup(20)
        .with_warmup_rate(5e-7)
        .with_floor(5e-6)
        .with_scaled(true)
        .with_pace(Pace::Step)
        .with_clip(Some(5.0))
        .with_repeats(1)
}

/// The recipe of PVT-T and SLAB-PVT-T: 5 epochs of warm-up from 10⁻⁶, 10 at a floor of 10⁻⁵ after the
/// cosine, no clipping, 1 024 images.
///
/// The official configurations differ from it in the small networks by 512 images, in the medium ones
/// by clipping at a norm of 1, in SLAB-PVT-M by both; they name 128 and 64 images for each of eight
/// devices.
pub fn recipe_pvt() -> DeitRecipe {
    recipe()
        .with_warmup(5)
        .with_warmup_rate(1e-6)
        .with_floor(1e-5)
        .with_cooldown(10)
        .with_clip(None)
}

/// The recipe of SLAB-CSWin-T: that of PVT with 20 epochs of warm-up and 2 048 images, 256 for each of
/// eight devices. SLAB-CSWin-S takes 1 024.
pub fn recipe_cswin() -> DeitRecipe {
    recipe_pvt().with_warmup(20).with_batch(2_048)
}

/// Whether a parameter decays: all but vectors, class token, absolute and relative positions.
///
/// The positions inside of linear attention do, and so do PVT's, of which every stage has its own: the
/// official list has its class token alone.
pub fn decays(path: &str, rank: usize) -> bool {
    if path.starts_with("stages.") && path.ends_with(".pos_embed") {
        return true;
    }
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
