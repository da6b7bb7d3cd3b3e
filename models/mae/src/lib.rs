//! Masked autoencoders on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `mae-base` | [`mae_base`] | He et al., *Masked Autoencoders Are Scalable Vision Learners*, CVPR 2022 |

pub mod mae_base;
mod weights;
