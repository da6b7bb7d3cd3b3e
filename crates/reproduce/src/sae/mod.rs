//! Sparse autoencoders.

pub mod gradient_sae;
pub mod sae_dark_matter;
