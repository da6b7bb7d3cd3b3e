//! Group normalisation with gain and shift, and perhaps SiLU, one group at a time.
//!
//! `n = (x - mean) / sqrt(var + epsilon)` over the group, `z = n * gain + shift` with a gain and
//! shift for each channel, `y = z` or `z σ(z)`.

use super::micro::Level;
use super::norm::{Gain, sums};
use super::rows::{CHUNK, exp};
use super::sparse::per_level;
use rayon::prelude::*;

/// Sizes and constants of a normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Channels of a group.
    pub channels: usize,
    /// Pixels of a channel.
    pub pixels: usize,
    /// Groups of a sample.
    pub groups: usize,
    pub epsilon: f32,
    /// Whether SiLU follows.
    pub activated: bool,
}

impl Shape {
    fn group(&self) -> usize {
        self.channels * self.pixels
    }

    /// Groups that one thread takes at least.
    fn share(&self) -> usize {
        CHUNK.div_ceil(self.group())
    }

    /// Gains and shifts of the channels of group `index`, counted over samples and groups.
    fn gains<'a>(&'a self, gain: Gain<'a>, index: usize) -> impl Fn(usize) -> [f32; 2] + 'a {
        let first = index * self.channels;
        move |channel| gain.at(first + channel, self.channels * self.groups)
    }
}

/// Mean and inverse standard deviation.
#[inline(always)]
fn moments_body<const FMA: bool>(x: &[f32], epsilon: f32) -> [f32; 2] {
    let count = x.len() as f32;
    let [sum] = sums(x.len(), |i| [x[i]]);
    let mean = sum / count;
    let [squares] = sums(x.len(), |i| [(x[i] - mean) * (x[i] - mean)]);
    [mean, 1.0 / (squares / count + epsilon).sqrt()]
}

#[inline(always)]
fn scale_body<const FMA: bool>(x: &[f32], y: &mut [f32], mean: f32, scale: f32, shift: f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - mean) * scale + shift;
    }
}

#[inline(always)]
fn silu_body<const FMA: bool>(x: &[f32], y: &mut [f32], mean: f32, scale: f32, shift: f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        let z = (x - mean) * scale + shift;
        *y = z / (1.0 + exp::<FMA>(-z));
    }
}

/// From the gradient of `y` to that of `z`.
#[inline(always)]
fn silu_gradient_body<const FMA: bool>(
    x: &[f32],
    dy: &[f32],
    dz: &mut [f32],
    mean: f32,
    scale: f32,
    shift: f32,
) {
    for ((dz, &x), &dy) in dz.iter_mut().zip(x).zip(dy) {
        let z = (x - mean) * scale + shift;
        let gate = 1.0 / (1.0 + exp::<FMA>(-z));
        *dz = dy * gate * (1.0 + z * (1.0 - gate));
    }
}

/// `Σ dz n` and `Σ dz`.
#[inline(always)]
fn plane_sums_body<const FMA: bool>(x: &[f32], dz: &[f32], mean: f32, inverse: f32) -> [f32; 2] {
    let dz = &dz[..x.len()];
    let [along, sum] = sums(x.len(), |i| [dz[i] * (x[i] - mean), dz[i]]);
    [along * inverse, sum]
}

/// `dx = inverse * (gain * dz - a - n * b)`, in place of `dz`.
#[inline(always)]
fn centre_body<const FMA: bool>(
    x: &[f32],
    dz: &mut [f32],
    mean: f32,
    inverse: f32,
    gain: f32,
    a: f32,
    b: f32,
) {
    for (dz, &x) in dz.iter_mut().zip(x) {
        *dz = inverse * (gain * *dz - a - (x - mean) * inverse * b);
    }
}

/// Normalises one group and returns its moments.
fn forward_group(
    level: Level,
    shape: &Shape,
    gains: impl Fn(usize) -> [f32; 2],
    x: &[f32],
    y: &mut [f32],
) -> [f32; 2] {
    let epsilon = shape.epsilon;
    let [mean, inverse] = per_level!(level, moments_body(x: &[f32], epsilon: f32) -> [f32; 2]);
    let planes = x.chunks_exact(shape.pixels);
    for (channel, (x, y)) in planes.zip(y.chunks_exact_mut(shape.pixels)).enumerate() {
        let [gain, shift] = gains(channel);
        let scale = gain * inverse;
        if shape.activated {
            per_level!(level, silu_body(
                x: &[f32], y: &mut [f32], mean: f32, scale: f32, shift: f32
            ));
        } else {
            per_level!(level, scale_body(
                x: &[f32], y: &mut [f32], mean: f32, scale: f32, shift: f32
            ));
        }
    }
    [mean, inverse]
}

/// The gradient of one group; fills those of its gains and shifts.
fn backward_group(
    level: Level,
    shape: &Shape,
    gains: impl Fn(usize) -> [f32; 2],
    [mean, inverse]: [f32; 2],
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    gradients: &mut [[f32; 2]],
) {
    let pixels = shape.pixels;
    let (mut a, mut b) = (0.0, 0.0);
    let planes = x.chunks_exact(pixels).zip(dy.chunks_exact(pixels));
    let planes = planes.zip(dx.chunks_exact_mut(pixels));
    for (channel, (((x, dy), dz), gradients)) in planes.zip(gradients).enumerate() {
        let [gain, shift] = gains(channel);
        let scale = gain * inverse;
        if shape.activated {
            per_level!(level, silu_gradient_body(
                x: &[f32], dy: &[f32], dz: &mut [f32], mean: f32, scale: f32, shift: f32
            ));
        } else {
            dz.copy_from_slice(dy);
        }
        let dz = &*dz;
        *gradients = per_level!(level, plane_sums_body(
            x: &[f32], dz: &[f32], mean: f32, inverse: f32
        ) -> [f32; 2]);
        b += gain * gradients[0];
        a += gain * gradients[1];
    }
    let count = shape.group() as f32;
    let (a, b) = (a / count, b / count);
    let planes = x.chunks_exact(pixels).zip(dx.chunks_exact_mut(pixels));
    for (channel, (x, dz)) in planes.enumerate() {
        let [gain, _] = gains(channel);
        per_level!(level, centre_body(
            x: &[f32], dz: &mut [f32], mean: f32, inverse: f32, gain: f32, a: f32, b: f32
        ));
    }
}

/// Normalises all groups; fills every group's mean and inverse deviation.
pub(crate) fn forward(
    level: Level,
    shape: &Shape,
    gain: Gain,
    x: &[f32],
    y: &mut [f32],
    statistics: &mut [[f32; 2]],
) {
    let size = shape.group();
    x.par_chunks(size)
        .zip(y.par_chunks_mut(size))
        .zip(statistics)
        .enumerate()
        .with_min_len(shape.share())
        .for_each(|(index, ((x, y), statistics))| {
            *statistics = forward_group(level, shape, shape.gains(gain, index), x, y);
        });
}

/// The gradient of all groups; fills the gradients of every plane's gain and shift.
pub(crate) fn backward(
    level: Level,
    shape: &Shape,
    gain: Gain,
    statistics: &[[f32; 2]],
    [x, dy]: [&[f32]; 2],
    dx: &mut [f32],
    gradients: &mut [[f32; 2]],
) {
    let size = shape.group();
    x.par_chunks(size)
        .zip(dy.par_chunks(size))
        .zip(dx.par_chunks_mut(size))
        .zip(statistics)
        .zip(gradients.par_chunks_mut(shape.channels))
        .enumerate()
        .with_min_len(shape.share())
        .for_each(|(index, ((((x, dy), dx), statistics), gradients))| {
            let gains = shape.gains(gain, index);
            backward_group(level, shape, gains, *statistics, x, dy, dx, gradients);
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_normalises_alike() {
        for (channels, pixels) in [(1, 1), (2, 9), (4, 16), (3, 64), (1, 1025)] {
            for activated in [false, true] {
                let shape = Shape {
                    channels,
                    pixels,
                    groups: 2,
                    epsilon: 1e-5,
                    activated,
                };
                let len = 2 * shape.group();
                let wave = |factor: usize, period: usize| -> Vec<f32> {
                    let value = |i: usize| (i * factor % period) as f32 / 50.0 - 1.0;
                    (0..len).map(value).collect()
                };
                let (x, dy) = (wave(37, 101), wave(53, 97));
                let (gain, shift) = (wave(7, 29), wave(11, 31));
                let gain = Gain::Channel(&gain[..2 * channels], &shift[..2 * channels]);
                let run = |level| {
                    let [mut y, mut dx] = [vec![0.0; len], vec![0.0; len]];
                    let mut statistics = [[0.0; 2]; 2];
                    let mut gradients = vec![[0.0; 2]; 2 * channels];
                    forward(level, &shape, gain, &x, &mut y, &mut statistics);
                    backward(
                        level,
                        &shape,
                        gain,
                        &statistics,
                        [&x, &dy],
                        &mut dx,
                        &mut gradients,
                    );
                    y.extend(dx);
                    y.extend(statistics.iter().chain(&gradients).flatten());
                    y
                };
                let expected = run(Level::Portable);
                for level in Level::available() {
                    for (value, expected) in run(level).iter().zip(&expected) {
                        let error = (value - expected).abs();
                        assert!(error <= 2e-4 * expected.abs().max(1.0), "{level:?} {error}");
                    }
                }
            }
        }
    }
}
