//! Sizes: the backbone that every autoencoder of the paper shares, and [`QlaeConfig`].

use burn::config::Config;
use menagerie_core::{Error, Result};

/// A stack of square convolutions, one entry of each list per layer.
#[derive(Config, Debug, PartialEq)]
pub struct ConvStackConfig {
    /// Output channels of each layer.
    pub widths: Vec<usize>,
    /// Kernel side of each layer.
    pub kernels: Vec<usize>,
    /// Stride of each layer.
    pub strides: Vec<usize>,
    /// Zero padding on each side of each layer.
    pub paddings: Vec<usize>,
}

impl ConvStackConfig {
    /// The published twelve layers: per width three convolutions with kernels 3, 3, 4 and strides
    /// 1, 1, 2, so that each group halves (or, transposed, doubles) the image.
    pub fn published(widths: [usize; 4]) -> Self {
        let repeat = |pattern: [usize; 3]| pattern.repeat(widths.len());
        Self::new(
            widths.iter().flat_map(|&width| [width; 3]).collect(),
            repeat([3, 3, 4]),
            repeat([1, 1, 2]),
            vec![1; 3 * widths.len()],
        )
    }

    /// One convolution with kernel 4, stride 2 and padding 1 per width.
    pub fn halving(widths: &[usize]) -> Self {
        Self::new(
            widths.to_vec(),
            vec![4; widths.len()],
            vec![2; widths.len()],
            vec![1; widths.len()],
        )
    }

    /// The side of the map that the convolutions make of a map of side `side`; `None` if a kernel
    /// is larger than what it is applied to.
    pub fn output_side(&self, side: usize) -> Option<usize> {
        self.layers()
            .try_fold(side, |side, (_, kernel, stride, padding)| {
                let padded = side.checked_add(padding.checked_mul(2)?)?;
                padded
                    .checked_sub(kernel)?
                    .checked_div(stride)?
                    .checked_add(1)
            })
    }

    /// The side of the map that the transposed convolutions make of a map of side `side`; `None`
    /// if the padding swallows it.
    pub fn transposed_side(&self, side: usize) -> Option<usize> {
        self.layers()
            .try_fold(side, |side, (_, kernel, stride, padding)| {
                let spread = side.checked_sub(1)?.checked_mul(stride)?;
                spread
                    .checked_add(kernel)?
                    .checked_sub(padding.checked_mul(2)?)
                    .filter(|&side| side > 0)
            })
    }

    /// Width, kernel, stride and padding of each layer.
    pub fn layers(&self) -> impl Iterator<Item = (usize, usize, usize, usize)> + '_ {
        let rest = self.strides.iter().zip(&self.paddings);
        self.widths
            .iter()
            .zip(&self.kernels)
            .zip(rest)
            .map(|((&width, &kernel), (&stride, &padding))| (width, kernel, stride, padding))
    }

    /// The product of the strides: by how much the stack shrinks an image.
    pub fn reduction(&self) -> usize {
        self.strides.iter().product()
    }

    fn validate(&self, owner: &'static str, field: &str) -> Result<()> {
        let layers = self.widths.len();
        if layers == 0 {
            return Err(Error::config(
                owner,
                format!("{field}.widths"),
                &self.widths,
                "needs at least one layer",
            ));
        }
        let lists = [
            ("kernels", &self.kernels, 1),
            ("strides", &self.strides, 1),
            ("paddings", &self.paddings, 0),
        ];
        for (name, list, _) in lists {
            if list.len() != layers {
                return Err(Error::config(
                    owner,
                    format!("{field}.{name}"),
                    list,
                    format!("needs one entry per layer, {layers} as in widths"),
                ));
            }
        }
        for (name, list, least) in [("widths", &self.widths, 1)].into_iter().chain(lists) {
            if list.iter().any(|&value| value < least) {
                return Err(Error::config(
                    owner,
                    format!("{field}.{name}"),
                    list,
                    format!("every entry must be at least {least}"),
                ));
            }
        }
        Ok(())
    }
}

/// The encoder: convolutions (none for a perceptron), dense layers, and a linear head.
#[derive(Config, Debug, PartialEq)]
pub struct EncoderConfig {
    /// The convolutions, each followed by instance normalisation with gain and bias and a leaky
    /// ReLU; `None` feeds the pixels to the dense layers.
    pub conv: Option<ConvStackConfig>,
    /// Widths of the dense layers, each followed by a ReLU; the last gives the features.
    pub dense: Vec<usize>,
    /// Whether a layer normalisation stands between each dense layer and its ReLU.
    #[config(default = false)]
    pub layer_norm: bool,
}

/// The style decoder: the code reaches every level of a learned map only through per-channel
/// scales and biases.
#[derive(Config, Debug, PartialEq)]
pub struct StyleDecoderConfig {
    /// Widths of the dense layers, each with a ReLU, that make the style vector.
    pub dense: Vec<usize>,
    /// Channels of the learned input map.
    pub input_channels: usize,
    /// The transposed convolutions.
    pub conv: ConvStackConfig,
    /// Kernel side of the convolution to the logits; odd, so that the size is kept.
    #[config(default = 3)]
    pub output_kernel: usize,
}

/// The plain image decoder: dense layers, a reshape and transposed convolutions.
#[derive(Config, Debug, PartialEq)]
pub struct ImageDecoderConfig {
    /// Widths of the dense layers, each with a ReLU, in front of the transition.
    pub dense: Vec<usize>,
    /// The transposed convolutions, each with instance normalisation and a leaky ReLU.
    pub conv: ConvStackConfig,
    /// Kernel side of the convolution to the logits; odd, so that the size is kept.
    #[config(default = 1)]
    pub output_kernel: usize,
}

/// The perceptron decoder: dense layers and a linear layer to the logits.
#[derive(Config, Debug, PartialEq)]
pub struct DenseDecoderConfig {
    /// Widths of the dense layers, each with a ReLU.
    pub dense: Vec<usize>,
    /// Whether a layer normalisation stands between each dense layer and its ReLU.
    #[config(default = false)]
    pub layer_norm: bool,
}

/// Which decoder turns a code into an image.
#[derive(Config, Debug, PartialEq)]
pub enum DecoderConfig {
    /// Style modulation of a learned map; the paper's choice.
    Style(StyleDecoderConfig),
    /// Transposed convolutions on a reshaped code.
    Image(ImageDecoderConfig),
    /// Dense layers alone.
    Dense(DenseDecoderConfig),
}

/// Image size, encoder and decoder: what all autoencoders of the comparison share.
#[derive(Config, Debug, PartialEq)]
pub struct BackboneConfig {
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// The encoder.
    pub encoder: EncoderConfig,
    /// The decoder.
    pub decoder: DecoderConfig,
}

impl BackboneConfig {
    /// The published encoder and style decoder for 64×64 images with three channels.
    pub fn published() -> Self {
        Self::new(
            [3, 64, 64],
            EncoderConfig::new(vec![256, 256])
                .with_conv(Some(ConvStackConfig::published([32, 64, 128, 256]))),
            DecoderConfig::Style(StyleDecoderConfig::new(
                vec![256, 256],
                256,
                ConvStackConfig::published([256, 128, 64, 32]),
            )),
        )
    }

    /// The published encoder with the plain image decoder (ablation).
    pub fn published_image_decoder() -> Self {
        let conv = ConvStackConfig::published([256, 128, 64, 32]);
        Self {
            decoder: DecoderConfig::Image(ImageDecoderConfig::new(vec![256, 256], conv)),
            ..Self::published()
        }
    }

    /// Three halving convolutions and the style decoder for 16×16 images with one channel.
    pub fn small_conv() -> Self {
        Self::new(
            [1, 16, 16],
            EncoderConfig::new(vec![128, 128])
                .with_conv(Some(ConvStackConfig::halving(&[16, 32, 64]))),
            DecoderConfig::Style(StyleDecoderConfig::new(
                vec![128, 128],
                64,
                ConvStackConfig::halving(&[64, 32, 16]),
            )),
        )
    }

    /// Perceptrons with two hidden layers of 128 for 16×16 images with one channel.
    pub fn small_mlp() -> Self {
        Self::new(
            [1, 16, 16],
            EncoderConfig::new(vec![128, 128]),
            DecoderConfig::Dense(DenseDecoderConfig::new(vec![128, 128])),
        )
    }

    /// Height and width of the map between encoder and decoder; the image's without convolutions.
    pub(crate) fn transition_sides(&self) -> Option<[usize; 2]> {
        let [_, height, width] = self.image;
        match &self.encoder.conv {
            Some(conv) => Some([conv.output_side(height)?, conv.output_side(width)?]),
            None => Some([height, width]),
        }
    }

    /// Values in the flattened map that enters the encoder's dense layers.
    pub(crate) fn flattened(&self) -> Option<usize> {
        let [height, width] = self.transition_sides()?;
        Some(self.transition_channels() * height * width)
    }

    /// Channels of the map between encoder and decoder.
    pub(crate) fn transition_channels(&self) -> usize {
        let widths = self.encoder.conv.as_ref().map(|conv| &conv.widths);
        *widths
            .and_then(|widths| widths.last())
            .unwrap_or(&self.image[0])
    }

    /// Refuses sizes that do not fit together; `owner` is the configuration named in the error.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self, owner: &'static str) -> Result<()> {
        if self.image.contains(&0) {
            return Err(Error::config(
                owner,
                "image",
                self.image,
                "channels, height and width must be at least 1",
            ));
        }
        if let Some(conv) = &self.encoder.conv {
            conv.validate(owner, "encoder.conv")?;
        }
        dense(owner, "encoder.dense", &self.encoder.dense)?;
        let (conv, kernel) = match &self.decoder {
            DecoderConfig::Style(style) => {
                dense(owner, "decoder.dense", &style.dense)?;
                if style.input_channels == 0 {
                    return Err(Error::config(
                        owner,
                        "decoder.input_channels",
                        0,
                        "must be at least 1",
                    ));
                }
                (&style.conv, style.output_kernel)
            }
            DecoderConfig::Image(image) => {
                dense(owner, "decoder.dense", &image.dense)?;
                (&image.conv, image.output_kernel)
            }
            DecoderConfig::Dense(config) => {
                dense(owner, "decoder.dense", &config.dense)?;
                return self.validate_encoder_side(owner);
            }
        };
        conv.validate(owner, "decoder.conv")?;
        if kernel % 2 == 0 {
            return Err(Error::config(
                owner,
                "decoder.output_kernel",
                kernel,
                "must be odd, so that the image keeps its size",
            ));
        }
        self.validate_encoder_side(owner)?;
        let decoded = self
            .transition_sides()
            .map(|sides| sides.map(|side| conv.transposed_side(side)));
        let [_, height, width] = self.image;
        if decoded != Some([Some(height), Some(width)]) {
            let reduction = self.encoder.conv.as_ref().map_or(1, |c| c.reduction());
            return Err(Error::config(
                owner,
                "image",
                self.image,
                format!(
                    "height and width must be divisible by {reduction}, the product of the \
                     encoder's strides, and the decoder must undo the encoder's size changes"
                ),
            ));
        }
        Ok(())
    }

    fn validate_encoder_side(&self, owner: &'static str) -> Result<()> {
        match self.flattened() {
            Some(flattened) if flattened > 0 => Ok(()),
            _ => Err(Error::config(
                owner,
                "image",
                self.image,
                "is smaller than the encoder's convolutions need",
            )),
        }
    }
}

fn dense(owner: &'static str, field: &str, widths: &[usize]) -> Result<()> {
    if widths.is_empty() || widths.contains(&0) {
        return Err(Error::config(
            owner,
            field,
            widths,
            "needs at least one layer, each of width at least 1",
        ));
    }
    Ok(())
}

/// Whether each latent has a codebook of its own.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Codebook {
    /// One codebook per latent: the paper's choice.
    PerLatent,
    /// One codebook for all latents (ablation).
    Global,
}

/// Weights of the terms of the objective.
#[derive(Config, Debug, Copy, PartialEq)]
pub struct LossWeights {
    /// Of the binary cross-entropy.
    #[config(default = 1.0)]
    pub reconstruction: f64,
    /// λ_q, which pulls the codebook towards the continuous latents.
    #[config(default = 0.01)]
    pub quantization: f64,
    /// λ_c, which pulls the continuous latents towards the codebook.
    #[config(default = 0.01)]
    pub commitment: f64,
}

impl LossWeights {
    pub(crate) fn validate(&self, owner: &'static str) -> Result<()> {
        weight(owner, "weights.reconstruction", self.reconstruction)?;
        weight(owner, "weights.quantization", self.quantization)?;
        weight(owner, "weights.commitment", self.commitment)
    }
}

/// Refuses a loss weight that is negative or not finite.
pub(crate) fn weight(owner: &'static str, field: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(Error::config(
            owner,
            field,
            value,
            "must be finite and not negative",
        ))
    }
}

/// The quantised-latent autoencoder (section 3 of the paper).
#[derive(Config, Debug, PartialEq)]
pub struct QlaeConfig {
    /// Image size, encoder and decoder.
    pub backbone: BackboneConfig,
    /// Number of latents n_z; the paper takes twice the number of sources.
    pub latents: usize,
    /// Number of values n_v: one entry per latent, or a single entry for a global codebook.
    pub values: Vec<usize>,
    /// Whether each latent has a codebook of its own.
    #[config(default = "Codebook::PerLatent")]
    pub codebook: Codebook,
    /// Whether the codebooks are trained; `false` keeps the initial grid.
    #[config(default = true)]
    pub trainable_values: bool,
    /// Weights of the objective's terms.
    #[config(default = "LossWeights::new()")]
    pub weights: LossWeights,
}

impl QlaeConfig {
    const NAME: &str = "QlaeConfig";

    /// `latents` codebooks of `values` values each on `backbone`.
    pub fn uniform(backbone: BackboneConfig, latents: usize, values: usize) -> Self {
        Self::new(backbone, latents, vec![values; latents])
    }

    /// Shapes3D: 12 latents, 7,651,780 parameters.
    pub fn shapes3d() -> Self {
        Self::uniform(BackboneConfig::published(), 12, 10)
    }

    /// Isaac3D: 18 latents, 7,654,918 parameters.
    pub fn isaac3d() -> Self {
        Self::uniform(BackboneConfig::published(), 18, 10)
    }

    /// Falcor3D: 14 latents, 7,652,826 parameters.
    pub fn falcor3d() -> Self {
        Self::uniform(BackboneConfig::published(), 14, 10)
    }

    /// MPI3D: 14 latents, 7,652,826 parameters.
    pub fn mpi3d() -> Self {
        Self::uniform(BackboneConfig::published(), 14, 10)
    }

    /// A small convolutional model with the style decoder for 16×16 grey images: 10 latents of 8
    /// values.
    pub fn small_conv() -> Self {
        Self::uniform(BackboneConfig::small_conv(), 10, 8)
    }

    /// A perceptron for 16×16 grey images: 10 latents of 8 values.
    pub fn small_mlp() -> Self {
        Self::uniform(BackboneConfig::small_mlp(), 10, 8)
    }

    /// The same sizes with one codebook for all latents (ablation).
    pub fn into_global(self) -> Self {
        Self {
            values: self.values.iter().copied().max().into_iter().collect(),
            codebook: Codebook::Global,
            ..self
        }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.backbone.validate(Self::NAME)?;
        if self.latents == 0 {
            return Err(Error::config(
                Self::NAME,
                "latents",
                0,
                "must be at least 1",
            ));
        }
        let (wanted, rule) = match self.codebook {
            Codebook::PerLatent => (self.latents, "one per latent"),
            Codebook::Global => (1, "one for the global codebook"),
        };
        if self.values.len() != wanted {
            return Err(Error::config(
                Self::NAME,
                "values",
                &self.values,
                format!("needs {wanted} sizes, {rule}"),
            ));
        }
        if self.values.contains(&0) {
            return Err(Error::config(
                Self::NAME,
                "values",
                &self.values,
                "every codebook needs at least 1 value (and 2 to carry information)",
            ));
        }
        self.weights.validate(Self::NAME)
    }
}
