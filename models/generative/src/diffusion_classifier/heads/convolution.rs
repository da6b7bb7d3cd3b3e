//! A convolutional head.

use super::super::unet::linear;
use super::{at_least, check_map};
use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};
use menagerie_core::{Error, Result};
use menagerie_nn::conv::{Conv2d, Conv2dConfig};
use menagerie_nn::group_norm::GroupNorm;
use menagerie_nn::resample::average_pool;
use menagerie_nn::vit::Linear;

/// Sizes of a [`ConvHead`].
#[derive(Config, Debug, PartialEq)]
pub struct ConvHeadConfig {
    /// Channels of the map.
    pub channels: usize,
    /// Channels after each of the two convolutions.
    pub widths: [usize; 2],
    /// Number of classes.
    pub classes: usize,
    /// Groups of both norms; they divide both widths.
    #[config(default = 8)]
    pub groups: usize,
}

impl ConvHeadConfig {
    const NAME: &str = "ConvHeadConfig";

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        at_least(
            Self::NAME,
            &[
                ("channels", self.channels, 1),
                ("widths", self.widths[0].min(self.widths[1]), 1),
                ("classes", self.classes, 2),
                ("groups", self.groups, 1),
            ],
        )?;
        let groups = self.groups;
        if self
            .widths
            .iter()
            .any(|width| !width.is_multiple_of(groups))
        {
            let rule = format!("must divide both widths, {:?}", self.widths);
            return Err(Error::config(Self::NAME, "groups", groups, rule));
        }
        Ok(())
    }

    /// A head with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<ConvHead> {
        self.validate()?;
        let [first, second] = self.widths;
        let conv = |channels| {
            Conv2dConfig::new(channels, [3, 3])
                .with_padding(1)
                .init(device)
        };
        let norm = |width| GroupNorm::new(self.groups, width, 1e-5, device);
        Ok(ConvHead {
            conv1: conv([self.channels, first]),
            norm1: norm(first),
            conv2: conv([first, second]),
            norm2: norm(second),
            fc: linear(second, self.classes, device),
            channels: self.channels,
        })
    }
}

/// Twice a 3×3 convolution, group normalisation, ReLU and 2×2 average pooling, then the mean over
/// pixels and a linear layer.
///
/// The paper has a convolutional head and says that it lies between the linear and the attention
/// head; neither its layers nor code for it were published. **This one is ours.**
#[derive(Module, Debug)]
pub struct ConvHead {
    /// The first convolution.
    pub conv1: Conv2d,
    /// After it.
    pub norm1: GroupNorm,
    /// The second convolution.
    pub conv2: Conv2d,
    /// After it.
    pub norm2: GroupNorm,
    /// To class scores.
    pub fc: Linear,
    #[module(skip)]
    channels: usize,
}

impl ConvHead {
    /// Class scores `[batch, classes]` of a map `[batch, channels, height, width]`. A map with an odd side,
    /// before the first or the second pooling, is left at its size there.
    ///
    /// # Errors
    /// [`Error::Input`] if the map has another number of channels or is empty.
    pub fn forward(&self, map: Tensor<4>) -> Result<Tensor<2>> {
        check_map(&map, self.channels)?;
        let halve = |x: Tensor<4>| match x.dims() {
            [_, _, h, w] if h % 2 == 0 && w % 2 == 0 => average_pool(x),
            _ => x,
        };
        let x = halve(relu(self.norm1.forward(self.conv1.forward(map))));
        let x = halve(relu(self.norm2.forward(self.conv2.forward(x))));
        let [batch, channels, h, w] = x.dims();
        let means = x.reshape([batch, channels, h * w]).mean_dim(2);
        Ok(self.fc.forward(means.squeeze_dim::<2>(2)))
    }
}
