//! Rows of activations: which are fitted and which are scored, and how they reach the host.

use burn::tensor::{Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use rand::seq::SliceRandom;
use std::ops::Range;

/// Values that are on the host at a time, per tensor.
const CHUNK: usize = 1 << 22;

/// Which rows a map is fitted on and which it is scored on.
///
/// The paper fits on the first 150,000 of a random permutation of its tokens and scores on the
/// next 150,000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    order: Vec<usize>,
    training: usize,
    used: usize,
    roles: Vec<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Training,
    HeldOut,
    Unused,
}

impl Split {
    /// The first `training` rows of the permutation `order` are fitted, the next `held_out` are
    /// scored.
    ///
    /// # Errors
    /// [`Error::Input`] if `order` is no permutation, either part is empty, or both together have
    /// more rows than there are.
    pub fn new(order: Vec<usize>, training: usize, held_out: usize) -> Result<Self> {
        let rows = order.len();
        for (what, count) in [("training", training), ("held-out", held_out)] {
            if count == 0 {
                let what = format!("the number of {what} rows");
                return Err(Error::input(what, 0, "must be at least 1"));
            }
        }
        let used = training.saturating_add(held_out);
        if used > rows {
            return Err(Error::input(
                "the number of training and held-out rows",
                format!("{training} + {held_out}"),
                format!("there are {rows} rows"),
            ));
        }
        let mut roles = vec![None; rows];
        for (place, &row) in order.iter().enumerate() {
            let role = match place {
                place if place < training => Role::Training,
                place if place < used => Role::HeldOut,
                _ => Role::Unused,
            };
            match roles.get_mut(row) {
                Some(free @ None) => *free = Some(role),
                _ => {
                    let rule = format!("an order of {rows} rows names each of them once");
                    return Err(Error::input(
                        format!("entry {place} of the order"),
                        row,
                        rule,
                    ));
                }
            }
        }
        Ok(Self {
            order,
            training,
            used,
            roles: roles.into_iter().flatten().collect(),
        })
    }

    /// A permutation of `rows` rows drawn from `seed`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn draw(rows: usize, training: usize, held_out: usize, seed: Seed) -> Result<Self> {
        let mut order: Vec<usize> = (0..rows).collect();
        order.shuffle(&mut seed.rng());
        Self::new(order, training, held_out)
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// The rows that are fitted, in the order of the permutation.
    pub fn training(&self) -> &[usize] {
        &self.order[..self.training]
    }

    /// The rows that are scored, in the order of the permutation.
    pub fn held_out(&self) -> &[usize] {
        &self.order[self.training..self.used]
    }

    /// Whether a row is fitted.
    pub fn is_training(&self, row: usize) -> bool {
        self.roles.get(row) == Some(&Role::Training)
    }

    /// Whether a row is scored.
    pub fn is_held_out(&self, row: usize) -> bool {
        self.roles.get(row) == Some(&Role::HeldOut)
    }

    /// Refuses a tensor with another number of rows.
    pub(super) fn covers(&self, x: &Tensor<2>) -> Result<()> {
        let [rows, _] = x.dims();
        if rows == self.rows() {
            return Ok(());
        }
        Err(Error::input(
            "the split",
            format!("of {} rows", self.rows()),
            format!("the activations have {rows} rows"),
        ))
    }
}

/// Refuses tensors of different row counts.
pub(super) fn matching(what: &str, tensor: &Tensor<2>, x: &Tensor<2>) -> Result<()> {
    let ([rows, _], [expected, _]) = (tensor.dims(), x.dims());
    if rows == expected {
        return Ok(());
    }
    Err(Error::input(
        what,
        format!("{rows} rows"),
        format!("the activations have {expected} rows"),
    ))
}

/// Refuses a tensor of another shape than the activations.
pub(super) fn same_shape(what: &str, tensor: &Tensor<2>, x: &Tensor<2>) -> Result<()> {
    if tensor.dims() == x.dims() {
        return Ok(());
    }
    Err(Error::input(
        what,
        format!("of shape {:?}", tensor.dims()),
        format!("the activations have shape {:?}", x.dims()),
    ))
}

/// Hands out the same rows of several tensors, some at a time and in order, as host values.
pub(super) fn chunks<const N: usize>(
    tensors: [&Tensor<2>; N],
    mut use_rows: impl FnMut(Range<usize>, [Vec<f32>; N]) -> Result<()>,
) -> Result<()> {
    let rows = tensors.first().map_or(0, |tensor| tensor.dims()[0]);
    let widest = tensors.iter().map(|tensor| tensor.dims()[1]).max();
    let step = (CHUNK / widest.unwrap_or(1).max(1)).max(1);
    for start in (0..rows).step_by(step) {
        let range = start..(start + step).min(rows);
        let mut values = [const { Vec::new() }; N];
        for (values, tensor) in values.iter_mut().zip(tensors) {
            let part = tensor.clone().slice_dim(0, range.clone());
            let width = part.dims()[1].max(1);
            *values = host(part, "")?;
            if let Some(place) = values.iter().position(|value| !value.is_finite()) {
                return Err(not_finite(values[place], start + place / width));
            }
        }
        use_rows(range, values)?;
    }
    Ok(())
}

fn not_finite(value: f32, row: usize) -> Error {
    let rule = "activations and targets must be finite";
    Error::input(format!("a value of row {row}"), value, rule)
}

/// The values of a tensor, row by row.
pub(super) fn host<const D: usize>(tensor: Tensor<D>, what: &str) -> Result<Vec<f32>> {
    let data = tensor.without_autodiff().into_data().convert::<f32>();
    let values: Vec<f32> = data
        .try_to_vec()
        .map_err(|error| Error::other("reading a tensor", format!("{error:?}")))?;
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) if !what.is_empty() => {
            Err(Error::input(what, value, "every value must be finite"))
        }
        _ => Ok(values),
    }
}

/// A tensor `[rows, 1]` of the Euclidean norm of each row.
pub fn row_norms(x: Tensor<2>) -> Tensor<2> {
    squared_row_norms(x).sqrt()
}

/// A tensor `[rows, 1]` of the squared Euclidean norm of each row.
pub fn squared_row_norms(x: Tensor<2>) -> Tensor<2> {
    x.square().sum_dim(1)
}

/// Those rows of `x` `[rows, width]`, in that order.
pub fn gather(x: Tensor<2>, rows: &[usize]) -> Tensor<2> {
    let indices: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    let device = x.device();
    let shape = [indices.len()];
    x.select(
        0,
        Tensor::from_data(TensorData::new(indices, shape), &device),
    )
}
