//! Convolutions over a signal that comes in blocks: each keeps the end of its input where the whole
//! signal would have its neighbours.
//!
//! The frames that a convolution sees to the right of the present one have not come yet, so that its
//! output is late by as many. A strided convolution must besides meet the same frames as offline: an
//! input that is late already is delayed further, up to a multiple of the stride.

use super::activation::{Snake, snake};
use super::adain::AdaIn;
use super::layers::{BatchNorm, Conv1d, Geometry, Layer, Network, convolve};
use burn::module::Param;
use burn::tensor::Tensor;

/// Which streams a stream is equal to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// That of the released code, which counts the delays of encoder, decoder and each branch from
    /// 0: for models that are to sound as they do there.
    Official,
    /// The offline output, late by [`Stream::delay`](super::Stream::delay), from its first sample
    /// on: every layer knows how late its input is, and is silent before the signal begins.
    Exact,
}

/// What a signal has gone through so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub alignment: Alignment,
    /// Whether the official count goes on from layer to layer.
    pub counts: bool,
    /// By how many frames the signal is late in the official count.
    pub counted: usize,
    /// By how many samples it is late.
    pub lag: usize,
    /// Samples per frame.
    pub rate: usize,
}

impl Progress {
    /// Frames by which a layer takes its input to be late.
    fn incoming(&self) -> usize {
        match self.alignment {
            Alignment::Exact => self.lag / self.rate,
            Alignment::Official if self.counts => self.counted,
            Alignment::Official => 0,
        }
    }

    /// Frames at the start of a layer's output that belong to the time before the signal.
    pub fn silence(&self) -> usize {
        match self.alignment {
            Alignment::Exact => self.lag / self.rate,
            Alignment::Official => 0,
        }
    }
}

/// A convolution over a signal in blocks.
#[derive(Clone, Debug)]
pub struct CachedConv1d {
    weight: Tensor<3>,
    bias: Option<Tensor<1>>,
    /// α of the activation before it, `[channels, 1]`.
    alpha: Option<Tensor<2>>,
    geometry: Geometry,
    /// Frames kept: of the input, or, transposed, of the output.
    keeps: usize,
    cache: Option<Tensor<3>>,
    delay: usize,
    silence: Silence,
}

impl CachedConv1d {
    /// `conv` before its first block, for an input that is `delay` frames late already.
    pub fn new(conv: &Conv1d, delay: usize) -> Self {
        let progress = Progress {
            alignment: Alignment::Official,
            counts: true,
            counted: delay,
            lag: delay,
            rate: 1,
        };
        // A rate of 1 does not change: the count of an official alignment is all that is asked for.
        Self::after(conv, None, progress).0
    }

    /// The same with batch normalisation after it, and what the signal has gone through then.
    pub(super) fn after(
        conv: &Conv1d,
        norm: Option<&BatchNorm>,
        progress: Progress,
    ) -> (Self, Progress) {
        let plain = |tensor: Tensor<3>| match tensor.device().is_autodiff() {
            true => tensor.without_autodiff(),
            false => tensor,
        };
        let mut weight = plain(conv.kernel());
        let mut bias = conv.bias.as_ref().map(|bias: &Param<Tensor<1>>| {
            let bias = bias.val();
            match bias.device().is_autodiff() {
                true => bias.without_autodiff(),
                false => bias,
            }
        });
        if let Some(norm) = norm {
            let (scale, offset) = norm.running_affine();
            let channels = scale.dims()[0];
            weight = weight * scale.clone().reshape([channels, 1, 1]);
            bias = Some(match bias {
                Some(bias) => bias * scale + offset,
                None => offset,
            });
        }
        let geometry = conv.geometry().clone();
        let [left, right] = geometry.padding;
        let mut out = progress;
        let keeps = if geometry.transposed {
            // Each input frame reaches this far into the next one's output.
            let reach = geometry.kernel - geometry.stride;
            out.rate = (progress.rate / geometry.stride).max(1);
            out.counted = progress.counted * geometry.stride + left;
            out.lag = progress.lag + left * out.rate;
            reach
        } else {
            let stride = geometry.stride;
            let late = right + progress.incoming();
            let wait = (stride - late % stride) % stride;
            out.counted = (right + wait + progress.counted) / stride;
            out.lag = progress.lag + (right + wait) * progress.rate;
            out.rate = progress.rate * stride;
            left + right + wait
        };
        let cached = Self {
            weight,
            bias,
            alpha: conv.snake.as_ref().map(Snake::plain),
            geometry,
            keeps,
            cache: None,
            delay: out.counted,
            silence: Silence::new(out.silence()),
        };
        (cached, out)
    }

    /// Frames by which the output is late, with the delay of the input.
    pub fn delay(&self) -> usize {
        self.delay
    }

    pub(super) fn stride(&self) -> usize {
        self.geometry.stride
    }

    /// The next block `[batch, in, frames]`, a multiple of the stride, to `[batch, out, frames']`.
    ///
    /// # Panics
    /// If the shape does not fit, or changes from block to block in anything but the frames.
    pub fn push(&mut self, x: Tensor<3>) -> Tensor<3> {
        let x = match &self.alpha {
            Some(alpha) => snake(x, alpha.clone()),
            None => x,
        };
        let y = match self.geometry.transposed {
            true => self.push_transposed(x),
            false => self.push_plain(x),
        };
        self.silence.apply(y)
    }

    /// Forgets what came before.
    pub fn reset(&mut self) {
        self.cache = None;
        self.silence.reset();
    }

    fn push_plain(&mut self, x: Tensor<3>) -> Tensor<3> {
        let [batch, channels, frames] = x.dims();
        let x = if self.keeps == 0 {
            x
        } else {
            let before = self
                .cache
                .take()
                .unwrap_or_else(|| Tensor::zeros([batch, channels, self.keeps], &x.device()));
            let x = Tensor::cat(vec![before, x], 2);
            self.cache = Some(x.clone().narrow(2, frames, self.keeps));
            x
        };
        // What waits for the stride is not looked at yet.
        let reach = (self.geometry.kernel - 1) * self.geometry.dilation;
        let seen = frames - self.geometry.stride + 1 + reach;
        let total = x.dims()[2];
        let x = match seen < total {
            true => x.narrow(2, 0, seen),
            false => x,
        };
        let bias = self.bias.clone();
        convolve(x, self.weight.clone(), bias, &self.geometry, [0, 0])
    }

    fn push_transposed(&mut self, x: Tensor<3>) -> Tensor<3> {
        let frames = x.dims()[2] * self.geometry.stride;
        let y = convolve(x, self.weight.clone(), None, &self.geometry, [0, 0]);
        let reach = self.keeps;
        let y = if reach == 0 {
            y
        } else {
            let tail = y.clone().narrow(2, frames, reach);
            let y = y.narrow(2, 0, frames);
            let y = match self.cache.take() {
                None => y,
                Some(cache) => {
                    let head = y.clone().narrow(2, 0, reach) + cache;
                    match frames > reach {
                        true => {
                            let rest = y.narrow(2, reach, frames - reach);
                            Tensor::cat(vec![head, rest], 2)
                        }
                        false => head,
                    }
                }
            };
            self.cache = Some(tail);
            y
        };
        match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze_dims(&[0, 2]),
            None => y,
        }
    }
}

/// Zeros in place of the first frames.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    frames: usize,
    left: usize,
}

impl Silence {
    pub fn new(frames: usize) -> Self {
        Self {
            frames,
            left: frames,
        }
    }

    pub fn reset(&mut self) {
        self.left = self.frames;
    }

    pub fn apply(&mut self, x: Tensor<3>) -> Tensor<3> {
        if self.left == 0 {
            return x;
        }
        let [batch, channels, frames] = x.dims();
        let silent = self.left.min(frames);
        self.left -= silent;
        let zeros = Tensor::zeros([batch, channels, silent], &x.device());
        match frames > silent {
            true => Tensor::cat(vec![zeros, x.narrow(2, silent, frames - silent)], 2),
            false => zeros,
        }
    }
}

/// A signal as it was some frames ago.
#[derive(Clone, Debug)]
pub(super) struct Delay {
    frames: usize,
    cache: Option<Tensor<3>>,
}

impl Delay {
    pub fn new(frames: usize) -> Self {
        Self {
            frames,
            cache: None,
        }
    }

    pub fn reset(&mut self) {
        self.cache = None;
    }

    pub fn push(&mut self, x: Tensor<3>) -> Tensor<3> {
        if self.frames == 0 {
            return x;
        }
        let [batch, channels, frames] = x.dims();
        let before = self
            .cache
            .take()
            .unwrap_or_else(|| Tensor::zeros([batch, channels, self.frames], &x.device()));
        let x = Tensor::cat(vec![before, x], 2);
        self.cache = Some(x.clone().narrow(2, frames, self.frames));
        x.narrow(2, 0, frames)
    }
}

/// One step of a network over a signal in blocks; there are few of them.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)]
enum Step {
    Conv(CachedConv1d),
    Residual(Vec<CachedConv1d>, Delay),
    Snake(Tensor<2>),
    /// It has its statistics in common with the model; before the signal begins there is silence.
    AdaIn(AdaIn, Silence),
}

/// A network over a signal in blocks.
#[derive(Clone, Debug)]
pub(super) struct CachedNetwork {
    steps: Vec<Step>,
}

impl CachedNetwork {
    pub fn new(network: &Network, progress: Progress) -> (Self, Progress) {
        let mut progress = progress;
        let mut steps = Vec::with_capacity(network.layers.len());
        let mut layers = network.layers.iter().peekable();
        while let Some(layer) = layers.next() {
            match layer {
                Layer::Conv(conv) => {
                    let norm = match layers.peek() {
                        Some(Layer::Norm(norm)) => Some(norm),
                        _ => None,
                    };
                    let (conv, after) = CachedConv1d::after(conv, norm, progress);
                    steps.push(Step::Conv(conv));
                    progress = after;
                }
                Layer::AdaIn(adain) => {
                    let silence = Silence::new(progress.silence());
                    steps.push(Step::AdaIn(adain.clone(), silence));
                }
                Layer::Snake(snake) => steps.push(Step::Snake(snake.plain())),
                // Folded into the convolution before it; no published network begins with one.
                Layer::Norm(_) => {}
                Layer::Residual(residual) => {
                    let mut inner = progress;
                    let mut convs = Vec::with_capacity(residual.convs.len());
                    for conv in &residual.convs {
                        let (conv, after) = CachedConv1d::after(conv, None, inner);
                        convs.push(conv);
                        inner = after;
                    }
                    let wait = (inner.lag - progress.lag) / progress.rate;
                    steps.push(Step::Residual(convs, Delay::new(wait)));
                    progress = inner;
                }
            }
        }
        (Self { steps }, progress)
    }

    pub fn push(&mut self, x: Tensor<3>) -> Tensor<3> {
        self.steps.iter_mut().fold(x, |x, step| match step {
            Step::Conv(conv) => conv.push(x),
            Step::Residual(convs, delay) => {
                let same = delay.push(x.clone());
                same + convs.iter_mut().fold(x, |x, conv| conv.push(x))
            }
            Step::Snake(alpha) => snake(x, alpha.clone()),
            Step::AdaIn(adain, silence) => silence.apply(adain.forward(x)),
        })
    }

    pub fn reset(&mut self) {
        for step in &mut self.steps {
            match step {
                Step::Conv(conv) => conv.reset(),
                Step::Residual(convs, delay) => {
                    convs.iter_mut().for_each(CachedConv1d::reset);
                    delay.reset();
                }
                Step::Snake(_) => {}
                Step::AdaIn(_, silence) => silence.reset(),
            }
        }
    }
}

/// Convolutions one after the other.
pub(super) fn chain(convs: &[Conv1d], progress: Progress) -> (Vec<CachedConv1d>, Progress) {
    let mut progress = progress;
    let cached = convs
        .iter()
        .map(|conv| {
            let (conv, after) = CachedConv1d::after(conv, None, progress);
            progress = after;
            conv
        })
        .collect();
    (cached, progress)
}
