//! Products of tall matrices with small ones, on [`product`](super::micro::product).

use super::micro::{LANES, Level, Product, product};
use rayon::prelude::*;

/// Rows that one thread takes at a time: with them and a panel the first cache is full.
const ROWS: usize = 64;

/// Parts of the rows whose weight gradients are added up in a fixed order, so that results do not
/// depend on the number of threads.
pub(crate) const GROUPS: usize = 8;

/// A matrix `[depth, width]` cut into columns of [`LANES`], or half of that for a narrow last one,
/// padded with zeros.
pub(crate) struct Panels {
    values: Vec<f32>,
    depth: usize,
    width: usize,
}

impl Panels {
    /// Element `(k, n)` is `w[k * strides[0] + n * strides[1]]`.
    pub(crate) fn pack(w: &[f32], [depth, width]: [usize; 2], strides: [usize; 2]) -> Self {
        let mut panels = Self {
            values: vec![0.0; depth * width.div_ceil(LANES) * LANES],
            depth,
            width,
        };
        for first in (0..width).step_by(LANES) {
            let lanes = lanes(width - first);
            let columns = lanes.min(width - first);
            let panel = &mut panels.values[first * depth..];
            for (k, row) in panel.chunks_exact_mut(lanes).take(depth).enumerate() {
                let start = k * strides[0] + first * strides[1];
                if strides[1] == 1 {
                    row[..columns].copy_from_slice(&w[start..start + columns]);
                } else {
                    for (n, value) in row[..columns].iter_mut().enumerate() {
                        *value = w[start + n * strides[1]];
                    }
                }
            }
        }
        panels
    }
}

/// Lanes of a panel with `left` columns to go.
fn lanes(left: usize) -> usize {
    if left <= LANES / 2 { LANES / 2 } else { LANES }
}

/// The left factor: element `(i, k)` is `values[i * strides[0] + k * strides[1]]`.
pub(crate) struct Left<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub strides: [usize; 2],
}

/// `out[i * stride + n] = (or +=) sum over k < depth of left(i, k) * panels(k, n)`, for `n < width`.
pub(crate) fn multiply(
    level: Level,
    out: &mut [f32],
    stride: usize,
    left: &Left,
    panels: &Panels,
    [depth, width]: [usize; 2],
    accumulate: bool,
) {
    assert!(depth <= panels.depth && width <= panels.width);
    let steps = |count: usize, step: usize| -> Vec<u32> {
        (0..count).map(|at| (at * step) as u32).collect()
    };
    let rows = steps(left.rows, left.strides[0]);
    let taps = steps(depth, left.strides[1]);
    let dest = steps(left.rows, stride);
    for first in (0..width).step_by(LANES) {
        let lanes = lanes(panels.width - first);
        let columns = lanes.min(width - first);
        let w = &panels.values[first * panels.depth..][..depth * lanes];
        let mut p = Product {
            x: left.values,
            w,
            rows: &rows,
            taps: &taps,
            dest: &dest,
            accumulate,
        };
        if columns == lanes {
            product(level, &mut out[first..], &p, lanes);
            continue;
        }
        // A panel that is wider than what is left of a row of `out` goes through a copy.
        let packed = steps(left.rows, lanes);
        let mut whole = vec![0.0; left.rows * lanes];
        p.dest = &packed;
        p.accumulate = false;
        product(level, &mut whole, &p, lanes);
        for (row, whole) in whole.chunks_exact(lanes).enumerate() {
            let out = &mut out[row * stride + first..][..columns];
            for (out, &value) in out.iter_mut().zip(whole) {
                *out = if accumulate { *out + value } else { value };
            }
        }
    }
}

/// `y = x w + bias` for `x [rows, inputs]` and `w [inputs, outputs]`.
pub(crate) fn linear(
    level: Level,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    [inputs, outputs]: [usize; 2],
    y: &mut [f32],
) {
    let panels = Panels::pack(w, [inputs, outputs], [outputs, 1]);
    let chunks = y.par_chunks_mut(ROWS * outputs);
    chunks.zip(x.par_chunks(ROWS * inputs)).for_each(|(y, x)| {
        if let Some(bias) = bias {
            for row in y.chunks_exact_mut(outputs) {
                row.copy_from_slice(bias);
            }
        }
        let left = Left {
            values: x,
            rows: x.len() / inputs,
            strides: [inputs, 1],
        };
        let dims = [inputs, outputs];
        multiply(level, y, outputs, &left, &panels, dims, bias.is_some());
    });
}

/// The gradient of [`linear`]'s `x`.
pub(crate) fn linear_input(
    level: Level,
    dy: &[f32],
    w: &[f32],
    [inputs, outputs]: [usize; 2],
    dx: &mut [f32],
) {
    let panels = Panels::pack(w, [outputs, inputs], [1, outputs]);
    let chunks = dx.par_chunks_mut(ROWS * inputs);
    chunks
        .zip(dy.par_chunks(ROWS * outputs))
        .for_each(|(dx, dy)| {
            let left = Left {
                values: dy,
                rows: dy.len() / outputs,
                strides: [outputs, 1],
            };
            multiply(level, dx, inputs, &left, &panels, [outputs, inputs], false);
        });
}

/// The gradients of [`linear`]'s `w` and bias.
pub(crate) fn linear_weight(
    level: Level,
    x: &[f32],
    dy: &[f32],
    [inputs, outputs]: [usize; 2],
    dw: &mut [f32],
    db: &mut [f32],
) {
    let parts = in_groups(x.len() / inputs, |rows| {
        let mut part = vec![0.0; (inputs + 1) * outputs];
        let (dw, db) = part.split_at_mut(inputs * outputs);
        for first in rows.clone().step_by(ROWS) {
            let count = ROWS.min(rows.end - first);
            let dy = &dy[first * outputs..][..count * outputs];
            let panels = Panels::pack(dy, [count, outputs], [outputs, 1]);
            let left = Left {
                values: &x[first * inputs..][..count * inputs],
                rows: inputs,
                strides: [1, inputs],
            };
            multiply(level, dw, outputs, &left, &panels, [count, outputs], true);
            for row in dy.chunks_exact(outputs) {
                for (db, &dy) in db.iter_mut().zip(row) {
                    *db += dy;
                }
            }
        }
        part
    });
    for (at, part) in parts.iter().enumerate() {
        let (w, b) = part.split_at(inputs * outputs);
        for (to, from) in [(&mut *dw, w), (&mut *db, b)] {
            for (to, &from) in to.iter_mut().zip(from) {
                *to = if at == 0 { from } else { *to + from };
            }
        }
    }
}

/// The sums of the columns of `x [rows, sums.len()]`.
pub(crate) fn column_sums(x: &[f32], sums: &mut [f32]) {
    let columns = sums.len();
    let parts = in_groups(x.len() / columns, |rows| {
        let mut part = vec![0.0; columns];
        for row in x[rows.start * columns..rows.end * columns].chunks_exact(columns) {
            for (sum, &value) in part.iter_mut().zip(row) {
                *sum += value;
            }
        }
        part
    });
    sums.fill(0.0);
    for part in parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
}

/// What `work` makes of each of [`GROUPS`] parts of `rows`, in order.
pub(crate) fn in_groups<R: Send>(
    rows: usize,
    work: impl Fn(std::ops::Range<usize>) -> R + Sync,
) -> Vec<R> {
    let size = rows.div_ceil(GROUPS).max(1);
    (0..rows.div_ceil(size).max(1))
        .into_par_iter()
        .map(|group| work(group * size..rows.min((group + 1) * size)))
        .collect()
}
