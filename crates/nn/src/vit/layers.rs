//! Linear layers and layer normalisation as modules.

use crate::transformer;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

/// `x weight + bias` on the last axis.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`.
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`.
    pub bias: Option<Param<Tensor<1>>>,
}

/// How a [`Linear`] is built.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearConfig {
    /// Length of the last axis of the input.
    pub inputs: usize,
    /// Length of the last axis of the output.
    pub outputs: usize,
    /// Whether there is a bias; it starts at 0.
    pub bias: bool,
    /// How the weight is drawn.
    pub initializer: Initializer,
}

impl LinearConfig {
    /// With a bias, and a weight from Xavier's uniform distribution.
    pub fn new(inputs: usize, outputs: usize) -> Self {
        Self {
            inputs,
            outputs,
            bias: true,
            initializer: Initializer::XavierUniform { gain: 1.0 },
        }
    }

    /// The layer with freshly drawn weights.
    pub fn init(&self, device: &Device) -> Linear {
        let (inputs, outputs) = (self.inputs, self.outputs);
        Linear {
            weight: self.initializer.init_with(
                [inputs, outputs],
                Some(inputs),
                Some(outputs),
                device,
            ),
            bias: self
                .bias
                .then(|| Initializer::Zeros.init([outputs], device)),
        }
    }
}

impl Linear {
    /// `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Panics
    /// If the last axis is not `inputs`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        transformer::linear(x, self.weight.val(), bias)
    }
}

/// Layer normalisation of the last axis with gain and bias.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// The gain, `[size]`.
    pub weight: Param<Tensor<1>>,
    /// `[size]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// Over `size` numbers, gain 1 and bias 0.
    pub fn new(size: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([size], device),
            bias: Initializer::Zeros.init([size], device),
            epsilon,
        }
    }

    /// `[.., size]` to the same shape.
    ///
    /// # Panics
    /// If the last axis is not `size`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        transformer::layer_norm(x, self.weight.val(), self.bias.val(), self.epsilon)
    }
}
