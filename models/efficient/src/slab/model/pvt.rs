//! PVT and SLAB-PVT.

use super::super::attention::{ReducedAttention, linear, weight_initializer};
use super::super::config::{AttentionKind, PvtConfig, PvtStageConfig};
use super::super::fold::{after_patches, take};
use super::super::norm::{Mode, Norm, NormKind};
use super::block::{Block, Mixer};
use super::{Classifier, check, check_statistics, check_trained};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use menagerie_core::Result;
use menagerie_nn::vit::{Keep, Linear, PatchEmbed, PatchEmbedConfig, convolution_initializer};

/// Patches of the grid before, and blocks on them.
#[derive(Module, Debug)]
pub struct PvtStage {
    /// Patches to tokens.
    pub patch_embed: PatchEmbed,
    /// After them.
    pub patch_norm: Norm,
    /// `[1, tokens, dim]`.
    pub pos_embed: Param<Tensor<3>>,
    /// The blocks.
    pub blocks: Vec<Block>,
}

/// A pyramid whose keys and values come from coarser grids.
#[derive(Module, Debug)]
pub struct SlabPvt {
    /// The stages.
    pub stages: Vec<PvtStage>,
    /// The mean over tokens to class scores.
    pub head: Linear,
    #[module(skip)]
    config: PvtConfig,
}

impl PvtConfig {
    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<SlabPvt> {
        self.validate()?;
        let mut channels = self.channels;
        let mut stages = Vec::with_capacity(self.stages.len());
        for (at, stage) in self.stages.iter().enumerate() {
            stages.push(self.stage(at, stage, channels, device)?);
            channels = stage.dim;
        }
        Ok(SlabPvt {
            stages,
            head: linear(channels, self.classes, true, device),
            config: self.clone(),
        })
    }

    fn stage(
        &self,
        at: usize,
        stage: &PvtStageConfig,
        channels: usize,
        device: &Device,
    ) -> Result<PvtStage> {
        let (dim, side) = (stage.dim, self.side(at));
        let patch = if at == 0 { self.patch } else { 2 };
        let block = || -> Result<Block> {
            let sizes = [dim, stage.heads, side, stage.reduction];
            let is_linear = stage.attention == AttentionKind::Linear;
            let sla = is_linear.then_some(&self.sla);
            let mixer = ReducedAttention::new(sizes, sla, &self.norm, device)?;
            let hidden = (dim as f64 * stage.mlp_ratio) as usize;
            let mixer = Mixer::Reduced(mixer);
            Ok(Block::new(mixer, dim, hidden, &self.norm, device))
        };
        Ok(PvtStage {
            patch_embed: PatchEmbedConfig::new(channels, patch, dim)
                .with_initializer(convolution_initializer())
                .init(device)?,
            patch_norm: self.norm.init(dim, device),
            pos_embed: weight_initializer().init([1, side * side, dim], device),
            blocks: (0..stage.depth).map(|_| block()).collect::<Result<_>>()?,
        })
    }
}

impl SlabPvt {
    /// What the network was built from.
    pub fn config(&self) -> &PvtConfig {
        &self.config
    }

    /// Class scores `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are not of the configured size.
    pub fn forward(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        self.run(images, Mode::Evaluate, &[])
    }

    /// Tokens that the norm of the coarsest grid sees of an image.
    fn fewest(&self) -> usize {
        let stages = self.config.stages.iter().enumerate();
        let sides = stages.map(|(at, stage)| self.config.side(at) / stage.reduction);
        sides.min().map_or(0, |side| side * side)
    }

    fn depth(&self) -> usize {
        self.stages.iter().map(|stage| stage.blocks.len()).sum()
    }
}

impl Classifier for SlabPvt {
    fn run(&self, images: Tensor<4>, mode: Mode, keep: &[Option<Keep>]) -> Result<Tensor<2>> {
        let sizes = [self.config.channels, self.config.image];
        check(&images, sizes, keep, self.depth())?;
        check_statistics(&images.dims(), self.fewest(), mode, &self.config.norm)?;
        let (mut draws, mut picture) = (keep.iter(), images);
        for (at, stage) in self.stages.iter().enumerate() {
            let patches = stage.patch_embed.forward(picture);
            let mut x = stage.patch_norm.forward(patches, mode) + stage.pos_embed.val();
            for block in &stage.blocks {
                x = block.forward(x, mode, draws.next().and_then(Option::as_ref));
            }
            let ([batch, _, dim], side) = (x.dims(), self.config.side(at));
            picture = x.reshape([batch, side, side, dim]).permute([0, 3, 1, 2]);
        }
        let [batch, dim, height, width] = picture.dims();
        let tokens = picture.reshape([batch, dim, height * width]);
        Ok(self.head.forward(tokens.mean_dim(2).reshape([batch, dim])))
    }

    fn fold(&self) -> Result<Self> {
        check_trained(self)?;
        let mut folded = self.clone();
        for (at, stage) in (1..).zip(&mut folded.stages) {
            let affine = take(&mut stage.patch_norm, &format!("patch_embed{at}.norm"))?;
            after_patches(&mut stage.patch_embed, &affine);
            for (index, block) in stage.blocks.iter_mut().enumerate() {
                block.fold(&format!("block{at}.{index}"))?;
            }
        }
        folded.config.norm.kind = NormKind::Folded;
        Ok(folded)
    }

    fn norms(&self) -> Vec<&Norm> {
        let stages = self.stages.iter().flat_map(|stage| {
            let blocks = stage.blocks.iter().flat_map(Block::norms);
            [&stage.patch_norm].into_iter().chain(blocks)
        });
        stages.collect()
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn drop_path(&self) -> (f64, usize) {
        (self.config.drop_path, self.depth())
    }
}
