//! The linear head, and the one with hidden layers.

use super::super::unet::linear;
use super::{at_least, check_map, pooled};
use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};
use menagerie_core::Result;
use menagerie_nn::vit::Linear;

/// Sizes of a [`LinearHead`].
#[derive(Config, Debug, PartialEq)]
pub struct LinearHeadConfig {
    /// Channels of the map.
    pub channels: usize,
    /// Side of the grid that the map is pooled to.
    pub pool: usize,
    /// Number of classes.
    pub classes: usize,
    /// Widths of hidden layers, each followed by a ReLU; none for a linear head.
    #[config(default = "Vec::new()")]
    pub hidden: Vec<usize>,
}

impl LinearHeadConfig {
    const NAME: &str = "LinearHeadConfig";

    /// On ImageNet-1k and a block of 1 024 channels such as 24: 1 025 000 parameters with `pool` 1,
    /// 4 097 000 with 2.
    pub fn imagenet(pool: usize) -> Self {
        Self::new(1024, pool, 1000)
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        at_least(
            Self::NAME,
            &[
                ("channels", self.channels, 1),
                ("pool", self.pool, 1),
                ("classes", self.classes, 2),
                ("hidden", self.hidden.iter().copied().min().unwrap_or(1), 1),
            ],
        )
    }

    /// A head with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<LinearHead> {
        self.validate()?;
        let first = self.channels * self.pool * self.pool;
        let widths: Vec<usize> = std::iter::once(first)
            .chain(self.hidden.iter().copied())
            .chain([self.classes])
            .collect();
        let layers = widths.windows(2);
        Ok(LinearHead {
            fcs: layers
                .map(|pair| linear(pair[0], pair[1], device))
                .collect(),
            config: self.clone(),
        })
    }
}

/// Average pooling to p × p, the channels one after the other, a linear layer; with hidden layers,
/// ReLUs between.
#[derive(Module, Debug)]
pub struct LinearHead {
    /// The layers; `fcs.{i}`.
    pub fcs: Vec<Linear>,
    #[module(skip)]
    config: LinearHeadConfig,
}

impl LinearHead {
    /// The map as the first layer takes it, before it is flattened: `[batch, channels, pool, pool]`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the map has another number of channels or is empty.
    pub fn pool(&self, map: Tensor<4>) -> Result<Tensor<4>> {
        check_map(&map, self.config.channels)?;
        Ok(pooled(map, self.config.pool))
    }

    /// Class scores `[batch, classes]` of a map `[batch, channels, side, side]`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the map has another number of channels or is empty.
    pub fn forward(&self, map: Tensor<4>) -> Result<Tensor<2>> {
        let mut x: Tensor<2> = self.pool(map)?.flatten(1, 3);
        for (index, layer) in self.fcs.iter().enumerate() {
            if index > 0 {
                x = relu(x);
            }
            x = layer.forward(x);
        }
        Ok(x)
    }
}
