//! The parts of vision transformers: what a family of masked autoencoders has in common.
//!
//! | part | holds |
//! | --- | --- |
//! | [`Block`] | pre-norm transformer block; variants of bias, layer scale, cosine attention, stochastic depth |
//! | [`PatchEmbed`], [`TubeEmbed`] | images and clips to tokens; [`patchify`], [`unpatchify`] |
//! | [`Masking`] | which tokens stay, from noise or from a given mask |
//! | [`position`] | fixed tables, and their resize to another grid |
//! | [`Linear`], [`LayerNorm`] | the two layers that everything is made of |
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_core::Seed;
//! use menagerie_nn::vit::{BlockConfig, Masking, Order, PatchEmbedConfig, draw_noise, len_keep};
//!
//! let device = Device::flex();
//! let embed = PatchEmbedConfig::new(3, 4, 16).init(&device)?;
//! let block = BlockConfig::new(16, 4, 64).init(&device)?;
//! let patches = embed.cut(Tensor::zeros([2, 3, 12, 12], &device));
//!
//! // Only what is visible is embedded and encoded.
//! let noise = draw_noise([2, 9], Seed(0));
//! let masking = Masking::from_noise(&noise, [2, 9], len_keep(9, 0.75), Order::Ascending, &device)?;
//! let tokens = block.forward(embed.project(masking.gather(patches)), None);
//! assert_eq!(tokens.dims(), [2, 2, 16]);
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod block;
mod drop_path;
mod layers;
mod masking;
mod patch;
pub mod position;

pub use block::{Attention, Block, BlockConfig, Mlp, QkvBias};
pub use drop_path::{Keep, draw_keep, linear_rates};
pub use layers::{LayerNorm, Linear, LinearConfig};
pub use masking::{Masking, Order, draw_noise, len_keep};
pub use patch::{
    PatchEmbed, PatchEmbedConfig, TubeEmbed, TubeEmbedConfig, convolution_initializer, patchify,
    unpatchify,
};
