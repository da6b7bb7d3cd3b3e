//! The baseline: the same encoder with a linear head, without prototypes and decoder.

use super::{
    config::{Initialisation, PrototypeNetConfig},
    model::{Encoder, check_images},
};
use burn::{
    config::Config,
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, activation::softmax},
};
use menagerie_core::Result;

/// "A network of similar structure without prototypes and decoder" (paper, case study 1).
#[derive(Config, Debug, PartialEq)]
pub struct PlainNetConfig {
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// Maps after each encoder layer, as in [`PrototypeNetConfig`].
    pub maps: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// How the filters are drawn.
    #[config(default = "Initialisation::Published")]
    pub initialisation: Initialisation,
}

impl PlainNetConfig {
    /// The baseline of a prototype network.
    pub fn matching(config: &PrototypeNetConfig) -> Self {
        Self::new(config.image, config.maps.clone(), config.classes)
            .with_initialisation(config.initialisation)
    }

    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// [`Error::Config`](menagerie_core::Error::Config) for impossible sizes.
    pub fn init(&self, device: &Device) -> Result<PlainNet> {
        let shared = PrototypeNetConfig::new(self.image, self.maps.clone(), 1, self.classes)
            .with_initialisation(self.initialisation);
        shared.validate()?;
        Ok(PlainNet {
            encoder: Encoder::new(&shared, device),
            head: LinearConfig::new(shared.features(), self.classes).init(device),
            image: self.image,
        })
    }
}

/// Encoder and linear head.
#[derive(Module, Debug)]
pub struct PlainNet {
    encoder: Encoder,
    head: Linear,
    image: [usize; 3],
}

impl PlainNet {
    /// The class scores `[batch, K]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`](menagerie_core::Error::Input) if the images are not of the configured
    /// shape.
    pub fn logits(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        check_images(self.image, &images)?;
        Ok(self.pass(images))
    }

    /// Class probabilities `[batch, K]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`](menagerie_core::Error::Input) if the images are not of the configured
    /// shape.
    pub fn predict(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        Ok(softmax(self.logits(images)?, 1))
    }

    /// [`logits`](Self::logits) of images that were checked.
    pub(super) fn pass(&self, images: Tensor<4>) -> Tensor<2> {
        self.head
            .forward(self.encoder.forward(images).flatten(1, 3))
    }
}
