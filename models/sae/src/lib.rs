//! Sparse autoencoders and the language models that they read, on Burn.
pub mod sae;
