//! Pictures of sound.

use crate::Sound;
use menagerie_core::{Error, Result};
use realfft::RealFftPlanner;
use std::f64::consts::PI;

/// Decibels below a full-scale tone at which a picture is black.
const RANGE: f64 = 80.0;

/// Largest sides of a picture.
const MAX_COLUMNS: usize = 4096;
const MAX_SIZE: usize = 1 << 14;

/// How loud which frequency is when: an image for [`Grid`](crate::Grid), time from left to right,
/// frequency upwards. A full-scale tone is white (1), and what lies 80 decibels below it, or more,
/// black (0), so that pictures of several sounds compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrogram {
    values: Vec<f32>,
    shape: [usize; 3],
}

impl Spectrogram {
    /// `[1, frequencies, moments]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The pixels, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl AsRef<[f32]> for Spectrogram {
    fn as_ref(&self) -> &[f32] {
        &self.values
    }
}

impl Sound {
    /// A picture with `columns` moments, evenly spread over the sound, and `size / 2` frequencies from
    /// zero to half the rate: Fourier transforms of `size` samples under a Hann window, the mean
    /// power of all channels. `NaN` counts as silence.
    ///
    /// # Errors
    /// Those of [`wav`](Self::wav), and [`Error::Input`] for a size that is odd, below 4 or above
    /// 16384, or columns outside of `1..=4096`.
    pub fn spectrogram(&self, size: usize, columns: usize) -> Result<Spectrogram> {
        self.check()?;
        if !(4..=MAX_SIZE).contains(&size) || !size.is_multiple_of(2) {
            let rule = format!("must be even and in 4..={MAX_SIZE}");
            return Err(Error::input(
                "samples of a spectrogram's window",
                size,
                rule,
            ));
        }
        if !(1..=MAX_COLUMNS).contains(&columns) {
            let rule = format!("must be in 1..={MAX_COLUMNS}");
            return Err(Error::input("columns of a spectrogram", columns, rule));
        }
        let window: Vec<f32> = (0..size)
            .map(|at| (PI * at as f64 / size as f64).sin().powi(2) as f32)
            .collect();
        // A tone of amplitude 1 has the magnitude of half the window's sum.
        let full = f64::from(window.iter().sum::<f32>()) / 2.0;
        let plan = RealFftPlanner::<f32>::new().plan_fft_forward(size);
        let (mut frame, mut spectrum) = (plan.make_input_vec(), plan.make_output_vec());
        let rows = size / 2;
        let mut power = vec![0.0f64; rows * columns];
        for channel in self.samples() {
            for column in 0..columns {
                let centre = (2 * column + 1) * channel.len() / (2 * columns);
                for (at, (to, window)) in frame.iter_mut().zip(&window).enumerate() {
                    let place = (centre + at).checked_sub(rows);
                    let sample = place.and_then(|place| channel.get(place)).copied();
                    *to = window * sample.filter(|sample| sample.is_finite()).unwrap_or(0.0);
                }
                plan.process(&mut frame, &mut spectrum)
                    .map_err(|error| Error::other("the transform of a spectrogram", error))?;
                for (bin, value) in spectrum.iter().take(rows).enumerate() {
                    power[(rows - 1 - bin) * columns + column] += f64::from(value.norm_sqr());
                }
            }
        }
        let share = (full * full * self.width() as f64).recip();
        let brightness =
            |power: f64| (1.0 + 10.0 * (power * share).log10() / RANGE).clamp(0.0, 1.0);
        Ok(Spectrogram {
            values: power.into_iter().map(|p| brightness(p) as f32).collect(),
            shape: [1, rows, columns],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grid;

    fn tone(amplitude: f64) -> Vec<f32> {
        // Bin 16 of 64 samples: a quarter of the rate.
        let value = |at: usize| amplitude * (PI / 2.0 * at as f64).sin();
        (0..1_000).map(|at| value(at) as f32).collect()
    }

    #[test]
    fn a_tone_is_a_line_as_bright_as_it_is_loud() {
        for (amplitude, brightness) in [(1.0, 1.0f32), (0.01, 0.5)] {
            let sound = Sound::mono(tone(amplitude), 8_000);
            let picture = sound.spectrogram(64, 10).unwrap();
            assert_eq!(picture.shape(), [1, 32, 10]);
            for column in 1..9 {
                let at = |row: usize| picture.values()[row * 10 + column];
                // The top row is bin 31.
                assert!((at(31 - 16) - brightness).abs() < 0.01, "{}", at(15));
                assert!(
                    (0..32usize)
                        .filter(|row| row.abs_diff(15) > 2)
                        .all(|row| at(row) < 0.1)
                );
            }
            let grid = Grid::new(picture.shape()).row("tone", [&picture]);
            assert!(grid.png().is_ok());
        }
    }

    #[test]
    fn silence_is_black_and_channels_share() {
        let silent = Sound::mono(vec![0.0; 10], 8_000)
            .spectrogram(16, 3)
            .unwrap();
        assert_eq!(silent.values(), [0.0; 24]);
        let gaps = Sound::mono(vec![f32::NAN; 10], 8_000)
            .spectrogram(16, 3)
            .unwrap();
        assert_eq!(gaps, silent);
        let pair = Sound::channels([tone(1.0), vec![0.0; 1_000]], 8_000);
        let picture = pair.spectrogram(64, 1).unwrap();
        // Half of the power: three decibels.
        assert!((picture.values()[15] - (1.0 - 3.01 / 80.0)).abs() < 0.01);
    }

    #[test]
    fn impossible_pictures_are_refused() {
        let sound = Sound::mono(vec![0.0; 10], 8_000);
        let message = |size, columns| sound.spectrogram(size, columns).unwrap_err().to_string();
        assert!(message(15, 1).contains("must be even"));
        assert!(message(2, 1).contains("must be even and in 4..=16384"));
        assert!(message(16, 0).contains("columns of a spectrogram"));
        let empty = Sound::mono(Vec::new(), 8_000).spectrogram(16, 1);
        assert!(empty.unwrap_err().to_string().contains("length of a sound"));
    }
}
