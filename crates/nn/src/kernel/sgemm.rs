//! Products of large matrices, blocked for the caches.
//!
//! The left factor is packed once, in panels of as many rows as one register tile has. The columns
//! of the result are dealt out in stripes; a stripe packs its part of the right factor into the
//! second cache and runs down all rows, so that every element of both factors is packed once. What
//! follows the product (a bias, an activation) runs on a block that is still in the cache.
//!
//! The order of every sum depends on the shapes and the instruction set only, never on the number of
//! threads.

use super::layout::transpose;
use super::micro::Level;
use super::parts::Parts;
use crate::memory::Buffer;
use rayon::prelude::*;

/// Steps of the sum between two visits of a tile of the result.
const DEPTH: usize = 384;

/// Columns of a stripe.
const STRIPE: usize = 128;

/// Rows of the largest tile of any level.
const MAX_ROWS: usize = 12;

/// Stripes and chunks of rows that the work is cut into at least, where there is enough of it.
const TASKS: usize = 16;

/// Multiply-adds below which a second thread does not pay.
const SMALL: usize = 1 << 17;

/// A matrix in memory: element `(i, j)` is `values[i * strides[0] + j * strides[1]]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub values: &'a [f32],
    pub strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Rows of `columns` values, one after the other.
    pub(crate) fn rows(values: &'a [f32], columns: usize) -> Self {
        Self {
            values,
            strides: [columns, 1],
        }
    }

    /// The transpose.
    pub(crate) fn transposed(self) -> Self {
        let [row, column] = self.strides;
        Self {
            strides: [column, row],
            ..self
        }
    }

    fn assert_holds(&self, [rows, columns]: [usize; 2]) {
        let last = (rows - 1) * self.strides[0] + (columns - 1) * self.strides[1];
        assert!(last < self.values.len(), "matrix outside of its values");
    }
}

/// Rows and columns of a level's register tile.
fn tile(level: Level) -> [usize; 2] {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => [12, 32],
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => [6, 16],
        Level::Portable => [4, 16],
    }
}

/// `c[i, j] = sum over k of a[i, k] b[k, j]` for `c [rows, columns]` in row order, with `depth`
/// steps of the sum; then `finish(i, j, part)` for every part `c[i, j..]` of a row.
///
/// # Panics
/// If a factor does not hold the indices, or `c` has another length.
pub(crate) fn multiply(
    level: Level,
    [rows, columns, depth]: [usize; 3],
    a: Matrix,
    b: Matrix,
    c: &mut [f32],
    finish: &(impl Fn(usize, usize, &mut [f32]) + Sync),
) {
    assert_eq!(c.len(), rows * columns);
    if c.is_empty() {
        return;
    }
    if depth == 0 {
        c.fill(0.0);
        for (row, c) in c.chunks_exact_mut(columns).enumerate() {
            finish(row, 0, c);
        }
        return;
    }
    a.assert_holds([rows, depth]);
    b.assert_holds([depth, columns]);

    let [tile_rows, tile_columns] = tile(level);
    let blocks = depth.div_ceil(DEPTH);
    let block = depth.div_ceil(blocks);
    let panels = rows.div_ceil(tile_rows);
    let parallel = rows * columns * depth >= SMALL;

    let mut packed = Buffer::new(panels * tile_rows * depth);
    let pack = |(panel, to): (usize, &mut [f32])| {
        let first = panel * tile_rows;
        let count = tile_rows.min(rows - first);
        pack_rows(level, a, [first, count], depth, tile_rows, to);
    };
    if parallel {
        let each = packed.par_chunks_exact_mut(tile_rows * depth).enumerate();
        each.with_min_len(4).for_each(pack);
    } else {
        let each = packed.chunks_exact_mut(tile_rows * depth).enumerate();
        each.for_each(pack);
    }

    let stripes = columns.div_ceil(STRIPE);
    // Few columns: cut the rows too, though not so short that packing the right factor shows.
    let cuts = TASKS.div_ceil(stripes).min(rows.div_ceil(128)).max(1);
    let chunk = panels.div_ceil(cuts);
    let cuts = panels.div_ceil(chunk);
    let out = Parts::new(c);
    let packed = &packed;

    let work = |right: &mut Vec<f32>, task: usize| {
        let (stripe, cut) = (task / cuts, task % cuts);
        let first_column = stripe * STRIPE;
        let width = STRIPE.min(columns - first_column);
        let chunk = cut * chunk..panels.min((cut + 1) * chunk);
        for first_step in (0..depth).step_by(block) {
            let steps = block.min(depth - first_step);
            pack_columns(
                level,
                b,
                [first_step, steps],
                [first_column, width],
                tile_columns,
                right,
            );
            for panel in chunk.clone() {
                let row = panel * tile_rows;
                let count = tile_rows.min(rows - row);
                let left = &packed[(panel * depth + first_step) * tile_rows..][..steps * tile_rows];
                for (at, right) in right.chunks_exact(steps * tile_columns).enumerate() {
                    let column = at * tile_columns;
                    let call = Call {
                        left,
                        right,
                        out: out.at(row * columns + first_column + column),
                        stride: columns,
                        rows: count,
                        columns: tile_columns.min(width - column),
                        accumulate: first_step > 0,
                    };
                    // SAFETY: the tile lies inside of `c`, and of this task's stripe and chunk.
                    unsafe { run(level, &call) };
                }
                if first_step + steps == depth {
                    for row in row..row + count {
                        // SAFETY: as above; no other reference to this part is alive.
                        let part = unsafe { out.part(row * columns + first_column, width) };
                        finish(row, first_column, part);
                    }
                }
            }
        }
    };
    if parallel {
        (0..stripes * cuts)
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(Vec::new, work);
    } else {
        let mut right = Vec::new();
        (0..stripes * cuts).for_each(|task| work(&mut right, task));
    }
}

/// Rows `first..first + count` of `a`, a column of `height` after the other, zeros below.
fn pack_rows(
    level: Level,
    a: Matrix,
    [first, count]: [usize; 2],
    depth: usize,
    height: usize,
    to: &mut [f32],
) {
    let [row, step] = a.strides;
    if count < height {
        to.fill(0.0);
    }
    let from = &a.values[first * row..];
    if row == 1 {
        match (count == height, height) {
            // Of a length that the compiler knows: no call per line.
            (true, 12) => copy_lines::<12>(from, step, to),
            (true, 16) => copy_lines::<16>(from, step, to),
            (true, 32) => copy_lines::<32>(from, step, to),
            _ => {
                for (k, to) in to.chunks_exact_mut(height).enumerate() {
                    to[..count].copy_from_slice(&from[k * step..][..count]);
                }
            }
        }
    } else if step == 1 {
        transpose(level, from, row, to, height, [count, depth]);
    } else {
        for (k, to) in to.chunks_exact_mut(height).take(depth).enumerate() {
            for (i, to) in to.iter_mut().take(count).enumerate() {
                *to = from[i * row + k * step];
            }
        }
    }
}

/// Pieces of `N` values, `step` apart, one after the other.
fn copy_lines<const N: usize>(from: &[f32], step: usize, to: &mut [f32]) {
    let (lines, _) = to.as_chunks_mut::<N>();
    for (k, to) in lines.iter_mut().enumerate() {
        if let Some((line, _)) = from[k * step..].split_first_chunk::<N>() {
            *to = *line;
        }
    }
}

/// Columns `first..first + count` of `steps` rows of `b`, in panels of `width`, zeros at the right.
fn pack_columns(
    level: Level,
    b: Matrix,
    [first_step, steps]: [usize; 2],
    [first, count]: [usize; 2],
    width: usize,
    to: &mut Vec<f32>,
) {
    let panels = count.div_ceil(width);
    to.resize(panels * steps * width, 0.0);
    for (panel, to) in to.chunks_exact_mut(steps * width).enumerate() {
        let start = panel * width;
        let columns = width.min(count - start);
        let b = Matrix {
            values: &b.values[first_step * b.strides[0]..],
            ..b
        };
        // The panel is the transpose of a panel of rows of the transpose.
        let columns = [first + start, columns];
        pack_rows(level, b.transposed(), columns, steps, width, to);
    }
}

/// One tile's product.
struct Call<'a> {
    /// `[steps][tile rows]`.
    left: &'a [f32],
    /// `[steps][tile columns]`.
    right: &'a [f32],
    out: *mut f32,
    /// From one row of `out` to the next.
    stride: usize,
    /// Rows and columns that exist.
    rows: usize,
    columns: usize,
    accumulate: bool,
}

/// # Safety
/// `rows` rows of `columns` values at `out`, `stride` apart, may be written, and the level exists.
unsafe fn run(level: Level, call: &Call) {
    // SAFETY: the caller's.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::avx512(call),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::avx2(call),
            Level::Portable => portable(call),
        }
    }
}

/// # Safety
/// As [`run`]'s.
unsafe fn portable(call: &Call) {
    let mut sums = [[0.0f32; 16]; 4];
    for (left, right) in call.left.chunks_exact(4).zip(call.right.chunks_exact(16)) {
        for (sums, &left) in sums.iter_mut().zip(left) {
            for (sum, &right) in sums.iter_mut().zip(right) {
                *sum += left * right;
            }
        }
    }
    // SAFETY: the caller's.
    unsafe { store(call, &sums) };
}

/// Writes the part of a tile that exists.
///
/// # Safety
/// As [`run`]'s.
unsafe fn store<const N: usize>(call: &Call, sums: &[[f32; N]]) {
    for (row, sums) in sums.iter().take(call.rows).enumerate() {
        // SAFETY: the caller's.
        let out = unsafe {
            std::slice::from_raw_parts_mut(call.out.add(row * call.stride), call.columns)
        };
        for (out, &sum) in out.iter_mut().zip(sums) {
            *out = if call.accumulate { *out + sum } else { sum };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Call, MAX_ROWS, store};
    use std::arch::x86_64::*;

    /// # Safety
    /// AVX-512F, and [`super::run`]'s.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512(call: &Call) {
        // SAFETY: the caller's; the panels are as long as their layout says.
        unsafe {
            if call.rows == MAX_ROWS {
                return tile512::<MAX_ROWS>(call);
            }
            match call.rows {
                1 => tile512::<1>(call),
                2 => tile512::<2>(call),
                3 => tile512::<3>(call),
                4 => tile512::<4>(call),
                5 => tile512::<5>(call),
                6 => tile512::<6>(call),
                7 => tile512::<7>(call),
                8 => tile512::<8>(call),
                9 => tile512::<9>(call),
                10 => tile512::<10>(call),
                _ => tile512::<11>(call),
            }
        }
    }

    /// Steps by which the right factor, which lies in the second cache, is fetched ahead.
    const AHEAD: usize = 8;

    /// The first `P` of twelve rows and 32 columns, in `2 * P` registers.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn tile512<const P: usize>(call: &Call) {
        // SAFETY: the caller's.
        unsafe {
            let lanes = |from: usize| -> __mmask16 {
                let count = call.columns.saturating_sub(from).min(16);
                ((1u32 << count) - 1) as __mmask16
            };
            let masks = [lanes(0), lanes(16)];
            let mut sums = [[_mm512_setzero_ps(); 2]; P];
            for i in 0..P {
                let line = call.out.wrapping_add(i * call.stride).cast();
                _mm_prefetch::<_MM_HINT_T0>(line);
            }
            let (mut left, mut right) = (call.left.as_ptr(), call.right.as_ptr());
            for _ in 0..call.right.len() / 32 {
                let first = _mm512_loadu_ps(right);
                let second = _mm512_loadu_ps(right.add(16));
                _mm_prefetch::<_MM_HINT_T0>(right.wrapping_add(32 * AHEAD).cast());
                _mm_prefetch::<_MM_HINT_T0>(right.wrapping_add(32 * AHEAD + 16).cast());
                for i in 0..P {
                    let value = _mm512_set1_ps(*left.add(i));
                    sums[i][0] = _mm512_fmadd_ps(value, first, sums[i][0]);
                    sums[i][1] = _mm512_fmadd_ps(value, second, sums[i][1]);
                }
                left = left.add(MAX_ROWS);
                right = right.add(32);
            }
            for i in 0..P {
                for v in 0..2 {
                    let to = call.out.wrapping_add(i * call.stride + 16 * v);
                    let mut sum = sums[i][v];
                    if call.accumulate {
                        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(masks[v], to));
                    }
                    _mm512_mask_storeu_ps(to, masks[v], sum);
                }
            }
        }
    }

    /// Six rows and 16 columns, in twelve registers.
    ///
    /// # Safety
    /// AVX2 and FMA, and [`super::run`]'s.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(call: &Call) {
        const ROWS: usize = 6;
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
            let (mut left, mut right) = (call.left.as_ptr(), call.right.as_ptr());
            for _ in 0..call.right.len() / 16 {
                let first = _mm256_loadu_ps(right);
                let second = _mm256_loadu_ps(right.add(8));
                for i in 0..ROWS {
                    let value = _mm256_set1_ps(*left.add(i));
                    sums[i][0] = _mm256_fmadd_ps(value, first, sums[i][0]);
                    sums[i][1] = _mm256_fmadd_ps(value, second, sums[i][1]);
                }
                left = left.add(ROWS);
                right = right.add(16);
            }
            let mut values = [[0.0f32; 16]; ROWS];
            for i in 0..ROWS {
                for v in 0..2 {
                    _mm256_storeu_ps(values[i].as_mut_ptr().add(8 * v), sums[i][v]);
                }
            }
            store(call, &values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0)
            .collect()
    }

    const SHAPES: [[usize; 3]; 9] = [
        [1, 1, 1],
        [3, 5, 2],
        [12, 32, 7],
        [13, 33, 400],
        [25, 130, 900],
        [300, 40, 33],
        [130, 257, 64],
        [7, 300, 385],
        [64, 64, 0],
    ];

    #[test]
    fn every_level_multiplies_every_orientation() {
        for [rows, columns, depth] in SHAPES {
            let (a, b) = (values(rows * depth, 1), values(depth * columns, 2));
            for orientation in 0..4 {
                let (left, right) = (orientation & 1 == 1, orientation & 2 == 2);
                let a = match left {
                    false => Matrix::rows(&a, depth),
                    true => Matrix::rows(&a, rows).transposed(),
                };
                let b = match right {
                    false => Matrix::rows(&b, columns),
                    true => Matrix::rows(&b, depth).transposed(),
                };
                let at = |m: Matrix, i: usize, j: usize| {
                    f64::from(m.values[i * m.strides[0] + j * m.strides[1]])
                };
                for level in Level::available() {
                    let mut c = vec![f32::NAN; rows * columns];
                    multiply(level, [rows, columns, depth], a, b, &mut c, &|_, _, _| ());
                    for i in 0..rows {
                        for j in 0..columns {
                            let sum: f64 = (0..depth).map(|k| at(a, i, k) * at(b, k, j)).sum();
                            let error = (f64::from(c[i * columns + j]) - sum).abs();
                            assert!(error <= 1e-6 * (depth as f64).max(1.0), "{level:?} {error}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_element_is_finished_once() {
        for [rows, columns, depth] in SHAPES {
            let (a, b) = (vec![0.0; rows * depth], vec![0.0; depth * columns]);
            let (a, b) = (Matrix::rows(&a, depth), Matrix::rows(&b, columns));
            for level in Level::available() {
                let mut c = vec![f32::NAN; rows * columns];
                let count = AtomicUsize::new(0);
                multiply(
                    level,
                    [rows, columns, depth],
                    a,
                    b,
                    &mut c,
                    &|i, j, part| {
                        count.fetch_add(part.len(), Ordering::Relaxed);
                        for (at, value) in part.iter_mut().enumerate() {
                            *value += (i * columns + j + at) as f32;
                        }
                    },
                );
                assert_eq!(count.into_inner(), c.len());
                assert!(c.iter().enumerate().all(|(i, &c)| c == i as f32));
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let [rows, columns, depth] = [200, 300, 500];
        let (a, b) = (values(rows * depth, 3), values(depth * columns, 4));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let mut c = vec![0.0; rows * columns];
                let (a, b) = (Matrix::rows(&a, depth), Matrix::rows(&b, columns));
                let dims = [rows, columns, depth];
                multiply(Level::detect(), dims, a, b, &mut c, &|_, _, _| ());
                c
            })
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    #[should_panic(expected = "matrix outside of its values")]
    fn a_short_factor_is_refused() {
        let (a, b) = (Matrix::rows(&[0.0; 5], 3), Matrix::rows(&[0.0; 6], 2));
        let level = Level::detect();
        multiply(level, [2, 2, 3], a, b, &mut [0.0; 4], &|_, _, _| ());
    }
}
