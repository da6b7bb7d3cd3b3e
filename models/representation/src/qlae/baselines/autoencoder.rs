//! The autoencoder without quantisation, and BioAE.

use super::super::{
    config::{BackboneConfig, QlaeConfig, weight},
    decoder::Decoder,
    encoder::Encoder,
    model::{LatentModel, check_images},
    objective::{activity, binary_cross_entropy, negativity},
    training::{mean, mean_squared_error},
};
use burn::{
    config::Config,
    module::Module,
    tensor::{Device, Tensor, activation::sigmoid},
    train::{InferenceStep, TrainOutput, TrainStep},
};
use menagerie_core::{Error, Result};
use menagerie_train::Scalars;

/// An autoencoder with continuous latents.
#[derive(Config, Debug, PartialEq)]
pub struct AutoencoderConfig {
    /// Image size, encoder and decoder.
    pub backbone: BackboneConfig,
    /// Number of latents.
    pub latents: usize,
    /// Weight of the penalty on negative latents; 0 for a plain autoencoder.
    #[config(default = 0.0)]
    pub nonnegative: f64,
    /// Weight of the penalty on squared latents; 0 for a plain autoencoder.
    #[config(default = 0.0)]
    pub activity: f64,
}

impl AutoencoderConfig {
    const NAME: &str = "AutoencoderConfig";

    /// A plain autoencoder with the backbone and the number of latents of `config`.
    pub fn matching(config: &QlaeConfig) -> Self {
        Self::new(config.backbone.clone(), config.latents)
    }

    /// BioAE with the published weights for Shapes3D: 1 on negativity, 0.01 on activity.
    pub fn bio(config: &QlaeConfig) -> Self {
        Self::matching(config)
            .with_nonnegative(1.0)
            .with_activity(0.01)
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
        weight(Self::NAME, "nonnegative", self.nonnegative)?;
        weight(Self::NAME, "activity", self.activity)
    }

    /// A model of this configuration on `device`, drawn from the device's random generator.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Autoencoder> {
        self.validate()?;
        Ok(Autoencoder {
            encoder: Encoder::init(&self.backbone, self.latents, device)?,
            decoder: Decoder::init(&self.backbone, self.latents, device)?,
            image: self.backbone.image,
            nonnegative: self.nonnegative,
            activity: self.activity,
        })
    }
}

/// Encoder and decoder with nothing in between.
#[derive(Module, Debug)]
pub struct Autoencoder {
    /// Image to latents.
    pub encoder: Encoder,
    /// Latents to logits.
    pub decoder: Decoder,
    image: [usize; 3],
    nonnegative: f64,
    activity: f64,
}

/// The terms of [`Autoencoder`]'s objective, each `[batch]`.
#[derive(Clone, Debug)]
pub struct AutoencoderLoss {
    /// Binary cross-entropy.
    pub reconstruction: Tensor<1>,
    /// Mean negative part of the latents, before its weight.
    pub negativity: Tensor<1>,
    /// Mean squared latents, before its weight.
    pub activity: Tensor<1>,
    /// The weighted sum.
    pub total: Tensor<1>,
}

impl Autoencoder {
    /// The latents `[batch, latents]` of `images` `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images do not have the configured size.
    pub fn encode(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        check_images(self.image, &images)?;
        Ok(self.encoder.forward(images).latents)
    }

    /// The images (Bernoulli means, 0..1) of latents `[batch, latents]`.
    pub fn decode(&self, latents: Tensor<2>) -> Tensor<4> {
        sigmoid(self.decoder.forward(latents))
    }

    /// The terms of the objective for `images`, and the logits of the reconstruction.
    pub fn loss(&self, images: Tensor<4>) -> (AutoencoderLoss, Tensor<4>) {
        let latents = self.encoder.forward(images.clone()).latents;
        let logits = self.decoder.forward(latents.clone());
        let reconstruction = binary_cross_entropy(logits.clone(), images);
        let negativity = negativity(latents.clone());
        let activity = activity(latents);
        let mut total = reconstruction.clone();
        for (weight, term) in [(self.nonnegative, &negativity), (self.activity, &activity)] {
            if weight > 0.0 {
                total = total + term.clone() * weight;
            }
        }
        let loss = AutoencoderLoss {
            reconstruction,
            negativity,
            activity,
            total,
        };
        (loss, logits)
    }
}

impl LatentModel for Autoencoder {
    fn codes(&self, images: Tensor<4>) -> Tensor<2> {
        self.encoder.forward(images).latents
    }

    fn is_discrete(&self) -> bool {
        false
    }

    fn reconstruction(&self, images: Tensor<4>) -> Tensor<4> {
        self.decode(self.codes(images))
    }
}

fn scalars(loss: &AutoencoderLoss) -> Scalars {
    Scalars::new()
        .with("loss", mean(&loss.total))
        .with("bce", mean(&loss.reconstruction))
        .with("negativity", mean(&loss.negativity))
        .with("activity", mean(&loss.activity))
}

impl TrainStep for Autoencoder {
    /// Images `[batch, channels, height, width]` in 0..1.
    type Input = Tensor<4>;
    type Output = Scalars;

    fn step(&self, images: Tensor<4>) -> TrainOutput<Scalars> {
        let (loss, _) = self.loss(images);
        let scalars = scalars(&loss);
        TrainOutput::new(self, loss.total.mean().backward(), scalars)
    }
}

impl InferenceStep for Autoencoder {
    /// Images `[batch, channels, height, width]` in 0..1.
    type Input = Tensor<4>;
    type Output = Scalars;

    fn step(&self, images: Tensor<4>) -> Scalars {
        let (loss, logits) = self.loss(images.clone());
        scalars(&loss).with("mse", mean_squared_error(logits, images))
    }
}
