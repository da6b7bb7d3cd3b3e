//! The classifier of images whose maps a neural ODE of convolutions moves.

use super::config::ConvNodeConfig;
use super::layers::{Dense, Precision};
use super::model::{Prediction, SPAN};
use super::objective::{self, Learning, Regularized};
use burn::module::{Initializer, Module, Param, RunningState};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_nn::conv::{Padding, conv2d};
use menagerie_nn::ode::{ModuleField, Request};
use menagerie_nn::transformer::gelu_tanh;
use std::cell::RefCell;

/// Added to variances.
const EPSILON: f64 = 1e-5;
/// How much of a new statistic a running one takes over.
const MOMENTUM: f64 = 0.1;

/// A convolution of 3×3 whose result has the size of its input.
#[derive(Module, Debug)]
pub struct Conv {
    /// `[out, in, 3, 3]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Conv {
    fn new(
        [inputs, outputs]: [usize; 2],
        bias: bool,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let weight = Initializer::XavierUniform { gain: 1.0 };
        let shape = [outputs, inputs, 3, 3];
        let weight = weight.init_with(shape, Some(9 * inputs), Some(9 * outputs), device);
        let zeros = || precision.param(Initializer::Zeros.init([outputs], device));
        Self {
            weight: precision.param(weight),
            bias: bias.then(zeros),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        conv2d(x, self.weight.val(), bias, [1, 1], Padding::symmetric(1))
    }

    /// Of maps and one further channel that is `t` everywhere.
    fn forward_at(&self, x: Tensor<4>, t: f64) -> Tensor<4> {
        let [batch, _, height, width] = x.dims();
        let time = Tensor::full([batch, 1, height, width], t, (&x.device(), x.dtype()));
        self.forward(Tensor::cat(vec![x, time], 1))
    }
}

/// Mean and variance of every channel.
type Moments = [Tensor<1>; 2];

/// Batch normalisation whose running statistics are moved by hand: a solver evaluates the dynamics
/// often, and not every time should count.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// γ, `[channels]`.
    pub gain: Param<Tensor<1>>,
    /// β, `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// Running mean, `[channels]`.
    pub mean: RunningState<Tensor<1>>,
    /// Running variance, `[channels]`.
    pub variance: RunningState<Tensor<1>>,
}

/// Which statistics normalise.
#[derive(Clone, Copy, Debug)]
pub enum Statistics<'a> {
    /// The running ones.
    Running,
    /// Those of the batch, which are noted if there is a list for them.
    Batch(Option<&'a RefCell<Vec<Vec<Moments>>>>),
}

impl BatchNorm {
    fn new(channels: usize, precision: Precision, device: &Device) -> Self {
        let options = (&device.clone().without_autodiff(), precision.dtype());
        let tracked = |x: Tensor<1>| {
            if device.is_autodiff() {
                x.autodiff()
            } else {
                x
            }
        };
        Self {
            gain: precision.param(Initializer::Ones.init([channels], device)),
            bias: precision.param(Initializer::Zeros.init([channels], device)),
            mean: RunningState::new(tracked(Tensor::zeros([channels], options))),
            variance: RunningState::new(tracked(Tensor::ones([channels], options))),
        }
    }

    fn forward(&self, x: Tensor<4>, batch_statistics: bool, noted: &mut Vec<Moments>) -> Tensor<4> {
        let spread = |x: Tensor<1>| x.reshape([1, -1, 1, 1]);
        let [batch, channels, height, width] = x.dims();
        let (centred, variance) = if batch_statistics {
            let mean_of = |x: Tensor<4>| x.mean_dim(0).mean_dim(2).mean_dim(3);
            let mean = mean_of(x.clone());
            let centred = x - mean.clone();
            let variance = mean_of(centred.clone().square());
            let count = (batch * height * width) as f64;
            let unbiased = variance.clone().inner() * (count / (count - 1.0).max(1.0));
            noted.push([
                mean.inner().reshape([channels]),
                unbiased.reshape([channels]),
            ]);
            (centred, variance)
        } else {
            let mean = self.mean.value().inner();
            let variance = self.variance.value().inner();
            (x - spread(mean), spread(variance))
        };
        let scaled = centred / (variance + EPSILON).sqrt();
        scaled * spread(self.gain.val()) + spread(self.bias.val())
    }

    /// Moves the running statistics.
    fn note(&self, [mean, variance]: &Moments) {
        for (state, new) in [(&self.mean, mean), (&self.variance, variance)] {
            // A state holds its latest update back, until it is asked for or the next one comes.
            let old = state.value_sync();
            let tracked = old.is_autodiff();
            let moved = old.inner() * (1.0 - MOMENTUM) + new.clone() * MOMENTUM;
            state.update(if tracked { moved.autodiff() } else { moved });
            state.value_sync();
        }
    }
}

/// Three convolutions without bias, the time as a further channel before each, normalised and with a
/// GELU between them.
#[derive(Module, Debug)]
pub struct ConvDynamics {
    /// From the state's channels to hidden ones.
    pub first: Conv,
    /// After it.
    pub first_norm: BatchNorm,
    /// From hidden channels to as many.
    pub second: Conv,
    /// After it.
    pub second_norm: BatchNorm,
    /// Back to the state's channels.
    pub third: Conv,
}

impl ConvDynamics {
    /// Slopes of maps `[batch, state, height, width]`.
    ///
    /// # Panics
    /// If u has other channels.
    pub fn forward(&self, u: Tensor<4>, t: f64, statistics: Statistics<'_>) -> Tensor<4> {
        let batch = matches!(statistics, Statistics::Batch(_));
        let mut noted = Vec::new();
        let x = self.first.forward_at(u, t);
        let x = gelu_tanh(self.first_norm.forward(x, batch, &mut noted));
        let x = self.second.forward_at(x, t);
        let x = gelu_tanh(self.second_norm.forward(x, batch, &mut noted));
        if let Statistics::Batch(Some(list)) = statistics {
            list.borrow_mut().push(noted);
        }
        self.third.forward_at(x, t)
    }
}

/// Channels that a convolution adds to the image, a neural ODE of the maps from time 0 to 1, and a
/// classifier: a convolution to one channel and a linear layer.
#[derive(Module, Debug)]
pub struct ConvNeuralOde {
    /// Further channels of the state.
    pub augment: Conv,
    /// Of image and further channels.
    pub augment_norm: BatchNorm,
    /// f of `du/dt = f(u, t)`.
    pub dynamics: ConvDynamics,
    /// To one channel.
    pub reduce: Conv,
    /// To scores.
    pub classifier: Dense,
    #[module(skip)]
    config: ConvNodeConfig,
}

/// A solve in training: with the statistics of its batch.
#[derive(Debug)]
pub struct ConvForward {
    /// The solve and its regulariser.
    pub regularized: Regularized<Tensor<4>, Tensor<4>>,
    /// Statistics of all evaluations of the dynamics.
    moments: Vec<Vec<Moments>>,
}

impl ConvNodeConfig {
    /// A model with drawn weights.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<ConvNeuralOde> {
        self.validate()?;
        let Self {
            channels,
            image,
            state,
            hidden,
            precision,
            ..
        } = *self;
        let conv = |inputs, outputs, bias| Conv::new([inputs, outputs], bias, precision, device);
        let norm = |channels| BatchNorm::new(channels, precision, device);
        Ok(ConvNeuralOde {
            augment: conv(channels, state - channels, true),
            augment_norm: norm(state),
            dynamics: ConvDynamics {
                first: conv(state + 1, hidden, false),
                first_norm: norm(hidden),
                second: conv(hidden + 1, hidden, false),
                second_norm: norm(hidden),
                third: conv(hidden + 1, state, false),
            },
            reduce: conv(state, 1, true),
            classifier: Dense::new([image * image, self.classes], precision, device),
            config: self.clone(),
        })
    }
}

impl ConvNeuralOde {
    /// The configuration.
    pub fn config(&self) -> &ConvNodeConfig {
        &self.config
    }

    /// First states `[batch, state, side, side]` of images `[batch, channels, side, side]`, normalised
    /// by the batch's statistics in training, which then move the running ones.
    ///
    /// # Errors
    /// [`Error::Input`] for images of another shape, or none.
    pub fn states(&self, images: Tensor<4>, training: bool) -> Result<Tensor<4>> {
        let [batch, channels, height, width] = images.dims();
        let ConvNodeConfig {
            channels: wanted,
            image,
            ..
        } = self.config;
        if batch == 0 || [channels, height, width] != [wanted, image, image] {
            let rule =
                format!("must be [batch, {wanted}, {image}, {image}] with at least one image");
            return Err(Error::input("images", images.dims(), rule));
        }
        let x = images.cast(self.config.precision.dtype());
        let further = self.augment.forward(x.clone());
        let x = Tensor::cat(vec![x, further], 1);
        let mut noted = Vec::new();
        let x = self.augment_norm.forward(x, training, &mut noted);
        noted
            .iter()
            .for_each(|moments| self.augment_norm.note(moments));
        Ok(x)
    }

    /// Scores `[batch, classes]` of maps at the end.
    ///
    /// # Panics
    /// If maps have another shape.
    pub fn classify(&self, maps: Tensor<4>) -> Tensor<2> {
        let x = gelu_tanh(self.reduce.forward(maps));
        self.classifier.forward(x.flatten::<2>(1, 3))
    }

    /// Scores of images `[batch, channels, side, side]`, by the running statistics.
    ///
    /// # Errors
    /// [`Error::Input`] for images of another shape, or none, and if the solve fails.
    pub fn forward(&self, images: Tensor<4>) -> Result<Prediction> {
        let u = self.states(images, false)?.inner();
        let field = ModuleField::new(&self.dynamics, |dynamics: &ConvDynamics, u, t| {
            dynamics.forward(u, t, Statistics::Running)
        });
        let solver = self.config.solver.tsit5();
        let solution = solver.solve(&field, u, SPAN, Request::default())?;
        Ok(Prediction {
            evaluations: solution.evaluations(),
            logits: self.classify(solution.end),
            attempts: solution.attempts,
        })
    }

    /// The solve as it is trained, from first states, by the statistics of the batch.
    ///
    /// # Errors
    /// If the solve fails.
    pub fn forward_train(&self, u: Tensor<4>, learning: &Learning) -> Result<ConvForward> {
        let list = RefCell::new(Vec::new());
        let field = ModuleField::new(&self.dynamics, |dynamics: &ConvDynamics, u, t| {
            dynamics.forward(u, t, Statistics::Batch(Some(&list)))
        });
        let solver = self.config.solver.tsit5();
        let regularized = objective::solve(&solver, &field, u.inner(), SPAN, &[], learning)?;
        drop(field);
        Ok(ConvForward {
            regularized,
            moments: list.into_inner(),
        })
    }

    /// Lets the statistics of a solve move the running ones, each evaluation in turn.
    pub fn note(&self, forward: &ConvForward) {
        for evaluation in &forward.moments {
            let norms = [&self.dynamics.first_norm, &self.dynamics.second_norm];
            for (norm, moments) in norms.into_iter().zip(evaluation) {
                norm.note(moments);
            }
        }
    }
}
