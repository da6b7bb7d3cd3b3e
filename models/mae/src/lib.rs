//! Masked autoencoders on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `color-mae` | [`color_mae`] | Hinojosa et al., *ColorMAE: Exploring data-independent masking strategies in Masked AutoEncoders*, ECCV 2024 |
//! | `mae-base` | [`mae_base`] | He et al., *Masked Autoencoders Are Scalable Vision Learners*, CVPR 2022 |

pub mod color_mae;
pub mod mae_base;
mod weights;
