//! The training recipe of DeiT (Touvron et al., arXiv:2012.12877), which the systems of this crate
//! share.

use burn::config::Config;
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::classification::smooth_targets;
use menagerie_nn::mix::MixConfig;
use menagerie_nn::vit::{Keep, draw_keep, linear_rates};
use menagerie_train::{AdamW, Decay, Schedule};

/// When the learning rate moves.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Pace {
    /// Once an epoch, the cosine counted from the start of the run, warm-up included (timm).
    Epoch,
    /// At every step, the cosine counted from the start of the run too, so that the warm-up ends a
    /// little below the peak (timm, steps in the place of epochs).
    Step,
}

/// How an image classifier is trained from scratch.
#[derive(Config, Debug, PartialEq)]
pub struct DeitRecipe {
    /// Learning rate for 512 images; the peak is that times `batch / 512`.
    #[config(default = 5e-4)]
    pub base_rate: f64,
    /// Images per update.
    #[config(default = 1024)]
    pub batch: usize,
    /// Epochs up to the end of the cosine, warm-up included.
    #[config(default = 300)]
    pub epochs: usize,
    /// Epochs of linear warm-up.
    #[config(default = 5)]
    pub warmup: usize,
    /// The rate that the warm-up begins with.
    #[config(default = 1e-6)]
    pub warmup_rate: f64,
    /// The rate at the end of the cosine.
    #[config(default = 1e-5)]
    pub floor: f64,
    /// Whether `warmup_rate` and `floor` are for 512 images as `base_rate` is: multiplied by `batch /
    /// 512` too.
    #[config(default = false)]
    pub scaled: bool,
    /// Epochs at the floor after the cosine. DeiT's options name 10, but its loop, and ConViT's, ends
    /// with the cosine.
    #[config(default = 0)]
    pub cooldown: usize,
    /// When the rate moves.
    #[config(default = "Pace::Epoch")]
    pub pace: Pace,
    /// Label smoothing.
    #[config(default = 0.1)]
    pub smoothing: f64,
    /// Mixup and CutMix.
    #[config(default = "MixConfig::new()")]
    pub mix: MixConfig,
    /// AdamW.
    #[config(default = "AdamW::new().with_weight_decay(0.05)")]
    pub adamw: AdamW,
    /// The largest norm of all gradients together; `None` for no clipping.
    #[config(default = "None")]
    pub clip: Option<f64>,
    /// How many times in a row an image is drawn (repeated augmentation).
    #[config(default = 3)]
    pub repeats: usize,
}

impl DeitRecipe {
    const NAME: &str = "DeitRecipe";

    /// Refuses rates and lengths that no run can have.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("batch", self.batch), ("repeats", self.repeats)] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        if self.epochs <= self.warmup {
            let rule = format!("must be above warmup, which is {}", self.warmup);
            return Err(Error::config(Self::NAME, "epochs", self.epochs, rule));
        }
        let peak = self.peak();
        if !(peak.is_finite() && peak > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "base_rate", self.base_rate, rule));
        }
        // Of the same batch where they are scaled.
        let peak = peak / self.scale();
        for (field, value) in [("warmup_rate", self.warmup_rate), ("floor", self.floor)] {
            if !(0.0..=peak).contains(&value) {
                let rule = format!("must lie between 0 and the peak, {peak}");
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(Self::NAME, "smoothing", self.smoothing, rule));
        }
        if let Some(clip) = self.clip
            && !(clip.is_finite() && clip > 0.0)
        {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "clip", clip, rule));
        }
        self.mix.validate()?;
        self.adamw.validate()
    }

    /// The rate after the warm-up.
    pub fn peak(&self) -> f64 {
        self.base_rate * self.batch as f64 / 512.0
    }

    /// What the rate of the warm-up and the floor are multiplied with.
    fn scale(&self) -> f64 {
        match self.scaled {
            true => self.batch as f64 / 512.0,
            false => 1.0,
        }
    }

    /// Epochs of the whole run.
    pub fn total_epochs(&self) -> usize {
        self.epochs + self.cooldown
    }

    /// The rate of an epoch, which moves at its start under [`Pace::Epoch`].
    pub fn at_epoch(&self, epoch: usize) -> f64 {
        self.after(epoch as f64)
    }

    /// The rate after `time` epochs.
    fn after(&self, time: f64) -> f64 {
        let (peak, scale) = (self.peak(), self.scale());
        let (start, floor) = (scale * self.warmup_rate, scale * self.floor);
        if time < self.warmup as f64 {
            return start + (peak - start) * time / self.warmup as f64;
        }
        if time >= self.epochs as f64 {
            return floor;
        }
        let cosine = (std::f64::consts::PI * time / self.epochs as f64).cos();
        floor + 0.5 * (peak - floor) * (1.0 + cosine)
    }

    /// The rate over steps, of which an epoch has `steps_per_epoch`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports, and an epoch without steps.
    pub fn schedule(&self, steps_per_epoch: usize) -> Result<Schedule> {
        self.validate()?;
        let (length, rates) = match self.pace {
            Pace::Epoch => {
                let epochs = 0..self.total_epochs();
                (
                    steps_per_epoch,
                    epochs.map(|at| self.at_epoch(at)).collect(),
                )
            }
            // The last rate stays.
            Pace::Step => {
                let steps = 0..=self.epochs * steps_per_epoch;
                let rate = |at: usize| self.after(at as f64 / steps_per_epoch as f64);
                (steps_per_epoch.min(1), steps.map(rate).collect())
            }
        };
        let schedule = Schedule {
            peak: self.peak(),
            warmup: 0,
            start: None,
            decay: Decay::Epochs { length, rates },
        };
        schedule.validate()?;
        Ok(schedule)
    }

    /// A training batch: images `[batch, channels, height, width]`, augmented and normalised, with
    /// smoothed targets, mixed by a draw from `seed`; `drop_path` is the rate of the last of
    /// `depth` blocks.
    ///
    /// # Errors
    /// [`Error::Input`] if there is not one label for each image, or a label is no class; what
    /// [`validate`](Self::validate) reports.
    pub fn prepare(
        &self,
        classes: usize,
        (drop_path, depth): (f64, usize),
        images: Tensor<4>,
        labels: &[usize],
        seed: Seed,
    ) -> Result<SoftLabelled> {
        self.validate()?;
        let [batch, _, height, width] = images.dims();
        let device = images.device();
        let mix = self.mix.draw([height, width], seed.stream("mix"))?;
        let mut labelled = SoftLabelled::new(images, labels, classes, self.smoothing)?;
        labelled.keep = drops(drop_path, depth, batch, seed.stream("depth"), &device)?;
        let (images, targets) = mix.apply(labelled.images, labelled.targets);
        Ok(SoftLabelled {
            images,
            targets,
            keep: labelled.keep,
        })
    }

    /// AdamW with decay for those parameters for which `decays(path, rank)` holds.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn optimizer<M: Module>(
        &self,
        model: &M,
        decays: impl Fn(&str, usize) -> bool,
    ) -> Result<ModuleOptimizer> {
        self.validate()?;
        self.adamw.grouped(model, decays)
    }
}

/// A draw of stochastic depth for a batch: rates grow linearly from 0 at the first of `depth`
/// blocks to `rate` at the last.
///
/// # Errors
/// [`Error::Input`] for a rate outside of [0, 1).
pub fn drops(
    rate: f64,
    depth: usize,
    batch: usize,
    seed: Seed,
    device: &Device,
) -> Result<Vec<Option<Keep>>> {
    draw_keep(&linear_rates(rate, depth), batch, seed, device)
}

/// Whether a parameter decays: all but vectors, class token and positions.
pub fn decays(path: &str, rank: usize) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    rank > 1 && !["cls_token", "pos_embed"].contains(&name)
}

/// Images with their target distributions.
#[derive(Clone, Debug)]
pub struct SoftLabelled {
    /// `[batch, channels, height, width]`, normalised.
    pub images: Tensor<4>,
    /// `[batch, classes]`; rows add up to 1.
    pub targets: Tensor<2>,
    /// A draw of stochastic depth for each block, or nothing.
    pub keep: Vec<Option<Keep>>,
}

impl SoftLabelled {
    /// Images with smoothed targets, without stochastic depth.
    ///
    /// # Errors
    /// [`Error::Input`] if there is not one label for each image, or a label is no class.
    pub fn new(
        images: Tensor<4>,
        labels: &[usize],
        classes: usize,
        smoothing: f64,
    ) -> Result<Self> {
        let [batch, ..] = images.dims();
        if labels.len() != batch {
            let rule = format!("must be one for each of {batch} images");
            return Err(Error::input("the number of labels", labels.len(), rule));
        }
        let targets = smooth_targets(labels, classes, smoothing)?;
        let targets = TensorData::new(targets, [batch, classes]);
        Ok(Self {
            targets: Tensor::from_data(targets, &images.device()),
            images,
            keep: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_an_epoch_is_timms() {
        let recipe = DeitRecipe::new();
        assert_eq!(recipe.peak(), 1e-3);
        assert_eq!(recipe.at_epoch(0), 1e-6);
        assert!((recipe.at_epoch(1) - (1e-6 + (1e-3 - 1e-6) / 5.0)).abs() < 1e-15);
        // The cosine does not start over after the warm-up.
        let fifth = 1e-5 + 0.5 * (1e-3 - 1e-5) * (1.0 + (std::f64::consts::PI / 60.0).cos());
        assert!((recipe.at_epoch(5) - fifth).abs() < 1e-15);
        assert_eq!(recipe.at_epoch(305), 1e-5);
        assert_eq!(recipe.total_epochs(), 300);
        let schedule = recipe.schedule(10).unwrap();
        assert_eq!(schedule.at(59), recipe.at_epoch(5));
        assert_eq!(schedule.at(2_999), recipe.at_epoch(299));
        // Only a cool-down has the floor itself.
        let cooled = recipe.with_cooldown(10).schedule(10).unwrap();
        assert_eq!(cooled.at(3_050), 1e-5);
    }

    /// The formula of timm's `CosineLRScheduler` without `warmup_prefix`, with SLAB's arguments at 100
    /// steps an epoch and a batch of 1 024.
    #[test]
    fn the_rate_of_a_step_is_timms() {
        let recipe = crate::slab::recipe();
        let schedule = recipe.schedule(100).unwrap();
        for (step, rate) in [
            (0, 1e-6),
            (1, 1.4995e-6),
            (1_000, 5.005e-4),
            (1_999, 9.995005e-4),
            (2_000, 9.891_830_623_632_338e-4),
            (15_000, 5.05e-4),
            (29_999, 1.000_000_271_414_119_2e-5),
            (30_000, 1e-5),
            (40_000, 1e-5),
        ] {
            let found = schedule.at(step);
            assert!((found - rate).abs() < 1e-12, "{step}: {found}");
        }
        // Warm-up and floor follow the batch as the peak does.
        let half = recipe.with_batch(512).schedule(100).unwrap();
        for step in [0, 1_000, 2_000, 30_000] {
            assert!((2.0 * half.at(step) - schedule.at(step)).abs() < 1e-12);
        }
    }

    #[test]
    fn impossible_recipes_are_refused() {
        let refusal = |recipe: DeitRecipe| recipe.validate().unwrap_err().to_string();
        assert_eq!(
            refusal(DeitRecipe::new().with_warmup(300)),
            "DeitRecipe.epochs = 300: must be above warmup, which is 300"
        );
        assert_eq!(
            refusal(DeitRecipe::new().with_floor(1.0)),
            "DeitRecipe.floor = 1.0: must lie between 0 and the peak, 0.001"
        );
        assert_eq!(
            refusal(DeitRecipe::new().with_clip(Some(0.0))),
            "DeitRecipe.clip = 0.0: must be finite and above 0"
        );
        assert_eq!(
            refusal(DeitRecipe::new().with_repeats(0)),
            "DeitRecipe.repeats = 0: must be at least 1"
        );
    }
}
