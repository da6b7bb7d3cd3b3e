//! Sizes of encoder, decoder and classifier.

use burn::config::Config;
use menagerie_core::{Error, Result};
use menagerie_nn::vit::{BlockConfig, len_keep, position::First};

/// A vision transformer over square images.
#[derive(Config, Debug, PartialEq)]
pub struct VitConfig {
    /// Side of the images, in pixels.
    pub image: usize,
    /// Side of a patch, in pixels; it divides `image`.
    pub patch: usize,
    /// Width D of a token; divisible by 4 and by `heads`.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Channels of the images.
    #[config(default = 3)]
    pub channels: usize,
    /// Width of the hidden layer of a block's multilayer perceptron, as a multiple of `dim`; the
    /// product is cut off.
    #[config(default = 4.0)]
    pub mlp_ratio: f64,
    /// What the first half of a position's channels encodes.
    #[config(default = "First::Column")]
    pub positions: First,
    /// The ε of all layer norms.
    #[config(default = 1e-6)]
    pub epsilon: f64,
}

/// The longest side of an image, and the most channels.
const LARGEST: usize = 1 << 16;
/// The widest token.
const WIDEST: usize = 1 << 20;
/// The widest hidden layer, in units of a token's width.
const WIDEST_MLP: f64 = 1024.0;

impl VitConfig {
    const NAME: &str = "VitConfig";

    /// ViT-Ti/16: 192 wide, 12 blocks, 3 heads.
    pub fn tiny() -> Self {
        Self::new(224, 16, 192, 12, 3)
    }

    /// ViT-S/16: 384 wide, 12 blocks, 6 heads.
    pub fn small() -> Self {
        Self::new(224, 16, 384, 12, 6)
    }

    /// ViT-B/16: 768 wide, 12 blocks, 12 heads.
    pub fn base() -> Self {
        Self::new(224, 16, 768, 12, 12)
    }

    /// ViT-L/16: 1024 wide, 24 blocks, 16 heads.
    pub fn large() -> Self {
        Self::new(224, 16, 1024, 24, 16)
    }

    /// ViT-H/14: 1280 wide, 32 blocks, 16 heads.
    pub fn huge() -> Self {
        Self::new(224, 14, 1280, 32, 16)
    }

    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.image / self.patch.max(1)
    }

    /// Patches of an image, L.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Numbers in a patch.
    pub fn patch_size(&self) -> usize {
        self.patch * self.patch * self.channels
    }

    /// One block of the encoder.
    pub fn block(&self) -> BlockConfig {
        self.block_of(self.dim, self.heads)
    }

    /// One block of another width, with the same ratio and ε.
    pub(crate) fn block_of(&self, dim: usize, heads: usize) -> BlockConfig {
        let hidden = (dim as f64 * self.mlp_ratio) as usize;
        BlockConfig::new(dim, heads, hidden).with_epsilon(self.epsilon)
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("image", self.image),
            ("patch", self.patch),
            ("depth", self.depth),
            ("channels", self.channels),
        ] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        for (field, value) in [("image", self.image), ("channels", self.channels)] {
            if value > LARGEST {
                let rule = format!("must be at most {LARGEST}");
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        if !self.image.is_multiple_of(self.patch) {
            let rule = format!("must be divisible by patch, which is {}", self.patch);
            return Err(Error::config(Self::NAME, "image", self.image, rule));
        }
        check_width(Self::NAME, self.dim, self.heads)?;
        if !(self.dim as f64 * self.mlp_ratio >= 1.0 && self.mlp_ratio <= WIDEST_MLP) {
            let rule = format!("must be at most {WIDEST_MLP} and leave at least one hidden number");
            return Err(Error::config(Self::NAME, "mlp_ratio", self.mlp_ratio, rule));
        }
        self.block().validate()
    }
}

/// Refuses a width that positions or heads do not divide.
fn check_width(config: &'static str, dim: usize, heads: usize) -> Result<()> {
    if dim == 0 || !dim.is_multiple_of(4) {
        let rule = "must be divisible by 4 and not 0, for its positions";
        return Err(Error::config(config, "dim", dim, rule));
    }
    if dim > WIDEST {
        let rule = format!("must be at most {WIDEST}");
        return Err(Error::config(config, "dim", dim, rule));
    }
    if heads == 0 || !dim.is_multiple_of(heads) {
        let rule = format!("must divide dim, which is {dim}");
        return Err(Error::config(config, "heads", heads, rule));
    }
    Ok(())
}

/// The decoder of a masked autoencoder.
#[derive(Config, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Width d of a token; divisible by 4 and by `heads`.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
}

impl DecoderConfig {
    /// The published decoder: 512 wide, 8 blocks, 16 heads.
    pub fn published() -> Self {
        Self::new(512, 8, 16)
    }

    fn validate(&self) -> Result<()> {
        check_width("DecoderConfig", self.dim, self.heads)
    }
}

/// A masked autoencoder.
#[derive(Config, Debug, PartialEq)]
pub struct MaeConfig {
    /// The encoder, which sees the visible patches only.
    pub encoder: VitConfig,
    /// The decoder, which sees all tokens.
    pub decoder: DecoderConfig,
    /// The share of patches that is hidden.
    #[config(default = 0.75)]
    pub mask_ratio: f64,
    /// Whether the pixels of each patch are normalised in the objective.
    #[config(default = true)]
    pub norm_pix_loss: bool,
}

impl MaeConfig {
    const NAME: &str = "MaeConfig";

    /// `mae_vit_base_patch16`: 111 907 840 parameters, fixed positions included.
    pub fn base() -> Self {
        Self::new(VitConfig::base(), DecoderConfig::published())
    }

    /// `mae_vit_large_patch16`: 329 541 888 parameters.
    pub fn large() -> Self {
        Self::new(VitConfig::large(), DecoderConfig::published())
    }

    /// `mae_vit_huge_patch14`: 657 074 508 parameters.
    pub fn huge() -> Self {
        Self::new(VitConfig::huge(), DecoderConfig::published())
    }

    /// Visible patches of an image.
    pub fn visible(&self) -> usize {
        len_keep(self.encoder.tokens(), self.mask_ratio)
    }

    /// Refuses impossible sizes, and ratios that hide all patches or none.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.encoder.validate()?;
        self.decoder.validate()?;
        self.encoder
            .block_of(self.decoder.dim, self.decoder.heads)
            .validate()?;
        let tokens = self.encoder.tokens();
        let fits = (0.0..1.0).contains(&self.mask_ratio);
        if !fits || !(1..tokens).contains(&self.visible()) {
            let rule = format!("must hide at least one of {tokens} patches and leave one visible");
            return Err(Error::config(
                Self::NAME,
                "mask_ratio",
                self.mask_ratio,
                rule,
            ));
        }
        Ok(())
    }
}

/// What a classifier looks at.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Pooling {
    /// The mean of the patch tokens, without the class token, then a layer norm.
    Mean,
    /// The class token after the encoder's layer norm.
    ClassToken,
}

/// A vision transformer with a linear head, for fine-tuning.
#[derive(Config, Debug, PartialEq)]
pub struct ClassifierConfig {
    /// The encoder; its positions are trained.
    pub encoder: VitConfig,
    /// Number of classes.
    pub classes: usize,
    /// What the head looks at.
    #[config(default = "Pooling::Mean")]
    pub pooling: Pooling,
    /// Rate of stochastic depth at the last block, growing linearly from 0 at the first.
    #[config(default = 0.0)]
    pub drop_path: f64,
}

impl ClassifierConfig {
    const NAME: &str = "ClassifierConfig";

    /// The published classifier of an encoder: 1000 classes, stochastic depth 0.1 (base), 0.2
    /// (large) or 0.3 (huge); 86 567 656, 304 326 632 and 632 045 800 parameters.
    pub fn imagenet(encoder: VitConfig) -> Self {
        let drop_path = match encoder.depth {
            ..=12 => 0.1,
            13..=24 => 0.2,
            _ => 0.3,
        };
        Self::new(encoder, 1000).with_drop_path(drop_path)
    }

    /// Refuses impossible sizes and rates.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.encoder.validate()?;
        if self.classes < 2 {
            let rule = "must be at least 2";
            return Err(Error::config(Self::NAME, "classes", self.classes, rule));
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(Self::NAME, "drop_path", self.drop_path, rule));
        }
        Ok(())
    }
}
