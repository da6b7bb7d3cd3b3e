//! Pre-training: settings, batches with repeated augmentation, the step.

use super::config::{CHANNELS, ClipConfig};
use super::masks::{DualMasking, MaskingConfig};
use super::model::VideoMae;
use crate::mae_base::EpochSchedule;
use burn::config::Config;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::{AdamW, Sampler, Scalars};

/// How an autoencoder is pre-trained.
#[derive(Config, Debug, PartialEq)]
pub struct PretrainingConfig {
    /// Learning rate for 256 loaded clips; the peak is that times `batch / 256`.
    #[config(default = 1e-3)]
    pub base_rate: f64,
    /// The rate at the end for 256 loaded clips; it grows with the batch like the peak.
    #[config(default = 1e-5)]
    pub base_floor: f64,
    /// Clips that are loaded for an update.
    #[config(default = 1024)]
    pub batch: usize,
    /// Samples that are made of a loaded clip, each with a crop and masks of its own (repeated
    /// augmentation). The rate does not know of them.
    #[config(default = 4)]
    pub samples: usize,
    /// Passes over the clips. What the names of checkpoints call epochs is that times `samples`.
    #[config(default = 200.0)]
    pub epochs: f64,
    /// Passes of linear warm-up.
    #[config(default = 20.0)]
    pub warmup: f64,
    /// What is hidden.
    #[config(default = "MaskingConfig::new()")]
    pub masking: MaskingConfig,
    /// The largest norm of all gradients.
    #[config(default = "None")]
    pub clip_norm: Option<f64>,
    /// AdamW.
    #[config(default = "AdamW::new().with_beta_2(0.95).with_weight_decay(0.05)")]
    pub adamw: AdamW,
}

impl PretrainingConfig {
    const NAME: &str = "PretrainingConfig";

    /// The published run of ViT-B on 32 cards.
    pub fn base() -> Self {
        Self::new()
    }

    /// The published run of ViT-L on 48 cards.
    pub fn large() -> Self {
        Self::new()
            .with_batch(1536)
            .with_epochs(300.0)
            .with_warmup(30.0)
    }

    /// The published run of ViT-H on 64 cards.
    pub fn huge() -> Self {
        Self::large().with_batch(2048)
    }

    /// The published run of ViT-g on 64 cards.
    pub fn giant() -> Self {
        Self::huge().with_base_rate(6e-4).with_clip_norm(Some(0.02))
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("batch", self.batch), ("samples", self.samples)] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        if let Some(norm) = self.clip_norm
            && !(norm.is_finite() && norm > 0.0)
        {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "clip_norm", norm, rule));
        }
        self.schedule().validate()?;
        self.adamw.validate()
    }

    /// The rate over epochs.
    pub fn schedule(&self) -> EpochSchedule {
        let scale = self.batch as f64 / 256.0;
        EpochSchedule::new(self.base_rate * scale, self.epochs, self.warmup)
            .with_floor(self.base_floor * scale)
    }

    /// AdamW that lets matrices decay, but no vector, mask token or scale of cosine attention.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn optimizer(&self, model: &VideoMae) -> Result<ModuleOptimizer> {
        self.validate()?;
        self.adamw.grouped(model, decays)
    }
}

/// Whether a parameter decays: all but vectors, the mask token and the scales of cosine attention.
pub fn decays(path: &str, rank: usize) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    rank > 1 && !["mask_token", "scale"].contains(&name)
}

/// Standardised clips with their masks.
#[derive(Clone, Debug)]
pub struct MaskedClips {
    /// `[batch, 3, frames, height, width]`.
    pub clips: Tensor<5>,
    /// Of `[batch, cubes]`.
    pub masks: DualMasking,
}

/// The random draws behind one sample of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// For what is loaded, such as the first frame: the same for all samples of a loaded clip.
    pub load: Seed,
    /// For what is made of it, such as the crop: another for every sample.
    pub view: Seed,
}

/// One sample of the clip `index`, standardised, `[3, frames, height, width]`.
pub type View<'a> = Box<dyn FnMut(usize, Draw) -> Result<Vec<f32>> + 'a>;

/// The training batches of a run as a function of the step.
pub struct Batches<'a> {
    clip: ClipConfig,
    masking: MaskingConfig,
    samples: usize,
    sampler: Sampler,
    seed: Seed,
    view: View<'a>,
}

impl<'a> Batches<'a> {
    /// Shuffled batches of `clips` clips; `view` makes a sample of the clip of an index.
    ///
    /// # Errors
    /// If a configuration is invalid or the batch is larger than the set.
    pub fn new(
        clip: &ClipConfig,
        config: &PretrainingConfig,
        clips: usize,
        seed: Seed,
        view: impl FnMut(usize, Draw) -> Result<Vec<f32>> + 'a,
    ) -> Result<Self> {
        clip.validate()?;
        config.validate()?;
        config.masking.validate(clip.grid())?;
        Ok(Self {
            clip: *clip,
            masking: config.masking,
            samples: config.samples,
            sampler: Sampler::shuffled(clips, config.batch, seed.stream("order"))?,
            seed,
            view: Box::new(view),
        })
    }

    /// How many batches make up one pass over the clips.
    pub fn steps_per_epoch(&self) -> usize {
        self.sampler.steps_per_epoch()
    }

    /// The batch of step `step`: `batch · samples` clips, the samples of a clip side by side.
    ///
    /// # Errors
    /// What the view reports; [`Error::Input`] if it gives a clip of another size.
    pub fn batch(&mut self, step: usize, device: &Device) -> Result<MaskedClips> {
        let indices = self.sampler.indices(step);
        let (loads, views) = (self.seed.stream("load"), self.seed.stream("view"));
        let (loads, views) = (loads.at(step as u64), views.at(step as u64));
        let ClipConfig { frames, size, .. } = self.clip;
        let (count, len) = (
            indices.len() * self.samples,
            CHANNELS * frames * size * size,
        );
        let mut values = Vec::with_capacity(count * len);
        for (place, index) in indices.into_iter().enumerate() {
            for sample in 0..self.samples {
                let draw = Draw {
                    load: loads.at(place as u64),
                    view: views.at((place * self.samples + sample) as u64),
                };
                let clip = (self.view)(index, draw)?;
                if clip.len() != len {
                    let rule = format!("must be {len} for {CHANNELS} x {frames} x {size} x {size}");
                    return Err(Error::input("the size of a clip", clip.len(), rule));
                }
                values.extend_from_slice(&clip);
            }
        }
        let shape = [count, CHANNELS, frames, size, size];
        let seed = self.seed.stream("masks").at(step as u64);
        let masks = self.masking.draw(self.clip.grid(), count, seed)?;
        Ok(MaskedClips {
            clips: Tensor::from_data(TensorData::new(values, shape), device),
            masks: masks.on(device)?,
        })
    }
}

/// The objective of clips and masks that fit; a step panics where [`VideoMae::loss`] reports an
/// error.
impl TrainStep for VideoMae {
    type Input = MaskedClips;
    type Output = Scalars;

    fn step(&self, batch: MaskedClips) -> TrainOutput<Scalars> {
        let loss = self.objective(batch.clips, &batch.masks).total;
        let scalars = Scalars::new().with("loss", loss.clone());
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for VideoMae {
    type Input = MaskedClips;
    type Output = Scalars;

    fn step(&self, batch: MaskedClips) -> Scalars {
        Scalars::new().with("loss", self.objective(batch.clips, &batch.masks).total)
    }
}
