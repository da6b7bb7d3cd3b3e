//! The branch of filtered noise, after DDSP (Engel et al., 2020).

use super::config::{Activation, NoiseConfig, RaveConfig, Version};
use super::decoder::modified_sigmoid;
use super::layers::{Conv1d, Form, Geometry};
use burn::module::Module;
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use rand::RngExt;
use std::ops::Range;

/// Convolutions that give, frame by frame and band by band, the magnitude response of a filter for
/// noise.
#[derive(Module, Debug)]
pub struct NoiseFilter {
    /// Strided convolutions.
    pub convs: Vec<Conv1d>,
    #[module(skip)]
    bands: usize,
    #[module(skip)]
    config: NoiseConfig,
}

/// Subtracted before the magnitudes' sigmoid, so that the branch starts almost silent.
const OFFSET: f64 = 5.0;

impl NoiseFilter {
    pub(super) fn new(
        config: &RaveConfig,
        noise: &NoiseConfig,
        width: usize,
        device: &Device,
    ) -> Self {
        let hidden = noise.hidden.unwrap_or(width);
        let last = noise.ratios.len() - 1;
        let v1 = config.version == Version::V1;
        let convs = noise.ratios.iter().enumerate().map(|(index, &ratio)| {
            let inputs = if index == 0 { width } else { hidden };
            let outputs = match index {
                index if index == last => config.bands * noise.bands,
                _ => hidden,
            };
            let geometry = match v1 {
                true => Geometry::new(3, config.padding.of(3, 1)),
                // V2 looks back alone, whatever the padding of the rest.
                false => Geometry::new(2 * ratio, [ratio, 0]),
            };
            let geometry = geometry.strided(ratio);
            // V2 activates before every branch; an activation that learns is not the branch's own.
            let shared = v1 || config.activation == Activation::Snake;
            let geometry = match index == 0 && shared {
                true => geometry,
                false => geometry.after_activation(),
            };
            Conv1d::new(
                [inputs, outputs],
                geometry,
                Form::Plain,
                config.bias,
                device,
            )
            .activated_by(config.activation, device)
        });
        Self {
            convs: convs.collect(),
            bands: config.bands,
            config: noise.clone(),
        }
    }

    /// Sizes of the branch.
    pub fn config(&self) -> &NoiseConfig {
        &self.config
    }

    /// Filtered noise `[batch, bands, time]` for features `[batch, width, time]` and `noise`
    /// uniform in [−1, 1), `[batch, frames, bands, frame]` with `frames · frame = time`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward(&self, hidden: Tensor<3>, noise: Tensor<4>) -> Tensor<3> {
        let response = self.convs.iter().fold(hidden, |x, conv| conv.forward(x));
        self.filter(response, noise)
    }

    /// `response` `[batch, bands · noise bands, frames]` applied to `noise`.
    pub(super) fn filter(&self, response: Tensor<3>, noise: Tensor<4>) -> Tensor<3> {
        let [batch, _, frames] = response.dims();
        let (bands, magnitudes, frame) = (self.bands, self.config.bands, self.config.frame());
        let taps = self.config.taps();
        let magnitude = modified_sigmoid(response - OFFSET)
            .reshape([batch * bands, magnitudes, frames])
            .swap_dims(1, 2)
            .reshape([batch * bands * frames, magnitudes]);
        let device = noise.device();
        let basis = Tensor::<1>::from_data(
            TensorData::from(impulse_basis(magnitudes).as_slice()),
            &device,
        )
        .reshape([magnitudes, taps]);
        let impulse = magnitude
            .matmul(basis)
            .reshape([batch, bands, frames, taps]);
        let noise = noise.swap_dims(1, 2);
        // The response, with delay 0 at its middle, is cut or padded with zeros to the frame and
        // turned back by half its length: what stands for the past comes late in the frame. The
        // window is zero at position 0.
        let half = taps / 2;
        let mut sum: Option<Tensor<4>> = None;
        for position in 1..taps.min(frame) {
            let tap = (position + taps - half) % taps;
            let delay = (position + half.next_multiple_of(frame) - half) % frame;
            let kept = noise.clone().narrow(3, 0, frame - delay);
            let delayed = kept.pad([(0, 0), (0, 0), (0, 0), (delay, 0)], PadMode::Constant(0.0));
            let term = delayed * impulse.clone().narrow(3, tap, 1);
            sum = Some(match sum {
                Some(sum) => sum + term,
                None => term,
            });
        }
        sum.unwrap_or(noise).reshape([batch, bands, frames * frame])
    }
}

/// The real, even impulse response with the given magnitudes (zero phase, an inverse FFT), under a
/// periodic Hann window around delay 0: row-major `[bands, taps]`. Tap `k` stands at delay `k` in the
/// first half and at `k − taps` in the second.
fn impulse_basis(bands: usize) -> Vec<f32> {
    let taps = 2 * (bands - 1);
    let turn = 2.0 * std::f64::consts::PI / taps as f64;
    let mut basis = Vec::with_capacity(bands * taps);
    for band in 0..bands {
        // Inner frequencies stand for themselves and their mirror image.
        let weight = if band == 0 || band == bands - 1 {
            1.0
        } else {
            2.0
        };
        for tap in 0..taps {
            let wave = libm::cos(turn * (band * tap % taps) as f64) * weight / taps as f64;
            // The window's middle, at delay 0, is 1.
            let window = 0.5 + 0.5 * libm::cos(turn * tap as f64);
            basis.push((wave * window) as f32);
        }
    }
    basis
}

/// Uniform numbers in [−1, 1) for the noise branch, `[batch, frames, bands, frame]`.
///
/// Each frame has a stream of its own, so that a signal in blocks meets the same noise as a whole
/// one; `first` is the number of the first frame.
pub fn draw_noise(
    config: &RaveConfig,
    batch: usize,
    first: usize,
    frames: usize,
    seed: Seed,
    device: &Device,
) -> Option<Tensor<4>> {
    let noise = config.noise.as_ref()?;
    let values = (0..batch).flat_map(|item| {
        let frames = first as isize..(first + frames) as isize;
        draw_frames(config, noise, frames, seed.at(item as u64))
    });
    let shape = [batch, frames, config.bands, noise.frame()];
    let data = TensorData::new(values.collect::<Vec<f32>>(), shape);
    Some(Tensor::from_data(data, device))
}

/// The noise of one signal, frame by frame; before frame 0 it is silent.
pub(super) fn draw_frames(
    config: &RaveConfig,
    noise: &NoiseConfig,
    frames: Range<isize>,
    seed: Seed,
) -> Vec<f32> {
    let size = config.bands * noise.frame();
    let mut values = Vec::with_capacity(frames.len() * size);
    for frame in frames {
        match u64::try_from(frame) {
            Ok(frame) => {
                let mut rng = seed.at(frame).rng();
                values.extend((0..size).map(|_| rng.random::<f32>() * 2.0 - 1.0));
            }
            Err(_) => values.resize(values.len() + size, 0.0),
        }
    }
    values
}
