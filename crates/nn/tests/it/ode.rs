//! Solvers against closed forms, their orders, their gradients against plain backpropagation, and
//! what they refuse.

mod gradients;
mod refusals;
mod sde;
mod solve;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, activation};

/// `tanh(u W t + ...)`: dynamics `[batch, n]` with a weight and a bias, in double precision.
#[derive(Module, Debug)]
pub(crate) struct Swirl {
    pub weight: Param<Tensor<2>>,
    pub bias: Param<Tensor<1>>,
}

impl Swirl {
    pub(crate) fn new(size: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(super::tensor(3, [size, size], device, DType::F64)),
            bias: Param::from_tensor(super::tensor(4, [size], device, DType::F64)),
        }
    }

    pub(crate) fn forward(&self, u: Tensor<2>, t: f64) -> Tensor<2> {
        let x = u.matmul(self.weight.val()) * (1.0 + t) + self.bias.val().unsqueeze();
        activation::tanh(x) * 2.0
    }
}

pub(crate) fn device() -> Device {
    Device::default()
}

pub(crate) fn state(rows: usize, size: usize, device: &Device) -> Tensor<2> {
    super::tensor(9, [rows, size], device, DType::F64)
}

pub(crate) fn largest<const D: usize>(x: Tensor<D>) -> f64 {
    super::values(x)
        .into_iter()
        .fold(0.0, |most, x| most.max(x.abs()))
}

/// How far apart two tensors are, beside the largest value of the second.
pub(crate) fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f64 {
    largest(a.inner() - b.clone().inner()) / largest(b).max(1e-300)
}

pub(crate) fn text<T>(result: menagerie_core::Result<T>) -> String {
    match result {
        Ok(_) => panic!("nothing was refused"),
        Err(error) => error.to_string(),
    }
}
