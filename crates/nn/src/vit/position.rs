//! Fixed tables of positions, computed in double precision, and their resize.

use burn::config::Config;
use burn::tensor::TensorData;
use menagerie_core::{Error, Result};

/// Which coordinate of a patch the first half of the channels encodes.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum First {
    /// The column, as in the official code of MAE.
    Column,
    /// The row, as in BEiT and mmpretrain.
    Row,
}

/// The 2-D table of sines and cosines: `[class_rows + rows · columns, dim]`, the class rows 0.
///
/// A coordinate `u` becomes `[sin(u ω_k).., cos(u ω_k)..]` with `ω_k = 10000^(-k / (dim / 4))`, `k`
/// from 0 to `dim / 4 - 1`; a patch has one coordinate in the first half of the channels and the
/// other in the second.
///
/// # Errors
/// [`Error::Input`] if `dim` is 0 or not divisible by 4.
pub fn sincos_2d(
    dim: usize,
    [rows, columns]: [usize; 2],
    first: First,
    class_rows: usize,
) -> Result<TensorData> {
    if dim == 0 || !dim.is_multiple_of(4) {
        let rule = "must be divisible by 4, and not 0";
        return Err(Error::input("the width of a position", dim, rule));
    }
    let quarter = dim / 4;
    let mut table = vec![0.0f32; class_rows * dim];
    table.reserve(rows * columns * dim);
    for row in 0..rows {
        for column in 0..columns {
            let coordinates = match first {
                First::Column => [column, row],
                First::Row => [row, column],
            };
            for coordinate in coordinates {
                let angle =
                    |k: usize| coordinate as f64 / 10_000_f64.powf(k as f64 / quarter as f64);
                table.extend((0..quarter).map(|k| angle(k).sin() as f32));
                table.extend((0..quarter).map(|k| angle(k).cos() as f32));
            }
        }
    }
    Ok(TensorData::new(table, [class_rows + rows * columns, dim]))
}

/// The 1-D table of sines and cosines, interleaved: `[positions, dim]`. Channel `j` of position `n`
/// holds the sine (even `j`) or cosine (odd `j`) of `n / 10000^(2 ⌊j / 2⌋ / dim)`.
pub fn sinusoid_1d(dim: usize, positions: usize) -> TensorData {
    let table = (0..positions).flat_map(|position| {
        (0..dim).map(move |channel| {
            let exponent = 2.0 * (channel / 2) as f64 / dim as f64;
            let angle = position as f64 / 10_000_f64.powf(exponent);
            match channel % 2 {
                0 => angle.sin() as f32,
                _ => angle.cos() as f32,
            }
        })
    });
    TensorData::new(table.collect::<Vec<f32>>(), [positions, dim])
}

/// A table `[1, class_rows + from, dim]` of a grid `from` for the grid `to`, by bicubic
/// interpolation; the class rows stay.
///
/// # Errors
/// [`Error::Input`] if the table is not of that shape, not of floats, or a grid is empty.
pub fn interpolate(
    table: &TensorData,
    class_rows: usize,
    from: [usize; 2],
    to: [usize; 2],
) -> Result<TensorData> {
    let shape = table.shape().to_vec();
    let count = class_rows + from[0] * from[1];
    let dim = match shape[..] {
        [1, rows, dim] if rows == count && dim > 0 => dim,
        _ => {
            let rule = format!("must be [1, {count}, dim]");
            return Err(Error::input("the table of positions", shape, rule));
        }
    };
    if [from, to].as_flattened().contains(&0) {
        return Err(Error::input("a grid", [from, to], "must not be empty"));
    }
    let values: Vec<f32> = table
        .clone()
        .try_cast_as::<f32>()
        .and_then(TensorData::try_into_vec)
        .map_err(|error| Error::other("reading a table of positions", error))?;
    let (class, patches) = values.split_at(class_rows * dim);
    let mut resized = class.to_vec();
    resized.extend(resize_bicubic(patches, dim, from, to));
    Ok(TensorData::new(
        resized,
        [1, class_rows + to[0] * to[1], dim],
    ))
}

/// A grid `[rows, columns, dim]` of vectors resized to `[rows', columns', dim]` as PyTorch does it:
/// Keys' kernel with a = −0.75, centres of the cells aligned, the border repeated, no smoothing.
///
/// # Panics
/// If `values` are not of that size, or a grid is empty.
pub fn resize_bicubic(
    values: &[f32],
    dim: usize,
    [rows, columns]: [usize; 2],
    [rows_to, columns_to]: [usize; 2],
) -> Vec<f32> {
    assert_eq!(values.len(), rows * columns * dim, "bicubic: size");
    let taps = |from: usize, to: usize| -> Vec<[(usize, f64); 4]> {
        (0..to).map(|at| cubic_taps(at, from, to)).collect()
    };
    let (vertical, horizontal) = (taps(rows, rows_to), taps(columns, columns_to));
    let mut resized = Vec::with_capacity(rows_to * columns_to * dim);
    for row in &vertical {
        for column in &horizontal {
            resized.extend((0..dim).map(|channel| {
                let sum: f64 = row
                    .iter()
                    .map(|(y, wy)| {
                        let along = column.iter().map(|(x, wx)| {
                            wx * f64::from(values[(y * columns + x) * dim + channel])
                        });
                        wy * along.sum::<f64>()
                    })
                    .sum();
                sum as f32
            }));
        }
    }
    resized
}

/// The four cells, and their weights, that cell `at` of `to` is made from.
fn cubic_taps(at: usize, from: usize, to: usize) -> [(usize, f64); 4] {
    const A: f64 = -0.75;
    let place = (at as f64 + 0.5) * from as f64 / to as f64 - 0.5;
    let cell = place.floor();
    let weight = |distance: f64| match distance {
        d if d <= 1.0 => ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0,
        d if d < 2.0 => ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A,
        _ => 0.0,
    };
    std::array::from_fn(|tap| {
        let source = cell + tap as f64 - 1.0;
        let inside = source.clamp(0.0, from as f64 - 1.0) as usize;
        (inside, weight((place - source).abs()))
    })
}
