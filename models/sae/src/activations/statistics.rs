//! What is estimated of a data set before training.

use super::rows::ActivationSource;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// Mean norms of activations, for the two conventions of scaling a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norms {
    /// Width d of the activations.
    pub width: usize,
    /// Rows that were read.
    pub rows: usize,
    /// Mean of ‖x‖.
    pub mean: f64,
    /// Mean of ‖x‖².
    pub mean_square: f64,
}

impl Norms {
    /// Reads blocks of `source` until `rows` rows were seen or it ends (SAELens reads 1,000
    /// batches), and then goes back to where it was.
    ///
    /// # Errors
    /// Whatever the source reports; no rows, or only rows of zeros.
    pub fn estimate(source: &mut dyn ActivationSource, rows: usize) -> Result<Self> {
        let start = source.position();
        let mut seen = 0;
        let (mut sum, mut squares) = (0f64, 0f64);
        while seen < rows {
            let Some(block) = source.next()? else { break };
            for row in block.x().chunks_exact(block.width()) {
                let square: f64 = row.iter().map(|&value| f64::from(value).powi(2)).sum();
                sum += square.sqrt();
                squares += square;
            }
            seen += block.len();
        }
        source.seek(start)?;
        if sum == 0.0 {
            return Err(Error::input(
                "sum of the norms",
                sum,
                format!("must be above 0 over the {seen} rows of the source"),
            ));
        }
        Ok(Self {
            width: source.width(),
            rows: seen,
            mean: sum / seen as f64,
            mean_square: squares / seen as f64,
        })
    }

    /// s = √d / mean ‖x‖: activations times s have a mean norm of √d (SAELens'
    /// `expected_average_only_in`). Folded into the weights after training.
    pub fn expected_average_scale(&self) -> f64 {
        (self.width as f64).sqrt() / self.mean
    }

    /// √(mean ‖x‖²): activations divided by it have a mean squared norm of 1
    /// (dictionary_learning's `normalize_activations`).
    pub fn root_mean_square(&self) -> f64 {
        self.mean_square.sqrt()
    }
}

/// The point with the smallest sum of distances to the rows of `x` `[rows, width]`: the initial
/// b_dec of Bricken et al. and of Gao et al.
///
/// Weiszfeld's iteration from the mean, at most 100 steps, until a step is shorter than 1e-5. A
/// row that the iteration hits exactly counts as if it were 1e-12 away.
///
/// # Errors
/// No rows, and rows that are not finite.
pub fn geometric_median(x: Tensor<2>) -> Result<Tensor<1>> {
    const STEPS: usize = 100;
    const TOLERANCE: f64 = 1e-5;
    let [rows, _] = x.dims();
    if rows == 0 {
        return Err(Error::input(
            "rows of a geometric median",
            rows,
            "must be at least 1",
        ));
    }
    let length = |x: Tensor<2>| x.square().sum_dim(1).sqrt();
    let mut guess = x.clone().mean_dim(0);
    for _ in 0..STEPS {
        let distances = length(x.clone() - guess.clone()).clamp_min(1e-12);
        let weights = distances.recip();
        let weights = weights.clone() / weights.sum_dim(0);
        let next = (weights * x.clone()).sum_dim(0);
        let moved = length(next.clone() - guess).into_data();
        let moved = moved.iter::<f64>().next().unwrap_or(f64::NAN);
        guess = next;
        if moved.is_nan() {
            return Err(Error::input(
                "the rows of a geometric median",
                moved,
                "must be finite",
            ));
        }
        if moved < TOLERANCE {
            break;
        }
    }
    Ok(guess.squeeze_dim(0))
}
