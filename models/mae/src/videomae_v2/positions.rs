//! The table of positions for clips of other sizes.

use super::masks::Grid;
use burn::tensor::TensorData;
use menagerie_core::{Error, Result};
use menagerie_nn::vit::position::resize_bicubic;

/// A table `[cubes, dim]` of the grid `from` for the grid `to`: bicubic in space, at each step
/// alone, then linear in time, both with the borders of the cells aligned (`align_corners=False` in
/// PyTorch).
///
/// # Errors
/// [`Error::Input`] if the table does not have a row for each cube of `from`, or a grid is empty.
pub fn resample(table: TensorData, from: Grid, to: Grid) -> Result<TensorData> {
    let shape = table.shape().to_vec();
    let dim = match shape[..] {
        [rows, dim] if rows == from.tokens() && rows > 0 && dim > 0 => dim,
        _ => {
            let rule = format!("must be [{}, dim]", from.tokens());
            return Err(Error::input("the table of positions", shape, rule));
        }
    };
    if to.tokens() == 0 {
        return Err(Error::input("a grid", to, "must not be empty"));
    }
    if from == to {
        return Ok(table);
    }
    let values: Vec<f32> = table
        .try_cast_as::<f32>()
        .and_then(TensorData::try_into_vec)
        .map_err(|error| Error::other("reading a table of positions", error))?;
    let steps: Vec<Vec<f32>> = values
        .chunks(from.per_step() * dim)
        .map(|step| {
            let (rows, columns) = ([from.rows, from.columns], [to.rows, to.columns]);
            if rows == columns {
                step.to_vec()
            } else {
                resize_bicubic(step, dim, rows, columns)
            }
        })
        .collect();
    let mut resized = Vec::with_capacity(to.tokens() * dim);
    for time in 0..to.time {
        let place = (time as f64 + 0.5) * from.time as f64 / to.time as f64 - 0.5;
        let place = place.clamp(0.0, (from.time - 1) as f64);
        let (before, share) = (place.floor() as usize, place.fract());
        let after = (before + 1).min(from.time - 1);
        let pairs = steps[before].iter().zip(&steps[after]);
        resized.extend(
            pairs.map(|(a, b)| (f64::from(*a) * (1.0 - share) + f64::from(*b) * share) as f32),
        );
    }
    Ok(TensorData::new(resized, [to.tokens(), dim]))
}
