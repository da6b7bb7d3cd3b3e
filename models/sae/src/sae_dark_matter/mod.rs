//! The dark matter of sparse autoencoders: how much of their error is a linear function of what
//! they read.
//!
//! A sparse autoencoder leaves part of every activation unexplained. A large share of that error
//! vector follows linearly from the activation itself; the rest does not shrink as the autoencoder
//! grows. [`decompose`] splits the error into the two, [`norm_predictability`] and [`cross_width`]
//! tell how far its size is known in advance, [`gradient_pursuit`] replaces the encoder by an
//! optimisation, and [`synthetic`] checks the interpretation on noise of known kind.
//!
//! Everything works on tensors of rows (tokens): the activations `x` and their reconstruction,
//! whichever autoencoder made it. The error is `x - Sae(x)`; the official code stores the
//! negative.
//!
//! Engels, Smith and Tegmark, *Decomposing The Dark Matter of Sparse Autoencoders*, TMLR 2025,
//! [arXiv:2410.14670](https://arxiv.org/abs/2410.14670).
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use menagerie_core::Seed;
//! use menagerie_sae::sae_dark_matter::{LeastSquaresConfig, Split, decompose};
//!
//! // A reconstruction that keeps 0.7 of x makes an error that is linear in x: 0.3 x.
//! let x = Tensor::<2>::random([40, 3], Distribution::Normal(0.0, 1.0), &Device::default());
//! let split = Split::draw(40, 25, 15, Seed(0))?;
//! let parts = decompose(x.clone(), x * 0.7, &split, &LeastSquaresConfig::new())?;
//! assert!((parts.r2 - 1.0).abs() < 1e-6);
//! assert!(parts.fvu > 0.08 && parts.fvu_nonlinear < 1e-6);
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod alignment;
mod config;
mod cross;
mod inject;
mod model;
mod norms;
mod objective;
mod procedural;
mod pursuit;
mod regression;
mod rows;
mod scaling;
mod synthetic;
mod training;
pub mod weights;

pub use alignment::{Alignment, alignment, correlation};
pub use config::AnalysisConfig;
pub use cross::{CrossComponent, cross_component};
pub use inject::{Injection, InjectionLoss, inject};
pub use model::{Decomposition, decompose};
pub use norms::{Baseline, Baselines, NormTarget, error_norm_baselines, norm_predictability};
pub use objective::{Score, normalized_error};
pub use procedural::{Procedural, ProceduralConfig};
pub use pursuit::{Pursuit, PursuitConfig, gradient_pursuit};
pub use regression::{LeastSquares, LeastSquaresConfig, LinearFit, least_squares};
pub use rows::{Split, gather, row_norms, squared_row_norms};
pub use scaling::{CrossWidth, PowerLaw, PowerLawConfig, cross_width, draw_power_law_start};
pub use synthetic::{Disturbance, Noise, Synthetic, draw_noise, synthetic};
pub use training::{
    ErrorComponent, ErrorSource, error_objective, error_training, published_error_sae,
    vendored_objective,
};

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims. Its tables were not at hand when this was written: its figures are
/// recalled from the abstract.
pub const SYSTEM: System = System {
    slug: "sae-dark-matter",
    title: "Decomposing The Dark Matter of Sparse Autoencoders",
    family: "sae",
    summary: "How much of a sparse autoencoder's error is a linear function of its input, and what the rest does",
    paper: "arXiv:2410.14670",
    paper_url: "https://arxiv.org/abs/2410.14670",
    code_url: Some("https://github.com/JoshEngels/SAE-Dark-Matter"),
    claims: &[
        Claim {
            id: "predictable-error",
            text: "A large part of the error vector, and a larger one of the variance of its squared norm, follows linearly from the activation.",
            figures: &[
                Figure {
                    name: "R² of the error vector",
                    value: 0.5,
                    verified: false,
                },
                Figure {
                    name: "R² of its squared norm",
                    value: 0.9,
                    verified: false,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "same-tokens",
            text: "The error norms of a large autoencoder are predictable from those of a small one, token by token: scaling does not change which tokens are badly reconstructed.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "constant-floor",
            text: "As the width grows, the unexplained variance falls because its linear part shrinks; the nonlinear part is almost constant.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "different-in-kind",
            text: "Nonlinear error is of another kind: autoencoders learn it worse, its norm is harder to predict, and it carries a proportional share of the damage to the model's loss.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "pursuit",
            text: "Gradient pursuit at fixed L0 reduces nonlinear error only slightly; linear maps from earlier sites' reconstructions reduce it more.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "known-parts",
            text: "Dense parts and features that are not learned yet land in the linear error, error that the autoencoder introduces in the nonlinear one.",
            figures: &[],
            gate: Gate::Decided,
        },
    ],
    hub_ids: &[],
};
