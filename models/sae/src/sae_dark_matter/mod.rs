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
mod components;
mod config;
mod cross;
mod decompose;
mod draw;
mod inject;
mod norms;
mod procedural;
mod pursuit;
mod regression;
mod rows;
mod scaling;
mod score;
mod synthetic;

pub use alignment::{Alignment, alignment, correlation};
pub use components::{ErrorComponent, error_objective, published_error_sae, vendored_objective};
pub use config::AnalysisConfig;
pub use cross::{CrossComponent, cross_component};
pub use decompose::{Decomposition, decompose};
pub use inject::{Injection, InjectionLoss, inject};
pub use norms::{Baseline, Baselines, NormTarget, error_norm_baselines, norm_predictability};
pub use procedural::{Procedural, ProceduralConfig};
pub use pursuit::{Pursuit, PursuitConfig, gradient_pursuit};
pub use regression::{LeastSquares, LeastSquaresConfig, LinearFit, least_squares};
pub use rows::{Split, gather, row_norms, squared_row_norms};
pub use scaling::{CrossWidth, PowerLaw, PowerLawConfig, cross_width, draw_power_law_start};
pub use score::{Score, normalized_error};
pub use synthetic::{Disturbance, Noise, Synthetic, draw_noise, synthetic};
