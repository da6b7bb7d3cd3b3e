//! Standard normal numbers.

use rand::{Rng, RngExt};

/// `count` draws, by Box and Muller's transform.
pub(super) fn normal(count: usize, rng: &mut impl Rng) -> Vec<f64> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        let radius = (-2.0 * (1.0 - u).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
        values.extend([radius * cos, radius * sin]);
    }
    values.truncate(count);
    values
}
