//! The autoencoder and its selection.

use super::config::{GradientSaeConfig, GradientScale};
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

/// |⟨W_dec,i, g⟩| `[rows, latents]`: by how much the loss changes to first order with a unit of each
/// latent, for gradients `[rows, d]` and dictionary vectors `[latents, d]`. A constant.
pub fn attribution(gradient: Tensor<2>, decoder: Tensor<2>) -> Tensor<2> {
    let decoder = decoder.without_autodiff();
    gradient
        .without_autodiff()
        .matmul(decoder.transpose())
        .abs()
}

/// h (1 + β a) `[rows, latents]` of pre-activations h and attributions a. A negative h becomes more
/// negative: a latent that would not be active is not made so.
pub fn scores(h: Tensor<2>, attribution: Tensor<2>, beta: f64) -> Tensor<2> {
    h * (attribution * beta + 1.0)
}

/// `gradient` `[rows, d]` divided by the mean norm of its rows; unchanged where that is 0.
pub fn standardise(gradient: Tensor<2>) -> Tensor<2> {
    let norms: Tensor<2> = gradient.clone().square().sum_dim(1).sqrt();
    let mean = norms.mean();
    let off = mean.clone().lower_equal_elem(0.0);
    gradient / mean.mask_fill(off, 1.0).unsqueeze()
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
        let input = self.sae.prepare(x)?.input;
        Ok(Codes {
            latents: self.sae.kept(input, pattern),
            scaling: None,
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

fn scaled(config: &GradientSaeConfig, g: Tensor<2>) -> Tensor<2> {
    match config.gradient {
        GradientScale::Sum => g,
        GradientScale::UnitMeanNorm => standardise(g),
    }
}

fn select(
    sae: &SparseAutoencoder,
    config: &GradientSaeConfig,
    h: &Tensor<2>,
    g: Tensor<2>,
) -> Pattern {
    // One product of [rows, d] with [d, latents] less for plain TopK.
    if config.beta == 0.0 {
        return Pattern::topk(h, config.k);
    }
    let a = attribution(g, sae.decoder.val());
    Pattern::topk(&scores(h.clone(), a, config.beta), config.k)
}

/// [`GradientSae::loss`] for weights that a trainer holds.
pub(super) fn loss(
    sae: &SparseAutoencoder,
    config: &GradientSaeConfig,
    x: Tensor<2>,
    g: Tensor<2>,
    objective: &ObjectiveConfig,
    situation: Situation,
) -> Result<(SaeLoss, SaeOutput)> {
    check(&x, &g)?;
    let g = scaled(config, g);
    sae.loss_selected(x, None, objective, situation, &|sae, h| {
        select(sae, config, h, g.clone())
    })
}

fn check(x: &Tensor<2>, g: &Tensor<2>) -> Result<()> {
    if x.dims() != g.dims() {
        return Err(Error::input(
            "shape of the gradient",
            g.dims(),
            format!("must be that of x, {:?}", x.dims()),
        ));
    }
    let sum = g
        .clone()
        .without_autodiff()
        .abs()
        .sum()
        .into_data()
        .convert::<f32>();
    let sum = sum
        .as_slice::<f32>()
        .ok()
        .and_then(|sum| sum.first().copied());
    match sum {
        Some(sum) if sum.is_finite() => Ok(()),
        sum => Err(Error::input(
            "sum of |g|",
            sum.unwrap_or(f32::NAN),
            "must be finite: a gradient is NaN or infinite",
        )),
    }
}
