//! CSWin and SLAB-CSWin.

use super::super::attention::linear;
use super::super::config::{CswinConfig, CswinStageConfig};
use super::super::fold::{after_convolution, into_linear, take};
use super::super::norm::{Mode, Norm, NormKind};
use super::super::stripes::StripeAttention;
use super::{Classifier, check, check_statistics, check_trained};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_core::Result;
use menagerie_nn::conv::{Conv2d, Conv2dConfig};
use menagerie_nn::vit::{Keep, Linear, Mlp};

/// A block of which half of the heads look along rows and half along columns, or all of them at
/// everything.
#[derive(Module, Debug)]
pub struct CswinBlock {
    /// Before the attention.
    pub norm1: Norm,
    /// Queries, keys, values side by side; `dim` to `3 dim`.
    pub qkv: Linear,
    /// Of columns and of rows, on half of the channels each; or of everything.
    pub attns: Vec<StripeAttention>,
    /// The heads mixed, `dim` to `dim`.
    pub proj: Linear,
    /// Before the multilayer perceptron.
    pub norm2: Norm,
    /// The multilayer perceptron.
    pub mlp: Mlp,
}

impl CswinBlock {
    /// Tokens `[batch, side², dim]` to the same shape.
    ///
    /// # Panics
    /// If the shape is another.
    pub fn forward(&self, x: Tensor<3>, mode: Mode, keep: Option<&Keep>) -> Tensor<3> {
        let kept = |branch: Tensor<3>, keep: Option<&Tensor<3>>| match keep {
            None => branch,
            Some(keep) => branch * keep.clone(),
        };
        let dim = x.dims()[2];
        let qkv = self.qkv.forward(self.norm1.forward(x.clone(), mode));
        let width = dim / self.attns.len().max(1);
        let branches = self.attns.iter().enumerate().map(|(at, attention)| {
            let part = |of: usize| qkv.clone().narrow(2, of * dim + at * width, width);
            attention.forward(std::array::from_fn(part))
        });
        let branch = self.proj.forward(Tensor::cat(branches.collect(), 2));
        let x = x + kept(branch, keep.map(|keep| &keep.attention));
        let branch = self.mlp.forward(self.norm2.forward(x.clone(), mode));
        x + kept(branch, keep.map(|keep| &keep.mlp))
    }

    fn fold(&mut self, name: &str) -> Result<()> {
        let affine = take(&mut self.norm1, &format!("{name}.norm1"))?;
        into_linear(&mut self.qkv, &affine);
        let affine = take(&mut self.norm2, &format!("{name}.norm2"))?;
        into_linear(&mut self.mlp.fc1, &affine);
        Ok(())
    }
}

/// A convolution to a smaller grid, and blocks on it.
#[derive(Module, Debug)]
pub struct CswinStage {
    /// From the image, or from the stage before.
    pub conv: Conv2d,
    /// After it.
    pub norm: Norm,
    /// The blocks.
    pub blocks: Vec<CswinBlock>,
    #[module(skip)]
    side: usize,
}

/// A pyramid with attention in stripes.
#[derive(Module, Debug)]
pub struct SlabCswin {
    /// The stages.
    pub stages: Vec<CswinStage>,
    /// After them.
    pub norm: Norm,
    /// To class scores.
    pub head: Linear,
    #[module(skip)]
    config: CswinConfig,
}

impl CswinConfig {
    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<SlabCswin> {
        self.validate()?;
        let last = self.dim << (self.stages.len() - 1);
        let stages = self.stages.iter().enumerate();
        Ok(SlabCswin {
            stages: stages
                .map(|(at, stage)| self.stage(at, stage, device))
                .collect(),
            norm: self.norm.init(last, device),
            head: linear(last, self.classes, true, device),
            config: self.clone(),
        })
    }

    fn stage(&self, at: usize, stage: &CswinStageConfig, device: &Device) -> CswinStage {
        let dim = self.dim << at;
        // Patches overlap.
        let (inputs, kernel, stride, padding) = match at {
            0 => (self.channels, 7, 4, 2),
            _ => (dim / 2, 3, 2, 1),
        };
        let side = self.side(at);
        let hidden = (dim as f64 * self.mlp_ratio) as usize;
        let block = |index: usize| {
            let is_linear = stage.attention.is_linear(index);
            let stripes = self.stripes(at, stage, is_linear);
            let parts = stripes.len();
            let attention = |stripe: &[usize; 2]| {
                let sizes = [dim / parts, stage.heads / parts, side];
                StripeAttention::new(sizes, *stripe, is_linear.then_some(&self.sla), device)
            };
            CswinBlock {
                norm1: self.norm.init(dim, device),
                qkv: linear(dim, 3 * dim, true, device),
                attns: stripes.iter().map(attention).collect(),
                proj: linear(dim, dim, true, device),
                norm2: self.norm.init(dim, device),
                mlp: Mlp {
                    fc1: linear(dim, hidden, true, device),
                    fc2: linear(hidden, dim, true, device),
                },
            }
        };
        CswinStage {
            conv: Conv2dConfig::new([inputs, dim], [kernel; 2])
                .with_stride([stride; 2])
                .with_padding(padding)
                .init(device),
            norm: self.norm.init(dim, device),
            blocks: (0..stage.depth).map(block).collect(),
            side,
        }
    }
}

impl SlabCswin {
    /// What the network was built from.
    pub fn config(&self) -> &CswinConfig {
        &self.config
    }

    /// Class scores `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are not of the configured size.
    pub fn forward(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        self.run(images, Mode::Evaluate, &[])
    }

    fn depth(&self) -> usize {
        self.stages.iter().map(|stage| stage.blocks.len()).sum()
    }
}

impl Classifier for SlabCswin {
    fn run(&self, images: Tensor<4>, mode: Mode, keep: &[Option<Keep>]) -> Result<Tensor<2>> {
        let sizes = [self.config.channels, self.config.image];
        check(&images, sizes, keep, self.depth())?;
        let side = self.stages.last().map_or(0, |stage| stage.side);
        check_statistics(&images.dims(), side * side, mode, &self.config.norm)?;
        let (mut draws, mut picture) = (keep.iter(), images);
        let mut tokens = None;
        for stage in &self.stages {
            let found = stage.conv.forward(picture);
            let [batch, dim, height, width] = found.dims();
            let x = found.reshape([batch, dim, height * width]).swap_dims(1, 2);
            let mut x = stage.norm.forward(x, mode);
            for block in &stage.blocks {
                x = block.forward(x, mode, draws.next().and_then(Option::as_ref));
            }
            let side = stage.side;
            picture = x.clone().swap_dims(1, 2).reshape([batch, dim, side, side]);
            tokens = Some(x);
        }
        // A configuration has at least one stage.
        let x = tokens.unwrap_or_else(|| picture.flatten(2, 3));
        let x = self.norm.forward(x, mode);
        let [batch, _, dim] = x.dims();
        Ok(self.head.forward(x.mean_dim(1).reshape([batch, dim])))
    }

    fn fold(&self) -> Result<Self> {
        check_trained(self)?;
        let mut folded = self.clone();
        for (at, stage) in folded.stages.iter_mut().enumerate() {
            let name = match at {
                0 => "stage1_conv_embed.2".to_owned(),
                at => format!("merge{at}.norm"),
            };
            let affine = take(&mut stage.norm, &name)?;
            after_convolution(&mut stage.conv, &affine);
            for (index, block) in stage.blocks.iter_mut().enumerate() {
                block.fold(&format!("stage{}.{index}", at + 1))?;
            }
        }
        let affine = take(&mut folded.norm, "norm")?;
        into_linear(&mut folded.head, &affine);
        folded.config.norm.kind = NormKind::Folded;
        Ok(folded)
    }

    fn norms(&self) -> Vec<&Norm> {
        let stages = self.stages.iter().flat_map(|stage| {
            let blocks = stage.blocks.iter();
            let blocks = blocks.flat_map(|block| [&block.norm1, &block.norm2]);
            [&stage.norm].into_iter().chain(blocks)
        });
        stages.chain([&self.norm]).collect()
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn drop_path(&self) -> (f64, usize) {
        (self.config.drop_path, self.depth())
    }
}
