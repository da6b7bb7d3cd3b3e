//! Targets and losses.

use burn::tensor::Tensor;
use menagerie_nn::vit::patchify;

pub use menagerie_nn::classification::{accuracy, smooth_targets, soft_cross_entropy};

/// Added to the variance of a patch.
const EPSILON: f64 = 1e-6;

/// Mean and deviation of the channels of ImageNet's images in 0..1.
pub const IMAGENET: Normalisation<3> = Normalisation {
    mean: [0.485, 0.456, 0.406],
    deviation: [0.229, 0.224, 0.225],
};

/// What images in 0..1 are normalised with, per channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation<const C: usize> {
    /// Subtracted first.
    pub mean: [f32; C],
    /// Divided by then.
    pub deviation: [f32; C],
}

impl<const C: usize> Normalisation<C> {
    /// Images `[batch, C, height, width]` in 0..1, normalised.
    ///
    /// # Panics
    /// If the images have other channels.
    pub fn apply(&self, images: Tensor<4>) -> Tensor<4> {
        let [mean, deviation] = self.tensors(&images);
        (images - mean) / deviation
    }

    /// Normalised images `[batch, C, height, width]` back in 0..1.
    ///
    /// # Panics
    /// If the images have other channels.
    pub fn undo(&self, images: Tensor<4>) -> Tensor<4> {
        let [mean, deviation] = self.tensors(&images);
        images * deviation + mean
    }

    fn tensors(&self, images: &Tensor<4>) -> [Tensor<4>; 2] {
        let device = images.device();
        [self.mean, self.deviation]
            .map(|values| Tensor::<1>::from_floats(values, &device).reshape([1, C, 1, 1]))
    }
}

/// Mean and deviation of each patch, `[batch, tokens, 1]` each.
#[derive(Clone, Debug)]
pub struct PatchMoments {
    /// The mean of all its numbers.
    pub mean: Tensor<3>,
    /// √(variance + 1e-6), the variance divided by one less than the numbers.
    pub deviation: Tensor<3>,
}

impl PatchMoments {
    /// Of patches `[batch, tokens, size]`.
    pub fn of(patches: Tensor<3>) -> Self {
        let (variance, mean) = patches.var_mean(2);
        Self {
            mean,
            deviation: (variance + EPSILON).sqrt(),
        }
    }

    /// Patches `[batch, tokens, size]` with mean 0 and deviation 1.
    pub fn normalise(self, patches: Tensor<3>) -> Tensor<3> {
        (patches - self.mean) / self.deviation
    }

    /// Normalised patches `[batch, tokens, size]` with this mean and deviation.
    pub fn denormalise(self, patches: Tensor<3>) -> Tensor<3> {
        patches * self.deviation + self.mean
    }
}

/// What is to be predicted of images `[batch, channels, height, width]`: their patches `[batch,
/// tokens, patch · patch · channels]`, each normalised by itself if `normalise` says so.
///
/// # Panics
/// If `patch` does not divide height and width.
pub fn target(images: Tensor<4>, patch: usize, normalise: bool) -> Tensor<3> {
    let patches = patchify(images, patch);
    match normalise {
        true => PatchMoments::of(patches.clone()).normalise(patches),
        false => patches,
    }
}

/// The mean over hidden patches of the mean squared error of a patch: `prediction` and `target`
/// `[batch, tokens, size]`, `mask` `[batch, tokens]` with 1 for hidden; shape `[1]`.
///
/// Without a hidden patch it is not a number.
pub fn masked_error(prediction: Tensor<3>, target: Tensor<3>, mask: Tensor<2>) -> Tensor<1> {
    let error = (prediction - target)
        .square()
        .mean_dim(2)
        .squeeze_dim::<2>(2);
    (error * mask.clone()).sum() / mask.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn only_hidden_patches_count() {
        let device = Device::default();
        let prediction = Tensor::<3>::from_floats([[[1.0, 3.0], [9.0, 9.0]]], &device);
        let target = Tensor::zeros([1, 2, 2], &device);
        let mask = Tensor::from_floats([[1.0, 0.0]], &device);
        assert_eq!(values(masked_error(prediction, target, mask)), [5.0]);
    }

    #[test]
    fn a_patch_is_normalised_by_the_unbiased_variance() {
        let device = Device::default();
        let images = Tensor::<4>::from_floats([[[[1.0, 2.0], [3.0, 6.0]]]], &device);
        // Mean 3, squares 4 + 1 + 0 + 9, divided by 3.
        let deviation = (14.0f32 / 3.0 + 1e-6).sqrt();
        let normalised = values(target(images.clone(), 2, true));
        for (value, raw) in normalised.iter().zip([1.0, 2.0, 3.0, 6.0]) {
            assert!((value - (raw - 3.0) / deviation).abs() < 1e-6);
        }
        let patches = target(images.clone(), 2, false);
        let moments = PatchMoments::of(patches.clone());
        let back = moments.clone().denormalise(moments.normalise(patches));
        for (value, raw) in values(back).iter().zip([1.0, 2.0, 3.0, 6.0]) {
            assert!((value - raw).abs() < 1e-5);
        }
    }

    #[test]
    fn normalised_images_come_back() {
        let device = Device::default();
        let images = Tensor::<4>::full([1, 3, 2, 2], 0.25, &device);
        let normalised = IMAGENET.apply(images.clone());
        let first = (0.25 - 0.485) / 0.229;
        assert!((values(normalised.clone())[0] - first).abs() < 1e-6);
        for value in values(IMAGENET.undo(normalised)) {
            assert!((value - 0.25).abs() < 1e-6);
        }
    }
}
