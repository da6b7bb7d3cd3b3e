//! Numbers for the paper's claims about prototypes.

use super::model::squared_distances;
use burn::tensor::{Int, Tensor};
use menagerie_core::{Error, Result};
use std::collections::BTreeSet;

/// How far prototypes `[m, q]` lie from the encoded images `[n, q]`, in units of how far the
/// images lie from each other: the mean squared distance of a prototype to its nearest image,
/// divided by the mean squared distance of an image to its nearest other image.
///
/// The ratio does not change when the latent space is scaled. At 1 or below, a prototype lies
/// among the images as one of them would.
///
/// # Errors
/// [`Error::Input`] if there are fewer than two images or the lengths differ.
pub fn realism_ratio(prototypes: Tensor<2>, features: Tensor<2>) -> Result<f64> {
    let [images, length] = features.dims();
    if images < 2 {
        let rule = "a nearest other image needs at least 2";
        return Err(Error::input("the number of images", images, rule));
    }
    if prototypes.dims()[1] != length {
        let rule = format!("must be [m, {length}] like the features");
        return Err(Error::input("prototypes", prototypes.dims(), rule));
    }
    let device = features.device();
    let to_images = mean(nearest(prototypes, features.clone(), None))?;
    // In parts, so that the distances of all pairs never lie in memory at once.
    const PART: usize = 500;
    let mut sum = 0.0;
    for (part, rows) in features.clone().split(PART, 0).into_iter().enumerate() {
        let count = rows.dims()[0];
        let start = (part * PART) as i64;
        let own = Tensor::<1, Int>::arange(start..start + count as i64, &device);
        sum += mean(nearest(rows, features.clone(), Some(own)))? * count as f64;
    }
    Ok(to_images / (sum / images as f64))
}

/// Squared distance of each row of `a` to the nearest row of `b` other than `except`.
fn nearest(a: Tensor<2>, b: Tensor<2>, except: Option<Tensor<1, Int>>) -> Tensor<2> {
    let mut distances = squared_distances(a, b.clone());
    if let Some(own) = except {
        let columns = Tensor::<1, Int>::arange(0..b.dims()[0] as i64, &b.device());
        let same = own.unsqueeze_dim::<2>(1).equal(columns.unsqueeze_dim(0));
        distances = distances.mask_fill(same, f32::INFINITY);
    }
    // The expansion can fall below 0 where two rows all but coincide.
    distances.min_dim(1).clamp_min(0.0)
}

fn mean(values: Tensor<2>) -> Result<f64> {
    values
        .mean()
        .try_into_scalar::<f64>()
        .map_err(|error| Error::other("reading distances", error))
}

/// The class that each prototype speaks for: the smallest entry of its row of weights.
pub fn claimed_classes(weights: &[Vec<f32>]) -> Vec<usize> {
    let smallest = |row: &Vec<f32>| {
        let by_weight = |a: &usize, b: &usize| row[*a].total_cmp(&row[*b]);
        (0..row.len()).min_by(by_weight).unwrap_or_default()
    };
    weights.iter().map(smallest).collect()
}

/// How many prototypes speak for the class of the image that lies nearest to them.
pub fn class_agreement(claimed: &[usize], nearest: &[usize]) -> usize {
    let pairs = claimed.iter().zip(nearest);
    pairs
        .filter(|(claimed, nearest)| claimed == nearest)
        .count()
}

/// How many classes have at least one prototype that speaks for them and lies nearest to one of
/// their images, and how many have several.
pub fn class_cover(claimed: &[usize], nearest: &[usize]) -> (usize, usize) {
    let mut once = BTreeSet::new();
    let mut again = BTreeSet::new();
    for (class, _) in claimed.iter().zip(nearest).filter(|(c, n)| c == n) {
        if !once.insert(class) {
            again.insert(class);
        }
    }
    (once.len(), again.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_realism_ratio_is_scale_free() {
        let device = Device::default();
        // Nearest other images at squared distance 1, 1 and 4; the prototype at 9.
        let features = Tensor::<2>::from_floats([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]], &device);
        let prototypes = Tensor::<2>::from_floats([[-3.0, 0.0]], &device);
        for scale in [1.0, 10.0] {
            let ratio = realism_ratio(
                prototypes.clone().mul_scalar(scale),
                features.clone().mul_scalar(scale),
            );
            assert!((ratio.unwrap() - 4.5).abs() < 1e-5);
        }
        let error = realism_ratio(prototypes.clone(), prototypes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of images is 1: a nearest other image needs at least 2"
        );
    }

    #[test]
    fn many_images_go_through_in_parts() {
        let device = Device::default();
        let line = Tensor::<1, Int>::arange(0..1203, &device)
            .float()
            .reshape([1203, 1]);
        let prototypes = Tensor::<2>::from_floats([[0.5], [7.0]], &device);
        let ratio = realism_ratio(prototypes, line).unwrap();
        assert!((ratio - 0.125).abs() < 1e-6, "{ratio}");
    }

    #[test]
    fn classes_are_claimed_by_the_most_negative_weight() {
        let weights = [
            vec![0.1, -3.0, 0.2],
            vec![-1.0, 4.0, 2.0],
            vec![0.0, -1.0, -0.5],
        ];
        let claimed = claimed_classes(&weights);
        assert_eq!(claimed, [1, 0, 1]);
        assert_eq!(class_agreement(&claimed, &[1, 2, 1]), 2);
        assert_eq!(class_cover(&claimed, &[1, 2, 1]), (1, 1));
    }
}
