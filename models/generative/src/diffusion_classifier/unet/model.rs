//! The whole network.

use super::super::config::UNetConfig;
use super::{
    AttentionBlock, EPSILON, Resampling, ResidualBlock, convolution, linear, silent_convolution,
};
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::silu};
use menagerie_core::{Error, Result};
use menagerie_nn::conv::Conv2d;
use menagerie_nn::diffusion::timestep_embedding;
use menagerie_nn::group_norm::GroupNorm;
use menagerie_nn::resample::upsample_nearest;
use menagerie_nn::vit::Linear;
use std::collections::BTreeMap;

/// One step of a block.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Layer {
    /// The first convolution of the network.
    Conv(Conv2d),
    /// A residual block.
    Residual(ResidualBlock),
    /// Attention.
    Attention(AttentionBlock),
    /// A convolution with stride 2.
    Down(Conv2d),
    /// Every pixel four times, then a convolution.
    Up(Conv2d),
}

impl Layer {
    fn forward(&self, x: Tensor<4>, embedding: &Tensor<2>) -> Tensor<4> {
        match self {
            Self::Conv(conv) | Self::Down(conv) => conv.forward(x),
            Self::Residual(block) => block.forward(x, embedding.clone()),
            Self::Attention(block) => block.forward(x),
            Self::Up(conv) => conv.forward(upsample_nearest(x)),
        }
    }
}

/// What counts as one block: layers one after the other.
#[derive(Module, Debug)]
pub struct Stage {
    /// In order.
    pub layers: Vec<Layer>,
}

impl Stage {
    fn forward(&self, x: Tensor<4>, embedding: &Tensor<2>) -> Tensor<4> {
        let layers = self.layers.iter();
        layers.fold(x, |x, layer| layer.forward(x, embedding))
    }
}

/// The U-Net: down through the levels, a middle, up again with the maps of the way down beside.
#[derive(Module, Debug)]
pub struct UNet {
    /// The embedding's first layer; `time_embed.0`.
    pub time_in: Linear,
    /// The embedding's second layer; `time_embed.2`.
    pub time_out: Linear,
    /// The way down.
    pub input_blocks: Vec<Stage>,
    /// Residual block, attention, residual block.
    pub middle_block: Stage,
    /// The way up.
    pub output_blocks: Vec<Stage>,
    /// Before the last convolution; `out.0`.
    pub out_norm: GroupNorm,
    /// The last convolution, which starts at 0; `out.2`.
    pub out_conv: Conv2d,
    #[module(skip)]
    config: UNetConfig,
}

/// Builds blocks of one configuration.
struct Builder<'a> {
    config: &'a UNetConfig,
    device: &'a Device,
}

impl Builder<'_> {
    fn residual(&self, channels: [usize; 2], resampling: Resampling) -> Layer {
        let block = ResidualBlock::new(self.config, channels, resampling, self.device);
        Layer::Residual(block)
    }

    fn attention(&self, channels: usize) -> Layer {
        // `validate` has found that the heads divide the channels.
        let heads = self.config.heads.of(channels).unwrap_or(1);
        Layer::Attention(AttentionBlock::new(
            self.config,
            channels,
            heads,
            self.device,
        ))
    }

    /// A residual block, and attention where the level has it.
    fn level(&self, channels: [usize; 2], level: usize) -> Vec<Layer> {
        let mut layers = vec![self.residual(channels, Resampling::Keep)];
        if self.config.attention_factors.contains(&(1 << level)) {
            layers.push(self.attention(channels[1]));
        }
        layers
    }

    fn down(&self, channels: usize) -> Stage {
        let layer = match self.config.resblock_updown {
            true => self.residual([channels; 2], Resampling::Down),
            false => Layer::Down(convolution([channels; 2], 2, self.device)),
        };
        let layers = vec![layer];
        Stage { layers }
    }

    fn up(&self, channels: usize) -> Layer {
        match self.config.resblock_updown {
            true => self.residual([channels; 2], Resampling::Up),
            false => Layer::Up(convolution([channels; 2], 1, self.device)),
        }
    }

    fn input_blocks(&self, widths: &[usize]) -> Vec<Stage> {
        let images = [self.config.in_channels, widths[0]];
        let first = Layer::Conv(convolution(images, 1, self.device));
        let mut stages = vec![Stage {
            layers: vec![first],
        }];
        let mut channels = widths[0];
        for (level, &width) in widths.iter().enumerate() {
            for _ in 0..self.config.num_res_blocks {
                let layers = self.level([channels, width], level);
                stages.push(Stage { layers });
                channels = width;
            }
            if level + 1 < widths.len() {
                stages.push(self.down(channels));
            }
        }
        stages
    }

    fn middle_block(&self, channels: usize) -> Stage {
        let residual = || self.residual([channels; 2], Resampling::Keep);
        let layers = vec![residual(), self.attention(channels), residual()];
        Stage { layers }
    }

    fn output_blocks(&self, widths: &[usize], mut channels: usize) -> Vec<Stage> {
        let mut skips = self.config.skips();
        let mut stages = Vec::new();
        for (level, &width) in widths.iter().enumerate().rev() {
            for block in 0..=self.config.num_res_blocks {
                let skip = skips.pop().unwrap_or_default();
                let mut layers = self.level([channels + skip, width], level);
                channels = width;
                if level > 0 && block == self.config.num_res_blocks {
                    layers.push(self.up(channels));
                }
                stages.push(Stage { layers });
            }
        }
        stages
    }
}

impl UNetConfig {
    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<UNet> {
        self.validate()?;
        let widths: Vec<usize> = self.widths().collect();
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let build = Builder {
            config: self,
            device,
        };
        Ok(UNet {
            time_in: linear(self.model_channels, self.embedding(), device),
            time_out: linear(self.embedding(), self.embedding(), device),
            input_blocks: build.input_blocks(&widths),
            middle_block: build.middle_block(last),
            output_blocks: build.output_blocks(&widths, last),
            out_norm: GroupNorm::new(self.norm_groups, first, EPSILON, device),
            out_conv: silent_convolution([first, self.out_channels], device),
            config: self.clone(),
        })
    }
}

impl UNet {
    /// What the network was built from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The output on `x_t`, `[batch, in_channels, height, width]`, at `timesteps`, one for each
    /// sample, as the process that the network was trained on counts them from 0: `[batch,
    /// out_channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] unless the images have the configured shape and there is a timestep for each.
    pub fn forward(&self, x_t: Tensor<4>, timesteps: &[usize]) -> Result<Tensor<4>> {
        let (h, _) = self.walk(x_t, timesteps, &[], self.config.blocks())?;
        Ok(self.out_conv.forward(self.out_norm.forward_silu(h, None)))
    }

    /// What the `blocks`, counted from 1, give on `x_t` at `timesteps`, as in
    /// [`forward`](Self::forward): `[batch, channels, side, side]` by number, of the shapes
    /// [`UNetConfig::shapes`]. Nothing after the last of them is computed.
    ///
    /// # Errors
    /// [`Error::Input`] as [`forward`](Self::forward), for an empty list and for blocks that do not
    /// exist.
    pub fn features(
        &self,
        x_t: Tensor<4>,
        timesteps: &[usize],
        blocks: &[usize],
    ) -> Result<BTreeMap<usize, Tensor<4>>> {
        self.config.check_blocks(blocks)?;
        let last = blocks.iter().copied().max().unwrap_or_default();
        Ok(self.walk(x_t, timesteps, blocks, last)?.1)
    }

    /// The blocks up to `last`: the maps after it, and those of the `wanted` ones.
    fn walk(
        &self,
        x_t: Tensor<4>,
        timesteps: &[usize],
        wanted: &[usize],
        last: usize,
    ) -> Result<(Tensor<4>, BTreeMap<usize, Tensor<4>>)> {
        self.check(&x_t, timesteps)?;
        let embedding = self.embed(timesteps, &x_t.device());
        let middle = std::slice::from_ref(&self.middle_block);
        let down = self.input_blocks.iter().map(|stage| (stage, false));
        let up = self.output_blocks.iter().map(|stage| (stage, true));
        let stages = down
            .chain(middle.iter().map(|stage| (stage, false)))
            .chain(up);
        let (mut h, mut skips, mut found) = (x_t, Vec::new(), BTreeMap::new());
        for (index, (stage, joined)) in stages.enumerate().take(last) {
            if joined && let Some(skip) = skips.pop() {
                h = Tensor::cat(vec![h, skip], 1);
            }
            h = stage.forward(h, &embedding);
            if index < self.input_blocks.len() {
                skips.push(h.clone());
            }
            let block = index + 1;
            if wanted.contains(&block) {
                found.insert(block, h.clone());
            }
        }
        Ok((h, found))
    }

    /// What residual blocks are told of the timesteps, after SiLU: `[batch, 4 · model_channels]`.
    fn embed(&self, timesteps: &[usize], device: &Device) -> Tensor<2> {
        let vectors = timestep_embedding(timesteps, self.config.model_channels, device);
        silu(self.time_out.forward(silu(self.time_in.forward(vectors))))
    }

    fn check(&self, x_t: &Tensor<4>, timesteps: &[usize]) -> Result<()> {
        let shape @ [batch, channels, height, width] = x_t.dims();
        let UNetConfig {
            in_channels,
            image_size: side,
            ..
        } = self.config;
        // The network is convolutional: other sides than the configured one do if they can be halved.
        let factor = 1 << (self.config.levels() - 1);
        let fits = |size: usize| size > 0 && size.is_multiple_of(factor);
        if batch == 0 || channels != in_channels || !fits(height) || !fits(width) {
            let rule = format!(
                "must be [batch, {in_channels}, {side}, {side}], or other sides that are \
                 multiples of {factor}"
            );
            return Err(Error::input("the shape of the images", shape, rule));
        }
        if timesteps.len() != batch {
            let rule = format!("must be {batch}, one for each image");
            return Err(Error::input(
                "the number of timesteps",
                timesteps.len(),
                rule,
            ));
        }
        Ok(())
    }
}

impl UNetConfig {
    /// Refuses an empty list, blocks that do not exist, and a block named twice.
    pub(crate) fn check_blocks(&self, blocks: &[usize]) -> Result<()> {
        if blocks.is_empty() {
            let rule = "must name at least one block";
            return Err(Error::input("the list of blocks", blocks, rule));
        }
        for (index, block) in blocks.iter().enumerate() {
            if *block == 0 || *block > self.blocks() {
                let rule = format!("must lie in 1..={}", self.blocks());
                return Err(Error::input("a block", block, rule));
            }
            if blocks[..index].contains(block) {
                let rule = "must name each block once";
                return Err(Error::input("the list of blocks", blocks, rule));
            }
        }
        Ok(())
    }
}
