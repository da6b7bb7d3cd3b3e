//! The network on a device, in single precision.

use super::config::JepaLinearConfig;
use super::dynamics::Chain;
use super::objective::half_square;
use super::weights;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};

/// A deep linear encoder `W̄ = W^L ⋯ W^1` and its head `V`, without biases.
#[derive(Module, Debug)]
pub struct DeepLinear {
    /// The layers, the first one applied first; the first `[dₓ, d_z]`, the others `[d_z, d_z]`, as
    /// Burn keeps them: transposed to the paper's matrices.
    pub encoder: Vec<Linear>,
    /// The predictor `[d_z, d_z]` of JEPA, or the decoder `[d_z, dₓ]` of MAE.
    pub head: Linear,
    #[module(skip)]
    config: JepaLinearConfig,
}

impl JepaLinearConfig {
    /// A network of random weights, as Burn draws them; for small aligned ones, see
    /// [`Chain::balanced`].
    ///
    /// # Errors
    /// [`Error::Config`] for sizes of 0.
    pub fn init(&self, device: &Device) -> Result<DeepLinear> {
        self.validate()?;
        let layer = |inputs, outputs| {
            LinearConfig::new(inputs, outputs)
                .with_bias(false)
                .init(device)
        };
        let inputs = |at| if at == 0 { self.inputs } else { self.width };
        Ok(DeepLinear {
            encoder: (0..self.layers)
                .map(|at| layer(inputs(at), self.width))
                .collect(),
            head: layer(self.width, self.outputs()),
            config: self.clone(),
        })
    }
}

impl DeepLinear {
    /// What the network was built from.
    pub fn config(&self) -> &JepaLinearConfig {
        &self.config
    }

    /// Latents `W̄ x`, `[batch, d_z]`, of observations `[batch, dₓ]`.
    ///
    /// # Errors
    /// [`Error::Input`] for observations of another size, or none.
    pub fn encode(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        let [rows, inputs] = x.dims();
        if rows == 0 || inputs != self.config.inputs {
            let rule = format!(
                "must be [batch, {}] with at least one row",
                self.config.inputs
            );
            return Err(Error::input("observations", x.dims(), rule));
        }
        Ok(self.encode_unchecked(x))
    }

    pub(crate) fn encode_unchecked(&self, x: Tensor<2>) -> Tensor<2> {
        self.encoder.iter().fold(x, |x, layer| layer.forward(x))
    }

    /// Predictions `V W̄ x`: of latents `[batch, d_z]`, or of observations `[batch, dₓ]`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn predict(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        Ok(self.head.forward(self.encode(x)?))
    }

    /// The loss, shape `[1]`: half of the squared length of the error, the mean over pairs of
    /// observations `x` and `y`, `[batch, dₓ]` (the paper's JEPA and MAE objectives). JEPA's target
    /// `W̄ y` carries no gradient.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and if there are not as many `y` as `x`.
    pub fn loss(&self, x: Tensor<2>, y: Tensor<2>) -> Result<Tensor<1>> {
        if x.dims() != y.dims() {
            let rule = format!("must be those of x, {:?}", x.dims());
            return Err(Error::input("the sizes of y", y.dims(), rule));
        }
        let predicted = self.predict(x)?;
        Ok(half_square(predicted, self.target(y)))
    }

    /// What is to be predicted of `y`, without gradient.
    pub(crate) fn target(&self, y: Tensor<2>) -> Tensor<2> {
        match self.config.kind {
            super::Kind::Jepa => self.encode_unchecked(y).detach(),
            super::Kind::Mae => y,
        }
    }

    /// The weights on the host.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn chain(&self) -> Result<Chain> {
        weights::to_chain(self)
    }
}
