//! QLAE: disentanglement by quantising each latent to a few learnable scalars.
//!
//! An autoencoder snaps every latent to the nearest value of a small scalar codebook of its own, so
//! that an image becomes a short tuple of symbols which the decoder must reuse in all combinations.
//! With an unusually strong weight decay, the cheapest such code gives each latent one factor of
//! variation of the data. [`infomec`] measures how far that went, for this and any other
//! representation.
//!
//! Hsu, Dorrell, Whittington, Wu and Finn, *Disentanglement via Latent Quantization*, NeurIPS 2023,
//! [arXiv:2305.18378](https://arxiv.org/abs/2305.18378).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_representation::qlae::QlaeConfig;
//!
//! let device = Device::default();
//! let model = QlaeConfig::small_mlp().init(&device)?;
//! let images = Tensor::zeros([2, 1, 16, 16], &device);
//!
//! let codes = model.encode(images.clone())?;
//! assert_eq!(codes.indices.dims(), [2, 10]);
//! assert_eq!(model.decode(codes.values)?.dims(), [2, 1, 16, 16]);
//!
//! // Each row of a traversal sets one latent to one of its eight values.
//! let image = images.clone().slice_dim(0, 0).squeeze_dim(0);
//! assert_eq!(model.traverse(image, 3)?.dims(), [8, 1, 16, 16]);
//! let error = model.intervene(images, 3, 8).unwrap_err();
//! assert_eq!(error.to_string(), "index is 8: latent 3 has 8 values, counted from 0");
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! Training goes through [`TrainingConfig::optimizer`] and Burn's `TrainStep`, which [`Qlae`] and
//! its [`baselines`] implement (the adversarial ones through
//! [`GanTraining`](baselines::GanTraining)).

pub mod baselines;
pub mod blocks;
mod config;
mod decoder;
mod encoder;
pub mod infomec;
mod model;
pub mod objective;
mod quantizer;
mod training;
pub mod weights;

pub use config::{
    BackboneConfig, Codebook, ConvStackConfig, DecoderConfig, DenseDecoderConfig, EncoderConfig,
    ImageDecoderConfig, LossWeights, QlaeConfig, StyleDecoderConfig,
};
pub use decoder::{Decoder, DenseDecoder, ImageDecoder, StyleDecoder};
pub use encoder::{Encoded, Encoder};
pub use model::{Codes, LatentModel, Qlae, QuantizedPass};
pub use quantizer::{Quantized, ScalarQuantizer, quantize};
pub use training::TrainingConfig;

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims. Its tables were not at hand when this was written, so its figures are
/// recalled from the abstract and secondary descriptions.
pub const SYSTEM: System = System {
    slug: "qlae",
    title: "Disentanglement via Latent Quantization",
    family: "representation",
    summary: "Disentangled codes from per-latent scalar codebooks and strong weight decay, with the InfoMEC metrics",
    paper: "arXiv:2305.18378",
    paper_url: "https://arxiv.org/abs/2305.18378",
    code_url: Some("https://github.com/kylehkhsu/latent_quantization"),
    claims: &[
        Claim {
            id: "modularity",
            text: "With strong weight decay, quantised latents are more modular than those of an autoencoder with the same decay.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "most-modular",
            text: "Of all methods compared, the recipe gives the most modular codes, without giving up reconstruction.",
            figures: &[
                Figure {
                    name: "InfoM on Shapes3D, QLAE",
                    value: 0.95,
                    verified: false,
                },
                Figure {
                    name: "InfoM on Shapes3D, β-TCVAE",
                    value: 0.99,
                    verified: false,
                },
            ],
            gate: Gate::Reported,
        },
        Claim {
            id: "both-needed",
            text: "Both ingredients are needed: quantisation without weight decay is less modular.",
            figures: &[Figure {
                name: "mean loss of InfoM without weight decay",
                value: 0.13,
                verified: false,
            }],
            gate: Gate::Decided,
        },
        Claim {
            id: "scalar-codebooks",
            text: "One scalar codebook per latent beats one codebook that all latents share.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "transfers-to-gans",
            text: "The recipe transfers to generative adversarial networks (QLInfoWGAN-GP).",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "infomec",
            text: "InfoMEC mends earlier metrics (DCI, MIG), in particular with inactive latents.",
            figures: &[],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[],
};
