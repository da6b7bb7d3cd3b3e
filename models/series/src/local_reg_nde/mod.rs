//! Neural differential equations that learn to need fewer steps.
//!
//! A neural ODE costs as many evaluations as its adaptive solver takes steps, and training makes the
//! dynamics harder to solve. Here the solver's own estimate of its error, or of stiffness, for a single
//! step from a random time is made small along with the loss: the solve itself stays a black box, and
//! any adjoint does. The solvers are [`menagerie_nn::ode`].
//!
//! Pal, Edelman and Rackauckas, *Locally Regularized Neural Differential Equations: Some Black Boxes
//! Were Meant to Remain Closed!*, ICML 2023, [arXiv:2303.02262](https://arxiv.org/abs/2303.02262).
//!
//! | model | of | in the paper |
//! | --- | --- | --- |
//! | [`NeuralOde`] | flat images | MNIST |
//! | [`NeuralSde`] | flat images | MNIST |
//! | [`LatentOde`] | irregular series with missing values | PhysioNet 2012 |
//! | [`ConvNeuralOde`] | images | CIFAR-10 |
//!
//! What the reproduction found on digits of 8² (1 400 to train, 397 to test, tolerance 1e-6, double
//! precision, 300 steps of 128, four seeds, weights fixed before), means over seeds:
//!
//! | regulariser | weight | evaluations | beside none | accuracy, % |
//! | --- | --- | --- | --- | --- |
//! | none | | 99.0 | 1.00 | 90.7 |
//! | local error, unbiased | 3e4 | 64.5 | 0.65 | 92.2 |
//! | local error, biased | 3e4 | 63.0 | 0.64 | 92.2 |
//! | local error, continuous adjoint | 3e4 | 64.5 | 0.65 | 92.2 |
//! | local stiffness | 0.1 | 85.5 | 0.86 | 91.4 |
//! | local error, first stage constant | 1 | 109.5 | 1.11 | 90.4 |
//! | global error, sum | 1e3 | 22.5 | 0.23 | 87.8 |
//! | global stiffness | 0.1 | 90.0 | 0.91 | 90.4 |
//!
//! With the first stage held constant, as the authors' code has it, evaluations did not fall here; one
//! weight was tried, and tolerance, precision and number of steps are not the paper's. The one weight
//! of the global error that was tried costs accuracy, so the two are not compared at equal quality.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use menagerie_core::Seed;
//! use menagerie_series::local_reg_nde::{
//!     Adjoint, Labelled, Learning, NodeConfig, RegularizerConfig, SolverConfig, Trainable,
//! };
//!
//! let device = Device::default();
//! let config = NodeConfig::new(6, 4, SolverConfig::new(1e-6)).with_classes(2);
//! let model = config.init(&device.clone().autodiff())?;
//! let images = Tensor::random([5, 6], Distribution::Default, &device);
//! let prediction = model.forward(images.clone())?;
//! assert_eq!(prediction.logits.dims(), [5, 2]);
//! assert_eq!(prediction.evaluations, 3 + 6 * prediction.attempts.len());
//!
//! // One batch, with the error of a step from time 0.3.
//! let learning = Learning {
//!     regularizer: RegularizerConfig::new(),
//!     weight: 1e4,
//!     adjoint: Adjoint::Discrete,
//!     time: 0.3,
//!     step: 0,
//!     seed: Seed(0),
//! };
//! let labels = Tensor::from_ints([0, 1, 0, 1, 1], &device);
//! let learned = model.learn(&Labelled { images, labels }, &learning)?;
//! assert!(learned.numbers.get("regularizer") > Some(0.0));
//!
//! let error = NodeConfig::new(6, 4, SolverConfig::new(0.0)).init(&device).unwrap_err();
//! assert_eq!(error.to_string(), "SolverConfig.tolerance = 0.0: must be finite and above 0");
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod chain;
mod config;
mod conv;
mod latent;
mod layers;
mod model;
mod moments;
pub mod objective;
mod sde;
mod signals;
mod training;
pub mod weights;

pub use chain::{ChainField, ChainSum, Place, Slope};
pub use config::{
    Adjoint, ConvNodeConfig, Decay, Kind, LatentOdeConfig, NodeConfig, NsdeConfig, Optimizer,
    RegularizerConfig, Sampling, Scope, SolverConfig, TrainingConfig,
};
pub use conv::{BatchNorm, Conv, ConvDynamics, ConvForward, ConvNeuralOde, Statistics};
pub use latent::{
    Elbo, Encoding, Imputed, LatentDynamics, LatentGate, LatentGru, LatentOde, Series,
};
pub use layers::{Dense, Precision, TimeChain};
pub use model::{NeuralOde, Prediction};
pub use moments::Moments;
pub use objective::{Learning, Regularized};
pub use sde::{NeuralSde, RegularizedSde, SdeDynamics};
pub use signals::{Signals, SignalsConfig};
pub use training::{Fit, Labelled, LabelledRows, Learned, Numbers, Trainable};

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims. Only its abstract was at hand.
pub const SYSTEM: System = System {
    slug: "local-reg-nde",
    title: "Locally Regularized Neural Differential Equations: Some Black Boxes Were Meant to Remain Closed!",
    family: "series",
    summary: "Neural ODEs and SDEs that learn to need fewer solver steps by the error of one step at a random time",
    paper: "arXiv:2303.02262",
    paper_url: "https://arxiv.org/abs/2303.02262",
    code_url: Some("https://github.com/avik-pal/LocalRegNeuralDE.jl"),
    claims: &[
        Claim {
            id: "fewer-evaluations",
            text: "Local regularisation lowers the number of function evaluations of predictions at no loss of accuracy.",
            figures: &[
                Figure {
                    name: "evaluations beside vanilla, least",
                    value: 0.556,
                    verified: true,
                },
                Figure {
                    name: "evaluations beside vanilla, most",
                    value: 0.733,
                    verified: true,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "faster-predictions",
            text: "Predictions become faster by 1.3 to 2 times.",
            figures: &[
                Figure {
                    name: "speed-up of predictions, least",
                    value: 1.3,
                    verified: true,
                },
                Figure {
                    name: "speed-up of predictions, most",
                    value: 2.0,
                    verified: true,
                },
            ],
            gate: Gate::Reported,
        },
        Claim {
            id: "similar-to-global",
            text: "Quality is similar to that of global regularisation.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "any-sensitivity",
            text: "Local regularisation works with any sensitivity method.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "sampling",
            text: "Biased and unbiased sampling of the time trade performance against training time.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "first-stage",
            text: "The authors' code holds the first stage of the local step constant.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "latent-ode",
            text: "A latent ODE needs fewer evaluations when it is regularised.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "neural-sde",
            text: "A neural SDE needs fewer evaluations when it is regularised.",
            figures: &[],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[],
};
