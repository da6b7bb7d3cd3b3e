//! Sizes of the networks, and what a pre-training step costs.

use super::masks::Grid;
use burn::{config::Config, module::Initializer};
use menagerie_core::{Error, Result};
use menagerie_nn::vit::{BlockConfig, QkvBias};

/// Channels of a clip: red, green and blue.
pub const CHANNELS: usize = 3;

/// How clips are cut into cubes.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub struct ClipConfig {
    /// Frames of a clip, a multiple of `tubelet`.
    #[config(default = 16)]
    pub frames: usize,
    /// Height and width of a frame in pixels, a multiple of `patch`.
    #[config(default = 224)]
    pub size: usize,
    /// Height and width of a cube in pixels.
    #[config(default = 16)]
    pub patch: usize,
    /// Frames of a cube, τ.
    #[config(default = 2)]
    pub tubelet: usize,
}

impl ClipConfig {
    /// Refuses sizes of 0 and cubes that do not fill the clip.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let name = "ClipConfig";
        for (field, value) in [
            ("frames", self.frames),
            ("size", self.size),
            ("patch", self.patch),
            ("tubelet", self.tubelet),
        ] {
            if value == 0 {
                return Err(Error::config(name, field, 0, "must be at least 1"));
            }
        }
        if !self.frames.is_multiple_of(self.tubelet) {
            let rule = format!("must be a multiple of tubelet, which is {}", self.tubelet);
            return Err(Error::config(name, "frames", self.frames, rule));
        }
        if !self.size.is_multiple_of(self.patch) {
            let rule = format!("must be a multiple of patch, which is {}", self.patch);
            return Err(Error::config(name, "size", self.size, rule));
        }
        Ok(())
    }

    /// The cubes of a clip, along time, rows and columns.
    pub fn grid(&self) -> Grid {
        let side = self.size / self.patch.max(1);
        Grid {
            time: self.frames / self.tubelet.max(1),
            rows: side,
            columns: side,
        }
    }

    /// Pixels of a cube, all channels counted: 3 τ p².
    pub fn cube(&self) -> usize {
        CHANNELS * self.tubelet * self.patch * self.patch
    }

    /// Refuses what is not `[batch, 3, frames, size, size]` with at least one clip.
    ///
    /// # Errors
    /// [`Error::Input`] with the shape and the one that is needed.
    pub(super) fn check(&self, clips: [usize; 5]) -> Result<()> {
        let [batch, shape @ ..] = clips;
        if batch == 0 || shape != [CHANNELS, self.frames, self.size, self.size] {
            let rule = format!(
                "must be [batch, {CHANNELS}, {}, {size}, {size}] with at least one clip, channels \
                 before frames",
                self.frames,
                size = self.size
            );
            return Err(Error::input("clips", clips, rule));
        }
        Ok(())
    }
}

/// A stack of transformer blocks.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub struct TowerConfig {
    /// Width of a token.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads; they divide `dim`.
    pub heads: usize,
}

/// What the blocks of all towers have in common.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct BlocksConfig {
    /// Width of the hidden layer of a block in units of the token's width; products are cut off to
    /// integers.
    #[config(default = 4.0)]
    pub mlp_ratio: f64,
    /// Trained factors on both branches that start at this value; `None` in all published models.
    #[config(default = "None")]
    pub layer_scale: Option<f64>,
    /// Attention by directions; `false` in all published models.
    #[config(default = false)]
    pub cosine: bool,
}

impl BlocksConfig {
    /// The blocks of one tower, with linear weights drawn from `initializer`.
    pub(super) fn block(&self, tower: &TowerConfig, initializer: Initializer) -> BlockConfig {
        // Beyond what a usize holds the cast saturates, and the layer is refused for its size.
        let hidden = (tower.dim as f64 * self.mlp_ratio) as usize;
        BlockConfig::new(tower.dim, tower.heads, hidden)
            .with_qkv_bias(QkvBias::QueryValue)
            .with_layer_scale(self.layer_scale)
            .with_cosine(self.cosine)
            .with_initializer(initializer)
    }

    /// Refuses a tower that cannot be built; `field` is its name in `config`.
    pub(super) fn validate(
        &self,
        config: &'static str,
        field: &str,
        tower: &TowerConfig,
    ) -> Result<()> {
        if !self.mlp_ratio.is_finite() || self.mlp_ratio <= 0.0 || self.mlp_ratio > 1024.0 {
            let rule = "must be above 0 and at most 1024";
            return Err(Error::config(
                config,
                "blocks.mlp_ratio",
                self.mlp_ratio,
                rule,
            ));
        }
        if tower.depth == 0 {
            let field = format!("{field}.depth");
            return Err(Error::config(config, field, 0, "must be at least 1"));
        }
        const WIDEST: usize = 1 << 20;
        if tower.dim > WIDEST {
            let rule = format!("must be at most {WIDEST}");
            return Err(Error::config(
                config,
                format!("{field}.dim"),
                tower.dim,
                rule,
            ));
        }
        // The block's own rules, under the names that are used here.
        let block = self.block(tower, Initializer::Zeros).validate();
        block.map_err(|error| match error {
            Error::Config {
                field: inner,
                value,
                rule,
                ..
            } => Error::Config {
                config,
                field: match inner.as_str() {
                    "hidden" => "blocks.mlp_ratio".into(),
                    "layer_scale" => "blocks.layer_scale".into(),
                    _ => format!("{field}.{inner}"),
                },
                value,
                rule,
            },
            other => other,
        })
    }
}

/// What the decoder is to predict.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Target {
    /// Pixels in 0..1, standardised per cube and channel.
    Standardised,
    /// Pixels in 0..1.
    Pixels,
}

/// Which decoded cubes the loss is averaged over.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum LossOver {
    /// Those that the encoder did not see (the paper's choice).
    Invisible,
    /// All of them (the paper's ablation, table 1).
    Decoded,
}

/// An encoder of visible cubes and a decoder of some of the others.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct VideoMaeConfig {
    /// How clips are cut.
    #[config(default = "ClipConfig::new()")]
    pub clip: ClipConfig,
    /// The encoder, D.
    pub encoder: TowerConfig,
    /// The decoder, d.
    pub decoder: TowerConfig,
    /// What all blocks have in common.
    #[config(default = "BlocksConfig::new()")]
    pub blocks: BlocksConfig,
    /// What is predicted.
    #[config(default = "Target::Standardised")]
    pub target: Target,
    /// Where the loss is taken.
    #[config(default = "LossOver::Invisible")]
    pub loss_over: LossOver,
}

/// Multiply-adds of one pre-training forward pass per clip, as the paper counts them: products of
/// matrices, attention included, biases and normalisation left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiplyAdds {
    /// Embedding of all cubes. This crate embeds the visible ones alone and needs less.
    pub embedding: u64,
    /// The encoder's blocks.
    pub encoder: u64,
    /// The bridge, the decoder's blocks and the head.
    pub decoder: u64,
}

impl MultiplyAdds {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.embedding + self.encoder + self.decoder
    }
}

impl VideoMaeConfig {
    const NAME: &str = "VideoMaeConfig";

    /// ViT-S/16: 24 029 376 parameters.
    pub fn small() -> Self {
        Self::published([384, 12, 6], [192, 4, 3])
    }

    /// ViT-B/16: 94 210 944 parameters.
    pub fn base() -> Self {
        Self::published([768, 12, 12], [384, 4, 6])
    }

    /// ViT-L/16: 317 782 016 parameters.
    pub fn large() -> Self {
        Self::published([1024, 24, 16], [512, 4, 8])
    }

    /// ViT-H/16: 645 659 392 parameters.
    pub fn huge() -> Self {
        Self::published([1280, 32, 16], [512, 4, 8])
    }

    /// ViT-g/14: 1 026 306 560 parameters.
    pub fn giant() -> Self {
        Self::published([1408, 40, 16], [512, 4, 8])
            .with_clip(ClipConfig::new().with_patch(14))
            .with_blocks(BlocksConfig::new().with_mlp_ratio(48.0 / 11.0))
    }

    /// The small-scale experiment: 8 frames of 32×32 in cubes of 2×4×4.
    pub fn experiment() -> Self {
        let clip = ClipConfig::new().with_frames(8).with_size(32).with_patch(4);
        Self::published([96, 4, 4], [48, 2, 4]).with_clip(clip)
    }

    fn published(encoder: [usize; 3], decoder: [usize; 3]) -> Self {
        let tower = |[dim, depth, heads]: [usize; 3]| TowerConfig::new(dim, depth, heads);
        Self::new(tower(encoder), tower(decoder))
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.clip.validate()?;
        if self.target == Target::Standardised && self.clip.cube() == CHANNELS {
            let rule = "a cube of one pixel has no deviation: use Target::Pixels or larger cubes";
            return Err(Error::config(Self::NAME, "target", self.target, rule));
        }
        self.blocks.validate(Self::NAME, "encoder", &self.encoder)?;
        self.blocks.validate(Self::NAME, "decoder", &self.decoder)
    }

    /// The cost of a forward pass in which the encoder sees `visible` cubes and the decoder
    /// predicts `decoded`.
    pub fn multiply_adds(&self, visible: usize, decoded: usize) -> MultiplyAdds {
        let tower = |tower: &TowerConfig, tokens: u64| {
            let dim = tower.dim as u64;
            let hidden = (tower.dim as f64 * self.blocks.mlp_ratio) as u64;
            let linear = tokens * dim * (4 * dim + 2 * hidden);
            tower.depth as u64 * (linear + 2 * tokens * tokens * dim)
        };
        let (visible, decoded) = (visible as u64, decoded as u64);
        let (wide, narrow) = (self.encoder.dim as u64, self.decoder.dim as u64);
        let cube = self.clip.cube() as u64;
        MultiplyAdds {
            embedding: self.clip.grid().tokens() as u64 * cube * wide,
            encoder: tower(&self.encoder, visible),
            decoder: visible * wide * narrow
                + tower(&self.decoder, visible + decoded)
                + decoded * narrow * cube,
        }
    }
}
