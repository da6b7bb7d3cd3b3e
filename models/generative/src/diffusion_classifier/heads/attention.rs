//! The attention head, which also fuses blocks and timesteps.

use super::super::config::BlockShape;
use super::super::features::{FeaturePoints, Features};
use super::super::unet::linear;
use super::{at_least, check_map, pooled};
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_nn::transformer::layer_norm;
use menagerie_nn::vit::{Block, BlockConfig, Linear, QkvBias};

/// The ε of all norms.
const EPSILON: f64 = 1e-5;

/// Sizes of an [`AttentionHead`].
#[derive(Config, Debug, PartialEq)]
pub struct AttentionHeadConfig {
    /// Blocks that give maps at every timestep: number, channels and side of each.
    pub maps: Vec<[usize; 3]>,
    /// How many timesteps there are.
    pub timesteps: usize,
    /// Number of classes.
    pub classes: usize,
    /// Width D of a token.
    #[config(default = 1024)]
    pub dim: usize,
    /// The transformer's blocks, in order.
    #[config(default = "vec![HeadBlock::new(8, 4.0); 2]")]
    pub blocks: Vec<HeadBlock>,
    /// Larger maps are pooled to this side first; smaller ones stay.
    #[config(default = 16)]
    pub pool: usize,
    /// What normalises the pooled maps.
    #[config(default = "HeadNorm::Layer")]
    pub norm: HeadNorm,
    /// Whether a learned token is put before the others and taken as the result, rather than the mean
    /// of all tokens.
    #[config(default = true)]
    pub cls_token: bool,
}

/// One block of the head's transformer.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct HeadBlock {
    /// Attention heads; they divide the width of a token.
    pub heads: usize,
    /// Width of the hidden layer in widths of a token.
    pub ratio: f64,
}

/// How pooled maps are normalised.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum HeadNorm {
    /// Over channels and pixels, with gain and bias for each of them, which fixes the pooled size.
    Layer,
    /// By channel over the batch, with running moments for inference.
    Batch,
}

impl AttentionHeadConfig {
    const NAME: &str = "AttentionHeadConfig";

    /// The published head on one map of 1 024 channels at 16×16, such as block 24's: 27 786 216
    /// parameters for 1 000 classes.
    pub fn imagenet() -> Self {
        Self::new(vec![[24, 1024, 16]], 1, 1000)
    }

    /// The published sizes for the features of `points`, whose blocks have these shapes.
    pub fn fused(shapes: &[BlockShape], points: &FeaturePoints, classes: usize) -> Self {
        let maps = shapes.iter();
        let maps = maps.map(|shape| [shape.block, shape.channels, shape.side]);
        Self::new(maps.collect(), points.timesteps.len(), classes)
    }

    /// Takes over the layers of an official `fusion_arc`, such as
    /// `Use_CLS_Token:True:1024,Insert_CLS_Token,Attention:1024:8:4:2,Extract_CLS_Token`; without the
    /// three parts on the token, `FullyPool` after the attention takes the mean.
    ///
    /// As in the official code any text after `Use_CLS_Token:` counts as true.
    ///
    /// # Errors
    /// [`Error::Input`] for a string that is not of one of these forms.
    pub fn with_layers(mut self, layers: &str) -> Result<Self> {
        let refuse = |rule: &str| Error::input("the layers of an attention head", layers, rule);
        let parts: Vec<&str> = layers.split(',').map(str::trim).collect();
        let (token, attention) = match &parts[..] {
            [
                used,
                "Insert_CLS_Token",
                attention @ ..,
                "Extract_CLS_Token",
            ] => (Some(used), attention),
            [attention @ .., "FullyPool"] => (None, attention),
            _ => {
                let rule = "must be Use_CLS_Token:True:<dim>,Insert_CLS_Token,Attention:<dim>:\
                            <heads>:<ratio>:<blocks>,Extract_CLS_Token, or end in FullyPool";
                return Err(refuse(rule));
            }
        };
        let number = |text: &str| text.parse::<usize>().ok();
        let mut dims = Vec::new();
        self.blocks.clear();
        if let Some(used) = token {
            match used.split(':').collect::<Vec<_>>()[..] {
                ["Use_CLS_Token", _, dim] => dims.extend(number(dim)),
                _ => return Err(refuse("must begin with Use_CLS_Token:True:<dim>")),
            }
        }
        for part in attention {
            let wrong =
                || refuse("must have layers of the form Attention:<dim>:<heads>:<ratio>:<blocks>");
            let ["Attention", dim, heads, ratio, count] = part.split(':').collect::<Vec<_>>()[..]
            else {
                return Err(wrong());
            };
            let (heads, count) = (number(heads), number(count));
            let (Some(dim), Some(heads), Some(count)) = (number(dim), heads, count) else {
                return Err(wrong());
            };
            let ratio: f64 = ratio.parse().map_err(|_| wrong())?;
            dims.push(dim);
            let blocks = vec![HeadBlock::new(heads, ratio); count.min(1_000)];
            self.blocks.extend(blocks);
        }
        match dims.first() {
            Some(dim) if dims.iter().all(|other| other == dim) => self.dim = *dim,
            _ => return Err(refuse("must name one width, the same everywhere")),
        }
        self.cls_token = token.is_some();
        Ok(self)
    }

    /// Side of the pooled map of each block.
    fn sides(&self) -> impl Iterator<Item = usize> + '_ {
        self.maps.iter().map(|[_, _, side]| self.pool.min(*side))
    }

    /// Refuses impossible sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        at_least(
            Self::NAME,
            &[
                ("maps", self.maps.len(), 1),
                ("timesteps", self.timesteps, 1),
                ("classes", self.classes, 2),
                ("dim", self.dim, 1),
                ("blocks", self.blocks.len(), 1),
                ("pool", self.pool, 1),
            ],
        )?;
        if self.maps.iter().any(|map| map.contains(&0)) {
            let rule = "must be numbers, channels and sides of at least 1";
            return Err(Error::config(Self::NAME, "maps", &self.maps, rule));
        }
        for block in &self.blocks {
            if block.heads == 0 || !self.dim.is_multiple_of(block.heads) {
                let rule = format!("must divide dim, which is {}", self.dim);
                return Err(Error::config(Self::NAME, "blocks.heads", block.heads, rule));
            }
            let hidden = block.ratio * self.dim as f64;
            if !hidden.is_finite() || hidden < 1.0 {
                let rule = "must give at least one hidden unit";
                return Err(Error::config(Self::NAME, "blocks.ratio", block.ratio, rule));
            }
        }
        Ok(())
    }

    /// A head with freshly drawn weights; the learned token starts at 0.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<AttentionHead> {
        self.validate()?;
        let maps = self.maps.iter().zip(self.sides());
        let pre_layer = maps.map(|(&[_, channels, _], side)| PreLayer {
            norm: match self.norm {
                HeadNorm::Layer => {
                    let shape = [channels, side, side];
                    MapNorm::Layer(MapLayerNorm {
                        weight: Initializer::Ones.init(shape, device),
                        bias: Initializer::Zeros.init(shape, device),
                    })
                }
                HeadNorm::Batch => MapNorm::Batch(
                    BatchNormConfig::new(channels)
                        .with_epsilon(EPSILON)
                        .init(device),
                ),
            },
            projection: linear(channels, self.dim, device),
            side,
        });
        let blocks = self.blocks.iter().map(|block| {
            let hidden = (block.ratio * self.dim as f64) as usize;
            BlockConfig::new(self.dim, block.heads, hidden)
                .with_qkv_bias(QkvBias::None)
                .with_epsilon(EPSILON)
                .init(device)
        });
        Ok(AttentionHead {
            pre_layer: pre_layer.collect(),
            cls_token: self
                .cls_token
                .then(|| Initializer::Zeros.init([1, 1, self.dim], device)),
            blocks: blocks.collect::<Result<_>>()?,
            head: linear(self.timesteps * self.dim, self.classes, device),
            config: self.clone(),
        })
    }
}

/// Layer normalisation of whole maps.
#[derive(Module, Debug)]
pub struct MapLayerNorm {
    /// The gain, `[channels, side, side]`.
    pub weight: Param<Tensor<3>>,
    /// `[channels, side, side]`.
    pub bias: Param<Tensor<3>>,
}

/// What normalises pooled maps.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum MapNorm {
    /// Over channels and pixels.
    Layer(MapLayerNorm),
    /// By channel over the batch.
    Batch(BatchNorm),
}

impl MapNorm {
    /// In the shape of `x`, `[batch, channels, side, side]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Layer(norm) => {
                let dims @ [batch, channels, h, w] = x.dims();
                let size = channels * h * w;
                let flat = |param: &Param<Tensor<3>>| param.val().reshape([size]);
                let (weight, bias) = (flat(&norm.weight), flat(&norm.bias));
                layer_norm(x.reshape([batch, size]), weight, bias, EPSILON).reshape(dims)
            }
            Self::Batch(norm) => norm.forward(x),
        }
    }
}

/// From one block's map to tokens: pool, normalise, project every pixel.
#[derive(Module, Debug)]
pub struct PreLayer {
    /// After pooling.
    pub norm: MapNorm,
    /// A 1×1 convolution.
    pub projection: Linear,
    #[module(skip)]
    side: usize,
}

impl PreLayer {
    /// A map `[batch, channels, height, width]` to tokens `[batch, side², dim]`, row by row.
    fn forward(&self, map: Tensor<4>) -> Tensor<3> {
        let x = self.norm.forward(pooled(map, self.side));
        self.projection
            .forward(x.flatten::<3>(2, 3).swap_dims(1, 2))
    }
}

/// A transformer on the pixels of feature maps.
///
/// At each timestep the tokens of all blocks stand side by side with a learned one, pass pre-norm
/// transformer blocks, and the learned one is taken; those of all timesteps go through a linear
/// layer. There are no positions: the head does not see where a pixel lies.
#[derive(Module, Debug)]
pub struct AttentionHead {
    /// For each block of the features; `pre_layer.{block}`.
    pub pre_layer: Vec<PreLayer>,
    /// The learned token, `[1, 1, dim]`; `intra_inter_block_attention.cls_token`.
    pub cls_token: Option<Param<Tensor<3>>>,
    /// The transformer; `intra_inter_block_attention.layers.{i}`.
    pub blocks: Vec<Block>,
    /// To class scores; `head`.
    pub head: Linear,
    #[module(skip)]
    config: AttentionHeadConfig,
}

impl AttentionHead {
    /// What the head was built from.
    pub fn config(&self) -> &AttentionHeadConfig {
        &self.config
    }

    /// Class scores `[batch, classes]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the features have another number of timesteps or blocks than the head, or
    /// a map another number of channels.
    pub fn forward(&self, features: &Features) -> Result<Tensor<2>> {
        if features.maps.len() != self.config.timesteps {
            let rule = format!(
                "must be {}, as the head was made for",
                self.config.timesteps
            );
            let found = features.maps.len();
            return Err(Error::input("the number of timesteps", found, rule));
        }
        let steps = features.maps.iter();
        let steps: Result<Vec<_>> = steps.map(|maps| self.summary(maps)).collect();
        Ok(self.head.forward(Tensor::cat(steps?, 1)))
    }

    /// The token that stands for the maps of one timestep, `[batch, dim]`.
    fn summary(&self, maps: &[Tensor<4>]) -> Result<Tensor<2>> {
        if maps.len() != self.pre_layer.len() {
            let rule = format!("must be {}, as the head was made for", self.pre_layer.len());
            return Err(Error::input("the number of blocks", maps.len(), rule));
        }
        let mut tokens = Vec::with_capacity(maps.len() + 1);
        for ((map, layer), &[_, channels, _]) in
            maps.iter().zip(&self.pre_layer).zip(&self.config.maps)
        {
            check_map(map, channels)?;
            if let (true, Some(token)) = (tokens.is_empty(), &self.cls_token) {
                let dims = [map.dims()[0], 1, self.config.dim];
                tokens.push(token.val().expand(dims));
            }
            tokens.push(layer.forward(map.clone()));
        }
        let blocks = self.blocks.iter();
        let x = blocks.fold(Tensor::cat(tokens, 1), |x, block| block.forward(x, None));
        Ok(match self.cls_token {
            Some(_) => x.narrow(1, 0, 1).squeeze_dim(1),
            None => x.mean_dim(1).squeeze_dim(1),
        })
    }
}
