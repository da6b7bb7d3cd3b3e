//! Maps at twice and at half their size.

#[cfg(feature = "flex")]
use crate::flex::resample::resample as kernel;
use burn::tensor::Tensor;

/// Every pixel of `x`, `[batch, channels, height, width]`, four times: `[batch, channels, 2 · height,
/// 2 · width]` (nearest neighbour).
pub fn upsample_nearest(x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(y) = kernel(&x, true) {
        return y;
    }
    let [batch, channels, h, w] = x.dims();
    x.reshape([batch * channels, h, 1, w, 1])
        .expand([batch * channels, h, 2, w, 2])
        .reshape([batch, channels, 2 * h, 2 * w])
}

/// The means of the 2×2 squares of `x`, `[batch, channels, height, width]`: `[batch, channels, height
/// / 2, width / 2]`.
///
/// # Panics
/// If a side is odd.
pub fn average_pool(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, h, w] = x.dims();
    assert!(
        h.is_multiple_of(2) && w.is_multiple_of(2),
        "average pool: {h}x{w} is not made of 2x2 squares"
    );
    #[cfg(feature = "flex")]
    if let Some(y) = kernel(&x, false) {
        return y;
    }
    x.reshape([batch * channels, h / 2, 2, w / 2, 2])
        .mean_dim(4)
        .mean_dim(2)
        .reshape([batch, channels, h / 2, w / 2])
}
