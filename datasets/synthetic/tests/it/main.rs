//! What the generators draw, and what they refuse.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod coverage;
mod grids;
mod invalid;

use menagerie_data_synthetic::Sprites;

/// The sum of all pixels.
fn mass(image: &[f32]) -> f64 {
    image.iter().copied().map(f64::from).sum()
}

/// The mean position `[x, y]` of the light, in pixels from the corner.
fn centroid(image: &[f32], side: usize) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for (at, value) in image.iter().enumerate() {
        sums[0] += f64::from(*value) * ((at % side) as f64 + 0.5);
        sums[1] += f64::from(*value) * ((at / side) as f64 + 0.5);
    }
    sums.map(|sum| sum / mass(image))
}

/// The image of these factors.
fn draw(sprites: &Sprites, factors: &[usize]) -> Vec<f32> {
    sprites.render(sprites.index_of(factors).unwrap()).unwrap()
}

/// `image` moved by whole pixels, dark where nothing moves in.
fn moved(image: &[f32], side: usize, right: usize, down: usize) -> Vec<f32> {
    let mut result = vec![0.0; image.len()];
    for row in down..side {
        for column in right..side {
            result[row * side + column] = image[(row - down) * side + column - right];
        }
    }
    result
}

#[track_caller]
fn assert_close(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{found} is not {expected} ± {tolerance}"
    );
}
