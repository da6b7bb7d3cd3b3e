//! Magnitudes of the short-time Fourier transform.

use burn::tensor::Tensor;
use menagerie_core::{Error, Result};
use menagerie_nn::stft::{Stft, stft_magnitude};

/// Magnitudes of `signals` `[signals, time]` under a periodic Hann window of `size`, a quarter of
/// which is the hop, centred with reflected borders: `[signals, size / 2 + 1, frames]` with
/// `1 + time / hop` frames.
///
/// # Errors
/// [`Error::Input`] for a window that is no multiple of 4, or more than twice as long as the signal.
pub(crate) fn magnitudes(signals: Tensor<2>, size: usize) -> Result<Tensor<3>> {
    let [_, time] = signals.dims();
    if size == 0 || !size.is_multiple_of(4) {
        let rule = "must be a positive multiple of 4";
        return Err(Error::input("the scale of a spectrum", size, rule));
    }
    if size / 2 >= time {
        let rule = format!(
            "must be less than twice the {time} samples of the signal, whose borders are reflected"
        );
        return Err(Error::input("the scale of a spectrum", size, rule));
    }
    let stft = Stft::hann(size, size / 4)?;
    Ok(stft_magnitude(signals, &stft))
}
