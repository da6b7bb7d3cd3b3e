//! Partial selection, and products of sparse codes with the rows of a dictionary.

use super::micro::Level;
pub(crate) use crate::level::per_level;
use crate::memory::Buffer;
use rayon::prelude::*;
use std::cmp::Ordering;

/// Below this many multiplications a second thread costs more than it saves.
const PARALLEL: usize = 1 << 16;

/// Accumulators of a dot product: two AVX-512 registers.
const LANES: usize = 32;

/// Where the entries of a sparse matrix lie: row `i` has the columns
/// `columns[starts[i]..starts[i + 1]]`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub starts: &'a [usize],
    pub columns: &'a [u32],
}

impl Rows<'_> {
    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }
}

/// The same entries by column: column `c` has the rows `rows[starts[c]..starts[c + 1]]`, and
/// `entries` says where each stands in the order of the rows.
#[derive(Debug)]
pub(crate) struct Columns {
    pub starts: Vec<usize>,
    pub rows: Vec<u32>,
    pub entries: Vec<u32>,
}

impl Columns {
    pub(crate) fn of(rows: Rows, width: usize) -> Self {
        let mut starts = vec![0; width + 1];
        for &column in rows.columns {
            starts[column as usize + 1] += 1;
        }
        for column in 0..width {
            starts[column + 1] += starts[column];
        }
        let mut next = starts.clone();
        let mut of_row = vec![0; rows.columns.len()];
        let mut entries = vec![0; rows.columns.len()];
        for row in 0..rows.len() {
            for entry in rows.range(row) {
                let place = &mut next[rows.columns[entry] as usize];
                of_row[*place] = row as u32;
                entries[*place] = entry as u32;
                *place += 1;
            }
        }
        Self {
            starts,
            rows: of_row,
            entries,
        }
    }
}

/// Larger first, NaN before everything; equal values by place.
fn order(a: (f32, u32), b: (f32, u32)) -> Ordering {
    let by_value = match (a.0.is_nan(), b.0.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        // Neither is NaN, and zeros of either sign are equal.
        _ => b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal),
    };
    by_value.then(a.1.cmp(&b.1))
}

/// Writes the columns of the `k` largest values of every row of `x`, largest first, to `out`.
///
/// # Panics
/// If `k` is 0 or above `width`, or the lengths do not fit.
pub(crate) fn topk(level: Level, x: &[f32], width: usize, k: usize, out: &mut [u32]) {
    assert!(k > 0 && k <= width);
    assert_eq!(x.len() / width, out.len() / k);
    let row = |(out, x): (&mut [u32], &[f32])| topk_row(level, x, out);
    if x.len() < PARALLEL {
        out.chunks_exact_mut(k)
            .zip(x.chunks_exact(width))
            .for_each(row);
    } else {
        out.par_chunks_exact_mut(k)
            .zip(x.par_chunks_exact(width))
            .with_min_len((PARALLEL / width).max(1))
            .for_each(row);
    }
}

/// Values that are compared with the smallest kept one at a time.
const BLOCK: usize = 64;

fn topk_row(level: Level, x: &[f32], out: &mut [u32]) {
    let k = out.len();
    // With many to keep, inserting costs more than one pass that parts the row.
    if k > 256 || 8 * k > x.len() {
        let mut pairs: Vec<(f32, u32)> = x.iter().copied().zip(0..).collect();
        if k < pairs.len() {
            pairs.select_nth_unstable_by(k - 1, |&a, &b| order(a, b));
            pairs.truncate(k);
        }
        pairs.sort_unstable_by(|&a, &b| order(a, b));
        for (out, (_, place)) in out.iter_mut().zip(pairs) {
            *out = place;
        }
        return;
    }
    let mut kept: Vec<(f32, u32)> = x[..k].iter().copied().zip(0..).collect();
    kept.sort_unstable_by(|&a, &b| order(a, b));
    let mut place = k;
    while place < x.len() {
        let block = &x[place..x.len().min(place + BLOCK)];
        let least = kept[k - 1].0;
        // Later values that are equal to the least do not displace it. A NaN in `least` keeps
        // every comparison false: k NaNs cannot be displaced.
        if least.is_nan() {
            break;
        }
        if exceeds(level, block, least) {
            for (offset, &value) in block.iter().enumerate() {
                let candidate = (value, (place + offset) as u32);
                if order(candidate, kept[k - 1]) == Ordering::Less {
                    let at = kept.partition_point(|&other| order(other, candidate).is_lt());
                    kept.copy_within(at..k - 1, at + 1);
                    kept[at] = candidate;
                }
            }
        }
        place += block.len();
    }
    for (out, (_, place)) in out.iter_mut().zip(kept) {
        *out = place;
    }
}

fn exceeds(level: Level, block: &[f32], least: f32) -> bool {
    per_level!(level, exceeds_body(block: &[f32], least: f32) -> bool)
}

/// Whether a value is larger than `least` or NaN.
#[inline(always)]
#[allow(clippy::neg_cmp_op_on_partial_ord)]
fn exceeds_body<const FMA: bool>(block: &[f32], least: f32) -> bool {
    let mut any = false;
    for &value in block {
        any |= !(value <= least);
    }
    any
}

#[inline(always)]
fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, a fused product is a call into libm.
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] = multiply_add::<FMA>(a[lane], b[lane], sums[lane]);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        sums[0] = multiply_add::<FMA>(a, b, sums[0]);
    }
    sums[0]
}

#[inline(always)]
fn add_scaled<const FMA: bool>(out: &mut [f32], scale: f32, row: &[f32]) {
    for (out, &value) in out.iter_mut().zip(row) {
        *out = multiply_add::<FMA>(scale, value, *out);
    }
}

/// `out[e] = x[row of e] · w[column of e]` for every entry `e`.
///
/// # Panics
/// If a column or a length is out of range.
pub(crate) fn sampled_dot(level: Level, x: &[f32], w: &[f32], dim: usize, rows: Rows) -> Buffer {
    let mut out = Buffer::new(rows.columns.len());
    // Every row has its own part of the result.
    let mut parts = Vec::with_capacity(rows.len());
    let mut rest = &mut out[..];
    for row in 0..rows.len() {
        let (part, after) = rest.split_at_mut(rows.range(row).len());
        parts.push((row, part));
        rest = after;
    }
    let work = |(row, out): (usize, &mut [f32])| {
        let x = &x[row * dim..][..dim];
        let columns = &rows.columns[rows.range(row)];
        per_level!(level, dots_body(out: &mut [f32], x: &[f32], w: &[f32], columns: &[u32]));
    };
    if rows.columns.len() * dim < PARALLEL {
        parts.into_iter().for_each(work);
    } else {
        parts.into_par_iter().with_min_len(8).for_each(work);
    }
    out
}

#[inline(always)]
fn dots_body<const FMA: bool>(out: &mut [f32], x: &[f32], w: &[f32], columns: &[u32]) {
    for (out, &column) in out.iter_mut().zip(columns) {
        *out = dot::<FMA>(x, &w[column as usize * x.len()..][..x.len()]);
    }
}

/// `out[i] = sum over the entries e of row i of values[e] * w[column of e]`.
///
/// # Panics
/// If a column or a length is out of range.
pub(crate) fn weighted_rows(
    level: Level,
    values: &[f32],
    w: &[f32],
    dim: usize,
    rows: Rows,
) -> Buffer {
    let mut out = Buffer::new(rows.len() * dim);
    let work = |(row, out): (usize, &mut [f32])| {
        let (columns, values) = (&rows.columns[rows.range(row)], &values[rows.range(row)]);
        per_level!(level, sum_body(out: &mut [f32], w: &[f32], columns: &[u32], values: &[f32]));
    };
    if rows.columns.len() * dim < PARALLEL {
        out.chunks_exact_mut(dim).enumerate().for_each(work);
    } else {
        out.par_chunks_exact_mut(dim)
            .enumerate()
            .with_min_len(8)
            .for_each(work);
    }
    out
}

#[inline(always)]
fn sum_body<const FMA: bool>(out: &mut [f32], w: &[f32], columns: &[u32], values: &[f32]) {
    out.fill(0.0);
    for (&column, &value) in columns.iter().zip(values) {
        let row = &w[column as usize * out.len()..][..out.len()];
        add_scaled::<FMA>(out, value, row);
    }
}

/// `out[c] = sum over the entries e of column c of values[e] * x[row of e]`: the gradient of the
/// dictionary in both products. Each column is summed in the order of its rows.
///
/// # Panics
/// If a length is out of range.
pub(crate) fn outer(
    level: Level,
    values: &[f32],
    x: &[f32],
    dim: usize,
    columns: &Columns,
) -> Buffer {
    let width = columns.starts.len() - 1;
    let mut out = Buffer::new(width * dim);
    let work = |(column, out): (usize, &mut [f32])| {
        let range = columns.starts[column]..columns.starts[column + 1];
        let (rows, entries) = (&columns.rows[range.clone()], &columns.entries[range]);
        per_level!(level, outer_body(
            out: &mut [f32], x: &[f32], rows: &[u32], entries: &[u32], values: &[f32]
        ));
    };
    if columns.rows.len() * dim < PARALLEL {
        out.chunks_exact_mut(dim).enumerate().for_each(work);
    } else {
        out.par_chunks_exact_mut(dim)
            .enumerate()
            .with_min_len(64)
            .for_each(work);
    }
    out
}

#[inline(always)]
fn outer_body<const FMA: bool>(
    out: &mut [f32],
    x: &[f32],
    rows: &[u32],
    entries: &[u32],
    values: &[f32],
) {
    out.fill(0.0);
    for (&row, &entry) in rows.iter().zip(entries) {
        let x = &x[row as usize * out.len()..][..out.len()];
        add_scaled::<FMA>(out, values[entry as usize], x);
    }
}

/// A single-precision number as an integer of the same order, NaN above all.
#[inline(always)]
fn key(value: f32) -> u32 {
    // Zeros of either sign are equal.
    let bits = (value + 0.0).to_bits();
    let flip = ((bits as i32) >> 31) as u32 | 1 << 31;
    if value.is_nan() {
        u32::MAX
    } else {
        bits ^ flip
    }
}

/// Bits of a key that the first pass tells apart.
const DIGIT: u32 = 12;

/// The `count` largest values of all of `x`, as the columns of every row in ascending order and
/// where each row starts; of equal values at the border, those of the first places.
///
/// One pass counts by the leading bits of the values, one collects those at the border, one
/// writes the result.
///
/// # Panics
/// If `count` is 0 or above `x.len()`, or `width` is 0.
pub(crate) fn topk_of_all(x: &[f32], width: usize, count: usize) -> (Vec<usize>, Vec<u32>) {
    assert!(count > 0 && count <= x.len());
    const CHUNK: usize = 1 << 16;
    let digit = |value: f32| key(value) >> (32 - DIGIT);
    let histogram = x
        .par_chunks(CHUNK)
        .map(|chunk| {
            let mut histogram = vec![0_u32; 1 << DIGIT];
            for &value in chunk {
                histogram[digit(value) as usize] += 1;
            }
            histogram
        })
        .reduce(
            || vec![0; 1 << DIGIT],
            |mut a, b| {
                a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                a
            },
        );
    let (mut border, mut above) = ((1 << DIGIT) - 1, 0);
    while above + (histogram[border] as usize) < count {
        above += histogram[border] as usize;
        border -= 1;
    }
    let mut candidates: Vec<(u32, usize)> = x
        .par_chunks(CHUNK)
        .enumerate()
        .flat_map_iter(|(chunk, values)| {
            let places = values.iter().zip(chunk * CHUNK..);
            places
                .filter(|&(&value, _)| digit(value) as usize == border)
                .map(|(&value, place)| (key(value), place))
        })
        .collect();
    let last = count - above - 1;
    let (_, &mut (least, end), _) =
        candidates.select_nth_unstable_by(last, |a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let rows_each = (CHUNK / width).max(1);
    let parts: Vec<(Vec<usize>, Vec<u32>)> = x
        .par_chunks(rows_each * width)
        .enumerate()
        .map(|(part, values)| {
            let (mut lengths, mut columns) = (Vec::new(), Vec::new());
            for (row, values) in values.chunks_exact(width).enumerate() {
                let before = columns.len();
                let start = (part * rows_each + row) * width;
                for (column, &value) in values.iter().enumerate() {
                    let key = key(value);
                    if key > least || key == least && start + column <= end {
                        columns.push(column as u32);
                    }
                }
                lengths.push(columns.len() - before);
            }
            (lengths, columns)
        })
        .collect();
    let mut starts = Vec::with_capacity(x.len() / width + 1);
    let mut columns = Vec::with_capacity(count);
    starts.push(0);
    let mut total = 0;
    for (lengths, part) in parts {
        for length in lengths {
            total += length;
            starts.push(total);
        }
        columns.extend(part);
    }
    (starts, columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full sort.
    fn sorted(x: &[f32], k: usize) -> Vec<u32> {
        let mut pairs: Vec<(f32, u32)> = x.iter().copied().zip(0..).collect();
        pairs.sort_by(|&a, &b| order(a, b));
        pairs.into_iter().take(k).map(|(_, place)| place).collect()
    }

    /// Values with many ties.
    fn ties(len: usize, distinct: u64) -> Vec<f32> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        (0..len)
            .map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                ((state >> 33) % distinct) as f32 - distinct as f32 / 2.0
            })
            .collect()
    }

    #[test]
    fn selection_equals_a_full_sort_with_ties_and_without() {
        for level in Level::available() {
            for (width, k) in [(1, 1), (5, 5), (64, 8), (1000, 32), (1000, 300), (4099, 17)] {
                for distinct in [1, 3, 1 << 30] {
                    let x = ties(3 * width, distinct);
                    let mut out = vec![0; 3 * k];
                    topk(level, &x, width, k, &mut out);
                    for (x, out) in x.chunks(width).zip(out.chunks(k)) {
                        assert_eq!(out, sorted(x, k), "{width} {k} {distinct}");
                    }
                }
            }
        }
    }

    #[test]
    fn selection_puts_nan_first() {
        let mut x = ties(600, 1 << 30);
        x[411] = f32::NAN;
        let mut out = vec![0; 4];
        topk(Level::detect(), &x, 600, 4, &mut out);
        assert_eq!(out, sorted(&x, 4));
        assert_eq!(out[0], 411);
        let (_, columns) = topk_of_all(&x, 600, 1);
        assert_eq!(columns, [411]);
    }

    #[test]
    fn selection_over_all_rows_keeps_exactly_that_many_of_the_largest() {
        for distinct in [1, 3, 1 << 30] {
            let x = ties(7 * 300, distinct);
            for count in [1, 5, 299, 2000, 2100] {
                let (starts, columns) = topk_of_all(&x, 300, count);
                let mut expected = sorted(&x, count);
                expected.sort_unstable();
                let found: Vec<u32> = (0..7_usize)
                    .flat_map(|row| {
                        let columns = &columns[starts[row]..starts[row + 1]];
                        columns
                            .iter()
                            .map(move |&column| (row * 300) as u32 + column)
                    })
                    .collect();
                assert_eq!(found, expected, "{distinct} {count}");
            }
        }
    }
}
