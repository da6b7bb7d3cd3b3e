//! Efficient vision transformers on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `convit` | [`convit`] | d'Ascoli et al., *ConViT: Improving Vision Transformers with Soft Convolutional Inductive Biases*, ICML 2021 |
//! | `slab` | [`slab`] | Guo et al., *SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized Batch Normalization*, ICML 2024 |

pub mod convit;
pub mod deit;
pub mod slab;
