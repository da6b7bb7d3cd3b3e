//! The vision transformer that pre-training, fine-tuning and probing share.

use super::config::VitConfig;
use burn::module::{Initializer, Module, Param, ParamId};
use burn::tensor::{Device, Shape, Tensor};
use menagerie_core::{Error, Result};
use menagerie_nn::vit::{
    Block, Keep, LayerNorm, Masking, PatchEmbed, PatchEmbedConfig, convolution_initializer,
    position::sincos_2d,
};

/// How an encoder starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// As in pre-training: Xavier's weights, class token from N(0, 0.02²), fixed positions.
    Pretraining,
    /// As a classifier from scratch (timm): weights, class token and trained positions from N(0,
    /// 0.02²).
    Supervised,
}

impl Start {
    pub(super) fn linear(self) -> Initializer {
        match self {
            Self::Pretraining => Initializer::XavierUniform { gain: 1.0 },
            Self::Supervised => token_initializer(),
        }
    }
}

/// timm cuts the distribution off at ±2, a hundred deviations away: it is the normal one.
pub(super) fn token_initializer() -> Initializer {
    Initializer::Normal {
        mean: 0.0,
        std: 0.02,
    }
}

/// Patches, class token, positions, blocks, norm.
#[derive(Module, Debug)]
pub struct Encoder {
    /// Patches to tokens.
    pub patch_embed: PatchEmbed,
    /// `[1, 1, dim]`.
    pub cls_token: Param<Tensor<3>>,
    /// `[1, 1 + tokens, dim]`, the first row for the class token; fixed in pre-training.
    pub pos_embed: Param<Tensor<3>>,
    /// The transformer.
    pub blocks: Vec<Block>,
    /// After the last block; a classifier that pools patches has none.
    pub norm: Option<LayerNorm>,
    #[module(skip)]
    config: VitConfig,
}

/// What a pass through the encoder leaves.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// After the last block and the norm, `[batch, 1 + visible, dim]`, class token first.
    pub latent: Tensor<3>,
    /// After each of the blocks that were asked for, before any norm, of the same shape.
    pub features: Vec<Tensor<3>>,
}

impl VitConfig {
    /// An encoder with freshly drawn weights, with or without the layer norm at its end.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, start: Start, norm: bool, device: &Device) -> Result<Encoder> {
        self.validate()?;
        let block = self.block().with_initializer(start.linear());
        let patch = match start {
            Start::Pretraining => Initializer::XavierUniform { gain: 1.0 },
            Start::Supervised => convolution_initializer(),
        };
        let pos_embed = match start {
            Start::Pretraining => fixed_positions(self, self.dim, device)?,
            Start::Supervised => token_initializer().init([1, 1 + self.tokens(), self.dim], device),
        };
        Ok(Encoder {
            patch_embed: PatchEmbedConfig::new(self.channels, self.patch, self.dim)
                .with_initializer(patch)
                .init(device)?,
            cls_token: token_initializer().init([1, 1, self.dim], device),
            pos_embed,
            blocks: (0..self.depth)
                .map(|_| block.init(device))
                .collect::<Result<_>>()?,
            norm: norm.then(|| LayerNorm::new(self.dim, self.epsilon, device)),
            config: self.clone(),
        })
    }
}

/// The table of sines and cosines as a parameter that is not trained, `[1, 1 + tokens, dim]`.
pub(super) fn fixed_positions(
    config: &VitConfig,
    dim: usize,
    device: &Device,
) -> Result<Param<Tensor<3>>> {
    let grid = [config.grid(); 2];
    let table = sincos_2d(dim, grid, config.positions, 1)?;
    let shape = [1, 1 + config.tokens(), dim];
    Ok(Param::uninitialized(
        ParamId::new(),
        move |device, _| Tensor::<2>::from_data(table.clone(), device).reshape(shape),
        device.clone(),
        false,
        Shape::from(shape),
    ))
}

impl Encoder {
    /// What the encoder was built from.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// The first `blocks` blocks, without the norm after the last one: an encoder for
    /// [`features`](Self::features) alone.
    pub fn truncated(mut self, blocks: usize) -> Self {
        self.blocks.truncate(blocks);
        self.config.depth = self.blocks.len();
        self.norm = None;
        self
    }

    /// Images `[batch, channels, height, width]`, or the visible patches of them, encoded:
    /// `[batch, 1 + visible, dim]`, class token first. `keep` holds a draw of stochastic depth for each block,
    /// or nothing.
    ///
    /// # Errors
    /// [`Error::Input`] if images, masking or draws do not fit the configuration.
    pub fn forward(
        &self,
        images: Tensor<4>,
        masking: Option<&Masking>,
        keep: &[Option<Keep>],
    ) -> Result<Tensor<3>> {
        self.check(&images, masking)?;
        if !keep.is_empty() && keep.len() != self.blocks.len() {
            let rule = format!("must be one for each of {} blocks", self.blocks.len());
            return Err(Error::input("draws of stochastic depth", keep.len(), rule));
        }
        Ok(self.encode(images, masking, keep, &[]).latent)
    }

    /// [`forward`](Self::forward) without stochastic depth, and the output of `blocks`, counted from
    /// 0, in that order.
    ///
    /// # Errors
    /// [`Error::Input`] if images, masking or blocks do not fit the configuration.
    pub fn forward_with_features(
        &self,
        images: Tensor<4>,
        masking: Option<&Masking>,
        blocks: &[usize],
    ) -> Result<Encoded> {
        self.check(&images, masking)?;
        self.check_blocks(blocks)?;
        Ok(self.encode(images, masking, &[], blocks))
    }

    /// The output of `blocks` alone, counted from 0, `[batch, 1 + visible, dim]` each; nothing after
    /// the last of them is computed.
    ///
    /// # Errors
    /// [`Error::Input`] if images, masking or blocks do not fit the configuration.
    pub fn features(
        &self,
        images: Tensor<4>,
        masking: Option<&Masking>,
        blocks: &[usize],
    ) -> Result<Vec<Tensor<3>>> {
        self.check(&images, masking)?;
        self.check_blocks(blocks)?;
        let end = blocks.iter().max().map_or(0, |last| last + 1);
        let tokens = self.embed(images, masking);
        Ok(self.run(tokens, &[], blocks, end).1)
    }

    /// Tokens before the first block, `[batch, 1 + visible, dim]`. Only what is visible is
    /// embedded.
    pub(crate) fn embed(&self, images: Tensor<4>, masking: Option<&Masking>) -> Tensor<3> {
        let [batch, ..] = images.dims();
        let (tokens, dim) = (self.config.tokens(), self.config.dim);
        let positions = self.pos_embed.val();
        let patches = self.patch_embed.cut(images);
        let table = positions.clone().narrow(1, 1, tokens);
        let tokens = match masking {
            None => self.patch_embed.project(patches) + table,
            Some(masking) => {
                let table = masking.gather_table(table.reshape([tokens, dim]));
                self.patch_embed.project(masking.gather(patches)) + table
            }
        };
        let class = self.cls_token.val() + positions.narrow(1, 0, 1);
        Tensor::cat(vec![class.expand([batch, 1, dim]), tokens], 1)
    }

    /// [`forward_with_features`](Self::forward_with_features) of images that were checked.
    pub(crate) fn encode(
        &self,
        images: Tensor<4>,
        masking: Option<&Masking>,
        keep: &[Option<Keep>],
        blocks: &[usize],
    ) -> Encoded {
        let tokens = self.embed(images, masking);
        let (tokens, features) = self.run(tokens, keep, blocks, self.blocks.len());
        let latent = match &self.norm {
            Some(norm) => norm.forward(tokens),
            None => tokens,
        };
        Encoded { latent, features }
    }

    /// Tokens after the first `end` blocks, and after each of `wanted`.
    fn run(
        &self,
        mut tokens: Tensor<3>,
        keep: &[Option<Keep>],
        wanted: &[usize],
        end: usize,
    ) -> (Tensor<3>, Vec<Tensor<3>>) {
        let mut features: Vec<Option<Tensor<3>>> = vec![None; wanted.len()];
        for (index, block) in self.blocks[..end].iter().enumerate() {
            let keep = keep.get(index).and_then(Option::as_ref);
            tokens = block.forward(tokens, keep);
            for (wanted, feature) in wanted.iter().zip(&mut features) {
                if *wanted == index {
                    *feature = Some(tokens.clone());
                }
            }
        }
        (tokens, features.into_iter().flatten().collect())
    }

    /// Refuses images and a masking of other sizes.
    pub(crate) fn check(&self, images: &Tensor<4>, masking: Option<&Masking>) -> Result<()> {
        let VitConfig {
            image, channels, ..
        } = self.config;
        let [batch, found, height, width] = images.dims();
        if batch == 0 || [found, height, width] != [channels, image, image] {
            let rule =
                format!("must be [batch, {channels}, {image}, {image}] with at least one image");
            return Err(Error::input("images", images.dims(), rule));
        }
        match masking {
            Some(masking) if masking.shape() != [batch, self.config.tokens()] => {
                let rule = format!("must be [{batch}, {}]", self.config.tokens());
                Err(Error::input("masking", masking.shape(), rule))
            }
            _ => Ok(()),
        }
    }

    fn check_blocks(&self, blocks: &[usize]) -> Result<()> {
        match blocks.iter().find(|block| **block >= self.blocks.len()) {
            None => Ok(()),
            Some(block) => {
                let rule = format!("must be below the number of blocks, {}", self.blocks.len());
                Err(Error::input("a block", block, rule))
            }
        }
    }
}
