//! Sizes of the U-Net.

use burn::config::Config;
use menagerie_core::{Error, Result};

/// The U-Net of "Diffusion Models Beat GANs on Image Synthesis" (Dhariwal and Nichol 2021,
/// [arXiv:2105.05233](https://arxiv.org/abs/2105.05233)), called ADM.
#[derive(Config, Debug, PartialEq)]
pub struct UNetConfig {
    /// Height and width of an image; a multiple of 2^(levels − 1).
    pub image_size: usize,
    /// Channels of an image.
    pub in_channels: usize,
    /// Channels that the network predicts: as many as the image has, or twice as many with learned
    /// variances.
    pub out_channels: usize,
    /// Channels of the first level before its multiplier; also the width of a timestep's
    /// embedding.
    pub model_channels: usize,
    /// Residual blocks of a level on the way down; one more on the way up.
    pub num_res_blocks: usize,
    /// The multiplier of `model_channels` at each level, from the full resolution down.
    pub channel_mult: Vec<usize>,
    /// By which factors the image is smaller where residual blocks are followed by attention; the
    /// middle always has it. The official scripts name sides instead: "32,16,8" of 256 pixels are
    /// the factors 8, 16 and 32.
    #[config(default = "Vec::new()")]
    pub attention_factors: Vec<usize>,
    /// How many attention heads there are.
    #[config(default = "Heads::Width(64)")]
    pub heads: Heads,
    /// How queries, keys and values lie in the projection to all three.
    #[config(default = "QkvOrder::Legacy")]
    pub qkv_order: QkvOrder,
    /// Whether the timestep scales and shifts normalised maps, rather than being added before the
    /// norm.
    #[config(default = true)]
    pub scale_shift_norm: bool,
    /// Whether residual blocks change the resolution, rather than a convolution alone.
    #[config(default = true)]
    pub resblock_updown: bool,
    /// The share of values that are dropped inside of residual blocks in training.
    #[config(default = 0.0)]
    pub dropout: f64,
    /// Groups of every group normalisation; they divide all numbers of channels.
    #[config(default = 32)]
    pub norm_groups: usize,
}

/// The number of attention heads where there are `c` channels.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum Heads {
    /// So many everywhere.
    Count(usize),
    /// `c` divided by this width.
    Width(usize),
}

impl Heads {
    /// Heads of `channels` channels; `None` if they cannot be divided.
    pub fn of(self, channels: usize) -> Option<usize> {
        match self {
            Self::Count(0) | Self::Width(0) => None,
            Self::Count(count) => channels.is_multiple_of(count).then_some(count),
            Self::Width(width) => channels.is_multiple_of(width).then_some(channels / width),
        }
    }
}

/// The order of the rows of a projection to queries, keys and values.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum QkvOrder {
    /// Head by head, each with its query, key and value; that of the released checkpoints.
    Legacy,
    /// All queries, all keys, all values, each head by head.
    Separate,
}

/// Number and shape of what a block gives, `[channels, side, side]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockShape {
    /// The block's number, from 1.
    pub block: usize,
    /// Its channels.
    pub channels: usize,
    /// Height and width of its maps.
    pub side: usize,
}

impl UNetConfig {
    const NAME: &str = "UNetConfig";

    /// The unconditional model on ImageNet at 256×256, with learned variances: 552 814 086
    /// parameters. Its checkpoint is `256x256_diffusion_uncond.pt`.
    pub fn adm_256() -> Self {
        Self::new(256, 3, 6, 256, 2, vec![1, 1, 2, 2, 4, 4]).with_attention_factors(vec![8, 16, 32])
    }

    /// A small model for grey images of 16×16: 32 channels, three levels with the multipliers 1, 2
    /// and 2, convolutions between them, no attention but that of the middle, fixed variances:
    /// 1 140 929 parameters.
    pub fn small() -> Self {
        Self::new(16, 1, 1, 32, 1, vec![1, 2, 2])
            .with_heads(Heads::Width(32))
            .with_resblock_updown(false)
    }

    /// Levels of resolution.
    pub fn levels(&self) -> usize {
        self.channel_mult.len()
    }

    /// Width of what every block is told of the timestep.
    pub fn embedding(&self) -> usize {
        4 * self.model_channels
    }

    /// The number of blocks on the way down; the middle is the next.
    pub fn input_blocks(&self) -> usize {
        self.levels() * (self.num_res_blocks + 1)
    }

    /// The number of all blocks; they are counted from 1: those on the way down, the middle, those
    /// on the way up.
    pub fn blocks(&self) -> usize {
        2 * self.input_blocks() + 1
    }

    /// What each block gives, in order.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn shapes(&self) -> Result<Vec<BlockShape>> {
        self.validate()?;
        let mut side = self.image_size;
        let mut sizes = Vec::new();
        let widths: Vec<usize> = self.widths().collect();
        sizes.push((widths[0], side));
        for (level, &channels) in widths.iter().enumerate() {
            sizes.extend(vec![(channels, side); self.num_res_blocks]);
            if level + 1 < widths.len() {
                side /= 2;
                sizes.push((channels, side));
            }
        }
        // The middle keeps the shape of the last.
        let middle = sizes.last().copied();
        sizes.extend(middle);
        for (level, &channels) in widths.iter().enumerate().rev() {
            sizes.extend(vec![(channels, side); self.num_res_blocks]);
            if level > 0 {
                side *= 2;
            }
            sizes.push((channels, side));
        }
        let shapes = sizes.into_iter().enumerate();
        Ok(shapes
            .map(|(index, (channels, side))| BlockShape {
                block: index + 1,
                channels,
                side,
            })
            .collect())
    }

    /// Channels of each level.
    pub(super) fn widths(&self) -> impl Iterator<Item = usize> + '_ {
        self.channel_mult
            .iter()
            .map(|mult| mult * self.model_channels)
    }

    /// Channels of the maps that the way down leaves for the way up, in order.
    pub(super) fn skips(&self) -> Vec<usize> {
        let widths: Vec<usize> = self.widths().collect();
        let first = widths.first().copied();
        let levels = widths.iter().enumerate().flat_map(|(level, &channels)| {
            let down = usize::from(level + 1 < widths.len());
            vec![channels; self.num_res_blocks + down]
        });
        first.into_iter().chain(levels).collect()
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: String| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        for (field, value) in [
            ("image_size", self.image_size),
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("model_channels", self.model_channels),
            ("num_res_blocks", self.num_res_blocks),
            ("norm_groups", self.norm_groups),
        ] {
            if value == 0 {
                return refuse(field, &value, "must be at least 1".into());
            }
        }
        if self.channel_mult.is_empty() || self.channel_mult.contains(&0) {
            let rule = "needs at least one level, each with a multiplier of at least 1";
            return refuse("channel_mult", &self.channel_mult, rule.into());
        }
        let halvings = u32::try_from(self.levels() - 1).unwrap_or(u32::MAX);
        let factor = 2_usize.checked_pow(halvings).unwrap_or(usize::MAX);
        if !self.image_size.is_multiple_of(factor) {
            let levels = self.levels();
            let rule = format!("must be a multiple of {factor} for {levels} levels");
            return refuse("image_size", &self.image_size, rule);
        }
        let unknown = self
            .attention_factors
            .iter()
            .find(|wanted| !wanted.is_power_of_two() || **wanted > factor);
        if unknown.is_some() {
            let rule = format!("must be powers of 2 up to {factor}, the smallest level's");
            return refuse("attention_factors", &self.attention_factors, rule);
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let rule = "must be at least 0 and below 1".into();
            return refuse("dropout", &self.dropout, rule);
        }
        self.validate_channels()
    }

    /// Every number of channels must be made of groups, and of heads where there is attention.
    fn validate_channels(&self) -> Result<()> {
        for channels in self.widths() {
            if !channels.is_multiple_of(self.norm_groups) {
                let rule = format!("must divide all numbers of channels, also {channels}");
                let groups = self.norm_groups;
                return Err(Error::config(Self::NAME, "norm_groups", groups, rule));
            }
        }
        let attended = (0..self.levels()).filter(|level| {
            let last = level + 1 == self.levels();
            last || self.attention_factors.contains(&(1 << level))
        });
        let widths: Vec<usize> = self.widths().collect();
        for level in attended {
            let channels = widths[level];
            if self.heads.of(channels).is_none() {
                let rule = format!("must divide the {channels} channels of level {level}");
                return Err(Error::config(Self::NAME, "heads", self.heads, rule));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_the_published_model_have_the_published_shapes() {
        let config = UNetConfig::adm_256();
        assert_eq!((config.input_blocks(), config.blocks()), (18, 37));
        let expected = [
            (1..=3, 256, 256),
            (4..=6, 256, 128),
            (7..=7, 256, 64),
            (8..=9, 512, 64),
            (10..=12, 512, 32),
            (13..=13, 512, 16),
            (14..=15, 1024, 16),
            (16..=21, 1024, 8),
            (22..=24, 1024, 16),
            (25..=25, 1024, 32),
            (26..=27, 512, 32),
            (28..=30, 512, 64),
            (31..=31, 512, 128),
            (32..=33, 256, 128),
            (34..=37, 256, 256),
        ];
        let shapes = config.shapes().unwrap();
        assert_eq!(shapes.len(), 37);
        for (blocks, channels, side) in expected {
            for block in blocks {
                let shape = BlockShape {
                    block,
                    channels,
                    side,
                };
                assert_eq!(shapes[block - 1], shape);
            }
        }
        assert_eq!(config.skips().len(), 18);
    }

    #[test]
    fn configurations_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unet.toml");
        let config = UNetConfig::adm_256().with_heads(Heads::Count(4));
        menagerie_core::config::save(&config, &path).unwrap();
        let back: UNetConfig = menagerie_core::config::load(&path).unwrap();
        assert_eq!(back, config);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let small = UNetConfig::small;
        for (config, text) in [
            (
                UNetConfig {
                    in_channels: 0,
                    ..small()
                },
                "UNetConfig.in_channels = 0: must be at least 1",
            ),
            (
                UNetConfig {
                    image_size: 18,
                    ..small()
                },
                "UNetConfig.image_size = 18: must be a multiple of 4 for 3 levels",
            ),
            (
                UNetConfig {
                    channel_mult: vec![],
                    ..small()
                },
                "UNetConfig.channel_mult = []: needs at least one level, each with a multiplier \
                 of at least 1",
            ),
            (
                UNetConfig {
                    model_channels: 48,
                    ..small()
                },
                "UNetConfig.norm_groups = 32: must divide all numbers of channels, also 48",
            ),
            (
                small().with_heads(Heads::Width(48)),
                "UNetConfig.heads = Width(48): must divide the 64 channels of level 2",
            ),
            (
                small().with_heads(Heads::Count(0)),
                "UNetConfig.heads = Count(0): must divide the 64 channels of level 2",
            ),
            (
                small().with_attention_factors(vec![2, 8]),
                "UNetConfig.attention_factors = [2, 8]: must be powers of 2 up to 4, the smallest \
                 level's",
            ),
            (
                small().with_dropout(1.0),
                "UNetConfig.dropout = 1.0: must be at least 0 and below 1",
            ),
        ] {
            assert_eq!(config.validate().unwrap_err().to_string(), text);
            assert!(config.shapes().is_err());
        }
    }
}
