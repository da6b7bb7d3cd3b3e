//! Random numbers of the procedural data.

use rand::{Rng, RngExt};

/// `count` standard normal draws, by Box and Muller's transform.
pub(crate) fn normal(count: usize, rng: &mut impl Rng) -> Vec<f64> {
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

/// `rows` random directions of unit length, one after the other.
pub(crate) fn unit_rows(rows: usize, width: usize, rng: &mut impl Rng) -> Vec<f64> {
    let mut values = normal(rows * width, rng);
    for row in values.chunks_exact_mut(width) {
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        row.iter_mut().for_each(|value| *value /= length);
    }
    values
}
