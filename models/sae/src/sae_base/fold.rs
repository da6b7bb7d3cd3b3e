//! Moving norms and scales into the weights, and keeping the dictionary at unit norm.

use super::{
    config::{Activation, SaeConfig, Threshold},
    model::{SparseAutoencoder, row_norms},
};
use burn::{module::Param, optim::GradientsParams, tensor::Tensor};
use menagerie_core::{Error, Result};

impl SparseAutoencoder {
    /// The same function with dictionary vectors of unit norm: a latent, its encoder row, bias and
    /// threshold are multiplied by the norm that its dictionary vector is divided by.
    ///
    /// A selection by h · ‖W_dec‖ becomes one by h, and `rescale_by_decoder_norm` is cleared:
    /// how SAELens saves such models. Vectors of norm 0 are left alone.
    ///
    /// # Errors
    /// A variant that selects by h itself: after the folding it would select others.
    pub fn fold_decoder_norms(mut self) -> Result<Self> {
        if self.config().activation.k().is_some() && !self.config().rescale_by_decoder_norm {
            return Err(Error::input(
                "activation",
                self.config().activation,
                "selects by pre-activations, which the folding of norms changes; only with \
                 `rescale_by_decoder_norm` is it the same function",
            ));
        }
        let norms = self.decoder_norms().detach();
        // A latent that writes nothing keeps its scale.
        let norms = norms.clone().mask_fill(norms.lower_equal_elem(0.0), 1.0);
        let rows = || norms.clone().unsqueeze_dim::<2>(1);
        let times = |param: Param<Tensor<1>>| edit(param, |values| values * norms.clone());
        let log = matches!(
            self.config().activation,
            Activation::JumpRelu {
                threshold: Threshold::Log,
                ..
            }
        );
        self.encoder = edit(self.encoder, |encoder| encoder * rows());
        self.decoder = edit(self.decoder, |decoder| decoder / rows());
        self.b_enc = self.b_enc.map(times);
        // Where latents are rescaled, thresholds are on that scale already.
        if !self.config().rescale_by_decoder_norm {
            self.threshold = self.threshold.map(|param| match log {
                true => edit(param, |values| values + norms.clone().log()),
                false => times(param),
            });
        }
        if let Some(gate) = self.gate.take() {
            self.gate = Some(super::model::GateWeights {
                // The magnitude exp(r) c scales with c.
                r_mag: gate.r_mag,
                b_gate: times(gate.b_gate),
                b_mag: times(gate.b_mag),
            });
        }
        let config = SaeConfig {
            rescale_by_decoder_norm: false,
            ..self.config().clone()
        };
        Ok(self.reconfigured(config))
    }

    /// The same function of unscaled activations, for a model that was trained on activations
    /// times `scale`: W_enc · s, W_dec / s, b_dec / s. Biases of latents and thresholds stay, as
    /// the pre-activations do not change.
    ///
    /// # Errors
    /// A scale that is not finite and above 0; a variant with `rescale_by_decoder_norm`, whose
    /// norms must be folded first.
    pub fn fold_scale(mut self, scale: f64) -> Result<Self> {
        positive("scale", scale)?;
        if self.config().rescale_by_decoder_norm {
            return Err(Error::input(
                "rescale_by_decoder_norm",
                true,
                "call `fold_decoder_norms` first: the norms are part of the selection",
            ));
        }
        self.encoder = edit(self.encoder, |encoder| encoder * scale);
        self.decoder = edit(self.decoder, |decoder| decoder / scale);
        self.b_dec = edit(self.b_dec, |bias| bias / scale);
        Ok(self)
    }

    /// For a model that was trained on activations divided by `factor`: b_enc, b_dec and thresholds
    /// times the factor, weights as they are (dictionary_learning's `scale_biases`). Its latents
    /// grow by the factor.
    ///
    /// # Errors
    /// A factor that is not finite and above 0.
    pub fn scale_biases(mut self, factor: f64) -> Result<Self> {
        positive("factor", factor)?;
        let times = |param: Param<Tensor<1>>| edit(param, |values| values * factor);
        self.b_enc = self.b_enc.map(times);
        self.b_dec = times(self.b_dec);
        let log = matches!(
            self.config().activation,
            Activation::JumpRelu {
                threshold: Threshold::Log,
                ..
            }
        );
        self.threshold = self.threshold.map(|param| match log {
            true => edit(param, |values| values + factor.ln()),
            false => times(param),
        });
        if let Some(threshold) = self.inference_threshold() {
            self = self.set_inference_threshold(threshold * factor as f32)?;
        }
        self.gate = self.gate.map(|gate| super::model::GateWeights {
            r_mag: gate.r_mag,
            b_gate: times(gate.b_gate),
            b_mag: times(gate.b_mag),
        });
        Ok(self)
    }

    /// BatchTopK as what it is at inference: a JumpReLU whose thresholds are all the estimated one,
    /// with decoder norms folded (how SAELens saves BatchTopK and Matryoshka models).
    ///
    /// # Errors
    /// A variant without an estimated threshold.
    pub fn into_jump_relu(self) -> Result<Self> {
        let threshold = self.inference_threshold().ok_or_else(|| {
            Error::input(
                "batch_threshold",
                "unset",
                "must be estimated in training or set",
            )
        })?;
        let width = self.config().d_sae;
        let device = self.decoder.device();
        let folded = self.with_constant_threshold(Tensor::full([width], threshold, &device))?;
        match folded.config().rescale_by_decoder_norm {
            true => folded.fold_decoder_norms(),
            false => Ok(folded),
        }
    }

    fn with_constant_threshold(mut self, threshold: Tensor<1>) -> Result<Self> {
        self.batch_threshold = None;
        self.threshold = Some(Param::from_tensor(threshold));
        let config = SaeConfig {
            activation: Activation::jump_relu_plain(),
            ..self.config().clone()
        };
        Ok(self.reconfigured(config))
    }

    /// The same with b_dec = `bias` `[d_out]`, before training: the geometric median of a first batch
    /// ([`geometric_median`](crate::activations::geometric_median)) where the method asks for it.
    ///
    /// # Errors
    /// A bias of another width.
    pub fn with_decoder_bias(mut self, bias: Tensor<1>) -> Result<Self> {
        let width = self.config().output();
        if bias.dims() != [width] {
            let rule = format!("must be that of the output, {width}");
            return Err(Error::input("width of the bias", bias.dims()[0], rule));
        }
        let like = self.b_dec.val();
        let bias = match like.is_autodiff() {
            true => bias.without_autodiff().to_device(&like.device()).autodiff(),
            false => bias.without_autodiff().to_device(&like.device()),
        };
        self.b_dec = edit(self.b_dec, |_| bias);
        Ok(self)
    }

    /// The dictionary with unit rows; `epsilon` is added to the norms (0, or a machine epsilon as
    /// in some trainers). Rows of norm 0 become 0 / ε.
    pub fn normalize_decoder(mut self, epsilon: f64) -> Self {
        let norms = row_norms(self.decoder.val().detach()) + epsilon;
        let norms = norms.clone().mask_fill(norms.lower_equal_elem(0.0), 1.0);
        self.decoder = edit(self.decoder, |decoder| decoder / norms.unsqueeze_dim(1));
        self
    }

    /// Removes from the gradient of every dictionary vector its component along that vector, so
    /// that a step does not change the norm to first order. `epsilon` is added to the norm.
    pub fn project_decoder_gradient(
        &self,
        mut gradients: GradientsParams,
        epsilon: f64,
    ) -> GradientsParams {
        if let Some(gradient) = gradients.remove::<2>(self.decoder.id) {
            let gradient = project(gradient, self.decoder.val().without_autodiff(), epsilon);
            gradients.register(self.decoder.id, gradient);
        }
        gradients
    }
}

/// A parameter with other values, which is a leaf of the next graph as the old one was.
pub(crate) fn edit<const D: usize>(
    param: Param<Tensor<D>>,
    change: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Param<Tensor<D>> {
    param.map(|values| {
        let tracked = values.is_require_grad();
        change(values.detach()).detach().set_require_grad(tracked)
    })
}

/// `gradient` `[rows, d]` without its components along the rows of `decoder`.
pub fn project(gradient: Tensor<2>, decoder: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let norms = row_norms(decoder.clone()) + epsilon;
    let norms = norms.clone().mask_fill(norms.lower_equal_elem(0.0), 1.0);
    let unit = decoder / norms.unsqueeze_dim(1);
    let along = (gradient.clone() * unit.clone()).sum_dim(1);
    gradient - unit * along
}

fn positive(what: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::input(what, value, "must be finite and above 0"))
}
