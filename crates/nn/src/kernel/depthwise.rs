//! Depth-wise convolution of a grid of tokens, channels last.

use super::micro::Level;
use super::rows::fma;
use super::sparse::per_level;
use rayon::prelude::*;

/// Channels whose sums are held in registers at a time.
const LANES: usize = 32;

/// The sizes of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub rows: usize,
    pub columns: usize,
    /// Channels of a token.
    pub channels: usize,
    /// Numbers from one token of the input to the next.
    pub stride: usize,
    /// Side of the kernel; odd.
    pub kernel: usize,
}

impl Grid {
    fn tokens(&self) -> usize {
        self.rows * self.columns
    }

    /// The input from a sample on.
    fn from<'a>(&self, x: &'a [f32], sample: usize) -> &'a [f32] {
        &x[sample * self.tokens() * self.stride..]
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// The positions along an axis of length `size` that the taps of output `at` fall on, as `(tap,
    /// position)`.
    fn reach(
        &self,
        at: usize,
        size: usize,
    ) -> impl Iterator<Item = (usize, usize)> + Clone + use<> {
        let half = self.kernel / 2;
        let first = half.saturating_sub(at);
        let last = self.kernel.min(size + half - at);
        (first..last).map(move |tap| (tap, at + tap - half))
    }
}

/// `filters [channels of a head][taps]` as `[taps][channels of a token]`, one head after the other;
/// the adjoint's are turned around.
pub(crate) fn spread(filters: &[f32], grid: &Grid, adjoint: bool) -> Vec<f32> {
    let (taps, size) = (grid.taps(), filters.len() / grid.taps());
    let mut spread = vec![0.0; taps * grid.channels];
    for (tap, row) in spread.chunks_exact_mut(grid.channels).enumerate() {
        let tap = if adjoint { taps - 1 - tap } else { tap };
        for (channel, value) in row.iter_mut().enumerate() {
            *value = filters[channel % size * taps + tap];
        }
    }
    spread
}

#[inline(always)]
fn row_body<const FMA: bool>(
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    grid: &Grid,
    row: usize,
    y: &mut [f32],
) {
    let channels = grid.channels;
    for (column, y) in y.chunks_exact_mut(channels).enumerate() {
        let mut first = 0;
        while first < channels {
            let lanes = LANES.min(channels - first);
            let mut sums = [0.0f32; LANES];
            if let Some(bias) = bias {
                sums[..lanes].copy_from_slice(&bias[first..first + lanes]);
            }
            for (tap_y, source_y) in grid.reach(row, grid.rows) {
                for (tap_x, source_x) in grid.reach(column, grid.columns) {
                    let from = (source_y * grid.columns + source_x) * grid.stride + first;
                    let tap = (tap_y * grid.kernel + tap_x) * channels + first;
                    if lanes == LANES {
                        let (x, w) = (&x[from..from + LANES], &w[tap..tap + LANES]);
                        for lane in 0..LANES {
                            sums[lane] = fma::<FMA>(x[lane], w[lane], sums[lane]);
                        }
                    } else {
                        let (x, w) = (&x[from..from + lanes], &w[tap..tap + lanes]);
                        for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
                            *sum = fma::<FMA>(*x, *w, *sum);
                        }
                    }
                }
            }
            y[first..first + lanes].copy_from_slice(&sums[..lanes]);
            first += lanes;
        }
    }
}

/// `x [samples][rows][columns][stride]`, of which the first channels count, `y [samples][rows]
/// [columns][channels]`, `w [taps][channels]`, `bias [channels]`. `finish` is given every row of `y`
/// while it is in the cache, by sample and row.
pub(crate) fn forward(
    level: Level,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    grid: &Grid,
    y: &mut [f32],
    finish: impl Fn([usize; 2], &mut [f32]) + Sync,
) {
    let line = grid.columns * grid.channels;
    y.par_chunks_mut(line).enumerate().for_each(|(line, y)| {
        let (sample, row) = (line / grid.rows, line % grid.rows);
        let x = grid.from(x, sample);
        let line = &mut *y;
        per_level!(level, row_body(
            x: &[f32], w: &[f32], bias: Option<&[f32]>, grid: &Grid, row: usize, line: &mut [f32]
        ));
        finish([sample, row], y);
    });
}

#[inline(always)]
fn weight_body<const FMA: bool>(x: &[f32], dy: &[f32], grid: &Grid, sums: &mut [f32]) {
    let channels = grid.channels;
    let (weights, bias) = sums.split_at_mut(grid.taps() * channels);
    for row in 0..grid.rows {
        for column in 0..grid.columns {
            let at = (row * grid.columns + column) * channels;
            let dy = &dy[at..at + channels];
            for (sum, dy) in bias.iter_mut().zip(dy) {
                *sum += dy;
            }
            for (tap_y, source_y) in grid.reach(row, grid.rows) {
                for (tap_x, source_x) in grid.reach(column, grid.columns) {
                    let from = (source_y * grid.columns + source_x) * grid.stride;
                    let tap = (tap_y * grid.kernel + tap_x) * channels;
                    let (x, w) = (&x[from..from + channels], &mut weights[tap..tap + channels]);
                    for ((sum, x), dy) in w.iter_mut().zip(x).zip(dy) {
                        *sum = fma::<FMA>(*x, *dy, *sum);
                    }
                }
            }
        }
    }
}

/// The gradients of filters `[size][taps]` and bias `[size]`, summed over heads, samples in order.
pub(crate) fn weight(
    level: Level,
    x: &[f32],
    dy: &[f32],
    grid: &Grid,
    size: usize,
) -> (Vec<f32>, Vec<f32>) {
    let (taps, channels) = (grid.taps(), grid.channels);
    let parts: Vec<Vec<f32>> = dy
        .par_chunks(grid.tokens() * channels)
        .enumerate()
        .map(|(sample, dy)| {
            let x = grid.from(x, sample);
            let mut sums = vec![0.0; (taps + 1) * channels];
            let sums_of = &mut sums[..];
            per_level!(level, weight_body(x: &[f32], dy: &[f32], grid: &Grid, sums_of: &mut [f32]));
            sums
        })
        .collect();
    let (mut weights, mut bias) = (vec![0.0; size * taps], vec![0.0; size]);
    for part in &parts {
        for (tap, row) in part.chunks_exact(channels).enumerate() {
            for (channel, value) in row.iter().enumerate() {
                match tap < taps {
                    true => weights[channel % size * taps + tap] += value,
                    false => bias[channel % size] += value,
                }
            }
        }
    }
    (weights, bias)
}
