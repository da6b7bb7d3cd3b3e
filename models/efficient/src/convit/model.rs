//! The network: local blocks on patches, then the class token and ordinary blocks.

use super::config::{ConVitConfig, weight_initializer};
use super::gpsa::{Gpsa, PreparedGpsa, Relative};
use super::objective::non_locality;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation::softmax};
use menagerie_core::{Error, Result};
use menagerie_nn::vit::{
    Block, Keep, LayerNorm, Linear, LinearConfig, Mlp, PatchEmbed, PatchEmbedConfig,
    convolution_initializer,
};

/// `x ← x + GPSA(LN(x))`, then `x ← x + MLP(LN(x))`.
#[derive(Module, Debug)]
pub struct LocalBlock {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// Gated positional self-attention.
    pub attn: Gpsa,
    /// Before the multilayer perceptron.
    pub norm2: LayerNorm,
    /// The multilayer perceptron.
    pub mlp: Mlp,
}

impl LocalBlock {
    fn new(config: &ConVitConfig, device: &Device) -> Self {
        let (dim, hidden) = (config.dim, config.hidden());
        let linear = |inputs: usize, outputs: usize| {
            LinearConfig {
                initializer: weight_initializer(),
                ..LinearConfig::new(inputs, outputs)
            }
            .init(device)
        };
        let norm = || LayerNorm::new(dim, config.epsilon, device);
        Self {
            norm1: norm(),
            attn: Gpsa::new(config, device),
            norm2: norm(),
            mlp: Mlp {
                fc1: linear(dim, hidden),
                fc2: linear(hidden, dim),
            },
        }
    }

    /// Patches `[batch, tokens, dim]` to the same shape, with the positional maps of
    /// [`Gpsa::positions`]; `keep` says which branches stochastic depth leaves in.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn forward(&self, x: Tensor<3>, positions: Tensor<3>, keep: Option<&Keep>) -> Tensor<3> {
        let branch = self.attn.forward(self.norm1.forward(x.clone()), positions);
        let x = x + kept(branch, keep.map(|keep| &keep.attention));
        let branch = self.mlp.forward(self.norm2.forward(x.clone()));
        x + kept(branch, keep.map(|keep| &keep.mlp))
    }
}

/// The softmax map of an ordinary attention, `[batch, heads, tokens, tokens]`, of queries, keys and
/// values `[batch, tokens, 3 dim]`.
fn content_map(qkv: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, width] = qkv.dims();
    let (dim, size) = (width / 3, width / 3 / heads);
    let part = |at: usize| {
        let part = qkv.clone().narrow(2, at * dim, dim);
        part.reshape([batch, tokens, heads, size]).swap_dims(1, 2)
    };
    let scores = part(0).matmul(part(1).transpose()) * (size as f64).powf(-0.5);
    softmax(scores, 3)
}

fn kept(branch: Tensor<3>, keep: Option<&Tensor<3>>) -> Tensor<3> {
    match keep {
        None => branch,
        Some(keep) => branch * keep.clone(),
    }
}

/// An image classifier whose first blocks start as convolutions and may learn not to be.
#[derive(Module, Debug)]
pub struct ConVit {
    /// Patches to tokens.
    pub patch_embed: PatchEmbed,
    /// `[1, tokens, dim]`; none for the class token.
    pub pos_embed: Option<Param<Tensor<3>>>,
    /// `[1, 1, dim]`.
    pub cls_token: Param<Tensor<3>>,
    /// The first blocks, on patches alone.
    pub local: Vec<LocalBlock>,
    /// The other blocks, on class token and patches.
    pub global: Vec<Block>,
    /// After the last block.
    pub norm: LayerNorm,
    /// Class token to class scores.
    pub head: Linear,
    #[module(skip)]
    config: ConVitConfig,
}

impl ConVitConfig {
    /// A network with freshly drawn weights, its local heads as the taps of a convolution.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<ConVit> {
        self.validate()?;
        let tokens = || weight_initializer().init([1, self.tokens(), self.dim], device);
        Ok(ConVit {
            patch_embed: PatchEmbedConfig::new(self.channels, self.patch, self.dim)
                .with_initializer(convolution_initializer())
                .init(device)?,
            pos_embed: self.positions.then(tokens),
            cls_token: weight_initializer().init([1, 1, self.dim], device),
            local: (0..self.local_blocks)
                .map(|_| LocalBlock::new(self, device))
                .collect(),
            global: (self.local_blocks..self.depth)
                .map(|_| self.block().init(device))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(self.dim, self.epsilon, device),
            head: LinearConfig {
                initializer: weight_initializer(),
                ..LinearConfig::new(self.dim, self.classes)
            }
            .init(device),
            config: self.clone(),
        })
    }
}

impl ConVit {
    /// What the network was built from.
    pub fn config(&self) -> &ConVitConfig {
        &self.config
    }

    /// Class scores `[batch, classes]` of images `[batch, channels, height, width]`; `keep` is a
    /// draw of stochastic depth for each block, empty when not training.
    ///
    /// # Errors
    /// [`Error::Input`] if images or draws do not fit the configuration.
    pub fn forward(&self, images: Tensor<4>, keep: &[Option<Keep>]) -> Result<Tensor<2>> {
        self.check(&images)?;
        if !keep.is_empty() && keep.len() != self.config.depth {
            let rule = format!("must be one for each of {} blocks", self.config.depth);
            return Err(Error::input("draws of stochastic depth", keep.len(), rule));
        }
        Ok(self.scores(images, keep))
    }

    /// Class scores of images and draws that were checked.
    pub(super) fn scores(&self, images: Tensor<4>, keep: &[Option<Keep>]) -> Tensor<2> {
        self.head.forward(self.encode(images, keep, |_, _| ()))
    }

    /// Class probabilities `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured size.
    pub fn classify(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        Ok(softmax(self.forward(images, &[])?, 1))
    }

    /// What the head sees of images `[batch, channels, height, width]`: the class token after the
    /// last norm, `[batch, dim]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured size.
    pub fn features(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        self.check(&images)?;
        Ok(self.encode(images, &[], |_, _| ()))
    }

    /// The output of every block, in order: `[batch, tokens, dim]`, with the class token in front
    /// from the first ordinary block on.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured size.
    pub fn block_outputs(&self, images: Tensor<4>) -> Result<Vec<Tensor<3>>> {
        self.check(&images)?;
        let mut outputs = Vec::with_capacity(self.config.depth);
        self.encode(images, &[], |_, tokens| outputs.push(tokens.clone()));
        Ok(outputs)
    }

    /// The map A of block `layer`, counted from 0, for images `[batch, channels, height, width]`:
    /// `[batch, heads, tokens, tokens]`, queries by keys. In the ordinary blocks, which come after the
    /// local ones, the class token is the first token.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured size, or there is no such block.
    pub fn attention_map(&self, images: Tensor<4>, layer: usize) -> Result<Tensor<4>> {
        self.check(&images)?;
        let blocks = self.local.len() + self.global.len();
        if layer >= blocks {
            let rule = format!("must be below the number of blocks, {blocks}");
            return Err(Error::input("a block", layer, rule));
        }
        let relative = self.relative(&images.device());
        let mut tokens = self.embed(images);
        for (index, block) in self.local.iter().enumerate() {
            let positions = block.attn.positions(&relative);
            if index == layer {
                let tokens = block.norm1.forward(tokens);
                return Ok(block.attn.attention_map(tokens, positions));
            }
            tokens = block.forward(tokens, positions, None);
        }
        let mut tokens = self.with_class_token(tokens);
        let last = layer - self.local.len();
        for block in self.global.iter().take(last) {
            tokens = block.forward(tokens, None);
        }
        let Some(block) = self.global.get(last) else {
            // It was counted above.
            return Err(Error::input("a block", layer, "must be there"));
        };
        let qkv = block.attn.qkv.forward(block.norm1.forward(tokens));
        Ok(content_map(qkv, self.config.heads))
    }

    /// σ(λ) of the heads of each local block, `[heads]` each.
    pub fn gates(&self) -> Vec<Tensor<1>> {
        self.local.iter().map(|block| block.attn.gates()).collect()
    }

    /// How far the heads of each local block look, in patches, `[heads]` each: see
    /// [`non_locality`].
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured size.
    pub fn non_localities(&self, images: Tensor<4>) -> Result<Vec<Tensor<1>>> {
        let distances = self.relative(&images.device()).distances();
        (0..self.local.len())
            .map(|layer| {
                let map = self.attention_map(images.clone(), layer)?;
                Ok(non_locality(map, distances.clone()))
            })
            .collect()
    }

    /// The network for inference: what does not depend on the input is computed now.
    pub fn prepare(&self) -> Prepared {
        let model = self.valid();
        let relative = model.relative(&model.head.weight.device());
        let attention = model
            .local
            .iter()
            .map(|block| block.attn.prepare(&relative))
            .collect();
        Prepared { model, attention }
    }

    /// The relative positions of the configured grid.
    pub fn relative(&self, device: &Device) -> Relative {
        Relative::new(self.config.grid(), device)
    }

    fn embed(&self, images: Tensor<4>) -> Tensor<3> {
        let tokens = self.patch_embed.forward(images);
        match &self.pos_embed {
            None => tokens,
            Some(positions) => tokens + positions.val(),
        }
    }

    /// The class token after the last norm; `watch` sees every block's output.
    fn encode(
        &self,
        images: Tensor<4>,
        keep: &[Option<Keep>],
        mut watch: impl FnMut(usize, &Tensor<3>),
    ) -> Tensor<2> {
        let relative = self.relative(&images.device());
        let keep = |block: usize| keep.get(block).and_then(Option::as_ref);
        let mut tokens = self.embed(images);
        for (index, block) in self.local.iter().enumerate() {
            tokens = block.forward(tokens, block.attn.positions(&relative), keep(index));
            watch(index, &tokens);
        }
        let tokens = self.with_class_token(tokens);
        self.finish(
            tokens,
            |index| keep(self.local.len() + index),
            |index, tokens| {
                watch(self.local.len() + index, tokens);
            },
        )
    }

    fn with_class_token(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [batch, _, dim] = tokens.dims();
        let class = self.cls_token.val().expand([batch, 1, dim]);
        Tensor::cat(vec![class, tokens], 1)
    }

    /// The ordinary blocks, the norm, the class token.
    fn finish<'a>(
        &self,
        mut tokens: Tensor<3>,
        keep: impl Fn(usize) -> Option<&'a Keep>,
        mut watch: impl FnMut(usize, &Tensor<3>),
    ) -> Tensor<2> {
        for (index, block) in self.global.iter().enumerate() {
            tokens = block.forward(tokens, keep(index));
            watch(index, &tokens);
        }
        let [batch, _, dim] = tokens.dims();
        let class = tokens.narrow(1, 0, 1).reshape([batch, dim]);
        self.norm.forward(class)
    }

    fn check(&self, images: &Tensor<4>) -> Result<()> {
        let (found, config) = (images.dims(), &self.config);
        let [batch, rest @ ..] = found;
        if batch > 0 && rest == [config.channels, config.image, config.image] {
            return Ok(());
        }
        let rule = format!(
            "must be [batch, {}, {side}, {side}] with at least one image",
            config.channels,
            side = config.image
        );
        Err(Error::input("images", found, rule))
    }
}

/// A [`ConVit`] for inference: the positional maps, which do not depend on the image, are kept.
#[derive(Clone, Debug)]
pub struct Prepared {
    model: ConVit,
    attention: Vec<PreparedGpsa>,
}

impl Prepared {
    /// Class scores `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured size.
    pub fn forward(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        let model = &self.model;
        model.check(&images)?;
        let mut x = model.embed(images);
        for (block, attention) in model.local.iter().zip(&self.attention) {
            x = x.clone() + attention.forward(block.norm1.forward(x));
            x = x.clone() + block.mlp.forward(block.norm2.forward(x));
        }
        let class = model.finish(model.with_class_token(x), |_| None, |_, _| ());
        Ok(model.head.forward(class))
    }
}
