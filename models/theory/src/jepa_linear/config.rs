//! Networks, their dynamics, and how they are trained.

use burn::config::Config;
use menagerie_core::{Error, Result};

/// What a network predicts.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Kind {
    /// The latent of `y`, which carries no gradient, by the same encoder.
    Jepa,
    /// `y` itself.
    Mae,
}

/// A deep linear encoder and its head, without biases.
#[derive(Config, Debug, PartialEq)]
pub struct JepaLinearConfig {
    /// What is predicted.
    pub kind: Kind,
    /// Numbers in an observation, dₓ.
    pub inputs: usize,
    /// Numbers in a latent, and width of all hidden layers, d_z.
    pub width: usize,
    /// Layers of the encoder, L.
    pub layers: usize,
}

impl JepaLinearConfig {
    /// Square layers of `width` numbers, as in the theory.
    pub fn square(kind: Kind, width: usize, layers: usize) -> Self {
        Self::new(kind, width, width, layers)
    }

    /// Numbers that the head predicts: d_z for JEPA, dₓ for MAE.
    pub fn outputs(&self) -> usize {
        match self.kind {
            Kind::Jepa => self.width,
            Kind::Mae => self.inputs,
        }
    }

    /// `[outputs, inputs]` of every layer of the encoder, then of the head.
    pub(crate) fn shapes(&self) -> Vec<[usize; 2]> {
        let inputs = |at: usize| if at == 0 { self.inputs } else { self.width };
        let layers = (0..self.layers).map(|at| [self.width, inputs(at)]);
        layers.chain([[self.outputs(), self.width]]).collect()
    }

    /// Refuses sizes of 0.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("inputs", self.inputs),
            ("width", self.width),
            ("layers", self.layers),
        ];
        match sizes.iter().find(|(_, size)| *size == 0) {
            Some((field, _)) => {
                let rule = "must be at least 1";
                Err(Error::config("JepaLinearConfig", *field, 0, rule))
            }
            None => Ok(()),
        }
    }
}

/// The gradient flow of the theory: from `W̄(0) = ε I`, every layer and the head of the same
/// amplitude `ε^{1/L}`.
#[derive(Config, Debug, PartialEq)]
pub struct DynamicsConfig {
    /// What is predicted.
    pub kind: Kind,
    /// Layers of the encoder, L.
    pub layers: usize,
    /// Amplitude of all features at the start, ε.
    pub epsilon: f64,
}

impl DynamicsConfig {
    const NAME: &str = "DynamicsConfig";

    /// One layer from ε = 0.1, which has no bias towards regression coefficients.
    pub fn single(kind: Kind) -> Self {
        Self::new(kind, 1, 0.1)
    }

    /// Three layers from ε = 0.01.
    pub fn deep(kind: Kind) -> Self {
        Self::new(kind, 3, 0.01)
    }

    /// Refuses no layers and an ε that is not between 0 and 1.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.layers == 0 {
            return Err(Error::config(Self::NAME, "layers", 0, "must be at least 1"));
        }
        small(Self::NAME, self.epsilon)
    }
}

fn small(name: &'static str, epsilon: f64) -> Result<()> {
    if epsilon > 0.0 && epsilon < 1.0 {
        return Ok(());
    }
    let rule = "must lie between 0 and 1";
    Err(Error::config(name, "epsilon", epsilon, rule))
}

/// How a step in time is made.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Method {
    /// Gradient descent: one gradient a step.
    Descent,
    /// The classical method of Runge and Kutta, of fourth order: four gradients a step.
    RungeKutta,
}

/// Full-batch training from small aligned weights.
#[derive(Config, Debug, PartialEq)]
pub struct TrainingConfig {
    /// Gradient-flow time at the end. JEPA takes about `ε^{-(2L-1)/L} / ((2L-1) λ)`, MAE about
    /// `ε^{-(L-1)/L} / ((L-1) λ)`.
    pub span: f64,
    /// Amplitude of all features at the start, ε.
    #[config(default = 0.01)]
    pub epsilon: f64,
    /// Steps in the span.
    #[config(default = 4000)]
    pub steps: usize,
    /// How a step is made.
    #[config(default = "Method::RungeKutta")]
    pub method: Method,
    /// Decides the orthogonal matrices that the weights start from.
    #[config(default = 0)]
    pub seed: u64,
}

impl TrainingConfig {
    const NAME: &str = "TrainingConfig";

    /// The time of a step; the learning rate of gradient descent.
    pub fn step(&self) -> f64 {
        self.span / self.steps as f64
    }

    /// Refuses a span that is not above 0, an ε that is not between 0 and 1, and steps that are longer
    /// than a thousandth of the span.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !(self.span.is_finite() && self.span > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "span", self.span, rule));
        }
        small(Self::NAME, self.epsilon)?;
        if self.steps < 1_000 {
            let rule = "must be at least 1000, for steps of a thousandth of the span";
            return Err(Error::config(Self::NAME, "steps", self.steps, rule));
        }
        Ok(())
    }
}
