//! The fine-tuned network: a classifier of clips, or a feature extractor.

use super::config::{BlocksConfig, ClipConfig, TowerConfig, VideoMaeConfig};
use super::masks::Grid;
use super::model::{EPSILON, tube_embed};
use super::positions::resample;
use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::tensor::{Device, Tensor, activation::softmax};
use menagerie_core::{Error, Result};
use menagerie_nn::vit::{
    Block, Keep, LayerNorm, Linear, LinearConfig, TubeEmbed, position::sinusoid_1d,
};

/// Deviation of the weights of a network that starts from nothing.
const DEVIATION: f64 = 0.02;

/// How a clip's tokens become one vector.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Pooling {
    /// The mean of all tokens, then a norm (`fc_norm`), as published.
    Mean,
    /// A norm of all tokens (`norm`), then the first.
    First,
}

/// A classifier or feature extractor.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct ClassifierConfig {
    /// How clips are cut.
    #[config(default = "ClipConfig::new()")]
    pub clip: ClipConfig,
    /// The encoder.
    pub encoder: TowerConfig,
    /// What all blocks have in common.
    #[config(default = "BlocksConfig::new()")]
    pub blocks: BlocksConfig,
    /// Number of classes; `None` for a feature extractor.
    #[config(default = "None")]
    pub classes: Option<usize>,
    /// How tokens are pooled.
    #[config(default = "Pooling::Mean")]
    pub pooling: Pooling,
    /// What the head's first weights are multiplied by.
    #[config(default = 0.001)]
    pub head_scale: f64,
    /// The clips that the weights were trained with, where they were others: the table of positions
    /// is made for them and resampled.
    #[config(default = "None")]
    pub trained_on: Option<ClipConfig>,
}

impl ClassifierConfig {
    const NAME: &str = "ClassifierConfig";

    /// The encoder of `config` with a head for `classes`, or without one.
    pub fn of(config: &VideoMaeConfig, classes: Option<usize>) -> Self {
        Self::new(config.encoder)
            .with_classes(classes)
            .with_clip(config.clip)
            .with_blocks(config.blocks)
    }

    /// ViT-S/16.
    pub fn small(classes: Option<usize>) -> Self {
        Self::of(&VideoMaeConfig::small(), classes)
    }

    /// ViT-B/16: 86 227 200 parameters without a head, 86 773 190 with 710 classes.
    pub fn base(classes: Option<usize>) -> Self {
        Self::of(&VideoMaeConfig::base(), classes)
    }

    /// ViT-L/16.
    pub fn large(classes: Option<usize>) -> Self {
        Self::of(&VideoMaeConfig::large(), classes)
    }

    /// ViT-H/16.
    pub fn huge(classes: Option<usize>) -> Self {
        Self::of(&VideoMaeConfig::huge(), classes)
    }

    /// ViT-g/14.
    pub fn giant(classes: Option<usize>) -> Self {
        Self::of(&VideoMaeConfig::giant(), classes)
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.clip.validate()?;
        if let Some(trained) = &self.trained_on {
            trained.validate()?;
        }
        self.blocks.validate(Self::NAME, "encoder", &self.encoder)?;
        if self.classes == Some(0) {
            let rule = "must be at least 1, or None for a feature extractor";
            return Err(Error::config(Self::NAME, "classes", 0, rule));
        }
        if !self.head_scale.is_finite() {
            let rule = "must be finite";
            return Err(Error::config(
                Self::NAME,
                "head_scale",
                self.head_scale,
                rule,
            ));
        }
        Ok(())
    }

    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Classifier> {
        self.validate()?;
        let dim = self.encoder.dim;
        // The official cut of this distribution lies at a hundred deviations.
        let normal = |std: f64| Initializer::Normal { mean: 0.0, std };
        let block = self.blocks.block(&self.encoder, normal(DEVIATION));
        let norm = || LayerNorm::new(dim, EPSILON, device);
        let head = |classes: usize| LinearConfig {
            initializer: normal(DEVIATION * self.head_scale.abs()),
            ..LinearConfig::new(dim, classes)
        };
        let trained = self.trained_on.unwrap_or(self.clip).grid();
        let table = sinusoid_1d(dim, trained.tokens());
        let table = resample(table, trained, self.clip.grid())?;
        Ok(Classifier {
            patch_embed: tube_embed(&self.clip, dim, device)?,
            blocks: (0..self.encoder.depth)
                .map(|_| block.init(device))
                .collect::<Result<_>>()?,
            norm: (self.pooling == Pooling::First).then(norm),
            fc_norm: (self.pooling == Pooling::Mean).then(norm),
            head: self.classes.map(|classes| head(classes).init(device)),
            positions: Tensor::from_data(table, &device.clone().without_autodiff()),
            config: *self,
        })
    }
}

/// A classifier or feature extractor of clips.
#[derive(Module, Debug)]
pub struct Classifier {
    /// Cubes to tokens.
    pub patch_embed: TubeEmbed,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Before the first token is taken; with [`Pooling::First`].
    pub norm: Option<LayerNorm>,
    /// After the mean of all tokens; with [`Pooling::Mean`].
    pub fc_norm: Option<LayerNorm>,
    /// Features to scores.
    pub head: Option<Linear>,
    /// The table of positions, `[cubes, D]`; computed, not trained, not saved.
    pub positions: Tensor<2>,
    #[module(skip)]
    config: ClassifierConfig,
}

impl Classifier {
    /// The sizes.
    pub fn config(&self) -> &ClassifierConfig {
        &self.config
    }

    /// The cubes of a clip.
    pub fn grid(&self) -> Grid {
        self.config.clip.grid()
    }

    /// All cubes of standardised clips `[batch, 3, frames, height, width]` after the blocks: `[batch,
    /// cubes, D]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the clips are of another shape.
    pub fn tokens(&self, clips: Tensor<5>) -> Result<Tensor<3>> {
        self.config.clip.check(clips.dims())?;
        Ok(self.through_blocks(clips, &[]))
    }

    /// One vector for each clip, `[batch, D]`: the pooled and normalised tokens.
    ///
    /// # Errors
    /// As [`tokens`](Self::tokens).
    pub fn features(&self, clips: Tensor<5>) -> Result<Tensor<2>> {
        Ok(self.pool(self.tokens(clips)?))
    }

    /// Scores of the classes, `[batch, classes]`.
    ///
    /// # Errors
    /// As [`tokens`](Self::tokens), and [`Error::Input`] for a network without classes.
    pub fn forward(&self, clips: Tensor<5>) -> Result<Tensor<2>> {
        let head = self.head()?;
        Ok(head.forward(self.features(clips)?))
    }

    /// Probabilities of the classes, `[batch, classes]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn classify(&self, clips: Tensor<5>) -> Result<Tensor<2>> {
        Ok(softmax(self.forward(clips)?, 1))
    }

    /// Probabilities `[classes]` of one video by `views` `[views, 3, frames, height, width]`, clips at
    /// several times with several crops each (5 × 3 on Kinetics, 2 × 3 on Something-Something): the
    /// mean of the views' probabilities.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn classify_views(&self, views: Tensor<5>) -> Result<Tensor<1>> {
        Ok(self.classify(views)?.mean_dim(0).squeeze_dim(0))
    }

    /// Features `[windows, D]` of a long video `[3, total, height, width]`: windows of the network's
    /// frames, `step` apart, in batches of `batch`. Detection on THUMOS14 takes a step of 4, on
    /// FineAction of 16.
    ///
    /// The official extractor gives pixels in 0..1 to the network, without the standardisation that
    /// it was trained with; what is given here is taken as it is.
    ///
    /// # Errors
    /// [`Error::Input`] for a video of another size or with fewer frames than a window, and a step or
    /// batch of 0.
    pub fn sliding_features(
        &self,
        video: Tensor<4>,
        step: usize,
        batch: usize,
    ) -> Result<Tensor<2>> {
        let frames = self.config.clip.frames;
        let [channels, total, height, width] = video.dims();
        self.config
            .clip
            .check([1, channels, frames, height, width])?;
        if total < frames {
            let rule = format!("must be at least {frames}, the frames of a window");
            return Err(Error::input("the number of frames", total, rule));
        }
        for (what, value) in [("the step", step), ("the batch", batch)] {
            if value == 0 {
                return Err(Error::input(what, 0, "must be at least 1"));
            }
        }
        let starts: Vec<usize> = (0..=total - frames).step_by(step).collect();
        let features = starts.chunks(batch).map(|starts| {
            let windows = starts
                .iter()
                .map(|&start| video.clone().narrow(1, start, frames));
            self.features(Tensor::stack(windows.collect(), 0))
        });
        Ok(Tensor::cat(features.collect::<Result<Vec<_>>>()?, 0))
    }

    /// Clips through embedding and blocks; `keep` has an entry per block, or none at all.
    pub(super) fn through_blocks(&self, clips: Tensor<5>, keep: &[Option<Keep>]) -> Tensor<3> {
        let tokens = self.patch_embed.forward(clips);
        let tokens = tokens + self.positions.clone().unsqueeze();
        let blocks = self.blocks.iter().enumerate();
        blocks.fold(tokens, |tokens, (at, block)| {
            block.forward(tokens, keep.get(at).and_then(Option::as_ref))
        })
    }

    /// `[batch, cubes, D]` to `[batch, D]`.
    pub(super) fn pool(&self, tokens: Tensor<3>) -> Tensor<2> {
        if let Some(norm) = &self.norm {
            return norm.forward(tokens.narrow(1, 0, 1).squeeze_dim::<2>(1));
        }
        let pooled = tokens.mean_dim(1).squeeze_dim::<2>(1);
        match &self.fc_norm {
            Some(norm) => norm.forward(pooled),
            None => pooled,
        }
    }

    pub(super) fn head(&self) -> Result<&Linear> {
        self.head.as_ref().ok_or_else(|| {
            let rule = "must be set: a feature extractor has no head";
            Error::config(ClassifierConfig::NAME, "classes", self.config.classes, rule)
        })
    }
}
