//! Swin and SLAB-Swin.

use super::super::attention::{LinearAttention, linear};
use super::super::config::{StageConfig, SwinConfig};
use super::super::fold::{after_patches, into_linear, take};
use super::super::norm::{Mode, Norm, NormKind};
use super::super::window::{WindowAttention, join, partition, roll, shift_mask};
use super::block::{Block, Mixer};
use super::{Classifier, check, check_statistics, check_trained};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_core::Result;
use menagerie_nn::vit::{Keep, Linear, PatchEmbed, PatchEmbedConfig, convolution_initializer};

/// A block that mixes inside of windows, which may be shifted.
#[derive(Module, Debug)]
pub struct SwinBlock {
    /// Norms, mixer, multilayer perceptron.
    pub block: Block,
    #[module(skip)]
    side: usize,
    #[module(skip)]
    window: usize,
    #[module(skip)]
    shift: usize,
}

impl SwinBlock {
    /// Tokens `[batch, side², dim]` to the same shape.
    ///
    /// # Panics
    /// If the shape is another.
    pub fn forward(&self, x: Tensor<3>, mode: Mode, keep: Option<&Keep>) -> Tensor<3> {
        let (side, window, shift) = (self.side, self.window, self.shift);
        self.block.forward_with(x, mode, keep, |x| {
            let windows = partition(roll(x, side, shift), side, window);
            let mixed = match &self.block.attn {
                Mixer::Softmax(mixer) => mixer.forward(windows),
                Mixer::Linear(mixer) => mixer.forward(windows),
                Mixer::Reduced(mixer) => mixer.forward(windows, mode),
                Mixer::Window(mixer) => {
                    let mask = (shift > 0).then(|| {
                        let mask = shift_mask(side, window, shift);
                        Tensor::from_data(mask, &windows.device())
                    });
                    mixer.forward(windows, mask)
                }
            };
            roll(join(mixed, side, window), side, (side - shift) % side)
        })
    }
}

/// Four neighbours become one token of twice the width.
#[derive(Module, Debug)]
pub struct PatchMerging {
    /// Of the four neighbours side by side.
    pub norm: Norm,
    /// `4 dim` to `2 dim`; without a bias until the norm is folded.
    pub reduction: Linear,
}

impl PatchMerging {
    /// Tokens `[batch, side², dim]` to `[batch, (side / 2)², 2 dim]`.
    fn forward(&self, x: Tensor<3>, side: usize, mode: Mode) -> Tensor<3> {
        let [batch, _, dim] = x.dims();
        let half = side / 2;
        // Side by side: up left, down left, up right, down right.
        let merged = x
            .reshape([batch, half, 2, half, 2, dim])
            .permute([0, 1, 3, 4, 2, 5])
            .reshape([batch, half * half, 4 * dim]);
        self.reduction.forward(self.norm.forward(merged, mode))
    }
}

/// Blocks on one grid.
#[derive(Module, Debug)]
pub struct SwinStage {
    /// The blocks.
    pub blocks: Vec<SwinBlock>,
    /// To the next stage's grid; none after the last.
    pub downsample: Option<PatchMerging>,
    #[module(skip)]
    side: usize,
}

/// A pyramid with attention in windows.
#[derive(Module, Debug)]
pub struct SlabSwin {
    /// Patches to tokens.
    pub patch_embed: PatchEmbed,
    /// After them.
    pub patch_norm: Norm,
    /// The stages.
    pub layers: Vec<SwinStage>,
    /// After them.
    pub norm: Norm,
    /// To class scores.
    pub head: Linear,
    #[module(skip)]
    config: SwinConfig,
}

impl SwinConfig {
    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<SlabSwin> {
        self.validate()?;
        let last = self.dim << (self.stages.len() - 1);
        Ok(SlabSwin {
            patch_embed: PatchEmbedConfig::new(self.channels, self.patch, self.dim)
                .with_initializer(convolution_initializer())
                .init(device)?,
            patch_norm: self.norm.init(self.dim, device),
            layers: (0..)
                .zip(&self.stages)
                .map(|(at, stage)| self.stage(at, stage, device))
                .collect(),
            norm: self.norm.init(last, device),
            head: linear(last, self.classes, true, device),
            config: self.clone(),
        })
    }

    fn stage(&self, at: usize, stage: &StageConfig, device: &Device) -> SwinStage {
        let dim = self.dim << at;
        let blocks = (0..stage.depth).map(|index| {
            let [dim, side, window, shift] = self.place(at, index);
            let mixer = match stage.attention.is_linear(index) {
                true => Mixer::Linear(LinearAttention::new(
                    dim,
                    stage.heads,
                    window,
                    &self.sla,
                    device,
                )),
                false => Mixer::Window(WindowAttention::new(dim, stage.heads, window, device)),
            };
            let hidden = (dim as f64 * self.mlp_ratio) as usize;
            SwinBlock {
                block: Block::new(mixer, dim, hidden, &self.norm, device),
                side,
                window,
                shift,
            }
        });
        let merging = || PatchMerging {
            norm: self.norm.init(4 * dim, device),
            // Folding its norm leaves a bias.
            reduction: linear(4 * dim, 2 * dim, self.norm.kind == NormKind::Folded, device),
        };
        SwinStage {
            blocks: blocks.collect(),
            downsample: (at + 1 < self.stages.len()).then(merging),
            side: self.image / self.patch / (1 << at),
        }
    }
}

impl SlabSwin {
    /// What the network was built from.
    pub fn config(&self) -> &SwinConfig {
        &self.config
    }

    /// Class scores `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are not of the configured size.
    pub fn forward(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        self.run(images, Mode::Evaluate, &[])
    }

    /// The output of every block, by stage, `[batch, tokens, dim]` each, and the class scores.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are not of the configured size.
    pub fn forward_with_blocks(
        &self,
        images: Tensor<4>,
        mode: Mode,
    ) -> Result<(Vec<Vec<Tensor<3>>>, Tensor<2>)> {
        self.check(&images, &[], mode)?;
        let mut outputs = vec![Vec::new(); self.layers.len()];
        let scores = self.scores(images, mode, &[], |stage, x| {
            if let Some(stage) = outputs.get_mut(stage) {
                stage.push(x.clone());
            }
        });
        Ok((outputs, scores))
    }

    fn depth(&self) -> usize {
        self.layers.iter().map(|stage| stage.blocks.len()).sum()
    }

    fn check(&self, images: &Tensor<4>, keep: &[Option<Keep>], mode: Mode) -> Result<()> {
        let sizes = [self.config.channels, self.config.image];
        check(images, sizes, keep, self.depth())?;
        let side = self.layers.last().map_or(0, |stage| stage.side);
        check_statistics(&images.dims(), side * side, mode, &self.config.norm)
    }

    fn scores(
        &self,
        images: Tensor<4>,
        mode: Mode,
        keep: &[Option<Keep>],
        mut watch: impl FnMut(usize, &Tensor<3>),
    ) -> Tensor<2> {
        let mut draws = keep.iter();
        let patches = self.patch_embed.forward(images);
        let mut x = self.patch_norm.forward(patches, mode);
        for (at, stage) in self.layers.iter().enumerate() {
            for block in &stage.blocks {
                x = block.forward(x, mode, draws.next().and_then(Option::as_ref));
                watch(at, &x);
            }
            if let Some(merging) = &stage.downsample {
                x = merging.forward(x, stage.side, mode);
            }
        }
        let x = self.norm.forward(x, mode);
        let [batch, _, dim] = x.dims();
        self.head.forward(x.mean_dim(1).reshape([batch, dim]))
    }
}

impl Classifier for SlabSwin {
    fn run(&self, images: Tensor<4>, mode: Mode, keep: &[Option<Keep>]) -> Result<Tensor<2>> {
        self.check(&images, keep, mode)?;
        Ok(self.scores(images, mode, keep, |_, _| ()))
    }

    fn fold(&self) -> Result<Self> {
        check_trained(self)?;
        let mut folded = self.clone();
        let affine = take(&mut folded.patch_norm, "patch_embed.norm")?;
        after_patches(&mut folded.patch_embed, &affine);
        for (at, stage) in folded.layers.iter_mut().enumerate() {
            for (index, block) in stage.blocks.iter_mut().enumerate() {
                block.block.fold(&format!("layers.{at}.blocks.{index}"))?;
            }
            if let Some(merging) = &mut stage.downsample {
                let name = format!("layers.{at}.downsample.norm");
                let affine = take(&mut merging.norm, &name)?;
                into_linear(&mut merging.reduction, &affine);
            }
        }
        let affine = take(&mut folded.norm, "norm")?;
        into_linear(&mut folded.head, &affine);
        folded.config.norm.kind = NormKind::Folded;
        Ok(folded)
    }

    fn norms(&self) -> Vec<&Norm> {
        let stages = self.layers.iter().flat_map(|stage| {
            let blocks = stage.blocks.iter().flat_map(|block| block.block.norms());
            blocks.chain(stage.downsample.iter().map(|merging| &merging.norm))
        });
        let first = [&self.patch_norm].into_iter();
        first.chain(stages).chain([&self.norm]).collect()
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn drop_path(&self) -> (f64, usize) {
        (self.config.drop_path, self.depth())
    }
}
