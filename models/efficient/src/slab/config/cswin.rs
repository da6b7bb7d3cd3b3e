//! Sizes of CSWin and SLAB-CSWin.

use super::{NormConfig, NormKind, SlaConfig, StageKind, heads_divide, positive, shares};
use burn::config::Config;
use menagerie_core::{Error, Result};

/// One stage of a [`CswinConfig`].
#[derive(Config, Debug, PartialEq)]
pub struct CswinStageConfig {
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads; even where a block has stripes of two directions.
    pub heads: usize,
    /// The attention of the blocks.
    pub attention: StageKind,
    /// Width of a stripe of softmax attention, in tokens.
    pub split: usize,
    /// Width of a stripe of linear attention, in tokens.
    pub linear_split: usize,
}

/// A pyramid with attention in stripes, half of the heads along columns and half along rows: CSWin
/// and SLAB-CSWin. Every stage halves the grid and doubles the width of the one before.
#[derive(Config, Debug, PartialEq)]
pub struct CswinConfig {
    /// Side of the images, in pixels.
    pub image: usize,
    /// Width of a token of the first stage.
    pub dim: usize,
    /// The stages, from the image on. In the last one, and where a stripe is as wide as the grid, all
    /// heads see everything.
    pub stages: Vec<CswinStageConfig>,
    /// All norms.
    pub norm: NormConfig,
    /// Channels of the images.
    #[config(default = 3)]
    pub channels: usize,
    /// Classes.
    #[config(default = 1000)]
    pub classes: usize,
    /// Width of the hidden layer of a block's multilayer perceptron, as a multiple of its width; the
    /// product is cut off.
    #[config(default = 4.0)]
    pub mlp_ratio: f64,
    /// Rate of stochastic depth of the last block; it grows linearly from 0 at the first.
    #[config(default = 0.0)]
    pub drop_path: f64,
    /// Linear attention.
    #[config(default = "SlaConfig::new()")]
    pub sla: SlaConfig,
}

/// Pixels along a side that a token of the first stage stands for.
const PATCH: usize = 4;

impl CswinConfig {
    const NAME: &str = "CswinConfig";

    fn slab(depths: [usize; 4]) -> Self {
        use StageKind::{Linear, Softmax};
        let stages = [
            (2, Linear, 1, 56),
            (4, Linear, 2, 28),
            (8, Softmax, 7, 14),
            (16, Softmax, 7, 7),
        ];
        let stages = stages.into_iter().zip(depths);
        let stages = stages.map(|((heads, kind, split, linear), depth)| {
            CswinStageConfig::new(depth, heads, kind, split, linear)
        });
        let norm = NormConfig::new(NormKind::Progressive)
            .with_epsilon(1e-5)
            .with_steps(120_000);
        Self::new(224, 64, stages.collect(), norm)
    }

    /// SLAB-CSWin-T: 64 wide, 2-4-18-1 blocks, linear in the first two stages.
    pub fn slab_tiny() -> Self {
        Self::slab([2, 4, 18, 1]).with_drop_path(0.1)
    }

    /// SLAB-CSWin-S: 64 wide, 2-4-32-2 blocks.
    pub fn slab_small() -> Self {
        Self::slab([2, 4, 32, 2]).with_drop_path(0.3)
    }

    /// Side of the grid of stage `stage`.
    pub(crate) fn side(&self, stage: usize) -> usize {
        self.image / PATCH / (1 << stage)
    }

    /// The stripes of the branches of a block of stage `at`, rows and columns: two directions, or all
    /// of the grid.
    pub(crate) fn stripes(
        &self,
        at: usize,
        stage: &CswinStageConfig,
        is_linear: bool,
    ) -> Vec<[usize; 2]> {
        let side = self.side(at);
        let split = if is_linear {
            stage.linear_split
        } else {
            stage.split
        };
        if at + 1 == self.stages.len() || split == side {
            return vec![[side, side]];
        }
        vec![[side, split], [split, side]]
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
                ("dim", self.dim),
                ("stages", self.stages.len()),
                ("channels", self.channels),
                ("classes", self.classes),
            ],
        )?;
        if self.stages.len() > 12 {
            let rule = "must be at most 12 stages";
            return Err(Error::config(Self::NAME, "stages", self.stages.len(), rule));
        }
        let whole = PATCH << (self.stages.len() - 1);
        if !self.image.is_multiple_of(whole) {
            let rule = format!("must be divisible by {whole}, a token of the last stage");
            return Err(Error::config(Self::NAME, "image", self.image, rule));
        }
        shares(Self::NAME, self.dim, self.mlp_ratio, self.drop_path)?;
        for (at, stage) in self.stages.iter().enumerate() {
            self.validate_stage(at, stage)?;
        }
        self.sla.validate()?;
        self.norm.validate()
    }

    fn validate_stage(&self, at: usize, stage: &CswinStageConfig) -> Result<()> {
        positive(
            Self::NAME,
            &[("depth", stage.depth), ("heads", stage.heads)],
        )?;
        let (dim, side) = (self.dim << at, self.side(at));
        heads_divide(Self::NAME, stage.heads, dim)?;
        for index in 0..stage.depth {
            let is_linear = stage.attention.is_linear(index);
            let (field, split) = match is_linear {
                true => ("linear_split", stage.linear_split),
                false => ("split", stage.split),
            };
            if self.stripes(at, stage, is_linear).len() == 1 {
                continue;
            }
            if split == 0 || !side.is_multiple_of(split) {
                let rule = format!("must divide the side of the grid of its stage, {side}");
                return Err(Error::config(Self::NAME, field, split, rule));
            }
            if !stage.heads.is_multiple_of(2) || !dim.is_multiple_of(2) {
                let rule = "must be even, half of them for each direction";
                return Err(Error::config(Self::NAME, "heads", stage.heads, rule));
            }
        }
        Ok(())
    }
}
