//! The objective of an autoencoder: mean squared error and a penalty on all activations.

use super::model::Activations;
use burn::tensor::Tensor;

/// The objective of a batch and its terms, each of shape `[1]`.
#[derive(Clone, Debug)]
pub struct AutoencoderLoss {
    /// Their sum.
    pub total: Tensor<1>,
    /// Mean squared error over all elements.
    pub error: Tensor<1>,
    /// The weighted penalty.
    pub activity: Tensor<1>,
}

/// `mean((x̂ − x)²) + penalty · Σ over layers (Σ |activation|) / batch`, for all layers of encoder and
/// decoder, the sigmoid output included (Keras divides an activity penalty by the batch).
pub fn autoencoder_loss(activations: Activations, x: Tensor<2>, penalty: f64) -> AutoencoderLoss {
    let batch = x.dims()[0] as f64;
    let error = (activations.reconstruction() - x).square().mean();
    let layers = activations.encoder.into_iter().chain(activations.decoder);
    let sums = layers.map(|layer| layer.abs().sum());
    // There is at least one layer.
    let activity = sums
        .reduce(|a, b| a + b)
        .map(|sum| sum.mul_scalar(penalty / batch));
    let activity = activity.unwrap_or_else(|| error.zeros_like());
    AutoencoderLoss {
        total: error.clone() + activity.clone(),
        error,
        activity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_penalty_sums_over_units_and_averages_over_the_batch() {
        let device = Device::default();
        let full = |value: f32, dims: [usize; 2]| Tensor::<2>::full(dims, value, &device);
        let activations = Activations {
            encoder: vec![full(-1.0, [4, 3]), full(2.0, [4, 2])],
            decoder: vec![full(0.5, [4, 5])],
        };
        let loss = autoencoder_loss(activations, full(0.0, [4, 5]), 0.01);
        let values = [loss.error, loss.activity, loss.total].map(|term| term.into_scalar::<f32>());
        // 3 + 4 + 2.5 per pixel.
        for (value, expected) in values.into_iter().zip([0.25, 0.095, 0.345]) {
            assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
        }
    }
}
