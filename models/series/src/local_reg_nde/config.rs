//! Sizes of the models, what is regularised, and how they are trained.

use super::layers::Precision;
use burn::config::Config;
use menagerie_core::{Error, Result};
use menagerie_nn::ode::{Estimate, Sosri, Tolerance, Tsit5};

fn at_least_one(config: &'static str, sizes: &[(&str, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((field, _)) => Err(Error::config(config, *field, 0, "must be at least 1")),
        None => Ok(()),
    }
}

/// The solver of a model: its tolerance, absolute and relative, and its most steps.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct SolverConfig {
    /// Absolute and relative tolerance.
    pub tolerance: f64,
    /// Steps that are attempted at most.
    #[config(default = 100_000)]
    pub max_steps: usize,
}

impl SolverConfig {
    const NAME: &str = "SolverConfig";

    /// Refuses a tolerance that is not above 0, and no steps.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !(self.tolerance.is_finite() && self.tolerance > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "tolerance", self.tolerance, rule));
        }
        at_least_one(Self::NAME, &[("max_steps", self.max_steps)])
    }

    pub(crate) fn tsit5(&self) -> Tsit5 {
        Tsit5::new(Tolerance::both(self.tolerance)).with_max_steps(self.max_steps)
    }

    pub(crate) fn sosri(&self) -> Sosri {
        Sosri::new(Tolerance::both(self.tolerance)).with_max_steps(self.max_steps)
    }
}

/// A neural ODE between a flat image and a linear classifier, on the times from 0 to 1.
#[derive(Config, Debug, PartialEq)]
pub struct NodeConfig {
    /// Pixels, and size of the state.
    pub inputs: usize,
    /// Units of a hidden layer.
    pub hidden: usize,
    /// Classes.
    #[config(default = 10)]
    pub classes: usize,
    /// Hidden layers of the dynamics.
    #[config(default = 1)]
    pub layers: usize,
    /// The solver.
    pub solver: SolverConfig,
    /// How parameters and states are kept.
    #[config(default = "Precision::Double")]
    pub precision: Precision,
}

impl NodeConfig {
    const NAME: &str = "NodeConfig";

    /// The paper's for MNIST: 784 pixels, 100 hidden units, a tolerance of 1.4e-8. In double
    /// precision, where the authors computed in single precision; there such a tolerance measures
    /// rounding.
    pub fn mnist() -> Self {
        Self::new(784, 100, SolverConfig::new(1.4e-8))
    }

    /// Digits of 8²: 64 pixels, 50 hidden units, a tolerance of 1e-6.
    pub fn digits() -> Self {
        Self::new(64, 50, SolverConfig::new(1e-6))
    }

    /// Refuses sizes of 0 and an invalid solver.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("inputs", self.inputs),
            ("hidden", self.hidden),
            ("classes", self.classes),
            ("layers", self.layers),
        ];
        at_least_one(Self::NAME, &sizes)?;
        self.solver.validate()
    }
}

/// A neural SDE of a small state between linear layers, on the times from 0 to 1: drift with one
/// hidden layer of tangents, linear diffusion, both without time, noise for every element alone.
#[derive(Config, Debug, PartialEq)]
pub struct NsdeConfig {
    /// Pixels.
    pub inputs: usize,
    /// Size of the state.
    pub state: usize,
    /// Hidden units of the drift.
    pub hidden: usize,
    /// Classes.
    #[config(default = 10)]
    pub classes: usize,
    /// The solver.
    pub solver: SolverConfig,
    /// How parameters and states are kept.
    #[config(default = "Precision::Single")]
    pub precision: Precision,
}

impl NsdeConfig {
    const NAME: &str = "NsdeConfig";

    /// The paper's for MNIST: a state of 32, 64 hidden units, a tolerance of 0.14.
    pub fn mnist() -> Self {
        Self::new(784, 32, 64, SolverConfig::new(0.14))
    }

    /// Refuses sizes of 0 and an invalid solver.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("inputs", self.inputs),
            ("state", self.state),
            ("hidden", self.hidden),
            ("classes", self.classes),
        ];
        at_least_one(Self::NAME, &sizes)?;
        self.solver.validate()
    }
}

/// A neural ODE of convolutions, the time as a further channel before each of them.
#[derive(Config, Debug, PartialEq)]
pub struct ConvNodeConfig {
    /// Channels of the images.
    #[config(default = 3)]
    pub channels: usize,
    /// Side of the images.
    pub image: usize,
    /// Channels of the state: those of the image and some that a convolution adds.
    #[config(default = 8)]
    pub state: usize,
    /// Channels of the hidden layers.
    #[config(default = 64)]
    pub hidden: usize,
    /// Classes.
    #[config(default = 10)]
    pub classes: usize,
    /// The solver.
    pub solver: SolverConfig,
    /// How parameters and states are kept.
    #[config(default = "Precision::Single")]
    pub precision: Precision,
}

impl ConvNodeConfig {
    const NAME: &str = "ConvNodeConfig";

    /// The paper's for CIFAR-10: a state of 8 channels, 64 hidden ones, a tolerance of 1e-4.
    pub fn cifar10() -> Self {
        Self::new(32, SolverConfig::new(1e-4))
    }

    /// Refuses sizes of 0, a state without channels of its own, and an invalid solver.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("channels", self.channels),
            ("image", self.image),
            ("hidden", self.hidden),
            ("classes", self.classes),
        ];
        at_least_one(Self::NAME, &sizes)?;
        if self.state <= self.channels {
            let rule = format!("must be above the image's {} channels", self.channels);
            return Err(Error::config(Self::NAME, "state", self.state, rule));
        }
        self.solver.validate()
    }
}

/// A latent ODE: a recurrent encoder of an irregular series with missing values, a normal
/// distribution of a first state, its dynamics, and a linear decoder at every time.
#[derive(Config, Debug, PartialEq)]
pub struct LatentOdeConfig {
    /// Variables of the series.
    pub variables: usize,
    /// Size of the encoder's mean, and of its standard deviation.
    pub latent: usize,
    /// Hidden units of the encoder's gates and of the dynamics.
    pub hidden: usize,
    /// Size of the state of the ODE.
    pub node: usize,
    /// Dense layers of the dynamics, an even number: to hidden units and back, again and again.
    #[config(default = 8)]
    pub layers: usize,
    /// Standard deviation of the observations, σ.
    #[config(default = 0.01)]
    pub sigma: f64,
    /// The solver.
    pub solver: SolverConfig,
    /// How parameters and states are kept.
    #[config(default = "Precision::Single")]
    pub precision: Precision,
}

impl LatentOdeConfig {
    const NAME: &str = "LatentOdeConfig";

    /// The paper's for PhysioNet 2012: 37 variables, an encoder of 50, 40 hidden units, a state of 20,
    /// a tolerance of 1.4e-8, in double precision (the authors computed in single precision).
    pub fn physionet() -> Self {
        let solver = SolverConfig::new(1.4e-8);
        Self::new(37, 50, 40, 20, solver).with_precision(Precision::Double)
    }

    /// Refuses sizes of 0, an odd number of layers, a σ that is not above 0, and an invalid solver.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("variables", self.variables),
            ("latent", self.latent),
            ("hidden", self.hidden),
            ("node", self.node),
            ("layers", self.layers),
        ];
        at_least_one(Self::NAME, &sizes)?;
        if !self.layers.is_multiple_of(2) {
            let rule = "must be even: the dynamics end at the size of the state";
            return Err(Error::config(Self::NAME, "layers", self.layers, rule));
        }
        if !(self.sigma.is_finite() && self.sigma > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "sigma", self.sigma, rule));
        }
        self.solver.validate()
    }
}

/// What of the solver's work is made small.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Scope {
    /// Nothing.
    Vanilla,
    /// An estimate of one step from a random time (this paper).
    Local,
    /// An estimate of all steps, differentiated through the solver (its predecessor: ERNODE, SRNODE).
    Global,
}

/// What is estimated of a step.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Kind {
    /// Scaled error times length.
    Error,
    /// Stiffness. Of all steps, the largest counts.
    Stiffness,
}

impl Kind {
    /// The estimate of a local step; the authors' code adds single precision's epsilon to what
    /// stiffness is divided by.
    pub fn local(self) -> Estimate {
        self.estimate(f64::from(f32::EPSILON))
    }

    /// The estimate of a solver's own step.
    pub fn global(self) -> Estimate {
        self.estimate(0.0)
    }

    fn estimate(self, floor: f64) -> Estimate {
        match self {
            Self::Error => Estimate::Error,
            Self::Stiffness => Estimate::Stiffness { floor },
        }
    }
}

/// How the time of the one step is drawn.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Sampling {
    /// Uniformly over the span.
    Unbiased,
    /// Uniformly over the times at which the solver's steps started: more often where they are short.
    Biased,
}

/// The regulariser.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct RegularizerConfig {
    /// What is made small.
    #[config(default = "Scope::Local")]
    pub scope: Scope,
    /// What is estimated.
    #[config(default = "Kind::Error")]
    pub kind: Kind,
    /// How the time is drawn, of a local regulariser.
    #[config(default = "Sampling::Unbiased")]
    pub sampling: Sampling,
    /// Whether the first slope of the local step depends on the parameters. The authors' code holds it
    /// constant; the gradient of that is thousands of times larger than that of the estimate, in
    /// another direction, because the weights of the slopes only cancel when all of them move.
    #[config(default = true)]
    pub differentiate_first_stage: bool,
    /// Whether the global error is the mean over steps rather than their sum.
    #[config(default = true)]
    pub mean: bool,
    /// Its weight at the first step, and towards the last one, between them exponential.
    #[config(default = "[1.0, 1.0]")]
    pub weight: [f64; 2],
}

impl RegularizerConfig {
    const NAME: &str = "RegularizerConfig";

    /// None.
    pub fn vanilla() -> Self {
        Self::new().with_scope(Scope::Vanilla)
    }

    /// The paper's local error for MNIST, with the gradient of the authors' code: 2.5 down to 1.
    pub fn mnist_error() -> Self {
        Self::new()
            .with_weight([2.5, 1.0])
            .with_differentiate_first_stage(false)
    }

    /// The paper's local stiffness for MNIST, with the gradient of the authors' code: 0.1.
    pub fn mnist_stiffness() -> Self {
        Self::new()
            .with_kind(Kind::Stiffness)
            .with_weight([0.1, 0.1])
            .with_differentiate_first_stage(false)
    }

    /// The paper's local error for the MNIST SDE: 1000.
    pub fn mnist_sde() -> Self {
        Self::new().with_weight([1e3, 1e3])
    }

    /// The paper's local error for PhysioNet, with the gradient of the authors' code: 100 down to 10.
    pub fn physionet() -> Self {
        Self::new()
            .with_weight([100.0, 10.0])
            .with_differentiate_first_stage(false)
    }

    /// The paper's local error for CIFAR-10, with the gradient of the authors' code: 2.5.
    pub fn cifar10() -> Self {
        Self::new()
            .with_weight([2.5, 2.5])
            .with_differentiate_first_stage(false)
    }

    /// The predecessor's mean of the error of all steps: 100 down to 10.
    pub fn global_error() -> Self {
        Self::new()
            .with_scope(Scope::Global)
            .with_weight([100.0, 10.0])
    }

    /// The predecessor's largest stiffness of all steps: 0.1.
    pub fn global_stiffness() -> Self {
        Self::new()
            .with_scope(Scope::Global)
            .with_kind(Kind::Stiffness)
            .with_weight([0.1, 0.1])
    }

    /// The weight of step `step` of `steps`.
    pub fn weight_at(&self, step: usize, steps: usize) -> f64 {
        let [start, end] = self.weight;
        if start == end {
            return start;
        }
        start * (end / start).powf(step as f64 / steps.max(1) as f64)
    }

    /// Refuses weights that are not above 0.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !self.weight.iter().all(|w| w.is_finite() && *w > 0.0) {
            let rule = "must be finite and above 0: for no regulariser, choose `Scope::Vanilla`";
            return Err(Error::config(Self::NAME, "weight", self.weight, rule));
        }
        Ok(())
    }
}

/// How gradients are taken back through a solve.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Adjoint {
    /// Through the steps that were taken.
    Discrete,
    /// By a second equation, solved backwards with the same tolerance.
    Continuous,
}

/// The optimiser.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Optimizer {
    /// Adam.
    Adam,
    /// Its variant with the largest gradient in place of the root mean square.
    AdaMax,
}

/// How the learning rate falls.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum Decay {
    /// Not at all.
    Constant,
    /// By `1 / (1 + 1e-5 · step)`.
    Inverse,
    /// Half a cosine to a thirtieth.
    Cosine,
}

/// How a model is trained.
#[derive(Config, Debug, PartialEq)]
pub struct TrainingConfig {
    /// Updates.
    pub steps: usize,
    /// Examples of a batch.
    pub batch: usize,
    /// Learning rate.
    pub rate: f64,
    /// How it falls.
    #[config(default = "Decay::Constant")]
    pub decay: Decay,
    /// The optimiser.
    #[config(default = "Optimizer::Adam")]
    pub optimizer: Optimizer,
    /// How gradients are taken back, of ordinary equations.
    #[config(default = "Adjoint::Discrete")]
    pub adjoint: Adjoint,
    /// The regulariser.
    pub regularizer: RegularizerConfig,
    /// Decides batches, times and noise.
    #[config(default = 0)]
    pub seed: u64,
}

impl TrainingConfig {
    const NAME: &str = "TrainingConfig";

    /// The paper's for the MNIST ODE: 7 500 steps of 512, Adam at 1e-3, the continuous adjoint.
    pub fn mnist(regularizer: RegularizerConfig) -> Self {
        Self::new(7_500, 512, 1e-3, regularizer).with_adjoint(Adjoint::Continuous)
    }

    /// The paper's for the MNIST SDE: 4 000 steps of 512, Adam at 1e-2, falling.
    pub fn mnist_sde(regularizer: RegularizerConfig) -> Self {
        Self::new(4_000, 512, 1e-2, regularizer).with_decay(Decay::Inverse)
    }

    /// The paper's for PhysioNet: 3 000 steps of 512, AdaMax at 1e-2, falling.
    pub fn physionet(regularizer: RegularizerConfig) -> Self {
        Self::new(3_000, 512, 1e-2, regularizer)
            .with_decay(Decay::Inverse)
            .with_optimizer(Optimizer::AdaMax)
            .with_adjoint(Adjoint::Continuous)
    }

    /// The paper's for CIFAR-10: 31 250 steps of 32, Adam at 3e-3, falling to a thirtieth.
    pub fn cifar10(regularizer: RegularizerConfig) -> Self {
        Self::new(31_250, 32, 3e-3, regularizer)
            .with_decay(Decay::Cosine)
            .with_adjoint(Adjoint::Continuous)
    }

    /// The small reproduction's for digits of 8²: 300 steps of 128, Adam at 1e-2, through the steps.
    pub fn digits(regularizer: RegularizerConfig) -> Self {
        Self::new(300, 128, 1e-2, regularizer)
    }

    /// The same with as many steps of as many examples.
    #[must_use]
    pub fn with_steps_and_batch(self, steps: usize, batch: usize) -> Self {
        Self {
            steps,
            batch,
            ..self
        }
    }

    /// The learning rate of step `step`.
    pub fn rate_at(&self, step: usize) -> f64 {
        let share = step as f64 / self.steps.max(1) as f64;
        match self.decay {
            Decay::Constant => self.rate,
            Decay::Inverse => self.rate / (1.0 + 1e-5 * step as f64),
            Decay::Cosine => {
                let floor = self.rate / 30.0;
                let cosine = (std::f64::consts::PI * share.min(1.0)).cos();
                floor + (self.rate - floor) * 0.5 * (1.0 + cosine)
            }
        }
    }

    /// Refuses sizes of 0, a rate that is not above 0, an invalid regulariser, and a global one with
    /// the continuous adjoint.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        at_least_one(Self::NAME, &[("steps", self.steps), ("batch", self.batch)])?;
        if !(self.rate.is_finite() && self.rate > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "rate", self.rate, rule));
        }
        if self.regularizer.scope == Scope::Global && self.adjoint == Adjoint::Continuous {
            let rule =
                "must be `Discrete` for a global regulariser: it needs gradients of all steps";
            return Err(Error::config(Self::NAME, "adjoint", self.adjoint, rule));
        }
        self.regularizer.validate()
    }
}
