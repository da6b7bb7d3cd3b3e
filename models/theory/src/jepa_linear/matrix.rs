//! Small matrices in double precision on the host.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};

/// A row-major matrix of `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

/// A factor of a product, as it is or transposed.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    of: &'a Matrix,
    transposed: bool,
}

impl Matrix {
    /// `[rows, columns]` from values row by row.
    ///
    /// # Errors
    /// [`Error::Input`] if there are not `rows · columns` values or one is not finite.
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Result<Self> {
        if values.len() != rows * columns {
            let rule = format!("must be {rows} · {columns}");
            return Err(Error::input("the number of values", values.len(), rule));
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::input("a value of a matrix", value, "must be finite"));
        }
        Ok(Self::of(rows, columns, values))
    }

    pub(crate) fn of(rows: usize, columns: usize, values: Vec<f64>) -> Self {
        debug_assert_eq!(values.len(), rows * columns);
        Self {
            rows,
            columns,
            values,
        }
    }

    /// Zeros `[rows, columns]`.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self::of(rows, columns, vec![0.0; rows * columns])
    }

    /// The square matrix with these numbers on its diagonal.
    pub fn diagonal(values: &[f64]) -> Self {
        let mut matrix = Self::zeros(values.len(), values.len());
        for (at, value) in values.iter().enumerate() {
            matrix.values[at * values.len() + at] = *value;
        }
        matrix
    }

    /// The values of a tensor `[rows, columns]`.
    ///
    /// # Errors
    /// If the tensor cannot be read or holds a value that is not finite.
    pub fn read(tensor: Tensor<2>) -> Result<Self> {
        let [rows, columns] = tensor.dims();
        let values = tensor.without_autodiff().into_data();
        Self::new(rows, columns, values.iter::<f64>().collect())
    }

    /// A tensor of single precision on `device`.
    pub fn tensor(&self, device: &Device) -> Tensor<2> {
        let values: Vec<f32> = self.values.iter().map(|value| *value as f32).collect();
        Tensor::from_data(TensorData::new(values, self.shape()), device)
    }

    /// `[rows, columns]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// All values, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The value at a place.
    ///
    /// # Panics
    /// If the place lies outside.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        assert!(column < self.columns, "column {column} of {}", self.columns);
        self.values[row * self.columns + column]
    }

    /// Columns as rows.
    pub fn transpose(&self) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for column in 0..self.columns {
            values.extend((0..self.rows).map(|row| self.values[row * self.columns + column]));
        }
        Self::of(self.columns, self.rows, values)
    }

    /// The product `self · other`.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn times(&self, other: &Self) -> Self {
        product(self.view(), other.view())
    }

    pub(crate) fn view(&self) -> View<'_> {
        View {
            of: self,
            transposed: false,
        }
    }

    /// Seen with columns as rows, for [`product`].
    pub(crate) fn t(&self) -> View<'_> {
        View {
            of: self,
            transposed: true,
        }
    }

    /// `self += factor · other`.
    pub(crate) fn add(&mut self, factor: f64, other: &Self) {
        debug_assert_eq!(self.shape(), other.shape());
        for (value, other) in self.values.iter_mut().zip(&other.values) {
            *value += factor * other;
        }
    }

    pub(crate) fn scaled(mut self, factor: f64) -> Self {
        self.values.iter_mut().for_each(|value| *value *= factor);
        self
    }

    /// The sum of the products of values at the same places.
    pub(crate) fn dot(&self, other: &Self) -> f64 {
        debug_assert_eq!(self.shape(), other.shape());
        let pairs = self.values.iter().zip(&other.values);
        pairs.map(|(a, b)| a * b).sum()
    }

    /// The length of `self · vector`.
    pub(crate) fn length_of(&self, vector: &[f64]) -> f64 {
        let rows = self.values.chunks_exact(self.columns.max(1));
        let products = rows.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum::<f64>());
        products.map(|value| value * value).sum::<f64>().sqrt()
    }

    pub(crate) fn set(&mut self, row: usize, column: usize, value: f64) {
        self.values[row * self.columns + column] = value;
    }
}

/// `a · b`.
pub(crate) fn product(a: View, b: View) -> Matrix {
    let sizes = |view: View| match view.transposed {
        false => (view.of.rows, view.of.columns, 1, view.of.columns),
        true => (view.of.columns, view.of.rows, view.of.columns, 1),
    };
    let (rows, depth, a_columns, a_rows) = sizes(a);
    let (inner, columns, b_columns, b_rows) = sizes(b);
    assert_eq!(depth, inner, "sizes of a product");
    let mut out = Matrix::zeros(rows, columns);
    // SAFETY: a matrix holds `rows · columns` values, row by row, and the strides are those of its
    // rows and columns, exchanged where it is transposed. `out` is borrowed by nothing else.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            out.values.as_mut_ptr(),
            1,
            columns as isize,
            false,
            a.of.values.as_ptr(),
            a_columns as isize,
            a_rows as isize,
            b.of.values.as_ptr(),
            b_columns as isize,
            b_rows as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
    out
}

/// The lower triangle `L` of `matrix = L Lᵀ`; nothing where the matrix is not positive.
fn cholesky(matrix: &Matrix) -> Option<Matrix> {
    let size = matrix.rows;
    let mut lower = Matrix::zeros(size, size);
    for row in 0..size {
        for column in 0..=row {
            let sum: f64 = (0..column)
                .map(|k| lower.at(row, k) * lower.at(column, k))
                .sum();
            let rest = matrix.at(row, column) - sum;
            let value = match row == column {
                true if rest > 1e-14 * matrix.at(row, row).abs() => rest.sqrt(),
                true => return None,
                false => rest / lower.at(column, column),
            };
            lower.set(row, column, value);
        }
    }
    Some(lower)
}

/// `L⁻¹ B` of a lower triangle.
fn forward(lower: &Matrix, b: &Matrix) -> Matrix {
    let mut x = b.clone();
    for column in 0..b.columns {
        for row in 0..b.rows {
            let sum: f64 = (0..row).map(|k| lower.at(row, k) * x.at(k, column)).sum();
            x.set(row, column, (b.at(row, column) - sum) / lower.at(row, row));
        }
    }
    x
}

/// `L⁻ᵀ b` of a lower triangle.
fn backward(lower: &Matrix, b: &[f64]) -> Vec<f64> {
    let mut x = b.to_vec();
    for row in (0..x.len()).rev() {
        let sum: f64 = (row + 1..x.len()).map(|k| lower.at(k, row) * x[k]).sum();
        x[row] = (x[row] - sum) / lower.at(row, row);
    }
    x
}

/// Eigenvalues and eigenvectors (as columns) of a symmetric matrix, by Jacobi's rotations.
fn symmetric(matrix: &Matrix) -> (Vec<f64>, Matrix) {
    let size = matrix.rows;
    let (mut a, mut vectors) = (matrix.clone(), Matrix::diagonal(&vec![1.0; size]));
    for _ in 0..100 {
        let off: f64 = (0..size)
            .flat_map(|row| (0..row).map(move |column| (row, column)))
            .map(|(row, column)| a.at(row, column).powi(2))
            .sum();
        if off <= 1e-30 * a.dot(&a) {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(&mut a, &mut vectors, p, q);
            }
        }
    }
    ((0..size).map(|at| a.at(at, at)).collect(), vectors)
}

/// One rotation that takes the value at `p`, `q` to 0.
fn rotate(a: &mut Matrix, vectors: &mut Matrix, p: usize, q: usize) {
    let off = a.at(p, q);
    if off == 0.0 {
        return;
    }
    let theta = (a.at(q, q) - a.at(p, p)) / (2.0 * off);
    let sign = if theta < 0.0 { -1.0 } else { 1.0 };
    let t = sign / (theta.abs() + theta.hypot(1.0));
    let cosine = 1.0 / t.hypot(1.0);
    let sine = t * cosine;
    for k in 0..a.rows {
        let (x, y) = (a.at(k, p), a.at(k, q));
        a.set(k, p, cosine * x - sine * y);
        a.set(k, q, sine * x + cosine * y);
        let (x, y) = (vectors.at(k, p), vectors.at(k, q));
        vectors.set(k, p, cosine * x - sine * y);
        vectors.set(k, q, sine * x + cosine * y);
    }
    for k in 0..a.rows {
        let (x, y) = (a.at(p, k), a.at(q, k));
        a.set(p, k, cosine * x - sine * y);
        a.set(q, k, sine * x + cosine * y);
    }
}

/// Pairs of `ρ` and `u` of length 1 with `a u = ρ b u`, the largest `ρ` first, of symmetric `a` and
/// positive `b`; nothing where `b` is not positive.
pub(crate) fn generalised(a: &Matrix, b: &Matrix) -> Option<Vec<(f64, Vec<f64>)>> {
    let lower = cholesky(b)?;
    let half = forward(&lower, a);
    let whole = forward(&lower, &half.transpose());
    let (values, vectors) = symmetric(&whole);
    let mut pairs: Vec<(f64, Vec<f64>)> = values
        .into_iter()
        .enumerate()
        .map(|(at, value)| {
            let column: Vec<f64> = (0..b.rows).map(|row| vectors.at(row, at)).collect();
            let vector = backward(&lower, &column);
            let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
            (value, vector.iter().map(|v| v / length).collect())
        })
        .collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(rows: usize, columns: usize, seed: usize) -> Matrix {
        let values =
            (0..rows * columns).map(|at| ((at * 7919 + seed * 911) % 101) as f64 / 50.0 - 1.0);
        Matrix::of(rows, columns, values.collect())
    }

    #[test]
    fn products_follow_their_definition() {
        let (a, b) = (spread(3, 5, 1), spread(5, 4, 2));
        let c = a.times(&b);
        for row in 0..3 {
            for column in 0..4 {
                let sum: f64 = (0..5).map(|k| a.at(row, k) * b.at(k, column)).sum();
                assert!((c.at(row, column) - sum).abs() < 1e-14);
            }
        }
        let (at, bt) = (a.transpose(), b.transpose());
        let same = product(at.t(), bt.t());
        let mut off = same.clone();
        off.add(-1.0, &c);
        assert!(off.dot(&off) < 1e-28);
    }

    #[test]
    fn generalised_eigenvectors_solve_their_equation() {
        let root = spread(5, 5, 3);
        let mut b = product(root.view(), root.t());
        b.add(0.1, &Matrix::diagonal(&[1.0; 5]));
        let half = spread(5, 5, 4);
        let mut a = half.transpose();
        a.add(1.0, &half);
        let pairs = generalised(&a, &b).unwrap();
        for (value, vector) in &pairs {
            let column = Matrix::of(5, 1, vector.clone());
            let mut off = a.times(&column);
            off.add(-value, &b.times(&column));
            assert!(off.dot(&off).sqrt() < 1e-9, "{value}");
        }
        assert!(pairs.windows(2).all(|pair| pair[0].0 >= pair[1].0));
        assert!(generalised(&a, &Matrix::zeros(5, 5)).is_none());
    }
}
