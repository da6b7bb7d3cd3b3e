//! Rows of a large table of which a batch looks up a few: their gradients alone, and an update of the
//! whole table in one pass.
//!
//! Back-propagation through a look-up on Burn operations makes a gradient of the table's size, nearly
//! all zeros, and every operation on it (penalty, norm, moments) is another pass over memory. Here the
//! looked-up rows are the leaves; a [`Lookup`] adds up their gradients row by row of the table, and
//! [`adam_rows`] brings penalty, clipping, moments and weights up to date in one pass. The numbers are
//! those of the dense way: Adam's moments decay and penalties pull in every row at every step.

use crate::adam::AdamUpdate;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use std::sync::Arc;

/// The table rows that a batch looks up, in the batch's order, and each of them once.
#[derive(Clone, Debug)]
pub struct Lookup(Arc<Places>);

#[derive(Debug)]
struct Places {
    /// Rows of the table.
    table: usize,
    ids: Vec<u32>,
    /// Distinct rows that take a gradient, ascending.
    rows: Vec<u32>,
    /// Where `order` the places of each of them begin, and the end.
    starts: Vec<usize>,
    /// Places in `ids`, by row, ascending for each.
    order: Vec<u32>,
}

impl Lookup {
    /// Look-ups in a table of `table` rows; places where `frozen` holds take no gradient.
    ///
    /// # Panics
    /// If a row is not below `table`.
    pub fn new(table: usize, ids: Vec<u32>, frozen: impl Fn(u32) -> bool) -> Self {
        assert!(
            ids.iter().all(|id| (*id as usize) < table),
            "a row is not below the table's {table}"
        );
        // By row, then by place: one number is quicker to sort than two.
        let places = ids.iter().enumerate().filter(|(_, id)| !frozen(**id));
        let mut keys: Vec<u64> = places
            .map(|(at, id)| (u64::from(*id) << 32) | at as u64)
            .collect();
        keys.sort_unstable();
        let (mut rows, mut starts) = (Vec::new(), Vec::new());
        for (at, key) in keys.iter().enumerate() {
            let row = (key >> 32) as u32;
            if rows.last() != Some(&row) {
                rows.push(row);
                starts.push(at);
            }
        }
        starts.push(keys.len());
        Self(Arc::new(Places {
            table,
            ids,
            rows,
            starts,
            order: keys.into_iter().map(|key| key as u32).collect(),
        }))
    }

    /// How many look-ups.
    pub fn len(&self) -> usize {
        self.0.ids.len()
    }

    /// Whether nothing is looked up.
    pub fn is_empty(&self) -> bool {
        self.0.ids.is_empty()
    }

    /// The distinct rows that take a gradient, ascending.
    pub fn rows(&self) -> &[u32] {
        &self.0.rows
    }

    #[cfg(feature = "flex")]
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[u32]> + '_ {
        let ends = self.0.starts.windows(2);
        ends.map(|ends| &self.0.order[ends[0]..ends[1]])
    }

    /// The looked-up rows of `table [rows, dim]`: `[len, dim]`. Its gradient through autodiff is dense,
    /// and goes to frozen rows too.
    ///
    /// # Panics
    /// If the table has another number of rows.
    pub fn select(&self, table: Tensor<2>) -> Tensor<2> {
        assert_eq!(table.dims()[0], self.0.table, "rows of the table");
        let ids: Vec<i64> = self.0.ids.iter().map(|id| (*id).into()).collect();
        let ids = ints(ids, &table.device().without_autodiff());
        table.select(0, ids)
    }

    /// The sum of `gradient [len, dim]` over the places of each distinct row, without autodiff.
    ///
    /// # Panics
    /// If there is not one gradient for each look-up.
    pub fn sums(&self, gradient: Tensor<2>) -> RowGradients {
        let gradient = gradient.without_autodiff();
        let [len, dim] = gradient.dims();
        assert_eq!(len, self.len(), "one gradient for each look-up");
        #[cfg(feature = "flex")]
        if let Some(sums) = crate::flex::embedding::sums(self, &gradient) {
            return RowGradients {
                lookup: self.clone(),
                sums,
            };
        }
        let device = gradient.device();
        let sums = Tensor::<2>::zeros([self.0.rows.len(), dim], &device);
        let mut sums = sums.cast(gradient.dtype());
        if !self.0.rows.is_empty() {
            let rows = self.0.starts.windows(2).enumerate();
            let rows =
                rows.flat_map(|(row, ends)| std::iter::repeat_n(row as i64, ends[1] - ends[0]));
            let order: Vec<i64> = self.0.order.iter().map(|at| (*at).into()).collect();
            let gradient = gradient.select(0, ints(order, &device));
            let rows = ints(rows.collect(), &device);
            sums = sums.select_assign(0, rows, gradient, IndexingUpdateOp::Add);
        }
        RowGradients {
            lookup: self.clone(),
            sums,
        }
    }
}

fn ints(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// Gradients of the rows that were looked up; those of all others are zero.
#[derive(Clone, Debug)]
pub struct RowGradients {
    lookup: Lookup,
    /// `[distinct rows, dim]`.
    sums: Tensor<2>,
}

impl RowGradients {
    /// The rows, ascending.
    pub fn rows(&self) -> &[u32] {
        self.lookup.rows()
    }

    /// `[distinct rows, dim]`.
    pub fn sums(&self) -> &Tensor<2> {
        &self.sums
    }

    /// The gradient of the whole table, `[rows, dim]`.
    pub fn dense(&self) -> Tensor<2> {
        let dim = self.sums.dims()[1];
        let device = self.sums.device();
        let table = Tensor::<2>::zeros([self.lookup.0.table, dim], &device).cast(self.sums.dtype());
        if self.rows().is_empty() {
            return table;
        }
        let rows = self.rows().iter().map(|row| (*row).into());
        let rows = ints(rows.collect(), &device);
        table.select_assign(0, rows, self.sums.clone(), IndexingUpdateOp::Add)
    }

    /// Squared norm of the gradient with the penalty's, given the table and what its values add up to.
    ///
    /// # Panics
    /// If the table has another shape.
    pub fn square_norm(&self, table: &Tensor<2>, penalty: &Penalty, of: &PenaltySums) -> f64 {
        let untouched = penalty.square_norm(of);
        if self.rows().is_empty() {
            return untouched;
        }
        // (s + r)² - r² = s (s + 2 r) in the rows that have a gradient s.
        let table = table.clone().without_autodiff();
        let device = table.device();
        let rows = self.rows().iter().map(|row| (*row).into());
        let touched = table.select(0, ints(rows.collect(), &device));
        let pull = touched.clone().sign() * penalty.l1 + touched * penalty.l2;
        let more = self.sums.clone() * (self.sums.clone() + pull * 2.0);
        untouched + more.sum().into_scalar::<f64>()
    }
}

/// `l1 Σ|p| + l2 / 2 Σp²`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Penalty {
    /// Of the absolute values.
    pub l1: f64,
    /// Of half the squares.
    pub l2: f64,
}

impl Penalty {
    /// The penalty of values that add up so.
    pub fn value(&self, of: &PenaltySums) -> f64 {
        self.l1 * of.absolute + 0.5 * self.l2 * of.squares
    }

    /// The squared norm of its gradient, `l1 sign(p) + l2 p`.
    pub fn square_norm(&self, of: &PenaltySums) -> f64 {
        self.l1 * self.l1 * of.nonzero
            + 2.0 * self.l1 * self.l2 * of.absolute
            + self.l2 * self.l2 * of.squares
    }

    /// `l1 sign(p) + l2 p`.
    pub fn gradient<const D: usize>(&self, values: Tensor<D>) -> Tensor<D> {
        match self.l1 == 0.0 {
            true => values * self.l2,
            false => values.clone().sign() * self.l1 + values * self.l2,
        }
    }
}

/// What the values of a tensor add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PenaltySums {
    /// Σp².
    pub squares: f64,
    /// Σ|p|.
    pub absolute: f64,
    /// How many are not 0.
    pub nonzero: f64,
}

impl PenaltySums {
    /// Those of a tensor.
    pub fn of<const D: usize>(values: &Tensor<D>) -> Self {
        let len: usize = values.dims().iter().product();
        let values = values.clone().without_autodiff().reshape([len]);
        #[cfg(feature = "flex")]
        if let Some(sums) = crate::flex::embedding::penalty_sums(&values) {
            return sums;
        }
        Self {
            squares: values.clone().square().sum().into_scalar::<f64>(),
            absolute: values.clone().abs().sum().into_scalar::<f64>(),
            nonzero: values.sign().abs().sum().into_scalar::<f64>(),
        }
    }
}

/// `table [rows, dim]` and its moments, flat, after one update of Adam with the gradient `factor · (g + l1
/// sign(p) + l2 p)`, all without autodiff.
///
/// # Panics
/// If the shapes do not fit.
pub fn adam_rows(
    update: &AdamUpdate,
    table: Tensor<2>,
    gradients: &RowGradients,
    penalty: &Penalty,
    factor: f64,
    moments: [Tensor<1>; 2],
) -> (Tensor<2>, [Tensor<1>; 2]) {
    let [rows, dim] = table.dims();
    assert_eq!(
        [rows, dim],
        [gradients.lookup.0.table, gradients.sums.dims()[1]]
    );
    assert!(moments.iter().all(|moment| moment.dims() == [rows * dim]));
    #[cfg(feature = "flex")]
    if let Some(updated) =
        crate::flex::embedding::adam_rows(update, &table, gradients, penalty, factor, &moments)
    {
        return updated;
    }
    plain::adam_rows(update, table, gradients, penalty, factor, moments)
}

/// The same in Burn operations, for every backend.
pub mod plain {
    use super::{AdamUpdate, Penalty, RowGradients, Tensor};

    /// [`adam_rows`](super::adam_rows).
    pub fn adam_rows(
        update: &AdamUpdate,
        table: Tensor<2>,
        gradients: &RowGradients,
        penalty: &Penalty,
        factor: f64,
        moments: [Tensor<1>; 2],
    ) -> (Tensor<2>, [Tensor<1>; 2]) {
        let [rows, dim] = table.dims();
        let gradient = (gradients.dense() + penalty.gradient(table.clone())) * factor;
        let (table, gradient) = (table.reshape([rows * dim]), gradient.reshape([rows * dim]));
        let [table, first, second] = crate::adam::plain(update, table, gradient, moments);
        (table.reshape([rows, dim]), [first, second])
    }
}
