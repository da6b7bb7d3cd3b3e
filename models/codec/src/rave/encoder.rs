//! From sub-bands to the parameters of the posterior.

use super::adain::AdaIn;
use super::bottleneck::Bottleneck;
use super::config::{RaveConfig, Version};
use super::layers::{BatchNorm, Conv1d, Form, Geometry, Layer, Network, Residual, Statistics};
use super::quantiser::ResidualQuantiser;
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};

/// Added to every standard deviation.
const FLOOR: f64 = 1e-4;

/// The convolutional encoder.
#[derive(Module, Debug)]
pub struct Encoder {
    /// All its layers.
    pub net: Network,
    /// The codes that a discrete bottleneck puts in place of its output.
    pub quantiser: Option<ResidualQuantiser>,
    #[module(skip)]
    bottleneck: Bottleneck,
}

/// The posterior of each latent frame: a Gaussian with independent dimensions.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// `[batch, latent, frames]`.
    pub mean: Tensor<3>,
    /// The scale before it becomes a standard deviation, `[batch, latent, frames]`.
    pub scale: Tensor<3>,
}

impl Posterior {
    /// The two halves of an encoder's output `[batch, 2 · latent, frames]`.
    pub fn from_output(output: Tensor<3>) -> Self {
        let [_, channels, _] = output.dims();
        let half = channels / 2;
        Self {
            mean: output.clone().narrow(1, 0, half),
            scale: output.narrow(1, half, channels - half),
        }
    }

    /// `softplus(scale) + 1e-4`, `[batch, latent, frames]`.
    pub fn std(&self) -> Tensor<3> {
        activation::softplus(self.scale.clone(), 1.0) + FLOOR
    }

    /// `mean + std · ε` for standard normal `noise` of the mean's shape.
    pub fn sample(&self, noise: Tensor<3>) -> Tensor<3> {
        self.mean.clone() + self.std() * noise
    }

    /// The Kullback–Leibler divergence from a standard normal, twice: the mean over batch and
    /// frames of `Σ (mean² + std² − ln std² − 1)`, without the factor ½, as the released code has
    /// it; shape `[1]`.
    pub fn kl(&self) -> Tensor<1> {
        let variance = self.std().square();
        let terms = self.mean.clone().square() + variance.clone() - variance.log() - 1.0;
        terms.sum_dim(1).mean()
    }
}

impl Encoder {
    pub(super) fn new(config: &RaveConfig, device: &Device) -> Self {
        let pad = |kernel, dilation| config.padding.of(kernel, dilation);
        let same = |kernel| Geometry::new(kernel, pad(kernel, 1));
        let v1 = config.version == Version::V1;
        let form = if v1 { Form::Plain } else { Form::Normalised };
        let conv = |channels, geometry| {
            let conv = Conv1d::new(channels, geometry, form, config.bias, device);
            Layer::Conv(conv.activated_by(config.activation, device))
        };
        let mut width = config.capacity;
        let mut layers = vec![conv([config.bands, width], same(7))];
        for (&ratio, dilations) in config.ratios.iter().zip(&config.dilations) {
            let kernel = if v1 { 2 * ratio + 1 } else { 2 * ratio };
            if v1 {
                layers.push(Layer::Norm(BatchNorm::new(width, device)));
            } else {
                layers.extend(units(config, width, dilations, device));
            }
            let down = same(kernel).strided(ratio).after_activation();
            layers.push(conv([width, 2 * width], down));
            width *= 2;
        }
        let last = if v1 { same(5).grouped(2) } else { same(3) };
        let outputs = config.bottleneck.outputs() * config.latent;
        layers.push(conv([width, outputs], last.after_activation()));
        Self {
            net: Network { layers },
            quantiser: match &config.bottleneck {
                Bottleneck::Discrete(quantiser) => {
                    let latent = config.latent;
                    Some(ResidualQuantiser::unchecked(quantiser, latent, device))
                }
                _ => None,
            },
            bottleneck: config.bottleneck.clone(),
        }
    }

    /// What its output is.
    pub fn bottleneck(&self) -> &Bottleneck {
        &self.bottleneck
    }

    /// Sub-bands `[batch, bands, time]` to the output of `time / R` frames, `[batch, outputs ·
    /// latent, frames]` with the [`outputs`](Bottleneck::outputs) of the bottleneck.
    ///
    /// # Panics
    /// If there are other bands.
    pub fn output(&self, subbands: Tensor<3>, statistics: Statistics) -> Tensor<3> {
        self.net.forward(subbands, statistics)
    }

    /// Sub-bands `[batch, bands, time]` to the posterior of `time / R` frames, for a variational
    /// bottleneck; of another one, [`output`](Self::output) has what the encoder gives.
    ///
    /// # Panics
    /// If there are other bands.
    pub fn forward(&self, subbands: Tensor<3>, statistics: Statistics) -> Posterior {
        Posterior::from_output(self.output(subbands, statistics))
    }

    /// All weight normalisation folded, for inference.
    pub fn fold(self) -> Self {
        Self {
            net: self.net.fold(),
            ..self
        }
    }
}

/// The residual units of V2 at one stride.
pub(super) fn units(
    config: &RaveConfig,
    width: usize,
    dilations: &[usize],
    device: &Device,
) -> Vec<Layer> {
    let mut layers = Vec::new();
    for &dilation in dilations {
        if config.adain {
            layers.push(Layer::AdaIn(AdaIn::new(width, device)));
        }
        layers.push(dilated(config, width, dilation, device));
    }
    layers
}

/// The residual unit of V2: a dilated convolution and one over channels alone.
fn dilated(config: &RaveConfig, width: usize, dilation: usize, device: &Device) -> Layer {
    let wide = Geometry::new(3, config.padding.of(3, dilation))
        .dilated(dilation)
        .after_activation();
    let narrow = Geometry::new(1, [0, 0]).after_activation();
    let conv = |geometry| {
        Conv1d::new([width; 2], geometry, Form::Normalised, config.bias, device)
            .activated_by(config.activation, device)
    };
    Layer::Residual(Residual {
        convs: vec![conv(wide), conv(narrow)],
    })
}
