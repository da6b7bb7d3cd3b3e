//! The distance between a student's features and the teacher's.

use super::config::Distance;
use burn::tensor::Tensor;

/// The least length that a feature is divided by.
const FLOOR: f64 = 1e-12;

/// Features `[batch, tokens, dim]` with each token at length 1; a token of length 0 stays, and its
/// gradient is finite.
pub fn directions(features: Tensor<3>) -> Tensor<3> {
    // The floor goes below the root: above it, the root's slope at 0 would be infinite.
    let square = features.clone().square().sum_dim(2);
    features / square.clamp_min(FLOOR * FLOOR).sqrt()
}

/// The mean, over all entries of all tokens, of the difference between `ours` and `theirs`, both
/// `[batch, tokens, dim]`; shape `[1]`. Entries of unit vectors are about `1 / √dim`, which makes
/// their difference small beside a reconstruction's.
pub fn distance(ours: Tensor<3>, theirs: Tensor<3>, distance: Distance) -> Tensor<1> {
    let difference = theirs - ours;
    match distance {
        Distance::L1 => difference.abs().mean(),
        Distance::L2 => difference.square().mean(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn tokens_come_to_length_one_and_zero_stays() {
        let device = Device::default();
        let features = Tensor::<3>::from_floats([[[3.0, 4.0], [0.0, 0.0]]], &device);
        assert_eq!(values(directions(features)), [0.6, 0.8, 0.0, 0.0]);
    }

    #[test]
    fn a_token_of_length_zero_has_a_finite_gradient() {
        let device = Device::default().autodiff();
        let features = Tensor::<3>::zeros([1, 1, 2], &device).require_grad();
        let theirs = Tensor::<3>::from_floats([[[0.6, -0.8]]], &device);
        let loss = distance(directions(features.clone()), theirs, Distance::L1);
        let gradient = features.grad(&loss.backward()).unwrap();
        assert!(values(gradient).iter().all(|value| value.is_finite()));
    }

    #[test]
    fn both_distances_are_means_over_entries() {
        let device = Device::default();
        let ours = Tensor::<3>::from_floats([[[1.0, -2.0]]], &device);
        let theirs = Tensor::<3>::zeros([1, 1, 2], &device);
        let of = |kind| values(distance(ours.clone(), theirs.clone(), kind));
        assert_eq!(of(Distance::L1), [1.5]);
        assert_eq!(of(Distance::L2), [2.5]);
    }
}
