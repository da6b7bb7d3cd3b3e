//! Maps at twice and at half their size.

use super::rows::CHUNK;
use rayon::prelude::*;

/// Every value of planes `[h, w]` in a 2×2 square, times `factor`.
pub(crate) fn up(x: &[f32], [h, w]: [usize; 2], factor: f32, y: &mut [f32]) {
    let planes = x.par_chunks(h * w).zip(y.par_chunks_mut(4 * h * w));
    planes
        .with_min_len(CHUNK.div_ceil(4 * h * w))
        .for_each(|(x, y)| {
            let rows = x.chunks_exact(w).zip(y.chunks_exact_mut(4 * w));
            for (x, y) in rows {
                let (first, second) = y.split_at_mut(2 * w);
                for (y, &x) in first.as_chunks_mut::<2>().0.iter_mut().zip(x) {
                    *y = [x * factor; 2];
                }
                second.copy_from_slice(first);
            }
        });
}

/// The sums over 2×2 squares of planes `[2 h, 2 w]`, times `factor`.
pub(crate) fn down(x: &[f32], [h, w]: [usize; 2], factor: f32, y: &mut [f32]) {
    let planes = x.par_chunks(4 * h * w).zip(y.par_chunks_mut(h * w));
    planes
        .with_min_len(CHUNK.div_ceil(4 * h * w))
        .for_each(|(x, y)| {
            let rows = x.chunks_exact(4 * w).zip(y.chunks_exact_mut(w));
            for (x, y) in rows {
                let (first, second) = x.split_at(2 * w);
                let pairs = first.as_chunks::<2>().0.iter();
                let pairs = pairs.zip(second.as_chunks::<2>().0);
                for (y, ([a, b], [c, d])) in y.iter_mut().zip(pairs) {
                    *y = (a + b + c + d) * factor;
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_filled_and_summed() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut y = [0.0; 24];
        up(&x, [1, 3], 2.0, &mut y);
        let row = [2.0, 2.0, 4.0, 4.0, 6.0, 6.0];
        assert_eq!(y[..6], row);
        assert_eq!(y[6..12], row);
        let mut back = [0.0; 6];
        down(&y, [1, 3], 0.5, &mut back);
        assert_eq!(back, x.map(|value| 4.0 * value));
    }
}
