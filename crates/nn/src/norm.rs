//! Instance normalisation (Ulyanov et al. 2016, arXiv 1607.08022), alone and with its neighbours.
//!
//! Each sample's each channel is brought to zero mean and unit (biased) variance over its pixels:
//! `(x - mean) / sqrt(var + epsilon)`. It is group normalisation with as many groups as channels.

#[cfg(feature = "flex")]
use crate::flex::norm::{Gains, instance_norm as instance_norm_kernel};
#[cfg(feature = "flex")]
use crate::kernel::norm::Norm;
#[cfg(feature = "flex")]
use burn::backend::DispatchTensor;
use burn::tensor::{Tensor, activation};

/// Instance normalisation of `x`, `[batch, channels, height, width]`, with the optional gain and
/// offset `(gamma, beta)`, each `[channels]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn instance_norm(
    x: Tensor<4>,
    affine: Option<(Tensor<1>, Tensor<1>)>,
    epsilon: f64,
) -> Tensor<4> {
    instance_norm_leaky_relu(x, affine, epsilon, 1.0)
}

/// [`instance_norm`] followed by a LeakyReLU with slope `slope` below zero (0 is ReLU, 1 the
/// identity).
///
/// # Panics
/// If the shapes do not fit each other.
pub fn instance_norm_leaky_relu(
    x: Tensor<4>,
    affine: Option<(Tensor<1>, Tensor<1>)>,
    epsilon: f64,
    slope: f64,
) -> Tensor<4> {
    check_affine(x.dims()[1], affine.as_ref());
    #[cfg(feature = "flex")]
    {
        let (norm, gains, tensors) = norm_first(affine.as_ref(), epsilon, slope);
        if let Some(y) = instance_norm_kernel(&x, norm, gains, tensors) {
            return y;
        }
    }
    plain::instance_norm_leaky_relu(x, affine, epsilon, slope)
}

/// A LeakyReLU with slope `slope` below zero, then instance normalisation without gain, then the
/// optional modulation of every sample's every channel: `y * scale + shift`, `scale` and `shift`
/// each `[batch, channels]` (adaptive instance normalisation, Huang and Belongie 2017, arXiv
/// 1703.06868).
///
/// # Panics
/// If the shapes do not fit each other.
pub fn leaky_relu_instance_norm(
    x: Tensor<4>,
    slope: f64,
    epsilon: f64,
    modulation: Option<(Tensor<2>, Tensor<2>)>,
) -> Tensor<4> {
    let [batch, channels, _, _] = x.dims();
    check_modulation([batch, channels], modulation.as_ref());
    #[cfg(feature = "flex")]
    {
        let (norm, gains, tensors) = activation_first(modulation.as_ref(), epsilon, slope);
        if let Some(y) = instance_norm_kernel(&x, norm, gains, tensors) {
            return y;
        }
    }
    plain::leaky_relu_instance_norm(x, slope, epsilon, modulation)
}

/// A kernel's constants, kind of gain, and gain and shift.
#[cfg(feature = "flex")]
type Normalisation = (Norm, Gains, Option<[DispatchTensor; 2]>);

/// For [`instance_norm_leaky_relu`].
#[cfg(feature = "flex")]
pub(crate) fn norm_first(
    affine: Option<&(Tensor<1>, Tensor<1>)>,
    epsilon: f64,
    slope: f64,
) -> Normalisation {
    let norm = Norm {
        before: 1.0,
        after: slope as f32,
        epsilon: epsilon as f32,
    };
    match affine.cloned() {
        Some((gamma, beta)) => {
            let tensors = [gamma.into_dispatch(), beta.into_dispatch()];
            (norm, Gains::Channel, Some(tensors))
        }
        None => (norm, Gains::None, None),
    }
}

/// For [`leaky_relu_instance_norm`].
#[cfg(feature = "flex")]
pub(crate) fn activation_first(
    modulation: Option<&(Tensor<2>, Tensor<2>)>,
    epsilon: f64,
    slope: f64,
) -> Normalisation {
    let norm = Norm {
        before: slope as f32,
        after: 1.0,
        epsilon: epsilon as f32,
    };
    match modulation.cloned() {
        Some((scale, shift)) => {
            let tensors = [scale.into_dispatch(), shift.into_dispatch()];
            (norm, Gains::Sample, Some(tensors))
        }
        None => (norm, Gains::None, None),
    }
}

pub(crate) fn check_affine(channels: usize, affine: Option<&(Tensor<1>, Tensor<1>)>) {
    if let Some((gamma, beta)) = affine {
        assert_eq!(gamma.dims(), [channels], "instance norm: shape of gamma");
        assert_eq!(beta.dims(), [channels], "instance norm: shape of beta");
    }
}

pub(crate) fn check_modulation(planes: [usize; 2], modulation: Option<&(Tensor<2>, Tensor<2>)>) {
    if let Some((scale, shift)) = modulation {
        assert_eq!(scale.dims(), planes, "instance norm: shape of scale");
        assert_eq!(shift.dims(), planes, "instance norm: shape of shift");
    }
}

/// The operations on Burn's own, for every backend.
pub(crate) mod plain {
    use super::*;

    pub(crate) fn instance_norm_leaky_relu(
        x: Tensor<4>,
        affine: Option<(Tensor<1>, Tensor<1>)>,
        epsilon: f64,
        slope: f64,
    ) -> Tensor<4> {
        let channels = x.dims()[1];
        let y = normalise(x, epsilon);
        let y = match affine {
            Some((gamma, beta)) => {
                let spread = |t: Tensor<1>| t.reshape([1, channels, 1, 1]);
                y * spread(gamma) + spread(beta)
            }
            None => y,
        };
        leaky_relu(y, slope)
    }

    pub(crate) fn leaky_relu_instance_norm(
        x: Tensor<4>,
        slope: f64,
        epsilon: f64,
        modulation: Option<(Tensor<2>, Tensor<2>)>,
    ) -> Tensor<4> {
        let [batch, channels, _, _] = x.dims();
        let y = normalise(leaky_relu(x, slope), epsilon);
        match modulation {
            Some((scale, shift)) => {
                let spread = |t: Tensor<2>| t.reshape([batch, channels, 1, 1]);
                y * spread(scale) + spread(shift)
            }
            None => y,
        }
    }

    fn leaky_relu(x: Tensor<4>, slope: f64) -> Tensor<4> {
        if slope == 1.0 {
            x
        } else {
            activation::leaky_relu(x, slope)
        }
    }

    fn normalise(x: Tensor<4>, epsilon: f64) -> Tensor<4> {
        let [batch, channels, h, w] = x.dims();
        let x = x.reshape([batch, channels, h * w]);
        let x = x.clone() - x.mean_dim(2);
        let variance = x.clone().powi_scalar(2).mean_dim(2);
        (x / (variance + epsilon).sqrt()).reshape([batch, channels, h, w])
    }
}
