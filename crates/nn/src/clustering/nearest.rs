//! The nearest centre of every point of a block.

use crate::level::{Level, per_level};

/// Points that are compared at a time.
pub(super) const TILE: usize = 32;

/// Buffers of one thread.
#[derive(Default)]
pub(super) struct Nearest {
    /// A tile of points, one dimension after the other.
    tile: Vec<f32>,
    /// For each point the number of the nearest centre.
    pub labels: Vec<u32>,
    /// For each point the squared distance to it.
    pub distances: Vec<f32>,
}

impl Nearest {
    /// Fills [`labels`](Self::labels) and [`distances`](Self::distances) for `points`, `[n, dim]`,
    /// and `centres`, `[k, dim]`; of centres equally near the first counts.
    pub(super) fn find(&mut self, points: &[f32], centres: &[f32], dim: usize) {
        let count = points.len() / dim;
        self.tile.resize(dim * TILE, 0.0);
        self.labels.resize(count, 0);
        self.distances.resize(count, 0.0);
        let (tile, labels, distances) = (
            self.tile.as_mut_slice(),
            self.labels.as_mut_slice(),
            self.distances.as_mut_slice(),
        );
        per_level!(Level::detect(), find_body(
            points: &[f32], centres: &[f32], dim: usize,
            tile: &mut [f32], labels: &mut [u32], distances: &mut [f32]
        ));
    }
}

#[inline(always)]
fn find_body<const FMA: bool>(
    points: &[f32],
    centres: &[f32],
    dim: usize,
    tile: &mut [f32],
    labels: &mut [u32],
    distances: &mut [f32],
) {
    let parts = points.chunks(TILE * dim);
    let out = labels.chunks_mut(TILE).zip(distances.chunks_mut(TILE));
    for (points, (labels, distances)) in parts.zip(out) {
        for (lane, point) in points.chunks_exact(dim).enumerate() {
            for (axis, &value) in point.iter().enumerate() {
                tile[axis * TILE + lane] = value;
            }
        }
        let mut least = [f32::INFINITY; TILE];
        let mut nearest = [0_u32; TILE];
        for (number, centre) in centres.chunks_exact(dim).enumerate() {
            let mut sums = [0.0_f32; TILE];
            let (rows, _) = tile.as_chunks::<TILE>();
            for (row, &value) in rows.iter().zip(centre) {
                for lane in 0..TILE {
                    let difference = row[lane] - value;
                    sums[lane] = if FMA {
                        difference.mul_add(difference, sums[lane])
                    } else {
                        sums[lane] + difference * difference
                    };
                }
            }
            for lane in 0..TILE {
                let nearer = sums[lane] < least[lane];
                least[lane] = if nearer { sums[lane] } else { least[lane] };
                nearest[lane] = if nearer { number as u32 } else { nearest[lane] };
            }
        }
        let count = labels.len();
        labels.copy_from_slice(&nearest[..count]);
        distances.copy_from_slice(&least[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_finds_its_centre() {
        // More points than a tile, and a last tile that is not full.
        let points: Vec<f32> = (0..2 * 77).map(|at| (at * 37 % 101) as f32).collect();
        let centres: Vec<f32> = (0..2 * 5).map(|at| (at * 53 % 97) as f32).collect();
        let mut nearest = Nearest::default();
        nearest.find(&points, &centres, 2);
        assert_eq!(nearest.labels.len(), 77);
        for (at, point) in points.chunks(2).enumerate() {
            let distance = |centre: &[f32]| -> f32 {
                let pairs = point.iter().zip(centre);
                pairs.map(|(a, b)| (a - b) * (a - b)).sum()
            };
            let all: Vec<f32> = centres.chunks(2).map(distance).collect();
            let least = all.iter().copied().fold(f32::INFINITY, f32::min);
            let first = all.iter().position(|&distance| distance == least);
            assert_eq!(nearest.distances[at], least);
            assert_eq!(Some(nearest.labels[at] as usize), first);
        }
    }
}
