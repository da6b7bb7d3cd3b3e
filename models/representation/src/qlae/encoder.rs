//! The encoder: image to features to latents.

use super::{
    blocks::{ConvBlock, DenseBlock, Dual, linear_dual},
    config::BackboneConfig,
};
use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor},
};
use menagerie_core::{Error, Result};

/// Convolutions (none in a perceptron), dense layers and a linear head.
#[derive(Module, Debug)]
pub struct Encoder {
    /// The convolutions.
    pub conv: Vec<ConvBlock>,
    /// The dense layers; the last gives the features.
    pub dense: Vec<DenseBlock>,
    /// From the features to the latents' inputs.
    pub head: Linear,
}

/// What [`Encoder::forward`] computes.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Activations in front of the head `[batch, width]`.
    pub features: Tensor<2>,
    /// The latents' inputs `[batch, outputs]`.
    pub latents: Tensor<2>,
}

impl Encoder {
    /// An encoder with `outputs` values in its head. Parameters are drawn from the device's random
    /// generator (`Device::seed`), uniformly in ±1/√fan-in.
    ///
    /// # Errors
    /// [`Error::Config`] if the image is too small for the convolutions.
    pub fn init(backbone: &BackboneConfig, outputs: usize, device: &Device) -> Result<Self> {
        let config = &backbone.encoder;
        let flattened = backbone.flattened().ok_or_else(|| {
            let rule = "is smaller than the encoder's convolutions need";
            Error::config("BackboneConfig", "image", backbone.image, rule)
        })?;
        let mut conv = Vec::new();
        let mut channels = backbone.image[0];
        for layer in config.conv.iter().flat_map(|conv| conv.layers()) {
            conv.push(ConvBlock::init(channels, layer, device));
            channels = layer.0;
        }
        let features = config.dense.last().copied().unwrap_or(flattened);
        Ok(Self {
            conv,
            dense: DenseBlock::chain(flattened, &config.dense, config.layer_norm, device),
            head: LinearConfig::new(features, outputs).init(device),
        })
    }

    /// Encodes `[batch, channels, height, width]`.
    pub fn forward(&self, images: Tensor<4>) -> Encoded {
        let features = self.features(images);
        Encoded {
            latents: self.head.forward(features.clone()),
            features,
        }
    }

    /// The features alone, `[batch, width]`.
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let map = self.conv.iter().fold(images, |x, block| block.forward(x));
        self.dense
            .iter()
            .fold(map.flatten(1, 3), |x, block| block.forward(x))
    }

    /// The derivative of `readout(features)` along `direction`, per sample `[batch, outputs]`; it
    /// can be differentiated by the parameters.
    pub(crate) fn directional_derivative(
        &self,
        readout: &Linear,
        images: Tensor<4>,
        direction: Tensor<4>,
    ) -> Tensor<2> {
        let images = Dual {
            value: images,
            tangent: direction,
        };
        let map = self.conv.iter().fold(images, |x, block| block.dual(x));
        let flat = Dual {
            value: map.value.flatten(1, 3),
            tangent: map.tangent.flatten(1, 3),
        };
        let features = self.dense.iter().fold(flat, |x, block| block.dual(x));
        linear_dual(readout, features).tangent
    }
}
