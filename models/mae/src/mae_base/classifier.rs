//! Fine-tuning: the encoder with a linear head.

use super::config::{ClassifierConfig, Pooling};
use super::encoder::{Encoder, Start, token_initializer};
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::softmax};
use menagerie_core::{Result, Seed};
use menagerie_nn::vit::{Keep, LayerNorm, Linear, LinearConfig, draw_keep, linear_rates};

/// A vision transformer that classifies images. Its positions are trained.
#[derive(Module, Debug)]
pub struct Classifier {
    /// The encoder, without its last norm where patches are pooled.
    pub encoder: Encoder,
    /// After pooling patches.
    pub fc_norm: Option<LayerNorm>,
    /// Features to class scores.
    pub head: Linear,
    #[module(skip)]
    config: ClassifierConfig,
}

impl ClassifierConfig {
    /// A classifier from scratch, by timm's rules; [`super::weights::load_pretrained`] gives one
    /// from pre-trained weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Classifier> {
        self.validate()?;
        let pools = self.pooling == Pooling::Mean;
        let (dim, epsilon) = (self.encoder.dim, self.encoder.epsilon);
        Ok(Classifier {
            encoder: self.encoder.init(Start::Supervised, !pools, device)?,
            fc_norm: pools.then(|| LayerNorm::new(dim, epsilon, device)),
            head: LinearConfig {
                initializer: token_initializer(),
                ..LinearConfig::new(dim, self.classes)
            }
            .init(device),
            config: self.clone(),
        })
    }

    /// A draw of stochastic depth for a batch: nothing where its rate is 0.
    ///
    /// # Errors
    /// None for a configuration that [`validate`](Self::validate) accepts.
    pub fn draw_keep(
        &self,
        batch: usize,
        seed: Seed,
        device: &Device,
    ) -> Result<Vec<Option<Keep>>> {
        let rates = linear_rates(self.drop_path, self.encoder.depth);
        draw_keep(&rates, batch, seed, device)
    }
}

impl Classifier {
    /// What the classifier was built from.
    pub fn config(&self) -> &ClassifierConfig {
        &self.config
    }

    /// Class scores `[batch, classes]` of images `[batch, channels, height, width]`; `keep` is a
    /// draw of stochastic depth, empty when not training.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if images or draws do not fit the configuration.
    pub fn forward(&self, images: Tensor<4>, keep: &[Option<Keep>]) -> Result<Tensor<2>> {
        let tokens = self.encoder.forward(images, None, keep)?;
        Ok(self.head.forward(self.pool(tokens)))
    }

    /// Class scores of images and draws that were checked.
    pub(super) fn scores(&self, images: Tensor<4>, keep: &[Option<Keep>]) -> Tensor<2> {
        let tokens = self.encoder.encode(images, None, keep, &[]).latent;
        self.head.forward(self.pool(tokens))
    }

    /// What the head sees of images `[batch, channels, height, width]`: `[batch, dim]`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are not of the configured size.
    pub fn features(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        Ok(self.pool(self.encoder.forward(images, None, &[])?))
    }

    /// Class probabilities `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are not of the configured size.
    pub fn classify(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        Ok(softmax(self.forward(images, &[])?, 1))
    }

    fn pool(&self, tokens: Tensor<3>) -> Tensor<2> {
        let [_, count, _] = tokens.dims();
        match &self.fc_norm {
            Some(norm) => {
                let mean = tokens.narrow(1, 1, count - 1).mean_dim(1);
                norm.forward(mean.squeeze_dim::<2>(1))
            }
            None => class_token(tokens),
        }
    }
}

/// The first of tokens `[batch, tokens, dim]`: `[batch, dim]`.
pub(super) fn class_token(tokens: Tensor<3>) -> Tensor<2> {
    tokens.narrow(1, 0, 1).squeeze_dim(1)
}
