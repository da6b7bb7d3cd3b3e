//! Sizes and variants.

mod cswin;
mod pvt;

pub use cswin::{CswinConfig, CswinStageConfig};
pub use pvt::{PvtConfig, PvtStageConfig};

use super::norm::{NormConfig, NormKind};
use burn::config::Config;
use menagerie_core::{Error, Result};

/// The longest side of an image, and the most channels, classes or words.
const LARGEST: usize = 1 << 20;
/// The widest hidden layer, in units of a token's width.
const WIDEST_MLP: f64 = 1024.0;
/// The largest side of a depth-wise kernel.
const LARGEST_KERNEL: usize = 99;
/// Side of a window of softmax attention.
pub(crate) const WINDOW: usize = 7;

/// How tokens are mixed.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum AttentionKind {
    /// By softmax.
    Softmax,
    /// By simplified linear attention.
    Linear,
}

/// What simplified linear attention is made of besides its widths.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct SlaConfig {
    /// Side of the depth-wise kernel on the values; odd.
    #[config(default = 5)]
    pub kernel: usize,
    /// Keeps the sum of a query's products above zero.
    #[config(default = 1e-6)]
    pub epsilon: f64,
}

impl SlaConfig {
    const NAME: &str = "SlaConfig";

    /// Refuses kernels without a middle, and an ε of 0.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.kernel.is_multiple_of(2) || self.kernel > LARGEST_KERNEL {
            let rule = format!("must be odd and at most {LARGEST_KERNEL}");
            return Err(Error::config(Self::NAME, "kernel", self.kernel, rule));
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "epsilon", self.epsilon, rule));
        }
        Ok(())
    }
}

/// What the head of a DeiT sees.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Pooling {
    /// A class token.
    Class,
    /// The mean over patches.
    Mean,
}

/// A transformer whose blocks all have the same number of tokens: DeiT and SLAB-DeiT.
#[derive(Config, Debug, PartialEq)]
pub struct DeitConfig {
    /// Side of the images, in pixels.
    pub image: usize,
    /// Side of a patch, in pixels; it divides `image`.
    pub patch: usize,
    /// Width D of a token; divisible by `heads`.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// All norms.
    pub norm: NormConfig,
    /// How tokens are mixed. Linear attention has no place for a class token.
    #[config(default = "AttentionKind::Linear")]
    pub attention: AttentionKind,
    /// What the head sees.
    #[config(default = "Pooling::Mean")]
    pub pooling: Pooling,
    /// Channels of the images.
    #[config(default = 3)]
    pub channels: usize,
    /// Classes.
    #[config(default = 1000)]
    pub classes: usize,
    /// Width of the hidden layer of a block's multilayer perceptron, as a multiple of `dim`; the
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

impl DeitConfig {
    const NAME: &str = "DeitConfig";

    fn slab(dim: usize, heads: usize) -> Self {
        let norm = NormConfig::new(NormKind::Progressive).with_steps(60_000);
        Self::new(224, 16, dim, 12, heads, norm)
    }

    /// SLAB-DeiT-T: 192 wide, 3 heads; 6 198 401 parameters with the official code's class token,
    /// which it does not use.
    pub fn slab_tiny() -> Self {
        Self::slab(192, 3)
    }

    /// SLAB-DeiT-S: 384 wide, 6 heads; 22 992 641 parameters with the class token.
    pub fn slab_small() -> Self {
        Self::slab(384, 6)
    }

    /// DeiT-T with the given norms, softmax and a class token.
    pub fn tiny(norm: NormConfig) -> Self {
        Self::new(224, 16, 192, 12, 3, norm)
            .with_attention(AttentionKind::Softmax)
            .with_pooling(Pooling::Class)
    }

    /// DeiT-S with the given norms, softmax and a class token.
    pub fn small(norm: NormConfig) -> Self {
        Self::new(224, 16, 384, 12, 6, norm)
            .with_attention(AttentionKind::Softmax)
            .with_pooling(Pooling::Class)
    }

    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.image / self.patch.max(1)
    }

    /// Width of the hidden layer of the multilayer perceptrons.
    pub fn hidden(&self) -> usize {
        (self.dim as f64 * self.mlp_ratio) as usize
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
                ("patch", self.patch),
                ("dim", self.dim),
                ("depth", self.depth),
                ("heads", self.heads),
                ("channels", self.channels),
                ("classes", self.classes),
            ],
        )?;
        divides(Self::NAME, ("image", self.image), ("patch", self.patch))?;
        heads_divide(Self::NAME, self.heads, self.dim)?;
        shares(Self::NAME, self.dim, self.mlp_ratio, self.drop_path)?;
        if self.attention == AttentionKind::Linear && self.pooling == Pooling::Class {
            let rule =
                "must be Mean for linear attention, whose convolution needs a square of tokens";
            return Err(Error::config(Self::NAME, "pooling", self.pooling, rule));
        }
        self.sla.validate()?;
        self.norm.validate()
    }
}

/// The attention of the blocks of a stage of Swin.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum StageKind {
    /// `L`: linear in all blocks, in windows of `window`.
    Linear,
    /// `S`: softmax in all blocks, in windows of 7, every other one shifted.
    Softmax,
    /// `M<k>`: linear in the first `k` blocks, softmax in the others.
    Mixed(usize),
}

impl StageKind {
    /// Whether block `index` of the stage is linear.
    pub fn is_linear(self, index: usize) -> bool {
        match self {
            Self::Linear => true,
            Self::Softmax => false,
            Self::Mixed(linear) => index < linear,
        }
    }
}

/// One stage of a pyramid.
#[derive(Config, Debug, PartialEq)]
pub struct StageConfig {
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// The attention of the blocks.
    pub attention: StageKind,
}

/// A pyramid with attention in windows: Swin and SLAB-Swin. Every stage halves the grid and doubles
/// the width of the one before.
#[derive(Config, Debug, PartialEq)]
pub struct SwinConfig {
    /// Side of the images, in pixels.
    pub image: usize,
    /// Width of a token of the first stage.
    pub dim: usize,
    /// The stages, from the image on.
    pub stages: Vec<StageConfig>,
    /// All norms.
    pub norm: NormConfig,
    /// Side of a window of linear attention; at most the side of the grid counts.
    #[config(default = 56)]
    pub window: usize,
    /// Side of a patch, in pixels.
    #[config(default = 4)]
    pub patch: usize,
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

impl SwinConfig {
    const NAME: &str = "SwinConfig";

    fn published(depths: [usize; 4], kinds: [StageKind; 4], norm: NormConfig) -> Self {
        let stages = depths.into_iter().zip([3, 6, 12, 24]).zip(kinds);
        let stages = stages.map(|((depth, heads), kind)| StageConfig::new(depth, heads, kind));
        Self::new(224, 96, stages.collect(), norm)
    }

    fn slab(depths: [usize; 4]) -> Self {
        use StageKind::{Linear, Softmax};
        let norm = NormConfig::new(NormKind::Progressive)
            .with_epsilon(1e-5)
            .with_steps(60_000);
        Self::published(depths, [Linear, Linear, Softmax, Softmax], norm)
    }

    /// SLAB-Swin-T: 96 wide, 2-2-6-2 blocks, linear in the first two stages; 29 216 605 parameters.
    pub fn slab_tiny() -> Self {
        Self::slab([2, 2, 6, 2]).with_drop_path(0.2)
    }

    /// SLAB-Swin-S: 96 wide, 2-2-18-2 blocks; 50 552 965 parameters.
    pub fn slab_small() -> Self {
        Self::slab([2, 2, 18, 2]).with_drop_path(0.3)
    }

    /// Swin-T with the given norms (whose ε is 10⁻⁵), softmax everywhere.
    pub fn tiny(norm: NormConfig) -> Self {
        Self::published([2, 2, 6, 2], [StageKind::Softmax; 4], norm).with_drop_path(0.1)
    }

    /// Width, side of the grid and side of a window of block `index` of stage `stage`, and how far
    /// its windows are shifted.
    pub(crate) fn place(&self, stage: usize, index: usize) -> [usize; 4] {
        let side = self.image / self.patch / (1 << stage);
        let linear = self
            .stages
            .get(stage)
            .is_some_and(|stage| stage.attention.is_linear(index));
        let window = match linear {
            true => self.window,
            // The official code has 12 where the linear windows are above 56.
            false if self.window <= 56 => WINDOW,
            false => 12,
        };
        let shift = if index.is_multiple_of(2) {
            0
        } else {
            window / 2
        };
        match side <= window {
            true => [self.dim << stage, side, side, 0],
            false => [self.dim << stage, side, window, shift],
        }
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
                ("window", self.window),
                ("patch", self.patch),
                ("channels", self.channels),
                ("classes", self.classes),
            ],
        )?;
        divides(Self::NAME, ("image", self.image), ("patch", self.patch))?;
        if self.stages.len() > 12 {
            let rule = "must be at most 12 stages";
            return Err(Error::config(Self::NAME, "stages", self.stages.len(), rule));
        }
        shares(Self::NAME, self.dim, self.mlp_ratio, self.drop_path)?;
        let mut side = self.image / self.patch;
        for (at, stage) in self.stages.iter().enumerate() {
            positive(
                Self::NAME,
                &[("depth", stage.depth), ("heads", stage.heads)],
            )?;
            heads_divide(Self::NAME, stage.heads, self.dim << at)?;
            for index in 0..stage.depth {
                let [_, side, window, _] = self.place(at, index);
                if window == 0 || !side.is_multiple_of(window) {
                    let rule = format!(
                        "makes a grid of {side}×{side} in stage {}, which windows of {window} do not \
                         divide",
                        at + 1
                    );
                    return Err(Error::config(Self::NAME, "image", self.image, rule));
                }
            }
            if at + 1 < self.stages.len() && (side < 2 || !side.is_multiple_of(2)) {
                let rule = format!(
                    "makes a grid of {side}×{side} in stage {}, which cannot be halved",
                    at + 1
                );
                return Err(Error::config(Self::NAME, "image", self.image, rule));
            }
            side /= 2;
        }
        self.sla.validate()?;
        self.norm.validate()
    }
}

/// A LLaMA-style language model.
#[derive(Config, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Words of the vocabulary.
    pub vocabulary: usize,
    /// Width of a token; divisible by `heads` into even parts.
    pub dim: usize,
    /// Width of the hidden layer of the gated perceptrons.
    pub hidden: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// All norms.
    #[config(default = "NormConfig::llama()")]
    pub norm: NormConfig,
    /// The base of the rotary positions.
    #[config(default = 10000.0)]
    pub theta: f64,
}

impl LlamaConfig {
    const NAME: &str = "LlamaConfig";

    /// LLaMA-350M with PRepBN, every ε 10⁻⁶: 1024 wide, 18 blocks, 8 heads.
    pub fn b350m() -> Self {
        Self::new(32_000, 1_024, 4_096, 18, 8)
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        positive(
            Self::NAME,
            &[
                ("vocabulary", self.vocabulary),
                ("dim", self.dim),
                ("hidden", self.hidden),
                ("depth", self.depth),
                ("heads", self.heads),
            ],
        )?;
        heads_divide(Self::NAME, self.heads, self.dim)?;
        if !(self.dim / self.heads).is_multiple_of(2) {
            let rule = "must leave heads of an even width, for their rotations";
            return Err(Error::config(Self::NAME, "heads", self.heads, rule));
        }
        if !(self.theta.is_finite() && self.theta > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "theta", self.theta, rule));
        }
        self.norm.validate()
    }
}

fn positive(config: &'static str, sizes: &[(&str, usize)]) -> Result<()> {
    for (field, size) in sizes {
        if !(1..=LARGEST).contains(size) {
            let rule = format!("must lie between 1 and {LARGEST}");
            return Err(Error::config(config, *field, size, rule));
        }
    }
    Ok(())
}

fn divides(
    config: &'static str,
    (whole, size): (&str, usize),
    (part, by): (&str, usize),
) -> Result<()> {
    match size.is_multiple_of(by) {
        true => Ok(()),
        false => {
            let rule = format!("must be divisible by {part}, which is {by}");
            Err(Error::config(config, whole, size, rule))
        }
    }
}

fn heads_divide(config: &'static str, heads: usize, dim: usize) -> Result<()> {
    match dim.is_multiple_of(heads) {
        true => Ok(()),
        false => {
            let rule = format!("must divide the width, which is {dim}");
            Err(Error::config(config, "heads", heads, rule))
        }
    }
}

fn shares(config: &'static str, dim: usize, mlp_ratio: f64, drop_path: f64) -> Result<()> {
    if !(dim as f64 * mlp_ratio >= 1.0 && mlp_ratio <= WIDEST_MLP) {
        let rule = format!("must be at most {WIDEST_MLP} and leave at least one hidden number");
        return Err(Error::config(config, "mlp_ratio", mlp_ratio, rule));
    }
    if !(0.0..1.0).contains(&drop_path) {
        let rule = "must be at least 0 and below 1";
        return Err(Error::config(config, "drop_path", drop_path, rule));
    }
    Ok(())
}
