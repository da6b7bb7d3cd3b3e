//! Fine-tuning, which is also the second stage on labelled clips and the distillation into smaller
//! networks: a soft-target cross-entropy with layer-wise rates.

use super::classifier::Classifier;
use super::training::decays;
use crate::mae_base::objective::{accuracy, smooth_targets, soft_cross_entropy};
use crate::mae_base::{EpochSchedule, MixConfig, layer_of, layer_scales};
use burn::config::Config;
use burn::module::ParamGroup;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::vit::{Keep, draw_keep, linear_rates};
use menagerie_train::{AdamW, Rates, Scalars, Schedule, parameters};
use rand::RngExt;

/// How a classifier is fine-tuned.
#[derive(Config, Debug, PartialEq)]
pub struct FinetuningConfig {
    /// Learning rate for 256 loaded clips; the peak is that times `batch / 256`.
    #[config(default = 7e-4)]
    pub base_rate: f64,
    /// The rate at the end for 256 loaded clips.
    #[config(default = 1e-6)]
    pub base_floor: f64,
    /// Clips that are loaded for an update.
    #[config(default = 512)]
    pub batch: usize,
    /// Samples that are made of a loaded clip.
    #[config(default = 2)]
    pub samples: usize,
    /// Passes over the clips.
    #[config(default = 90.0)]
    pub epochs: f64,
    /// Passes of linear warm-up.
    #[config(default = 5.0)]
    pub warmup: f64,
    /// What the rate is multiplied by from each layer to the one before it.
    #[config(default = 0.75)]
    pub layer_decay: f64,
    /// Stochastic depth at the last block; it grows linearly from 0 at the first.
    #[config(default = 0.1)]
    pub drop_path: f64,
    /// Share of the features that the head does not see.
    #[config(default = 0.0)]
    pub head_dropout: f64,
    /// Label smoothing.
    #[config(default = 0.1)]
    pub smoothing: f64,
    /// How clips are mixed, all frames of a clip alike.
    #[config(default = "MixConfig::new()")]
    pub mix: MixConfig,
    /// The largest norm of all gradients.
    #[config(default = "None")]
    pub clip_norm: Option<f64>,
    /// AdamW.
    #[config(default = "AdamW::new().with_weight_decay(0.05)")]
    pub adamw: AdamW,
}

impl FinetuningConfig {
    const NAME: &str = "FinetuningConfig";

    /// The published run of ViT-B on Kinetics, 32 cards.
    pub fn base() -> Self {
        Self::new()
    }

    /// The published run of ViT-L on Kinetics-400.
    pub fn large() -> Self {
        Self::new()
            .with_base_rate(2e-3)
            .with_epochs(35.0)
            .with_drop_path(0.2)
    }

    /// The published run of ViT-H on Kinetics-400.
    pub fn huge() -> Self {
        Self::new()
            .with_base_rate(1e-3)
            .with_epochs(40.0)
            .with_layer_decay(0.8)
            .with_drop_path(0.2)
            .with_head_dropout(0.5)
    }

    /// The published run of ViT-g on Kinetics-710, 3 clips on each of 32 cards.
    pub fn giant() -> Self {
        Self::new()
            .with_base_rate(1e-3)
            .with_batch(96)
            .with_epochs(35.0)
            .with_layer_decay(0.9)
            .with_drop_path(0.3)
            .with_clip_norm(Some(5.0))
            .with_adamw(AdamW::new().with_weight_decay(0.1))
    }

    /// The published run of ViT-g on Kinetics-400 after Kinetics-710.
    pub fn giant_specific() -> Self {
        Self::giant()
            .with_base_rate(1e-5)
            .with_epochs(3.0)
            .with_warmup(1.0)
            .with_drop_path(0.25)
            .with_clip_norm(None)
    }

    /// The published run of ViT-g on Something-Something V2.
    pub fn giant_ssv2() -> Self {
        Self::giant()
            .with_base_rate(3e-4)
            .with_epochs(20.0)
            .with_drop_path(0.25)
            .with_clip_norm(None)
            .with_adamw(AdamW::new().with_weight_decay(0.05))
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: f64, rule: &str| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        for (field, value) in [("batch", self.batch), ("samples", self.samples)] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        if !(self.layer_decay > 0.0 && self.layer_decay <= 1.0) {
            let rule = "must be above 0 and at most 1";
            return refuse("layer_decay", self.layer_decay, rule);
        }
        for (field, value) in [
            ("drop_path", self.drop_path),
            ("head_dropout", self.head_dropout),
            ("smoothing", self.smoothing),
        ] {
            if !(0.0..1.0).contains(&value) {
                return refuse(field, value, "must be at least 0 and below 1");
            }
        }
        if let Some(norm) = self.clip_norm
            && !(norm.is_finite() && norm > 0.0)
        {
            return refuse("clip_norm", norm, "must be finite and above 0");
        }
        self.mix.validate()?;
        self.schedule().validate()?;
        self.adamw.validate()
    }

    /// The rate over epochs.
    pub fn schedule(&self) -> EpochSchedule {
        let scale = self.batch as f64 / 256.0;
        EpochSchedule::new(self.base_rate * scale, self.epochs, self.warmup)
            .with_floor(self.base_floor * scale)
    }

    /// AdamW that lets matrices decay, but no vector or scale of cosine attention.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn optimizer(&self, model: &Classifier) -> Result<ModuleOptimizer> {
        self.validate()?;
        self.adamw.grouped(model, decays)
    }

    /// The rates of `schedule`, smaller the nearer a layer is to the clip.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn rates(&self, model: &Classifier, schedule: Schedule) -> Result<Rates> {
        self.validate()?;
        let depth = model.config().encoder.depth;
        let mut groups = vec![Vec::new(); depth + 2];
        for (path, _) in parameters(model) {
            groups[layer_of(&path, depth)].push(path);
        }
        let scales = layer_scales(depth, self.layer_decay);
        Ok(groups
            .into_iter()
            .zip(scales)
            .fold(Rates::new(schedule), |rates, (paths, scale)| {
                rates.scaled(ParamGroup::from_paths(paths), scale)
            }))
    }

    /// A training batch of `clips` `[batch, 3, frames, height, width]` with a label each: mixed, with
    /// smoothed targets, and with draws of stochastic depth and dropout for `model`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports; [`Error::Input`] for clips of another shape or
    /// number, or a label that is no class.
    pub fn prepare(
        &self,
        model: &Classifier,
        clips: Tensor<5>,
        labels: &[usize],
        seed: Seed,
    ) -> Result<SoftLabelledClips> {
        self.validate()?;
        let config = model.config();
        config.clip.check(clips.dims())?;
        let [batch, ..] = clips.dims();
        if labels.len() != batch {
            let rule = format!("must be one for each of {batch} clips");
            return Err(Error::input("the number of labels", labels.len(), rule));
        }
        let head = model.head()?;
        let classes = head.weight.lazy_shape().dims::<2>()[1];
        let device = clips.device();
        let targets = smooth_targets(labels, classes, self.smoothing)?;
        let targets = Tensor::from_data(TensorData::new(targets, [batch, classes]), &device);
        let mix = self.mix.draw([config.clip.size; 2], seed.stream("mix"))?;
        // Frames as channels: one blend, or one rectangle, for all of them.
        let [_, channels, frames, height, width] = clips.dims();
        let pictures = clips.reshape([batch, channels * frames, height, width]);
        let (pictures, targets) = mix.apply(pictures, targets);
        let rates = linear_rates(self.drop_path, config.encoder.depth);
        let dim = config.encoder.dim;
        Ok(SoftLabelledClips {
            clips: pictures.reshape([batch, channels, frames, height, width]),
            targets,
            keep: draw_keep(&rates, batch, seed.stream("depth"), &device)?,
            dropout: (self.head_dropout > 0.0).then(|| {
                let seed = seed.stream("dropout");
                draw_dropout([batch, dim], self.head_dropout, seed, &device)
            }),
        })
    }
}

/// Factors of dropout: 0 with probability `rate`, else `1 / (1 - rate)`.
fn draw_dropout(shape: [usize; 2], rate: f64, seed: Seed, device: &Device) -> Tensor<2> {
    let mut rng = seed.rng();
    let kept = (1.0 / (1.0 - rate)) as f32;
    let factors: Vec<f32> = (0..shape[0] * shape[1])
        .map(|_| match rng.random::<f64>() < rate {
            true => 0.0,
            false => kept,
        })
        .collect();
    Tensor::from_data(TensorData::new(factors, shape), device)
}

/// Clips with their target distributions and the draws of a step.
#[derive(Clone, Debug)]
pub struct SoftLabelledClips {
    /// `[batch, 3, frames, height, width]`, standardised.
    pub clips: Tensor<5>,
    /// `[batch, classes]`; rows add up to 1. For distillation, the teacher's
    /// [`classify`](Classifier::classify).
    pub targets: Tensor<2>,
    /// A draw of stochastic depth for each block, or nothing.
    pub keep: Vec<Option<Keep>>,
    /// Factors of the features, `[batch, D]`, or nothing.
    pub dropout: Option<Tensor<2>>,
}

impl Classifier {
    /// The soft-target cross-entropy of a batch, of shape `[1]`, and its scores `[batch, classes]`.
    ///
    /// # Errors
    /// [`Error::Input`] if clips or targets are of another shape, [`Error::Config`] for a network
    /// without classes.
    pub fn loss(&self, batch: SoftLabelledClips) -> Result<(Tensor<1>, Tensor<2>)> {
        let head = self.head()?;
        self.config().clip.check(batch.clips.dims())?;
        let [count, ..] = batch.clips.dims();
        let classes = head.weight.lazy_shape().dims::<2>()[1];
        if batch.targets.dims() != [count, classes] {
            let rule = format!("must be [{count}, {classes}]");
            return Err(Error::input("targets", batch.targets.dims(), rule));
        }
        let mut features = self.pool(self.through_blocks(batch.clips, &batch.keep));
        if let Some(factors) = batch.dropout {
            features = features * factors;
        }
        let logits = head.forward(features);
        let loss = soft_cross_entropy(logits.clone(), batch.targets);
        Ok((loss, logits))
    }
}

/// A step panics where [`Classifier::loss`] reports an error.
impl TrainStep for Classifier {
    type Input = SoftLabelledClips;
    type Output = Scalars;

    fn step(&self, batch: SoftLabelledClips) -> TrainOutput<Scalars> {
        let (loss, _) = checked(self.loss(batch));
        let scalars = Scalars::new().with("loss", loss.clone());
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for Classifier {
    type Input = SoftLabelledClips;
    type Output = Scalars;

    fn step(&self, batch: SoftLabelledClips) -> Scalars {
        let targets = batch.targets.clone();
        let (loss, logits) = checked(self.loss(batch));
        Scalars::new()
            .with("loss", loss)
            .with("accuracy", accuracy(logits, targets))
    }
}

/// Burn's steps have no way to report an error; [`FinetuningConfig::prepare`] has checked the batch.
fn checked<T>(outcome: Result<T>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("a fine-tuning step: {error}"),
    }
}
