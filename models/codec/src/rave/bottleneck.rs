//! What stands between encoder and decoder, and what it adds to the loss.

use super::config::RaveConfig;
use super::encoder::{Encoder, Posterior};
use super::quantiser::{QuantiserConfig, RowDraw, draw_rows};
use burn::config::Config;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_nn::noise::{draw_normal, normal_pair};
use std::ops::Range;

/// What the encoder's output is.
#[derive(Config, Debug, PartialEq)]
pub enum Bottleneck {
    /// Mean and scale of a Gaussian; the loss has its divergence from a standard normal
    /// (`blocks.VariationalEncoder`).
    Variational,
    /// The latent signal itself; the loss has the maximum mean discrepancy of its frames from
    /// standard normal ones ([`discrepancy`]; `blocks.WasserteinEncoder`).
    Wasserstein,
    /// The latent signal, which is replaced by codes; the loss has its distance from them
    /// (`blocks.DiscreteEncoder`).
    Discrete(QuantiserConfig),
}

impl Bottleneck {
    /// Numbers that the encoder gives for each latent dimension (`n_out`).
    pub fn outputs(&self) -> usize {
        match self {
            Self::Variational => 2,
            _ => 1,
        }
    }

    /// What its part of the loss is called.
    pub fn term(&self) -> &'static str {
        match self {
            Self::Variational => "kl",
            Self::Wasserstein => "discrepancy",
            Self::Discrete(_) => "commitment",
        }
    }
}

/// The maximum mean discrepancy (Gretton et al., 2012) between the frames `x` and `y`,
/// `[frames, dims]` each: `mean k(x, x') + mean k(y, y') − 2 mean k(x, y)` over all pairs, a frame
/// with itself among them, for the kernel `k(a, b) = exp(−mean (a − b)² / dims)` with the mean over
/// dimensions; shape `[1]`.
pub fn discrepancy(x: Tensor<2>, y: Tensor<2>) -> Tensor<1> {
    let cross = kernel_mean(x.clone(), y.clone());
    kernel_mean(x.clone(), x) + kernel_mean(y.clone(), y) - cross * 2.0
}

/// The mean of the kernel over all pairs of `x`, `[frames, dims]`, and `y`, `[frames', dims]`.
fn kernel_mean(x: Tensor<2>, y: Tensor<2>) -> Tensor<1> {
    let dims = x.dims()[1] as f64;
    // |a − b|² by a matrix product: no tensor of all pairs' differences.
    let products = x.clone().matmul(y.clone().transpose());
    let lengths = |rows: Tensor<2>| rows.square().sum_dim(1);
    let squares = lengths(x) + lengths(y).transpose() - products * 2.0;
    (squares * (-1.0 / (dims * dims))).exp().mean()
}

/// The random numbers of a bottleneck in training.
#[derive(Clone, Debug)]
pub struct BottleneckDraw {
    /// Standard normal, `[batch, latent, frames]`: what a posterior is sampled with, or the frames
    /// that a latent signal is compared with.
    pub normal: Tensor<3>,
    /// Standard normal, `[batch, noise augmentation, frames]`, if there is any.
    pub augmentation: Option<Tensor<3>>,
    /// The rows that codebooks may take, one entry for each.
    pub rows: Vec<RowDraw>,
}

impl BottleneckDraw {
    /// Those of step `step` for `batch` signals of `frames` latent frames, decided by `seed`.
    pub fn new(
        config: &RaveConfig,
        [batch, frames]: [usize; 2],
        seed: Seed,
        step: usize,
        device: &Device,
    ) -> Self {
        let normal = |channels: usize, name: &str| {
            let seed = seed.stream(name).at(step as u64);
            draw_normal([batch, channels, frames], seed, device)
        };
        let extra = config.noise_augmentation;
        Self {
            normal: normal(config.latent, "latent"),
            augmentation: (extra > 0).then(|| normal(extra, "augmentation")),
            rows: match &config.bottleneck {
                Bottleneck::Discrete(quantiser) => {
                    let seed = seed.stream("rows").at(step as u64);
                    draw_rows(quantiser, batch * frames, seed, device)
                }
                _ => Vec::new(),
            },
        }
    }
}

/// What quantisation does in a step of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantisation {
    /// Nothing: the latent signal goes on as it is, and there is no commitment.
    Off,
    /// It quantises; the codebooks stay as they are.
    Fixed,
    /// It quantises; the codebooks learn.
    Learning,
}

/// What a bottleneck in training gives.
#[derive(Clone, Debug)]
pub struct Regularised {
    /// What the decoder takes, `[batch, latent + noise augmentation, frames]`.
    pub latent: Tensor<3>,
    /// Its part of the loss before the weight β, `[1]`.
    pub term: Tensor<1>,
}

impl Encoder {
    /// The latent signal in training, and what it costs, of an encoder's `output`
    /// ([`output`](Self::output)), `[batch, outputs · latent, frames]`.
    ///
    /// # Panics
    /// If the draws have other shapes.
    pub fn regularise(
        &self,
        output: Tensor<3>,
        draw: &BottleneckDraw,
        quantisation: Quantisation,
    ) -> Regularised {
        let (latent, term) = match self.bottleneck() {
            Bottleneck::Variational => {
                let posterior = Posterior::from_output(output);
                let latent = posterior.sample(draw.normal.clone());
                (latent, posterior.kl())
            }
            Bottleneck::Wasserstein => {
                let term = discrepancy(rows(output.clone()), rows(draw.normal.clone()));
                (output, term)
            }
            Bottleneck::Discrete(_) => match (&self.quantiser, quantisation) {
                (Some(quantiser), Quantisation::Learning) => {
                    let found = quantiser.learn(output, &draw.rows);
                    (found.latent, found.commitment)
                }
                (Some(quantiser), Quantisation::Fixed) if quantiser.is_initialised() => {
                    let found = quantiser.forward(output);
                    (found.latent, found.commitment)
                }
                _ => {
                    let nothing = output.zeros_like().mean();
                    (output, nothing)
                }
            },
        };
        Regularised {
            latent: match &draw.augmentation {
                Some(noise) => Tensor::cat(vec![latent, noise.clone()], 1),
                None => latent,
            },
            term,
        }
    }

    /// The latent signal in inference, `[batch, latent, frames]`, of an encoder's output: the mean,
    /// the output itself, or its codes once there are any.
    pub(super) fn settle(&self, output: Tensor<3>) -> Tensor<3> {
        match (self.bottleneck(), &self.quantiser) {
            (Bottleneck::Variational, _) => Posterior::from_output(output).mean,
            (Bottleneck::Discrete(_), Some(quantiser)) if quantiser.is_initialised() => {
                quantiser.forward(output).latent
            }
            _ => output,
        }
    }
}

/// The frames of `[batch, channels, frames]`, one after the other: `[batch · frames, channels]`.
fn rows(signal: Tensor<3>) -> Tensor<2> {
    let [batch, channels, frames] = signal.dims();
    signal.swap_dims(1, 2).reshape([batch * frames, channels])
}

/// Standard normal numbers for the channels of noise that the decoder takes beside the latent signal,
/// `[batch, noise augmentation, frames]`; `None` where it takes none.
///
/// Each frame has a stream of its own, so that a signal in blocks meets the same noise as a whole
/// one; `first` is the number of the first frame, and before frame 0 there is silence.
pub fn draw_augmentation(
    config: &RaveConfig,
    batch: usize,
    first: isize,
    frames: usize,
    seed: Seed,
    device: &Device,
) -> Option<Tensor<3>> {
    let channels = config.noise_augmentation;
    if channels == 0 {
        return None;
    }
    let range: Range<isize> = first..first + frames as isize;
    let mut values = Vec::with_capacity(batch * frames * channels);
    for item in 0..batch {
        let seed = seed.stream("augmentation").at(item as u64);
        for frame in range.clone() {
            let end = values.len() + channels;
            if let Ok(frame) = u64::try_from(frame) {
                let mut rng = seed.at(frame).rng();
                while values.len() < end {
                    values.extend(normal_pair(&mut rng));
                }
            }
            // The second of a pair may be one too many; what is missing is silence.
            values.resize(end, 0.0);
        }
    }
    let data = TensorData::new(values, [batch, frames, channels]);
    Some(Tensor::<3>::from_data(data, device).swap_dims(1, 2))
}
