//! Losses: pure functions of tensors, each per sample and averaged over what a sample holds.
//!
//! All means over pixels and over latents are means, not sums: a sum over the pixels would change
//! the balance with the other terms by a factor of 12,288 for 64×64×3 images.

use super::{config::LossWeights, model::QuantizedPass};
use burn::tensor::{
    Tensor,
    activation::{relu, sigmoid},
};

/// Binary cross-entropy of Bernoulli logits against images in 0..1, the mean over channels, height
/// and width: two `[batch, channels, height, width]` to `[batch]`.
///
/// The value is `max(l, 0) - l·x + ln(1 + exp(-|l|))`, which no logit can overflow. Its derivative
/// `σ(l) - x` is known, so only `l · sg(σ(l) - x)` enters the autodiff graph; images are constants.
pub fn binary_cross_entropy(logits: Tensor<4>, images: Tensor<4>) -> Tensor<1> {
    let (l, x) = (logits.clone().without_autodiff(), images.without_autodiff());
    let softplus = relu(l.clone()) + l.clone().abs().neg().exp().log1p();
    let value = per_sample(softplus - l.clone() * x.clone());
    if !logits.is_autodiff() {
        return value;
    }
    let first_order = per_sample(logits * (sigmoid(l) - x));
    first_order.clone() - first_order.without_autodiff() + value
}

/// Squared error of a reconstruction, the mean over channels, height and width: `[batch]`.
pub fn squared_error(reconstruction: Tensor<4>, images: Tensor<4>) -> Tensor<1> {
    per_sample((reconstruction - images).square())
}

/// `mean_j (sg(z_j) - q_j)²` per row: moves the codebook to the latents.
pub fn quantization(continuous: Tensor<2>, quantized: Tensor<2>) -> Tensor<1> {
    row_mean((continuous.detach() - quantized).square())
}

/// `mean_j (z_j - sg(q_j))²` per row: moves the latents to the codebook.
pub fn commitment(continuous: Tensor<2>, quantized: Tensor<2>) -> Tensor<1> {
    row_mean((continuous - quantized.detach()).square())
}

/// The terms of a quantising autoencoder's objective, each `[batch]`.
#[derive(Clone, Debug)]
pub struct QlaeLoss {
    /// Binary cross-entropy.
    pub reconstruction: Tensor<1>,
    /// Quantisation loss, before its weight.
    pub quantization: Tensor<1>,
    /// Commitment loss, before its weight.
    pub commitment: Tensor<1>,
    /// The weighted sum.
    pub total: Tensor<1>,
}

/// The objective of section 3.2 for a pass over `images`.
pub fn qlae(weights: &LossWeights, pass: &QuantizedPass, images: Tensor<4>) -> QlaeLoss {
    let reconstruction = binary_cross_entropy(pass.logits.clone(), images);
    let (continuous, values) = (&pass.continuous, &pass.quantized.values);
    let quantization = quantization(continuous.clone(), values.clone());
    let commitment = commitment(continuous.clone(), values.clone());
    QlaeLoss {
        total: reconstruction.clone() * weights.reconstruction
            + quantization.clone() * weights.quantization
            + commitment.clone() * weights.commitment,
        reconstruction,
        quantization,
        commitment,
    }
}

/// Kullback-Leibler divergence of N(µ, σ²) from N(0, 1), the mean over the latents: `[batch]`.
pub fn kl_divergence(mean: Tensor<2>, deviation: Tensor<2>) -> Tensor<1> {
    let variance = deviation.clone().square();
    row_mean((mean.square() + variance - 1.0) * 0.5 - deviation.log())
}

/// The decomposition of the divergence by β-TCVAE (Chen et al. 2018), each `[batch]` and summed
/// over the latents.
#[derive(Clone, Debug)]
pub struct TotalCorrelationTerms {
    /// ln q(z|x) - ln q(z): index-code mutual information.
    pub mutual_information: Tensor<1>,
    /// ln q(z) - Σ_j ln q(z_j): total correlation.
    pub total_correlation: Tensor<1>,
    /// Σ_j ln q(z_j) - ln p(z): dimension-wise divergence.
    pub dimension_wise_kl: Tensor<1>,
}

/// The decomposition by minibatch-weighted sampling. `sample`, `mean` and `deviation` are
/// `[batch, latents]`; `data_set` is the number of training images N, which enters as
/// ln q(z) ≈ ln Σ_i q(z|x_i) - ln(batch · N).
pub fn total_correlation_terms(
    sample: Tensor<2>,
    mean: Tensor<2>,
    deviation: Tensor<2>,
    data_set: usize,
) -> TotalCorrelationTerms {
    let [batch, _] = sample.dims();
    let normaliser = ((batch * data_set) as f64).ln();
    let prior = log_normal(
        sample.clone(),
        Tensor::zeros_like(&sample),
        Tensor::ones_like(&sample),
    );
    let posterior = log_normal(sample.clone(), mean.clone(), deviation.clone());
    // [i, j, k]: latent k of sample i under the posterior of image j.
    let cross = log_normal(
        sample.unsqueeze_dim::<3>(1),
        mean.unsqueeze_dim(0),
        deviation.unsqueeze_dim(0),
    );
    let joint = log_sum_exp(cross.clone().sum_dim(2), 1).reshape([batch]) - normaliser;
    let marginals = log_sum_exp(cross, 1) - normaliser;
    let marginals = marginals.sum_dim(2).reshape([batch]);
    let row_sum = |x: Tensor<2>| x.sum_dim(1).reshape([batch]);
    TotalCorrelationTerms {
        mutual_information: row_sum(posterior) - joint.clone(),
        total_correlation: joint - marginals.clone(),
        dimension_wise_kl: marginals - row_sum(prior),
    }
}

/// `mean_j max(-z_j, 0)` per row: the non-negativity penalty of BioAE (Whittington et al. 2023).
pub fn negativity(latents: Tensor<2>) -> Tensor<1> {
    row_mean(relu(latents.neg()))
}

/// `mean_j z_j²` per row: the activity penalty of BioAE.
pub fn activity(latents: Tensor<2>) -> Tensor<1> {
    row_mean(latents.square())
}

/// `mean_j (ẑ_j - z_j)²` per row: how well the critic's head recovers the latents of a generated
/// image (InfoGAN).
pub fn latent_recovery(recovered: Tensor<2>, latents: Tensor<2>) -> Tensor<1> {
    row_mean((recovered - latents).square())
}

fn log_normal<const D: usize>(x: Tensor<D>, mean: Tensor<D>, deviation: Tensor<D>) -> Tensor<D> {
    let constant = 0.5 * std::f64::consts::TAU.ln();
    let standard = (x - mean) / deviation.clone();
    (standard.square() * 0.5 + deviation.log() + constant).neg()
}

fn log_sum_exp<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    let largest = x.clone().detach().max_dim(dim);
    (x - largest.clone()).exp().sum_dim(dim).log() + largest
}

fn per_sample(x: Tensor<4>) -> Tensor<1> {
    row_mean(x.flatten::<2>(1, 3))
}

fn row_mean(x: Tensor<2>) -> Tensor<1> {
    x.mean_dim(1).squeeze_dim(1)
}
