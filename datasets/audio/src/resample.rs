use crate::Clip;
use crate::clip::check_rate;
use menagerie_core::{Error, Result};
use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

/// Samples that the filter works on at a time, at least.
const CHUNK: usize = 1024;

/// The clip at `rate` samples per second: a windowed-sinc low-pass filter by Fourier transforms,
/// without delay, `round(len · rate / own rate)` samples and at least one.
///
/// # Errors
/// [`Error::Input`] for a rate of zero or above a million; [`Error::Other`] for rates that the filter cannot relate.
pub fn resample(clip: &Clip, rate: u32) -> Result<Clip> {
    check_rate(rate)?;
    if rate == clip.rate() {
        return Ok(clip.clone());
    }
    let context = || format!("resampling from {} to {rate} Hz", clip.rate());
    let channels = clip.channels();
    let rates = [clip.rate(), rate].map(|rate| rate as usize);
    // An even multiple of the smallest chunk that has whole samples at both rates: the filter's
    // delay, half of a chunk, is whole as well then and can be taken off.
    let unit = rates[0] / gcd(rates);
    let chunk = unit * 2 * CHUNK.div_ceil(2 * unit);
    let (count, fixed) = (channels.len(), FixedSync::Both);
    let mut filter = Fft::<f32>::new_custom(
        rates[0],
        rates[1],
        chunk,
        1,
        count,
        WindowFunction::BlackmanHarris2,
        fixed,
    )
    .map_err(|error| Error::other(context(), error))?;
    let input = SequentialSliceOfVecs::new(channels, channels.len(), clip.len())
        .map_err(|error| Error::other(context(), error))?;
    let room = filter.process_all_needed_output_len(clip.len());
    let mut output = InterleavedOwned::<f32>::new(0.0, channels.len(), room);
    let (_, written) = filter
        .process_all_into_buffer(&input, &mut output, clip.len(), None)
        .map_err(|error| Error::other(context(), error))?;
    let exact = clip.len() as f64 * f64::from(rate) / f64::from(clip.rate());
    let len = (exact.round() as usize).max(1);
    let samples = output.take_data();
    let channel = |first: usize| {
        let samples = samples[first..]
            .iter()
            .step_by(channels.len())
            .take(written);
        let mut channel: Vec<f32> = samples.copied().collect();
        channel.resize(len, 0.0);
        channel
    };
    Clip::new((0..channels.len()).map(channel).collect(), rate)
}

/// The greatest common divisor.
fn gcd([mut a, mut b]: [usize; 2]) -> usize {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
