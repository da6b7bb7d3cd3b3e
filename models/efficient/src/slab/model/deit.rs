//! DeiT and SLAB-DeiT.

use super::super::attention::{LinearAttention, linear, weight_initializer};
use super::super::config::{AttentionKind, DeitConfig, Pooling};
use super::super::fold::{into_linear, take};
use super::super::norm::{Mode, Norm, NormKind};
use super::block::{Block, Mixer};
use super::{Classifier, check, check_statistics, check_trained};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use menagerie_core::Result;
use menagerie_nn::vit::{
    BlockConfig, Keep, Linear, PatchEmbed, PatchEmbedConfig, convolution_initializer,
};

/// A transformer over patches of images.
#[derive(Module, Debug)]
pub struct SlabDeit {
    /// Patches to tokens.
    pub patch_embed: PatchEmbed,
    /// `[1, 1, dim]`, where the head sees a class token.
    pub cls_token: Option<Param<Tensor<3>>>,
    /// `[1, tokens, dim]`, the class token's first.
    pub pos_embed: Param<Tensor<3>>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// After them.
    pub norm: Norm,
    /// To class scores.
    pub head: Linear,
    #[module(skip)]
    config: DeitConfig,
}

impl DeitConfig {
    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<SlabDeit> {
        self.validate()?;
        let (dim, grid) = (self.dim, self.grid());
        let class = self.pooling == Pooling::Class;
        let mixer = || -> Result<Mixer> {
            Ok(match self.attention {
                AttentionKind::Linear => Mixer::Linear(LinearAttention::new(
                    dim, self.heads, grid, &self.sla, device,
                )),
                AttentionKind::Softmax => {
                    let block = BlockConfig::new(dim, self.heads, self.hidden())
                        .with_initializer(weight_initializer());
                    Mixer::Softmax(block.init(device)?.attn)
                }
            })
        };
        let block = || -> Result<Block> {
            Ok(Block::new(mixer()?, dim, self.hidden(), &self.norm, device))
        };
        let tokens = |count: usize| weight_initializer().init([1, count, dim], device);
        Ok(SlabDeit {
            patch_embed: PatchEmbedConfig::new(self.channels, self.patch, dim)
                .with_initializer(convolution_initializer())
                .init(device)?,
            cls_token: class.then(|| tokens(1)),
            pos_embed: tokens(grid * grid + usize::from(class)),
            blocks: (0..self.depth).map(|_| block()).collect::<Result<_>>()?,
            norm: self.norm.init(dim, device),
            head: linear(dim, self.classes, true, device),
            config: self.clone(),
        })
    }
}

impl SlabDeit {
    /// What the network was built from.
    pub fn config(&self) -> &DeitConfig {
        &self.config
    }

    /// Class scores `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are not of the configured size.
    pub fn forward(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        self.run(images, Mode::Evaluate, &[])
    }

    /// The output of every block, in order, `[batch, tokens, dim]` each, and the class scores.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are not of the configured size.
    pub fn forward_with_blocks(
        &self,
        images: Tensor<4>,
        mode: Mode,
    ) -> Result<(Vec<Tensor<3>>, Tensor<2>)> {
        self.check(&images, &[], mode)?;
        let mut outputs = Vec::with_capacity(self.blocks.len());
        let scores = self.scores(images, mode, &[], |x| outputs.push(x.clone()));
        Ok((outputs, scores))
    }

    fn check(&self, images: &Tensor<4>, keep: &[Option<Keep>], mode: Mode) -> Result<()> {
        let sizes = [self.config.channels, self.config.image];
        check(images, sizes, keep, self.blocks.len())?;
        let tokens = self.pos_embed.dims()[1];
        check_statistics(&images.dims(), tokens, mode, &self.config.norm)
    }

    fn scores(
        &self,
        images: Tensor<4>,
        mode: Mode,
        keep: &[Option<Keep>],
        mut watch: impl FnMut(&Tensor<3>),
    ) -> Tensor<2> {
        let mut x = self.patch_embed.forward(images);
        if let Some(class) = &self.cls_token {
            let [batch, _, dim] = x.dims();
            x = Tensor::cat(vec![class.val().expand([batch, 1, dim]), x], 1);
        }
        x = x + self.pos_embed.val();
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, mode, keep.get(index).and_then(Option::as_ref));
            watch(&x);
        }
        let x = self.norm.forward(x, mode);
        let [batch, _, dim] = x.dims();
        let seen = match &self.cls_token {
            Some(_) => x.narrow(1, 0, 1),
            None => x.mean_dim(1),
        };
        self.head.forward(seen.reshape([batch, dim]))
    }
}

impl Classifier for SlabDeit {
    fn run(&self, images: Tensor<4>, mode: Mode, keep: &[Option<Keep>]) -> Result<Tensor<2>> {
        self.check(&images, keep, mode)?;
        Ok(self.scores(images, mode, keep, |_| ()))
    }

    fn fold(&self) -> Result<Self> {
        check_trained(self)?;
        let mut folded = self.clone();
        for (index, block) in folded.blocks.iter_mut().enumerate() {
            block.fold(&format!("blocks.{index}"))?;
        }
        // The mean over tokens passes a and b on to the head.
        let affine = take(&mut folded.norm, "norm")?;
        into_linear(&mut folded.head, &affine);
        folded.config.norm.kind = NormKind::Folded;
        Ok(folded)
    }

    fn norms(&self) -> Vec<&Norm> {
        let blocks = self.blocks.iter().flat_map(Block::norms);
        blocks.chain([&self.norm]).collect()
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn drop_path(&self) -> (f64, usize) {
        (self.config.drop_path, self.config.depth)
    }
}
