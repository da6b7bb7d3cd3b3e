//! Classification heads on features of a frozen network.
//!
//! | head | takes | is |
//! | --- | --- | --- |
//! | [`LinearHead`] | one map | average pooling to p × p, then a linear layer, or several with ReLUs between |
//! | [`ConvHead`] | one map | two 3×3 convolutions with pooling, then a linear layer |
//! | [`AttentionHead`] | maps of several blocks and timesteps | tokens of all blocks through a transformer, the results of all timesteps through a linear layer |

mod attention;
mod convolution;
mod linear;

pub use attention::{AttentionHead, AttentionHeadConfig, HeadBlock, HeadNorm, MapNorm, PreLayer};
pub use convolution::{ConvHead, ConvHeadConfig};
pub use linear::{LinearHead, LinearHeadConfig};

use super::features::Features;
use burn::module::Module;
use burn::tensor::{Tensor, activation::softmax, module::adaptive_avg_pool2d};
use menagerie_core::{Error, Result};

/// Any of the heads.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Head {
    /// Linear, or several layers with ReLUs between.
    Linear(LinearHead),
    /// Convolutions.
    Conv(ConvHead),
    /// A transformer.
    Attention(AttentionHead),
}

impl Head {
    /// Class scores `[batch, classes]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the features are not those that the head was made for.
    pub fn forward(&self, features: &Features) -> Result<Tensor<2>> {
        match self {
            Self::Linear(head) => head.forward(features.only()?),
            Self::Conv(head) => head.forward(features.only()?),
            Self::Attention(head) => head.forward(features),
        }
    }

    /// Class probabilities `[batch, classes]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn predict(&self, features: &Features) -> Result<Tensor<2>> {
        Ok(softmax(self.forward(features)?, 1))
    }
}

/// Means over the cells of a grid of `size` × `size`, of which neighbours overlap where the side is
/// no multiple: `[batch, channels, side, side]` to `[batch, channels, size, size]`.
pub(super) fn pooled(map: Tensor<4>, size: usize) -> Tensor<4> {
    let [_, _, height, width] = map.dims();
    if [height, width] == [size, size] {
        return map;
    }
    adaptive_avg_pool2d(map, [size, size])
}

/// Refuses a map of another number of channels, or an empty one.
fn check_map(map: &Tensor<4>, channels: usize) -> Result<()> {
    let shape = map.dims();
    if shape.contains(&0) || shape[1] != channels {
        let rule = format!("must be [batch, {channels}, height, width], not empty");
        return Err(Error::input("the shape of a feature map", shape, rule));
    }
    Ok(())
}

/// Refuses sizes below the least that they may have.
fn at_least(config: &'static str, sizes: &[(&str, usize, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, value, least)| value < least) {
        Some((field, value, least)) => {
            let rule = format!("must be at least {least}");
            Err(Error::config(config, *field, value, rule))
        }
        None => Ok(()),
    }
}
