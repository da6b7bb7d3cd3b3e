//! Pieces of one length.

use menagerie_core::Seed;
use rand::RngExt;

/// Where a piece of `size` samples starts in `len`: any place where it fits, 0 where none does.
pub fn draw(len: usize, size: usize, seed: Seed) -> usize {
    match len.checked_sub(size) {
        None | Some(0) => 0,
        Some(last) => seed.rng().random_range(0..=last),
    }
}

/// `size` samples from `start` on, followed by silence where the signal ends before.
pub fn take(samples: &[f32], start: usize, size: usize) -> Vec<f32> {
    let rest = samples.get(start..).unwrap_or_default();
    let mut piece = rest[..size.min(rest.len())].to_vec();
    piece.resize(size, 0.0);
    piece
}
