//! Singular value decomposition on the host, in double precision.

/// The thin decomposition of a matrix `[rows, columns]`: `U S Vᵀ`, singular values descending.
#[derive(Clone, Debug)]
pub struct Svd {
    /// `[rows, rank]`, row by row.
    pub u: Vec<f64>,
    /// `[rank]`, descending.
    pub s: Vec<f64>,
    /// `[rank, columns]`, row by row.
    pub vt: Vec<f64>,
    /// The smaller of rows and columns.
    pub rank: usize,
}

/// Sweeps after which rotations stop; a dozen are enough for any matrix of practice.
const SWEEPS: usize = 60;

/// Decomposes `matrix [rows, columns]`, row by row, by one-sided Jacobi rotations.
///
/// # Panics
/// If the matrix is not of that size.
pub fn svd(matrix: &[f64], rows: usize, columns: usize) -> Svd {
    assert_eq!(matrix.len(), rows * columns, "svd: size");
    if rows > columns {
        // Of the transpose; its factors change places.
        let Svd { u, s, vt, rank } = svd(&transposed(matrix, rows, columns), columns, rows);
        return Svd {
            u: transposed(&vt, rank, rows),
            vt: transposed(&u, columns, rank),
            s,
            rank,
        };
    }
    // Rows are made orthogonal: `left · matrix = S Vᵀ`.
    let mut vectors: Vec<Vec<f64>> = matrix.chunks(columns.max(1)).map(<[f64]>::to_vec).collect();
    vectors.resize(rows, Vec::new());
    let mut left: Vec<Vec<f64>> = (0..rows)
        .map(|row| (0..rows).map(|at| f64::from(u8::from(at == row))).collect())
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for first in 0..rows {
            for second in first + 1..rows {
                let (a, b) = (&vectors[first], &vectors[second]);
                let (alpha, beta, gamma) = (dot(a, a), dot(b, b), dot(a, b));
                if gamma.abs() <= 1e-15 * (alpha * beta).sqrt() || gamma == 0.0 {
                    continue;
                }
                rotated = true;
                let zeta = (beta - alpha) / (2.0 * gamma);
                let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let tangent = if zeta == 0.0 { 1.0 } else { tangent };
                let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
                let sine = cosine * tangent;
                for set in [&mut vectors, &mut left] {
                    let (head, tail) = set.split_at_mut(second);
                    for (a, b) in head[first].iter_mut().zip(&mut tail[0]) {
                        (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
                    }
                }
            }
        }
        if !rotated {
            break;
        }
    }
    let lengths: Vec<f64> = vectors.iter().map(|row| dot(row, row).sqrt()).collect();
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by(|a, b| lengths[*b].total_cmp(&lengths[*a]));
    let mut found = Svd {
        u: vec![0.0; rows * rows],
        s: order.iter().map(|at| lengths[*at]).collect(),
        vt: Vec::with_capacity(rows * columns),
        rank: rows,
    };
    for (rank, &at) in order.iter().enumerate() {
        for row in 0..rows {
            found.u[row * rows + rank] = left[at][row];
        }
        let length = lengths[at];
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        found
            .vt
            .extend(vectors[at].iter().map(|value| value * scale));
    }
    found
}

impl Svd {
    /// The best approximation of rank `rank`, `[rows, columns]`, row by row.
    pub fn truncated(&self, rank: usize) -> Vec<f64> {
        let rows = self.u.len() / self.rank.max(1);
        let columns = self.vt.len() / self.rank.max(1);
        let mut product = vec![0.0; rows * columns];
        for row in 0..rows {
            for at in 0..rank.min(self.rank) {
                let weight = self.u[row * self.rank + at] * self.s[at];
                let line = &self.vt[at * columns..(at + 1) * columns];
                let target = &mut product[row * columns..(row + 1) * columns];
                for (value, v) in target.iter_mut().zip(line) {
                    *value += weight * v;
                }
            }
        }
        product
    }
}

fn transposed(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..rows * columns)
        .map(|at| matrix[at % rows * columns + at / rows])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_multiply_to_the_matrix_and_are_orthogonal() {
        for (rows, columns) in [(4, 7), (7, 4), (5, 5), (1, 3)] {
            let matrix: Vec<f64> = (0..rows * columns)
                .map(|at| ((at * 7919 % 1009) as f64 / 500.0) - 1.0)
                .collect();
            let found = svd(&matrix, rows, columns);
            assert!(found.s.is_sorted_by(|a, b| a >= b));
            for (a, b) in found.truncated(found.rank).iter().zip(&matrix) {
                assert!((a - b).abs() < 1e-12, "{rows}×{columns}");
            }
            for i in 0..found.rank {
                for j in 0..found.rank {
                    let line = |at: usize| &found.vt[at * columns..(at + 1) * columns];
                    let dot: f64 = line(i).iter().zip(line(j)).map(|(a, b)| a * b).sum();
                    assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn a_matrix_of_low_rank_has_few_singular_values() {
        // The product of a column and a row.
        let matrix: Vec<f64> = (0..12)
            .map(|at| ((at / 4 + 1) * (at % 4 + 1)) as f64)
            .collect();
        let found = svd(&matrix, 3, 4);
        assert!((found.s[0] - (14.0f64 * 30.0).sqrt()).abs() < 1e-12);
        assert!(found.s[1] < 1e-12 && found.s[2] < 1e-12);
        assert_eq!(svd(&[0.0; 6], 2, 3).s, [0.0, 0.0]);
    }
}
