//! A new autoencoder.

use super::{
    config::{Activation, Initialization, SaeConfig, Threshold},
    fold::edit,
    model::{Encoded, GateWeights, SparseAutoencoder, check_width, row_norms},
};
use crate::draw::unit_rows;
use burn::{
    module::Param,
    tensor::{Device, Distribution, Tensor, TensorData},
};
use menagerie_core::{Error, Result, Seed};

impl SaeConfig {
    /// An autoencoder of this configuration on `device`. The dictionary is drawn from the device's
    /// random generator; call it inside [`menagerie_train::initialise`] for a reproducible one.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<SparseAutoencoder> {
        self.validate()?;
        let (d, f, out) = (self.d_in, self.d_sae, self.output());
        let random = |width: usize| rows(self.initialization, [f, width], device);
        let tied = d == out && self.d_out.is_none();
        let (encoder, decoder) = match self.initialization {
            Initialization::ZeroDecoder => (random(d), Tensor::zeros([f, out], device)),
            Initialization::OpenAi if tied => {
                let encoder = random(d);
                (encoder.clone(), unit(encoder))
            }
            Initialization::OpenAi => (random(d), unit(random(out))),
            _ if tied => {
                let decoder = random(out);
                (decoder.clone(), decoder)
            }
            _ => {
                let decoder = random(out);
                (random(d), decoder)
            }
        };
        let vector = |value: f64, width: usize| Param::from_tensor(full(value, width, device));
        let gated = matches!(self.activation, Activation::Gated);
        Ok(SparseAutoencoder {
            encoder: Param::from_tensor(encoder),
            b_enc: (!gated).then(|| vector(0.0, f)),
            decoder: Param::from_tensor(decoder),
            b_dec: vector(0.0, out),
            threshold: match self.activation {
                Activation::JumpRelu {
                    threshold, initial, ..
                } => Some(match threshold {
                    Threshold::Plain => vector(initial, f),
                    Threshold::Log => vector(initial.ln(), f),
                }),
                _ => None,
            },
            batch_threshold: match self.activation {
                Activation::TopK { .. } | Activation::BatchTopK { .. } => {
                    Some(vector(-1.0, 1).set_require_grad(false))
                }
                _ => None,
            },
            gate: gated.then(|| GateWeights {
                r_mag: vector(0.0, f),
                b_gate: vector(0.0, f),
                b_mag: vector(0.0, f),
            }),
            skip: self
                .skip
                .then(|| Param::from_tensor(Tensor::zeros([out, d], device))),
            config: self.clone(),
        })
    }
}

fn full(value: f64, width: usize, device: &Device) -> Tensor<1> {
    Tensor::full([width], value, device)
}

fn rows(how: Initialization, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let directions = || {
        unit(Tensor::random(
            shape,
            Distribution::Normal(0.0, 1.0),
            device,
        ))
    };
    let uniform = |bound: f64| Tensor::random(shape, Distribution::Uniform(-bound, bound), device);
    match how {
        Initialization::FixedNorm(norm) => directions() * norm,
        Initialization::ZeroDecoder => directions(),
        Initialization::KaimingUniform => uniform((6.0 / shape[1] as f64).sqrt()),
        Initialization::OpenAi => uniform((1.0 / shape[1] as f64).sqrt()),
        Initialization::Identity => Tensor::eye(shape[0], device),
    }
}

fn unit(rows: Tensor<2>) -> Tensor<2> {
    let norms = row_norms(rows.clone()).clamp_min(1e-12);
    rows / norms.unsqueeze_dim(1)
}

/// Random directions of unit length `[rows, width]`, for
/// [`SparseAutoencoder::rescale_encoder`]; OpenAI draws 256.
pub fn draw_directions(rows: usize, width: usize, seed: Seed, device: &Device) -> Tensor<2> {
    let values = unit_rows(rows, width, &mut seed.rng());
    let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
    Tensor::from_data(TensorData::new(values, [rows, width]), device)
}

impl SparseAutoencoder {
    /// The encoder divided by the mean norm of what `directions` `[rows, d_in]`, which lie around
    /// b_dec, are decoded to without bias: unit vectors are then reconstructed at unit norm (the
    /// last step of OpenAI's initialisation, after b_dec was set).
    ///
    /// # Errors
    /// Directions of another width, a transcoder, a dictionary that decodes them to zeros.
    pub fn rescale_encoder(mut self, directions: Tensor<2>) -> Result<Self> {
        self.refuse_transcoder()?;
        check_width("the directions", &directions, self.config.d_in)?;
        let input = match self.config.subtract_decoder_bias {
            true => directions,
            // b_dec is not taken off: it is part of what the encoder sees.
            false => directions + self.b_dec.val().without_autodiff().unsqueeze(),
        };
        let codes = self.activate(Encoded {
            input,
            scaling: None,
        });
        let decoded = self.dictionary_sum(&codes.latents, self.decoder.val());
        let norm = row_norms(decoded.without_autodiff())
            .mean()
            .try_into_scalar::<f32>()
            .map_err(|error| Error::other("reading a norm", error))?;
        if !(norm.is_finite() && norm > 0.0) {
            let rule = "must be finite and above 0 to divide the encoder by it";
            return Err(Error::input("mean norm of the reconstructions", norm, rule));
        }
        self.encoder = edit(self.encoder, |encoder| encoder / norm);
        Ok(self)
    }
}
