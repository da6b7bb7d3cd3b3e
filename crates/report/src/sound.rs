//! Sound as WAV.

use hound::{SampleFormat, WavSpec, WavWriter};
use menagerie_core::{Error, Result, fs};
use std::{io::Cursor, path::Path};

/// A clip of sound: one or more channels of float samples in `-1..=1`.
#[derive(Clone, Debug)]
pub struct Sound {
    channels: Vec<Vec<f32>>,
    rate: u32,
}

impl Sound {
    /// One channel of samples at `rate` Hz.
    pub fn mono(samples: impl Into<Vec<f32>>, rate: u32) -> Self {
        Self::channels([samples], rate)
    }

    /// Several channels of equal length at `rate` Hz, left first.
    pub fn channels<C: Into<Vec<f32>>>(channels: impl IntoIterator<Item = C>, rate: u32) -> Self {
        Self {
            channels: channels.into_iter().map(Into::into).collect(),
            rate,
        }
    }

    /// The clip as a 16-bit WAV file, which every browser plays.
    ///
    /// Samples beyond `-1..=1` are clipped and `NaN` becomes silence.
    ///
    /// # Errors
    /// [`Error::Input`] for a rate of 0, no channels, no samples or channels of unequal length.
    pub fn wav(&self) -> Result<Vec<u8>> {
        self.check()?;
        let failed = |error| Error::other("encoding a WAV file", error);
        let spec = WavSpec {
            channels: self.channels.len() as u16,
            sample_rate: self.rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).map_err(failed)?;
        for index in 0..self.len() {
            for channel in &self.channels {
                // `as` turns NaN into 0.
                let sample = (channel[index] * f32::from(i16::MAX)).round() as i16;
                writer.write_sample(sample).map_err(failed)?;
            }
        }
        writer.finalize().map_err(failed)?;
        Ok(bytes.into_inner())
    }

    /// Writes [`wav`](Self::wav) to `path`, whole or not at all.
    ///
    /// # Errors
    /// Those of [`wav`](Self::wav), and [`Error::Io`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.wav()?)
    }

    /// Samples per channel.
    fn len(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }

    /// Length in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.len() as f64 / f64::from(self.rate)
    }

    /// Samples per second.
    pub(crate) fn rate(&self) -> u32 {
        self.rate
    }

    /// The channels' samples.
    pub(crate) fn samples(&self) -> &[Vec<f32>] {
        &self.channels
    }

    /// Number of channels.
    pub(crate) fn width(&self) -> usize {
        self.channels.len()
    }

    /// What the listener must know: samples that could not be played as they are.
    pub(crate) fn remark(&self) -> Option<String> {
        let samples = || self.channels.iter().flatten();
        let silent = samples().filter(|sample| sample.is_nan()).count();
        let clipped = samples().filter(|sample| sample.abs() > 1.0).count();
        let parts = [
            (silent, "NaN samples played as silence"),
            (clipped, "samples clipped"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{what}: {count}"))
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.rate == 0 {
            return Err(Error::input(
                "sampling rate of a sound",
                self.rate,
                "must be at least 1 Hz",
            ));
        }
        if self.channels.is_empty() || self.channels.len() > usize::from(u16::MAX) {
            return Err(Error::input(
                "number of channels of a sound",
                self.channels.len(),
                "must be between 1 and 65535",
            ));
        }
        let length = self.len();
        if length == 0 {
            return Err(Error::input(
                "length of a sound",
                length,
                "must be at least 1 sample",
            ));
        }
        for (index, channel) in self.channels.iter().enumerate() {
            if channel.len() != length {
                return Err(Error::input(
                    format!("length of channel {index} of a sound"),
                    channel.len(),
                    format!("must be {length}, that of channel 0"),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_interleaved_and_clipped() {
        let sound = Sound::channels([vec![0.0, 0.5, 2.0], vec![-1.0, f32::NAN, -0.5]], 16_000);
        let mut reader = hound::WavReader::new(Cursor::new(sound.wav().unwrap())).unwrap();
        assert_eq!(reader.spec().channels, 2);
        assert_eq!(reader.spec().sample_rate, 16_000);
        let samples: Vec<i16> = reader.samples().map(|sample| sample.unwrap()).collect();
        assert_eq!(samples, [0, -32767, 16384, 0, 32767, -16384]);
        assert_eq!(
            sound.remark().unwrap(),
            "NaN samples played as silence: 1; samples clipped: 1"
        );
    }

    #[test]
    fn malformed_sounds_are_refused() {
        let error = |sound: Sound| sound.wav().unwrap_err().to_string();
        assert_eq!(
            error(Sound::mono([0.0], 0)),
            "sampling rate of a sound is 0: must be at least 1 Hz"
        );
        assert_eq!(
            error(Sound::mono([], 8000)),
            "length of a sound is 0: must be at least 1 sample"
        );
        assert_eq!(
            error(Sound::channels([vec![0.0; 2], vec![0.0; 3]], 8000)),
            "length of channel 1 of a sound is 3: must be 2, that of channel 0"
        );
        assert_eq!(
            error(Sound::channels(Vec::<Vec<f32>>::new(), 8000)),
            "number of channels of a sound is 0: must be between 1 and 65535"
        );
    }
}
