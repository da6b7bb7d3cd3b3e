//! The objective L = λ_c·CE + λ·R + λ₁·R1 + λ₂·R2 (paper, "Cost Function"), and the accuracy.
//!
//! Nothing is detached: all four terms train the encoder.

use super::{config::LossWeights, model::Forward};
use burn::tensor::{Int, Tensor, activation::log_softmax};

/// The objective of a batch and its terms before weighting, each of shape `[1]`.
#[derive(Clone, Debug)]
pub struct PrototypeLoss {
    /// The weighted sum.
    pub total: Tensor<1>,
    /// CE.
    pub classification: Tensor<1>,
    /// R.
    pub reconstruction: Tensor<1>,
    /// R1.
    pub r1: Tensor<1>,
    /// R2.
    pub r2: Tensor<1>,
}

/// The objective of a forward pass over `images` (`[batch, channels, height, width]`, which are
/// also the target of the reconstruction) of classes `labels` (`[batch]`).
pub fn objective(
    pass: Forward,
    images: Tensor<4>,
    labels: Tensor<1, Int>,
    weights: &LossWeights,
) -> PrototypeLoss {
    let classification = cross_entropy(pass.logits, labels);
    let reconstruction = reconstruction_error(pass.reconstruction, images);
    let r1 = prototype_error(pass.distances.clone());
    let r2 = sample_error(pass.distances);
    let total = classification.clone().mul_scalar(weights.classification)
        + reconstruction.clone().mul_scalar(weights.reconstruction)
        + r1.clone().mul_scalar(weights.r1)
        + r2.clone().mul_scalar(weights.r2);
    PrototypeLoss {
        total,
        classification,
        reconstruction,
        r1,
        r2,
    }
}

/// CE: the mean softmax cross-entropy of scores `[batch, K]`.
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let log_probabilities = log_softmax(logits, 1);
    log_probabilities
        .gather(1, labels.unsqueeze_dim(1))
        .mean()
        .neg()
}

/// R: the squared error summed over the pixels of an image, averaged over the batch.
///
/// A mean over pixels instead would leave the autoencoder without weight beside `20·CE`.
pub fn reconstruction_error(reconstruction: Tensor<4>, images: Tensor<4>) -> Tensor<1> {
    let batch = images.dims()[0] as f64;
    (reconstruction - images).square().sum().div_scalar(batch)
}

/// R1: the distance of each prototype to the nearest image **of the batch**, averaged over the
/// prototypes, of distances `[batch, m]`.
pub fn prototype_error(distances: Tensor<2>) -> Tensor<1> {
    distances.min_dim(0).mean()
}

/// R2: the distance of each image to the nearest **prototype**, averaged over the batch, of
/// distances `[batch, m]`.
pub fn sample_error(distances: Tensor<2>) -> Tensor<1> {
    distances.min_dim(1).mean()
}

/// The share of images whose largest score, of `[batch, K]`, is that of their class; shape `[1]`.
pub fn accuracy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let predicted = logits.argmax(1).squeeze_dim::<1>(1);
    predicted.equal(labels).float().mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn value(tensor: Tensor<1>) -> f32 {
        tensor.into_scalar()
    }

    #[test]
    fn each_minimum_runs_over_its_own_axis() {
        let device = Device::default();
        // Two images, three prototypes.
        let distances = Tensor::<2>::from_floats([[1.0, 8.0, 3.0], [5.0, 2.0, 9.0]], &device);
        // Per prototype 1, 2, 3; per image 1, 2.
        assert_eq!(value(prototype_error(distances.clone())), 2.0);
        assert_eq!(value(sample_error(distances)), 1.5);
    }

    #[test]
    fn the_reconstruction_error_sums_over_pixels() {
        let device = Device::default();
        let black = Tensor::<4>::zeros([4, 2, 3, 5], &device);
        let white = Tensor::<4>::ones([4, 2, 3, 5], &device);
        assert_eq!(value(reconstruction_error(black, white)), 30.0);
    }

    #[test]
    fn cross_entropy_and_accuracy_of_known_scores() {
        let device = Device::default();
        let logits = Tensor::<2>::from_floats([[0.0, 0.0], [0.0, 3.0_f32.ln()]], &device);
        let labels = Tensor::<1, Int>::from_ints([0, 0], &device);
        // ln 2 and ln 4.
        let expected = 1.5 * 2.0_f32.ln();
        assert!((value(cross_entropy(logits.clone(), labels)) - expected).abs() < 1e-6);
        let labels = Tensor::<1, Int>::from_ints([1, 1], &device);
        assert_eq!(value(accuracy(logits, labels)), 0.5);
    }
}
