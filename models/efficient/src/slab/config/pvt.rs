//! Sizes of PVT and SLAB-PVT.

use super::{AttentionKind, NormConfig, NormKind, SlaConfig, heads_divide, positive, shares};
use burn::config::Config;
use menagerie_core::{Error, Result};

/// Blocks of the four stages.
const TINY: [usize; 4] = [2, 2, 2, 2];
const SMALL: [usize; 4] = [3, 4, 6, 3];
const MEDIUM: [usize; 4] = [3, 4, 18, 3];

/// One stage of a [`PvtConfig`].
#[derive(Config, Debug, PartialEq)]
pub struct PvtStageConfig {
    /// Width of a token.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the hidden layer of the multilayer perceptrons, as a multiple of `dim`.
    pub mlp_ratio: f64,
    /// Side of the square of tokens that one key and value stand for.
    pub reduction: usize,
    /// How tokens are mixed.
    pub attention: AttentionKind,
}

/// A pyramid whose keys and values come from coarser grids: PVT and SLAB-PVT. Every stage halves the
/// grid of the one before; there is no class token and no last norm.
#[derive(Config, Debug, PartialEq)]
pub struct PvtConfig {
    /// Side of the images, in pixels.
    pub image: usize,
    /// The stages, from the image on.
    pub stages: Vec<PvtStageConfig>,
    /// All norms.
    pub norm: NormConfig,
    /// Side of a patch of the first stage, in pixels; later ones take 2×2 tokens.
    #[config(default = 4)]
    pub patch: usize,
    /// Channels of the images.
    #[config(default = 3)]
    pub channels: usize,
    /// Classes.
    #[config(default = 1000)]
    pub classes: usize,
    /// Rate of stochastic depth of the last block; it grows linearly from 0 at the first.
    #[config(default = 0.0)]
    pub drop_path: f64,
    /// Linear attention.
    #[config(default = "SlaConfig::new()")]
    pub sla: SlaConfig,
}

impl PvtConfig {
    const NAME: &str = "PvtConfig";

    fn published(depths: [usize; 4], attention: AttentionKind, drop_path: f64) -> Self {
        let norm = NormConfig::new(NormKind::Progressive);
        let stages = [
            (64, 1, 8.0, 8),
            (128, 2, 8.0, 4),
            (320, 5, 4.0, 2),
            (512, 8, 4.0, 1),
        ];
        let stages = stages.into_iter().zip(depths);
        let stages = stages.map(|((dim, heads, ratio, reduction), depth)| {
            // Linear attention can afford every key.
            let reduction = match attention {
                AttentionKind::Softmax => reduction,
                AttentionKind::Linear => 1,
            };
            PvtStageConfig::new(dim, depth, heads, ratio, reduction, attention)
        });
        Self::new(224, stages.collect(), norm).with_drop_path(drop_path)
    }

    /// SLAB-PVT-T: 2-2-2-2 blocks, no reduction (`la_sr_ratios` 1111).
    pub fn slab_tiny() -> Self {
        Self::published(TINY, AttentionKind::Linear, 0.0)
    }

    /// SLAB-PVT-S: 3-4-6-3 blocks.
    pub fn slab_small() -> Self {
        Self::published(SMALL, AttentionKind::Linear, 0.1)
    }

    /// SLAB-PVT-M: 3-4-18-3 blocks.
    pub fn slab_medium() -> Self {
        Self::published(MEDIUM, AttentionKind::Linear, 0.3)
    }

    /// PVT-T with PRepBN and softmax, its keys reduced by 8, 4, 2, 1.
    pub fn tiny() -> Self {
        Self::published(TINY, AttentionKind::Softmax, 0.0)
    }

    /// PVT-S with PRepBN and softmax.
    pub fn small() -> Self {
        Self::published(SMALL, AttentionKind::Softmax, 0.1)
    }

    /// PVT-M with PRepBN and softmax.
    pub fn medium() -> Self {
        Self::published(MEDIUM, AttentionKind::Softmax, 0.3)
    }

    /// Side of the grid of stage `stage`.
    pub(crate) fn side(&self, stage: usize) -> usize {
        self.image / self.patch / (1 << stage)
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        positive(
            Self::NAME,
            &[
                ("image", self.image),
                ("stages", self.stages.len()),
                ("patch", self.patch),
                ("channels", self.channels),
                ("classes", self.classes),
            ],
        )?;
        if self.stages.len() > 12 {
            let rule = "must be at most 12 stages";
            return Err(Error::config(Self::NAME, "stages", self.stages.len(), rule));
        }
        let whole = self.patch << (self.stages.len() - 1);
        if !self.image.is_multiple_of(whole) {
            let rule = format!("must be divisible by {whole}, a token of the last stage");
            return Err(Error::config(Self::NAME, "image", self.image, rule));
        }
        for (at, stage) in self.stages.iter().enumerate() {
            positive(
                Self::NAME,
                &[
                    ("dim", stage.dim),
                    ("depth", stage.depth),
                    ("heads", stage.heads),
                    ("reduction", stage.reduction),
                ],
            )?;
            heads_divide(Self::NAME, stage.heads, stage.dim)?;
            shares(Self::NAME, stage.dim, stage.mlp_ratio, self.drop_path)?;
            let side = self.side(at);
            if !side.is_multiple_of(stage.reduction) {
                let rule = format!("must divide the side of the grid of its stage, {side}");
                return Err(Error::config(
                    Self::NAME,
                    "reduction",
                    stage.reduction,
                    rule,
                ));
            }
        }
        self.sla.validate()?;
        self.norm.validate()
    }
}
