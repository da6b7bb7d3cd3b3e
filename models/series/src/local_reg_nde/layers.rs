//! Linear layers in either precision, and the chain of them that forms the dynamics.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{DType, Device, Tensor, activation};

/// How parameters and states are kept.
#[derive(burn::config::Config, Debug, PartialEq, Eq, Copy)]
pub enum Precision {
    /// 32 bits, as the authors compute. Errors of steps below a tolerance of about 1e-6 are then
    /// rounding.
    Single,
    /// 64 bits.
    Double,
}

impl Precision {
    /// The type of the tensors.
    pub fn dtype(self) -> DType {
        match self {
            Self::Single => DType::F32,
            Self::Double => DType::F64,
        }
    }

    /// A drawn parameter in this precision.
    pub(crate) fn param<const D: usize>(self, drawn: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = drawn.val();
        let tracked = value.is_autodiff();
        let value = value.inner().cast(self.dtype());
        Param::from_tensor(if tracked { value.autodiff() } else { value })
    }
}

/// `x W + b`.
#[derive(Module, Debug)]
pub struct Dense {
    /// W, `[inputs, outputs]`.
    pub weight: Param<Tensor<2>>,
    /// b, `[outputs]`.
    pub bias: Param<Tensor<1>>,
}

impl Dense {
    /// Glorot's uniform weights, no bias.
    pub(crate) fn new(
        [inputs, outputs]: [usize; 2],
        precision: Precision,
        device: &Device,
    ) -> Self {
        let weight = Initializer::XavierUniform { gain: 1.0 };
        let weight = weight.init_with([inputs, outputs], Some(inputs), Some(outputs), device);
        Self {
            weight: precision.param(weight),
            bias: precision.param(Initializer::Zeros.init([outputs], device)),
        }
    }

    /// `[batch, outputs]` of `[batch, inputs]`.
    ///
    /// # Panics
    /// If x has other columns.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }

    /// Of inputs whose last one is `t` in every row, `x` being the others.
    pub(crate) fn forward_at(&self, x: Tensor<2>, t: f64) -> Tensor<2> {
        let weight = self.weight.val();
        let [inputs, outputs] = weight.dims();
        let time = weight.clone().slice([inputs - 1..inputs, 0..outputs]);
        let rest = weight.slice([0..inputs - 1, 0..outputs]);
        x.matmul(rest) + (time * t + self.bias.val().unsqueeze())
    }
}

/// Linear layers with hyperbolic tangents between them, before each of which the time is appended to
/// the features: dynamics `f(u, t)` of states `[batch, size]`.
#[derive(Module, Debug)]
pub struct TimeChain {
    /// `size + 1` to hidden.
    pub first: Dense,
    /// `hidden + 1` to hidden, if there are several hidden layers.
    pub middle: Vec<Dense>,
    /// `hidden + 1` to size.
    pub last: Dense,
}

impl TimeChain {
    /// With `count` hidden layers of `hidden` units.
    pub(crate) fn new(
        size: usize,
        hidden: usize,
        count: usize,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let dense = |inputs: usize, outputs| Dense::new([inputs + 1, outputs], precision, device);
        Self {
            first: dense(size, hidden),
            middle: (1..count).map(|_| dense(hidden, hidden)).collect(),
            last: dense(hidden, size),
        }
    }

    /// `f(u, t)`, layer by layer, with autodiff if `u` or the layers have it.
    ///
    /// # Panics
    /// If u has other columns than the chain's size.
    pub fn forward(&self, u: Tensor<2>, t: f64) -> Tensor<2> {
        let x = activation::tanh(self.first.forward_at(u, t));
        let middle = self.middle.iter();
        let x = middle.fold(x, |x, layer| activation::tanh(layer.forward_at(x, t)));
        self.last.forward_at(x, t)
    }
}
