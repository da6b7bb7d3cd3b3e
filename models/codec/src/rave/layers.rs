//! Convolutions with or without weight normalisation, batch normalisation, and sequences of them.

use super::activation::Snake;
use super::adain::AdaIn;
use super::config::Activation;
use burn::module::{Initializer, Module, Param, RunningState};
use burn::tensor::module as functional;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_nn::conv1d::{Conv1dOptions, conv_transpose1d, conv1d};

/// Slope of the leaky rectifiers below zero.
pub(crate) const SLOPE: f64 = 0.2;

/// What a convolution does besides its weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Taps.
    pub kernel: usize,
    /// By how many input frames the kernel moves, or, transposed, by how many output frames.
    pub stride: usize,
    /// Input frames from tap to tap.
    pub dilation: usize,
    /// Groups of channels that see each other.
    pub groups: usize,
    /// Zeros before and after the input; transposed, frames cut from both ends of the output.
    pub padding: [usize; 2],
    /// Whether the weight is `[in, out, taps]` and rates go up.
    pub transposed: bool,
    /// Whether a leaky rectifier comes first.
    pub activated: bool,
}

impl Geometry {
    /// A convolution of stride 1.
    pub fn new(kernel: usize, padding: [usize; 2]) -> Self {
        Self {
            kernel,
            stride: 1,
            dilation: 1,
            groups: 1,
            padding,
            transposed: false,
            activated: false,
        }
    }

    /// The same with another stride.
    pub fn strided(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// The same with another dilation.
    pub fn dilated(mut self, dilation: usize) -> Self {
        self.dilation = dilation;
        self
    }

    /// The same in groups of channels.
    pub fn grouped(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// The same after a leaky rectifier.
    pub fn after_activation(mut self) -> Self {
        self.activated = true;
        self
    }

    /// Rates `ratio` times as high: `2 · ratio` taps, of which `ratio / 2` are cut from both ends.
    pub fn upsampling(ratio: usize) -> Self {
        Self {
            kernel: 2 * ratio,
            stride: ratio,
            dilation: 1,
            groups: 1,
            padding: [ratio / 2; 2],
            transposed: true,
            activated: false,
        }
    }
}

/// A convolution over `[batch, channels, time]`, its weight plain or normalised.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// The plain weight: `[out, in / groups, taps]`, transposed `[in, out, taps]`.
    pub weight: Option<Param<Tensor<3>>>,
    /// The length of the weight for each entry of its first axis, `[·, 1, 1]`.
    pub weight_g: Option<Param<Tensor<3>>>,
    /// The weight up to its length, in the shape of `weight`.
    pub weight_v: Option<Param<Tensor<3>>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// What the input goes through first, where that is not a leaky rectifier.
    pub snake: Option<Snake>,
    #[module(skip)]
    geometry: Geometry,
}

/// How a convolution's weight is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// As direction and length (weight normalisation).
    Normalised,
}

impl Conv1d {
    /// A layer with PyTorch's initial values: uniform within `1 / √fan-in`.
    pub(crate) fn new(
        channels: [usize; 2],
        geometry: Geometry,
        form: Form,
        bias: bool,
        device: &Device,
    ) -> Self {
        let [inputs, outputs] = channels;
        let shape = if geometry.transposed {
            [inputs, outputs, geometry.kernel]
        } else {
            [outputs, inputs / geometry.groups, geometry.kernel]
        };
        let bound = 1.0 / ((shape[1] * shape[2]) as f64).sqrt();
        let uniform = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        let weight: Param<Tensor<3>> = uniform.init(shape, device);
        let bias = bias.then(|| uniform.init([outputs], device));
        let (weight, weight_g, weight_v) = match form {
            Form::Plain => (Some(weight), None, None),
            Form::Normalised => {
                let length = lengths(weight.val().without_autodiff());
                let length = Tensor::from_data(length.into_data(), device);
                (None, Some(Param::from_tensor(length)), Some(weight))
            }
        };
        Self {
            weight,
            weight_g,
            weight_v,
            bias,
            snake: None,
            geometry,
        }
    }

    /// The same with the activation before it, if it has one, replaced by `activation`.
    pub(crate) fn activated_by(mut self, activation: Activation, device: &Device) -> Self {
        if self.geometry.activated && activation == Activation::Snake {
            self.geometry.activated = false;
            self.snake = Some(Snake::new(self.inputs(), device));
        }
        self
    }

    /// Channels that come in.
    fn inputs(&self) -> usize {
        let weight = self.weight.as_ref().or(self.weight_v.as_ref());
        let [first, second, _] = weight.map_or([0; 3], |weight| weight.lazy_shape().dims());
        match self.geometry.transposed {
            true => first,
            false => second * self.geometry.groups,
        }
    }

    /// A layer of a given weight `[out, in / groups, taps]`, transposed `[in, out, taps]`, and bias
    /// `[out]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the weight's taps are not the geometry's.
    pub fn from_weight(
        weight: Tensor<3>,
        bias: Option<Tensor<1>>,
        geometry: Geometry,
    ) -> Result<Self> {
        let taps = weight.dims()[2];
        if taps != geometry.kernel {
            let rule = format!("must be those of the geometry, {}", geometry.kernel);
            return Err(Error::input("the number of taps", taps, rule));
        }
        Ok(Self {
            weight: Some(Param::from_tensor(weight)),
            weight_g: None,
            weight_v: None,
            bias: bias.map(Param::from_tensor),
            snake: None,
            geometry,
        })
    }

    /// What it does besides its weights.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The weight in effect.
    pub fn kernel(&self) -> Tensor<3> {
        match (&self.weight, &self.weight_g, &self.weight_v) {
            (None, Some(length), Some(direction)) => {
                let direction = direction.val();
                let scale = length.val() / lengths(direction.clone());
                direction * scale
            }
            (Some(weight), _, _) => weight.val(),
            // `new`, `fold` and loading leave a plain weight or a pair.
            _ => unreachable!("a convolution has a weight"),
        }
    }

    /// The same layer with its weight in effect as a plain one, for inference.
    pub fn fold(self) -> Self {
        if self.weight.is_some() {
            return self;
        }
        let kernel = self.kernel();
        let kernel = match kernel.device().is_autodiff() {
            true => kernel.detach(),
            false => kernel,
        };
        Self {
            weight: Some(Param::from_tensor(kernel)),
            weight_g: None,
            weight_v: None,
            ..self
        }
    }

    /// `[batch, in, time]` to `[batch, out, time']`.
    ///
    /// # Panics
    /// If the channels are others.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.forward_padded(x, self.geometry.padding)
    }

    /// [`forward`](Self::forward) with another padding (transposed: another cut).
    pub(crate) fn forward_padded(&self, x: Tensor<3>, padding: [usize; 2]) -> Tensor<3> {
        let bias = self.bias.as_ref().map(Param::val);
        let x = match &self.snake {
            Some(snake) => snake.forward(x),
            None => x,
        };
        convolve(x, self.kernel(), bias, &self.geometry, padding)
    }
}

/// The Euclidean length of each entry of the first axis, `[·, 1, 1]`.
fn lengths(weight: Tensor<3>) -> Tensor<3> {
    weight.square().sum_dim(2).sum_dim(1).sqrt()
}

/// The leaky rectifier, if there is one, and the convolution. Every layer goes through here.
pub(crate) fn convolve(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Option<Tensor<1>>,
    geometry: &Geometry,
    padding: [usize; 2],
) -> Tensor<3> {
    let mut options = Conv1dOptions::new()
        .with_stride(geometry.stride)
        .with_dilation(geometry.dilation)
        .with_groups(geometry.groups);
    if geometry.activated {
        options = options.with_leaky_relu(SLOPE);
    }
    let [before, after] = padding;
    if geometry.transposed {
        return conv_transpose1d(x, weight, bias, &options.with_padding(before, after));
    }
    // Only as much padding as the last position of the kernel reaches: Burn's own gradient of a
    // grouped weight is wrong where frames are left over.
    let span = (geometry.kernel - 1) * geometry.dilation + 1;
    let [_, _, time] = x.dims();
    let surplus = (time + before + after).saturating_sub(span) % geometry.stride;
    let (after, cut) = match after.checked_sub(surplus) {
        Some(after) => (after, 0),
        None => (0, surplus - after),
    };
    let x = match cut {
        0 => x,
        cut => x.narrow(2, 0, time - cut),
    };
    conv1d(x, weight, bias, &options.with_padding(before, after))
}

/// Which statistics a batch normalisation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// The batch's own, which also go into the running ones: training.
    Batch,
    /// The running ones: inference, and the second stage of training.
    Running,
}

/// Batch normalisation over `[batch, channels, time]` whose mode does not depend on the device.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale, `[channels]`.
    pub gamma: Param<Tensor<1>>,
    /// Offset, `[channels]`.
    pub beta: Param<Tensor<1>>,
    /// Running mean, `[channels]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Running variance, unbiased, `[channels]`.
    pub running_var: RunningState<Tensor<1>>,
}

impl BatchNorm {
    const EPSILON: f64 = 1e-5;
    const MOMENTUM: f64 = 0.1;

    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        let state = device.clone().without_autodiff();
        let state = |value: f64| {
            let value = Tensor::full([channels], value, &state);
            match device.is_autodiff() {
                true => Tensor::from_inner(value),
                false => value,
            }
        };
        Self {
            gamma: Initializer::Ones.init([channels], device),
            beta: Initializer::Zeros.init([channels], device),
            running_mean: RunningState::new(state(0.0)),
            running_var: RunningState::new(state(1.0)),
        }
    }

    /// What it multiplies with and adds, `[channels]` each, with the running statistics.
    pub(crate) fn running_affine(&self) -> (Tensor<1>, Tensor<1>) {
        let plain = |x: Tensor<1>| match x.device().is_autodiff() {
            true => x.without_autodiff(),
            false => x,
        };
        let deviation = (plain(self.running_var.value_sync()) + Self::EPSILON).sqrt();
        let scale = plain(self.gamma.val()) / deviation;
        let offset = plain(self.beta.val()) - plain(self.running_mean.value_sync()) * scale.clone();
        (scale, offset)
    }

    /// `[batch, channels, time]` to the same shape.
    ///
    /// # Panics
    /// If the channels are others.
    pub fn forward(&self, x: Tensor<3>, statistics: Statistics) -> Tensor<3> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        if statistics == Statistics::Running {
            let (mean, var) = (
                self.running_mean.value_sync(),
                self.running_var.value_sync(),
            );
            return functional::batch_norm(x, gamma, beta, mean, var, Self::EPSILON);
        }
        let [batch, _, time] = x.dims();
        let count = (batch * time) as f64;
        let result = functional::batch_norm_train(x, gamma, beta, Self::EPSILON);
        // PyTorch keeps the unbiased variance.
        let unbiased = result.variance * (count / (count - 1.0).max(1.0));
        for (state, new) in [
            (&self.running_mean, result.mean),
            (&self.running_var, unbiased),
        ] {
            let old = state.value_sync() * (1.0 - Self::MOMENTUM);
            state.update((old + new * Self::MOMENTUM).detach());
            // Written through at once: a stage that reads the running ones follows.
            let _ = state.value_sync();
        }
        result.output
    }
}

/// A residual unit: convolutions, each after its activation, beside the identity.
#[derive(Module, Debug)]
pub struct Residual {
    /// Two convolutions.
    pub convs: Vec<Conv1d>,
}

impl Residual {
    /// `[batch, channels, time]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = self.convs.iter().fold(x.clone(), |y, conv| conv.forward(y));
        x + y
    }
}

/// One step of a [`Network`].
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Layer {
    /// A convolution, with its activation before it.
    Conv(Conv1d),
    /// Batch normalisation.
    Norm(BatchNorm),
    /// A residual unit.
    Residual(Residual),
    /// An activation that several branches share.
    Snake(Snake),
    /// Adaptive instance normalisation.
    AdaIn(AdaIn),
}

/// Layers one after the other.
#[derive(Module, Debug)]
pub struct Network {
    /// In the order of the signal.
    pub layers: Vec<Layer>,
}

impl Network {
    /// `[batch, in, time]` to `[batch, out, time']`, as in training: adaptive instance normalisation
    /// does nothing.
    ///
    /// # Panics
    /// If the channels are others.
    pub fn forward(&self, x: Tensor<3>, statistics: Statistics) -> Tensor<3> {
        self.walk(x, statistics, |_, x| x)
    }

    /// The same in inference: with running statistics, and adaptive instance normalisation at work.
    ///
    /// # Panics
    /// If the channels are others.
    pub fn infer(&self, x: Tensor<3>) -> Tensor<3> {
        self.walk(x, Statistics::Running, AdaIn::forward)
    }

    fn walk(
        &self,
        x: Tensor<3>,
        statistics: Statistics,
        style: impl Fn(&AdaIn, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        self.layers.iter().fold(x, |x, layer| match layer {
            Layer::Conv(conv) => conv.forward(x),
            Layer::Norm(norm) => norm.forward(x, statistics),
            Layer::Residual(residual) => residual.forward(x),
            Layer::Snake(snake) => snake.forward(x),
            Layer::AdaIn(adain) => style(adain, x),
        })
    }

    /// [`Conv1d::fold`] everywhere.
    pub fn fold(self) -> Self {
        let fold = |layer| match layer {
            Layer::Conv(conv) => Layer::Conv(conv.fold()),
            Layer::Residual(residual) => Layer::Residual(Residual {
                convs: residual.convs.into_iter().map(Conv1d::fold).collect(),
            }),
            layer @ (Layer::Norm(_) | Layer::Snake(_) | Layer::AdaIn(_)) => layer,
        };
        Self {
            layers: self.layers.into_iter().map(fold).collect(),
        }
    }
}
