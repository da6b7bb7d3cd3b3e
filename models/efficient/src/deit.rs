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
    /// At every step, the cosine counted from the end of the warm-up.
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
    /// Epochs at `floor` after the cosine.
    #[config(default = 10)]
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

    /// Epochs of the whole run.
    pub fn total_epochs(&self) -> usize {
        self.epochs + self.cooldown
    }

    /// The rate of an epoch under [`Pace::Epoch`].
    pub fn at_epoch(&self, epoch: usize) -> f64 {
        let (peak, floor) = (self.peak(), self.floor);
        if epoch < self.warmup {
            let part = epoch as f64 / self.warmup as f64;
            return self.warmup_rate + (peak - self.warmup_rate) * part;
        }
        if epoch >= self.epochs {
            return floor;
        }
        let cosine = (std::f64::consts::PI * epoch as f64 / self.epochs as f64).cos();
        floor + 0.5 * (peak - floor) * (1.0 + cosine)
    }

    /// The rate over steps, of which an epoch has `steps_per_epoch`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports, and an epoch without steps.
    pub fn schedule(&self, steps_per_epoch: usize) -> Result<Schedule> {
        self.validate()?;
        let schedule = match self.pace {
            Pace::Epoch => Schedule {
                peak: self.peak(),
                warmup: 0,
                start: None,
                decay: Decay::Epochs {
                    length: steps_per_epoch,
                    rates: (0..self.total_epochs())
                        .map(|epoch| self.at_epoch(epoch))
                        .collect(),
                },
            },
            Pace::Step => Schedule {
                peak: self.peak(),
                warmup: self.warmup * steps_per_epoch,
                start: Some(self.warmup_rate),
                decay: Decay::Cosine {
                    steps: self.epochs * steps_per_epoch,
                    floor: self.floor,
                },
            },
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
        let schedule = recipe.schedule(10).unwrap();
        assert_eq!(schedule.at(59), recipe.at_epoch(5));
        assert_eq!(schedule.at(5_000), 1e-5);
        let stepped = recipe.with_pace(Pace::Step).schedule(10).unwrap();
        assert_eq!(stepped.at(0), 1e-6);
        assert_eq!(stepped.at(50), 1e-3);
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
