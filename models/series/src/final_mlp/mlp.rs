//! Streams: linear layers with batch normalisation, activation and dropout.

use super::config::{Activation, StreamConfig};
use burn::module::{Initializer, Module, Param, RunningState};
use burn::tensor::{Device, Tensor, activation};
use menagerie_core::Seed;
use menagerie_nn::batch_norm::{Moments, norm_relu_dropout, relu_dropout};
use menagerie_nn::dropout::Dropout;
use menagerie_nn::transformer::linear;

const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// How a model is run.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// With the running moments, without dropout.
    Evaluate,
    /// With the moments of the batch, which go into the running ones, and dropout where there is a draw.
    Train(Option<Seed>),
}

impl Mode {
    /// The draw of a part of the model.
    pub(crate) fn part(self, name: &str) -> Self {
        match self {
            Self::Evaluate => Self::Evaluate,
            Self::Train(draw) => Self::Train(draw.map(|draw| draw.stream(name))),
        }
    }
}

/// `x weight + bias`.
#[derive(Module, Debug)]
pub struct Affine {
    /// `[inputs, outputs]`.
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`.
    pub bias: Param<Tensor<1>>,
}

impl Affine {
    /// Glorot's normal weight, no bias.
    pub(crate) fn init(inputs: usize, outputs: usize, device: &Device) -> Self {
        let glorot = Initializer::XavierNormal { gain: 1.0 };
        Self {
            weight: glorot.init_with([inputs, outputs], Some(inputs), Some(outputs), device),
            bias: Initializer::Zeros.init([outputs], device),
        }
    }

    /// `[rows, outputs]` of `[rows, inputs]`.
    ///
    /// # Panics
    /// If there are other inputs.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.val(), Some(self.bias.val()))
    }
}

/// Batch normalisation of columns.
#[derive(Module, Debug)]
pub struct Norm {
    /// `[columns]`.
    pub gain: Param<Tensor<1>>,
    /// `[columns]`.
    pub shift: Param<Tensor<1>>,
    /// The running mean, `[columns]`.
    pub mean: RunningState<Tensor<1>>,
    /// The running variance, corrected for the number of rows, `[columns]`.
    pub variance: RunningState<Tensor<1>>,
}

impl Norm {
    fn init(columns: usize, device: &Device) -> Self {
        Self {
            gain: Initializer::Ones.init([columns], device),
            shift: Initializer::Zeros.init([columns], device),
            mean: RunningState::new(Tensor::zeros([columns], device)),
            variance: RunningState::new(Tensor::ones([columns], device)),
        }
    }

    /// Takes the moments of a batch of `rows` into the running ones.
    fn observe(&self, moments: Moments, rows: usize) {
        let unbiased = rows as f64 / (rows as f64 - 1.0).max(1.0);
        let batch = [
            (&self.mean, moments.mean),
            (&self.variance, moments.variance * unbiased),
        ];
        for (state, batch) in batch {
            let running = state.value_sync();
            let tracked = running.is_autodiff();
            let next = running.without_autodiff() * (1.0 - MOMENTUM) + batch * MOMENTUM;
            state.update(if tracked { next.autodiff() } else { next });
            // At once, so that a checkpoint holds what this step has seen.
            let _ = state.value_sync();
        }
    }

    /// What a value is multiplied by, and what is added, with the running moments.
    fn running(&self) -> [Tensor<1>; 2] {
        let scale = self.gain.val() / (self.variance.value_sync() + EPSILON).sqrt();
        let offset = self.shift.val() - self.mean.value_sync() * scale.clone();
        [scale, offset]
    }
}

/// A hidden layer.
#[derive(Module, Debug)]
pub struct Layer {
    /// Before the normalisation.
    pub linear: Affine,
    /// Where there is one.
    pub norm: Option<Norm>,
}

/// Hidden layers, and an output layer where there is one.
#[derive(Module, Debug)]
pub struct Mlp {
    /// The hidden layers.
    pub layers: Vec<Layer>,
    /// The output layer.
    pub output: Option<Affine>,
    #[module(skip)]
    config: StreamConfig,
}

impl Mlp {
    pub(crate) fn init(
        inputs: usize,
        config: &StreamConfig,
        outputs: Option<usize>,
        device: &Device,
    ) -> Self {
        let mut width = inputs;
        let layers = config.hidden.iter().map(|next| {
            let linear = Affine::init(width, *next, device);
            width = *next;
            let norm = config.batch_norm.then(|| Norm::init(width, device));
            Layer { linear, norm }
        });
        let layers = layers.collect();
        Self {
            layers,
            output: outputs.map(|outputs| Affine::init(width, outputs, device)),
            config: config.clone(),
        }
    }

    /// What it was built from, its output layer aside.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// `[rows, width]` of `[rows, inputs]`.
    ///
    /// # Panics
    /// If there are other inputs.
    pub fn forward(&self, mut x: Tensor<2>, mode: Mode) -> Tensor<2> {
        for (at, layer) in self.layers.iter().enumerate() {
            x = self.layer(layer, x, mode, at);
        }
        match &self.output {
            Some(output) => output.forward(x),
            None => x,
        }
    }

    fn layer(&self, layer: &Layer, x: Tensor<2>, mode: Mode, at: usize) -> Tensor<2> {
        let relu = self.config.activation == Activation::Relu;
        match (mode, &layer.norm) {
            (Mode::Evaluate, None) => self.activate(layer.linear.forward(x), None),
            (Mode::Evaluate, Some(norm)) => {
                // The affine map goes into the weight, which is smaller than its result.
                let [scale, offset] = norm.running();
                let weight = layer.linear.weight.val() * scale.clone().unsqueeze::<2>();
                let bias = layer.linear.bias.val() * scale + offset;
                self.activate(linear(x, weight, Some(bias)), None)
            }
            (Mode::Train(draw), norm) => {
                let dropout = draw
                    .filter(|_| self.config.dropout > 0.0)
                    .map(|draw| Dropout {
                        rate: self.config.dropout,
                        seed: draw.at(at as u64).0,
                    });
                let x = layer.linear.forward(x);
                let Some(norm) = norm else {
                    return self.activate(x, dropout);
                };
                let rows = x.dims()[0];
                let (gain, shift) = (norm.gain.val(), norm.shift.val());
                let (y, moments) = match relu {
                    true => norm_relu_dropout(x, gain, shift, EPSILON, dropout),
                    false => {
                        let moments = Moments::of(&x);
                        (self.activate(normalised(x, gain, shift), dropout), moments)
                    }
                };
                norm.observe(moments, rows);
                y
            }
        }
    }

    fn activate(&self, x: Tensor<2>, dropout: Option<Dropout>) -> Tensor<2> {
        let y = match self.config.activation {
            Activation::Relu => return relu_dropout(x, dropout),
            Activation::Sigmoid => activation::sigmoid(x),
            Activation::Tanh => activation::tanh(x),
        };
        match dropout {
            Some(dropout) => dropout.apply(y),
            None => y,
        }
    }
}

/// Batch normalisation alone.
fn normalised(x: Tensor<2>, gain: Tensor<1>, shift: Tensor<1>) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(0);
    let variance = centred.clone().square().mean_dim(0);
    centred / (variance + EPSILON).sqrt() * gain.unsqueeze::<2>() + shift.unsqueeze::<2>()
}
