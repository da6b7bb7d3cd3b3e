//! Solving with a symmetric, positive semidefinite matrix by a Cholesky factor with diagonal
//! pivoting, which shows the rank.

use super::dense::{View, add_product};

/// Columns that are factored before the rest of the matrix is updated, and rows that are solved
/// before the rest of the right-hand sides is.
const BLOCK: usize = 64;

/// `P A Pᵀ = L Lᵀ` up to a remainder below the tolerance.
pub(super) struct Cholesky {
    size: usize,
    /// `[size, size]`; the first `rank` columns of the lower triangle hold L.
    values: Vec<f64>,
    /// Row `i` of the factor belongs to row `order[i]` of the matrix.
    order: Vec<usize>,
    pub rank: usize,
}

impl Cholesky {
    /// Factors the symmetric `matrix` `[size, size]` until no pivot exceeds `tolerance` times the
    /// largest one.
    pub fn new(mut matrix: Vec<f64>, size: usize, tolerance: f64) -> Self {
        assert_eq!(matrix.len(), size * size);
        let mut order: Vec<usize> = (0..size).collect();
        let mut largest = 0.0;
        let mut rank = 0;
        'blocks: for start in (0..size).step_by(BLOCK) {
            let end = (start + BLOCK).min(size);
            // What the columns of this block have taken from the diagonal.
            let mut taken = vec![0.0; size];
            for column in start..end {
                let left = |row: usize| matrix[row * size + row] - taken[row];
                let pivot = (column..size)
                    .max_by(|&a, &b| left(a).total_cmp(&left(b)))
                    .unwrap_or(column);
                let value = left(pivot);
                if column == 0 {
                    largest = value;
                }
                // A matrix of zeros (or one that is not positive) has rank 0.
                if value <= tolerance * largest || value <= 0.0 {
                    break 'blocks;
                }
                exchange(&mut matrix, size, column, pivot);
                order.swap(column, pivot);
                taken.swap(column, pivot);

                let root = value.sqrt();
                let (above, below) = matrix.split_at_mut((column + 1) * size);
                let pivot_row = &above[column * size..];
                for (offset, row) in below.chunks_exact_mut(size).enumerate() {
                    let (done, rest) = row.split_at_mut(column);
                    let products = done[start..].iter().zip(&pivot_row[start..column]);
                    let dot: f64 = products.map(|(a, b)| a * b).sum();
                    rest[0] = (rest[0] - dot) / root;
                    taken[column + 1 + offset] += rest[0] * rest[0];
                }
                matrix[column * size + column] = root;
                rank = column + 1;
            }
            let panel: Vec<f64> = (end..size)
                .flat_map(|row| &matrix[row * size..][start..end])
                .copied()
                .collect();
            if let Some(rest) = matrix.get_mut(end * size + end..) {
                let panel = View::new(&panel, size - end, end - start, end - start);
                add_product(rest, size, -1.0, panel, panel.transposed());
            }
        }
        Self {
            size,
            values: matrix,
            order,
            rank,
        }
    }

    /// The `[size, columns]` solution of `A x = b` of the least norm, each coordinate of x divided
    /// by its entry of `scale` before the norm is taken.
    ///
    /// With full rank there is only one. Otherwise the least-squares solution over the pivots is
    /// moved along the null space of A.
    pub fn solve(&self, b: &[f64], columns: usize, scale: &[f64]) -> Vec<f64> {
        let (size, rank) = (self.size, self.rank);
        let mut x: Vec<f64> = self.order[..rank]
            .iter()
            .flat_map(|&row| &b[row * columns..][..columns])
            .copied()
            .collect();
        self.lower(&mut x, columns);
        self.upper(&mut x, columns);
        if rank < size {
            x = self.least_norm(x, columns, scale);
        }
        let mut solution = vec![0.0; size * columns];
        for (&row, values) in self.order.iter().zip(x.chunks_exact(columns.max(1))) {
            solution[row * columns..][..columns].copy_from_slice(values);
        }
        solution
    }

    /// The null space is spanned by the columns of `N = [-L₁⁻ᵀ L₂ᵀ; 1]`, so the least solution
    /// is `x - N (Nᵀ N)⁻¹ Nᵀ x`, in scaled coordinates.
    fn least_norm(&self, mut x: Vec<f64>, columns: usize, scale: &[f64]) -> Vec<f64> {
        let (size, rank) = (self.size, self.rank);
        let free = size - rank;
        let mut null = vec![0.0; size * free];
        for row in rank..size {
            for column in 0..rank {
                null[column * free + row - rank] = -self.values[row * size + column];
            }
            null[row * free + row - rank] = 1.0;
        }
        self.upper(&mut null[..rank * free], free);
        let inverse: Vec<f64> = self.order.iter().map(|&row| 1.0 / scale[row]).collect();
        let weighted = |values: &[f64], columns: usize| -> Vec<f64> {
            let rows = values.chunks_exact(columns.max(1)).zip(&inverse);
            rows.flat_map(|(row, s)| row.iter().map(move |value| value * s * s))
                .collect()
        };
        x.resize(size * columns, 0.0);
        let view = View::new(&null, size, free, free);
        let (mut normal, mut along) = (vec![0.0; free * free], vec![0.0; free * columns]);
        let weighted_null = weighted(&null, free);
        let weighted_x = weighted(&x, columns);
        let (wn, wx) = (
            View::new(&weighted_null, size, free, free),
            View::new(&weighted_x, size, columns, columns),
        );
        add_product(&mut normal, free, 1.0, view.transposed(), wn);
        add_product(&mut along, columns, 1.0, view.transposed(), wx);
        // Of full rank: N holds a unit matrix.
        let steps = Self::new(normal, free, 0.0).solve(&along, columns, &vec![1.0; free]);
        let steps = View::new(&steps, free, columns, columns);
        add_product(&mut x, columns, -1.0, view, steps);
        x
    }

    /// `x ← L₁⁻¹ x` for `x` `[rank, columns]`.
    fn lower(&self, x: &mut [f64], columns: usize) {
        let size = self.size;
        for start in (0..self.rank).step_by(BLOCK) {
            let end = (start + BLOCK).min(self.rank);
            for row in start..end {
                let (solved, rest) = x.split_at_mut(row * columns);
                let factors = &self.values[row * size..][start..=row];
                let solved = solved[start * columns..].chunks_exact(columns.max(1));
                eliminate(
                    &mut rest[..columns],
                    solved.zip(factors),
                    factors[row - start],
                );
            }
            let (solved, rest) = x.split_at_mut(end * columns);
            let (height, width) = (self.rank - end, end - start);
            if height > 0 {
                let factor = View::new(&self.values[end * size + start..], height, width, size);
                let solved = View::new(&solved[start * columns..], width, columns, columns);
                add_product(rest, columns, -1.0, factor, solved);
            }
        }
    }

    /// `x ← L₁⁻ᵀ x` for `x` `[rank, columns]`.
    fn upper(&self, x: &mut [f64], columns: usize) {
        let size = self.size;
        for start in (0..self.rank).step_by(BLOCK).rev() {
            let end = (start + BLOCK).min(self.rank);
            for row in (start..end).rev() {
                let (head, solved) = x.split_at_mut((row + 1) * columns);
                let factors: Vec<f64> = (row + 1..end)
                    .map(|below| self.values[below * size + row])
                    .collect();
                let solved = solved.chunks_exact(columns.max(1)).zip(&factors);
                let target = &mut head[row * columns..];
                eliminate(target, solved, self.values[row * size + row]);
            }
            let (rest, solved) = x.split_at_mut(start * columns);
            if start > 0 {
                let (height, width) = (end - start, start);
                let factor = View::new(&self.values[start * size..], height, width, size);
                let solved = View::new(&solved[..height * columns], height, columns, columns);
                add_product(rest, columns, -1.0, factor.transposed(), solved);
            }
        }
    }
}

/// `target ← (target - Σ factor · row) / pivot`.
fn eliminate<'a>(
    target: &mut [f64],
    terms: impl Iterator<Item = (&'a [f64], &'a f64)>,
    pivot: f64,
) {
    for (row, factor) in terms {
        for (target, value) in target.iter_mut().zip(row) {
            *target -= factor * value;
        }
    }
    for target in target {
        *target /= pivot;
    }
}

/// Exchanges two rows and the two columns of the same numbers.
fn exchange(matrix: &mut [f64], size: usize, a: usize, b: usize) {
    if a == b {
        return;
    }
    let (a, b) = (a.min(b), a.max(b));
    let (above, below) = matrix.split_at_mut(b * size);
    above[a * size..][..size].swap_with_slice(&mut below[..size]);
    for row in matrix.chunks_exact_mut(size) {
        row.swap(a, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_core::Seed;
    use rand::RngExt;

    fn random(rows: usize, columns: usize, seed: u64) -> Vec<f64> {
        let mut rng = Seed(seed).rng();
        (0..rows * columns)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect()
    }

    fn product(a: View, b: View, rows: usize, columns: usize) -> Vec<f64> {
        let mut c = vec![0.0; rows * columns];
        add_product(&mut c, columns, 1.0, a, b);
        c
    }

    fn largest(values: &[f64]) -> f64 {
        values.iter().fold(0.0, |max, value| value.abs().max(max))
    }

    #[test]
    fn a_full_matrix_is_inverted_across_blocks() {
        let (size, columns) = (2 * BLOCK + 7, 3);
        let root = random(size + 20, size, 1);
        let root = View::new(&root, size + 20, size, size);
        let matrix = product(root.transposed(), root, size, size);
        let x = random(size, columns, 2);
        let b = product(
            View::new(&matrix, size, size, size),
            View::new(&x, size, columns, columns),
            size,
            columns,
        );
        let factor = Cholesky::new(matrix, size, 1e-14);
        assert_eq!(factor.rank, size);
        let solved = factor.solve(&b, columns, &vec![1.0; size]);
        let errors: Vec<f64> = solved.iter().zip(&x).map(|(a, b)| a - b).collect();
        assert!(largest(&errors) < 1e-8, "{}", largest(&errors));
    }

    #[test]
    fn a_deficient_matrix_gives_the_solution_of_least_norm() {
        let (size, rank, columns) = (BLOCK + 20, BLOCK + 3, 2);
        let root = random(rank, size, 3);
        let root = View::new(&root, rank, size, size);
        let matrix = product(root.transposed(), root, size, size);
        // Right-hand sides A x with x in the row space, where the least solution is x itself.
        let inner = random(rank, columns, 4);
        let inner = View::new(&inner, rank, columns, columns);
        let x = product(root.transposed(), inner, size, columns);
        let b = product(
            View::new(&matrix, size, size, size),
            View::new(&x, size, columns, columns),
            size,
            columns,
        );
        let factor = Cholesky::new(matrix, size, 1e-12);
        assert_eq!(factor.rank, rank);
        let solved = factor.solve(&b, columns, &vec![1.0; size]);
        let errors: Vec<f64> = solved.iter().zip(&x).map(|(a, b)| a - b).collect();
        assert!(
            largest(&errors) < 1e-6 * largest(&x),
            "{}",
            largest(&errors)
        );
    }

    #[test]
    fn nothing_is_solved_by_zero() {
        let factor = Cholesky::new(vec![0.0; 9], 3, 1e-12);
        assert_eq!(factor.rank, 0);
        assert_eq!(factor.solve(&[0.0; 3], 1, &[1.0; 3]), [0.0; 3]);
    }
}
