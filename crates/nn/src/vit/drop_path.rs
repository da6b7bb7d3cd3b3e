//! Stochastic depth (Huang et al., arXiv:1603.09382): whole branches left out, per sample.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

/// What the branches of a block count for in each sample: 0, or `1 / (1 - rate)`; `[batch, 1, 1]`.
#[derive(Clone, Debug)]
pub struct Keep {
    /// Of the attention.
    pub attention: Tensor<3>,
    /// Of the multilayer perceptron.
    pub mlp: Tensor<3>,
}

/// Rates that grow linearly over `depth` blocks, from 0 at the first to `rate` at the last.
pub fn linear_rates(rate: f64, depth: usize) -> Vec<f64> {
    let last = depth.saturating_sub(1).max(1) as f64;
    (0..depth).map(|block| rate * block as f64 / last).collect()
}

/// One draw for a batch: for each block nothing where its rate is 0, else its factors.
///
/// # Errors
/// [`Error::Input`] for a rate outside of [0, 1).
pub fn draw_keep(
    rates: &[f64],
    batch: usize,
    seed: Seed,
    device: &Device,
) -> Result<Vec<Option<Keep>>> {
    let mut rng = seed.rng();
    let mut factors = |rate: f64| {
        let draws: Vec<f32> = (0..batch)
            .map(|_| match rng.random::<f64>() < rate {
                true => 0.0,
                false => (1.0 / (1.0 - rate)) as f32,
            })
            .collect();
        Tensor::from_data(TensorData::new(draws, [batch, 1, 1]), device)
    };
    rates
        .iter()
        .map(|&rate| match rate {
            0.0 => Ok(None),
            rate if (0.0..1.0).contains(&rate) => Ok(Some(Keep {
                attention: factors(rate),
                mlp: factors(rate),
            })),
            rate => Err(Error::input(
                "a rate of stochastic depth",
                rate,
                "must be at least 0 and below 1",
            )),
        })
        .collect()
}
