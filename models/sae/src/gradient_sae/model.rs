//! The autoencoder and its selection.

use super::{
    config::GradientSaeConfig,
    objective::{attribution, check, loss, scaled, scores, select},
};
use crate::sae::{Codes, ObjectiveConfig, SaeLoss, SaeOutput, Situation, SparseAutoencoder};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use menagerie_core::{Error, Result};
use menagerie_nn::sparse::Pattern;

/// A TopK autoencoder that selects by pre-activation and gradient.
#[derive(Module, Debug)]
pub struct GradientSae {
    /// Weights, biases and everything that does not depend on the gradient.
    pub sae: SparseAutoencoder,
    #[module(skip)]
    config: GradientSaeConfig,
}

impl GradientSaeConfig {
    /// An autoencoder of this configuration on `device`, with unit dictionary vectors and the
    /// encoder equal to them.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<GradientSae> {
        self.validate()?;
        Ok(GradientSae {
            sae: self.sae().init(device)?,
            config: self.clone(),
        })
    }
}

impl GradientSae {
    /// An autoencoder with given weights.
    ///
    /// # Errors
    /// What [`GradientSaeConfig::validate`] reports; weights of another configuration.
    pub fn from_sae(sae: SparseAutoencoder, config: GradientSaeConfig) -> Result<Self> {
        config.validate()?;
        let expected = config.sae();
        let found = sae.config();
        if (found.d_in, found.d_sae, found.activation)
            != (expected.d_in, expected.d_sae, expected.activation)
        {
            return Err(Error::input(
                "configuration of the weights",
                found,
                format!("must be {expected:?}"),
            ));
        }
        Ok(Self { sae, config })
    }

    /// The same with b_pre = `bias` `[d_in]`, before training: the geometric median or the mean of a
    /// first batch.
    ///
    /// # Errors
    /// A bias of another width.
    pub fn with_bias(mut self, bias: Tensor<1>) -> Result<Self> {
        self.sae = self.sae.with_decoder_bias(bias)?;
        Ok(self)
    }

    /// The configuration that this was made of.
    pub fn config(&self) -> &GradientSaeConfig {
        &self.config
    }

    /// The latents of `x` `[rows, d_in]` that the gradient `g` `[rows, d_in]` of the loss selects.
    ///
    /// At test time this knows the next token, whose loss g is the gradient of: compare
    /// [`encode_plain`](Self::encode_plain).
    ///
    /// # Errors
    /// Shapes that do not fit, a gradient that is not finite.
    pub fn encode(&self, x: Tensor<2>, g: Tensor<2>) -> Result<Codes> {
        check(&x, &g)?;
        let g = self.scaled(g);
        let h = self.sae.pre_activations(x.clone())?.without_autodiff();
        let pattern = self.select(&h, g);
        let encoded = self.sae.prepare(x)?;
        Ok(Codes {
            latents: self.sae.kept(encoded.input, pattern),
            scaling: encoded.scaling,
        })
    }

    /// The k largest latents of `x` `[rows, d_in]`, without a gradient.
    ///
    /// # Errors
    /// No row, rows of another width.
    pub fn encode_plain(&self, x: Tensor<2>) -> Result<Codes> {
        self.sae.encode(x)
    }

    /// The reconstruction `[rows, d_in]` of codes.
    ///
    /// # Errors
    /// Codes of another width.
    pub fn decode(&self, codes: &Codes) -> Result<Tensor<2>> {
        self.sae.decode(codes)
    }

    /// Encodes with the gradient and decodes.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn forward(&self, x: Tensor<2>, g: Tensor<2>) -> Result<SaeOutput> {
        let codes = self.encode(x, g)?;
        let reconstruction = self.decode(&codes)?;
        Ok(SaeOutput {
            codes,
            reconstruction,
        })
    }

    /// The scores that select `[rows, d_sae]`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn scores(&self, x: Tensor<2>, g: Tensor<2>) -> Result<Tensor<2>> {
        check(&x, &g)?;
        let g = self.scaled(g);
        let h = self.sae.pre_activations(x)?.without_autodiff();
        let a = attribution(g, self.sae.decoder.val());
        Ok(scores(h, a, self.config.beta))
    }

    /// The objective, with the latents that the gradient selects.
    ///
    /// # Errors
    /// As [`encode`](Self::encode) and [`SparseAutoencoder::loss`].
    pub fn loss(
        &self,
        x: Tensor<2>,
        g: Tensor<2>,
        objective: &ObjectiveConfig,
        situation: Situation,
    ) -> Result<(SaeLoss, SaeOutput)> {
        loss(&self.sae, &self.config, x, g, objective, situation)
    }

    fn scaled(&self, g: Tensor<2>) -> Tensor<2> {
        scaled(&self.config, g)
    }

    fn select(&self, h: &Tensor<2>, g: Tensor<2>) -> Pattern {
        select(&self.sae, &self.config, h, g)
    }
}
