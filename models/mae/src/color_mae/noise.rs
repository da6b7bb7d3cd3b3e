//! Noise of a color: white noise through a filter.

use super::config::{Boundary, Color, Distribution, NoiseConfig};
use menagerie_core::{Error, Result, Seed};
use rand::{Rng, RngExt};
use rayon::prelude::*;

/// White noise for the slices of `config`, `[slices, size, size]`; the same for the same seed and
/// any number of threads.
pub fn draw_white(config: &NoiseConfig, seed: Seed) -> Vec<f32> {
    let area = config.size * config.size;
    let mut white = vec![0.0; config.slices * area];
    white
        .par_chunks_exact_mut(area.max(1))
        .enumerate()
        .for_each(|(slice, values)| {
            let mut rng = seed.at(slice as u64).rng();
            for value in values {
                *value = match config.distribution {
                    Distribution::Normal => normal(&mut rng),
                    Distribution::Uniform => rng.random(),
                };
            }
        });
    white
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut impl Rng) -> f32 {
    // 1 - u is never 0.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
}

/// The taps of a Gaussian of deviation `sigma` cut at `truncate` deviations: exp(−k²/2σ²) for k from
/// −r to r with r = ⌊truncate · σ + ½⌋, divided by their sum.
pub fn gaussian_taps(sigma: f64, truncate: f64) -> Vec<f64> {
    let radius = (truncate * sigma + 0.5) as i64;
    let weights = (-radius..=radius).map(|k| (-((k * k) as f64) / (2.0 * sigma * sigma)).exp());
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// `white` noise `[slices, size, size]` filtered to the color of `config`.
///
/// # Errors
/// What [`NoiseConfig::validate`] reports; [`Error::Input`] where the noise is not a whole number of
/// slices.
pub fn filter(white: &[f32], config: &NoiseConfig) -> Result<Vec<f32>> {
    config.validate()?;
    check_slices(white, config.size)?;
    let blur = |sigma: f64| Blur {
        taps: gaussian_taps(sigma, config.truncate),
        sources: sources(config.size, sigma, config.truncate, config.boundary),
        size: config.size,
    };
    let low = blur(config.sigma);
    let [narrow, wide] = config.sigmas.map(blur);
    let mut colored = vec![0.0; white.len()];
    colored
        .par_chunks_exact_mut(config.size * config.size)
        .zip(white.par_chunks_exact(config.size * config.size))
        .for_each(|(colored, white)| {
            let white: Vec<f64> = white.iter().map(|value| f64::from(*value)).collect();
            let band = || difference(&narrow.apply(&white), &wide.apply(&white));
            let values = match config.color {
                Color::White => white,
                Color::Red => low.apply(&white),
                Color::Blue => difference(&white, &low.apply(&white)),
                Color::Green => band(),
                Color::Purple => difference(&white, &band()),
            };
            for (colored, value) in colored.iter_mut().zip(values) {
                *colored = value as f32;
            }
        });
    Ok(colored)
}

/// Every slice of `noise` `[slices, size, size]` scaled to 0..=1.
///
/// # Errors
/// [`Error::Input`] where the noise is not a whole number of slices, or a slice is constant or not
/// finite.
pub fn unit(noise: &[f32], size: usize) -> Result<Vec<f32>> {
    check_slices(noise, size)?;
    let mut scaled = noise.to_vec();
    for (slice, values) in scaled.chunks_exact_mut(size * size).enumerate() {
        let (low, high) = extent(values);
        let span = high - low;
        if !(span.is_finite() && span > 0.0) {
            let rule = "must be finite and not constant";
            return Err(Error::input(format!("slice {slice}"), (low, high), rule));
        }
        for value in values {
            *value = (*value - low) / span;
        }
    }
    Ok(scaled)
}

/// The least and the greatest value; not finite where a value is not.
pub(super) fn extent(values: &[f32]) -> (f32, f32) {
    let start = (f32::INFINITY, f32::NEG_INFINITY);
    values.iter().fold(start, |(low, high), &value| {
        if value.is_nan() {
            return (value, value);
        }
        // Comparisons, so that a NaN that was found stays.
        (
            if low > value { value } else { low },
            if high < value { value } else { high },
        )
    })
}

/// The mean power of `noise` `[slices, size, size]` at each radial frequency 1..=size/2, in cycles
/// per tile: |F|² / size² of the slice without its mean, averaged over all frequencies whose
/// distance from the origin rounds to that number, and over slices.
///
/// # Errors
/// [`Error::Input`] where the noise is not a whole number of slices.
pub fn radial_power(noise: &[f32], size: usize) -> Result<Vec<f64>> {
    check_slices(noise, size)?;
    let area = size * size;
    let powers: Vec<Vec<f64>> = noise
        .par_chunks_exact(area)
        .map(|slice| power(slice, size))
        .collect();
    let mut sums = vec![0.0; size / 2];
    let mut counts = vec![0_usize; size / 2];
    // Frequencies above the middle are negative ones.
    let frequency = |at: usize| {
        if at < size.div_ceil(2) {
            at as f64
        } else {
            at as f64 - size as f64
        }
    };
    for row in 0..size {
        for column in 0..size {
            let distance = frequency(row).hypot(frequency(column)).round() as usize;
            if (1..=sums.len()).contains(&distance) {
                counts[distance - 1] += powers.len();
                let at = row * size + column;
                sums[distance - 1] += powers.iter().map(|power| power[at]).sum::<f64>();
            }
        }
    }
    Ok(sums
        .iter()
        .zip(counts)
        .map(|(sum, count)| sum / count as f64)
        .collect())
}

/// |F|² / size² of one slice without its mean, `[size, size]`.
fn power(slice: &[f32], size: usize) -> Vec<f64> {
    let mean = slice.iter().map(|value| f64::from(*value)).sum::<f64>() / slice.len() as f64;
    let real: Vec<f64> = slice.iter().map(|value| f64::from(*value) - mean).collect();
    let waves: Vec<(f64, f64)> = (0..size)
        .map(|at| (-std::f64::consts::TAU * at as f64 / size as f64).sin_cos())
        .collect();
    // Rows, then columns; the transform of a tile this small needs no fast algorithm.
    let mut rows = vec![(0.0, 0.0); size * size];
    for row in 0..size {
        for k in 0..size {
            let (mut re, mut im) = (0.0, 0.0);
            for x in 0..size {
                let (sin, cos) = waves[k * x % size];
                let value = real[row * size + x];
                re += value * cos;
                im += value * sin;
            }
            rows[row * size + k] = (re, im);
        }
    }
    let mut power = vec![0.0; size * size];
    for column in 0..size {
        for k in 0..size {
            let (mut re, mut im) = (0.0, 0.0);
            for y in 0..size {
                let (sin, cos) = waves[k * y % size];
                let (a, b) = rows[y * size + column];
                re += a * cos - b * sin;
                im += a * sin + b * cos;
            }
            power[k * size + column] = (re * re + im * im) / (size * size) as f64;
        }
    }
    power
}

/// A separable filter over a square tile.
struct Blur {
    taps: Vec<f64>,
    /// Where each tap of each position reads, `[size, taps]`.
    sources: Vec<usize>,
    size: usize,
}

impl Blur {
    /// `tile` `[size, size]` along rows and columns.
    fn apply(&self, tile: &[f64]) -> Vec<f64> {
        let Self {
            taps,
            sources,
            size,
        } = self;
        let size = *size;
        let mut along = vec![0.0; tile.len()];
        for (output, row) in along.chunks_exact_mut(size).zip(tile.chunks_exact(size)) {
            for (value, sources) in output.iter_mut().zip(sources.chunks_exact(taps.len())) {
                *value = sources
                    .iter()
                    .zip(taps)
                    .map(|(&at, tap)| row[at] * tap)
                    .sum();
            }
        }
        let mut blurred = vec![0.0; tile.len()];
        for (output, sources) in blurred
            .chunks_exact_mut(size)
            .zip(sources.chunks_exact(taps.len()))
        {
            for (&at, tap) in sources.iter().zip(taps) {
                for (value, input) in output.iter_mut().zip(&along[at * size..(at + 1) * size]) {
                    *value += tap * input;
                }
            }
        }
        blurred
    }
}

/// Where each tap of each position of a line of `size` reads, `[size, taps]`.
fn sources(size: usize, sigma: f64, truncate: f64, boundary: Boundary) -> Vec<usize> {
    let radius = (truncate * sigma + 0.5) as i64;
    let length = size as i64;
    (0..length)
        .flat_map(|at| at - radius..=at + radius)
        .map(|at| match boundary {
            Boundary::Wrap => at.rem_euclid(length),
            Boundary::Reflect => {
                let at = at.rem_euclid(2 * length);
                at.min(2 * length - 1 - at)
            }
            Boundary::Nearest => at.clamp(0, length - 1),
        } as usize)
        .collect()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn check_slices(noise: &[f32], size: usize) -> Result<()> {
    let area = size.checked_mul(size).filter(|area| *area > 0);
    if area.is_some_and(|area| !noise.is_empty() && noise.len().is_multiple_of(area)) {
        return Ok(());
    }
    let rule = format!("must be one or more slices of {size} x {size}");
    Err(Error::input(
        "the number of noise values",
        noise.len(),
        rule,
    ))
}
