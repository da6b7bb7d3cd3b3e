//! Sparse autoencoders: an activation x of a language model rewritten as a sparse, non-negative
//! combination of learned directions, x ≈ z W_dec + b_dec, so that single latents z can be read and
//! edited.
//!
//! One [`SparseAutoencoder`] holds every variant; [`SaeConfig`] says which:
//!
//! | variant | [`Activation`] | paper |
//! | --- | --- | --- |
//! | ReLU + L1 | [`Relu`](Activation::Relu) | Bricken et al. 2023, and Anthropic's updates of 2024 |
//! | TopK | [`TopK`](Activation::TopK) | Gao et al., [arXiv:2406.04093](https://arxiv.org/abs/2406.04093) |
//! | BatchTopK | [`BatchTopK`](Activation::BatchTopK) | Bussmann et al., [arXiv:2412.06410](https://arxiv.org/abs/2412.06410) |
//! | JumpReLU | [`JumpRelu`](Activation::JumpRelu) | Rajamanoharan et al., [arXiv:2407.14435](https://arxiv.org/abs/2407.14435) |
//! | Gated | [`Gated`](Activation::Gated) | Rajamanoharan et al., [arXiv:2404.16014](https://arxiv.org/abs/2404.16014) |
//! | Matryoshka | BatchTopK with [`Prefixes`] | Bussmann et al., [arXiv:2503.17547](https://arxiv.org/abs/2503.17547) |
//! | p-anneal | ReLU with [`PAnneal`](training::PAnneal) | Karvonen et al., [arXiv:2408.00113](https://arxiv.org/abs/2408.00113) |
//! | transcoder | any, with [`d_out`](SaeConfig::d_out) | Dunefsky et al., [arXiv:2406.11944](https://arxiv.org/abs/2406.11944) |
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use menagerie_sae::sae::{Activation, SaeConfig};
//!
//! let device = Device::default();
//! let sae = SaeConfig::new(16, 64, Activation::topk(4)).init(&device)?;
//! let x = Tensor::random([10, 16], Distribution::Normal(0.0, 1.0), &device);
//!
//! let output = sae.forward(x.clone())?;
//! assert_eq!(output.reconstruction.dims(), [10, 16]);
//! let (values, latents) = output.codes.to_sparse().unwrap();
//! assert_eq!((values.dims(), latents.dims()), ([10, 4], [10, 4]));
//!
//! let error = sae.encode(Tensor::zeros([10, 12], &device)).unwrap_err();
//! assert_eq!(error.to_string(), "width of x is 12: must be 16, as in the configuration");
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod anneal;
mod auxk;
mod codes;
mod config;
mod dead;
mod fold;
mod init;
pub mod metrics;
mod model;
pub mod objective;
mod run;
mod schedule;
pub mod straight_through;
mod terms;
pub mod training;
mod variant;
pub mod weights;

pub use auxk::{AuxK, Convention};
pub use codes::{Codes, Latents};
pub use config::{Activation, Initialization, Normalization, SaeConfig, Threshold};
pub use fold::project;
pub use model::{Gate, SaeOutput, SparseAutoencoder};
pub use objective::{ObjectiveConfig, Prefixes, Reconstruction, SaeLoss, Situation, Sparsity};
pub use run::{SaeRun, quality_metrics};
