//! The autoencoder: encode, decode, forward.

use super::{
    codes::{Codes, Latents, Scaling},
    config::{Activation, Normalization, SaeConfig, Threshold},
    straight_through,
};
use burn::{
    module::{Module, Param},
    tensor::{Tensor, activation::relu},
};
use menagerie_core::{Error, Result};
use menagerie_nn::sparse::{Pattern, sampled_dot, weighted_rows};
use menagerie_nn::transformer::{linear, linear_transposed};

/// A sparse autoencoder or transcoder of any variant.
///
/// Both weights hold one row per latent, which is what sparse products read.
#[derive(Module, Debug)]
pub struct SparseAutoencoder {
    /// W_enc, transposed: `[d_sae, d_in]`.
    pub encoder: Param<Tensor<2>>,
    /// b_enc `[d_sae]`; a gated autoencoder has the biases of [`GateWeights`] instead.
    pub b_enc: Option<Param<Tensor<1>>>,
    /// W_dec, the dictionary: row i is the direction of latent i `[d_sae, d_out]`.
    pub decoder: Param<Tensor<2>>,
    /// b_dec `[d_out]`.
    pub b_dec: Param<Tensor<1>>,
    /// θ or log θ of a JumpReLU `[d_sae]`.
    pub threshold: Option<Param<Tensor<1>>>,
    /// What stands in for the selection of BatchTopK (or TopK) at inference `[1]`; not trained,
    /// -1 before the first estimate.
    pub batch_threshold: Option<Param<Tensor<1>>>,
    /// The second path of a gated autoencoder.
    pub gate: Option<GateWeights>,
    /// W_skip `[d_out, d_in]`.
    pub skip: Option<Param<Tensor<2>>>,
    #[module(skip)]
    pub(super) config: SaeConfig,
}

/// What gate and magnitude of a gated autoencoder do not share (2404.16014, section 3.2).
#[derive(Module, Debug)]
pub struct GateWeights {
    /// Log of the magnitude's scale `[d_sae]`.
    pub r_mag: Param<Tensor<1>>,
    /// Bias of the gate `[d_sae]`.
    pub b_gate: Param<Tensor<1>>,
    /// Bias of the magnitude `[d_sae]`.
    pub b_mag: Param<Tensor<1>>,
}

/// Codes and what is decoded from them.
#[derive(Clone, Debug)]
pub struct SaeOutput {
    /// The latent activations.
    pub codes: Codes,
    /// x' `[rows, d_out]`.
    pub reconstruction: Tensor<2>,
}

/// What the encoder makes of an input before any selection.
pub(crate) struct Encoded {
    /// The input after normalisation, minus b_dec where that is subtracted `[rows, d_in]`: what
    /// the encoder multiplies.
    pub input: Tensor<2>,
    pub scaling: Option<Scaling>,
}

/// Euclidean norm of every row `[rows]`.
pub(crate) fn row_norms(rows: Tensor<2>) -> Tensor<1> {
    rows.square().sum_dim(1).squeeze_dim::<1>(1).sqrt()
}

impl SparseAutoencoder {
    /// The configuration that this was made of.
    pub fn config(&self) -> &SaeConfig {
        &self.config
    }

    /// The same parameters under another configuration that needs no others.
    pub(crate) fn reconfigured(mut self, config: SaeConfig) -> Self {
        self.config = config;
        self
    }

    /// The thresholds θ of a JumpReLU `[d_sae]`.
    pub fn thresholds(&self) -> Option<Tensor<1>> {
        let stored = self.threshold.as_ref()?.val();
        Some(match self.config.activation {
            Activation::JumpRelu {
                threshold: Threshold::Log,
                ..
            } => stored.exp(),
            _ => stored,
        })
    }

    /// The threshold that stands in for a selection over the batch, if it was estimated.
    ///
    /// Reads one number from the device.
    pub fn inference_threshold(&self) -> Option<f32> {
        let value = self.batch_threshold.as_ref()?.val().into_data();
        let value = value
            .convert::<f32>()
            .as_slice::<f32>()
            .ok()?
            .first()
            .copied()?;
        (value >= 0.0).then_some(value)
    }

    /// Sets [`inference_threshold`](Self::inference_threshold).
    ///
    /// # Errors
    /// A negative or non-finite value, or a variant without one.
    pub fn set_inference_threshold(mut self, value: f32) -> Result<Self> {
        if !(value.is_finite() && value >= 0.0) {
            return Err(Error::input(
                "threshold",
                value,
                "must be finite and at least 0",
            ));
        }
        match self.batch_threshold.take() {
            Some(param) => {
                self.batch_threshold =
                    Some(param.map(|old| Tensor::full([1], value, &old.device())));
                Ok(self)
            }
            None => Err(Error::input(
                "activation",
                self.config.activation,
                "has no threshold for inference",
            )),
        }
    }

    /// Norm of every dictionary vector `[d_sae]`.
    pub fn decoder_norms(&self) -> Tensor<1> {
        row_norms(self.decoder.val())
    }

    /// The dictionary vector of a latent `[d_out]`, for steering.
    ///
    /// # Errors
    /// A latent that does not exist.
    pub fn direction(&self, latent: usize) -> Result<Tensor<1>> {
        let width = self.config.d_sae;
        if latent >= width {
            return Err(Error::input(
                "latent",
                latent,
                format!("there are {width}, counted from 0"),
            ));
        }
        Ok(self.decoder.val().slice_dim(0, latent).squeeze_dim(0))
    }

    /// `x` `[rows, d_out]` with `scale` times the dictionary vector of `latent` added to each row.
    ///
    /// # Errors
    /// Rows of another width, a latent that does not exist.
    pub fn steer(&self, x: Tensor<2>, latent: usize, scale: f64) -> Result<Tensor<2>> {
        check_width("x", &x, self.config.output())?;
        Ok(x + (self.direction(latent)? * scale).unsqueeze())
    }

    /// The latents of `x` `[rows, d_in]`.
    ///
    /// BatchTopK keeps what exceeds its [`inference_threshold`](Self::inference_threshold), so that
    /// a row's codes do not depend on the other rows.
    ///
    /// # Errors
    /// No row, rows of another width, a BatchTopK whose threshold was never estimated.
    pub fn encode(&self, x: Tensor<2>) -> Result<Codes> {
        let encoded = self.prepare(x)?;
        if let Activation::BatchTopK { .. } = self.config.activation {
            let threshold = self.inference_threshold().ok_or_else(|| {
                Error::input(
                    "batch_threshold",
                    "unset",
                    "must be estimated in training or set before a BatchTopK encodes",
                )
            })?;
            return Ok(self.encode_above(encoded, threshold));
        }
        Ok(self.activate(encoded))
    }

    /// The latents of `x` `[rows, d_in]` as the training objective sees them: BatchTopK selects
    /// over the batch. The same as [`encode`](Self::encode) for every other variant.
    ///
    /// # Errors
    /// No row, rows of another width.
    pub fn encode_training(&self, x: Tensor<2>) -> Result<Codes> {
        Ok(self.activate(self.prepare(x)?))
    }

    /// The latents above the inference threshold instead of the k largest, for a TopK or BatchTopK
    /// that has estimated one.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_thresholded(&self, x: Tensor<2>) -> Result<Codes> {
        let encoded = self.prepare(x)?;
        let threshold = self.inference_threshold().ok_or_else(|| {
            Error::input(
                "batch_threshold",
                "unset",
                "must be estimated in training or set",
            )
        })?;
        Ok(self.encode_above(encoded, threshold))
    }

    /// The reconstruction x' `[rows, d_out]` of codes.
    ///
    /// # Errors
    /// Codes of another width; a skip transcoder, whose output also needs the input (use
    /// [`forward`](Self::forward)).
    pub fn decode(&self, codes: &Codes) -> Result<Tensor<2>> {
        if self.skip.is_some() {
            return Err(Error::input(
                "codes",
                "without their input",
                "a skip transcoder adds a map of the input: use `forward`",
            ));
        }
        let width = match &codes.latents {
            Latents::Dense(latents) => latents.dims()[1],
            Latents::Sparse { pattern, .. } => pattern.width(),
        };
        if width != self.config.d_sae {
            return Err(Error::input(
                "width of the codes",
                width,
                format!("must be d_sae, {}", self.config.d_sae),
            ));
        }
        Ok(self.decode_unchecked(codes, None))
    }

    /// Encodes and decodes `x` `[rows, d_in]`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn forward(&self, x: Tensor<2>) -> Result<SaeOutput> {
        let codes = self.encode(x.clone())?;
        let reconstruction = self.decode_unchecked(&codes, Some(x));
        Ok(SaeOutput {
            codes,
            reconstruction,
        })
    }

    /// The reconstruction of activations whose last dimension is d_in, or whose last two are
    /// `[heads, d_head]` with heads · d_head = d_in (attention outputs), in the same shape.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and a transcoder of another output width.
    pub fn reconstruct<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<D>> {
        let dims = x.dims();
        let d = self.config.d_in;
        let two = dims[D.saturating_sub(2)..].iter().product::<usize>();
        if dims[D - 1] != d && two != d {
            return Err(Error::input(
                "shape of the activations",
                dims,
                format!("must end in d_in or in heads and head width of product d_in, {d}"),
            ));
        }
        self.refuse_transcoder()?;
        let rows = dims.iter().product::<usize>() / d;
        let output = self.forward(x.reshape([rows, d]))?;
        Ok(output.reconstruction.reshape(dims))
    }

    /// A transcoder's output is not its input's reconstruction.
    pub(crate) fn refuse_transcoder(&self) -> Result<()> {
        match self.config.d_out {
            None => Ok(()),
            Some(width) => Err(Error::input(
                "d_out",
                width,
                "is for transcoders, whose output is not their input: compare it with their target",
            )),
        }
    }

    /// What the host sees when `intervene` changes the codes of `x` `[rows, d_in]` and the error
    /// of the unchanged reconstruction is added back as a constant: x itself without a change.
    ///
    /// # Errors
    /// As [`encode`](Self::encode) and [`decode`](Self::decode).
    pub fn forward_with_error(
        &self,
        x: Tensor<2>,
        intervene: impl FnOnce(Codes) -> Codes,
    ) -> Result<Tensor<2>> {
        self.refuse_transcoder()?;
        let codes = self.encode(x.clone())?;
        let clean = self.decode(&codes)?;
        let error = (x - clean).detach();
        Ok(self.decode(&intervene(codes))? + error)
    }

    /// `x` `[rows, d_in]` after the input normalisation of the configuration.
    ///
    /// # Errors
    /// No row, rows of another width.
    pub fn normalize(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        let encoded = self.prepare(x)?;
        Ok(match self.config.subtract_decoder_bias {
            true => encoded.input + self.b_dec.val().unsqueeze(),
            false => encoded.input,
        })
    }

    /// h: the pre-activations of every latent `[rows, d_sae]`, after
    /// [`rescale_by_decoder_norm`](SaeConfig::rescale_by_decoder_norm); of the gate (π) for a gated
    /// autoencoder.
    ///
    /// # Errors
    /// No row, rows of another width.
    pub fn pre_activations(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        Ok(self.linear(self.prepare(x)?.input))
    }

    pub(crate) fn linear(&self, input: Tensor<2>) -> Tensor<2> {
        let bias = match (&self.b_enc, &self.gate) {
            (Some(bias), _) => Some(bias.val()),
            (None, Some(gate)) => Some(gate.b_gate.val()),
            (None, None) => None,
        };
        let h = linear_transposed(input, self.encoder.val(), bias);
        match self.config.rescale_by_decoder_norm {
            true => h * self.decoder_norms().unsqueeze(),
            false => h,
        }
    }

    /// [`linear`](Self::linear) as a constant.
    pub(crate) fn scores(&self, input: &Tensor<2>) -> Tensor<2> {
        let constant = |param: &Param<Tensor<1>>| param.val().without_autodiff();
        let h = linear_transposed(
            input.clone().without_autodiff(),
            self.encoder.val().without_autodiff(),
            self.b_enc.as_ref().map(constant),
        );
        match self.config.rescale_by_decoder_norm {
            true => h * self.decoder_norms().without_autodiff().unsqueeze(),
            false => h,
        }
    }

    pub(crate) fn prepare(&self, x: Tensor<2>) -> Result<Encoded> {
        check_width("x", &x, self.config.d_in)?;
        check_finite("x", &x)?;
        let d = self.config.d_in as f64;
        let (x, scaling) = match self.config.normalization {
            Normalization::None => (x, None),
            Normalization::ConstantNorm => {
                let norm = x.clone().square().sum_dim(1).sqrt();
                let scale = norm / d.sqrt();
                (x / scale.clone(), Some(Scaling { mean: None, scale }))
            }
            Normalization::LayerNorm => {
                let mean = x.clone().mean_dim(1);
                let centred = x - mean.clone();
                let variance = centred.clone().square().sum_dim(1) / (d - 1.0);
                let scale = variance.sqrt();
                // The constant belongs to the division alone, not to its undoing.
                let x = centred / (scale.clone() + 1e-5);
                let mean = Some(mean);
                (x, Some(Scaling { mean, scale }))
            }
        };
        let input = match self.config.subtract_decoder_bias {
            true => x - self.b_dec.val().unsqueeze(),
            false => x,
        };
        Ok(Encoded { input, scaling })
    }

    pub(crate) fn activate(&self, encoded: Encoded) -> Codes {
        let Encoded { input, scaling } = encoded;
        let latents = match self.config.activation {
            Activation::Relu => Latents::Dense(relu(self.linear(input))),
            Activation::Identity => Latents::Dense(self.linear(input)),
            Activation::Gated => Latents::Dense(self.gated(input).0),
            Activation::JumpRelu { bandwidth, .. } => {
                let h = self.linear(input);
                Latents::Dense(match self.thresholds() {
                    Some(theta) => straight_through::jump(h, theta, bandwidth),
                    None => relu(h),
                })
            }
            Activation::TopK { .. }
            | Activation::BatchTopK { .. }
            | Activation::GroupMax { .. } => {
                let pattern = self.select(&self.scores(&input));
                self.kept(input, pattern)
            }
        };
        Codes { latents, scaling }
    }

    /// The places that the variant keeps, by the pre-activations of all latents.
    pub(crate) fn select(&self, scores: &Tensor<2>) -> Pattern {
        let [rows, width] = scores.dims();
        match self.config.activation {
            Activation::BatchTopK { k } => Pattern::topk_of_all(scores, k * rows),
            Activation::GroupMax { k } => {
                let group = width / k;
                let by_group = scores.clone().reshape([rows * k, group]);
                let best = Pattern::topk(&by_group, 1);
                let columns = best.columns().iter().enumerate();
                let columns = columns.map(|(place, &at)| (place % k * group) as u32 + at);
                let starts = (0..=rows).map(|row| row * k).collect();
                Pattern::new(width, starts, columns.collect())
            }
            _ => Pattern::topk(scores, self.config.activation.k().unwrap_or(width)),
        }
    }

    /// The activations at the kept places; only these are computed with a gradient.
    pub(crate) fn kept(&self, input: Tensor<2>, pattern: Pattern) -> Latents {
        let h = self.sampled(input, &pattern);
        let values = match self.config.activation {
            Activation::TopK {
                leaky_gradient: true,
                ..
            } => h.clone() + (relu(h.clone()) - h).detach(),
            _ => relu(h),
        };
        Latents::Sparse { values, pattern }
    }

    /// h at the places of `pattern` `[entries]`, with its gradient.
    pub(crate) fn sampled(&self, input: Tensor<2>, pattern: &Pattern) -> Tensor<1> {
        let columns = pattern.column_indices(&input.device());
        let dots = sampled_dot(input, self.encoder.val(), pattern);
        let h = match &self.b_enc {
            Some(bias) => dots + bias.val().select(0, columns.clone()),
            None => dots,
        };
        match self.config.rescale_by_decoder_norm {
            true => h * self.decoder_norms().select(0, columns),
            false => h,
        }
    }

    fn encode_above(&self, encoded: Encoded, threshold: f32) -> Codes {
        let Encoded { input, scaling } = encoded;
        let pattern = Pattern::above(&self.scores(&input), threshold);
        let latents = self.kept(input, pattern);
        Codes { latents, scaling }
    }

    /// Latents and gate activations max(π, 0) of a gated autoencoder `[rows, d_sae]`.
    pub(crate) fn gated(&self, input: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let shared = linear_transposed(input, self.encoder.val(), None);
        let Some(gate) = &self.gate else {
            let z = relu(shared);
            return (z.clone(), z);
        };
        let pi = shared.clone() + gate.b_gate.val().unsqueeze();
        let magnitude = shared * gate.r_mag.val().exp().unsqueeze() + gate.b_mag.val().unsqueeze();
        let open = pi.clone().greater_elem(0.0).float();
        (open * relu(magnitude), relu(pi))
    }

    /// Decodes codes of the right width; `x` is the input as it came, for a skip connection.
    pub(crate) fn decode_unchecked(&self, codes: &Codes, x: Option<Tensor<2>>) -> Tensor<2> {
        let sum = self.dictionary_sum(&codes.latents, self.decoder.val());
        let mut out = sum + self.b_dec.val().unsqueeze();
        if let (Some(skip), Some(x)) = (&self.skip, x) {
            out = out + linear_transposed(x, skip.val(), None);
        }
        self.undo(out, codes.scaling.as_ref())
    }

    /// z W_dec, without bias.
    pub(crate) fn dictionary_sum(&self, latents: &Latents, decoder: Tensor<2>) -> Tensor<2> {
        let rescale = self.config.rescale_by_decoder_norm;
        match latents {
            Latents::Dense(z) if rescale => {
                linear(z.clone() / self.decoder_norms().unsqueeze(), decoder, None)
            }
            Latents::Dense(z) => linear(z.clone(), decoder, None),
            Latents::Sparse { values, pattern } => {
                let mut values = values.clone();
                if rescale {
                    let columns = pattern.column_indices(&values.device());
                    values = values / self.decoder_norms().select(0, columns);
                }
                weighted_rows(values, decoder, pattern)
            }
        }
    }

    pub(crate) fn undo(&self, out: Tensor<2>, scaling: Option<&Scaling>) -> Tensor<2> {
        let Some(Scaling { mean, scale }) = scaling else {
            return out;
        };
        let out = out * scale.clone();
        match mean {
            Some(mean) => out + mean.clone(),
            None => out,
        }
    }
}

/// One NaN would make every latent of its row look active.
pub(crate) fn check_finite(what: &str, x: &Tensor<2>) -> Result<()> {
    // 0 times a number is 0, times NaN or an infinity NaN.
    let sum = (x.clone().without_autodiff() * 0.0).sum().into_data();
    let sum = sum.convert::<f32>();
    match sum.as_slice::<f32>() {
        Ok([sum]) if sum.is_finite() => Ok(()),
        _ => Err(Error::input(
            what,
            "NaN or infinite",
            "activations must be finite",
        )),
    }
}

pub(crate) fn check_width(what: &str, x: &Tensor<2>, width: usize) -> Result<()> {
    let [rows, found] = x.dims();
    if rows == 0 {
        return Err(Error::input(
            format!("rows of {what}"),
            0,
            "must be at least 1",
        ));
    }
    if found != width {
        return Err(Error::input(
            format!("width of {what}"),
            found,
            format!("must be {width}, as in the configuration"),
        ));
    }
    Ok(())
}
