//! Convolution, instance normalisation and activation as one operation.
//!
//! A network that is a chain of such blocks spends its memory traffic between them; as one
//! operation, a sample's maps are normalised while they are still in the cache.

use crate::conv::{Padding, check_conv_transpose2d, check_conv2d, conv_transpose2d, conv2d};
use crate::norm::{
    check_affine, check_modulation, instance_norm_leaky_relu, leaky_relu_instance_norm,
};
use burn::tensor::Tensor;

/// [`conv2d`] without bias, then [`instance_norm_leaky_relu`] (the encoder block of QLAE, arXiv
/// 2305.18378, and of many others).
///
/// `x` is `[batch, in, height, width]`, `weight` `[out, in, kernel height, kernel width]`, gamma
/// and beta `[out]`.
///
/// # Panics
/// As the two do.
pub fn conv_norm_leaky_relu(
    x: Tensor<4>,
    weight: Tensor<4>,
    stride: [usize; 2],
    padding: Padding,
    affine: Option<(Tensor<1>, Tensor<1>)>,
    epsilon: f64,
    slope: f64,
) -> Tensor<4> {
    let outputs = check_conv2d(x.dims(), weight.dims(), stride, padding);
    check_affine(outputs, affine.as_ref());
    #[cfg(feature = "flex")]
    {
        let (norm, gains, tensors) = crate::norm::norm_first(affine.as_ref(), epsilon, slope);
        let maps = [&x, &weight];
        if let Some(y) =
            crate::flex::block::block(false, maps, stride, padding, norm, gains, tensors)
        {
            return y;
        }
    }
    let y = conv2d(x, weight, None, stride, padding);
    instance_norm_leaky_relu(y, affine, epsilon, slope)
}

/// [`conv_transpose2d`] without bias, then [`leaky_relu_instance_norm`] with its modulation (the
/// decoder block of QLAE, arXiv 2305.18378, after StyleGAN's, arXiv 1812.04948).
///
/// `x` is `[batch, in, height, width]`, `weight` `[in, out, kernel height, kernel width]`, scale
/// and shift `[batch, out]`.
///
/// # Panics
/// As the two do.
pub fn conv_transpose_leaky_relu_norm(
    x: Tensor<4>,
    weight: Tensor<4>,
    stride: [usize; 2],
    padding: Padding,
    slope: f64,
    epsilon: f64,
    modulation: Option<(Tensor<2>, Tensor<2>)>,
) -> Tensor<4> {
    let outputs = check_conv_transpose2d(x.dims(), weight.dims(), stride, padding);
    check_modulation([x.dims()[0], outputs], modulation.as_ref());
    #[cfg(feature = "flex")]
    {
        let (norm, gains, tensors) =
            crate::norm::activation_first(modulation.as_ref(), epsilon, slope);
        let maps = [&x, &weight];
        if let Some(y) =
            crate::flex::block::block(true, maps, stride, padding, norm, gains, tensors)
        {
            return y;
        }
    }
    let y = conv_transpose2d(x, weight, None, stride, padding);
    leaky_relu_instance_norm(y, slope, epsilon, modulation)
}
