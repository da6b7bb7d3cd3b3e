//! The models that the paper compares with (section 4 and its appendix), on the same encoders,
//! decoders, optimiser groups and reconstruction loss as QLAE.
//!
//! | model | code | module |
//! | --- | --- | --- |
//! | AE, AE with weight decay | continuous | [`Autoencoder`] |
//! | BioAE | continuous, non-negative, low activity | [`AutoencoderConfig::bio`] |
//! | QLAE with one global codebook | scalars | [`QlaeConfig::into_global`](super::QlaeConfig::into_global) |
//! | VQ-VAE | indices into one table of vectors | [`VqVae`] |
//! | β-VAE, β-TCVAE | posterior means | [`Vae`] |
//! | InfoWGAN-GP, QLInfoWGAN-GP | the critic head's estimate | [`InfoGan`] |
//!
//! "With weight decay" is [`TrainingConfig::weight_decay`](super::TrainingConfig), not a model.

mod autoencoder;
mod gan_training;
mod infogan;
mod vae;
mod vqvae;

pub use autoencoder::{Autoencoder, AutoencoderConfig, AutoencoderLoss};
pub use gan_training::GanTraining;
pub use infogan::{
    Critic, CriticLoss, GanDraws, GanWeights, GeneratorLoss, InfoGan, InfoGanConfig,
};
pub use vae::{Vae, VaeBatch, VaeConfig, VaeLoss, VaeObjective, VaePass};
pub use vqvae::{VectorQuantizer, VqVae, VqVaeConfig};
