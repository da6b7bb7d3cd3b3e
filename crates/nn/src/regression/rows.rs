//! How rows reach the host.

use burn::tensor::Tensor;
use menagerie_core::{Error, Result};
use std::ops::Range;

/// Values that are on the host at a time, per tensor.
const CHUNK: usize = 1 << 22;

/// Refuses tensors of different row counts.
pub(super) fn matching(what: &str, tensor: &Tensor<2>, x: &Tensor<2>) -> Result<()> {
    let ([rows, _], [expected, _]) = (tensor.dims(), x.dims());
    if rows == expected {
        return Ok(());
    }
    let value = format!("{rows} rows");
    let rule = format!("the inputs have {expected} rows");
    Err(Error::input(what, value, rule))
}

/// Hands out the same rows of two tensors, some at a time and in order, as host values.
pub(super) fn chunks(
    tensors: [&Tensor<2>; 2],
    mut use_rows: impl FnMut(Range<usize>, [Vec<f32>; 2]),
) -> Result<()> {
    let rows = tensors[0].dims()[0];
    let widest = tensors.map(|tensor| tensor.dims()[1]).into_iter().max();
    let step = (CHUNK / widest.unwrap_or(1).max(1)).max(1);
    for start in (0..rows).step_by(step) {
        let range = start..(start + step).min(rows);
        let mut values = [const { Vec::new() }; 2];
        for (values, tensor) in values.iter_mut().zip(tensors) {
            let part = tensor.clone().slice_dim(0, range.clone());
            let width = part.dims()[1].max(1);
            *values = host(part, "")?;
            if let Some(place) = values.iter().position(|value| !value.is_finite()) {
                let what = format!("a value of row {}", start + place / width);
                let rule = "inputs and targets must be finite";
                return Err(Error::input(what, values[place], rule));
            }
        }
        use_rows(range, values);
    }
    Ok(())
}

/// The values of a tensor, row by row; refused if `what` names them and one is not finite.
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
