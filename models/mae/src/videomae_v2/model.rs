//! The pre-training network: encoder, bridge, decoder.

use super::config::{CHANNELS, ClipConfig, TowerConfig, VideoMaeConfig};
use super::masks::{DualMasking, Grid};
use super::objective::{cube_errors, masked_mean, predicted_pixels, targets};
use crate::mae_base::objective::IMAGENET;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_nn::vit::{
    Block, LayerNorm, Linear, LinearConfig, TubeEmbed, TubeEmbedConfig, convolution_initializer,
    position::sinusoid_1d,
};

/// The ε of all layer norms.
pub(super) const EPSILON: f64 = 1e-6;

/// Blocks with the fixed table of positions of their width.
pub(super) struct Tower {
    pub blocks: Vec<Block>,
    pub positions: Tensor<2>,
}

impl Tower {
    fn new(config: &VideoMaeConfig, tower: &TowerConfig, device: &Device) -> Result<Self> {
        let block = config
            .blocks
            .block(tower, Initializer::XavierUniform { gain: 1.0 });
        let table = sinusoid_1d(tower.dim, config.clip.grid().tokens());
        Ok(Self {
            blocks: (0..tower.depth)
                .map(|_| block.init(device))
                .collect::<Result<_>>()?,
            positions: Tensor::from_data(table, &device.clone().without_autodiff()),
        })
    }
}

/// The embedding of cubes as PyTorch draws a `Conv3d`.
pub(super) fn tube_embed(clip: &ClipConfig, dim: usize, device: &Device) -> Result<TubeEmbed> {
    TubeEmbedConfig::new(CHANNELS, clip.tubelet, clip.patch, dim).init(device)
}

/// The encoder of visible cubes.
#[derive(Module, Debug)]
pub struct Encoder {
    /// Cubes to tokens.
    pub patch_embed: TubeEmbed,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// The final norm.
    pub norm: LayerNorm,
    /// The table of positions, `[cubes, D]`; computed, not trained, not saved.
    pub positions: Tensor<2>,
}

impl Encoder {
    /// Embedded tokens `[batch, tokens, D]` through blocks and norm; the same shape.
    pub fn encode(&self, tokens: Tensor<3>) -> Tensor<3> {
        let blocks = self.blocks.iter();
        let tokens = blocks.fold(tokens, |tokens, block| block.forward(tokens, None));
        self.norm.forward(tokens)
    }

    /// The visible cubes embedded with their positions, `[batch, visible, D]`, of `cubes` `[batch,
    /// tokens, 3 τ p²]`.
    pub fn embed(&self, cubes: Tensor<3>, masks: &DualMasking) -> Tensor<3> {
        // Hidden cubes are cut away before the product: nine tenths of its cost.
        let tokens = self.patch_embed.project(masks.visible.gather(cubes));
        tokens + masks.visible.gather_table(self.positions.clone())
    }
}

/// The decoder of tokens and mask tokens.
#[derive(Module, Debug)]
pub struct Decoder {
    /// The blocks.
    pub blocks: Vec<Block>,
    /// The final norm.
    pub norm: LayerNorm,
    /// Tokens to pixels of a cube, `d` to `3 τ p²`.
    pub head: Linear,
    /// The table of positions, `[cubes, d]`; computed, not trained, not saved.
    pub positions: Tensor<2>,
}

impl Decoder {
    /// Tokens `[batch, tokens, d]` to the predictions of the last `count`, `[batch, count, 3 τ p²]`.
    ///
    /// # Panics
    /// If there are fewer tokens than `count`.
    pub fn decode(&self, tokens: Tensor<3>, count: usize) -> Tensor<3> {
        let blocks = self.blocks.iter();
        let tokens = blocks.fold(tokens, |tokens, block| block.forward(tokens, None));
        let [_, all, _] = tokens.dims();
        // Norm and head act on each token alone: the visible ones can go first.
        let predicted = tokens.narrow(1, all - count, count);
        self.head.forward(self.norm.forward(predicted))
    }
}

/// A masked autoencoder of clips.
#[derive(Module, Debug)]
pub struct VideoMae {
    /// The encoder.
    pub encoder: Encoder,
    /// The bridge, `D` to `d`, without a bias.
    pub encoder_to_decoder: Linear,
    /// What stands for a cube that is to be predicted, `[1, 1, d]`.
    pub mask_token: Param<Tensor<3>>,
    /// The decoder.
    pub decoder: Decoder,
    #[module(skip)]
    config: VideoMaeConfig,
}

/// What a pre-training pass computes.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Visible cubes, encoded: `[batch, visible, D]`.
    pub encoded: Tensor<3>,
    /// What the decoder is given, visible cubes first: `[batch, visible + decoded, d]`.
    pub decoder_input: Tensor<3>,
    /// Predictions of the decoded cubes, `[batch, decoded, τ p² · 3]`.
    pub predictions: Tensor<3>,
}

/// The loss of a batch and what it is made of.
#[derive(Clone, Debug)]
pub struct PretrainLoss {
    /// The objective, shape `[1]`.
    pub total: Tensor<1>,
    /// Targets of the decoded cubes, `[batch, decoded, τ p² · 3]`.
    pub targets: Tensor<3>,
    /// The pass.
    pub forward: Forward,
}

/// A masked clip as pictures, all `[batch, 3, frames, height, width]` in 0..1.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// The clip.
    pub original: Tensor<5>,
    /// What the encoder saw, the rest grey.
    pub masked: Tensor<5>,
    /// What the encoder saw, and predictions of the decoded cubes; what is neither is grey.
    pub reconstructed: Tensor<5>,
}

impl VideoMaeConfig {
    /// A network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<VideoMae> {
        self.validate()?;
        let (wide, narrow) = (self.encoder.dim, self.decoder.dim);
        let encoder = Tower::new(self, &self.encoder, device)?;
        let decoder = Tower::new(self, &self.decoder, device)?;
        // The official module initialises its towers, but not this layer: PyTorch's default stays.
        let bridge = LinearConfig {
            bias: false,
            initializer: convolution_initializer(),
            ..LinearConfig::new(wide, narrow)
        };
        Ok(VideoMae {
            encoder: Encoder {
                patch_embed: tube_embed(&self.clip, wide, device)?,
                blocks: encoder.blocks,
                norm: LayerNorm::new(wide, EPSILON, device),
                positions: encoder.positions,
            },
            encoder_to_decoder: bridge.init(device),
            mask_token: Param::from_tensor(truncated_normal(narrow, 0.02, device)?),
            decoder: Decoder {
                blocks: decoder.blocks,
                norm: LayerNorm::new(narrow, EPSILON, device),
                head: LinearConfig::new(narrow, self.clip.cube()).init(device),
                positions: decoder.positions,
            },
            config: *self,
        })
    }
}

impl VideoMae {
    /// The sizes.
    pub fn config(&self) -> &VideoMaeConfig {
        &self.config
    }

    /// The cubes of a clip.
    pub fn grid(&self) -> Grid {
        self.config.clip.grid()
    }

    /// A pre-training pass over standardised clips `[batch, 3, frames, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the clips are of another shape or the masks of another batch or grid.
    pub fn forward(&self, clips: Tensor<5>, masks: &DualMasking) -> Result<Forward> {
        self.check(&clips, masks)?;
        Ok(self.pass(self.encoder.patch_embed.cut(clips), masks))
    }

    /// The objective of standardised clips `[batch, 3, frames, height, width]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn loss(&self, clips: Tensor<5>, masks: &DualMasking) -> Result<PretrainLoss> {
        self.check(&clips, masks)?;
        Ok(self.objective(clips, masks))
    }

    /// [`loss`](Self::loss) of clips and masks that are known to fit.
    pub(super) fn objective(&self, clips: Tensor<5>, masks: &DualMasking) -> PretrainLoss {
        let cubes = self.encoder.patch_embed.cut(clips);
        let targets = targets(masks.decoded.gather(cubes.clone()), self.config.target);
        let forward = self.pass(cubes, masks);
        let errors = cube_errors(forward.predictions.clone(), targets.clone());
        PretrainLoss {
            total: masked_mean(errors, masks, self.config.loss_over),
            targets,
            forward,
        }
    }

    fn pass(&self, cubes: Tensor<3>, masks: &DualMasking) -> Forward {
        let encoded = self.encoder.encode(self.encoder.embed(cubes, masks));
        let table = || self.decoder.positions.clone();
        let visible =
            self.encoder_to_decoder.forward(encoded.clone()) + masks.visible.gather_table(table());
        // Cubes are decoded where the decoder's mask says so, whether the encoder saw them or not.
        let decoded = self.mask_token.val() + masks.decoded.gather_table(table());
        let decoder_input = Tensor::cat(vec![visible, decoded], 1);
        let predictions = self
            .decoder
            .decode(decoder_input.clone(), masks.decoded.visible());
        Forward {
            encoded,
            decoder_input,
            predictions,
        }
    }

    /// All cubes of standardised clips `[batch, 3, frames, height, width]`, encoded: `[batch,
    /// cubes, D]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the clips are of another shape.
    pub fn encode(&self, clips: Tensor<5>) -> Result<Tensor<3>> {
        self.config.clip.check(clips.dims())?;
        let tokens = self.encoder.patch_embed.forward(clips);
        let tokens = tokens + self.encoder.positions.clone().unsqueeze();
        Ok(self.encoder.encode(tokens))
    }

    /// The mean of [`encode`](Self::encode) over all cubes, `[batch, D]`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn features(&self, clips: Tensor<5>) -> Result<Tensor<2>> {
        Ok(self.encode(clips)?.mean_dim(1).squeeze_dim(1))
    }

    /// The clips as pictures, as seen by the encoder, and with the predictions in place. Predicted
    /// cubes get mean and deviation of the true ones where those are the targets' units.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn reconstruct(&self, clips: Tensor<5>, masks: &DualMasking) -> Result<Reconstruction> {
        self.check(&clips, masks)?;
        let [batch, tokens] = masks.shape();
        let device = clips.device();
        let cubes = self.encoder.patch_embed.cut(clips.clone());
        let size = self.config.clip.cube();
        let predictions = self.pass(cubes.clone(), masks).predictions;
        let decoded = masks.decoded.gather(cubes);
        let predicted = predicted_pixels(predictions, decoded, self.config.target).clamp(0.0, 1.0);

        let [_, channels, frames, height, width] = clips.dims();
        // Frames below each other: pictures, whose normalisation is undone.
        let pictures = clips.reshape([batch, channels, frames * height, width]);
        let original = IMAGENET.undo(pictures).clamp(0.0, 1.0);
        let original = original.reshape([batch, channels, frames, height, width]);
        let pixels = self.encoder.patch_embed.cut(original.clone());
        let hidden = masks.visible.mask.clone().reshape([batch, tokens, 1]);
        let grey = Tensor::full([size], 0.5, &device);
        let masked = pixels.clone() * (hidden.clone().neg() + 1.0) + hidden.clone() * 0.5;
        let filled = masks.decoded.restore(predicted, grey, 0);
        let filled = pixels * (hidden.clone().neg() + 1.0) + filled * hidden;
        Ok(Reconstruction {
            original,
            masked: self.assemble(masked),
            reconstructed: self.assemble(filled),
        })
    }

    /// Cubes, channels first, `[batch, tokens, 3 τ p²]`, as clips `[batch, 3, frames, height,
    /// width]`.
    fn assemble(&self, cubes: Tensor<3>) -> Tensor<5> {
        let ClipConfig {
            frames,
            size,
            patch,
            tubelet,
        } = self.config.clip;
        let Grid {
            time,
            rows,
            columns,
        } = self.grid();
        let [batch, ..] = cubes.dims();
        cubes
            .reshape([
                batch * time,
                rows * columns,
                CHANNELS * tubelet * patch * patch,
            ])
            .reshape([
                batch * time,
                rows,
                columns,
                CHANNELS * tubelet,
                patch,
                patch,
            ])
            .permute([0, 3, 1, 4, 2, 5])
            .reshape([batch, time, CHANNELS, tubelet, size * size])
            .permute([0, 2, 1, 3, 4])
            .reshape([batch, CHANNELS, frames, size, size])
    }

    fn check(&self, clips: &Tensor<5>, masks: &DualMasking) -> Result<()> {
        self.config.clip.check(clips.dims())?;
        let needed = [clips.dims()[0], self.grid().tokens()];
        if masks.shape() != needed {
            let rule = format!("must be {needed:?}, the clips and their cubes");
            return Err(Error::input("the shape of the masks", masks.shape(), rule));
        }
        Ok(())
    }
}

/// `[1, 1, size]` from a normal distribution of deviation `std`, cut at one deviation.
fn truncated_normal(size: usize, std: f64, device: &Device) -> Result<Tensor<3>> {
    let plain = device.clone().without_autodiff();
    let uniform = Tensor::<1>::random([size], Distribution::Uniform(0.0, 1.0), &plain);
    let uniform: Vec<f32> = uniform
        .try_into_vec_as::<f32>()
        .map_err(|error| Error::other("drawing the mask token", error))?;
    // The share of a normal distribution below `-1`, and between `-1` and `1` deviations.
    let share = |x: f64| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
    let (below, within) = (share(-1.0), share(1.0) - share(-1.0));
    let values: Vec<f32> = uniform
        .into_iter()
        .map(|draw| {
            let wanted = below + f64::from(draw) * within;
            let (mut low, mut high) = (-1.0, 1.0);
            // The inverse by bisection, to single precision.
            for _ in 0..40 {
                let middle = 0.5 * (low + high);
                if share(middle) < wanted {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            (std * low) as f32
        })
        .collect();
    Ok(Tensor::from_data(
        TensorData::new(values, [1, 1, size]),
        device,
    ))
}
