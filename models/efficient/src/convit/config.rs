//! Sizes and variants.

use burn::config::Config;
use burn::module::Initializer;
use menagerie_core::{Error, Result};
use menagerie_nn::vit::{BlockConfig, QkvBias};

/// What the heads of gated positional self-attention look at.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Gating {
    /// Position and content, blended by a trained gate per head: the method.
    Learned,
    /// Position alone, the gate at +∞.
    Position,
    /// Content alone, the gate at −∞.
    Content,
}

/// A ConViT over square images.
#[derive(Config, Debug, PartialEq)]
pub struct ConVitConfig {
    /// Side of the images, in pixels.
    pub image: usize,
    /// Side of a patch, in pixels; it divides `image`.
    pub patch: usize,
    /// Width D of a token; divisible by `heads`.
    pub dim: usize,
    /// Number of blocks L.
    pub depth: usize,
    /// Attention heads h. K² of them start as the taps of a K×K convolution, K = √h cut off; where h
    /// is no square the others start anywhere.
    pub heads: usize,
    /// How many of the first blocks have gated positional self-attention (`local_up_to_layer`). The
    /// class token joins after them: fewer than `depth`. 0 is a plain vision transformer.
    #[config(default = 10)]
    pub local_blocks: usize,
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
    /// Whether queries, keys and values have biases.
    #[config(default = false)]
    pub qkv_bias: bool,
    /// Whether patches get trained absolute positions.
    #[config(default = true)]
    pub positions: bool,
    /// Whether the heads start as the taps of a convolution (`use_local_init`).
    #[config(default = true)]
    pub local_init: bool,
    /// Locality strength α: how sharply a head starts out at its tap.
    #[config(default = 1.0)]
    pub locality: f64,
    /// What the gated heads look at.
    #[config(default = "Gating::Learned")]
    pub gating: Gating,
    /// Rate of stochastic depth of the last block; it grows linearly from 0 at the first.
    #[config(default = 0.0)]
    pub drop_path: f64,
    /// The ε of all layer norms.
    #[config(default = 1e-6)]
    pub epsilon: f64,
}

/// The longest side of an image, and the most channels or classes.
const LARGEST: usize = 1 << 20;
/// The widest hidden layer, in units of a token's width.
const WIDEST_MLP: f64 = 1024.0;
/// The most patches along a side: the table of relative positions has the fourth power of it.
const LONGEST_GRID: usize = 128;

impl ConVitConfig {
    const NAME: &str = "ConVitConfig";

    /// At 224², in patches of 16², 12 blocks.
    fn published(heads: usize, dim: usize) -> Self {
        Self::new(224, 16, dim, 12, heads).with_drop_path(0.1)
    }

    /// ConViT-Ti: 4 heads, 192 wide, 5 710 512 parameters.
    pub fn tiny() -> Self {
        Self::published(4, 192)
    }

    /// ConViT-Ti+: 4 heads, 256 wide, 9 972 912 parameters.
    pub fn tiny_plus() -> Self {
        Self::published(4, 256)
    }

    /// ConViT-S: 9 heads, 432 wide, 27 777 322 parameters.
    pub fn small() -> Self {
        Self::published(9, 432)
    }

    /// ConViT-S+: 9 heads, 576 wide, 48 979 882 parameters.
    pub fn small_plus() -> Self {
        Self::published(9, 576)
    }

    /// ConViT-B: 16 heads, 768 wide, 86 540 040 parameters.
    pub fn base() -> Self {
        Self::published(16, 768)
    }

    /// ConViT-B+: 16 heads, 1024 wide, 153 134 856 parameters.
    pub fn base_plus() -> Self {
        Self::published(16, 1024)
    }

    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.image / self.patch.max(1)
    }

    /// Patches of an image, N.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Side K of the kernel that the heads start as: as many heads as fit a square.
    pub fn kernel(&self) -> usize {
        self.heads.isqrt()
    }

    /// Width of the hidden layer of the multilayer perceptrons.
    pub fn hidden(&self) -> usize {
        (self.dim as f64 * self.mlp_ratio) as usize
    }

    /// A block with ordinary attention.
    pub fn block(&self) -> BlockConfig {
        let bias = match self.qkv_bias {
            true => QkvBias::Fused,
            false => QkvBias::None,
        };
        BlockConfig::new(self.dim, self.heads, self.hidden())
            .with_qkv_bias(bias)
            .with_epsilon(self.epsilon)
            .with_initializer(weight_initializer())
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("image", self.image),
            ("patch", self.patch),
            ("dim", self.dim),
            ("depth", self.depth),
            ("heads", self.heads),
            ("channels", self.channels),
            ("classes", self.classes),
        ] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
            if value > LARGEST {
                let rule = format!("must be at most {LARGEST}");
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        if !self.image.is_multiple_of(self.patch) {
            let rule = format!("must be divisible by patch, which is {}", self.patch);
            return Err(Error::config(Self::NAME, "image", self.image, rule));
        }
        if self.grid() > LONGEST_GRID {
            let rule = format!("must make at most {LONGEST_GRID} patches along a side");
            return Err(Error::config(Self::NAME, "image", self.image, rule));
        }
        if !self.dim.is_multiple_of(self.heads) {
            let rule = format!("must divide dim, which is {}", self.dim);
            return Err(Error::config(Self::NAME, "heads", self.heads, rule));
        }
        if self.local_blocks >= self.depth {
            let rule = format!(
                "must be below depth, which is {}: the class token joins after the local blocks",
                self.depth
            );
            let value = self.local_blocks;
            return Err(Error::config(Self::NAME, "local_blocks", value, rule));
        }
        if self.local_blocks > 0 && self.local_init {
            self.validate_kernel()?;
        }
        if !(self.locality.is_finite() && self.locality > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "locality", self.locality, rule));
        }
        if !(self.dim as f64 * self.mlp_ratio >= 1.0 && self.mlp_ratio <= WIDEST_MLP) {
            let rule = format!("must be at most {WIDEST_MLP} and leave at least one hidden number");
            return Err(Error::config(Self::NAME, "mlp_ratio", self.mlp_ratio, rule));
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(Self::NAME, "drop_path", self.drop_path, rule));
        }
        self.block().validate()
    }

    /// The kernel that the heads start as fits into the grid.
    fn validate_kernel(&self) -> Result<()> {
        let (kernel, grid) = (self.kernel(), self.grid());
        if kernel <= grid {
            return Ok(());
        }
        let rule = format!(
            "start as the taps of a {kernel}×{kernel} kernel, which must fit the grid of \
             {grid}×{grid} patches"
        );
        Err(Error::config(Self::NAME, "heads", self.heads, rule))
    }
}

/// N(0, 0.02²). The official code cuts it off at ±2, a hundred deviations away.
pub(super) fn weight_initializer() -> Initializer {
    Initializer::Normal {
        mean: 0.0,
        std: 0.02,
    }
}
