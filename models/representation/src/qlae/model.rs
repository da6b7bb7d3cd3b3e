//! The quantised-latent autoencoder and what one does with it.

use super::{
    config::{LossWeights, QlaeConfig},
    decoder::Decoder,
    encoder::Encoder,
    objective,
    quantizer::{Quantized, ScalarQuantizer},
};
use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, activation::sigmoid},
};
use menagerie_core::{Error, Result};

/// An autoencoder whose latents can be scored by InfoMEC and decoded back into images: the paper's
/// model and its baselines.
pub trait LatentModel: Module {
    /// The reported code of `images` `[batch, channels, height, width]`: one number per latent,
    /// `[batch, latents]`.
    fn codes(&self, images: Tensor<4>) -> Tensor<2>;

    /// Whether each latent of [`codes`](Self::codes) takes finitely many values.
    fn is_discrete(&self) -> bool;

    /// Bernoulli means of the reconstruction, `[batch, channels, height, width]` in 0..1.
    fn reconstruction(&self, images: Tensor<4>) -> Tensor<4>;
}

/// The quantised-latent autoencoder (section 3).
#[derive(Module, Debug)]
pub struct Qlae {
    /// Image to continuous latents.
    pub encoder: Encoder,
    /// Continuous to quantised latents.
    pub latent: ScalarQuantizer,
    /// Quantised latents to logits.
    pub decoder: Decoder,
    image: [usize; 3],
    #[module(skip)]
    weights: LossWeights,
}

/// Everything that a pass through [`Qlae`] or another quantising autoencoder computes.
#[derive(Clone, Debug)]
pub struct QuantizedPass {
    /// The encoder's features `[batch, width]`.
    pub features: Tensor<2>,
    /// The encoder's output z `[batch, width of the code]`.
    pub continuous: Tensor<2>,
    /// Indices, nearest values and the straight-through estimate.
    pub quantized: Quantized,
    /// Bernoulli logits `[batch, channels, height, width]`.
    pub logits: Tensor<4>,
}

/// The code of a batch.
#[derive(Clone, Debug)]
pub struct Codes {
    /// Which value each latent takes `[batch, latents]`.
    pub indices: Tensor<2, Int>,
    /// The values themselves `[batch, latents]`.
    pub values: Tensor<2>,
}

impl QlaeConfig {
    /// A model of this configuration on `device`. Parameters are drawn from the device's random
    /// generator; call it inside [`menagerie_train::initialise`] for a reproducible model.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Qlae> {
        self.validate()?;
        Ok(Qlae {
            encoder: Encoder::init(&self.backbone, self.latents, device)?,
            latent: ScalarQuantizer::init(
                self.latents,
                &self.values,
                self.trainable_values,
                device,
            ),
            decoder: Decoder::init(&self.backbone, self.latents, device)?,
            image: self.backbone.image,
            weights: self.weights,
        })
    }
}

impl Qlae {
    /// Encodes, quantises and decodes `images` `[batch, channels, height, width]` in 0..1.
    ///
    /// # Panics
    /// If the images do not have the configured size; [`check_images`](Self::check_images) says so
    /// beforehand.
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
    pub fn loss(&self, images: Tensor<4>) -> (objective::QlaeLoss, QuantizedPass) {
        let pass = self.forward(images.clone());
        let loss = objective::qlae(&self.weights, &pass, images);
        (loss, pass)
    }

    /// The code of `images` `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images do not have the configured size.
    pub fn encode(&self, images: Tensor<4>) -> Result<Codes> {
        self.check_images(&images)?;
        let quantized = self.latent.forward(self.encoder.forward(images).latents);
        Ok(Codes {
            indices: quantized.indices,
            values: quantized.values,
        })
    }

    /// The images `[batch, channels, height, width]` (Bernoulli means, 0..1) of codes
    /// `[batch, latents]`.
    ///
    /// # Errors
    /// [`Error::Input`] if there is not one value per latent.
    pub fn decode(&self, values: Tensor<2>) -> Result<Tensor<4>> {
        let [_, latents] = values.dims();
        if latents != self.latent.latents() {
            return Err(Error::input(
                "values",
                values.dims(),
                format!("needs {} latents per row", self.latent.latents()),
            ));
        }
        Ok(sigmoid(self.decoder.forward(values)))
    }

    /// The reconstruction of `images`, of the same shape, in 0..1.
    ///
    /// # Errors
    /// [`Error::Input`] if the images do not have the configured size.
    pub fn reconstruct(&self, images: Tensor<4>) -> Result<Tensor<4>> {
        self.decode(self.encode(images)?.values)
    }

    /// `image` `[channels, height, width]` with latent `latent` set to each value of its codebook
    /// in turn, in the order of the codebook: `[n_v, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the image does not have the configured size or there is no such latent.
    pub fn traverse(&self, image: Tensor<3>, latent: usize) -> Result<Tensor<4>> {
        self.check_latent(latent)?;
        let values = self.encode(image.unsqueeze())?.values;
        let choices = self.latent.codebook(latent);
        let rows = choices.dims()[0];
        let values = values.repeat_dim(0, rows);
        self.decode(replace(values, latent, choices))
    }

    /// `images` `[batch, channels, height, width]` with latent `latent` set to value `index` of
    /// its codebook.
    ///
    /// # Errors
    /// [`Error::Input`] if the images do not have the configured size or there is no such latent
    /// or value.
    pub fn intervene(&self, images: Tensor<4>, latent: usize, index: usize) -> Result<Tensor<4>> {
        self.check_latent(latent)?;
        let size = self.latent.sizes()[latent];
        if index >= size {
            return Err(Error::input(
                "index",
                index,
                format!("latent {latent} has {size} values, counted from 0"),
            ));
        }
        let values = self.encode(images)?.values;
        let [batch, _] = values.dims();
        let choice = self.latent.codebook(latent).narrow(0, index, 1);
        self.decode(replace(values, latent, choice.repeat_dim(0, batch)))
    }

    /// Refuses images that are not `[batch, channels, height, width]` of the configured size.
    ///
    /// # Errors
    /// [`Error::Input`] with the shape found and the shape expected.
    pub fn check_images(&self, images: &Tensor<4>) -> Result<()> {
        check_images(self.image, images)
    }

    fn check_latent(&self, latent: usize) -> Result<()> {
        if latent < self.latent.latents() {
            return Ok(());
        }
        let rule = format!(
            "the model has {} latents, counted from 0",
            self.latent.latents()
        );
        Err(Error::input("latent", latent, rule))
    }
}

impl LatentModel for Qlae {
    fn codes(&self, images: Tensor<4>) -> Tensor<2> {
        let latents = self.encoder.forward(images).latents;
        self.latent.forward(latents).values
    }

    fn is_discrete(&self) -> bool {
        true
    }

    fn reconstruction(&self, images: Tensor<4>) -> Tensor<4> {
        sigmoid(self.forward(images).logits)
    }
}

/// Refuses images whose channels, height or width differ from `expected`.
pub(crate) fn check_images(expected: [usize; 3], images: &Tensor<4>) -> Result<()> {
    let [batch, channels, height, width] = images.dims();
    if batch > 0 && [channels, height, width] == expected {
        return Ok(());
    }
    let [channels, height, width] = expected;
    Err(Error::input(
        "images",
        images.dims(),
        format!("the model takes [batch > 0, {channels}, {height}, {width}]"),
    ))
}

/// Puts `column` `[batch]` in place of column `latent` of `values` `[batch, latents]`.
fn replace(values: Tensor<2>, latent: usize, column: Tensor<1>) -> Tensor<2> {
    let [batch, latents] = values.dims();
    let mut columns = Vec::with_capacity(3);
    if latent > 0 {
        columns.push(values.clone().narrow(1, 0, latent));
    }
    columns.push(column.reshape([batch, 1]));
    if latent + 1 < latents {
        columns.push(values.narrow(1, latent + 1, latents - latent - 1));
    }
    Tensor::cat(columns, 1)
}
