//! Hide three quarters of an image's patches and predict their pixels from the rest.
//!
//! A vision transformer encodes the visible patches only, so that a step costs a quarter of what the
//! whole image would; a small decoder, which is thrown away afterwards, gets a shared token in the
//! place of every hidden patch and predicts the pixels. The encoder is then fine-tuned, or its class
//! token probed by a linear layer.
//!
//! He, Chen, Xie, Li, Dollár and Girshick, *Masked Autoencoders Are Scalable Vision Learners*, CVPR
//! 2022, [arXiv:2111.06377](https://arxiv.org/abs/2111.06377).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_core::Seed;
//! use menagerie_mae::mae_base::{DecoderConfig, MaeConfig, VitConfig};
//!
//! let device = Device::default();
//! // 64 patches of 4×4, of which 16 stay.
//! let encoder = VitConfig::new(32, 4, 96, 4, 4);
//! let config = MaeConfig::new(encoder, DecoderConfig::new(48, 2, 4));
//! let mae = config.init(&device)?;
//! let images = Tensor::zeros([2, 3, 32, 32], &device);
//!
//! let masking = config.draw_masking(2, Seed(0), &device)?;
//! let output = mae.forward_with(images.clone(), &masking)?;
//! assert_eq!(output.latent.dims(), [2, 1 + 16, 96]);
//! assert_eq!(output.prediction.dims(), [2, 64, 48]);
//! assert_eq!(mae.encode(images)?.dims(), [2, 1 + 64, 96]);
//!
//! let error = mae.encode(Tensor::zeros([2, 3, 28, 28], &device)).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "images is [2, 3, 28, 28]: must be [batch, 3, 32, 32] with at least one image"
//! );
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! Pre-training goes through [`PretrainingConfig`] and Burn's `TrainStep`, which [`Mae`] implements;
//! fine-tuning through [`FinetuningConfig`] and [`Classifier`].

mod classifier;
mod config;
mod encoder;
mod lars;
mod model;
pub mod objective;
mod probe;
mod training;
pub mod weights;

pub use classifier::Classifier;
pub use config::{ClassifierConfig, DecoderConfig, MaeConfig, Pooling, VitConfig};
pub use encoder::{Encoded, Encoder, Start};
pub use lars::Lars;
pub use model::{Decoder, Mae, MaeOutput, Reconstruction};
pub use probe::{LabelledFeatures, LinearProbe, ProbeHead, Probing, ProbingConfig, probed};
pub use training::{
    EpochSchedule, FinetuningConfig, MaskedImages, PretrainingConfig, SoftLabelled, decays,
    layer_of, layer_scales,
};
