//! From latent frames to sub-bands.

use super::activation::Snake;
use super::config::{Activation, NoiseConfig, RaveConfig, Version};
use super::encoder::units;
use super::layers::{Conv1d, Form, Geometry, Layer, Network, Residual, Statistics};
use super::noise::NoiseFilter;
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};

/// The convolutional decoder and its branches.
#[derive(Module, Debug)]
pub struct Decoder {
    /// From latent frames to the features that the branches share.
    pub net: Network,
    /// To `bands` channels; in V2 to `2 · bands`, the second half of which are gates.
    pub waveform: Conv1d,
    /// To one channel (V1).
    pub loudness: Option<Conv1d>,
    /// The branch of filtered noise.
    pub noise: Option<NoiseFilter>,
}

/// What each branch gives for a latent signal.
#[derive(Clone, Debug)]
pub struct Branches {
    /// The features that the branches share, `[batch, capacity, time]`.
    pub hidden: Tensor<3>,
    /// `[batch, bands, time]`, in V2 `[batch, 2 · bands, time]`.
    pub waveform: Tensor<3>,
    /// `[batch, 1, time]` (V1).
    pub loudness: Option<Tensor<3>>,
    /// `[batch, bands, time]` where noise was asked for.
    pub noise: Option<Tensor<3>>,
}

impl Branches {
    /// The sub-bands `[batch, bands, time]`: in V1 `tanh(waveform) · σ'(loudness) + noise`, in V2
    /// `tanh(waveform · σ(gate) + noise)`.
    pub fn mix(self) -> Tensor<3> {
        let add = |x: Tensor<3>| match self.noise {
            Some(noise) => x + noise,
            None => x,
        };
        match self.loudness {
            Some(loudness) => add(self.waveform.tanh() * modified_sigmoid(loudness)),
            None => {
                let bands = self.waveform.dims()[1] / 2;
                let gate = activation::sigmoid(self.waveform.clone().narrow(1, bands, bands));
                add(self.waveform.narrow(1, 0, bands) * gate).tanh()
            }
        }
    }
}

/// `2σ(x)^2.3 + 1e-7`, the positive amplitude of DDSP (Engel et al., 2020).
pub fn modified_sigmoid<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    // σ^2.3 as the exponential of its logarithm, which is stable and has no power of zero.
    (activation::log_sigmoid(x) * 2.3).exp() * 2.0 + 1e-7
}

impl Decoder {
    pub(super) fn new(config: &RaveConfig, device: &Device) -> Self {
        let same = |kernel| Geometry::new(kernel, config.padding.of(kernel, 1));
        let conv = |channels, geometry, bias| {
            Conv1d::new(channels, geometry, Form::Normalised, bias, device)
        };
        let v1 = config.version == Version::V1;
        let mut width = config.width();
        let first = if v1 { 7 } else { 3 };
        let mut layers = vec![Layer::Conv(conv(
            [config.decoder_channels(), width],
            same(first),
            config.bias,
        ))];
        let mut stages: Vec<(usize, &[usize])> = config
            .ratios
            .iter()
            .zip(&config.dilations)
            .map(|(ratio, dilations)| (*ratio, dilations.as_slice()))
            .collect();
        if !v1 {
            stages.reverse();
        }
        for (ratio, dilations) in stages {
            // The decoder's inner layers have a bias in neither version of V1's training.
            let bias = config.bias && !v1;
            let up = match ratio {
                1 => same(3),
                ratio => Geometry::upsampling(ratio),
            };
            let up = conv([width, width / 2], up.after_activation(), bias);
            layers.push(Layer::Conv(up.activated_by(config.activation, device)));
            width /= 2;
            if v1 {
                layers.extend(dilations.iter().map(|&dilation| {
                    let wide = Geometry::new(3, config.padding.of(3, dilation)).dilated(dilation);
                    Layer::Residual(Residual {
                        convs: [wide, same(3)]
                            .map(|geometry| conv([width; 2], geometry.after_activation(), bias))
                            .into(),
                    })
                }));
            } else {
                layers.extend(units(config, width, dilations, device));
            }
        }
        // V2 activates before the branches; where the activation learns, they share it.
        let shared = config.activation == Activation::Snake;
        if shared {
            layers.push(Layer::Snake(Snake::new(width, device)));
        }
        let branch = |geometry: Geometry| match v1 || shared {
            true => geometry,
            false => geometry.after_activation(),
        };
        let outputs = if v1 { config.bands } else { 2 * config.bands };
        let stride = config.loudness_stride;
        Self {
            net: Network { layers },
            waveform: conv([width, outputs], branch(same(7)), config.bias),
            loudness: v1.then(|| {
                let geometry = same(2 * stride + 1).strided(stride);
                conv([width, 1], geometry, config.bias)
            }),
            noise: config
                .noise
                .as_ref()
                .map(|noise: &NoiseConfig| NoiseFilter::new(config, noise, width, device)),
        }
    }

    /// What each branch makes of `latent`, `[batch, latent, frames]`, with noise augmentation beside
    /// it where the decoder takes some. Statistics of style ([`AdaIn`](super::AdaIn)) do nothing
    /// here: this is what is trained.
    ///
    /// `noise` is uniform in [−1, 1), `[batch, noise frames, bands, frame]`
    /// ([`draw_noise`](super::draw_noise)); without it, or without a noise branch, there is none.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn branches(&self, latent: Tensor<3>, noise: Option<Tensor<4>>) -> Branches {
        let hidden = self.net.forward(latent, Statistics::Running);
        self.branch_out(hidden, noise)
    }

    /// Sub-bands as [`forward`](Self::forward) gives them, in the style that was learned.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn infer(&self, latent: Tensor<3>, noise: Option<Tensor<4>>) -> Tensor<3> {
        self.branch_out(self.net.infer(latent), noise).mix()
    }

    fn branch_out(&self, hidden: Tensor<3>, noise: Option<Tensor<4>>) -> Branches {
        let waveform = self.waveform.forward(hidden.clone());
        let loudness = self.loudness.as_ref().map(|conv| {
            let stride = conv.geometry().stride;
            repeat(conv.forward(hidden.clone()), stride)
        });
        let noise = match (&self.noise, noise) {
            (Some(filter), Some(noise)) => Some(filter.forward(hidden.clone(), noise)),
            _ => None,
        };
        Branches {
            hidden,
            waveform,
            loudness,
            noise,
        }
    }

    /// Sub-bands `[batch, bands, R · frames]` of `latent`, `[batch, latent, frames]`; `noise` as
    /// for [`branches`](Self::branches).
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward(&self, latent: Tensor<3>, noise: Option<Tensor<4>>) -> Tensor<3> {
        self.branches(latent, noise).mix()
    }

    /// All weight normalisation folded, for inference.
    pub fn fold(self) -> Self {
        Self {
            net: self.net.fold(),
            waveform: self.waveform.fold(),
            loudness: self.loudness.map(Conv1d::fold),
            noise: self.noise,
        }
    }
}

/// Each frame of `[batch, channels, frames]` `times` in a row.
pub(super) fn repeat(x: Tensor<3>, times: usize) -> Tensor<3> {
    if times == 1 {
        return x;
    }
    let [batch, channels, frames] = x.dims();
    let x: Tensor<4> = x.unsqueeze_dim(3);
    x.expand([batch, channels, frames, times])
        .reshape([batch, channels, frames * times])
}
