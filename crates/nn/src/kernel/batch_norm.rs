//! Batch normalisation of columns, ReLU and dropout.

use super::micro::Level;
use super::sparse::per_level;
use crate::dropout::Draw;
use rayon::prelude::*;

/// Rows whose sums are taken in single precision; sums of such parts are added in double.
const ROWS: usize = 64;

/// Values that one thread takes at a time where there are no columns.
const CHUNK: usize = 1 << 14;

/// What is done to every column.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub mean: &'a [f32],
    /// 1 / standard deviation.
    pub inverse: &'a [f32],
    pub gain: &'a [f32],
    pub shift: &'a [f32],
}

impl Columns<'_> {
    /// `x * scale + offset` is the normalised value with gain and shift.
    fn affine(&self) -> [Vec<f32>; 2] {
        let scale: Vec<f32> = self
            .gain
            .iter()
            .zip(self.inverse)
            .map(|(g, i)| g * i)
            .collect();
        let offset = self.shift.iter().zip(self.mean).zip(&scale);
        let offset = offset.map(|((shift, mean), scale)| shift - mean * scale);
        let offset = offset.collect();
        [scale, offset]
    }
}

/// Mean and squared distances from it of the columns of a few rows.
#[inline(always)]
fn part_body<const FMA: bool>(x: &[f32], mean: &mut [f32], squares: &mut [f32]) {
    let columns = mean.len();
    let squares = &mut squares[..columns];
    for row in x.chunks_exact(columns) {
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += x;
        }
    }
    let share = 1.0 / (x.len() / columns) as f32;
    mean.iter_mut().for_each(|mean| *mean *= share);
    for row in x.chunks_exact(columns) {
        for ((squares, mean), x) in squares.iter_mut().zip(&*mean).zip(row) {
            let off = x - mean;
            *squares += off * off;
        }
    }
}

/// Mean and variance of the columns of `x`.
///
/// # Panics
/// If there is no row, or the last one is short.
pub(crate) fn moments(level: Level, x: &[f32], columns: usize) -> [Vec<f32>; 2] {
    assert!(!x.is_empty() && x.len().is_multiple_of(columns));
    let parts: Vec<(usize, Vec<f32>)> = x
        .par_chunks(ROWS * columns)
        .map(|x| {
            let mut sums = vec![0.0; 2 * columns];
            let (mean, squares) = sums.split_at_mut(columns);
            per_level!(level, part_body(x: &[f32], mean: &mut [f32], squares: &mut [f32]));
            (x.len() / columns, sums)
        })
        .collect();
    let rows = (x.len() / columns) as f64;
    let each = |column: usize| {
        let mean = parts
            .iter()
            .map(|(n, sums)| *n as f64 * f64::from(sums[column]))
            .sum::<f64>()
            / rows;
        let variance = parts.iter().map(|(n, sums)| {
            let off = f64::from(sums[column]) - mean;
            f64::from(sums[columns + column]) + *n as f64 * off * off
        });
        let variance = variance.sum::<f64>() / rows;
        (mean as f32, variance as f32)
    };
    let (mean, variance) = (0..columns).map(each).unzip();
    [mean, variance]
}

#[inline(always)]
fn forward_body<const FMA: bool>(
    [scale, offset]: [&[f32]; 2],
    draw: &Draw,
    first: usize,
    x: &[f32],
    y: &mut [f32],
) {
    let columns = scale.len();
    let offset = &offset[..columns];
    let rows = y.chunks_exact_mut(columns).zip(x.chunks_exact(columns));
    for (row, (y, x)) in rows.enumerate() {
        let start = (first + row * columns) as u32;
        for at in 0..columns {
            let value = (x[at] * scale[at] + offset[at]).max(0.0);
            y[at] = value * draw.factor(start.wrapping_add(at as u32));
        }
    }
}

/// `drop(relu(normal * gain + shift))`.
pub(crate) fn forward(level: Level, columns: &Columns, draw: &Draw, x: &[f32], y: &mut [f32]) {
    let [scale, offset] = columns.affine();
    let size = ROWS * scale.len();
    let parts = y.par_chunks_mut(size).zip(x.par_chunks(size)).enumerate();
    parts.for_each(|(part, (y, x))| {
        let (affine, first) = ([scale.as_slice(), &offset], part * size);
        per_level!(level, forward_body(
            affine: [&[f32]; 2], draw: &Draw, first: usize, x: &[f32], y: &mut [f32]
        ));
    });
}

/// The gradient after the normalisation, and the normalised value.
#[inline(always)]
fn before(
    columns: &Columns,
    [scale, offset]: [&[f32]; 2],
    draw: &Draw,
    at: usize,
    place: u32,
    [x, dy]: [f32; 2],
) -> [f32; 2] {
    let value = x * scale[at] + offset[at];
    let factor = draw.factor(place);
    let gradient = if value > 0.0 { dy * factor } else { 0.0 };
    [gradient, (x - columns.mean[at]) * columns.inverse[at]]
}

#[inline(always)]
fn sums_body<const FMA: bool>(
    columns: &Columns,
    affine: [&[f32]; 2],
    draw: &Draw,
    first: usize,
    [x, dy]: [&[f32]; 2],
    [shift, gain]: [&mut [f32]; 2],
) {
    let count = affine[0].len();
    let affine = affine.map(|values| &values[..count]);
    let (shift, gain) = (&mut shift[..count], &mut gain[..count]);
    let columns = Columns {
        mean: &columns.mean[..count],
        inverse: &columns.inverse[..count],
        ..*columns
    };
    let rows = x.chunks_exact(count).zip(dy.chunks_exact(count));
    for (row, (x, dy)) in rows.enumerate() {
        let start = (first + row * count) as u32;
        for at in 0..count {
            let place = start.wrapping_add(at as u32);
            let [gradient, normal] = before(&columns, affine, draw, at, place, [x[at], dy[at]]);
            shift[at] += gradient;
            gain[at] += gradient * normal;
        }
    }
}

#[inline(always)]
fn input_body<const FMA: bool>(
    columns: &Columns,
    affine: [&[f32]; 2],
    means: [&[f32]; 2],
    draw: &Draw,
    first: usize,
    [x, dy]: [&[f32]; 2],
    dx: &mut [f32],
) {
    let count = affine[0].len();
    let affine = affine.map(|values| &values[..count]);
    let [shift, gain] = means.map(|values| &values[..count]);
    let columns = Columns {
        mean: &columns.mean[..count],
        inverse: &columns.inverse[..count],
        ..*columns
    };
    let rows = x.chunks_exact(count).zip(dy.chunks_exact(count));
    for (row, (dx, (x, dy))) in dx.chunks_exact_mut(count).zip(rows).enumerate() {
        let start = (first + row * count) as u32;
        for at in 0..count {
            let place = start.wrapping_add(at as u32);
            let [gradient, normal] = before(&columns, affine, draw, at, place, [x[at], dy[at]]);
            dx[at] = affine[0][at] * (gradient - shift[at] - normal * gain[at]);
        }
    }
}

/// The gradient of `x`; returns those of gain and shift.
pub(crate) fn backward(
    level: Level,
    columns: &Columns,
    draw: &Draw,
    [x, dy]: [&[f32]; 2],
    dx: &mut [f32],
) -> [Vec<f32>; 2] {
    let count = columns.mean.len();
    let size = ROWS * count;
    let [scale, offset] = columns.affine();
    let affine = [scale.as_slice(), offset.as_slice()];
    let parts: Vec<Vec<f32>> = x
        .par_chunks(size)
        .zip(dy.par_chunks(size))
        .enumerate()
        .map(|(part, (x, dy))| {
            let mut sums = vec![0.0; 2 * count];
            let (shift, gain) = sums.split_at_mut(count);
            let (pair, sums_of, first) = ([x, dy], [shift, gain], part * size);
            per_level!(level, sums_body(
                columns: &Columns, affine: [&[f32]; 2], draw: &Draw, first: usize,
                pair: [&[f32]; 2], sums_of: [&mut [f32]; 2]
            ));
            sums
        })
        .collect();
    let total = |at: usize| parts.iter().map(|sums| f64::from(sums[at])).sum::<f64>();
    let totals: Vec<f64> = (0..2 * count).map(total).collect();
    let rows = (x.len() / count) as f64;
    let mean: Vec<f32> = totals.iter().map(|total| (total / rows) as f32).collect();
    let means = [&mean[..count], &mean[count..]];
    let inputs = x.par_chunks(size).zip(dy.par_chunks(size));
    let parts = dx.par_chunks_mut(size).zip(inputs).enumerate();
    parts.for_each(|(part, (dx, (x, dy)))| {
        let (pair, first) = ([x, dy], part * size);
        per_level!(level, input_body(
            columns: &Columns, affine: [&[f32]; 2], means: [&[f32]; 2], draw: &Draw, first: usize,
            pair: [&[f32]; 2], dx: &mut [f32]
        ));
    });
    let single = |totals: &[f64]| totals.iter().map(|total| *total as f32).collect();
    [single(&totals[count..]), single(&totals[..count])]
}

#[inline(always)]
fn relu_body<const FMA: bool>(draw: &Draw, first: usize, x: &[f32], from: &[f32], to: &mut [f32]) {
    let len = to.len();
    let (x, from) = (&x[..len], &from[..len]);
    for at in 0..len {
        let factor = draw.factor((first + at) as u32);
        to[at] = if x[at] > 0.0 { from[at] * factor } else { 0.0 };
    }
}

/// `from` with its factors where `x` is positive, else 0: with `from = x` the forward pass, with the
/// gradient the backward one.
pub(crate) fn relu(level: Level, draw: &Draw, x: &[f32], from: &[f32], to: &mut [f32]) {
    let inputs = x.par_chunks(CHUNK).zip(from.par_chunks(CHUNK));
    let parts = to.par_chunks_mut(CHUNK).zip(inputs).enumerate();
    parts.for_each(|(part, (to, (x, from)))| {
        let first = part * CHUNK;
        per_level!(level, relu_body(
            draw: &Draw, first: usize, x: &[f32], from: &[f32], to: &mut [f32]
        ));
    });
}
