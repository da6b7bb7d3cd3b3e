//! The masked autoencoder.

use super::config::{MaeConfig, VitConfig};
use super::encoder::{Encoder, Start, fixed_positions, token_initializer};
use super::objective::{PatchMoments, masked_error, target};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::vit::{
    Block, LayerNorm, Linear, LinearConfig, Masking, Order, draw_noise, patchify, unpatchify,
};

/// The light transformer that predicts the hidden patches.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Latents to the decoder's width.
    pub embed: Linear,
    /// What stands in the place of a hidden patch, `[1, 1, dim]`.
    pub mask_token: Param<Tensor<3>>,
    /// Fixed positions, `[1, 1 + tokens, dim]`.
    pub pos_embed: Param<Tensor<3>>,
    /// The transformer.
    pub blocks: Vec<Block>,
    /// After the last block.
    pub norm: LayerNorm,
    /// Tokens to the pixels of a patch.
    pub pred: Linear,
}

impl Decoder {
    fn new(config: &MaeConfig, device: &Device) -> Result<Self> {
        let vit = &config.encoder;
        let (dim, heads) = (config.decoder.dim, config.decoder.heads);
        let block = vit.block_of(dim, heads);
        Ok(Self {
            embed: LinearConfig::new(vit.dim, dim).init(device),
            mask_token: token_initializer().init([1, 1, dim], device),
            pos_embed: fixed_positions(vit, dim, device)?,
            blocks: (0..config.decoder.depth)
                .map(|_| block.init(device))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(dim, vit.epsilon, device),
            pred: LinearConfig::new(dim, vit.patch_size()).init(device),
        })
    }

    /// Latents `[batch, 1 + visible, encoder's dim]` in the order of the image, hidden patches
    /// filled in, with positions: `[batch, 1 + tokens, dim]`.
    ///
    /// # Panics
    /// If the latents are not those of the visible patches of `masking`.
    pub fn embed(&self, latent: Tensor<3>, masking: &Masking) -> Tensor<3> {
        let tokens = self.embed.forward(latent);
        let mask_token = self.mask_token.val().flatten(0, 2);
        masking.restore(tokens, mask_token, 1) + self.pos_embed.val()
    }

    /// Predicted patches `[batch, tokens, patch · patch · channels]`, channel fastest, of latents
    /// `[batch, 1 + visible, encoder's dim]`.
    ///
    /// # Panics
    /// If the latents are not those of the visible patches of `masking`.
    pub fn forward(&self, latent: Tensor<3>, masking: &Masking) -> Tensor<3> {
        let tokens = self
            .blocks
            .iter()
            .fold(self.embed(latent, masking), |tokens, block| {
                block.forward(tokens, None)
            });
        let [_, count, _] = tokens.dims();
        // The class token has no pixels.
        let patches = tokens.narrow(1, 1, count - 1);
        self.pred.forward(self.norm.forward(patches))
    }
}

/// Encoder and decoder.
#[derive(Module, Debug)]
pub struct Mae {
    /// The encoder, which is kept after pre-training.
    pub encoder: Encoder,
    /// The decoder.
    pub decoder: Decoder,
    #[module(skip)]
    config: MaeConfig,
}

/// A pass through the autoencoder.
#[derive(Clone, Debug)]
pub struct MaeOutput {
    /// What the encoder makes of the visible patches, `[batch, 1 + visible, dim]`, class token
    /// first.
    pub latent: Tensor<3>,
    /// Every patch as predicted, `[batch, tokens, patch · patch · channels]`, channel fastest.
    pub prediction: Tensor<3>,
    /// The encoder's blocks that were asked for, before any norm, `[batch, 1 + visible, dim]` each.
    pub features: Vec<Tensor<3>>,
}

/// Pictures of what the autoencoder does; each is `[batch, channels, height, width]`.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// The images with hidden patches at 0, the mean after normalisation.
    pub masked: Tensor<4>,
    /// All patches as predicted.
    pub predicted: Tensor<4>,
    /// Hidden patches as predicted, visible ones as they are.
    pub pasted: Tensor<4>,
}

impl MaeConfig {
    /// An autoencoder with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Mae> {
        self.validate()?;
        Ok(Mae {
            encoder: self.encoder.init(Start::Pretraining, true, device)?,
            decoder: Decoder::new(self, device)?,
            config: self.clone(),
        })
    }

    /// Random visible patches for `batch` images.
    ///
    /// # Errors
    /// What [`Masking::from_noise`] reports.
    pub fn draw_masking(&self, batch: usize, seed: Seed, device: &Device) -> Result<Masking> {
        let shape = [batch, self.encoder.tokens()];
        let noise = draw_noise(shape, seed);
        Masking::from_noise(&noise, shape, self.visible(), Order::Ascending, device)
    }
}

impl Mae {
    /// What the autoencoder was built from.
    pub fn config(&self) -> &MaeConfig {
        &self.config
    }

    /// Images `[batch, channels, height, width]`, normalised, through encoder and decoder.
    ///
    /// # Errors
    /// [`Error::Input`] if images or masking are not of the configured sizes.
    pub fn forward_with(&self, images: Tensor<4>, masking: &Masking) -> Result<MaeOutput> {
        self.forward_with_features(images, masking, &[])
    }

    /// [`forward_with`](Self::forward_with), with the output of some of the encoder's `blocks`,
    /// counted from 0.
    ///
    /// # Errors
    /// [`Error::Input`] if images, masking or blocks do not fit the configuration.
    pub fn forward_with_features(
        &self,
        images: Tensor<4>,
        masking: &Masking,
        blocks: &[usize],
    ) -> Result<MaeOutput> {
        let encoded = self
            .encoder
            .forward_with_features(images, Some(masking), blocks)?;
        Ok(MaeOutput {
            prediction: self.decoder.forward(encoded.latent.clone(), masking),
            latent: encoded.latent,
            features: encoded.features,
        })
    }

    /// The objective of images `[batch, channels, height, width]`, of shape `[1]`, with the pass it
    /// came from: the squared error of the hidden patches.
    ///
    /// # Errors
    /// [`Error::Input`] if images or masking are not of the configured sizes, or nothing is hidden.
    pub fn loss(&self, images: Tensor<4>, masking: &Masking) -> Result<(Tensor<1>, MaeOutput)> {
        if masking.hidden() == 0 {
            let rule = "must hide at least one patch";
            return Err(Error::input("hidden patches", 0, rule));
        }
        let output = self.forward_with(images.clone(), masking)?;
        let target = self.target(images);
        let loss = masked_error(output.prediction.clone(), target, masking.mask.clone());
        Ok((loss, output))
    }

    /// What the decoder should predict of images `[batch, channels, height, width]`: `[batch,
    /// tokens, patch · patch · channels]`.
    pub fn target(&self, images: Tensor<4>) -> Tensor<3> {
        target(images, self.config.encoder.patch, self.config.norm_pix_loss)
    }

    /// [`loss`](Self::loss) of images and masking that were checked.
    pub(crate) fn checked_loss(&self, images: Tensor<4>, masking: &Masking) -> Tensor<1> {
        let target = self.target(images.clone());
        let encoded = self.encoder.encode(images, Some(masking), &[], &[]);
        let prediction = self.decoder.forward(encoded.latent, masking);
        masked_error(prediction, target, masking.mask.clone())
    }

    /// All patches of images `[batch, channels, height, width]` encoded: `[batch, 1 + tokens, dim]`,
    /// class token first.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured size.
    pub fn encode(&self, images: Tensor<4>) -> Result<Tensor<3>> {
        self.encoder.forward(images, None, &[])
    }

    /// Images `[batch, channels, height, width]` as the autoencoder fills them in. Where it was
    /// trained on normalised patches, each prediction gets mean and deviation of the true patch.
    ///
    /// # Errors
    /// [`Error::Input`] if images or masking are not of the configured sizes.
    pub fn reconstruct(&self, images: Tensor<4>, masking: &Masking) -> Result<Reconstruction> {
        let output = self.forward_with(images.clone(), masking)?;
        let VitConfig { patch, .. } = self.config.encoder;
        let grid = [self.config.encoder.grid(); 2];
        let patches = patchify(images, patch);
        let predicted = match self.config.norm_pix_loss {
            true => PatchMoments::of(patches.clone()).denormalise(output.prediction),
            false => output.prediction,
        };
        let hidden = masking.mask.clone().unsqueeze_dim::<3>(2);
        let masked = patches * (hidden.clone().neg() + 1.0);
        let pasted = masked.clone() + predicted.clone() * hidden;
        let picture = |patches| unpatchify(patches, patch, grid);
        Ok(Reconstruction {
            masked: picture(masked),
            predicted: picture(predicted),
            pasted: picture(pasted),
        })
    }
}
