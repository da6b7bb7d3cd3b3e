//! Principal components, the linear features of the comparison.

use super::scaling::check_finite;
use menagerie_core::{Error, Result};
use menagerie_nn::clustering::Points;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Sweeps of the eigenvalue iteration; a handful suffices.
const SWEEPS: usize = 64;

/// The principal components of centred points, the largest variance first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pca {
    /// The mean of the points, `[dim]`.
    pub mean: Vec<f64>,
    /// The components, `[dim, dim]`, one per row; the loading of the largest magnitude is positive.
    pub components: Vec<Vec<f64>>,
    /// The variance along each (divisor `n − 1`), `[dim]`.
    pub variance: Vec<f64>,
}

impl Pca {
    /// The components of points, which are centred but not scaled further. Reads them twice.
    ///
    /// # Errors
    /// [`Error::Input`] if there are fewer than two points, or a value is not finite; what the points
    /// report.
    pub fn fit<P: Points + ?Sized>(points: &P) -> Result<Self> {
        let dim = points.dim();
        let sums =
            |add: &(dyn Fn(&[f32], &mut [f64]) + Sync), size: usize| -> Result<(Vec<f64>, usize)> {
                let parts: Result<Vec<(Vec<f64>, usize)>> = (0..points.blocks())
                    .into_par_iter()
                    .map_init(Vec::new, |buffer, index| {
                        let block = points.block(index, buffer)?;
                        check_finite(block)?;
                        let mut sums = vec![0.0; size];
                        for point in block.chunks_exact(dim) {
                            add(point, &mut sums);
                        }
                        Ok((sums, block.len() / dim))
                    })
                    .collect();
                let mut total = (vec![0.0; size], 0);
                for (part, count) in parts? {
                    for (total, part) in total.0.iter_mut().zip(part) {
                        *total += part;
                    }
                    total.1 += count;
                }
                Ok(total)
            };
        let add_values = |point: &[f32], sums: &mut [f64]| {
            for (sum, &value) in sums.iter_mut().zip(point) {
                *sum += f64::from(value);
            }
        };
        let (mut mean, count) = sums(&add_values, dim)?;
        if count < 2 {
            let rule = "principal components need at least 2";
            return Err(Error::input("the number of points", count, rule));
        }
        mean.iter_mut().for_each(|sum| *sum /= count as f64);
        let add_products = |point: &[f32], sums: &mut [f64]| {
            for (a, sums) in sums.chunks_exact_mut(dim).enumerate() {
                let left = f64::from(point[a]) - mean[a];
                for (b, sum) in sums.iter_mut().enumerate() {
                    *sum += left * (f64::from(point[b]) - mean[b]);
                }
            }
        };
        let (products, _) = sums(&add_products, dim * dim)?;
        let covariance = products
            .chunks_exact(dim)
            .map(|row| row.iter().map(|sum| sum / (count - 1) as f64).collect())
            .collect();
        let (variance, components) = eigen(covariance);
        Ok(Self {
            mean,
            components,
            variance,
        })
    }

    /// The share of the variance along each component.
    pub fn ratio(&self) -> Vec<f64> {
        let total: f64 = self.variance.iter().sum();
        // Points that all coincide vary in no direction.
        let share = |variance: &f64| if total > 0.0 { variance / total } else { 0.0 };
        self.variance.iter().map(share).collect()
    }

    /// The smallest number of leading components whose shares add up to at least `threshold`.
    pub fn select(&self, threshold: f64) -> usize {
        let mut sum = 0.0;
        let reaches = self.ratio().iter().position(|ratio| {
            sum += ratio;
            sum >= threshold
        });
        reaches.map_or(self.components.len(), |last| last + 1)
    }

    /// Points `[n, dim]` along the first `count` components, `[n, count]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the points are not of `dim` values or there are not so many components.
    pub fn project(&self, points: &[f32], count: usize) -> Result<Vec<f32>> {
        let dim = self.mean.len();
        if !points.len().is_multiple_of(dim) {
            let rule = format!("must be a multiple of {dim}, the values of a point");
            return Err(Error::input("the number of values", points.len(), rule));
        }
        if count == 0 || count > dim {
            let rule = format!("must lie in 1..={dim}");
            return Err(Error::input("the number of components", count, rule));
        }
        let mut projected = Vec::with_capacity(points.len() / dim * count);
        for point in points.chunks_exact(dim) {
            for component in &self.components[..count] {
                let pairs = point.iter().zip(&self.mean).zip(component);
                let sum: f64 = pairs
                    .map(|((&value, mean), loading)| (f64::from(value) - mean) * loading)
                    .sum();
                projected.push(sum as f32);
            }
        }
        Ok(projected)
    }
}

/// Eigenvalues of a symmetric matrix in descending order and their vectors, one per row (Jacobi's
/// rotations). A vector's entry of the largest magnitude is positive.
fn eigen(mut matrix: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let size = matrix.len();
    let mut vectors: Vec<Vec<f64>> = (0..size)
        .map(|row| {
            (0..size)
                .map(|column| f64::from(u8::from(row == column)))
                .collect()
        })
        .collect();
    for _ in 0..SWEEPS {
        let off: f64 = (0..size)
            .flat_map(|a| (0..a).map(move |b| (a, b)))
            .map(|(a, b)| matrix[a][b].powi(2))
            .sum();
        let diagonal: f64 = (0..size).map(|at| matrix[at][at].powi(2)).sum();
        if off <= 1e-30 * diagonal {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(&mut matrix, &mut vectors, p, q);
            }
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| matrix[b][b].total_cmp(&matrix[a][a]));
    let values = order.iter().map(|&at| matrix[at][at].max(0.0)).collect();
    let vectors = order
        .iter()
        .map(|&column| {
            let vector: Vec<f64> = vectors.iter().map(|row| row[column]).collect();
            let largest = vector
                .iter()
                .copied()
                .reduce(|a, b| if b.abs() > a.abs() { b } else { a });
            let sign = largest.unwrap_or(1.0).signum();
            vector.into_iter().map(|value| sign * value).collect()
        })
        .collect();
    (values, vectors)
}

/// Makes `matrix[p][q]` zero by turning the axes `p` and `q`.
fn rotate(matrix: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) {
    if matrix[p][q] == 0.0 {
        return;
    }
    let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    for row in matrix.iter_mut() {
        let (a, b) = (row[p], row[q]);
        row[p] = c * a - s * b;
        row[q] = s * a + c * b;
    }
    for column in 0..matrix.len() {
        let (a, b) = (matrix[p][column], matrix[q][column]);
        matrix[p][column] = c * a - s * b;
        matrix[q][column] = s * a + c * b;
    }
    for row in vectors.iter_mut() {
        let (a, b) = (row[p], row[q]);
        row[p] = c * a - s * b;
        row[q] = s * a + c * b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_nn::clustering::Rows;

    #[test]
    fn eigenvectors_are_turned_back_into_the_matrix() {
        let matrix = vec![
            vec![4.0, 1.0, -2.0],
            vec![1.0, 3.0, 0.5],
            vec![-2.0, 0.5, 5.0],
        ];
        let (values, vectors) = eigen(matrix.clone());
        assert!(values.is_sorted_by(|a, b| a >= b));
        for (a, row) in matrix.iter().enumerate() {
            for (b, &expected) in row.iter().enumerate() {
                let sum: f64 = (0..3)
                    .map(|k| values[k] * vectors[k][a] * vectors[k][b])
                    .sum();
                assert!((sum - expected).abs() < 1e-12, "{sum} is not {expected}");
            }
        }
    }

    #[test]
    fn a_line_has_one_component() {
        let values: Vec<f32> = (0..50)
            .flat_map(|at| [at as f32, 2.0 * at as f32 + 1.0])
            .collect();
        let points = Rows::new(&values, 2).unwrap();
        let pca = Pca::fit(&points).unwrap();
        assert_eq!(pca.select(0.999), 1);
        assert!((pca.components[0][1] / pca.components[0][0] - 2.0).abs() < 1e-12);
        let projected = pca.project(&values, 1).unwrap();
        let step = projected[1] - projected[0];
        assert!((step - 5.0_f32.sqrt()).abs() < 1e-5);
        let error = pca.project(&values, 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of components is 3: must lie in 1..=2"
        );
        let error = Pca::fit(&Rows::new(&values[..2], 2).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of points is 1: principal components need at least 2"
        );
        for wrong in [f32::NAN, f32::INFINITY] {
            let mut values = values.clone();
            values[31] = wrong;
            let error = Pca::fit(&Rows::new(&values, 2).unwrap()).unwrap_err();
            let text = error.to_string();
            assert!(
                text.ends_with(
                    "must be finite: leave pixels without data out, as ScenePixels does"
                ) && text.starts_with(&format!("a value is {wrong:?}: ")),
                "{text}"
            );
        }
        // Points that coincide have no variance, and one component as good as any.
        let same = Pca::fit(&Rows::new(&[3.0; 8], 2).unwrap()).unwrap();
        assert_eq!((same.ratio(), same.select(0.9)), (vec![0.0; 2], 2));
    }
}
