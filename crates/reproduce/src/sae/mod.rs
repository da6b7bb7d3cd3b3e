//! Sparse autoencoders.

pub mod gradient_sae;
mod host;
pub mod sae_base;
pub mod sae_dark_matter;
