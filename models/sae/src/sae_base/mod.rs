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
//!
//! # Which variant finds the dictionary
//! Whether a variant finds the directions that activations are made of can be seen only where these
//! are known: on sums of random unit vectors whose frequencies fall as a power law
//! ([`DictionaryConfig`]). `cargo xtask reproduce sae-base` trains every variant there at the same
//! number of active latents.
//!
//! AuxK does not lower the number of dead latents there. With 128 latents for 96 features fewer than
//! ten die, with it or without. With 512 all features are found either way (mean cosine 0.99, the
//! same variance unexplained), so that the other 400 have nothing left to learn: dead latents that
//! AuxK moves towards the residual become copies of living ones and lose against them (29 % dead
//! against 19 %). What AuxK is for, latents that die while features are still missing, needs
//! activations with more features than a small dictionary can hold.

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
mod procedural;
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
pub use init::draw_directions;
pub use model::{GateWeights, SaeOutput, SparseAutoencoder};
pub use objective::{ObjectiveConfig, Prefixes, Reconstruction, SaeLoss, Situation, Sparsity};
pub use procedural::{Dictionary, DictionaryConfig};
pub use run::{SaeRun, quality_metrics};

use menagerie_core::{Claim, Figure, Gate, System};

/// What the papers behind the variants claim.
pub const SYSTEM: System = System {
    slug: "sae-base",
    title: "Scaling and evaluating sparse autoencoders, and the variants around it",
    family: "sae",
    summary: "ReLU, TopK, BatchTopK, JumpReLU, Gated and Matryoshka autoencoders, hosts, checkpoints, training",
    paper: "arXiv:2406.04093",
    paper_url: "https://arxiv.org/abs/2406.04093",
    code_url: Some("https://github.com/openai/sparse_autoencoder"),
    claims: &[
        Claim {
            id: "topk",
            text: "TopK leaves less variance unexplained than ReLU with an L1 penalty at the same number of active latents, and does not shrink them.",
            figures: &[Figure {
                name: "explained variance, GPT-2 small resid_mid 0, v5_32k, k = 32",
                value: 0.968,
                verified: false,
            }],
            gate: Gate::Decided,
        },
        Claim {
            id: "dictionary",
            text: "What TopK learns is the dictionary that the activations were made of.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "auxk",
            text: "The auxiliary loss AuxK keeps latents from dying.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "batchtopk",
            text: "BatchTopK is at least as good as TopK at the same mean number of active latents (arXiv:2412.06410).",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "gates",
            text: "Gated and JumpReLU beat ReLU with L1 as well (arXiv:2404.16014, arXiv:2407.14435).",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "matryoshka",
            text: "Nested dictionaries pay for their structure with some reconstruction (arXiv:2503.17547).",
            figures: &[],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[
        "EleutherAI/sae-pythia-160m-32k",
        "google/gemma-scope-2b-pt-res",
    ],
};
