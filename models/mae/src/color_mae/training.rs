//! Pre-training as mmpretrain does it. Fine-tuning is
//! [`FinetuningConfig::base`](crate::mae_base::FinetuningConfig::base): 2e-3 for 1024 images, layers
//! decaying by 0.65.

use super::model::RunMasks;
use crate::mae_base::{Mae, MaskedImages, PretrainingConfig};
use burn::config::Config;
use burn::optim::ModuleOptimizer;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result, Seed};
use menagerie_train::Schedule;

/// MAE's recipe with mmpretrain's warm-up and weight decay.
#[derive(Config, Debug, PartialEq)]
pub struct ColorPretrainingConfig {
    /// Rates, batch, epochs and AdamW: 2.4e-3 for 4096 images, 300 epochs.
    #[config(default = "PretrainingConfig::new().with_epochs(300.0)")]
    pub mae: PretrainingConfig,
    /// The share of the peak at which the warm-up begins.
    #[config(default = 1e-4)]
    pub start_factor: f64,
}

impl ColorPretrainingConfig {
    /// The published runs are of 300, 800 and 1600 epochs.
    pub fn published(epochs: usize) -> Self {
        Self::new().with_mae(PretrainingConfig::new().with_epochs(epochs as f64))
    }

    /// The rate of every step, of which an epoch has `steps_per_epoch`: from `start_factor` times the
    /// peak linearly to the peak, which it reaches after the warm-up (mmengine: one step earlier),
    /// then half a cosine to 0.
    ///
    /// # Errors
    /// [`Error::Config`] for impossible rates or lengths.
    pub fn schedule(&self, steps_per_epoch: usize) -> Result<Schedule> {
        if !(0.0..=1.0).contains(&self.start_factor) {
            let rule = "must lie in 0..=1";
            let value = self.start_factor;
            return Err(Error::config(
                "ColorPretrainingConfig",
                "start_factor",
                value,
                rule,
            ));
        }
        let schedule = self.mae.schedule().steps(steps_per_epoch)?;
        let start = schedule.peak * self.start_factor;
        Ok(schedule.starting_at(start))
    }

    /// AdamW that lets matrices decay, but no vector, token or position.
    ///
    /// # Errors
    /// What [`AdamW::validate`](menagerie_train::AdamW::validate) reports.
    pub fn optimizer(&self, model: &Mae) -> Result<ModuleOptimizer> {
        self.mae.adamw.grouped(model, decays)
    }
}

/// Whether a parameter decays in pre-training: the official code exempts every name with `ln`,
/// `bias`, `pos_embed`, `mask_token` or `cls_token` in it.
pub fn decays(path: &str, rank: usize) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    rank > 1 && !["cls_token", "mask_token", "pos_embed"].contains(&name)
}

impl RunMasks {
    /// Images `[batch, channels, height, width]` of a step with their masks, for Burn's `TrainStep`
    /// of [`Mae`]. The masks depend on the seed and the step alone.
    ///
    /// # Errors
    /// [`Error::Input`] for no images, or no steps per epoch.
    pub fn mask(
        &self,
        images: Tensor<4>,
        step: usize,
        steps_per_epoch: usize,
        seed: Seed,
    ) -> Result<MaskedImages> {
        let Some(epoch) = step.checked_div(steps_per_epoch) else {
            let rule = "must be at least 1";
            return Err(Error::input("steps per epoch", steps_per_epoch, rule));
        };
        let device = images.device();
        let seed = seed.stream("masks").at(step as u64);
        let masking = self.at(epoch).draw(images.dims()[0], seed, &device)?;
        Ok(MaskedImages { images, masking })
    }
}
