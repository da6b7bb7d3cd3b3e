//! The activation with a learned frequency.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

/// Snake (Ziyin et al., 2020; `blocks.Snake` of the released code): `x + sin²(αx) / (α + 1e-9)` with
/// a learned α for each channel.
///
/// It takes zero to zero, so that padding before it and after it are the same.
#[derive(Module, Debug)]
pub struct Snake {
    /// α, `[channels, 1]`; 1 at first.
    pub alpha: Param<Tensor<2>>,
}

/// Added to α before the division.
const FLOOR: f64 = 1e-9;

impl Snake {
    /// For `channels` channels, with α = 1.
    pub fn new(channels: usize, device: &Device) -> Self {
        Self {
            alpha: Initializer::Ones.init([channels, 1], device),
        }
    }

    /// `[batch, channels, time]` to the same shape.
    ///
    /// # Panics
    /// If the channels are others.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        snake(x, self.alpha.val())
    }

    /// α without autodiff, for streams.
    pub(super) fn plain(&self) -> Tensor<2> {
        let alpha = self.alpha.val();
        match alpha.device().is_autodiff() {
            true => alpha.without_autodiff(),
            false => alpha,
        }
    }
}

/// [`Snake`] of `x`, `[batch, channels, time]`, with `alpha`, `[channels, 1]`.
pub(super) fn snake(x: Tensor<3>, alpha: Tensor<2>) -> Tensor<3> {
    let alpha: Tensor<3> = alpha.unsqueeze_dim(0);
    let wave = (x.clone() * alpha.clone()).sin().square();
    x + wave * (alpha + FLOOR).recip()
}
