//! Loops over the slopes of a step, in single and double precision.

use crate::level::{Level, per_level};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Values that one thread takes at a time.
const CHUNK: usize = 1 << 14;

/// Values whose sum is made up before the next ones: they stay in the first cache while the terms
/// pass by.
const BLOCK: usize = 512;

/// Lanes of a partial sum of squares.
const LANES: usize = 8;

/// A number that the loops know.
pub(crate) trait Real: Copy + Send + Sync + 'static {
    /// Of a number in double precision, rounded.
    fn of(value: f64) -> Self;

    /// `out = Σ c x`, all of one length.
    fn sum(level: Level, factors: &[Self], terms: &[&[Self]], out: &mut [MaybeUninit<Self>]);

    /// `Σ (Σ c x / (absolute + relative · max(|a|, |b|)))²`.
    fn squares(
        level: Level,
        factors: &[Self],
        terms: &[&[Self]],
        ends: [&[Self]; 2],
        tolerance: [Self; 2],
    ) -> f64;

    /// `out = tanh(Σ c x + row)`, the row for every `row.len()` values again, and after each the
    /// `extra` ones.
    fn tanh(
        level: Level,
        factors: &[Self],
        terms: &[&[Self]],
        rows: [&[Self]; 2],
        out: &mut [MaybeUninit<Self>],
    );

    /// `out = (1 - y²) Σ c x` in rows of `widths[0]`, those of `y` being `widths[1]` long.
    fn tanh_slope(
        level: Level,
        factors: &[Self],
        terms: &[&[Self]],
        y: &[Self],
        widths: [usize; 2],
        out: &mut [MaybeUninit<Self>],
    );
}

macro_rules! real {
    ($name:ident, $bits:ident, $mantissa:expr, $bias:expr, $round:expr, $degree:expr) => {
        mod $name {
            use super::{BLOCK, LANES};
            use std::mem::MaybeUninit;

            type T = $name;

            /// The sum of the terms from `start` on.
            #[inline(always)]
            pub(super) fn block(factors: &[T], terms: &[&[T]], start: usize, out: &mut [T]) {
                let len = out.len();
                let mut rest = factors.iter().zip(terms);
                match rest.next() {
                    Some((c, x)) => {
                        for (out, x) in out.iter_mut().zip(&x[start..start + len]) {
                            *out = c * x;
                        }
                    }
                    None => out.fill(0.0),
                }
                for (c, x) in rest {
                    for (out, x) in out.iter_mut().zip(&x[start..start + len]) {
                        *out += c * x;
                    }
                }
            }

            #[inline(always)]
            fn store(values: &[T], out: &mut [MaybeUninit<T>]) {
                for (out, value) in out.iter_mut().zip(values) {
                    out.write(*value);
                }
            }

            #[inline(always)]
            pub(super) fn sum<const FMA: bool>(
                factors: &[T],
                terms: &[&[T]],
                out: &mut [MaybeUninit<T>],
            ) {
                let mut values = [0.0; BLOCK];
                for (at, out) in out.chunks_mut(BLOCK).enumerate() {
                    let values = &mut values[..out.len()];
                    block(factors, terms, at * BLOCK, values);
                    store(values, out);
                }
            }

            #[inline(always)]
            pub(super) fn squares<const FMA: bool>(
                factors: &[T],
                terms: &[&[T]],
                ends: [&[T]; 2],
                tolerance: [T; 2],
            ) -> f64 {
                let len = ends[0].len();
                let mut values = [0.0; BLOCK];
                let mut sums = [0.0f64; LANES];
                for start in (0..len).step_by(BLOCK) {
                    let values = &mut values[..BLOCK.min(len - start)];
                    block(factors, terms, start, values);
                    let ends = ends.map(|end| &end[start..start + values.len()]);
                    for ((value, a), b) in values.iter_mut().zip(ends[0]).zip(ends[1]) {
                        let (a, b) = (a.abs(), b.abs());
                        // A NaN on either side stays one.
                        let largest = if a > b { a } else { b };
                        *value /= tolerance[0] + tolerance[1] * largest;
                    }
                    let (whole, rest) = values.as_chunks::<LANES>();
                    for values in whole {
                        for lane in 0..LANES {
                            sums[lane] += values[lane] as f64 * values[lane] as f64;
                        }
                    }
                    for (sum, value) in sums.iter_mut().zip(rest) {
                        *sum += *value as f64 * *value as f64;
                    }
                }
                sums.iter().sum()
            }

            #[inline(always)]
            fn fused<const FMA: bool>(a: T, b: T, c: T) -> T {
                if FMA { a.mul_add(b, c) } else { a * b + c }
            }

            /// `e^x - 1` for x from -2 · 22 to 0, exact to rounding near 0 as well: with x = k ln 2 +
            /// r it is `2^k (e^r - 1) + (2^k - 1)`.
            #[inline(always)]
            fn exponential<const FMA: bool>(x: T) -> T {
                const HIGH: T = $round.1;
                const LOW: T = $round.2;
                let shifted = x * std::f64::consts::LOG2_E as T + $round.0;
                let k = shifted - $round.0;
                let r = fused::<FMA>(k, -LOW, fused::<FMA>(k, -HIGH, x));
                let mut series = 1.0 / super::FACTORIALS[$degree] as T;
                for at in (1..$degree).rev() {
                    series = fused::<FMA>(series, r, 1.0 / super::FACTORIALS[at] as T);
                }
                let series = series * r;
                // The low bits of the shifted number are k.
                let bits = shifted.to_bits().wrapping_add($bias) << $mantissa;
                let power = T::from_bits(bits);
                fused::<FMA>(power, series, power - 1.0)
            }

            #[inline(always)]
            fn hyperbolic<const FMA: bool>(x: T) -> T {
                let far = x.abs();
                // Beyond it the tangent is 1 to rounding; a NaN stays one.
                let far = if far > 22.0 { 22.0 } else { far };
                let e = exponential::<FMA>(-2.0 * far);
                let y = -e / (2.0 + e);
                y.copysign(x)
            }

            #[inline(always)]
            pub(super) fn tanh<const FMA: bool>(
                factors: &[T],
                terms: &[&[T]],
                [row, extra]: [&[T]; 2],
                out: &mut [MaybeUninit<T>],
            ) {
                let mut values = [0.0; BLOCK];
                let mut start = 0;
                // A block never crosses a row.
                for out in out.chunks_mut(row.len() + extra.len()) {
                    let (out, rest) = out.split_at_mut(row.len());
                    for (out, row) in out.chunks_mut(BLOCK).zip(row.chunks(BLOCK)) {
                        let values = &mut values[..out.len()];
                        block(factors, terms, start, values);
                        for (value, row) in values.iter_mut().zip(row) {
                            *value = hyperbolic::<FMA>(*value + row);
                        }
                        store(values, out);
                        start += out.len();
                    }
                    store(extra, rest);
                }
            }

            #[inline(always)]
            pub(super) fn tanh_slope<const FMA: bool>(
                factors: &[T],
                terms: &[&[T]],
                y: &[T],
                widths: [usize; 2],
                out: &mut [MaybeUninit<T>],
            ) {
                let mut values = [0.0; BLOCK];
                let mut start = 0;
                for (out, y) in out.chunks_mut(widths[0]).zip(y.chunks(widths[1])) {
                    for (out, y) in out.chunks_mut(BLOCK).zip(y.chunks(BLOCK)) {
                        let values = &mut values[..out.len()];
                        block(factors, terms, start, values);
                        for (value, y) in values.iter_mut().zip(y) {
                            *value *= 1.0 - y * y;
                        }
                        store(values, out);
                        start += out.len();
                    }
                }
            }
        }

        impl Real for $name {
            fn of(value: f64) -> Self {
                value as $name
            }

            fn sum(level: Level, factors: &[Self], terms: &[&[Self]], out: &mut [MaybeUninit<Self>]) {
                use $name::sum;
                per_level!(
                    level,
                    sum(factors: &[$name], terms: &[&[$name]], out: &mut [MaybeUninit<$name>])
                );
            }

            fn squares(
                level: Level,
                factors: &[Self],
                terms: &[&[Self]],
                ends: [&[Self]; 2],
                tolerance: [Self; 2],
            ) -> f64 {
                use $name::squares;
                per_level!(
                    level,
                    squares(
                        factors: &[$name],
                        terms: &[&[$name]],
                        ends: [&[$name]; 2],
                        tolerance: [$name; 2]
                    ) -> f64
                )
            }

            fn tanh(
                level: Level,
                factors: &[Self],
                terms: &[&[Self]],
                rows: [&[Self]; 2],
                out: &mut [MaybeUninit<Self>],
            ) {
                use $name::tanh;
                per_level!(
                    level,
                    tanh(
                        factors: &[$name],
                        terms: &[&[$name]],
                        rows: [&[$name]; 2],
                        out: &mut [MaybeUninit<$name>]
                    )
                );
            }

            fn tanh_slope(
                level: Level,
                factors: &[Self],
                terms: &[&[Self]],
                y: &[Self],
                widths: [usize; 2],
                out: &mut [MaybeUninit<Self>],
            ) {
                use $name::tanh_slope;
                per_level!(
                    level,
                    tanh_slope(
                        factors: &[$name],
                        terms: &[&[$name]],
                        y: &[$name],
                        widths: [usize; 2],
                        out: &mut [MaybeUninit<$name>]
                    )
                );
            }
        }
    };
}

/// n! up to what the series of the exponential need.
const FACTORIALS: [f64; 15] = {
    let mut all = [1.0; 15];
    let mut at = 1;
    while at < 15 {
        all[at] = all[at - 1] * at as f64;
        at += 1;
    }
    all
};

// For each: its unsigned integer, bits of the mantissa, the exponent's bias, the number that rounds
// to integers when added and taken away, ln 2 in two parts of which the first has few digits, and the
// degree of the series.
real!(
    f64,
    u64,
    52,
    1023,
    (
        6_755_399_441_055_744.0,
        0.693_147_180_369_123_8,
        1.908_214_929_270_587_7e-10
    ),
    13
);
real!(
    f32,
    u32,
    23,
    127,
    (12_582_912.0, 0.693_359_4, -2.121_944_4e-4),
    7
);

/// Chunks of every term.
fn parts<'a, T>(terms: &[&'a [T]], start: usize, len: usize) -> Vec<&'a [T]> {
    let parts = terms.iter().map(|term| &term[start..start + len]);
    parts.collect()
}

/// `len` values that `fill` writes by chunks of about [`CHUNK`] in whole rows of `width`.
fn filled<T: Real>(
    len: usize,
    width: usize,
    fill: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let chunk = CHUNK.div_ceil(width) * width;
    let mut values = Vec::with_capacity(len);
    let spare = &mut values.spare_capacity_mut()[..len];
    let chunks = spare.par_chunks_mut(chunk).enumerate();
    chunks.for_each(|(at, out)| fill(at * chunk, out));
    // SAFETY: every loop of this module writes each value of the slice that it is given.
    unsafe { values.set_len(len) };
    values
}

/// `Σ c x`.
pub(crate) fn sum<T: Real>(level: Level, factors: &[T], terms: &[&[T]]) -> Vec<T> {
    filled(terms[0].len(), 1, |start, out| {
        T::sum(level, factors, &parts(terms, start, out.len()), out);
    })
}

/// `Σ (Σ c x / (absolute + relative · max(|a|, |b|)))²`; the order of the sums does not depend on the
/// number of threads.
pub(crate) fn squares<T: Real>(
    level: Level,
    factors: &[T],
    terms: &[&[T]],
    ends: [&[T]; 2],
    tolerance: [f64; 2],
) -> f64 {
    let len = ends[0].len();
    let tolerance = tolerance.map(T::of);
    let sums: Vec<f64> = (0..len.div_ceil(CHUNK))
        .into_par_iter()
        .map(|at| {
            let start = at * CHUNK;
            let count = CHUNK.min(len - start);
            let ends = ends.map(|end| &end[start..start + count]);
            T::squares(level, factors, &parts(terms, start, count), ends, tolerance)
        })
        .collect();
    sums.into_iter().sum()
}

/// `tanh(Σ c x + row)`, the row for every `row.len()` values again, and after each the `extra` ones.
pub(crate) fn tanh<T: Real>(
    level: Level,
    factors: &[T],
    terms: &[&[T]],
    [row, extra]: [&[T]; 2],
) -> Vec<T> {
    let rows = terms[0].len() / row.len();
    let width = row.len() + extra.len();
    filled(rows * width, width, |start, out| {
        let rows = [start, out.len()].map(|len| len / width * row.len());
        let parts = parts(terms, rows[0], rows[1]);
        T::tanh(level, factors, &parts, [row, extra], out);
    })
}

/// `(1 - y²) Σ c x` in rows of `widths[0]`, those of `y` being `widths[1]` long.
pub(crate) fn tanh_slope<T: Real>(
    level: Level,
    factors: &[T],
    terms: &[&[T]],
    y: &[T],
    widths: [usize; 2],
) -> Vec<T> {
    filled(terms[0].len(), widths[0], |start, out| {
        let y = &y[start / widths[0] * widths[1]..];
        let parts = parts(terms, start, out.len());
        T::tanh_slope(level, factors, &parts, y, widths, out);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tangent_is_exact_to_rounding() {
        for level in Level::available() {
            let x: Vec<f64> = (-60_000..60_000)
                .map(|at| f64::from(at) * 5e-4)
                .chain([1e-12, -3e-9, 1e-300, f64::INFINITY, f64::NEG_INFINITY])
                .collect();
            let found = tanh(level, &[1.0], &[&x], [&[0.0], &[]]);
            for (x, y) in x.iter().zip(found) {
                let expected = x.tanh();
                assert!((y - expected).abs() <= 8e-16 * expected.abs(), "{x}: {y}");
            }
            assert!(tanh(level, &[1.0], &[&[f64::NAN]], [&[0.0], &[]])[0].is_nan());
            let x: Vec<f32> = (-40_000..40_000).map(|at| at as f32 * 2.5e-4).collect();
            let found = tanh(level, &[1.0], &[&x], [&[0.0], &[]]);
            for (x, y) in x.iter().zip(found) {
                let expected = f64::from(*x).tanh();
                let error = (f64::from(y) - expected).abs();
                assert!(error <= 4e-7 * expected.abs(), "{x}: {y}");
            }
        }
    }

    #[test]
    fn sums_of_several_blocks_are_those_of_one_value_each() {
        let len = 3 * CHUNK + 777;
        let term = |seed: usize| -> Vec<f64> {
            let values = (0..len).map(|at| ((at * seed) % 1013) as f64 / 500.0 - 1.0);
            values.collect()
        };
        let terms = [term(7), term(31), term(101)];
        let slices: Vec<&[f64]> = terms.iter().map(Vec::as_slice).collect();
        let factors = [1.0, -0.5, 0.25];
        for level in Level::available() {
            let found = sum(level, &factors, &slices);
            let total = squares(level, &factors, &slices, [slices[0], slices[1]], [0.1, 0.2]);
            let slope = tanh_slope(level, &factors, &slices, slices[2], [len, len]);
            let mut expected = 0.0;
            for at in 0..len {
                let [a, b, c] = [0, 1, 2].map(|term| terms[term][at]);
                let sum = a - 0.5 * b + 0.25 * c;
                assert!((found[at] - sum).abs() < 1e-14);
                assert!((slope[at] - sum * (1.0 - c * c)).abs() < 1e-14);
                expected += (sum / (0.1 + 0.2 * a.abs().max(b.abs()))).powi(2);
            }
            assert!((total / expected - 1.0).abs() < 1e-12);

            // Rows of 1 000 with two further values, and back.
            let rows = 40;
            let part = |term: &[f64]| term[..1_000 * rows].to_vec();
            let parts = [0, 1, 2].map(|term| part(slices[term]));
            let parts: Vec<&[f64]> = parts.iter().map(Vec::as_slice).collect();
            let row = &slices[1][5..1_005];
            let y = tanh(level, &factors, &parts, [row, &[1.0, 0.3]]);
            assert_eq!(y.len(), 1_002 * rows);
            let back = tanh_slope(level, &[2.0], &parts[..1], &y, [1_000, 1_002]);
            for at in 0..rows {
                let y = &y[1_002 * at..][..1_002];
                assert_eq!(y[1_000..], [1.0, 0.3]);
                for column in 0..1_000 {
                    let place = 1_000 * at + column;
                    let expected = (found[place] + row[column]).tanh();
                    assert!((y[column] - expected).abs() < 1e-15);
                    let expected = 2.0 * parts[0][place] * (1.0 - y[column] * y[column]);
                    assert!((back[place] - expected).abs() < 1e-14);
                }
            }
        }
    }
}
