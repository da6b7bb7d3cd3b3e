//! Representation-learning models on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `qlae` | [`qlae`] | Hsu et al., *Disentanglement via Latent Quantization*, NeurIPS 2023 |

pub mod qlae;
