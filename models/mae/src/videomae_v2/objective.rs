//! Targets and losses.

use super::config::{CHANNELS, LossOver, Target};
use super::masks::DualMasking;
use crate::mae_base::objective::IMAGENET;
use burn::tensor::Tensor;

/// Added to the standard deviation of a cube's channel, outside of the root.
const EPSILON: f64 = 1e-6;

/// Cubes of the standardised clip, channels first (`[batch, cubes, 3 τ p²]` in the order of
/// [`TubeEmbed::cut`](menagerie_nn::vit::TubeEmbed::cut)), back to pixels in 0..1: `[batch, cubes, 3,
/// τ p²]`.
fn pixels(cubes: Tensor<3>) -> Tensor<4> {
    let [batch, count, size] = cubes.dims();
    let device = cubes.device();
    let per_channel = |values: [f32; CHANNELS]| {
        Tensor::<1>::from_floats(values, &device).reshape([1, 1, CHANNELS, 1])
    };
    cubes.reshape([batch, count, CHANNELS, size / CHANNELS]) * per_channel(IMAGENET.deviation)
        + per_channel(IMAGENET.mean)
}

/// Mean and standard deviation (unbiased) of every channel of every cube, `[batch, cubes, 3, 1]`
/// each.
fn moments(pixels: &Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    let count = pixels.dims()[3];
    let mean = pixels.clone().mean_dim(3);
    let squares = (pixels.clone() - mean.clone()).square().sum_dim(3);
    let spread = squares.div_scalar(count.saturating_sub(1) as f64).sqrt();
    (mean, spread)
}

/// What the decoder is to predict: standardised cubes, channels first (`[batch, cubes, 3 τ p²]`), to
/// targets `[batch, cubes, τ p² · 3]`, the channel fastest (section 3.1 and the official loop).
///
/// [`Target::Standardised`]: `(x - mean) / (std + 1e-6)` of pixels in 0..1, mean and unbiased
/// standard deviation over the pixels of one channel of the cube.
pub fn targets(cubes: Tensor<3>, target: Target) -> Tensor<3> {
    let [batch, count, size] = cubes.dims();
    let pixels = pixels(cubes);
    let values = match target {
        Target::Pixels => pixels,
        Target::Standardised => {
            let (mean, std) = moments(&pixels);
            (pixels - mean) / (std + EPSILON)
        }
    };
    values.swap_dims(2, 3).reshape([batch, count, size])
}

/// Predictions in the layout of [`targets`] as pixels, channels first: the inverse of [`targets`],
/// with the means and deviations of the true `cubes`. Both `[batch, cubes, 3 τ p²]`; the result is in
/// 0..1 as far as the prediction is.
pub fn predicted_pixels(predictions: Tensor<3>, cubes: Tensor<3>, target: Target) -> Tensor<3> {
    let [batch, count, size] = cubes.dims();
    let predictions = predictions
        .reshape([batch, count, size / CHANNELS, CHANNELS])
        .swap_dims(2, 3);
    let values = match target {
        Target::Pixels => predictions,
        Target::Standardised => {
            let (mean, std) = moments(&pixels(cubes));
            predictions * (std + EPSILON) + mean
        }
    };
    values.reshape([batch, count, size])
}

/// The mean squared error of each decoded cube, `[batch, decoded]`, of predictions and targets
/// `[batch, decoded, 3 τ p²]`.
pub fn cube_errors(predictions: Tensor<3>, targets: Tensor<3>) -> Tensor<2> {
    (predictions - targets).square().mean_dim(2).squeeze_dim(2)
}

/// The loss (equation 5): the mean of the errors `[batch, decoded]` over the decoded cubes that the
/// encoder does not see, or over all of them. Shape `[1]`.
pub fn masked_mean(errors: Tensor<2>, masks: &DualMasking, over: LossOver) -> Tensor<1> {
    match over {
        LossOver::Decoded => errors.mean(),
        LossOver::Invisible => {
            let weights = masks.invisible.clone();
            let count = weights.clone().sum();
            (errors * weights).sum() / count
        }
    }
}
