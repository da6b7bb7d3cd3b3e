//! A new autoencoder.

use super::{
    config::{Activation, Initialization, SaeConfig, Threshold},
    model::{Gate, SparseAutoencoder, row_norms},
};
use burn::{
    module::Param,
    tensor::{Device, Distribution, Tensor},
};
use menagerie_core::Result;

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
        let decoder = match self.initialization {
            Initialization::ZeroDecoder => Tensor::zeros([f, out], device),
            _ => random(out),
        };
        let tied = d == out && self.d_out.is_none();
        let encoder = match (self.initialization, tied) {
            (Initialization::ZeroDecoder, _) | (_, false) => random(d),
            _ => decoder.clone(),
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
            gate: gated.then(|| Gate {
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
    let random = |norm: f64| {
        let rows: Tensor<2> = Tensor::random(shape, Distribution::Normal(0.0, 1.0), device);
        let norms = row_norms(rows.clone()).clamp_min(1e-12);
        rows / norms.unsqueeze_dim(1) * norm
    };
    match how {
        Initialization::FixedNorm(norm) => random(norm),
        Initialization::ZeroDecoder => random(1.0),
        Initialization::KaimingUniform => {
            let bound = (6.0 / shape[1] as f64).sqrt();
            Tensor::random(shape, Distribution::Uniform(-bound, bound), device)
        }
    }
}
