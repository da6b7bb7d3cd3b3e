//! Group normalisation (Wu and He 2018, arXiv 1803.08494) with what U-Nets put around it.
//!
//! The channels of each sample are cut into groups of neighbours, and each group is brought to zero
//! mean and unit (biased) variance over its channels and pixels: `(x - mean) / sqrt(var + epsilon)`.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_nn::group_norm::{GroupNorm, group_norm_silu};
//!
//! let device = Device::flex();
//! let norm = GroupNorm::new(4, 8, 1e-5, &device);
//! let x = Tensor::<4>::ones([2, 8, 3, 3], &device);
//! // A constant has nothing left after its mean is taken away, and SiLU of 0 is 0.
//! let y = group_norm_silu(x, 4, (norm.weight.val(), norm.bias.val()), None, 1e-5);
//! assert_eq!(y.abs().max().into_scalar::<f32>(), 0.0);
//! ```

#[cfg(feature = "flex")]
use crate::flex::{group_norm::group_norm as kernel, norm::Gains};
use crate::transformer::single;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor, activation::silu};

/// Gain and offset, each `[channels]`.
type Affine = (Tensor<1>, Tensor<1>);

/// Scale and shift of every sample's every channel, each `[batch, channels]`.
type Modulation = (Tensor<2>, Tensor<2>);

/// Group normalisation of `x`, `[batch, channels, height, width]`, in `groups` groups, with gain and
/// offset.
///
/// # Panics
/// If the groups do not divide the channels, or shapes do not fit each other.
pub fn group_norm(x: Tensor<4>, groups: usize, affine: Affine, epsilon: f64) -> Tensor<4> {
    normalise(x, groups, affine, None, epsilon, false)
}

/// [`group_norm`], then `y (1 + scale) + shift` if there is a modulation, then SiLU: `y σ(y)`.
///
/// # Panics
/// If the groups do not divide the channels, or shapes do not fit each other.
pub fn group_norm_silu(
    x: Tensor<4>,
    groups: usize,
    affine: Affine,
    modulation: Option<Modulation>,
    epsilon: f64,
) -> Tensor<4> {
    normalise(x, groups, affine, modulation, epsilon, true)
}

fn normalise(
    x: Tensor<4>,
    groups: usize,
    affine: Affine,
    modulation: Option<Modulation>,
    epsilon: f64,
    activated: bool,
) -> Tensor<4> {
    let [batch, channels, _, _] = x.dims();
    assert!(
        groups > 0 && channels.is_multiple_of(groups),
        "group norm: {groups} groups of {channels} channels"
    );
    let (gain, offset) = affine;
    assert_eq!(gain.dims(), [channels], "group norm: shape of the gain");
    assert_eq!(offset.dims(), [channels], "group norm: shape of the offset");
    // One gain and shift for each sample's each channel: (y γ + β)(1 + s) + t = y γ(1 + s) + ….
    let modulated = modulation.map(|(scale, shift)| {
        let planes = [batch, channels];
        assert_eq!(scale.dims(), planes, "group norm: shape of the scale");
        assert_eq!(shift.dims(), planes, "group norm: shape of the shift");
        let factor = scale + 1.0;
        let shift = factor.clone() * offset.clone().unsqueeze() + shift;
        (factor * gain.clone().unsqueeze(), shift)
    });
    #[cfg(feature = "flex")]
    {
        let tracked = x.is_autodiff() || gain.is_autodiff();
        let x = tracking(x.clone(), tracked);
        let done = match &modulated {
            Some((gain, shift)) => {
                let gains = [gain, shift].map(|t| tracking(t.clone(), tracked).into_dispatch());
                kernel(x, groups, epsilon, activated, Gains::Sample, gains)
            }
            None => {
                let gains = [&gain, &offset].map(|t| tracking(t.clone(), tracked).into_dispatch());
                kernel(x, groups, epsilon, activated, Gains::Channel, gains)
            }
        };
        if let Some(y) = done {
            return y;
        }
    }
    let y = plain(x, groups, epsilon);
    let y = match modulated {
        Some((gain, shift)) => {
            let spread = |t: Tensor<2>| t.reshape([batch, channels, 1, 1]);
            y * spread(gain) + spread(shift)
        }
        None => {
            let spread = |t: Tensor<1>| t.reshape([1, channels, 1, 1]);
            y * spread(gain) + spread(offset)
        }
    };
    if activated { silu(y) } else { y }
}

/// Without gain, on Burn's operations; of half precision in single, in which squares and `epsilon`
/// keep their digits.
fn plain(x: Tensor<4>, groups: usize, epsilon: f64) -> Tensor<4> {
    let dims @ [batch, channels, h, w] = x.dims();
    let dtype = x.dtype();
    let x = single(x).reshape([batch, groups, channels / groups * h * w]);
    let x = x.clone() - x.mean_dim(2);
    let variance = x.clone().square().mean_dim(2);
    let y = (x / (variance + epsilon).sqrt()).reshape(dims);
    y.cast(dtype)
}

/// A kernel wants all of its tensors with autodiff or none.
#[cfg(feature = "flex")]
fn tracking<const D: usize>(tensor: Tensor<D>, tracked: bool) -> Tensor<D> {
    if tracked { tensor.autodiff() } else { tensor }
}

/// [`group_norm`] with its parameters.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// The gain, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// The offset, `[channels]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    epsilon: f64,
}

impl GroupNorm {
    /// `groups` groups of `channels` channels, gain 1 and offset 0.
    pub fn new(groups: usize, channels: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
            groups,
            epsilon,
        }
    }

    /// [`group_norm`] of `x`, `[batch, channels, height, width]`.
    ///
    /// # Panics
    /// As [`group_norm`] does.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let affine = (self.weight.val(), self.bias.val());
        group_norm(x, self.groups, affine, self.epsilon)
    }

    /// [`group_norm_silu`] of `x`, `[batch, channels, height, width]`.
    ///
    /// # Panics
    /// As [`group_norm_silu`] does.
    pub fn forward_silu(&self, x: Tensor<4>, modulation: Option<Modulation>) -> Tensor<4> {
        let affine = (self.weight.val(), self.bias.val());
        group_norm_silu(x, self.groups, affine, modulation, self.epsilon)
    }
}
