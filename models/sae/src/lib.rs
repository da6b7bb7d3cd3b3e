//! Sparse autoencoders and the language models that they read, on Burn.

pub mod activations;
pub mod formats;
pub mod gradient_sae;
pub mod host;
pub mod sae;
pub mod sae_dark_matter;
