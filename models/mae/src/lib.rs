//! Masked autoencoders on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `color-mae` | [`color_mae`] | Hinojosa et al., *ColorMAE: Exploring data-independent masking strategies in Masked AutoEncoders*, ECCV 2024 |
//! | `dmae` | [`dmae`] | Bai et al., *Masked Autoencoders Enable Efficient Knowledge Distillers*, CVPR 2023 |
//! | `mae-base` | [`mae_base`] | He et al., *Masked Autoencoders Are Scalable Vision Learners*, CVPR 2022 |
//! | `videomae-v2` | [`videomae_v2`] | Wang et al., *VideoMAE V2: Scaling Video Masked Autoencoders with Dual Masking*, CVPR 2023 |

pub mod color_mae;
pub mod dmae;
pub mod mae_base;
pub mod videomae_v2;
mod weights;
