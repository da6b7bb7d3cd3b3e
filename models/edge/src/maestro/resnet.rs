//! Residual networks (He et al., arXiv:1512.03385), in the layouts for ImageNet and for CIFAR.

use super::config::ResNetConfig;
use super::layer::{ConvSizes, Factors, LodConv, LodLinear};
use super::model::check;
use super::network::{Factored, Network, Ranks};
use super::norm::{ChannelNorm, Mode};
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu, module as functional, ops::MaxPoolOptions};
use menagerie_core::Result;

/// How much wider a block with a bottleneck is outside than inside.
const EXPANSION: usize = 4;

/// A convolution and the norm after it.
#[derive(Module, Debug)]
pub struct NormedConv {
    /// The convolution, without a bias.
    pub conv: LodConv,
    /// After it.
    pub norm: ChannelNorm,
}

impl NormedConv {
    /// Images `[batch, channels, height, width]` by the first `rank` ranks that are left.
    ///
    /// # Panics
    /// If the channels are others.
    pub fn forward(&self, x: Tensor<4>, rank: usize, mode: Mode) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x, rank), mode)
    }
}

/// Two or three convolutions beside a shortcut.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    /// The convolutions, in order.
    pub convs: Vec<NormedConv>,
    /// Where the shape changes; else the input itself is added.
    pub shortcut: Option<NormedConv>,
}

impl ResidualBlock {
    /// `ranks` gives the layers of the network one after the other.
    fn forward(&self, x: Tensor<4>, ranks: &mut impl FnMut() -> usize, mode: Mode) -> Tensor<4> {
        let last = self.convs.len().saturating_sub(1);
        let mut y = x.clone();
        for (at, conv) in self.convs.iter().enumerate() {
            y = conv.forward(y, ranks(), mode);
            if at < last {
                y = relu(y);
            }
        }
        let x = match &self.shortcut {
            None => x,
            Some(conv) => conv.forward(x, ranks(), mode),
        };
        relu(y + x)
    }

    fn all(&self) -> impl Iterator<Item = &NormedConv> {
        self.convs.iter().chain(&self.shortcut)
    }
}

/// A residual network of layers that may be factored.
#[derive(Module, Debug)]
pub struct ResNet {
    /// On the image.
    pub stem: NormedConv,
    /// The blocks of each stage.
    pub stages: Vec<Vec<ResidualBlock>>,
    /// The mean over pixels to class scores.
    pub fc: LodLinear,
    #[module(skip)]
    config: ResNetConfig,
}

/// A convolution with a border that keeps the side at stride 1.
fn sizes(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> ConvSizes {
    ConvSizes::new(inputs, outputs, kernel)
        .with_stride(stride)
        .with_padding(kernel / 2)
        .with_bias(false)
}

impl ResNetConfig {
    /// A dense network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<ResNet> {
        self.validate()?;
        let (kernel, stride) = if self.stem { (7, 2) } else { (3, 1) };
        let stem = self.conv(sizes(self.channels, self.width, kernel, stride), device)?;
        let mut inputs = self.width;
        let mut stages = Vec::with_capacity(self.blocks.len());
        for (stage, blocks) in self.blocks.into_iter().enumerate() {
            let mut built = Vec::with_capacity(blocks);
            for at in 0..blocks {
                let stride = if stage > 0 && at == 0 { 2 } else { 1 };
                let block = self.block(inputs, self.width << stage, stride, device)?;
                inputs = self.outputs(self.width << stage);
                built.push(block);
            }
            stages.push(built);
        }
        Ok(ResNet {
            stem,
            stages,
            fc: LodLinear::new(inputs, self.classes, true, device),
            config: self.clone(),
        })
    }

    /// Channels that a block of that width leaves.
    fn outputs(&self, width: usize) -> usize {
        width * if self.bottleneck { EXPANSION } else { 1 }
    }

    fn conv(&self, sizes: ConvSizes, device: &Device) -> Result<NormedConv> {
        Ok(NormedConv {
            conv: LodConv::new(sizes, device)?.for_relu(device),
            norm: self.norm.init(sizes.outputs, device),
        })
    }

    fn block(
        &self,
        inputs: usize,
        width: usize,
        stride: usize,
        device: &Device,
    ) -> Result<ResidualBlock> {
        let outputs = self.outputs(width);
        let convs = match self.bottleneck {
            false => vec![sizes(inputs, width, 3, stride), sizes(width, width, 3, 1)],
            true => vec![
                sizes(inputs, width, 1, 1),
                sizes(width, width, 3, stride),
                sizes(width, outputs, 1, 1),
            ],
        };
        let shortcut = (stride != 1 || inputs != outputs)
            .then(|| self.conv(sizes(inputs, outputs, 1, stride), device));
        Ok(ResidualBlock {
            convs: convs
                .into_iter()
                .map(|sizes| self.conv(sizes, device))
                .collect::<Result<_>>()?,
            shortcut: shortcut.transpose()?,
        })
    }
}

impl ResNet {
    /// What the network was built from.
    pub fn config(&self) -> &ResNetConfig {
        &self.config
    }

    /// All convolutions, from the image on, under their official names and those of their norms.
    pub(super) fn convs(&self) -> Vec<([String; 2], &NormedConv)> {
        let mut convs = vec![(["conv1", "bn1"].map(String::from), &self.stem)];
        for (stage, blocks) in (1..).zip(&self.stages) {
            for (index, block) in blocks.iter().enumerate() {
                let root = format!("layer{stage}.{index}");
                for (at, conv) in (1..).zip(&block.convs) {
                    let names = ["conv", "bn"].map(|kind| format!("{root}.{kind}{at}"));
                    convs.push((names, conv));
                }
                if let Some(conv) = &block.shortcut {
                    convs.push(([0, 1].map(|at| format!("{root}.downsample.{at}")), conv));
                }
            }
        }
        convs
    }

    /// Sides of what the convolutions leave, in the same order.
    fn sides(&self) -> Vec<usize> {
        let mut side = self.stem.conv.sizes().convolved(self.config.image);
        let mut sides = vec![side];
        if self.config.stem {
            side = side.div_ceil(2);
        }
        for block in self.stages.iter().flatten() {
            let before = side;
            for conv in &block.convs {
                side = conv.conv.sizes().convolved(side);
                sides.push(side);
            }
            if let Some(conv) = &block.shortcut {
                sides.push(conv.conv.sizes().convolved(before));
            }
        }
        sides
    }
}

impl Network for ResNet {
    fn run(&self, images: Tensor<4>, ranks: &Ranks, mode: Mode) -> Result<Tensor<2>> {
        check(&images, self.config.channels, self.config.image)?;
        let mut layer = 0;
        let mut next = || {
            layer += 1;
            ranks.of(layer - 1)
        };
        let mut x = relu(self.stem.forward(images, next(), mode));
        if self.config.stem {
            let options = MaxPoolOptions::new([3, 3])
                .with_stride([2, 2])
                .with_padding([1, 1]);
            x = functional::max_pool2d(x, options);
        }
        for block in self.stages.iter().flatten() {
            x = block.forward(x, &mut next, mode);
        }
        let [batch, channels, height, width] = x.dims();
        let x = x.reshape([batch, channels, height * width]).mean_dim(2);
        Ok(self.fc.forward(x.reshape([batch, channels]), next()))
    }

    fn applications(&self) -> Vec<usize> {
        let sides = self.sides().into_iter().map(|side| side * side);
        sides.chain([1]).collect()
    }
}

impl Factored for ResNet {
    fn layers(&self) -> Vec<(String, &Factors)> {
        let convs = self.convs().into_iter();
        convs
            .map(|([name, _], conv)| (name, &conv.conv.factors))
            .chain([("fc".to_owned(), &self.fc.factors)])
            .collect()
    }

    fn layers_mut(&mut self) -> Vec<&mut Factors> {
        let mut layers = vec![&mut self.stem.conv.factors];
        for block in self.stages.iter_mut().flatten() {
            let convs = block.convs.iter_mut().chain(&mut block.shortcut);
            layers.extend(convs.map(|conv| &mut conv.conv.factors));
        }
        layers.push(&mut self.fc.factors);
        layers
    }

    fn own_statistics(&mut self) {
        self.stem.norm.own_statistics();
        for block in self.stages.iter_mut().flatten() {
            for conv in block.convs.iter_mut().chain(&mut block.shortcut) {
                conv.norm.own_statistics();
            }
        }
    }

    fn others(&self) -> usize {
        let blocks = self.stages.iter().flatten();
        let convs = blocks.flat_map(ResidualBlock::all).chain([&self.stem]);
        convs.map(|conv| 2 * conv.norm.weight.dims()[0]).sum()
    }
}
