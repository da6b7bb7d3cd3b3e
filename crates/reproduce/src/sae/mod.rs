//! Sparse autoencoders.

pub mod gradient_sae;
