//! The objective: reconstruction at every layer of the decoder, and the cross-entropy of the noisy
//! assignments with their targets (the relative entropy of the two but for a constant).

use super::{
    config::LossWeights,
    masks::Masks,
    model::{Decoding, Depict, Encoding},
};
use burn::tensor::{Tensor, activation::log_softmax};
use menagerie_nn::pointwise::mean_squared_error;

/// L_R and its terms, each of shape `[1]`.
#[derive(Clone, Debug)]
pub struct ReconstructionLoss {
    /// Their sum.
    pub total: Tensor<1>,
    /// `mean((x̂ − x)²)`.
    pub image: Tensor<1>,
    /// `h · mean((r₁ − e₁)²)`.
    pub first: Tensor<1>,
    /// `h · mean((r₂ − e₂)²)`.
    pub second: Tensor<1>,
}

/// The objective of a batch and its terms, each of shape `[1]`.
#[derive(Clone, Debug)]
pub struct DepictLoss {
    /// The weighted sum.
    pub total: Tensor<1>,
    /// L_R before weighting.
    pub reconstruction: ReconstructionLoss,
    /// L_C before weighting; `None` without targets.
    pub clustering: Option<Tensor<1>>,
    /// The logarithms of the noisy path's probabilities, `[batch, K]`; `None` without targets.
    pub log_probabilities: Option<Tensor<2>>,
}

/// L_R of what the decoder made of a batch, held against `images`
/// (`[batch, channels, height, width]`) and the maps e₁, e₂ of the **clean** path, which are not
/// detached: the gradient goes through both sides. Means run over all elements.
pub fn reconstruction_loss(
    decoding: Decoding,
    images: Tensor<4>,
    clean: [Tensor<4>; 2],
    hidden: f64,
) -> ReconstructionLoss {
    let [first, second] = clean;
    let image = mean_squared_error(decoding.image, images);
    let first = mean_squared_error(decoding.first, first).mul_scalar(hidden);
    let second = mean_squared_error(decoding.second, second).mul_scalar(hidden);
    ReconstructionLoss {
        total: image.clone() + first.clone() + second.clone(),
        image,
        first,
        second,
    }
}

/// L_C = −1/N Σᵢ Σₖ qᵢₖ log p̃ᵢₖ for log-probabilities and targets `[batch, K]`; shape `[1]`.
pub fn clustering_loss(log_probabilities: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let batch = targets.dims()[0] as f64;
    (targets * log_probabilities).sum().div_scalar(-batch)
}

impl Depict {
    /// The objective of images `[batch, channels, height, width]` in -1..1 with these masks; with
    /// targets `[batch, K]` the joint one, without them that of the autoencoder alone.
    ///
    /// # Panics
    /// If images, masks or targets are not of the configured shape.
    pub fn loss(
        &self,
        images: Tensor<4>,
        masks: &Masks,
        targets: Option<Tensor<2>>,
        weights: &LossWeights,
    ) -> DepictLoss {
        let clean = self.maps(images.clone(), None);
        let Encoding { embedding, .. } = self.encoding(images.clone(), Some(masks));
        let decoding = self.decoding(embedding.clone());
        let reconstruction = reconstruction_loss(decoding, images, clean, weights.hidden);
        let mut total = reconstruction
            .total
            .clone()
            .mul_scalar(weights.reconstruction);
        let mut loss = DepictLoss {
            total: total.clone(),
            reconstruction,
            clustering: None,
            log_probabilities: None,
        };
        if let Some(targets) = targets {
            let log_probabilities = log_softmax(self.scores(embedding), 1);
            let clustering = clustering_loss(log_probabilities.clone(), targets);
            total = total + clustering.clone().mul_scalar(weights.clustering);
            loss.total = total;
            loss.clustering = Some(clustering);
            loss.log_probabilities = Some(log_probabilities);
        }
        loss
    }

    /// L_R of the clean path, by which the first stage of training is judged: decoder and targets are
    /// both without noise.
    ///
    /// # Panics
    /// If the images are not of the configured shape.
    pub fn clean_reconstruction_loss(&self, images: Tensor<4>) -> ReconstructionLoss {
        let encoding = self.encoding(images.clone(), None);
        let decoding = self.decoding(encoding.embedding);
        let hidden = self.config().weights.hidden;
        reconstruction_loss(decoding, images, [encoding.first, encoding.second], hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_clustering_loss_is_a_mean_over_the_batch() {
        let device = Device::default();
        let logs =
            Tensor::<2>::from_floats([[0.5_f32.ln(); 2], [0.25_f32.ln(), 0.75_f32.ln()]], &device);
        let targets = Tensor::<2>::from_floats([[1.0, 0.0], [0.5, 0.5]], &device);
        let expected = (2.0_f32.ln() + 0.5 * (4.0_f32.ln() + (4.0_f32 / 3.0).ln())) / 2.0;
        let value: f32 = clustering_loss(logs, targets).into_scalar();
        assert!((value - expected).abs() < 1e-6);
    }

    #[test]
    fn each_layer_is_a_mean_over_its_own_elements() {
        let device = Device::default();
        let maps = |value: f32, dims: [usize; 4]| Tensor::<4>::full(dims, value, &device);
        let decoding = Decoding {
            second: maps(3.0, [2, 4, 2, 2]),
            first: maps(2.0, [2, 3, 5, 5]),
            image: maps(0.5, [2, 1, 9, 9]),
        };
        let clean = [maps(0.0, [2, 3, 5, 5]), maps(0.0, [2, 4, 2, 2])];
        let loss = reconstruction_loss(decoding, maps(0.0, [2, 1, 9, 9]), clean, 0.1);
        let terms = [loss.image, loss.first, loss.second, loss.total];
        let values: Vec<f32> = terms.into_iter().map(|term| term.into_scalar()).collect();
        for (value, expected) in values.into_iter().zip([0.25, 0.4, 0.9, 1.55]) {
            assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
        }
    }
}
