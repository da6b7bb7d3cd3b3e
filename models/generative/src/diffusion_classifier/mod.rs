//! A frozen diffusion U-Net as a feature extractor for classification.
//!
//! An unconditional diffusion model is trained to see what noise was added to an image. Its network
//! is then used as it is: noise an image to step t, run the network once, take the activation after
//! block b, pool it, and train a light head on it. One pre-training gives a generator and a
//! representation; which t and b are best is an empirical matter: little noise, and a block between
//! the middle and the early decoder.
//!
//! Mukhopadhyay, Gwilliam, Agarwal, Padmanabhan, Swaminathan, Hegde, Zhou and Shrivastava, *Diffusion
//! Models Beat GANs on Image Classification*, 2023,
//! [arXiv:2307.08702](https://arxiv.org/abs/2307.08702); superseded by *Do text-free diffusion models
//! learn discriminative visual representations?*,
//! [arXiv:2311.17921](https://arxiv.org/abs/2311.17921). (Not the "zero-shot diffusion classifier" of
//! other papers, which compares denoising losses of classes.)
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_core::Seed;
//! use menagerie_generative::diffusion_classifier::{
//!     Denoiser, FeatureExtractor, FeaturePoints, Features, LinearHeadConfig, UNetConfig,
//! };
//! use menagerie_nn::diffusion::{NoiseSchedule, Objective, Reverse, Sampler};
//! use menagerie_nn::noise::draw_normal;
//!
//! let device = Device::default();
//! let config = UNetConfig::small();
//! let diffusion = NoiseSchedule::Linear.diffusion(1_000)?;
//! let unet = config.init(&device)?;
//!
//! // A representation: block 9 of 13 at step 20.
//! let points = FeaturePoints::one(20, 9);
//! let extractor = FeatureExtractor::new(unet.clone(), diffusion.clone(), points)?;
//! let images = Tensor::zeros([2, 1, 16, 16], &device);
//! let noise = extractor.draw_noise(images.dims(), Seed(0), &device);
//! let features = extractor.features(images, noise)?;
//! let head = LinearHeadConfig::new(64, 2, 10).init(&device)?;
//! assert_eq!(head.forward(features.only()?)?.dims(), [2, 10]);
//!
//! // A generator.
//! let denoiser = Denoiser::new(unet.clone(), diffusion.clone(), Objective::new())?;
//! let noise = draw_normal([1, 1, 16, 16], Seed(1), &device);
//! let sampler = Sampler::ddim(Reverse::new());
//! assert_eq!(denoiser.sample(noise, &sampler, 5, Seed(2))?.dims(), [1, 1, 16, 16]);
//!
//! let error = FeatureExtractor::new(unet, diffusion, FeaturePoints::one(1_000, 9)).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "a diffusion step is 1000: must be below the number of steps, 1000"
//! );
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! | part | holds |
//! | --- | --- |
//! | [`UNetConfig`], [`UNet`] | the network of guided-diffusion (ADM) |
//! | [`Denoiser`] | its pre-training and sampling; schedules and samplers are in [`menagerie_nn::diffusion`] |
//! | [`FeatureExtractor`] | activations at chosen timesteps and blocks |
//! | [`heads`] | linear, convolutional and attention heads |
//! | [`RidgeProbeConfig`] | a probe in closed form |
//! | [`linear_cka`] | how alike two representations are |
//! | [`weights`] | official names |
//!
//! # At small scale
//!
//! `cargo xtask reproduce diffusion-classifier` trains a small denoiser on Fashion-MNIST for 1 400 steps of
//! 64 images, in about nine minutes on two cores. A linear probe of its best block is at 80.3 %, against
//! 75.8 % before training and 77.1 % on pixels; the best block lies half-way up, and at a third of the
//! noise's way the accuracy is 15 points lower. The rules are met with one seed; over draws of the noise
//! the accuracy varies by 0.4 points.

mod cka;
mod config;
mod features;
pub mod heads;
mod model;
mod objective;
mod probe;
mod training;
pub mod unet;
pub mod weights;

pub use cka::linear_cka;
pub use config::{BlockShape, Heads, QkvOrder, UNetConfig};
pub use features::{FeatureExtractor, FeaturePoints, Features};
pub use heads::{
    AttentionHead, AttentionHeadConfig, ConvHead, ConvHeadConfig, Head, HeadBlock, HeadNorm,
    LinearHead, LinearHeadConfig,
};
pub use model::{Denoiser, DiffusionClassifier};
pub use objective::{LabelledFeatures, NoisyImages, classification};
pub use probe::{RidgeProbe, RidgeProbeConfig};
pub use training::{HeadTrainingConfig, LabelledImages};
pub use unet::UNet;

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims. Its numbers are from secondary summaries, not checked against the paper.
pub const SYSTEM: System = System {
    slug: "diffusion-classifier",
    title: "Diffusion Models Beat GANs on Image Classification",
    family: "generative",
    summary: "Features of an unconditional diffusion U-Net, by block and timestep, for classification",
    paper: "arXiv:2307.08702",
    paper_url: "https://arxiv.org/abs/2307.08702",
    code_url: Some("https://github.com/soumik-kanad/diffssl"),
    claims: &[
        Claim {
            id: "representation",
            text: "Frozen features of a diffusion model classify well: better than BigBiGAN's, while it generates better.",
            figures: &[
                Figure {
                    name: "ImageNet-1k top-1 with the attention head, %",
                    value: 71.89,
                    verified: false,
                },
                Figure {
                    name: "ImageNet-1k top-1 with a linear head, %",
                    value: 61.9,
                    verified: false,
                },
                Figure {
                    name: "BigBiGAN, ImageNet-1k top-1 with a linear head, %",
                    value: 60.8,
                    verified: false,
                },
                Figure {
                    name: "FID of the unconditional model",
                    value: 26.21,
                    verified: false,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "block",
            text: "The best features are those of blocks from the middle to the early decoder.",
            figures: &[Figure {
                name: "best block of 37, the middle being 19",
                value: 24.0,
                verified: false,
            }],
            gate: Gate::Decided,
        },
        Claim {
            id: "timestep",
            text: "The best features are those of little noise; accuracy falls with the timestep.",
            figures: &[Figure {
                name: "best timestep of 1000",
                value: 90.0,
                verified: false,
            }],
            gate: Gate::Decided,
        },
        Claim {
            id: "heads",
            text: "The attention head is above the convolutional one, that above hidden layers, those above the linear head.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "similarity",
            text: "By centred kernel alignment, features change with the block and the timestep.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "transfer",
            text: "Features transfer to fine-grained classes, below dedicated self-supervised ones.",
            figures: &[],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[],
};
