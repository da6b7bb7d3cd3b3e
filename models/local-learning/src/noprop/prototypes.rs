//! One image for each class.

use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// Rows of distances that are held at a time.
const ROWS: usize = 1_024;

/// For each of `classes` the image, among `images [count, channels, height, width]` with one label
/// each, whose median Euclidean distance to the others of its class is the smallest: `[classes,
/// channels · height · width]`, what prototype embeddings start from.
///
/// # Errors
/// [`Error::Input`] for a label that is no class, a class without an image, or another number of
/// labels.
pub fn prototypes(images: Tensor<4>, labels: &[usize], classes: usize) -> Result<Tensor<2>> {
    let rows: Tensor<2> = images.flatten(1, 3);
    let count = rows.dims()[0];
    if labels.len() != count {
        let rule = format!("must be that of the images, {count}");
        return Err(Error::input("the number of labels", labels.len(), rule));
    }
    if let Some(label) = labels.iter().find(|label| **label >= classes) {
        let rule = format!("must be below the number of classes, {classes}");
        return Err(Error::input("a label", label, rule));
    }
    let mut found = Vec::with_capacity(classes);
    for class in 0..classes {
        let members: Vec<i64> = labels
            .iter()
            .zip(0..)
            .filter_map(|(label, at)| (*label == class).then_some(at))
            .collect();
        if members.is_empty() {
            let rule = "must have an image to start its embedding from";
            return Err(Error::input("a class", class, rule));
        }
        let indices = Tensor::from_ints(members.as_slice(), &rows.device());
        let members = rows.clone().select(0, indices);
        let best = medoid(&members)?;
        found.push(members.narrow(0, best, 1));
    }
    Ok(Tensor::cat(found, 0))
}

/// The row of `points [count, width]` with the smallest median distance to the others.
fn medoid(points: &Tensor<2>) -> Result<usize> {
    let [count, _] = points.dims();
    let squares = points.clone().square().sum_dim(1);
    let mut best = (f32::INFINITY, 0);
    for start in (0..count).step_by(ROWS) {
        let size = ROWS.min(count - start);
        let some = points.clone().narrow(0, start, size);
        let products = some.matmul(points.clone().transpose());
        // Squares have the order of distances.
        let distances =
            squares.clone().narrow(0, start, size) - products * 2.0 + squares.clone().transpose();
        let mut distances = distances
            .without_autodiff()
            .try_into_vec_as::<f32>()
            .map_err(|error| Error::other("reading distances", error))?;
        for (at, row) in distances.chunks_mut(count).enumerate() {
            row.swap(start + at, count - 1);
            let others = &mut row[..count - 1];
            // The lower one of two in the middle.
            let middle = others.len().saturating_sub(1) / 2;
            let median = match others.is_empty() {
                true => 0.0,
                false => *others.select_nth_unstable_by(middle, f32::total_cmp).1,
            };
            if median < best.0 {
                best = (median, start + at);
            }
        }
    }
    Ok(best.1)
}
