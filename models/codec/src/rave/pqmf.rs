//! The filter bank: a waveform as `M` sub-bands at one `M`-th of its rate, and back, almost without
//! loss (Nguyen, 1994).

use super::prototype::Prototype;
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_nn::conv1d::{Conv1dOptions, conv_transpose1d, conv1d};
use std::sync::Arc;

/// A cosine-modulated filter bank.
///
/// Band `k` has the filter `2 h[t] cos((2k + 1) π t / 2M + (−1)^k π/4)` around the prototype's
/// middle. The models synthesise by a convolution over polyphase components, which is late by one
/// sub-band sample, that is by `M` samples: [`synthesis`](Self::synthesis). The form without that
/// delay is [`synthesis_aligned`](Self::synthesis_aligned).
#[derive(Clone, Debug)]
pub struct Pqmf {
    bands: usize,
    /// `[bands, length]`, row-major; the length is a power of two.
    filters: Arc<[f32]>,
    length: usize,
    prototype: Arc<Prototype>,
}

impl Pqmf {
    /// A bank of `bands` bands whose stop bands lie `attenuation` dB below; one band is the
    /// waveform itself.
    ///
    /// # Errors
    /// [`Error::Input`] if `bands` is no power of two.
    pub fn new(bands: usize, attenuation: f64) -> Result<Self> {
        if !bands.is_power_of_two() {
            let rule = "must be a power of two, for the polyphase form";
            return Err(Error::input("the number of bands", bands, rule));
        }
        let prototype = Prototype::design(bands, attenuation);
        let taps = prototype.taps.len();
        let length = taps.next_power_of_two();
        let before = (length - taps) / 2;
        let mut filters = vec![0.0; bands * length];
        let turn = std::f64::consts::PI / (2 * bands) as f64;
        for (band, row) in filters.chunks_exact_mut(length).enumerate() {
            let phase = std::f64::consts::FRAC_PI_4 * if band % 2 == 0 { 1.0 } else { -1.0 };
            for (tap, value) in prototype.taps.iter().enumerate() {
                let t = tap as f64 - (taps / 2) as f64;
                let wave = libm::cos((2 * band + 1) as f64 * turn * t + phase);
                row[before + tap] = (2.0 * value * wave) as f32;
            }
        }
        Ok(Self {
            bands,
            filters: filters.into(),
            length,
            prototype: Arc::new(prototype),
        })
    }

    /// The number of bands, M.
    pub fn bands(&self) -> usize {
        self.bands
    }

    /// The low-pass behind all filters.
    pub fn prototype(&self) -> &Prototype {
        &self.prototype
    }

    /// The filters `[bands, length]`, padded with zeros to a power of two.
    pub fn filters(&self, device: &Device) -> Tensor<2> {
        let data = TensorData::new(self.filters.to_vec(), [self.bands, self.length]);
        Tensor::from_data(data, device)
    }

    /// Taps of [`analysis_kernel`](Self::analysis_kernel), odd.
    pub fn analysis_taps(&self) -> usize {
        self.length + 1
    }

    /// Taps of [`synthesis_kernel`](Self::synthesis_kernel), odd.
    pub fn synthesis_taps(&self) -> usize {
        self.length / self.bands + 1
    }

    /// The filters of odd length `[bands, 1, length + 1]`, for analysis with the same padding on
    /// both sides.
    pub fn analysis_kernel(&self, device: &Device) -> Tensor<3> {
        let taps = self.analysis_taps();
        let mut values = vec![0.0; self.bands * taps];
        for (to, from) in self.rows().enumerate() {
            values[to * taps..][..self.length].copy_from_slice(from);
        }
        Tensor::from_data(TensorData::new(values, [self.bands, 1, taps]), device)
    }

    /// The reversed filters by their polyphase components, `[phases, bands, length / bands + 1]`.
    pub fn synthesis_kernel(&self, device: &Device) -> Tensor<3> {
        let (bands, taps) = (self.bands, self.synthesis_taps());
        let mut values = vec![0.0; bands * bands * taps];
        for (band, row) in self.rows().enumerate() {
            for (index, value) in row.iter().rev().enumerate() {
                let (tap, phase) = (index / bands, index % bands);
                values[(phase * bands + band) * taps + tap] = *value;
            }
        }
        Tensor::from_data(TensorData::new(values, [bands, bands, taps]), device)
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.filters.chunks_exact(self.length)
    }

    /// Sub-bands `[batch, bands, time / bands]` of `audio` `[batch, 1, time]`; a time that is no
    /// multiple of the bands loses its rest.
    ///
    /// # Panics
    /// If there are more channels.
    pub fn analysis(&self, audio: Tensor<3>) -> Tensor<3> {
        if self.bands == 1 {
            return audio;
        }
        let kernel = self.analysis_kernel(&audio.device());
        let [_, _, time] = audio.dims();
        let audio = audio.narrow(2, 0, time - time % self.bands);
        let side = self.length / 2;
        let options = Conv1dOptions::new()
            .with_stride(self.bands)
            .with_padding(side, side);
        self.alternate(conv1d(audio, kernel, None, &options), 0)
    }

    /// The waveform `[batch, 1, bands · time]` of `subbands` `[batch, bands, time]`, late by one
    /// sub-band sample, as the models have it.
    ///
    /// # Panics
    /// If there are other bands.
    pub fn synthesis(&self, subbands: Tensor<3>) -> Tensor<3> {
        if self.bands == 1 {
            return subbands;
        }
        let side = (self.synthesis_taps() - 1) / 2;
        let subbands = self.alternate(subbands, 0);
        self.interleave(subbands, [side, side])
    }

    /// The waveform `[batch, 1, bands · time]` of `subbands` `[batch, bands, time]`, in step with
    /// the one that was analysed.
    ///
    /// # Panics
    /// If there are other bands.
    pub fn synthesis_aligned(&self, subbands: Tensor<3>) -> Tensor<3> {
        if self.bands == 1 {
            return subbands;
        }
        let (bands, length) = (self.bands, self.length);
        let subbands = self.alternate(subbands, 0);
        let [_, _, time] = subbands.dims();
        let kernel = self.filters(&subbands.device()).reshape([bands, 1, length]);
        let options = Conv1dOptions::new().with_stride(bands);
        let full = conv_transpose1d(subbands * bands as f64, kernel, None, &options);
        // The adjoint of the analysis, whose padding it cuts; its end lacks less than a filter.
        let full = full.pad([(0, 0), (0, 0), (0, bands)], PadMode::Constant(0.0));
        full.narrow(2, length / 2, bands * time)
    }

    /// Synthesis of sub-bands whose signs are set, with `padding` frames before and after.
    pub(super) fn interleave(&self, subbands: Tensor<3>, padding: [usize; 2]) -> Tensor<3> {
        let kernel = self.synthesis_kernel(&subbands.device());
        let options = Conv1dOptions::new().with_padding(padding[0], padding[1]);
        self.weave(conv1d(subbands, kernel, None, &options))
    }

    /// Polyphase components `[batch, bands, time]` as a waveform `[batch, 1, bands · time]`.
    pub(super) fn weave(&self, phases: Tensor<3>) -> Tensor<3> {
        let [batch, bands, time] = phases.dims();
        (phases * self.bands as f64)
            .flip([1])
            .swap_dims(1, 2)
            .reshape([batch, 1, bands * time])
    }

    /// Every odd band with its sign changed at every second frame; `first` is the number of the
    /// first frame, and even frames are the ones that change.
    pub(super) fn alternate(&self, subbands: Tensor<3>, first: usize) -> Tensor<3> {
        let [_, bands, time] = subbands.dims();
        let mut signs = vec![1.0f32; bands * time];
        for band in (1..bands).step_by(2) {
            for frame in (first % 2..time).step_by(2) {
                signs[band * time + frame] = -1.0;
            }
        }
        let data = TensorData::new(signs, [1, bands, time]);
        let signs = Tensor::from_data(data, &subbands.device());
        subbands * signs
    }
}
