//! Generative models on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `diffusion-classifier` | [`diffusion_classifier`] | Mukhopadhyay et al., *Diffusion Models Beat GANs on Image Classification*, 2023 |

pub mod diffusion_classifier;
