//! Norms and rotary positions.

use super::config::{Architecture, LanguageModelConfig, RotaryConfig, RotaryScaling};
use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor, TensorData},
};
use menagerie_nn::transformer::layer_norm;
use std::f64::consts::TAU;

/// LayerNorm, or RMSNorm where there is no bias.
#[derive(Module, Debug)]
pub struct Norm {
    /// The gain `[size]`; in Gemma its difference from 1.
    pub gain: Param<Tensor<1>>,
    /// The bias `[size]`, of LayerNorm only.
    pub bias: Option<Param<Tensor<1>>>,
    epsilon: f64,
    /// Whether the gain is stored as its difference from 1.
    from_one: bool,
}

impl Norm {
    /// The norm of `config` over `size` numbers, at gain 1 and bias 0.
    pub(crate) fn init(config: &LanguageModelConfig, size: usize, device: &Device) -> Self {
        let from_one = config.architecture == Architecture::Gemma2;
        let gain = match from_one {
            true => Initializer::Zeros,
            false => Initializer::Ones,
        };
        Self {
            gain: gain.init([size], device),
            bias: config
                .layer_norm()
                .then(|| Initializer::Zeros.init([size], device)),
            epsilon: config.epsilon,
            from_one,
        }
    }

    /// `[.., size]` to the same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.scale(self.normalize(x))
    }

    /// What TransformerLens calls normalised: LayerNorm with gain and bias, RMSNorm before its gain.
    pub(crate) fn normalize<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match &self.bias {
            Some(bias) => layer_norm(x, self.gain.val(), bias.val(), self.epsilon),
            None => {
                let square = x.clone().square().mean_dim(D - 1);
                x * (square + self.epsilon).sqrt().recip()
            }
        }
    }

    /// What is left to do after [`normalize`](Self::normalize): the gain of an RMSNorm.
    pub(crate) fn scale<const D: usize>(&self, normalized: Tensor<D>) -> Tensor<D> {
        if self.bias.is_some() {
            return normalized;
        }
        let gain = self.gain.val();
        let gain = if self.from_one { gain + 1.0 } else { gain };
        normalized * gain.unsqueeze()
    }
}

/// Cosines and sines of every position, `[tokens, size / 2]` each.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rotation {
    /// For the positions `0..tokens`.
    pub(crate) fn new(config: &RotaryConfig, tokens: usize, device: &Device) -> Self {
        let frequencies = frequencies(config);
        let shape = [tokens, frequencies.len()];
        // The angle is rounded to single precision, as where the models were trained.
        let angles: Vec<f64> = (0..tokens)
            .flat_map(|position| {
                frequencies
                    .iter()
                    .map(move |frequency| f64::from(position as f32 * frequency))
            })
            .collect();
        let tensor = |function: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| function(*angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Self {
            cos: tensor(f64::cos),
            sin: tensor(f64::sin),
        }
    }

    /// Turns the first numbers of each head: `[batch, heads, tokens, head size]` to the same shape.
    pub(crate) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [tokens, half] = self.cos.dims();
        let [_, _, _, size] = x.dims();
        let (cos, sin) = (
            self.cos.clone().reshape([1, 1, tokens, half]),
            self.sin.clone().reshape([1, 1, tokens, half]),
        );
        let first = x.clone().narrow(3, 0, half);
        let second = x.clone().narrow(3, half, half);
        let mut parts = vec![
            first.clone() * cos.clone() - second.clone() * sin.clone(),
            second * cos + first * sin,
        ];
        if size > 2 * half {
            parts.push(x.narrow(3, 2 * half, size - 2 * half));
        }
        Tensor::cat(parts, 3)
    }
}

/// Radians per position of each pair, the fastest first.
fn frequencies(config: &RotaryConfig) -> Vec<f32> {
    let plain = (0..config.size / 2).map(|pair| {
        let exponent = (2 * pair) as f64 / config.size as f64;
        1.0 / config.theta.powf(exponent)
    });
    plain
        .map(|frequency| match &config.scaling {
            None => frequency,
            Some(RotaryScaling::Linear { factor }) => frequency / factor,
            Some(RotaryScaling::Llama3 {
                factor,
                low,
                high,
                original,
            }) => {
                let periods = *original as f64 * frequency / TAU;
                // 0 for long wavelengths, which are stretched, 1 for short ones.
                let kept = ((periods - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        })
        .map(|frequency| frequency as f32)
        .collect()
}
