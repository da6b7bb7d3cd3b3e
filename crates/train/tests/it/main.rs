//! Training end to end on a small regression.
#![allow(
    missing_docs,
    clippy::new_without_default,
    clippy::unwrap_used,
    reason = "a test's helpers"
)]

mod adam;
mod adamw;
mod learner;
mod resume;
mod signum;
mod supervised;

use burn::module::Module;
use burn::nn::{
    Linear, LinearConfig,
    loss::{MseLoss, Reduction},
};
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::Seed;
use menagerie_train::{Sampler, Scalars};
use rand::RngExt;

/// A linear regression with a known solution.
#[derive(Module, Debug)]
pub struct Regression {
    linear: Linear,
}

#[derive(Clone, Debug)]
pub struct Pairs {
    inputs: Tensor<2>,
    targets: Tensor<2>,
}

impl Regression {
    pub fn new(device: &Device) -> Self {
        let linear = LinearConfig::new(3, 1).init(device);
        let weight = Tensor::from_floats([[0.1], [0.2], [0.3]], device).require_grad();
        Self {
            linear: Linear {
                weight: burn::module::Param::initialized(linear.weight.id, weight),
                bias: linear
                    .bias
                    .map(|bias| bias.map(|bias| bias.zeros_like().require_grad())),
            },
        }
    }

    fn loss(&self, pairs: &Pairs) -> Tensor<1> {
        let outputs = self.linear.forward(pairs.inputs.clone());
        MseLoss::new().forward(outputs, pairs.targets.clone(), Reduction::Mean)
    }

    pub fn weights(&self) -> Vec<f32> {
        self.linear.weight.val().into_data().try_to_vec().unwrap()
    }
}

impl TrainStep for Regression {
    type Input = Pairs;
    type Output = Scalars;
    fn step(&self, pairs: Pairs) -> TrainOutput<Scalars> {
        let loss = self.loss(&pairs);
        let scalars = Scalars::new().with("loss", loss.clone());
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for Regression {
    type Input = Pairs;
    type Output = Scalars;
    fn step(&self, pairs: Pairs) -> Scalars {
        Scalars::new().with("loss", self.loss(&pairs))
    }
}

/// 64 examples of `y = x · [1, -2, 0.5] + 3`.
pub struct Data {
    inputs: Vec<f32>,
    targets: Vec<f32>,
}

impl Data {
    pub fn new() -> Self {
        let mut rng = Seed(3).rng();
        let inputs: Vec<f32> = (0..64 * 3).map(|_| rng.random_range(-1.0..1.0)).collect();
        let targets = inputs
            .chunks(3)
            .map(|x| x[0] - 2.0 * x[1] + 0.5 * x[2] + 3.0)
            .collect();
        Self { inputs, targets }
    }

    pub fn pairs(&self, indices: &[usize], device: &Device) -> Pairs {
        let inputs: Vec<f32> = indices
            .iter()
            .flat_map(|&i| self.inputs[3 * i..3 * i + 3].to_vec())
            .collect();
        let targets: Vec<f32> = indices.iter().map(|&i| self.targets[i]).collect();
        let n = indices.len();
        Pairs {
            inputs: Tensor::from_data(TensorData::new(inputs, [n, 3]), device),
            targets: Tensor::from_data(TensorData::new(targets, [n, 1]), device),
        }
    }

    pub fn sampler(&self, batch: usize) -> Sampler {
        Sampler::shuffled(64, batch, Seed(9)).unwrap()
    }
}
