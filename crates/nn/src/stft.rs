//! The short-time Fourier transform, of which losses on sound take the magnitudes.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_nn::stft::{Stft, stft_magnitude};
//!
//! let stft = Stft::hann(512, 128)?;
//! let sound = Tensor::<2>::zeros([4, 8_000], &Device::flex());
//! let magnitudes = stft_magnitude(sound, &stft);
//! assert_eq!(magnitudes.dims(), [4, 257, 63]);
//! # Ok::<(), menagerie_core::Error>(())
//! ```

use burn::tensor::ops::PadMode;
use burn::tensor::{DType, Tensor, TensorData};
use menagerie_core::{Error, Result};
use std::f64::consts::TAU;
use std::sync::Arc;

/// A short-time Fourier transform of real signals: which pieces are transformed, and how they are
/// weighted.
#[derive(Clone, Debug)]
pub struct Stft {
    size: usize,
    hop: usize,
    window: Arc<[f32]>,
    centred: bool,
    normalised: bool,
}

impl Stft {
    /// Pieces of `size` samples, `hop` apart, under the periodic Hann window `sin²(π t / size)`;
    /// centred, not normalised.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than two samples, or a hop of zero.
    pub fn hann(size: usize, hop: usize) -> Result<Self> {
        let value = |at: usize| (0.5 - 0.5 * (TAU * at as f64 / size as f64).cos()) as f32;
        Self::with_window((0..size).map(value).collect(), hop)
    }

    /// Pieces as long as `window`, `hop` samples apart; centred, not normalised.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than two samples, a hop of zero, or a window that is not finite.
    pub fn with_window(window: Vec<f32>, hop: usize) -> Result<Self> {
        if window.len() < 2 {
            let rule = "a Fourier transform takes at least two samples";
            return Err(Error::config("Stft", "size", window.len(), rule));
        }
        if hop == 0 {
            let rule = "pieces must lie at least one sample apart";
            return Err(Error::config("Stft", "hop", hop, rule));
        }
        if let Some(value) = window.iter().find(|value| !value.is_finite()) {
            let rule = "every value of the window must be finite";
            return Err(Error::config("Stft", "window", value, rule));
        }
        Ok(Self {
            size: window.len(),
            hop,
            window: window.into(),
            centred: true,
            normalised: false,
        })
    }

    /// Whether piece `i` is centred on sample `i · hop`, the signal being reflected at both ends,
    /// rather than starting there.
    pub fn centred(self, centred: bool) -> Self {
        Self { centred, ..self }
    }

    /// Whether magnitudes are divided by `√size`.
    pub fn normalised(self, normalised: bool) -> Self {
        Self { normalised, ..self }
    }

    /// Samples of a piece.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Samples from one piece to the next.
    pub fn hop(&self) -> usize {
        self.hop
    }

    /// Frequencies of a spectrum, `size / 2 + 1`.
    pub fn frequencies(&self) -> usize {
        self.size / 2 + 1
    }

    /// Samples that reflection adds on either side.
    fn padding(&self) -> usize {
        if self.centred { self.size / 2 } else { 0 }
    }

    /// Pieces of a signal of `len` samples.
    ///
    /// # Errors
    /// [`Error::Input`] for a signal that is shorter than a piece or, centred, not longer than half
    /// of one: there is nothing to reflect.
    pub fn frames(&self, len: usize) -> Result<usize> {
        let padding = self.padding();
        if self.centred && len <= padding {
            let rule = format!(
                "to be reflected for a Fourier transform of {} it must be longer than {padding} samples",
                self.size
            );
            return Err(Error::input("length of a signal", len, rule));
        }
        let Some(room) = (len + 2 * padding).checked_sub(self.size) else {
            let rule = format!("a Fourier transform takes {} samples", self.size);
            return Err(Error::input("length of a signal", len, rule));
        };
        Ok(room / self.hop + 1)
    }

    fn scale(&self) -> f64 {
        if self.normalised {
            (self.size as f64).sqrt().recip()
        } else {
            1.0
        }
    }
}

/// `|X|`, the magnitudes of the short-time Fourier transform of `x`, `[batch, time]`: `[batch,
/// frequencies, frames]`, the lowest frequency first. The gradient of a magnitude that is zero is
/// zero.
///
/// # Panics
/// If a signal is too short, where [`Stft::frames`] says so.
pub fn stft_magnitude(x: Tensor<2>, stft: &Stft) -> Tensor<3> {
    let [_, len] = x.dims();
    let frames = match stft.frames(len) {
        Ok(frames) => frames,
        Err(error) => panic!("stft_magnitude: {error}"),
    };
    #[cfg(feature = "flex")]
    if x.dims()[0] > 0 {
        let transform = crate::kernel::stft::Transform {
            batch: x.dims()[0],
            len,
            hop: stft.hop,
            padding: stft.padding(),
            frames,
            window: stft.window.clone(),
            scale: stft.scale() as f32,
        };
        if let Some(y) = crate::flex::stft::magnitude(&x, &transform) {
            return y;
        }
    }
    plain(x, stft, frames)
}

/// The transform as a product with sines and cosines, for every backend.
fn plain(x: Tensor<2>, stft: &Stft, frames: usize) -> Tensor<3> {
    let (padding, bins) = (stft.padding(), stft.frequencies());
    let (device, dtype) = (x.device().without_autodiff(), x.dtype());
    let x = match padding {
        0 => x,
        _ => x.pad([(0, 0), (padding, padding)], PadMode::Reflect),
    };
    let pieces: Tensor<3> = x.unfold(1, stft.size, stft.hop);
    let pieces = pieces.narrow(1, 0, frames);
    let wave = |shift: f64| {
        let value = |at: usize| {
            let (time, bin) = (at / bins, at % bins);
            // The product of time and frequency modulo the length: exact, however long.
            let turn = (time * bin % stft.size) as f64 / stft.size as f64;
            let window = f64::from(stft.window[time]) * stft.scale();
            (TAU * turn + shift).cos() * window
        };
        let values: Vec<f64> = (0..stft.size * bins).map(value).collect();
        let data = TensorData::new(values, [1, stft.size, bins]);
        Tensor::<3>::from_data(data, (&device, DType::F64)).cast(dtype)
    };
    let part = |shift: f64| {
        let part = pieces.clone().matmul(wave(shift));
        part.clone() * part
    };
    let power = part(0.0) + part(TAU / 4.0);
    // The root's slope at zero is not finite.
    let zero = power.clone().equal_elem(0.0);
    let magnitude = power
        .mask_fill(zero.clone(), 1.0)
        .sqrt()
        .mask_fill(zero, 0.0);
    magnitude.swap_dims(1, 2)
}
