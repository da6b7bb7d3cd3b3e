//! Why predicting latents passes over noise that reconstruction learns: deep linear networks whose
//! training has a closed form.
//!
//! A deep linear encoder is trained from small weights, once to predict the latent of `y` from that
//! of `x` (JEPA, whose target carries no gradient), once to predict `y` itself (MAE). Both learn the
//! same features one after the other, but in another order: reconstruction by the covariance λ of a
//! feature, prediction of latents by its regression coefficient ρ, the more so the deeper the
//! encoder. The module simulates the matrices, integrates the paper's equations of single features,
//! and has the times at which features are learned in closed form.
//!
//! Littwin, Saremi, Advani, Thilak, Nakkiran, Huang and Susskind, *How JEPA Avoids Noisy Features:
//! The Implicit Bias of Deep Linear Self Distillation Networks*, NeurIPS 2024,
//! [arXiv:2407.03475](https://arxiv.org/abs/2407.03475).
//!
//! ```
//! use menagerie_theory::jepa_linear::{DynamicsConfig, Feature, Kind, critical_time};
//!
//! // Much covariance, much noise; and less covariance with little noise.
//! let (noisy, clean) = (Feature::new(1.2, 0.6)?, Feature::new(1.0, 0.9)?);
//! let half = |kind, feature| critical_time(&DynamicsConfig::deep(kind), feature, 0.5);
//!
//! assert!(half(Kind::Mae, noisy)? < half(Kind::Mae, clean)?);
//! assert!(half(Kind::Jepa, clean)? < half(Kind::Jepa, noisy)?);
//!
//! let error = Feature::new(-1.0, 0.9).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "lambda is -1.0: must be finite and above 0: such a feature is never learned"
//! );
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! Times are those of the gradient flow of the weights; the paper's equations leave out a factor L,
//! so that its times are L times ours. Everything but [`DeepLinear`] computes on the host in double
//! precision: near its start the flow is so slow that single precision stalls.

mod config;
mod dynamics;
mod matrix;
mod model;
pub mod objective;
mod sources;
mod theory;
mod training;
pub mod weights;

pub use config::{DynamicsConfig, JepaLinearConfig, Kind, Method, TrainingConfig};
pub use dynamics::{Chain, History, learning_order, simulate};
pub use matrix::Matrix;
pub use model::DeepLinear;
pub use objective::{Covariances, fit_covariances};
pub use sources::{Direction, Feature, Source, draw_pairs, draw_rotation};
pub use theory::{
    amplitude_at, critical_time, fixed_point, integrate, leading_time, trajectory, velocity,
};
pub use training::{Descent, Pairs, train};

use menagerie_core::{Claim, Gate, System};

/// What the paper claims. Its figures give no numbers that were at hand.
pub const SYSTEM: System = System {
    slug: "jepa-linear",
    title: "How JEPA Avoids Noisy Features: The Implicit Bias of Deep Linear Self Distillation Networks",
    family: "theory",
    summary: "Deep linear JEPA and MAE: simulated, in closed form, and in which order they learn features",
    paper: "arXiv:2407.03475",
    paper_url: "https://arxiv.org/abs/2407.03475",
    code_url: None,
    claims: &[
        Claim {
            id: "tractable",
            text: "Both methods learn features step by step, along trajectories that are known in closed form.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "covariance",
            text: "Reconstruction learns features of large covariance first, whatever their regression coefficient.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "regression",
            text: "Prediction of latents favours large regression coefficients in deep encoders, and has no such bias with a single layer.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "disjoint",
            text: "There are distributions of which the two methods have learned disjoint sets of features at some time.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "samples",
            text: "In static and dynamic linear models, prediction of latents learns noisy features late, from samples as well.",
            figures: &[],
            gate: Gate::Decided,
        },
    ],
    hub_ids: &[],
};
