//! Sparse codes: which entries of a large, mostly zero matrix are kept, and products of the kept
//! ones with the rows of a dictionary.
//!
//! A [`Pattern`] says where the entries of a matrix `[rows, width]` lie; their values are a tensor
//! `[entries]` beside it. Cost and memory of everything here go with the number of entries, not
//! with the width. Patterns are constants for back-propagation and live on the host.
//!
//! ```
//! use burn::tensor::{Device, Tensor, TensorData};
//! use menagerie_nn::sparse::{Pattern, sampled_dot, weighted_rows};
//!
//! let device = Device::default();
//! let scores = Tensor::from_data([[0.1, 3.0, 2.0], [5.0, 0.0, 4.0]], &device);
//! let pattern = Pattern::topk(&scores, 2);
//! assert_eq!(pattern.columns(), [1, 2, 0, 2]);
//!
//! // Row i of the dictionary is the vector of latent i.
//! let dictionary = Tensor::from_data([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], &device);
//! let sum = weighted_rows(pattern.gather(scores), dictionary.clone(), &pattern);
//! assert_eq!(sum.into_data(), TensorData::from([[2.0f32, 5.0], [9.0, 4.0]]));
//!
//! let x = Tensor::from_data([[1.0, 2.0], [3.0, 4.0]], &device);
//! let dots = sampled_dot(x, dictionary, &pattern);
//! assert_eq!(dots.into_data(), TensorData::from([2.0f32, 3.0, 3.0, 7.0]));
//! ```

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use std::sync::{Arc, OnceLock};

/// The places of the kept entries of a matrix `[rows, width]`, row by row.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Pattern(Arc<Places>);

struct Places {
    width: usize,
    starts: Vec<usize>,
    columns: Vec<u32>,
    #[cfg(feature = "flex")]
    by_column: OnceLock<crate::kernel::sparse::Columns>,
    /// Row and column of every entry on the device that asked last.
    indices: OnceLock<(Device, Tensor<1, Int>, Tensor<1, Int>)>,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pattern")
            .field("rows", &self.rows())
            .field("width", &self.width())
            .field("entries", &self.len())
            .finish()
    }
}

impl Pattern {
    /// The entries `columns[starts[i]..starts[i + 1]]` in every row `i` of a matrix of `width`
    /// columns.
    ///
    /// # Panics
    /// If `starts` is not an ascending list from 0 to the number of columns, or a column is not
    /// below `width`.
    pub fn new(width: usize, starts: Vec<usize>, columns: Vec<u32>) -> Self {
        assert!(starts.first() == Some(&0) && starts.last() == Some(&columns.len()));
        assert!(starts.is_sorted());
        assert!(
            columns.iter().all(|&column| (column as usize) < width),
            "a column is not below the width {width}"
        );
        Self::trusted(width, starts, columns)
    }

    fn trusted(width: usize, starts: Vec<usize>, columns: Vec<u32>) -> Self {
        Self(Arc::new(Places {
            width,
            starts,
            columns,
            #[cfg(feature = "flex")]
            by_column: OnceLock::new(),
            indices: OnceLock::new(),
        }))
    }

    /// The `k` largest values of every row of `x` `[rows, width]`, largest first; NaN counts as
    /// largest. Exactly `k` of each row, also where values are equal.
    ///
    /// # Panics
    /// If `k` is 0 or above the width.
    pub fn topk(x: &Tensor<2>, k: usize) -> Self {
        let [rows, width] = x.dims();
        assert!(k > 0 && k <= width, "{k} of a row of {width}");
        let columns = topk_columns(&x.clone().without_autodiff(), k);
        let starts = (0..=rows).map(|row| row * k).collect();
        Self::trusted(width, starts, columns)
    }

    /// The `count` largest values of the whole of `x` `[rows, width]`, columns ascending in every
    /// row: some rows keep more, some fewer. NaN counts as largest. Exactly `count`, also where
    /// values are equal.
    ///
    /// # Panics
    /// If `count` is 0 or above the number of values.
    pub fn topk_of_all(x: &Tensor<2>, count: usize) -> Self {
        let [rows, width] = x.dims();
        assert!(
            count > 0 && count <= rows * width,
            "{count} of {rows} rows of {width}"
        );
        let x = x.clone().without_autodiff();
        let (starts, columns) = topk_of_all(&x, count);
        Self::trusted(width, starts, columns)
    }

    /// The entries of `x` `[rows, width]` above `threshold` (or NaN), columns ascending.
    pub fn above(x: &Tensor<2>, threshold: f32) -> Self {
        let [_, width] = x.dims();
        let data = x.clone().without_autodiff().into_data().convert::<f32>();
        let values = data.as_slice::<f32>().unwrap_or_default();
        let mut starts = vec![0];
        let mut columns = Vec::new();
        for row in values.chunks_exact(width.max(1)) {
            let places = row.iter().enumerate();
            // Written so that a NaN is kept, to be seen downstream.
            #[allow(clippy::neg_cmp_op_on_partial_ord)]
            columns.extend(
                places
                    .filter(|&(_, &value)| !(value <= threshold))
                    .map(|(column, _)| column as u32),
            );
            starts.push(columns.len());
        }
        Self::trusted(width, starts, columns)
    }

    /// The entries for which `keep` of (row, column) holds, and where they stood before.
    pub fn filter(&self, keep: impl Fn(usize, usize) -> bool) -> (Self, Vec<u32>) {
        let mut starts = vec![0];
        let (mut columns, mut entries) = (Vec::new(), Vec::new());
        for row in 0..self.rows() {
            for entry in self.0.starts[row]..self.0.starts[row + 1] {
                let column = self.0.columns[entry];
                if keep(row, column as usize) {
                    columns.push(column);
                    entries.push(entry as u32);
                }
            }
            starts.push(columns.len());
        }
        (Self::trusted(self.width(), starts, columns), entries)
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.0.starts.len() - 1
    }

    /// The number of columns of the whole matrix.
    pub fn width(&self) -> usize {
        self.0.width
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.columns.len()
    }

    /// Whether no entry is kept.
    pub fn is_empty(&self) -> bool {
        self.0.columns.is_empty()
    }

    /// Where in [`columns`](Self::columns) each row begins, and the end: `rows + 1` numbers.
    pub fn starts(&self) -> &[usize] {
        &self.0.starts
    }

    /// The column of every entry, row by row.
    pub fn columns(&self) -> &[u32] {
        &self.0.columns
    }

    #[cfg(feature = "flex")]
    pub(crate) fn by_column(&self) -> &crate::kernel::sparse::Columns {
        use crate::kernel::sparse::{Columns, Rows};
        self.0.by_column.get_or_init(|| {
            let rows = Rows {
                starts: &self.0.starts,
                columns: &self.0.columns,
            };
            Columns::of(rows, self.0.width)
        })
    }

    /// Row and column of every entry, `[entries]` each.
    fn indices(&self, device: &Device) -> (Tensor<1, Int>, Tensor<1, Int>) {
        let make = || {
            let rows = (0..self.rows()).flat_map(|row| {
                let count = self.0.starts[row + 1] - self.0.starts[row];
                std::iter::repeat_n(row as i64, count)
            });
            let rows: Vec<i64> = rows.collect();
            let columns: Vec<i64> = self.0.columns.iter().map(|&column| column.into()).collect();
            (device.clone(), ints(rows, device), ints(columns, device))
        };
        let (known, rows, columns) = self.0.indices.get_or_init(make);
        if known == device {
            (rows.clone(), columns.clone())
        } else {
            let (_, rows, columns) = make();
            (rows, columns)
        }
    }

    /// The column of every entry as a tensor `[entries]`, e.g. to select biases by latent.
    pub fn column_indices(&self, device: &Device) -> Tensor<1, Int> {
        self.indices(&device.clone().without_autodiff()).1
    }

    /// The row of every entry as a tensor `[entries]`.
    pub fn row_indices(&self, device: &Device) -> Tensor<1, Int> {
        self.indices(&device.clone().without_autodiff()).0
    }

    /// The entries of a full matrix `[rows, width]`: `[entries]`. The gradient is a scatter.
    ///
    /// # Panics
    /// If the matrix has another shape.
    pub fn gather(&self, full: Tensor<2>) -> Tensor<1> {
        assert_eq!(full.dims(), [self.rows(), self.width()]);
        let flat = self.flat(&full.device());
        full.reshape([self.rows() * self.width()]).select(0, flat)
    }

    /// The full matrix `[rows, width]` with `values` `[entries]` in their places and 0 elsewhere.
    ///
    /// # Panics
    /// If there is not one value per entry.
    pub fn scatter(&self, values: Tensor<1>) -> Tensor<2> {
        assert_eq!(values.dims(), [self.len()]);
        let device = values.device();
        let (rows, width) = (self.rows(), self.width());
        let full = Tensor::zeros([rows * width], &device);
        if self.is_empty() {
            return full.reshape([rows, width]);
        }
        let flat = self.flat(&device);
        full.select_assign(0, flat, values, IndexingUpdateOp::Add)
            .reshape([rows, width])
    }

    /// The place of every entry in the matrix read row by row.
    fn flat(&self, device: &Device) -> Tensor<1, Int> {
        let (rows, columns) = self.indices(&device.clone().without_autodiff());
        rows * self.width() as i64 + columns
    }
}

fn ints(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

fn topk_columns(x: &Tensor<2>, k: usize) -> Vec<u32> {
    #[cfg(feature = "flex")]
    {
        use crate::kernel::{micro::Level, sparse};
        let [rows, width] = x.dims();
        let columns = crate::flex::sparse::with_values(x, |values| {
            let mut columns = vec![0; rows * k];
            sparse::topk(Level::detect(), values, width, k, &mut columns);
            columns
        });
        if let Some(columns) = columns {
            return columns;
        }
    }
    plain::topk(x.clone(), k)
}

fn topk_of_all(x: &Tensor<2>, count: usize) -> (Vec<usize>, Vec<u32>) {
    #[cfg(feature = "flex")]
    {
        let [_, width] = x.dims();
        let found = crate::flex::sparse::with_values(x, |values| {
            crate::kernel::sparse::topk_of_all(values, width, count)
        });
        if let Some(found) = found {
            return found;
        }
    }
    plain::topk_of_all(x.clone(), count)
}

/// The `k` largest values of every row of `x` `[rows, width]`, largest first, and their columns:
/// `[rows, k]` each. The gradient goes to the selected places.
///
/// # Panics
/// If `k` is 0 or above the width.
pub fn topk(x: Tensor<2>, k: usize) -> (Tensor<2>, Tensor<2, Int>) {
    let pattern = Pattern::topk(&x, k);
    let shape = [pattern.rows(), k];
    let indices = pattern.column_indices(&x.device()).reshape(shape);
    (pattern.gather(x).reshape(shape), indices)
}

/// The dot product of a row of `x` `[rows, dim]` with a row of the dictionary `w` `[width, dim]`
/// for every entry of `pattern`: `[entries]`.
///
/// # Panics
/// If the shapes do not fit.
pub fn sampled_dot(x: Tensor<2>, w: Tensor<2>, pattern: &Pattern) -> Tensor<1> {
    check(x.dims(), w.dims(), pattern);
    #[cfg(feature = "flex")]
    if let Some(dots) = crate::flex::sparse::sampled_dot(&x, &w, pattern) {
        return dots;
    }
    plain::sampled_dot(x, w, pattern)
}

/// For every row of `pattern` the rows of the dictionary `w` `[width, dim]` at its entries, times
/// `values` `[entries]`, summed: `[rows, dim]`.
///
/// # Panics
/// If the shapes do not fit.
pub fn weighted_rows(values: Tensor<1>, w: Tensor<2>, pattern: &Pattern) -> Tensor<2> {
    assert_eq!(values.dims(), [pattern.len()]);
    check([pattern.rows(), w.dims()[1]], w.dims(), pattern);
    #[cfg(feature = "flex")]
    if let Some(sum) = crate::flex::sparse::weighted_rows(&values, &w, pattern) {
        return sum;
    }
    plain::weighted_rows(values, w, pattern)
}

/// `h (1 + beta |x wᵀ|)` `[rows, width]`: scores h of a dictionary's entries, raised by how strongly
/// a direction `x` `[rows, dim]` moves along each of its vectors `w` `[width, dim]`. A constant.
///
/// # Panics
/// If the shapes do not fit.
pub fn attributed(h: Tensor<2>, x: Tensor<2>, w: Tensor<2>, beta: f64) -> Tensor<2> {
    assert_eq!(h.dims(), [x.dims()[0], w.dims()[0]]);
    assert_eq!(x.dims()[1], w.dims()[1]);
    let [h, x, w] = [h, x, w].map(Tensor::without_autodiff);
    #[cfg(feature = "flex")]
    if h.dims()[1] > 0
        && let Some(scores) = crate::flex::sparse::attributed(&h, &x, &w, beta as f32)
    {
        return scores;
    }
    plain::attributed(h, x, w, beta)
}

fn check([rows, dim]: [usize; 2], [width, row]: [usize; 2], pattern: &Pattern) {
    assert_eq!([rows, width], [pattern.rows(), pattern.width()]);
    assert_eq!(
        dim, row,
        "rows of the dictionary and of the product differ in length"
    );
}

/// The same in Burn operations, for every backend.
pub mod plain {
    use super::{IndexingUpdateOp, Pattern, Tensor};

    /// The columns of the `k` largest values of every row, row by row.
    pub fn topk(x: Tensor<2>, k: usize) -> Vec<u32> {
        let (_, indices) = x.topk_with_indices(k, 1);
        let indices = indices.into_data().convert::<i64>();
        let indices = indices.as_slice::<i64>().unwrap_or_default();
        indices.iter().map(|&index| index as u32).collect()
    }

    /// Where each row starts, and the columns of the `count` largest values of all.
    pub fn topk_of_all(x: Tensor<2>, count: usize) -> (Vec<usize>, Vec<u32>) {
        let [rows, width] = x.dims();
        let mut flat = topk(x.reshape([1, rows * width]), count);
        flat.sort_unstable();
        let start = |row| flat.partition_point(|&place| (place as usize) < row * width);
        let starts = (0..=rows).map(start).collect();
        let columns = flat.iter().map(|&place| (place as usize % width) as u32);
        (starts, columns.collect())
    }

    /// [`attributed`](super::attributed).
    pub fn attributed(h: Tensor<2>, x: Tensor<2>, w: Tensor<2>, beta: f64) -> Tensor<2> {
        h * (x.matmul(w.transpose()).abs() * beta + 1.0)
    }

    /// [`sampled_dot`](super::sampled_dot).
    pub fn sampled_dot(x: Tensor<2>, w: Tensor<2>, pattern: &Pattern) -> Tensor<1> {
        let device = x.device();
        if pattern.is_empty() {
            return Tensor::zeros([0], &device);
        }
        let x = x.select(0, pattern.row_indices(&device));
        let w = w.select(0, pattern.column_indices(&device));
        (x * w).sum_dim(1).squeeze_dim(1)
    }

    /// [`weighted_rows`](super::weighted_rows).
    pub fn weighted_rows(values: Tensor<1>, w: Tensor<2>, pattern: &Pattern) -> Tensor<2> {
        let device = values.device();
        let sums = Tensor::zeros([pattern.rows(), w.dims()[1]], &device);
        if pattern.is_empty() {
            return sums;
        }
        let terms = w.select(0, pattern.column_indices(&device)) * values.unsqueeze_dim::<2>(1);
        let rows = pattern.row_indices(&device);
        sums.select_assign(0, rows, terms, IndexingUpdateOp::Add)
    }
}
