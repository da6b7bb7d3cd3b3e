//! The VQ-VAE (van den Oord et al. 2017) as the paper ablates against: one table of vectors that
//! all latents share.

use super::super::{
    config::{BackboneConfig, LossWeights, QlaeConfig},
    decoder::Decoder,
    encoder::Encoder,
    model::{LatentModel, QuantizedPass, check_images},
    objective::{self, QlaeLoss},
    quantizer::Quantized,
    training::{mean_squared_error, quantized_scalars, quantized_step},
};
use burn::{
    config::Config,
    module::{Initializer, Module, Param},
    tensor::{Device, Int, Tensor, activation::sigmoid},
    train::{InferenceStep, TrainOutput, TrainStep},
};
use menagerie_core::{Error, Result};
use menagerie_train::Scalars;

/// A VQ-VAE whose code has one index per latent.
#[derive(Config, Debug, PartialEq)]
pub struct VqVaeConfig {
    /// Image size, encoder and decoder.
    pub backbone: BackboneConfig,
    /// Number of latents; the encoder's head has `latents · embedding` values.
    pub latents: usize,
    /// Number of vectors in the shared table.
    #[config(default = 512)]
    pub embeddings: usize,
    /// Length of a vector.
    #[config(default = 64)]
    pub embedding: usize,
    /// Weights of the objective's terms.
    #[config(default = "LossWeights::new().with_quantization(1.0).with_commitment(0.25)")]
    pub weights: LossWeights,
}

impl VqVaeConfig {
    const NAME: &str = "VqVaeConfig";

    /// The published table, 512 vectors of length 64, with the backbone and the number of latents
    /// of `config`.
    pub fn matching(config: &QlaeConfig) -> Self {
        Self::new(config.backbone.clone(), config.latents)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.backbone.validate(Self::NAME)?;
        for (field, value) in [
            ("latents", self.latents),
            ("embeddings", self.embeddings),
            ("embedding", self.embedding),
        ] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        self.weights.validate(Self::NAME)
    }

    /// A model of this configuration on `device`, drawn from the device's random generator.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<VqVae> {
        self.validate()?;
        let width = self.latents * self.embedding;
        Ok(VqVae {
            encoder: Encoder::init(&self.backbone, width, device)?,
            latent: VectorQuantizer::init(self.embeddings, self.embedding, device),
            decoder: Decoder::init(&self.backbone, width, device)?,
            image: self.backbone.image,
            weights: self.weights,
        })
    }
}

/// One table of vectors for all latents.
#[derive(Module, Debug)]
pub struct VectorQuantizer {
    /// The table `[embeddings, embedding]`.
    pub embeddings: Param<Tensor<2>>,
}

impl VectorQuantizer {
    /// Vectors uniform in ±√(3 / embedding).
    fn init(embeddings: usize, embedding: usize, device: &Device) -> Self {
        let bound = (3.0 / embedding as f64).sqrt();
        let initializer = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        Self {
            embeddings: initializer.init([embeddings, embedding], device),
        }
    }

    /// Quantises `[batch, latents · embedding]`, each run of `embedding` values to its nearest
    /// vector; the indices are `[batch, latents]`, the values as wide as the input.
    pub fn forward(&self, latents: Tensor<2>) -> Quantized {
        let table = self.embeddings.val();
        let [_, size] = table.dims();
        let [batch, width] = latents.dims();
        let inner = latents.clone().without_autodiff();
        let rows = inner.clone().reshape([batch * width / size, size]);
        let indices = nearest(rows, table.clone().without_autodiff());
        let values = table.select(0, indices.clone()).reshape([batch, width]);
        let step = values.clone().without_autodiff() - inner;
        Quantized {
            indices: indices.reshape([batch, width / size]),
            straight_through: latents + step,
            values,
        }
    }
}

/// The index of the row of `table` nearest to each row. The squared norm of the row itself is the
/// same for all candidates and left out.
fn nearest(rows: Tensor<2>, table: Tensor<2>) -> Tensor<1, Int> {
    let norms = table.clone().square().sum_dim(1).transpose();
    let distances = norms - rows.matmul(table.transpose()) * 2.0;
    distances.argmin(1).squeeze_dim(1)
}

/// Encoder, shared table and decoder.
#[derive(Module, Debug)]
pub struct VqVae {
    /// Image to vectors.
    pub encoder: Encoder,
    /// The shared table.
    pub latent: VectorQuantizer,
    /// Vectors to logits.
    pub decoder: Decoder,
    image: [usize; 3],
    #[module(skip)]
    weights: LossWeights,
}

impl VqVae {
    /// Encodes, quantises and decodes `images` `[batch, channels, height, width]` in 0..1.
    ///
    /// # Panics
    /// If the images do not have the configured size.
    pub fn forward(&self, images: Tensor<4>) -> QuantizedPass {
        let encoded = self.encoder.forward(images);
        let quantized = self.latent.forward(encoded.latents.clone());
        QuantizedPass {
            features: encoded.features,
            continuous: encoded.latents,
            logits: self.decoder.forward(quantized.straight_through.clone()),
            quantized,
        }
    }

    /// The terms of the objective for `images` and what was computed on the way.
    pub fn loss(&self, images: Tensor<4>) -> (QlaeLoss, QuantizedPass) {
        let pass = self.forward(images.clone());
        let loss = objective::qlae(&self.weights, &pass, images);
        (loss, pass)
    }

    /// The indices `[batch, latents]` of `images` `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images do not have the configured size.
    pub fn encode(&self, images: Tensor<4>) -> Result<Tensor<2, Int>> {
        check_images(self.image, &images)?;
        let latents = self.encoder.forward(images).latents;
        Ok(self.latent.forward(latents).indices)
    }
}

impl LatentModel for VqVae {
    fn codes(&self, images: Tensor<4>) -> Tensor<2> {
        let latents = self.encoder.forward(images).latents;
        self.latent.forward(latents).indices.float()
    }

    fn is_discrete(&self) -> bool {
        true
    }

    fn reconstruction(&self, images: Tensor<4>) -> Tensor<4> {
        sigmoid(self.forward(images).logits)
    }
}

impl TrainStep for VqVae {
    /// Images `[batch, channels, height, width]` in 0..1.
    type Input = Tensor<4>;
    type Output = Scalars;

    fn step(&self, images: Tensor<4>) -> TrainOutput<Scalars> {
        let (loss, _) = self.loss(images);
        quantized_step(self, loss)
    }
}

impl InferenceStep for VqVae {
    /// Images `[batch, channels, height, width]` in 0..1.
    type Input = Tensor<4>;
    type Output = Scalars;

    fn step(&self, images: Tensor<4>) -> Scalars {
        let (loss, pass) = self.loss(images.clone());
        quantized_scalars(&loss).with("mse", mean_squared_error(pass.logits, images))
    }
}
