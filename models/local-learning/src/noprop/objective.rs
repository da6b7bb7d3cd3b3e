//! Losses: pure functions of tensors and of given draws, each `[1]`, the mean over the batch of sums
//! over the width of the embedding.

use super::readout::Readout;
use burn::tensor::{Int, Tensor};
use menagerie_nn::transformer::cross_entropy;

/// `√ᾱ u + √(1 - ᾱ) ε` of embeddings and noise, both `[batch, dim]`: a draw of q(z | y).
pub fn noised(u: Tensor<2>, alpha_bar: f64, noise: Tensor<2>) -> Tensor<2> {
    u * alpha_bar.sqrt() + noise * (1.0 - alpha_bar).sqrt()
}

/// The cross-entropy, in nats, of the classes `[batch]` at z `[batch, dim]`.
pub fn classification(readout: &Readout, z: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    cross_entropy(readout.scores(z), labels).mean()
}

/// The divergence of q(z₀ | y) = N(√ᾱ₀ u, (1 - ᾱ₀) I) from N(0, I) for embeddings `[batch, dim]`:
/// ½ (ᾱ₀ ‖u‖² + d (1 - ᾱ₀) - d - d ln(1 - ᾱ₀)). `alpha_bar` and `log_noise` = ln(1 - ᾱ₀) are `[1]`.
pub fn divergence(u: Tensor<2>, alpha_bar: Tensor<1>, log_noise: Tensor<1>) -> Tensor<1> {
    let dim = u.dims()[1] as f64;
    let square = squared_rows(u).mean();
    (alpha_bar.clone() * (square - dim) - log_noise * dim) * 0.5
}

/// `‖x‖²` of rows `[batch, dim]`: `[batch]`.
pub fn squared_rows(x: Tensor<2>) -> Tensor<1> {
    x.square().sum_dim(1).squeeze_dim(1)
}

/// The parts of the objective of a block (equation 8), `[1]` each, and what it saw.
#[derive(Clone, Debug)]
pub struct DtLoss {
    /// What is minimised.
    pub total: Tensor<1>,
    /// Cross-entropy of the head at a draw of the last z.
    pub classification: Tensor<1>,
    /// Divergence of the first z from the prior.
    pub divergence: Tensor<1>,
    /// The squared error of the block's embedding, with its weight.
    pub denoising: Tensor<1>,
    /// The draw of the last z, `[batch, dim]`.
    pub last: Tensor<2>,
    /// The draw of the z before the block, `[batch, dim]`.
    pub before: Tensor<2>,
    /// The block's embedding, `[batch, dim]`.
    pub estimate: Tensor<2>,
}

/// The parts of the objective in continuous time (equation 9), `[1]` each, and what it saw.
#[derive(Clone, Debug)]
pub struct CtLoss {
    /// What is minimised.
    pub total: Tensor<1>,
    /// Cross-entropy of the head at a draw of z at time 1.
    pub classification: Tensor<1>,
    /// Divergence of z at time 0 from the prior.
    pub divergence: Tensor<1>,
    /// The squared error of the block's embedding, with its weight.
    pub denoising: Tensor<1>,
    /// ᾱ at the drawn times, `[batch]`.
    pub alpha_bar: Tensor<1>,
    /// The derivative of the signal-to-noise ratio there, `[batch]`.
    pub snr_rate: Tensor<1>,
    /// The draw of z there, `[batch, dim]`.
    pub drawn: Tensor<2>,
    /// The block's embedding, `[batch, dim]`.
    pub estimate: Tensor<2>,
}

/// The parts of the objective of flow matching (equations 11 and 13), `[1]` each, and what it saw.
#[derive(Clone, Debug)]
pub struct FmLoss {
    /// What is minimised.
    pub total: Tensor<1>,
    /// The squared error of the velocity.
    pub flow: Tensor<1>,
    /// Cross-entropy of the head at the end that the velocity leads to, where embeddings are trained.
    pub anchor: Option<Tensor<1>>,
    /// The draw of z, `[batch, dim]`.
    pub drawn: Tensor<2>,
    /// The velocity, `[batch, dim]`.
    pub velocity: Tensor<2>,
}
