//! Convolutions of signals so short that reading the weight is the work.
//!
//! A live stream hands a network one frame at a time: every layer has a few columns, and each value
//! of its weight takes part in as few products. Tiles would read the weight in pieces and leave most
//! of their columns empty. Here it is read once, in its own order. Forward, a row of the weight lies
//! as a window of the signal does, and their inner product is one result. Backward, a row of the
//! weight is what one value of the signal spreads over the result, and rows are added up before
//! their places are.

use super::super::micro::Level;
use super::super::parts::Parts;
use super::super::rows::fma;
use super::super::sparse::per_level;
use super::gather::Gather;
use super::{Extras, Geometry};
use rayon::prelude::*;

/// Columns (of all samples) up to which signals are short, forward and backward.
const COLUMNS: [usize; 2] = [8, 4];

/// Values of a vector.
const LANES: usize = 16;

/// Values of the weight from which on a second thread pays.
const PARALLEL: usize = 1 << 15;

/// Pieces of a weight that is worth two threads.
const TASKS: usize = 8;

/// Rows of the weight that are added up together.
const ROWS: usize = 4;

/// Whether a pass, forward or back, has few columns.
pub(crate) fn applies(g: &Geometry, back: bool) -> bool {
    g.batch * g.output <= COLUMNS[usize::from(back)]
}

/// Runs `work` for `0..tasks`.
fn deal(g: &Geometry, tasks: usize, work: impl Fn(usize) + Sync + Send) {
    if g.outputs * g.depth() < PARALLEL {
        (0..tasks).for_each(work);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(work);
    }
}

/// The convolution of a geometry for which [`applies`] says so.
pub(crate) fn forward(
    level: Level,
    gather: &Gather,
    x: &[f32],
    weight: &[f32],
    extras: Extras,
    out: &mut [f32],
) {
    let g = &gather.geometry;
    let [inputs, outputs] = g.channels();
    let (depth, columns) = (g.depth(), g.batch * g.output);
    assert_eq!(x.len(), g.batch * g.inputs * g.input);
    assert_eq!(weight.len(), g.outputs * depth);
    assert_eq!(out.len(), g.outputs * columns);
    // One window per group and column, in the order of the weight's rows.
    let mut windows = vec![0.0; g.groups * columns * depth];
    for (at, window) in windows.chunks_exact_mut(depth).enumerate() {
        let (group, column) = (at / columns, at % columns);
        let (sample, position) = (column / g.output, column % g.output);
        let signal = &x[(sample * g.inputs + group * inputs) * g.input..];
        for tap in 0..g.kernel {
            let at = position * g.stride + tap * g.dilation;
            let Some(at) = at.checked_sub(g.before).filter(|&at| at < g.input) else {
                continue;
            };
            let values = signal[at..].iter().step_by(g.input);
            for (to, value) in window[tap..].iter_mut().step_by(g.kernel).zip(values) {
                *to = *value;
            }
        }
        if let Some(slope) = extras.leaky {
            super::window::leaky_relu(window, slope);
        }
    }
    let rows = outputs.div_ceil(TASKS.div_ceil(g.groups));
    let cuts = outputs.div_ceil(rows);
    let parts = Parts::new(out);
    deal(g, g.groups * cuts, |task| {
        let (group, cut) = (task / cuts, task % cuts);
        let first = group * outputs + cut * rows;
        let count = rows.min(outputs - cut * rows);
        let weight = &weight[first * depth..][..count * depth];
        let windows = &windows[group * columns * depth..][..columns * depth];
        let mut sums = vec![0.0; count * columns];
        products(level, &mut sums, weight, windows, columns);
        for (row, sums) in (first..).zip(sums.chunks_exact(columns)) {
            let bias = extras.bias.map_or(0.0, |bias| bias[row]);
            for (sample, sums) in sums.chunks_exact(g.output).enumerate() {
                let first = (sample * g.outputs + row) * g.output;
                // SAFETY: every task writes rows of its own.
                let out = unsafe { parts.part(first, g.output) };
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = sum + bias;
                }
                extras.derive(first, out);
            }
        }
    });
}

/// `sums[row][column]` is the inner product of a row of the weight with a column's window.
fn products(level: Level, sums: &mut [f32], weight: &[f32], windows: &[f32], columns: usize) {
    assert_eq!(windows.len() % columns, 0);
    let depth = windows.len() / columns;
    assert_eq!(weight.len() * columns, sums.len() * depth);
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx512 {
        // SAFETY: the level exists; the lengths are asserted.
        return unsafe { x86::products(sums, weight, windows, columns) };
    }
    per_level!(level, products_body(sums: &mut [f32], weight: &[f32], windows: &[f32], columns: usize));
}

#[inline(always)]
fn products_body<const FMA: bool>(
    sums: &mut [f32],
    weight: &[f32],
    windows: &[f32],
    columns: usize,
) {
    let depth = windows.len() / columns;
    for (row, sums) in weight
        .chunks_exact(depth)
        .zip(sums.chunks_exact_mut(columns))
    {
        for (window, sum) in windows.chunks_exact(depth).zip(sums) {
            let mut lanes = [0.0f32; LANES];
            let (rows, row_rest) = row.as_chunks::<LANES>();
            let (windows, window_rest) = window.as_chunks::<LANES>();
            for (row, window) in rows.iter().zip(windows) {
                for lane in 0..LANES {
                    lanes[lane] = fma::<FMA>(row[lane], window[lane], lanes[lane]);
                }
            }
            let rest = row_rest.iter().zip(window_rest);
            *sum = rest.fold(lanes.iter().sum(), |sum, (a, b)| sum + a * b);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::LANES;
    use std::arch::x86_64::*;

    /// # Safety
    /// AVX-512F, and lengths that fit each other.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn products(
        sums: &mut [f32],
        weight: &[f32],
        windows: &[f32],
        columns: usize,
    ) {
        // SAFETY: the caller's. As many rows as fit the registers beside the columns.
        unsafe {
            match columns {
                1 => blocks::<1, 8>(sums, weight, windows),
                2 => blocks::<2, 8>(sums, weight, windows),
                3 => blocks::<3, 4>(sums, weight, windows),
                4 => blocks::<4, 4>(sums, weight, windows),
                5 => blocks::<5, 4>(sums, weight, windows),
                6 => blocks::<6, 3>(sums, weight, windows),
                7 => blocks::<7, 3>(sums, weight, windows),
                _ => blocks::<8, 3>(sums, weight, windows),
            }
        }
    }

    /// # Safety
    /// As [`products`]'s, for `C` columns.
    #[target_feature(enable = "avx512f")]
    unsafe fn blocks<const C: usize, const R: usize>(
        sums: &mut [f32],
        weight: &[f32],
        windows: &[f32],
    ) {
        let depth = windows.len() / C;
        let mut weight = weight.chunks_exact(R * depth);
        let mut sums = sums.chunks_exact_mut(R * C);
        // SAFETY: the chunks are as long as the blocks read.
        unsafe {
            for (weight, sums) in weight.by_ref().zip(sums.by_ref()) {
                block::<C, R>(sums, weight.as_ptr(), windows.as_ptr(), depth);
            }
            let rest = weight.remainder().chunks_exact(depth);
            for (weight, sums) in rest.zip(sums.into_remainder().chunks_exact_mut(C)) {
                block::<C, 1>(sums, weight.as_ptr(), windows.as_ptr(), depth);
            }
        }
    }

    /// # Safety
    /// AVX-512F; `R` rows of `depth` values at `weight`, `C` at `windows`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn block<const C: usize, const R: usize>(
        sums: &mut [f32],
        weight: *const f32,
        windows: *const f32,
        depth: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let mut lanes = [[_mm512_setzero_ps(); C]; R];
            let mut at = 0;
            while at < depth {
                let count = (depth - at).min(LANES);
                let mask = ((1u32 << count) - 1) as __mmask16;
                let mut columns = [_mm512_setzero_ps(); C];
                for j in 0..C {
                    columns[j] = _mm512_maskz_loadu_ps(mask, windows.add(j * depth + at));
                }
                for i in 0..R {
                    let row = _mm512_maskz_loadu_ps(mask, weight.add(i * depth + at));
                    for j in 0..C {
                        lanes[i][j] = _mm512_fmadd_ps(row, columns[j], lanes[i][j]);
                    }
                }
                at += LANES;
            }
            for i in 0..R {
                for j in 0..C {
                    *sums.get_unchecked_mut(i * C + j) = _mm512_reduce_add_ps(lanes[i][j]);
                }
            }
        }
    }
}

/// The adjoint of a geometry for which [`applies`] says so.
pub(crate) fn adjoint(
    level: Level,
    gather: &Gather,
    dy: &[f32],
    weight: &[f32],
    extras: Extras,
    out: &mut [f32],
) {
    let g = &gather.geometry;
    let [inputs, outputs] = g.channels();
    let (depth, columns) = (g.depth(), g.batch * g.output);
    assert_eq!(dy.len(), g.outputs * columns);
    assert_eq!(weight.len(), g.outputs * depth);
    assert_eq!(out.len(), g.batch * g.inputs * g.input);
    // Values that one step multiplies with as many rows of the weight, `[rows / ROWS][column][ROWS]`.
    let blocks = outputs.div_ceil(ROWS);
    let mut factors = vec![0.0; g.groups * blocks * columns * ROWS];
    for sample in 0..g.batch {
        for channel in 0..g.outputs {
            let (group, row) = (channel / outputs, channel % outputs);
            for position in 0..g.output {
                let value = dy[(sample * g.outputs + channel) * g.output + position];
                let block = group * blocks + row / ROWS;
                let column = sample * g.output + position;
                factors[(block * columns + column) * ROWS + row % ROWS] = value;
            }
        }
    }
    if let Some(slope) = extras.leaky {
        super::window::leaky_relu(&mut factors, slope);
    }
    let some = inputs.div_ceil(TASKS.div_ceil(g.groups));
    let cuts = inputs.div_ceil(some);
    let parts = Parts::new(out);
    deal(g, g.groups * cuts, |task| {
        let (group, cut) = (task / cuts, task % cuts);
        let channels = some.min(inputs - cut * some);
        let width = channels * g.kernel;
        let mut sums = vec![0.0; columns * width];
        for block in 0..blocks {
            let factors = &factors[(group * blocks + block) * columns * ROWS..][..columns * ROWS];
            let row = |at: usize| {
                // Past the last row the factors are zero.
                let row = group * outputs + (block * ROWS + at).min(outputs - 1);
                &weight[row * depth + cut * some * g.kernel..][..width]
            };
            let rows: [&[f32]; ROWS] = std::array::from_fn(row);
            add(level, &mut sums, factors, rows);
        }
        for channel in 0..channels {
            let plane = group * inputs + cut * some + channel;
            let bias = extras.bias.map_or(0.0, |bias| bias[plane]);
            for sample in 0..g.batch {
                let first = (sample * g.inputs + plane) * g.input;
                // SAFETY: every task writes channels of its own.
                let out = unsafe { parts.part(first, g.input) };
                out.fill(bias);
                for position in 0..g.output {
                    let column = sample * g.output + position;
                    let from = &sums[column * width + channel * g.kernel..][..g.kernel];
                    for (tap, value) in from.iter().enumerate() {
                        let at = position * g.stride + tap * g.dilation;
                        let at = at.checked_sub(g.before).filter(|&at| at < g.input);
                        if let Some(at) = at {
                            out[at] += value;
                        }
                    }
                }
                extras.derive(first, out);
            }
        }
    });
}

/// Adds to every column's sums what its factors make of the rows.
fn add(level: Level, sums: &mut [f32], factors: &[f32], rows: [&[f32]; ROWS]) {
    per_level!(level, add_body(sums: &mut [f32], factors: &[f32], rows: [&[f32]; ROWS]));
}

#[inline(always)]
fn add_body<const FMA: bool>(sums: &mut [f32], factors: &[f32], rows: [&[f32]; ROWS]) {
    let width = rows[0].len();
    let rows = rows.map(|row| &row[..width]);
    let (factors, _) = factors.as_chunks::<ROWS>();
    for (sums, factors) in sums.chunks_exact_mut(width).zip(factors) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let mut value = *sum;
            for (row, factor) in rows.iter().zip(factors) {
                value = fma::<FMA>(row[i], *factor, value);
            }
            *sum = value;
        }
    }
}
