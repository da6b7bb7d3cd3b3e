//! The normal equations, summed over blocks of rows.

use super::{
    LeastSquaresConfig, LinearFit,
    dense::{View, add_product},
    factor::Cholesky,
    rows::{chunks, matching},
};
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// Rows that enter in one product.
const BLOCK: usize = 1024;
/// Columns of the Gram matrix in one product: what lies below its diagonal is left out, in steps
/// of this size.
const PANEL: usize = 256;

/// A least-squares fit in the making, for rows that arrive in batches.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use menagerie_nn::regression::{LeastSquares, LeastSquaresConfig};
///
/// let device = Device::default();
/// let mut sums = LeastSquares::new(1, 1, &LeastSquaresConfig::with_constant())?;
/// let x = Tensor::from_floats([[0.0], [1.0], [2.0]], &device);
/// sums.add(x.clone(), x * 3.0 + 1.0)?;
/// let fit = sums.solve()?;
/// assert!((fit.coefficients()[0] - 3.0).abs() < 1e-6);
/// # Ok::<(), menagerie_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LeastSquares {
    config: LeastSquaresConfig,
    inputs: usize,
    outputs: usize,
    rows: usize,
    /// With an intercept: taken off every row, so that large means cost no digits. The first row.
    shift: Option<(Vec<f64>, Vec<f64>)>,
    sums: (Vec<f64>, Vec<f64>),
    /// `xᵀx` `[inputs, inputs]`, on and above the diagonal.
    gram: Vec<f64>,
    /// `xᵀy` `[inputs, outputs]`.
    cross: Vec<f64>,
    /// Rows that wait for a product.
    x: Vec<f64>,
    y: Vec<f64>,
}

impl LeastSquares {
    /// No rows yet.
    ///
    /// # Errors
    /// If there are no inputs or outputs, and what [`LeastSquaresConfig::validate`] refuses.
    pub fn new(inputs: usize, outputs: usize, config: &LeastSquaresConfig) -> Result<Self> {
        config.validate()?;
        for (what, width) in [("inputs", inputs), ("outputs", outputs)] {
            if width == 0 {
                let what = format!("the number of {what} of a linear map");
                return Err(Error::input(what, width, "must be at least 1"));
            }
        }
        Ok(Self {
            config: config.clone(),
            inputs,
            outputs,
            rows: 0,
            shift: None,
            sums: (vec![0.0; inputs], vec![0.0; outputs]),
            gram: vec![0.0; inputs * inputs],
            cross: vec![0.0; inputs * outputs],
            x: Vec::new(),
            y: Vec::new(),
        })
    }

    /// Takes rows in: `x` `[rows, inputs]`, `y` `[rows, outputs]`.
    ///
    /// # Errors
    /// If shapes do not fit or a value is not finite.
    pub fn add(&mut self, x: Tensor<2>, y: Tensor<2>) -> Result<()> {
        self.add_where(x, y, |_| true)
    }

    /// [`add`](Self::add) of those rows, by their number in `x`, that `keep` keeps.
    ///
    /// # Errors
    /// If shapes do not fit or a value, kept or not, is not finite.
    pub fn add_where(
        &mut self,
        x: Tensor<2>,
        y: Tensor<2>,
        keep: impl Fn(usize) -> bool,
    ) -> Result<()> {
        matching("the targets", &y, &x)?;
        let widths = [x.dims()[1], y.dims()[1]];
        if widths != [self.inputs, self.outputs] {
            return Err(Error::input(
                "the widths of inputs and targets",
                widths,
                format!("must be {:?}", [self.inputs, self.outputs]),
            ));
        }
        chunks([&x, &y], |rows, [x, y]| {
            self.add_rows(&x, &y, |row| keep(rows.start + row));
        })
    }

    /// Takes those rows in that `keep` keeps.
    fn add_rows(&mut self, x: &[f32], y: &[f32], keep: impl Fn(usize) -> bool) {
        let rows = x
            .chunks_exact(self.inputs)
            .zip(y.chunks_exact(self.outputs));
        for (row, (x, y)) in rows.enumerate() {
            if !keep(row) {
                continue;
            }
            if self.config.intercept {
                let wide = |values: &[f32]| values.iter().map(|&value| value.into()).collect();
                let (at_x, at_y) = self.shift.get_or_insert_with(|| (wide(x), wide(y)));
                append(&mut self.x, &mut self.sums.0, x, at_x);
                append(&mut self.y, &mut self.sums.1, y, at_y);
            } else {
                self.x.extend(x.iter().map(|&value| f64::from(value)));
                self.y.extend(y.iter().map(|&value| f64::from(value)));
            }
            self.rows += 1;
            if self.x.len() == BLOCK * self.inputs {
                self.flush();
            }
        }
    }

    /// Adds the products of the waiting rows.
    fn flush(&mut self) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let rows = self.x.len() / inputs;
        if rows == 0 {
            return;
        }
        for start in (0..inputs).step_by(PANEL) {
            let width = PANEL.min(inputs - start);
            let panel = View::new(&self.x[start..], rows, width, inputs);
            let right = View::new(&self.x[start..], rows, inputs - start, inputs);
            let gram = &mut self.gram[start * inputs + start..];
            add_product(gram, inputs, 1.0, panel.transposed(), right);
        }
        let x = View::new(&self.x, rows, inputs, inputs);
        let y = View::new(&self.y, rows, outputs, outputs);
        add_product(&mut self.cross, outputs, 1.0, x.transposed(), y);
        self.x.clear();
        self.y.clear();
    }

    /// The fit of the rows so far.
    ///
    /// # Errors
    /// [`Error::Input`] if there are fewer rows than coefficients of one output; with a ridge, which
    /// decides between all maps that fit, if there is none.
    pub fn solve(mut self) -> Result<LinearFit> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let needed = match self.config.ridge > 0.0 {
            true => 1,
            false => inputs + usize::from(self.config.intercept),
        };
        if self.rows < needed {
            return Err(Error::input(
                "the number of training rows",
                self.rows,
                format!("a linear map of {inputs} inputs needs at least {needed}"),
            ));
        }
        self.flush();
        let count = self.rows as f64;
        if self.config.intercept {
            let (x, y) = (&self.sums.0, &self.sums.1);
            for row in 0..inputs {
                let mean = x[row] / count;
                for (column, x) in x.iter().enumerate().skip(row) {
                    self.gram[row * inputs + column] -= mean * x;
                }
                for (column, y) in y.iter().enumerate() {
                    self.cross[row * outputs + column] -= mean * y;
                }
            }
        }
        let lengths: Vec<f64> = (0..inputs)
            .map(|row| self.gram[row * inputs + row].max(0.0).sqrt())
            .map(|length| if length > 0.0 { length } else { 1.0 })
            .collect();
        for row in 0..inputs {
            for column in row..inputs {
                let value = self.gram[row * inputs + column] / (lengths[row] * lengths[column]);
                self.gram[row * inputs + column] = value;
                self.gram[column * inputs + row] = value;
            }
            self.gram[row * inputs + row] += self.config.ridge;
            for value in &mut self.cross[row * outputs..][..outputs] {
                *value /= lengths[row];
            }
        }
        let rounding = inputs as f64 * f64::EPSILON;
        let tolerance = rounding.max(self.config.rcond * self.config.rcond);
        let factor = Cholesky::new(self.gram, inputs, tolerance);
        let mut weight = factor.solve(&self.cross, outputs, &lengths);
        for (row, length) in weight.chunks_exact_mut(outputs).zip(&lengths) {
            row.iter_mut().for_each(|value| *value /= length);
        }
        let intercept = self.shift.map(|(at_x, at_y)| {
            let mut constants: Vec<f64> = at_y
                .iter()
                .zip(&self.sums.1)
                .map(|(shift, sum)| shift + sum / count)
                .collect();
            for (row, coefficients) in weight.chunks_exact(outputs).enumerate() {
                let mean = at_x[row] + self.sums.0[row] / count;
                for (constant, coefficient) in constants.iter_mut().zip(coefficients) {
                    *constant -= mean * coefficient;
                }
            }
            constants
        });
        Ok(LinearFit {
            inputs,
            outputs,
            weight,
            intercept,
            rank: factor.rank,
        })
    }
}

fn append(block: &mut Vec<f64>, sums: &mut [f64], row: &[f32], shift: &[f64]) {
    for ((&value, shift), sum) in row.iter().zip(shift).zip(sums) {
        let value = f64::from(value) - shift;
        *sum += value;
        block.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_ridge_decides_where_rows_are_few() {
        let device = Device::default();
        let x = Tensor::from_floats([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], &device);
        let y = Tensor::from_floats([[2.0], [4.0]], &device);
        let fit = |ridge| {
            let config = LeastSquaresConfig::new().with_ridge(ridge);
            let mut sums = LeastSquares::new(3, 1, &config)?;
            sums.add(x.clone(), y.clone())?;
            sums.solve()
        };
        // xᵀx is the identity on the first two inputs: half of y with a ridge of one.
        let found = fit(1.0).unwrap();
        for (found, expected) in found.coefficients().iter().zip([1.0, 2.0, 0.0]) {
            assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
        }
        assert_eq!(
            fit(0.0).unwrap_err().to_string(),
            "the number of training rows is 2: a linear map of 3 inputs needs at least 3"
        );
    }
}
