//! Layers of the encoders and decoders, and the forward-mode derivative of those in the critic.
//!
//! A *tangent* is the derivative of an activation along a fixed direction of the input. Carrying
//! it beside the activation gives `⟨v, ∇ₓD(x)⟩` in one forward pass, which reverse mode can then
//! differentiate by the parameters: the second-order term that the gradient penalty needs.

use burn::{
    module::{Initializer, Module, Param},
    nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig},
    tensor::{
        Device, Tensor,
        activation::{leaky_relu, relu},
    },
};
use menagerie_nn::{
    block::{conv_norm_leaky_relu, conv_transpose_leaky_relu_norm},
    conv::{Padding, conv_transpose2d, conv2d},
    norm::instance_norm_leaky_relu,
};

/// Slope of the leaky ReLU below zero.
pub(crate) const SLOPE: f64 = 0.2;
/// Added to the variance in every instance normalisation.
pub(crate) const EPSILON: f64 = 1e-6;

/// What a norm is divided by at least.
pub(crate) const SMALL: f64 = 1e-12;

/// An activation and its tangent.
#[derive(Clone, Debug)]
pub(crate) struct Dual<const D: usize> {
    pub value: Tensor<D>,
    pub tangent: Tensor<D>,
}

/// Uniform in ±1/√fan-in, as the reference initialises every convolution.
fn kernel(shape: [usize; 4], fan_in: usize, device: &Device) -> Param<Tensor<4>> {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Initializer::Uniform {
        min: -bound,
        max: bound,
    }
    .init(shape, device)
}

/// Gain and bias per channel behind an instance normalisation.
#[derive(Module, Debug)]
pub struct ChannelAffine {
    /// Gains `[channels]`, 1 at first.
    pub weight: Param<Tensor<1>>,
    /// Biases `[channels]`, 0 at first.
    pub bias: Param<Tensor<1>>,
}

impl ChannelAffine {
    fn init(channels: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
        }
    }

    fn affine(&self) -> Option<(Tensor<1>, Tensor<1>)> {
        Some((self.weight.val(), self.bias.val()))
    }

    /// With x̂ the normalised input and σ its deviation, the tangent of the normalisation is
    /// `(ẋ - mean(ẋ) - x̂ · mean(x̂ẋ)) / σ`.
    fn dual(&self, x: Dual<4>) -> Dual<4> {
        let centre = |x: Tensor<4>| x.clone() - mean_hw(x);
        let centred = centre(x.value);
        let deviation = (mean_hw(centred.clone().square()) + EPSILON).sqrt();
        let normalised = centred / deviation.clone();
        let projection = mean_hw(normalised.clone() * x.tangent.clone());
        let tangent = (centre(x.tangent) - normalised.clone() * projection) / deviation;
        let channels = self.weight.val().dims()[0];
        let gain = self.weight.val().reshape([1, channels, 1, 1]);
        let bias = self.bias.val().reshape([1, channels, 1, 1]);
        Dual {
            value: normalised * gain.clone() + bias,
            tangent: tangent * gain,
        }
    }
}

fn mean_hw(x: Tensor<4>) -> Tensor<4> {
    x.mean_dims(&[2, 3])
}

/// Scales a tangent by the slope of a piecewise linear activation at `value`.
fn gate<const D: usize>(value: &Tensor<D>, tangent: Tensor<D>, slope: f64) -> Tensor<D> {
    let below = value.clone().without_autodiff().lower_equal_scalar(0.0);
    let slopes = Tensor::ones_like(&value.clone().without_autodiff()).mask_fill(below, slope);
    tangent * slopes
}

/// Convolution without bias → instance normalisation with gain and bias → leaky ReLU.
#[derive(Module, Debug)]
pub struct ConvBlock {
    /// Kernel `[out, in, side, side]`.
    pub weight: Param<Tensor<4>>,
    /// Gain and bias of the normalisation.
    pub norm: ChannelAffine,
    stride: usize,
    padding: usize,
}

impl ConvBlock {
    pub(crate) fn init(
        inputs: usize,
        (outputs, side, stride, padding): (usize, usize, usize, usize),
        device: &Device,
    ) -> Self {
        Self {
            weight: kernel([outputs, inputs, side, side], inputs * side * side, device),
            norm: ChannelAffine::init(outputs, device),
            stride,
            padding,
        }
    }

    /// `[batch, in, height, width]` to `[batch, out, height', width']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (stride, padding) = ([self.stride; 2], Padding::symmetric(self.padding));
        let affine = self.norm.affine();
        conv_norm_leaky_relu(
            x,
            self.weight.val(),
            stride,
            padding,
            affine,
            EPSILON,
            SLOPE,
        )
    }

    pub(crate) fn dual(&self, x: Dual<4>) -> Dual<4> {
        let normalised = self.norm.dual(Dual {
            value: self.convolve(x.value),
            tangent: self.convolve(x.tangent),
        });
        Dual {
            tangent: gate(&normalised.value, normalised.tangent, SLOPE),
            value: leaky_relu(normalised.value, SLOPE),
        }
    }

    fn convolve(&self, x: Tensor<4>) -> Tensor<4> {
        let (stride, padding) = ([self.stride; 2], Padding::symmetric(self.padding));
        conv2d(x, self.weight.val(), None, stride, padding)
    }
}

/// Dense layer → layer normalisation where configured → ReLU.
#[derive(Module, Debug)]
pub struct DenseBlock {
    /// The affine map.
    pub linear: Linear,
    /// The normalisation in front of the ReLU, if any.
    pub norm: Option<LayerNorm>,
}

impl DenseBlock {
    /// A chain of blocks from `inputs` through `widths`.
    pub(crate) fn chain(
        inputs: usize,
        widths: &[usize],
        layer_norm: bool,
        device: &Device,
    ) -> Vec<Self> {
        let starts = std::iter::once(&inputs).chain(widths);
        starts
            .zip(widths)
            .map(|(&inputs, &outputs)| Self {
                linear: LinearConfig::new(inputs, outputs).init(device),
                norm: layer_norm.then(|| LayerNormConfig::new(outputs).init(device)),
            })
            .collect()
    }

    /// `[batch, in]` to `[batch, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.linear.forward(x);
        relu(match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        })
    }

    pub(crate) fn dual(&self, x: Dual<2>) -> Dual<2> {
        let x = linear_dual(&self.linear, x);
        let x = match &self.norm {
            Some(norm) => layer_norm_dual(norm, x),
            None => x,
        };
        Dual {
            tangent: gate(&x.value, x.tangent, 0.0),
            value: relu(x.value),
        }
    }
}

/// The tangent of an affine map leaves its bias out.
pub(crate) fn linear_dual(linear: &Linear, x: Dual<2>) -> Dual<2> {
    Dual {
        value: linear.forward(x.value),
        tangent: x.tangent.matmul(linear.weight.val()),
    }
}

/// Added to the variance in layer normalisations, as in the reference.
const LAYER_NORM_EPSILON: f64 = 1e-5;

fn layer_norm_dual(norm: &LayerNorm, x: Dual<2>) -> Dual<2> {
    let centre = |x: Tensor<2>| x.clone() - x.mean_dim(1);
    let centred = centre(x.value.clone());
    let deviation = (centred.clone().square().mean_dim(1) + LAYER_NORM_EPSILON).sqrt();
    let normalised = centred / deviation.clone();
    let projection = (normalised.clone() * x.tangent.clone()).mean_dim(1);
    let tangent = (centre(x.tangent) - normalised * projection) / deviation;
    Dual {
        value: norm.forward(x.value),
        tangent: tangent * norm.gamma.val().unsqueeze(),
    }
}

/// Transposed convolution without bias → instance normalisation with gain and bias → leaky ReLU.
#[derive(Module, Debug)]
pub struct UpBlock {
    /// Kernel `[in, out, side, side]`.
    pub weight: Param<Tensor<4>>,
    /// Gain and bias of the normalisation.
    pub norm: ChannelAffine,
    stride: usize,
    padding: usize,
}

impl UpBlock {
    pub(crate) fn init(
        inputs: usize,
        (outputs, side, stride, padding): (usize, usize, usize, usize),
        device: &Device,
    ) -> Self {
        Self {
            weight: kernel([inputs, outputs, side, side], inputs * side * side, device),
            norm: ChannelAffine::init(outputs, device),
            stride,
            padding,
        }
    }

    /// `[batch, in, height, width]` to `[batch, out, height', width']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (stride, padding) = ([self.stride; 2], Padding::symmetric(self.padding));
        let x = conv_transpose2d(x, self.weight.val(), None, stride, padding);
        instance_norm_leaky_relu(x, self.norm.affine(), EPSILON, SLOPE)
    }
}

/// Transposed convolution without bias → leaky ReLU → instance normalisation without parameters →
/// scale and bias from the style vector.
///
/// Scale and bias leave a ReLU, so that both are never negative: the reference's dense block has
/// that activation by default.
#[derive(Module, Debug)]
pub struct StyleBlock {
    /// Kernel `[in, out, side, side]`.
    pub weight: Param<Tensor<4>>,
    /// From the style vector to scales and biases `[2 · out]`.
    pub conditioning: Linear,
    stride: usize,
    padding: usize,
}

impl StyleBlock {
    pub(crate) fn init(
        inputs: usize,
        style: usize,
        (outputs, side, stride, padding): (usize, usize, usize, usize),
        device: &Device,
    ) -> Self {
        Self {
            weight: kernel([inputs, outputs, side, side], inputs * side * side, device),
            conditioning: LinearConfig::new(style, 2 * outputs).init(device),
            stride,
            padding,
        }
    }

    /// `x` is `[batch, in, height, width]`, or `[1, in, height, width]` if all samples share it;
    /// `style` is `[batch, width]`; gives `[batch, out, height', width']`.
    pub fn forward(&self, x: Tensor<4>, style: Tensor<2>) -> Tensor<4> {
        let [_, channels, _, _] = self.weight.dims();
        let modulation = relu(self.conditioning.forward(style));
        let scale = modulation.clone().narrow(1, 0, channels);
        let bias = modulation.narrow(1, channels, channels);
        let (batch, shared) = (scale.dims()[0], x.dims()[0] == 1);
        let (stride, padding) = ([self.stride; 2], Padding::symmetric(self.padding));
        let block = |modulation| {
            let weight = self.weight.val();
            conv_transpose_leaky_relu_norm(x, weight, stride, padding, SLOPE, EPSILON, modulation)
        };
        if shared {
            let spread = |x: Tensor<2>| x.reshape([batch, channels, 1, 1]);
            block(None) * spread(scale) + spread(bias)
        } else {
            block(Some((scale, bias)))
        }
    }
}

/// A convolution without bias that keeps the size: the way to the logits.
#[derive(Module, Debug)]
pub struct OutputConv {
    /// Kernel `[out, in, side, side]`, side odd.
    pub weight: Param<Tensor<4>>,
}

impl OutputConv {
    pub(crate) fn init(inputs: usize, outputs: usize, side: usize, device: &Device) -> Self {
        Self {
            weight: kernel([outputs, inputs, side, side], inputs * side * side, device),
        }
    }

    /// `[batch, in, height, width]` to `[batch, out, height, width]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let padding = weight.dims()[2] / 2;
        conv2d(x, weight, None, [1; 2], Padding::symmetric(padding))
    }
}
