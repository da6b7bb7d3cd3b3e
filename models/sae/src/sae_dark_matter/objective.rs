//! How well a prediction fits: R², fraction of variance unexplained, normalised error.

use super::rows::{chunks, same_shape};
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// The sums behind R² and the fraction of variance unexplained, over the scored rows, in `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    rows: usize,
    /// Taken off the targets, so that large means cost no digits: the first scored row.
    shift: Vec<f64>,
    /// Per dimension, of the shifted targets.
    sums: Vec<f64>,
    squares: Vec<f64>,
    /// Per dimension, of target minus prediction.
    residuals: Vec<f64>,
}

impl Score {
    /// Holds a prediction against its target, both `[rows, width]`, over the rows that `keep`
    /// keeps.
    ///
    /// # Errors
    /// [`Error::Input`] if the shapes differ, a value is not finite or no row is kept.
    pub fn of_rows(
        target: &Tensor<2>,
        prediction: &Tensor<2>,
        keep: impl Fn(usize) -> bool,
    ) -> Result<Self> {
        same_shape("the prediction", prediction, target)?;
        let [_, width] = target.dims();
        let mut score = Self {
            rows: 0,
            shift: Vec::new(),
            sums: vec![0.0; width],
            squares: vec![0.0; width],
            residuals: vec![0.0; width],
        };
        chunks([target, prediction], |rows, [target, prediction]| {
            let pairs = target.chunks_exact(width.max(1));
            let pairs = pairs.zip(prediction.chunks_exact(width.max(1)));
            for (row, (target, prediction)) in pairs.enumerate() {
                if keep(rows.start + row) {
                    score.add(target, prediction);
                }
            }
            Ok(())
        })?;
        if score.rows == 0 {
            return Err(Error::input(
                "the number of scored rows",
                0,
                "must be at least 1",
            ));
        }
        Ok(score)
    }

    /// [`of_rows`](Self::of_rows) over all rows.
    ///
    /// # Errors
    /// As there.
    pub fn of(target: &Tensor<2>, prediction: &Tensor<2>) -> Result<Self> {
        Self::of_rows(target, prediction, |_| true)
    }

    fn add(&mut self, target: &[f32], prediction: &[f32]) {
        if self.rows == 0 {
            self.shift = target.iter().map(|&value| value.into()).collect();
        }
        self.rows += 1;
        for dim in 0..target.len() {
            let (y, guess) = (f64::from(target[dim]), f64::from(prediction[dim]));
            let shifted = y - self.shift[dim];
            self.sums[dim] += shifted;
            self.squares[dim] += shifted * shifted;
            self.residuals[dim] += (y - guess) * (y - guess);
        }
    }

    /// Sum of squared deviations from the mean, of one dimension.
    fn variation(&self, dim: usize) -> f64 {
        (self.squares[dim] - self.sums[dim] * self.sums[dim] / self.rows as f64).max(0.0)
    }

    /// R² of each dimension, `1 - SS_res / SS_tot`.
    ///
    /// # Errors
    /// [`Error::Input`] for a dimension whose target does not vary: it has no R².
    pub fn r2_per_dimension(&self) -> Result<Vec<f64>> {
        (0..self.sums.len())
            .map(|dim| match self.variation(dim) {
                total if total > 0.0 => Ok(1.0 - self.residuals[dim] / total),
                _ => Err(Error::input(
                    format!("the variance of target dimension {dim}"),
                    0,
                    "R² is defined for targets that vary over the scored rows",
                )),
            })
            .collect()
    }

    /// R², the mean over the dimensions: the paper's number for error vectors.
    ///
    /// # Errors
    /// As [`r2_per_dimension`](Self::r2_per_dimension).
    pub fn r2(&self) -> Result<f64> {
        let each = self.r2_per_dimension()?;
        Ok(each.iter().sum::<f64>() / each.len() as f64)
    }

    /// One R² over all entries with one scalar mean: the number of the synthetic experiment.
    ///
    /// # Errors
    /// [`Error::Input`] if all entries are equal.
    pub fn global_r2(&self) -> Result<f64> {
        let rows = self.rows as f64;
        let shift = self.shift.iter().sum::<f64>() / self.shift.len() as f64;
        let (mut sum, mut squares) = (0.0, 0.0);
        for dim in 0..self.sums.len() {
            let offset = self.shift[dim] - shift;
            sum += self.sums[dim] + rows * offset;
            squares += self.squares[dim] + 2.0 * offset * self.sums[dim] + rows * offset * offset;
        }
        let total = squares - sum * sum / (rows * self.sums.len() as f64);
        self.ratio(total).map(|unexplained| 1.0 - unexplained)
    }

    /// Fraction of variance unexplained, `Σ‖x - y‖² / Σ‖x - mean(x)‖²`.
    ///
    /// # Errors
    /// [`Error::Input`] if no dimension varies.
    pub fn fvu(&self) -> Result<f64> {
        self.ratio((0..self.sums.len()).map(|dim| self.variation(dim)).sum())
    }

    fn ratio(&self, total: f64) -> Result<f64> {
        if total > 0.0 {
            return Ok(self.residuals.iter().sum::<f64>() / total);
        }
        Err(Error::input(
            "the variance of the target",
            0,
            "unexplained variance is defined for targets that vary over the scored rows",
        ))
    }
}

/// Squared error over squared length, each the mean over dimensions, then the mean over tokens.
///
/// # Errors
/// [`Error::Input`] if the shapes differ, a value is not finite, a row is zero or there is none.
pub fn normalized_error(x: &Tensor<2>, reconstruction: &Tensor<2>) -> Result<f64> {
    same_shape("the reconstruction", reconstruction, x)?;
    let [rows, width] = x.dims();
    if rows == 0 || width == 0 {
        return Err(Error::input(
            "the activations",
            x.dims(),
            "must not be empty",
        ));
    }
    let mut sum = 0.0;
    chunks([x, reconstruction], |range, [x, y]| {
        for (row, (x, y)) in x.chunks_exact(width).zip(y.chunks_exact(width)).enumerate() {
            let mut error = 0.0;
            let mut length = 0.0;
            for (&x, &y) in x.iter().zip(y) {
                let (x, y) = (f64::from(x), f64::from(y));
                error += (y - x) * (y - x);
                length += x * x;
            }
            if length == 0.0 {
                return Err(Error::input(
                    format!("the norm of row {}", range.start + row),
                    0,
                    "the normalised error divides by it",
                ));
            }
            sum += error / length;
        }
        Ok(())
    })?;
    Ok(sum / rows as f64)
}
