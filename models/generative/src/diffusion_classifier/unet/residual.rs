//! The residual block.

use super::super::config::UNetConfig;
use super::{EPSILON, convolution, linear, silent_convolution};
use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Tensor};
use menagerie_nn::conv::{Conv2d, Conv2dConfig};
use menagerie_nn::group_norm::GroupNorm;
use menagerie_nn::resample::{average_pool, upsample_nearest};
use menagerie_nn::vit::Linear;

/// What a residual block does to the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resampling {
    /// Nothing.
    Keep,
    /// Halves it: means of 2×2 squares.
    Down,
    /// Doubles it: every pixel four times.
    Up,
}

impl Resampling {
    fn apply(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Keep => x,
            Self::Down => average_pool(x),
            Self::Up => upsample_nearest(x),
        }
    }
}

/// `skip(x) + h` with two convolutions in `h`, between which the timestep comes in.
///
/// `h = conv(resample(SiLU(GN(x))))`; with `[s, t] = linear(SiLU(embedding))`,
/// `h ← conv(SiLU(GN(h) (1 + s) + t))`, or without scale and shift `h ← conv(SiLU(GN(h + t)))`. Both
/// `h` and `x` are resampled; the last convolution starts at 0, so that the block does.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    /// Before the first convolution; `in_layers.0`.
    pub in_norm: GroupNorm,
    /// The first convolution; `in_layers.2`.
    pub in_conv: Conv2d,
    /// From the embedding to scale and shift, or to what is added; `emb_layers.1`.
    pub embedding: Linear,
    /// Before the second convolution; `out_layers.0`.
    pub out_norm: GroupNorm,
    /// The second convolution; `out_layers.3`.
    pub out_conv: Conv2d,
    /// A 1×1 convolution where the number of channels changes; `skip_connection`.
    pub skip: Option<Conv2d>,
    dropout: Dropout,
    #[module(skip)]
    resampling: Resampling,
    #[module(skip)]
    scale_shift: bool,
}

impl ResidualBlock {
    /// From `inputs` to `outputs` channels.
    pub(super) fn new(
        config: &UNetConfig,
        [inputs, outputs]: [usize; 2],
        resampling: Resampling,
        device: &Device,
    ) -> Self {
        let groups = config.norm_groups;
        let told = match config.scale_shift_norm {
            true => 2 * outputs,
            false => outputs,
        };
        Self {
            in_norm: GroupNorm::new(groups, inputs, EPSILON, device),
            in_conv: convolution([inputs, outputs], 1, device),
            embedding: linear(config.embedding(), told, device),
            out_norm: GroupNorm::new(groups, outputs, EPSILON, device),
            out_conv: silent_convolution([outputs, outputs], device),
            skip: (inputs != outputs)
                .then(|| Conv2dConfig::new([inputs, outputs], [1, 1]).init(device)),
            dropout: DropoutConfig::new(config.dropout).init(),
            resampling,
            scale_shift: config.scale_shift_norm,
        }
    }

    /// Maps `[batch, inputs, height, width]` to `[batch, outputs, height', width']`. `embedding` is
    /// what the block is told of the timestep, after SiLU: `[batch, 4 · model_channels]`.
    pub fn forward(&self, x: Tensor<4>, embedding: Tensor<2>) -> Tensor<4> {
        let h = self.in_norm.forward_silu(x.clone(), None);
        let h = self.in_conv.forward(self.resampling.apply(h));
        let x = self.resampling.apply(x);
        let told = self.embedding.forward(embedding);
        let [batch, width] = told.dims();
        let h = if self.scale_shift {
            let half = |first| told.clone().narrow(1, first, width / 2);
            let modulation = (half(0), half(width / 2));
            self.out_norm.forward_silu(h, Some(modulation))
        } else {
            let told = told.reshape([batch, width, 1, 1]);
            self.out_norm.forward_silu(h + told, None)
        };
        let h = self.out_conv.forward(self.dropout.forward(h));
        let x = match &self.skip {
            Some(skip) => skip.forward(x),
            None => x,
        };
        x + h
    }
}
