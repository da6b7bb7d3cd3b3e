//! g-SAE: TopK that prefers latents which move the model's loss.
//!
//! An ordinary autoencoder keeps the latents that are largest, blind to what the model does with
//! them. g-SAE multiplies each pre-activation by 1 + β |⟨W_dec,i, g⟩| before the selection, where g
//! is the gradient of the model's loss at the activation, so that small but influential latents are
//! kept; the kept activations themselves, and everything that is trained, stay those of TopK.
//!
//! Olmo, Wilson, Forsey, Hepner, Howe and Wingate, *Features that Make a Difference: Leveraging
//! Gradients for Improved Dictionary Learning*, Findings of NAACL 2025,
//! [arXiv:2411.10397](https://arxiv.org/abs/2411.10397). No code was published and the full text
//! was not at hand: the selection rule is the paper's, sizes and objective follow the TopK recipe
//! that it builds on.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use menagerie_sae::gradient_sae::GradientSaeConfig;
//!
//! let device = Device::default();
//! let sae = GradientSaeConfig::new(16, 64, 4).with_beta(2.0).init(&device)?;
//! let x = Tensor::random([10, 16], Distribution::Normal(0.0, 1.0), &device);
//! let g = Tensor::random([10, 16], Distribution::Normal(0.0, 1.0), &device);
//!
//! let codes = sae.encode(x.clone(), g)?;
//! assert_eq!(sae.decode(&codes)?.dims(), [10, 16]);
//! // Without a gradient, as where no next token is known: plain TopK with the learned weights.
//! assert_eq!(sae.encode_plain(x)?.to_dense().dims(), [10, 64]);
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! # Where the claim holds
//! In a character model with 64 numbers a token (`cargo xtask reproduce gradient-sae`) the host loses
//! less with β = 1 than with TopK at k = 4 and 8, and more at k = 2. There the dictionary is the
//! better one as well, if the k largest latents are taken; it is the selection that costs. With two
//! latents a token the largest carries most of the activation, and a latent that trades it for a
//! steeper one moves the reconstruction further than the first-order estimate ⟨W_dec,i, g⟩ sees:
//! more of the variance is left unexplained than by the k largest of the same dictionary. On a host
//! with embeddings from N(0, 1) in place of N(0, 0.02²) the picture is the same (k = 2: 1.13 against
//! 0.98 nats; k = 4: 0.44 against 0.53), and dead latents are fewer at k = 4 only.

mod config;
mod model;
mod objective;
pub mod procedural;
mod training;
pub mod weights;

pub use config::{GradientSaeConfig, GradientScale};
pub use model::GradientSae;
pub use objective::{attribution, scores, standardise};
pub use training::{GradientSaeTrainer, GradientSaeTrainingConfig, logit_change};

use menagerie_core::{Claim, Gate, System};

/// What the paper claims in its abstract; its tables were not at hand.
pub const SYSTEM: System = System {
    slug: "gradient-sae",
    title: "Features that Make a Difference: Leveraging Gradients for Improved Dictionary Learning",
    family: "sae",
    summary: "Sparse autoencoders whose TopK prefers latents that move the model's loss",
    paper: "arXiv:2411.10397",
    paper_url: "https://arxiv.org/abs/2411.10397",
    code_url: None,
    claims: &[
        Claim {
            id: "faithful",
            text: "At fixed sparsity, reconstructions are more faithful to the model's performance than TopK's.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "fewer-dead",
            text: "Fewer latents die.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "mechanism",
            text: "Features that are small but that the model reads are kept in place of larger ones that it does not read.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "steering",
            text: "Latents are more effective, on average, at steering the model.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "without-gradient",
            text: "The advantage lies in the learned dictionary, not only in knowing the next token at test time.",
            figures: &[],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[],
};
