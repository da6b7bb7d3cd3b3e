//! The decoders: code to Bernoulli logits.

use super::{
    blocks::{DenseBlock, OutputConv, StyleBlock, UpBlock},
    config::{
        BackboneConfig, DecoderConfig, DenseDecoderConfig, ImageDecoderConfig, StyleDecoderConfig,
    },
};
use burn::{
    module::{Initializer, Module, Param},
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, activation::relu},
};
use menagerie_core::{Error, Result};

/// One of the paper's decoders.
#[derive(Module, Debug)]
pub enum Decoder {
    /// Style modulation of a learned map.
    Style(StyleDecoder),
    /// Transposed convolutions on a reshaped code.
    Image(ImageDecoder),
    /// Dense layers alone.
    Dense(DenseDecoder),
}

impl Decoder {
    /// A decoder of codes with `inputs` values. Parameters are drawn from the device's random
    /// generator (`Device::seed`), uniformly in ±1/√fan-in; the style decoder's map is 0.1.
    ///
    /// # Errors
    /// [`Error::Config`] if the image is too small for the encoder's convolutions.
    pub fn init(backbone: &BackboneConfig, inputs: usize, device: &Device) -> Result<Self> {
        let sides = backbone.transition_sides().ok_or_else(|| {
            let rule = "is smaller than the encoder's convolutions need";
            Error::config("BackboneConfig", "image", backbone.image, rule)
        })?;
        let image = backbone.image;
        Ok(match &backbone.decoder {
            DecoderConfig::Style(config) => {
                Self::Style(StyleDecoder::init(config, inputs, sides, image[0], device))
            }
            DecoderConfig::Image(config) => {
                let map = [backbone.transition_channels(), sides[0], sides[1]];
                Self::Image(ImageDecoder::init(config, inputs, map, image[0], device))
            }
            DecoderConfig::Dense(config) => {
                Self::Dense(DenseDecoder::init(config, inputs, image, device))
            }
        })
    }

    /// Codes `[batch, inputs]` to logits `[batch, channels, height, width]`.
    pub fn forward(&self, codes: Tensor<2>) -> Tensor<4> {
        match self {
            Self::Style(decoder) => decoder.forward(codes),
            Self::Image(decoder) => decoder.forward(codes),
            Self::Dense(decoder) => decoder.forward(codes),
        }
    }
}

/// A learned map that the code modulates channel by channel at every level.
#[derive(Module, Debug)]
pub struct StyleDecoder {
    /// The map `[channels, height, width]` that all samples start from.
    pub input_map: Param<Tensor<3>>,
    /// From the code to the style vector.
    pub dense: Vec<DenseBlock>,
    /// Upsampling with modulation.
    pub blocks: Vec<StyleBlock>,
    /// To the logits.
    pub output: OutputConv,
}

impl StyleDecoder {
    fn init(
        config: &StyleDecoderConfig,
        inputs: usize,
        [height, width]: [usize; 2],
        outputs: usize,
        device: &Device,
    ) -> Self {
        let style = config.dense.last().copied().unwrap_or(inputs);
        let mut channels = config.input_channels;
        let mut blocks = Vec::new();
        for layer in config.conv.layers() {
            blocks.push(StyleBlock::init(channels, style, layer, device));
            channels = layer.0;
        }
        Self {
            input_map: Initializer::Constant { value: 0.1 }
                .init([config.input_channels, height, width], device),
            dense: DenseBlock::chain(inputs, &config.dense, false, device),
            blocks,
            output: OutputConv::init(channels, outputs, config.output_kernel, device),
        }
    }

    /// Codes `[batch, inputs]` to logits `[batch, channels, height, width]`.
    pub fn forward(&self, codes: Tensor<2>) -> Tensor<4> {
        let style = self.dense.iter().fold(codes, |x, block| block.forward(x));
        // All samples share the map, so the first block convolves and normalises it once; the
        // modulation broadcasts it over the batch.
        let map = self.input_map.val().unsqueeze::<4>();
        let map = self
            .blocks
            .iter()
            .fold(map, |x, block| block.forward(x, style.clone()));
        self.output.forward(map)
    }
}

/// Dense layers, a reshape, and transposed convolutions.
#[derive(Module, Debug)]
pub struct ImageDecoder {
    /// From the code to the transition.
    pub dense: Vec<DenseBlock>,
    /// From the dense layers to the flattened map, with a ReLU.
    pub transition: Linear,
    /// Upsampling.
    pub blocks: Vec<UpBlock>,
    /// To the logits.
    pub output: OutputConv,
    map: [usize; 3],
}

impl ImageDecoder {
    fn init(
        config: &ImageDecoderConfig,
        inputs: usize,
        map: [usize; 3],
        outputs: usize,
        device: &Device,
    ) -> Self {
        let width = config.dense.last().copied().unwrap_or(inputs);
        let mut channels = map[0];
        let mut blocks = Vec::new();
        for layer in config.conv.layers() {
            blocks.push(UpBlock::init(channels, layer, device));
            channels = layer.0;
        }
        Self {
            dense: DenseBlock::chain(inputs, &config.dense, false, device),
            transition: LinearConfig::new(width, map.iter().product()).init(device),
            blocks,
            output: OutputConv::init(channels, outputs, config.output_kernel, device),
            map,
        }
    }

    /// Codes `[batch, inputs]` to logits `[batch, channels, height, width]`.
    pub fn forward(&self, codes: Tensor<2>) -> Tensor<4> {
        let [channels, height, width] = self.map;
        let [batch, _] = codes.dims();
        let x = self.dense.iter().fold(codes, |x, block| block.forward(x));
        let map = relu(self.transition.forward(x)).reshape([batch, channels, height, width]);
        let map = self.blocks.iter().fold(map, |x, block| block.forward(x));
        self.output.forward(map)
    }
}

/// Dense layers and a linear layer to the logits.
#[derive(Module, Debug)]
pub struct DenseDecoder {
    /// The hidden layers.
    pub dense: Vec<DenseBlock>,
    /// To the logits.
    pub head: Linear,
    image: [usize; 3],
}

impl DenseDecoder {
    fn init(
        config: &DenseDecoderConfig,
        inputs: usize,
        image: [usize; 3],
        device: &Device,
    ) -> Self {
        let width = config.dense.last().copied().unwrap_or(inputs);
        Self {
            dense: DenseBlock::chain(inputs, &config.dense, config.layer_norm, device),
            head: LinearConfig::new(width, image.iter().product()).init(device),
            image,
        }
    }

    /// Codes `[batch, inputs]` to logits `[batch, channels, height, width]`.
    pub fn forward(&self, codes: Tensor<2>) -> Tensor<4> {
        let [channels, height, width] = self.image;
        let [batch, _] = codes.dims();
        let x = self.dense.iter().fold(codes, |x, block| block.forward(x));
        self.head
            .forward(x)
            .reshape([batch, channels, height, width])
    }
}
