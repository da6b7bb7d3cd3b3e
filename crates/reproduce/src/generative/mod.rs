//! Generative models.

pub mod diffusion_classifier;
