//! Training: batches, steps, rates, groups of parameters.

use super::classifier::Classifier;
use super::config::{ClassifierConfig, VitConfig};
use super::model::Mae;
use super::objective::{accuracy, smooth_targets, soft_cross_entropy};
use burn::config::Config;
use burn::module::{Module, ParamGroup};
use burn::optim::ModuleOptimizer;
use burn::tensor::{Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::mix::MixConfig;
use menagerie_nn::vit::{Keep, Masking};
use menagerie_train::{AdamW, Decay, Rates, Scalars, Schedule, parameters};

/// A learning rate over fractional epochs: linear warm-up from 0, then half a cosine to the floor.
#[derive(Config, Debug, PartialEq)]
pub struct EpochSchedule {
    /// The rate after the warm-up.
    pub peak: f64,
    /// Epochs of the whole run, E.
    pub epochs: f64,
    /// Epochs of warm-up, W.
    pub warmup: f64,
    /// The rate at the end.
    #[config(default = 0.0)]
    pub floor: f64,
}

impl EpochSchedule {
    const NAME: &str = "EpochSchedule";

    /// Refuses rates and lengths that no run can have.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: f64, rule: &str| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        if !(self.peak.is_finite() && self.peak >= 0.0) {
            return refuse("peak", self.peak, "must be finite and not negative");
        }
        if !(0.0..=self.peak).contains(&self.floor) {
            return refuse("floor", self.floor, "must lie between 0 and the peak");
        }
        if !(self.warmup.is_finite() && self.warmup >= 0.0) {
            return refuse("warmup", self.warmup, "must be finite and not negative");
        }
        if !(self.epochs.is_finite() && self.epochs > self.warmup) {
            return refuse("epochs", self.epochs, "must be finite and above warmup");
        }
        Ok(())
    }

    /// The rate at a fractional epoch.
    pub fn at(&self, epoch: f64) -> f64 {
        if epoch < self.warmup {
            return self.peak * epoch / self.warmup;
        }
        let done = (epoch - self.warmup) / (self.epochs - self.warmup);
        let cosine = (std::f64::consts::PI * done).cos();
        self.floor + (self.peak - self.floor) * 0.5 * (1.0 + cosine)
    }

    /// The same over steps, of which an epoch has `steps_per_epoch`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn steps(&self, steps_per_epoch: usize) -> Result<Schedule> {
        self.validate()?;
        let steps = |epochs: f64| (epochs * steps_per_epoch as f64).round() as usize;
        let schedule = Schedule {
            peak: self.peak,
            warmup: steps(self.warmup),
            start: Some(0.0),
            decay: Decay::Cosine {
                steps: steps(self.epochs),
                floor: self.floor,
            },
        };
        schedule.validate()?;
        Ok(schedule)
    }
}

/// How an autoencoder is pre-trained.
#[derive(Config, Debug, PartialEq)]
pub struct PretrainingConfig {
    /// Learning rate for 256 images; the peak is that times `batch / 256`.
    #[config(default = 1.5e-4)]
    pub base_rate: f64,
    /// Images per update.
    #[config(default = 4096)]
    pub batch: usize,
    /// Passes over the images.
    #[config(default = 800.0)]
    pub epochs: f64,
    /// Passes of linear warm-up.
    #[config(default = 40.0)]
    pub warmup: f64,
    /// AdamW.
    #[config(default = "AdamW::new().with_beta_2(0.95).with_weight_decay(0.05)")]
    pub adamw: AdamW,
}

impl PretrainingConfig {
    /// The rate over epochs.
    pub fn schedule(&self) -> EpochSchedule {
        let peak = self.base_rate * self.batch as f64 / 256.0;
        EpochSchedule::new(peak, self.epochs, self.warmup)
    }

    /// AdamW that lets matrices and tokens decay, but no vector (as timm's rule, which looks at the
    /// number of axes, makes the official code do).
    ///
    /// # Errors
    /// What [`AdamW::validate`] reports.
    pub fn optimizer<M: Module>(&self, model: &M) -> Result<ModuleOptimizer> {
        self.adamw.grouped(model, |_, rank| rank > 1)
    }
}

/// How a classifier is fine-tuned.
#[derive(Config, Debug, PartialEq)]
pub struct FinetuningConfig {
    /// Learning rate for 256 images; the peak is that times `batch / 256`.
    #[config(default = 5e-4)]
    pub base_rate: f64,
    /// Images per update.
    #[config(default = 1024)]
    pub batch: usize,
    /// Passes over the images.
    #[config(default = 100.0)]
    pub epochs: f64,
    /// Passes of linear warm-up.
    #[config(default = 5.0)]
    pub warmup: f64,
    /// The rate at the end.
    #[config(default = 1e-6)]
    pub floor: f64,
    /// What the rate is multiplied by from each layer to the one before it.
    #[config(default = 0.65)]
    pub layer_decay: f64,
    /// Label smoothing.
    #[config(default = 0.1)]
    pub smoothing: f64,
    /// Mixup and CutMix.
    #[config(default = "MixConfig::new()")]
    pub mix: MixConfig,
    /// AdamW.
    #[config(default = "AdamW::new().with_weight_decay(0.05)")]
    pub adamw: AdamW,
}

impl FinetuningConfig {
    const NAME: &str = "FinetuningConfig";

    /// The published settings of ViT-B.
    pub fn base() -> Self {
        Self::new()
    }

    /// The published settings of ViT-L and ViT-H.
    pub fn large() -> Self {
        Self::new()
            .with_base_rate(1e-3)
            .with_epochs(50.0)
            .with_layer_decay(0.75)
    }

    /// Refuses a decay or smoothing outside of its range.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !(self.layer_decay > 0.0 && self.layer_decay <= 1.0) {
            let rule = "must be above 0 and at most 1";
            let value = self.layer_decay;
            return Err(Error::config(Self::NAME, "layer_decay", value, rule));
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(Self::NAME, "smoothing", self.smoothing, rule));
        }
        self.mix.validate()?;
        self.schedule().validate()?;
        self.adamw.validate()
    }

    /// The rate over epochs.
    pub fn schedule(&self) -> EpochSchedule {
        let peak = self.base_rate * self.batch as f64 / 256.0;
        EpochSchedule::new(peak, self.epochs, self.warmup).with_floor(self.floor)
    }

    /// A training batch: images `[batch, channels, height, width]`, augmented and normalised, with
    /// smoothed targets, mixed, and with a draw of stochastic depth; both draws from `seed`.
    ///
    /// # Errors
    /// [`Error::Input`] if there is not one label for each image, or a label is no class; what
    /// [`validate`](Self::validate) reports.
    pub fn prepare(
        &self,
        model: &ClassifierConfig,
        images: Tensor<4>,
        labels: &[usize],
        seed: Seed,
    ) -> Result<SoftLabelled> {
        let [batch, _, height, width] = images.dims();
        if labels.len() != batch {
            let rule = format!("must be one for each of {batch} images");
            return Err(Error::input("the number of labels", labels.len(), rule));
        }
        let targets = smooth_targets(labels, model.classes, self.smoothing)?;
        let targets = TensorData::new(targets, [batch, model.classes]);
        let targets = Tensor::from_data(targets, &images.device());
        let keep = model.draw_keep(batch, seed.stream("depth"), &images.device())?;
        let mix = self.mix.draw([height, width], seed.stream("mix"))?;
        let (images, targets) = mix.apply(images, targets);
        Ok(SoftLabelled {
            images,
            targets,
            keep,
        })
    }

    /// AdamW that lets matrices decay, but no vector, class token or position.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn optimizer(&self, model: &Classifier) -> Result<ModuleOptimizer> {
        self.validate()?;
        self.adamw.grouped(model, decays)
    }

    /// The rates of `schedule`, smaller the nearer a layer is to the image.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn rates(&self, model: &Classifier, schedule: Schedule) -> Result<Rates> {
        self.validate()?;
        let VitConfig { depth, .. } = *model.encoder.config();
        let groups = layer_groups(model, depth);
        let scales = layer_scales(depth, self.layer_decay);
        Ok(groups
            .into_iter()
            .zip(scales)
            .fold(Rates::new(schedule), |rates, (paths, scale)| {
                rates.scaled(ParamGroup::from_paths(paths), scale)
            }))
    }
}

/// What each of `depth + 2` layers multiplies the rate by: embedding, blocks, then everything after
/// them, which keeps the full rate.
pub fn layer_scales(depth: usize, decay: f64) -> Vec<f64> {
    (0..=depth + 1)
        .map(|layer| decay.powi((depth + 1 - layer) as i32))
        .collect()
}

/// The layer that a parameter belongs to, from 0 for embedding, class token and positions to
/// `depth + 1` for what follows the blocks; `path` is the official or the module's.
pub fn layer_of(path: &str, depth: usize) -> usize {
    let path = path.strip_prefix("encoder.").unwrap_or(path);
    if ["cls_token", "pos_embed"].contains(&path) || path.starts_with("patch_embed.") {
        return 0;
    }
    path.strip_prefix("blocks.")
        .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok())
        .map_or(depth + 1, |block| block + 1)
}

/// Whether a parameter decays in fine-tuning: all but vectors, the class token and positions.
pub fn decays(path: &str, rank: usize) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    rank > 1 && !["cls_token", "pos_embed"].contains(&name)
}

/// The parameters' paths by layer.
fn layer_groups<M: Module>(model: &M, depth: usize) -> Vec<Vec<String>> {
    let mut groups = vec![Vec::new(); depth + 2];
    for (path, _) in parameters(model) {
        let layer = layer_of(&path, depth);
        groups[layer].push(path);
    }
    groups
}

/// Images and what is hidden of them.
#[derive(Clone, Debug)]
pub struct MaskedImages {
    /// `[batch, channels, height, width]`, normalised.
    pub images: Tensor<4>,
    /// Of `[batch, tokens]`.
    pub masking: Masking,
}

/// The objective of checked images; a step panics where [`Mae::loss`] reports an error.
impl TrainStep for Mae {
    type Input = MaskedImages;
    type Output = Scalars;

    fn step(&self, batch: MaskedImages) -> TrainOutput<Scalars> {
        let loss = self.checked_loss(batch.images, &batch.masking);
        let scalars = Scalars::new().with("loss", loss.clone());
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for Mae {
    type Input = MaskedImages;
    type Output = Scalars;

    fn step(&self, batch: MaskedImages) -> Scalars {
        Scalars::new().with("loss", self.checked_loss(batch.images, &batch.masking))
    }
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

impl Classifier {
    /// The soft-target cross-entropy of a batch, of shape `[1]`, and its scores `[batch, classes]`.
    ///
    /// # Panics
    /// If the images are not of the configured size; see [`forward`](Classifier::forward).
    pub fn loss(&self, batch: SoftLabelled) -> (Tensor<1>, Tensor<2>) {
        let logits = self.scores(batch.images, &batch.keep);
        let loss = soft_cross_entropy(logits.clone(), batch.targets);
        (loss, logits)
    }
}

impl TrainStep for Classifier {
    type Input = SoftLabelled;
    type Output = Scalars;

    fn step(&self, batch: SoftLabelled) -> TrainOutput<Scalars> {
        let (loss, _) = self.loss(batch);
        let scalars = Scalars::new().with("loss", loss.clone());
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for Classifier {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_epochs() {
        let schedule = EpochSchedule::new(2.4e-3, 800.0, 40.0).with_floor(1e-6);
        let steps = schedule.steps(10).unwrap();
        for step in [0, 7, 399, 400, 1_234, 7_999, 8_000] {
            let (a, b) = (schedule.at(step as f64 / 10.0), steps.at(step));
            assert!((a - b).abs() < 1e-15, "step {step}: {a} against {b}");
        }
        let published = PretrainingConfig::new().schedule();
        assert!((published.peak - 2.4e-3).abs() < 1e-15);
        assert!((FinetuningConfig::base().schedule().peak - 2e-3).abs() < 1e-15);
    }
}
