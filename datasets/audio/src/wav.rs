//! WAV files.

use crate::Clip;
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use menagerie_core::{Error, Result, fs};
use std::io::Cursor;
use std::path::Path;

/// How samples are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// 16-bit integers.
    #[default]
    Int16,
    /// 24-bit integers.
    Int24,
    /// 32-bit floats, which keep values beyond `-1..=1`.
    Float32,
}

/// Reads the WAV file at `path`: integers of 8, 16, 24 or 32 bits, divided by `2^(bits - 1)`, or
/// 32-bit floats as they are.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Format`] with the path where it is no WAV
/// file, is damaged or cut short, holds no samples, or a float that is not finite.
pub fn read(path: &Path) -> Result<Clip> {
    let file = std::fs::read(path).map_err(Error::io("read", path))?;
    let damaged =
        |error: hound::Error| Error::format(path, format!("is no sound WAV file: {error}"));
    let mut reader = WavReader::new(Cursor::new(file)).map_err(damaged)?;
    let spec = reader.spec();
    let samples = match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Float, 32) => reader.samples::<f32>().collect(),
        (SampleFormat::Int, bits @ (8 | 16 | 24 | 32)) => {
            // Exact: a power of two.
            let scale = (f64::from(bits) - 1.0).exp2().recip() as f32;
            let scaled = |sample: hound::Result<i32>| Ok(sample? as f32 * scale);
            reader.samples::<i32>().map(scaled).collect()
        }
        (format, bits) => {
            let problem = format!(
                "holds {bits}-bit {format:?} samples: 8, 16, 24 or 32-bit integers and 32-bit \
                 floats can be read"
            );
            return Err(Error::format(path, problem));
        }
    };
    let samples: Vec<f32> = Result::map_err(samples, damaged)?;
    let count = usize::from(spec.channels);
    if count == 0 || !samples.len().is_multiple_of(count) {
        let problem = format!("ends within a sample of its {count} channels");
        return Err(Error::format(path, problem));
    }
    let channel = |first: usize| samples[first..].iter().step_by(count).copied().collect();
    let channels = match samples.is_empty() {
        true => Vec::new(),
        false => (0..count).map(channel).collect(),
    };
    Clip::new(channels, spec.sample_rate).map_err(|error| Error::format(path, error.to_string()))
}

/// The clip as a WAV file. Integers are rounded, and values beyond `-1..1` clipped.
///
/// # Errors
/// [`Error::Other`] for a clip that is too large for the format (4 GB).
pub fn encode(clip: &Clip, depth: Depth) -> Result<Vec<u8>> {
    let failed = |error: hound::Error| Error::other("encoding a WAV file", error);
    let (bits, format) = match depth {
        Depth::Int16 => (16, SampleFormat::Int),
        Depth::Int24 => (24, SampleFormat::Int),
        Depth::Float32 => (32, SampleFormat::Float),
    };
    let channels = u16::try_from(clip.channels().len())
        .map_err(|error| Error::other("encoding a WAV file", error))?;
    let spec = WavSpec {
        channels,
        sample_rate: clip.rate(),
        bits_per_sample: bits,
        sample_format: format,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).map_err(failed)?;
    let scale = (f64::from(bits) - 1.0).exp2();
    for at in 0..clip.len() {
        for channel in clip.channels() {
            let sample = channel[at];
            let written = match depth {
                Depth::Float32 => writer.write_sample(sample),
                _ => {
                    let value = (f64::from(sample) * scale).round();
                    writer.write_sample(value.clamp(-scale, scale - 1.0) as i32)
                }
            };
            written.map_err(failed)?;
        }
    }
    writer.finalize().map_err(failed)?;
    Ok(bytes.into_inner())
}

/// Writes [`encode`]'s file to `path`, whole or not at all.
///
/// # Errors
/// Those of [`encode`], and [`Error::Io`] if the file cannot be written.
pub fn write(path: &Path, clip: &Clip, depth: Depth) -> Result<()> {
    fs::write(path, encode(clip, depth)?)
}
