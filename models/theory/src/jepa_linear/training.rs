//! Training: in single precision by any optimiser, and the full-batch descent of the theory.

use super::config::{JepaLinearConfig, TrainingConfig};
use super::dynamics::{Chain, History};
use super::model::DeepLinear;
use super::objective::{Covariances, fit_covariances, half_square};
use super::sources::Direction;
use super::weights;
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::{Result, Seed};
use menagerie_train::{Metrics, Procedure, Scalars};
use std::path::Path;

/// A batch of pairs of observations, each `[batch, dₓ]`.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// What is encoded.
    pub x: Tensor<2>,
    /// What is predicted, or whose latent is.
    pub y: Tensor<2>,
}

fn loss(model: &DeepLinear, pairs: Pairs) -> Tensor<1> {
    let predicted = model.head.forward(model.encode_unchecked(pairs.x));
    half_square(predicted, model.target(pairs.y))
}

impl TrainStep for DeepLinear {
    type Input = Pairs;
    type Output = Scalars;

    fn step(&self, pairs: Pairs) -> TrainOutput<Scalars> {
        let loss = loss(self, pairs);
        let scalars = Scalars::new().with("loss", loss.clone());
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for DeepLinear {
    type Input = Pairs;
    type Output = Scalars;

    fn step(&self, pairs: Pairs) -> Scalars {
        Scalars::new().with("loss", loss(self, pairs))
    }
}

/// The theory's training: the full batch as its covariances, from balanced weights, in double
/// precision. A step's metric is the loss; an evaluation's are the features' amplitudes `‖W̄ u‖`,
/// named `feature 0`, `feature 1` … in the order in which they were given.
#[derive(Debug)]
pub struct Descent {
    config: JepaLinearConfig,
    training: TrainingConfig,
    covariances: Covariances,
    features: Vec<Direction>,
    chain: Chain,
}

impl Descent {
    /// From the start.
    ///
    /// # Errors
    /// For invalid configurations, and covariances of another size than observations.
    pub fn new(
        config: &JepaLinearConfig,
        training: &TrainingConfig,
        covariances: Covariances,
        features: Vec<Direction>,
    ) -> Result<Self> {
        training.validate()?;
        let chain = Chain::balanced(config, training.epsilon, Seed(training.seed))?;
        let size = covariances.size()?;
        if size != config.inputs {
            let rule = format!("must be that of the covariances, {size}");
            let (name, inputs) = ("JepaLinearConfig", config.inputs);
            return Err(menagerie_core::Error::config(name, "inputs", inputs, rule));
        }
        Ok(Self {
            config: config.clone(),
            training: training.clone(),
            covariances,
            features,
            chain,
        })
    }

    /// The weights as they are.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

impl Procedure for Descent {
    fn step(&mut self, _: usize) -> Result<Scalars> {
        let loss = self.covariances.loss(&self.chain);
        let (method, h) = (self.training.method, self.training.step());
        self.chain = self.chain.clone().stepped(&self.covariances, method, h);
        Ok(Scalars::new().with_value("loss", loss))
    }

    fn evaluate(&mut self, step: usize) -> Result<Metrics> {
        let history = History {
            times: vec![step as f64 * self.training.step()],
            encoders: vec![self.chain.encoder()],
        };
        let amplitudes = history.amplitudes(&self.features)?;
        let mut metrics = Metrics::new().with("time", history.times[0]);
        for (at, values) in amplitudes.iter().enumerate() {
            metrics.insert(format!("feature {at}"), values[0]);
        }
        Ok(metrics)
    }

    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        Ok(self.chain.non_finite())
    }

    fn save(&self, folder: &Path) -> Result<()> {
        weights::save_chain(&self.chain, &folder.join("weights.safetensors"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        self.chain = weights::load_chain(&self.config, &folder.join("weights.safetensors"))?;
        Ok(())
    }
}

/// The encoder's history on rows `x` and `y`, `[n, dₓ]`, at `looks` times of equal distance after the
/// start, by full-batch training.
///
/// # Errors
/// As [`fit_covariances`], [`Descent::new`] and [`simulate`](super::simulate).
pub fn train(
    config: &JepaLinearConfig,
    x: Tensor<2>,
    y: Tensor<2>,
    training: &TrainingConfig,
    looks: usize,
) -> Result<History> {
    let descent = Descent::new(config, training, fit_covariances(x, y)?, Vec::new())?;
    let looks = looks.max(1);
    let times: Vec<f64> = (0..=looks)
        .map(|at| training.span * at as f64 / looks as f64)
        .collect();
    let Descent {
        covariances, chain, ..
    } = descent;
    super::simulate(
        &chain,
        &covariances,
        &times,
        training.method,
        training.step(),
    )
}
