//! Operations on every value alone, in one pass over memory, and the mean of such.

use super::micro::Level;
use super::rows::{CHUNK, exp};
use super::sparse::per_level;
use rayon::prelude::*;

/// Lanes of a partial sum.
const WIDTH: usize = 32;

/// Where the series of the hyperbolic tangent holds: the first term left out is below half a unit in the
/// last place.
const NEAR: f32 = 0.3;
/// Its terms in `x³`, `x⁵`, `x⁷` and `x⁹`.
const SERIES: [f32; 4] = [-1.0 / 3.0, 2.0 / 15.0, -17.0 / 315.0, 62.0 / 2835.0];

#[inline(always)]
fn leaky_gradient_body<const FMA: bool>(slope: f32, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
        *dx = if y > 0.0 { dy } else { dy * slope };
    }
}

/// The gradient before a leaky ReLU with a slope of at least 0, from what it has made and the gradient after
/// it.
pub(crate) fn leaky_gradient(level: Level, slope: f32, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    let inputs = y.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
    let chunks = dx.par_chunks_mut(CHUNK).zip(inputs);
    chunks.for_each(|(dx, (y, dy))| {
        per_level!(level, leaky_gradient_body(slope: f32, y: &[f32], dy: &[f32], dx: &mut [f32]));
    });
}

#[inline(always)]
fn tanh_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        // tanh x = (1 - e) / (1 + e) with e = e^(-2 |x|); near zero, where the difference would lose
        // its digits, the first terms of the series.
        let e = exp::<FMA>(-2.0 * x.abs());
        let far = (1.0 - e) / (1.0 + e);
        let square = x * x;
        let series = SERIES
            .iter()
            .rev()
            .fold(0.0, |sum, term| sum * square + term);
        let near = x.abs() * (1.0 + square * series);
        let value = if x.abs() < NEAR { near } else { far };
        // With the sign of x; a NaN stays one.
        *y = if x < 0.0 { -value } else { value };
    }
}

/// The hyperbolic tangent.
pub(crate) fn tanh(level: Level, x: &[f32], y: &mut [f32]) {
    let chunks = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(y, x)| per_level!(level, tanh_body(x: &[f32], y: &mut [f32])));
}

#[inline(always)]
fn tanh_gradient_body<const FMA: bool>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
        // 1 - tanh² x = 4 e / (1 + e)² with e = e^(-2 |x|), in which no digits cancel.
        let e = exp::<FMA>(-2.0 * x.abs());
        let sum = 1.0 + e;
        *dx = dy * (4.0 * e / (sum * sum));
    }
}

/// The gradient before [`tanh`], from its input.
pub(crate) fn tanh_gradient(level: Level, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let inputs = x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
    let chunks = dx.par_chunks_mut(CHUNK).zip(inputs);
    chunks.for_each(|(dx, (x, dy))| {
        per_level!(level, tanh_gradient_body(x: &[f32], dy: &[f32], dx: &mut [f32]));
    });
}

#[inline(always)]
fn squares_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; WIDTH];
    let (a_whole, a_rest) = a.as_chunks::<WIDTH>();
    let (b_whole, b_rest) = b.as_chunks::<WIDTH>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for lane in 0..WIDTH {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    let rest = a_rest.iter().zip(b_rest);
    sums.iter().sum::<f32>() + rest.map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
}

/// The mean of `(a - b)²`. The order of the sums does not depend on the number of threads.
pub(crate) fn mean_squared_error(level: Level, a: &[f32], b: &[f32]) -> f32 {
    let parts: Vec<f32> = a
        .par_chunks(CHUNK)
        .zip(b.par_chunks(CHUNK))
        .map(|(a, b)| per_level!(level, squares_body(a: &[f32], b: &[f32]) -> f32))
        .collect();
    let sum: f64 = parts.into_iter().map(f64::from).sum();
    (sum / a.len() as f64) as f32
}

#[inline(always)]
fn scaled_difference_body<const FMA: bool>(scale: f32, a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = scale * (a - b);
    }
}

/// `scale (a - b)`: with `2 / len` times the gradient of the mean, the gradient of
/// [`mean_squared_error`]'s `a`.
pub(crate) fn scaled_difference(level: Level, scale: f32, a: &[f32], b: &[f32], out: &mut [f32]) {
    let inputs = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
    let chunks = out.par_chunks_mut(CHUNK).zip(inputs);
    chunks.for_each(|(out, (a, b))| {
        per_level!(level, scaled_difference_body(scale: f32, a: &[f32], b: &[f32], out: &mut [f32]));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tangent_is_exact_to_rounding() {
        let x: Vec<f32> = (-40_000..40_000).map(|at| at as f32 * 2.5e-4).collect();
        for level in Level::available() {
            let mut y = vec![0.0; x.len()];
            tanh(level, &x, &mut y);
            for (x, y) in x.iter().zip(&y) {
                let expected = f64::from(*x).tanh();
                let error = (f64::from(*y) - expected).abs();
                assert!(
                    error <= 3e-7 * expected.abs().max(1e-6),
                    "{x}: {y}, not {expected}"
                );
            }
        }
        let mut y = [0.0; 3];
        tanh(
            Level::detect(),
            &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY],
            &mut y,
        );
        assert!(y[0].is_nan() && y[1] == 1.0 && y[2] == -1.0);
    }
}
