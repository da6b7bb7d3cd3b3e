//! GELU, exact and with the approximation by tanh.

use super::micro::Level;
use super::rows::{CHUNK, exp, fma};
use super::sparse::per_level;
use rayon::prelude::*;

/// Which GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gelu {
    /// `x Φ(x)`, `Φ` the distribution function of the standard normal.
    Exact,
    /// `x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    Tanh,
}

/// Twice the argument of the tanh, and its derivative.
#[inline(always)]
fn argument<const FMA: bool>(x: f32) -> (f32, f32) {
    // 2 sqrt(2 / pi).
    const SLOPE: f32 = 1.595_769;
    let square = x * x;
    let value = SLOPE * x * fma::<FMA>(square, 0.044_715, 1.0);
    (value, SLOPE * fma::<FMA>(square, 3.0 * 0.044_715, 1.0))
}

/// `Φ(x)` and `e^(-x²/2)`.
///
/// Below zero `Φ(x) = e^(-x²/2) t P(t)` with `t = 1 / (1 + 0.35 |x|)`; the polynomial is the minimax
/// fit of its relative error, 3e-8 before rounding.
#[inline(always)]
fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    let t = 1.0 / fma::<FMA>(x.abs(), 0.35, 1.0);
    let mut sum = -0.029_145_94;
    for coefficient in [
        0.143_971_74,
        -0.255_714_34,
        0.159_174_26,
        -0.023_109_9,
        0.105_508_03,
        0.119_832_86,
        0.139_861_87,
        0.139_621_4,
    ] {
        sum = fma::<FMA>(sum, t, coefficient);
    }
    let bell = exp::<FMA>(-0.5 * x * x);
    let tail = bell * sum * t;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

#[inline(always)]
fn exact_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * normal::<FMA>(x).0;
    }
}

#[inline(always)]
fn tanh_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        // 1 + tanh(u) = 2 / (1 + e^(-2u))
        *y = x / (1.0 + exp::<FMA>(-argument::<FMA>(x).0));
    }
}

#[inline(always)]
fn exact_backward_body<const FMA: bool>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    // 1 / sqrt(2 pi).
    const PEAK: f32 = 0.398_942_3;
    for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
        let (below, bell) = normal::<FMA>(x);
        *dx = dy * fma::<FMA>(x * PEAK, bell, below);
    }
}

#[inline(always)]
fn tanh_backward_body<const FMA: bool>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
        let (argument, slope) = argument::<FMA>(x);
        let gate = 1.0 / (1.0 + exp::<FMA>(-argument));
        *dx = dy * fma::<FMA>(x * slope * gate, 1.0 - gate, gate);
    }
}

impl Gelu {
    /// GELU of `x`.
    pub(crate) fn forward(self, level: Level, x: &[f32], y: &mut [f32]) {
        let chunks = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
        chunks.for_each(|(y, x)| match self {
            Self::Exact => per_level!(level, exact_body(x: &[f32], y: &mut [f32])),
            Self::Tanh => per_level!(level, tanh_body(x: &[f32], y: &mut [f32])),
        });
    }

    /// The gradient of [`Self::forward`]'s `x`.
    pub(crate) fn backward(self, level: Level, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        let inputs = x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
        let chunks = dx.par_chunks_mut(CHUNK).zip(inputs);
        chunks.for_each(|(dx, (x, dy))| match self {
            Self::Exact => {
                per_level!(level, exact_backward_body(x: &[f32], dy: &[f32], dx: &mut [f32]));
            }
            Self::Tanh => {
                per_level!(level, tanh_backward_body(x: &[f32], dy: &[f32], dx: &mut [f32]));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_function_is_exact_to_rounding() {
        // Φ by its series around zero, and by its continued fraction in the tail.
        let series = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for k in 1..120 {
                term *= x * x / f64::from(2 * k + 1);
                sum += term;
            }
            0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
        };
        let tail = |x: f64| {
            let fraction = (1..200)
                .rev()
                .fold(0.0, |rest, k| f64::from(k) / (x + rest));
            (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt() / (x + fraction)
        };
        for step in -1300..=1300 {
            let x = step as f32 * 0.01;
            let wide = f64::from(x);
            let expected = match wide {
                x if x < -3.0 => tail(-x),
                x if x > 3.0 => 1.0 - tail(x),
                x => series(x),
            };
            for (ours, _) in [normal::<true>(x), normal::<false>(x)] {
                let error = (f64::from(ours) / expected - 1.0).abs();
                // e^(-x²/2) inherits the rounding of x².
                let bound = 4e-7 + 6e-8 * wide * wide;
                assert!(error < bound, "{x}: {error}");
            }
        }
        assert!(normal::<true>(f32::NAN).0.is_nan());
    }
}
