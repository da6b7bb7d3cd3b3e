//! Images and clips as tokens.
//!
//! A convolution whose stride is its kernel is a linear map of patches that do not overlap. Cutting
//! first and multiplying then allows to embed the visible patches alone.

use crate::transformer;
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};

/// Images `[batch, channels, height, width]` cut into squares of side `patch`: `[batch, tokens,
/// patch · patch · channels]`, tokens row by row, in a patch row, column, channel, the channel
/// fastest.
///
/// # Panics
/// If `patch` does not divide height and width.
pub fn patchify(images: Tensor<4>, patch: usize) -> Tensor<3> {
    grid(images, patch, [0, 2, 4, 3, 5, 1])
}

/// The inverse of [`patchify`] for a grid of `[rows, columns]` patches.
///
/// # Panics
/// If the sizes do not fit each other.
pub fn unpatchify(patches: Tensor<3>, patch: usize, [rows, columns]: [usize; 2]) -> Tensor<4> {
    let [batch, _, size] = patches.dims();
    let channels = size / (patch * patch);
    patches
        .reshape([batch, rows, columns, patch, patch, channels])
        .permute([0, 5, 1, 3, 2, 4])
        .reshape([batch, channels, rows * patch, columns * patch])
}

/// Images as `[batch, channels, row, y, column, x]`, permuted and flattened to `[batch, row ·
/// column, rest]`.
fn grid(images: Tensor<4>, patch: usize, order: [isize; 6]) -> Tensor<3> {
    let [batch, channels, height, width] = images.dims();
    let (rows, columns) = (height / patch, width / patch);
    images
        .reshape([batch, channels, rows, patch, columns, patch])
        .permute(order)
        .reshape([batch, rows * columns, channels * patch * patch])
}

/// Sizes of a [`PatchEmbed`].
#[derive(Config, Debug, PartialEq)]
pub struct PatchEmbedConfig {
    /// Channels of the images.
    pub channels: usize,
    /// Side of a patch, in pixels.
    pub patch: usize,
    /// Width of a token.
    pub dim: usize,
    /// How the weight is drawn, as a matrix of `dim` rows; the bias is drawn from
    /// `±1 / sqrt(inputs)`, as PyTorch does for convolutions.
    #[config(default = "Initializer::XavierUniform { gain: 1.0 }")]
    pub initializer: Initializer,
}

impl PatchEmbedConfig {
    /// A layer with freshly drawn weights.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0.
    pub fn init(&self, device: &Device) -> Result<PatchEmbed> {
        positive(
            "PatchEmbedConfig",
            &[
                ("channels", self.channels),
                ("patch", self.patch),
                ("dim", self.dim),
            ],
        )?;
        let shape = [self.dim, self.channels, self.patch, self.patch];
        let inputs = self.channels * self.patch * self.patch;
        Ok(PatchEmbed {
            weight: self
                .initializer
                .init_with(shape, Some(inputs), Some(self.dim), device),
            bias: convolution_bias(inputs, self.dim, device),
        })
    }
}

/// A square patch as a token: the convolution whose stride is its kernel.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// `[dim, channels, patch, patch]`, as in a convolution.
    pub weight: Param<Tensor<4>>,
    /// `[dim]`.
    pub bias: Param<Tensor<1>>,
}

impl PatchEmbed {
    /// Images `[batch, channels, height, width]` to tokens `[batch, tokens, dim]`, row by row.
    ///
    /// # Panics
    /// If the channels are others, or if the patch does not divide height and width.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<3> {
        self.project(self.cut(images))
    }

    /// Images `[batch, channels, height, width]` as patches in the order of the weight, `[batch,
    /// tokens, channels · patch · patch]`.
    ///
    /// # Panics
    /// If the patch does not divide height and width.
    pub fn cut(&self, images: Tensor<4>) -> Tensor<3> {
        let [_, _, _, patch] = self.weight.lazy_shape().dims();
        grid(images, patch, [0, 2, 4, 1, 3, 5])
    }

    /// Patches of [`cut`](Self::cut), all or some, to tokens `[batch, tokens, dim]`.
    ///
    /// # Panics
    /// If the last axis is not `channels · patch · patch`.
    pub fn project(&self, patches: Tensor<3>) -> Tensor<3> {
        let weight = self.weight.val().flatten::<2>(1, 3);
        transformer::linear_transposed(patches, weight, Some(self.bias.val()))
    }
}

/// Sizes of a [`TubeEmbed`].
#[derive(Config, Debug, PartialEq)]
pub struct TubeEmbedConfig {
    /// Channels of the clips.
    pub channels: usize,
    /// Length of a tube, in frames.
    pub frames: usize,
    /// Side of a tube, in pixels.
    pub patch: usize,
    /// Width of a token.
    pub dim: usize,
    /// How the weight is drawn, as a matrix of `dim` rows; PyTorch's rule for convolutions unless
    /// stated. The bias is drawn from `±1 / sqrt(inputs)`.
    #[config(default = "convolution_initializer()")]
    pub initializer: Initializer,
}

impl TubeEmbedConfig {
    /// A layer with freshly drawn weights.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0.
    pub fn init(&self, device: &Device) -> Result<TubeEmbed> {
        positive(
            "TubeEmbedConfig",
            &[
                ("channels", self.channels),
                ("frames", self.frames),
                ("patch", self.patch),
                ("dim", self.dim),
            ],
        )?;
        let shape = [self.dim, self.channels, self.frames, self.patch, self.patch];
        let inputs = shape[1..].iter().product();
        Ok(TubeEmbed {
            weight: self
                .initializer
                .init_with(shape, Some(inputs), Some(self.dim), device),
            bias: convolution_bias(inputs, self.dim, device),
        })
    }
}

/// A tube of a clip, a square over some frames, as a token: the 3-D convolution whose stride is its
/// kernel.
#[derive(Module, Debug)]
pub struct TubeEmbed {
    /// `[dim, channels, frames, patch, patch]`, as in a convolution.
    pub weight: Param<Tensor<5>>,
    /// `[dim]`.
    pub bias: Param<Tensor<1>>,
}

impl TubeEmbed {
    /// Clips `[batch, channels, time, height, width]` to tokens `[batch, tokens, dim]`, by time,
    /// row, column.
    ///
    /// # Panics
    /// If the channels are others, or if the tube does not divide the clip.
    pub fn forward(&self, clips: Tensor<5>) -> Tensor<3> {
        self.project(self.cut(clips))
    }

    /// Clips `[batch, channels, time, height, width]` as tubes in the order of the weight, `[batch,
    /// tokens, channels · frames · patch · patch]`.
    ///
    /// # Panics
    /// If the tube does not divide the clip.
    pub fn cut(&self, clips: Tensor<5>) -> Tensor<3> {
        let [_, _, frames, patch, _] = self.weight.lazy_shape().dims();
        let [batch, channels, time, height, width] = clips.dims();
        let steps = time / frames;
        // Channels and the frames of a tube become channels of the pictures of one step.
        let pictures = clips
            .reshape([batch, channels, steps, frames, height * width])
            .permute([0, 2, 1, 3, 4])
            .reshape([batch * steps, channels * frames, height, width]);
        let tubes = grid(pictures, patch, [0, 2, 4, 1, 3, 5]);
        let [_, tokens, size] = tubes.dims();
        tubes.reshape([batch, steps * tokens, size])
    }

    /// Tubes of [`cut`](Self::cut), all or some, to tokens `[batch, tokens, dim]`.
    ///
    /// # Panics
    /// If the last axis is not `channels · frames · patch · patch`.
    pub fn project(&self, tubes: Tensor<3>) -> Tensor<3> {
        let weight = self.weight.val().flatten::<2>(1, 4);
        transformer::linear_transposed(tubes, weight, Some(self.bias.val()))
    }
}

fn positive(config: &'static str, sizes: &[(&str, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        None => Ok(()),
        Some((field, _)) => Err(Error::config(config, *field, 0, "must be at least 1")),
    }
}

/// PyTorch's default for the weight and the bias of a convolution: uniform within `±1 /
/// sqrt(inputs)`.
pub fn convolution_initializer() -> Initializer {
    Initializer::KaimingUniform {
        gain: 1.0 / 3.0_f64.sqrt(),
        fan_out_only: false,
    }
}

fn convolution_bias(inputs: usize, dim: usize, device: &Device) -> Param<Tensor<1>> {
    convolution_initializer().init_with([dim], Some(inputs), Some(dim), device)
}
