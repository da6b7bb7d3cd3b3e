//! Masks from filtered noise: what is hidden has a chosen spatial spectrum, whatever the image.
//!
//! MAE hides patches by white noise. Here the noise is filtered first, and the patches with the most
//! noise stay visible: low-pass ("red") noise hides large connected areas, high-pass ("blue") noise
//! hides evenly spread patches, a band in the middle ("green") lies between and gives the best
//! representations, most of all for dense tasks. The masks are cut out of noise that is made once, so
//! that a step costs what MAE's does, and nothing is learned for them.
//!
//! Hinojosa, Liu and Ghanem, *ColorMAE: Exploring data-independent masking strategies in Masked
//! AutoEncoders*, ECCV 2024, [arXiv:2407.13036](https://arxiv.org/abs/2407.13036).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_core::Seed;
//! use menagerie_mae::{
//!     color_mae::{Color, ColorMaeConfig, ColorMasks, NoiseConfig, Sampling},
//!     mae_base::{DecoderConfig, MaeConfig, VitConfig},
//! };
//!
//! let device = Device::default();
//! // Masks for any model of 8×8 tokens: a quarter of them stays.
//! let noise = NoiseConfig::new(Color::Green).with_slices(16).with_size(32);
//! let masks = ColorMasks::new(noise.init(Seed(0))?, Sampling::PerImage, 8, 0.75)?;
//! let masking = masks.draw(2, Seed(1), &device)?;
//! assert_eq!(masking.ids_keep.dims(), [2, 16]);
//!
//! // The autoencoder is MAE's.
//! let mae = MaeConfig::new(VitConfig::new(32, 4, 96, 2, 4), DecoderConfig::new(48, 1, 4));
//! let model = ColorMaeConfig::of(mae, Color::Green).init(&device)?;
//! let (loss, pass) = model.loss(Tensor::zeros([2, 3, 32, 32], &device), &masking)?;
//! assert_eq!((loss.dims(), pass.latent.dims()), ([1], [2, 1 + 16, 96]));
//!
//! let error = NoiseConfig::new(Color::Green).with_sigmas([2.0, 0.5]).validate().unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "NoiseConfig.sigmas = [2.0, 0.5]: must be finite and above 0, the first below the second"
//! );
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! Encoder, decoder, objective and classifier are those of [`mae_base`](crate::mae_base). The filters
//! are those of the authors' project page; the deviations, the boundary and the size of the tiles are
//! not public and are settings here.

mod bank;
mod config;
mod model;
pub mod noise;
mod objective;
pub mod statistics;
mod training;
pub mod weights;

pub use bank::{Crop, NoiseBank, Window};
pub use config::{
    Boundary, Color, ColorMaeConfig, Distribution, NoiseChange, NoiseConfig, NoiseSchedule,
    NoiseSource, Sampling,
};
pub use model::RunMasks;
pub use objective::{ColorMasks, masking};
pub use training::{ColorPretrainingConfig, decays};

pub use menagerie_nn::vit::Masking;

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims, with the numbers of its tables as public summaries and the repository give
/// them.
pub const SYSTEM: System = System {
    slug: "color-mae",
    title: "ColorMAE: Exploring data-independent masking strategies in Masked AutoEncoders",
    family: "mae",
    summary: "Masked autoencoder whose masks come from filtered noise of a chosen color",
    paper: "arXiv:2407.13036",
    paper_url: "https://arxiv.org/abs/2407.13036",
    code_url: Some("https://github.com/carlosh93/ColorMAE"),
    claims: &[
        Claim {
            id: "color-controls-difficulty",
            text: "The color controls how hard the task is: red masks hide large connected areas and are reconstructed worst, blue ones are easier than random ones.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "red-connects",
            text: "Red noise hides the fewest connected areas.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "spectra",
            text: "Masks and noise have the spectrum of their color: red low, green a band, blue high frequencies.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "green-transfers",
            text: "Green masks give better representations than random ones on classification, segmentation and detection.",
            figures: &[
                Figure {
                    name: "ImageNet-1K top-1 of ViT-B after 300 epochs, random masks, %",
                    value: 82.82,
                    verified: false,
                },
                Figure {
                    name: "ImageNet-1K top-1 of ViT-B after 300 epochs, green masks, %",
                    value: 82.98,
                    verified: true,
                },
                Figure {
                    name: "ADE20K mIoU of ViT-B after 800 epochs, random masks, %",
                    value: 46.46,
                    verified: false,
                },
                Figure {
                    name: "ADE20K mIoU of ViT-B after 800 epochs, green masks, %",
                    value: 49.18,
                    verified: false,
                },
            ],
            gate: Gate::Reported,
        },
        Claim {
            id: "reconstruction-is-not-transfer",
            text: "How well a color is reconstructed does not predict how well its features transfer.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "no-cost",
            text: "Masks from noise cost no parameters and no time.",
            figures: &[],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[],
};
