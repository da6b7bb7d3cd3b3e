//! Instance normalisation between two leaky ReLUs, one plane at a time.
//!
//! `f = leaky(x)`, `n = (f - mean) / sqrt(var + epsilon)`, `y = leaky(n * gain + shift)`, each
//! leaky ReLU with a slope of its own; a slope of one is the identity.

use super::micro::Level;
use rayon::prelude::*;

/// Partial sums that keep the vector units busy.
const WIDTH: usize = 32;

/// The constants of a normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    /// Slope below zero before the normalisation.
    pub before: f32,
    /// Slope below zero after it.
    pub after: f32,
    pub epsilon: f32,
}

/// What a normalised plane is multiplied by and what is added.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gain<'a> {
    None,
    /// Gain and shift of every channel.
    Channel(&'a [f32], &'a [f32]),
    /// Gain and shift of every sample's every channel.
    Sample(&'a [f32], &'a [f32]),
}

impl Gain<'_> {
    /// Gain and shift of one plane, counted over samples and channels.
    pub(crate) fn at(&self, plane: usize, channels: usize) -> [f32; 2] {
        match self {
            Self::None => [1.0, 0.0],
            Self::Channel(gain, shift) => [gain[plane % channels], shift[plane % channels]],
            Self::Sample(gain, shift) => [gain[plane], shift[plane]],
        }
    }
}

fn leaky(x: f32, slope: f32) -> f32 {
    if x > 0.0 { x } else { x * slope }
}

fn slope_at(x: f32, slope: f32) -> f32 {
    if x > 0.0 { 1.0 } else { slope }
}

/// Sums `term(i)` for `i < len` in [`WIDTH`] interleaved partial sums per result.
#[inline(always)]
pub(super) fn sums<const N: usize>(len: usize, term: impl Fn(usize) -> [f32; N]) -> [f32; N] {
    let mut partial = [[0.0; WIDTH]; N];
    let whole = len / WIDTH * WIDTH;
    for first in (0..whole).step_by(WIDTH) {
        for lane in 0..WIDTH {
            let term = term(first + lane);
            for n in 0..N {
                partial[n][lane] += term[n];
            }
        }
    }
    for i in whole..len {
        let term = term(i);
        for n in 0..N {
            partial[n][i - whole] += term[n];
        }
    }
    partial.map(|lanes| lanes.iter().sum())
}

#[inline(always)]
fn forward_body(norm: &Norm, [gain, shift]: [f32; 2], x: &[f32], y: &mut [f32]) -> [f32; 2] {
    let count = x.len() as f32;
    let [sum] = sums(x.len(), |i| [leaky(x[i], norm.before)]);
    let mean = sum / count;
    let [squares] = sums(x.len(), |i| {
        let centred = leaky(x[i], norm.before) - mean;
        [centred * centred]
    });
    let inverse = 1.0 / (squares / count + norm.epsilon).sqrt();
    let scale = gain * inverse;
    for (y, &x) in y.iter_mut().zip(x) {
        *y = leaky((leaky(x, norm.before) - mean) * scale + shift, norm.after);
    }
    [mean, inverse]
}

#[inline(always)]
fn backward_body(
    norm: &Norm,
    [mean, inverse]: [f32; 2],
    [gain, shift]: [f32; 2],
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> [f32; 2] {
    let dy = &dy[..x.len()];
    let both = |i: usize| {
        let n = (leaky(x[i], norm.before) - mean) * inverse;
        (n, dy[i] * slope_at(n * gain + shift, norm.after))
    };
    let [shift_gradient, gain_gradient] = sums(x.len(), |i| {
        let (n, dz) = both(i);
        [dz, dz * n]
    });
    let count = x.len() as f32;
    let (a, b) = (shift_gradient / count, gain_gradient / count);
    let scale = gain * inverse;
    for (i, dx) in dx.iter_mut().enumerate() {
        let (n, dz) = both(i);
        *dx = scale * (dz - a - n * b) * slope_at(x[i], norm.before);
    }
    [gain_gradient, shift_gradient]
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
unsafe fn forward512(norm: &Norm, gain: [f32; 2], x: &[f32], y: &mut [f32]) -> [f32; 2] {
    forward_body(norm, gain, x, y)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn forward256(norm: &Norm, gain: [f32; 2], x: &[f32], y: &mut [f32]) -> [f32; 2] {
    forward_body(norm, gain, x, y)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
unsafe fn backward512(
    norm: &Norm,
    statistics: [f32; 2],
    gain: [f32; 2],
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> [f32; 2] {
    backward_body(norm, statistics, gain, x, dy, dx)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn backward256(
    norm: &Norm,
    statistics: [f32; 2],
    gain: [f32; 2],
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> [f32; 2] {
    backward_body(norm, statistics, gain, x, dy, dx)
}

/// Normalises one plane and returns its mean and inverse standard deviation.
pub(crate) fn forward_plane(
    level: Level,
    norm: &Norm,
    gain: [f32; 2],
    x: &[f32],
    y: &mut [f32],
) -> [f32; 2] {
    match level {
        // SAFETY: `Level::detect` has found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { forward512(norm, gain, x, y) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { forward256(norm, gain, x, y) },
        Level::Portable => forward_body(norm, gain, x, y),
    }
}

/// The gradient of one plane; returns the gradients of its gain and shift.
pub(crate) fn backward_plane(
    level: Level,
    norm: &Norm,
    statistics: [f32; 2],
    gain: [f32; 2],
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> [f32; 2] {
    match level {
        // SAFETY: `Level::detect` has found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { backward512(norm, statistics, gain, x, dy, dx) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { backward256(norm, statistics, gain, x, dy, dx) },
        Level::Portable => backward_body(norm, statistics, gain, x, dy, dx),
    }
}

/// Normalises all planes of `pixels` values; fills every plane's mean and inverse deviation.
pub(crate) fn forward(
    level: Level,
    norm: &Norm,
    gain: Gain,
    [channels, pixels]: [usize; 2],
    x: &[f32],
    y: &mut [f32],
    statistics: &mut [[f32; 2]],
) {
    let planes = x.par_chunks(pixels).zip(y.par_chunks_mut(pixels));
    planes
        .zip(statistics)
        .enumerate()
        .with_min_len(channels.min(16))
        .for_each(|(plane, ((x, y), statistics))| {
            *statistics = forward_plane(level, norm, gain.at(plane, channels), x, y);
        });
}

/// The gradient of all planes; fills the gradients of every plane's gain and shift.
pub(crate) fn backward(
    level: Level,
    norm: &Norm,
    gain: Gain,
    [channels, pixels]: [usize; 2],
    statistics: &[[f32; 2]],
    [x, dy]: [&[f32]; 2],
    dx: &mut [f32],
    gains: &mut [[f32; 2]],
) {
    let planes = x.par_chunks(pixels).zip(dy.par_chunks(pixels));
    planes
        .zip(dx.par_chunks_mut(pixels))
        .zip(statistics.par_iter().zip(gains))
        .enumerate()
        .with_min_len(channels.min(16))
        .for_each(|(plane, (((x, dy), dx), (statistics, gains)))| {
            let gain = gain.at(plane, channels);
            *gains = backward_plane(level, norm, *statistics, gain, x, dy, dx);
        });
}

/// The sum of every channel over samples and pixels: the gradient of a bias.
pub(crate) fn channel_sums(channels: usize, pixels: usize, x: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for (plane, x) in x.chunks_exact(pixels).enumerate() {
        let [sum] = sums(pixels, |i| [x[i]]);
        out[plane % channels] += sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_normalises_alike() {
        let norm = Norm {
            before: 0.2,
            after: 0.1,
            epsilon: 1e-6,
        };
        for len in [2, 31, 32, 100, 1025] {
            let x: Vec<f32> = (0..len)
                .map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0)
                .collect();
            let dy: Vec<f32> = (0..len)
                .map(|i| (i * 53 % 97) as f32 / 48.0 - 1.0)
                .collect();
            let run = |level| {
                let [mut y, mut dx] = [vec![0.0; len], vec![0.0; len]];
                let gain = [1.5, -0.25];
                let statistics = forward_plane(level, &norm, gain, &x, &mut y);
                let gains = backward_plane(level, &norm, statistics, gain, &x, &dy, &mut dx);
                y.extend(dx);
                y.extend(statistics.into_iter().chain(gains));
                y
            };
            let expected = run(Level::Portable);
            for level in Level::available() {
                for (value, expected) in run(level).iter().zip(&expected) {
                    let error = (value - expected).abs();
                    assert!(error <= 1e-4 * expected.abs().max(1.0), "{level:?} {error}");
                }
            }
        }
    }

    #[test]
    fn a_constant_plane_has_no_gradient_of_its_own() {
        let norm = Norm {
            before: 1.0,
            after: 1.0,
            epsilon: 1e-6,
        };
        let (mut y, mut dx) = ([9.0; 40], [9.0; 40]);
        let level = Level::detect();
        let statistics = forward_plane(level, &norm, [2.0, 0.5], &[3.0; 40], &mut y);
        assert_eq!(y, [0.5; 40]);
        backward_plane(
            level,
            &norm,
            statistics,
            [2.0, 0.5],
            &[3.0; 40],
            &[1.0; 40],
            &mut dx,
        );
        assert_eq!(dx, [0.0; 40]);
    }
}
