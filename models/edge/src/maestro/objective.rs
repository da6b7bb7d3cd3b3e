//! The objective and the ranks of a step.

use super::config::{MaestroConfig, Sampling};
use super::network::{Factored, Network, Ranks};
use super::norm::Mode;
use burn::tensor::{Int, Tensor, activation::softmax};
use menagerie_core::{Result, Seed};
use menagerie_nn::classification::soft_cross_entropy;
use menagerie_nn::transformer::cross_entropy;
use rand::{RngExt, seq::SliceRandom};

/// The parts of the objective of a step, of shape `[1]` each.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What is minimised.
    pub total: Tensor<1>,
    /// Cross-entropy of the truncated pass: with the labels, or with the whole network's
    /// probabilities where there is a full pass.
    pub partial: Tensor<1>,
    /// Cross-entropy of the whole network, where there is a full pass.
    pub full: Option<Tensor<1>>,
    /// The lasso, before weighting.
    pub lasso: Tensor<1>,
    /// Scores of the truncated pass, `[batch, classes]`.
    pub partial_logits: Tensor<2>,
    /// Scores of the whole network, where there is a full pass.
    pub full_logits: Option<Tensor<2>>,
}

/// The group lasso `Σ_layers Σ_b (‖u_b‖ + ‖v_b‖)`, of the norms of every rank alone or together with
/// those after it, of all ranks that are stored; `[1]`. A network without factors has none.
pub fn group_lasso(network: &impl Factored, hierarchical: bool) -> Option<Tensor<1>> {
    let layers = network.layers();
    let terms = layers
        .iter()
        .filter_map(|(_, layer)| layer.lasso(hierarchical));
    terms.reduce(|sum, term| sum + term)
}

/// The objective of images `[batch, channels, height, width]` with labels `[batch]` at the ranks of a
/// step.
///
/// # Errors
/// [`menagerie_core::Error::Input`] if the images are of another size.
///
/// # Panics
/// If a label is no class.
pub fn loss(
    network: &impl Network,
    config: &MaestroConfig,
    images: Tensor<4>,
    labels: Tensor<1, Int>,
    ranks: &Ranks,
) -> Result<Loss> {
    let partial_logits = network.run(images.clone(), ranks, Mode::Train)?;
    let (partial, full, full_logits) = match config.full_pass {
        false => {
            let partial = cross_entropy(partial_logits.clone(), labels).mean();
            (partial, None, None)
        }
        true => {
            let whole = network.run(images, &Ranks::Full, Mode::Train)?;
            let taught = softmax(whole.clone(), 1).detach();
            let partial = soft_cross_entropy(partial_logits.clone(), taught);
            let full = cross_entropy(whole.clone(), labels).mean();
            (partial, Some(full), Some(whole))
        }
    };
    let lasso = group_lasso(network, config.hierarchical);
    let lasso = lasso.unwrap_or_else(|| partial.zeros_like());
    let mut total = partial.clone() + lasso.clone() * config.lambda;
    if let Some(full) = &full {
        total = total + full.clone();
    }
    Ok(Loss {
        total,
        partial,
        full,
        lasso,
        partial_logits,
        full_logits,
    })
}

/// The ranks of every step of an epoch, whose layers have `ranks` left.
///
/// Layers without factors, which have no ranks, are never cut.
pub fn draw_ranks(sampling: Sampling, ranks: &[usize], steps: usize, seed: Seed) -> Vec<Ranks> {
    let mut rng = seed.rng();
    match sampling {
        Sampling::PerLayer => {
            let pairs = ranks.iter().enumerate();
            let mut pairs: Vec<(usize, usize)> = pairs
                .flat_map(|(layer, ranks)| (1..=*ranks).map(move |rank| (layer, rank)))
                .collect();
            let mut left: Vec<(usize, usize)> = Vec::new();
            (0..steps)
                .map(|_| {
                    if left.is_empty() {
                        pairs.shuffle(&mut rng);
                        left.clone_from(&pairs);
                    }
                    match left.pop() {
                        Some((layer, rank)) => Ranks::Cut { layer, rank },
                        None => Ranks::Full,
                    }
                })
                .collect()
        }
        Sampling::Uniform => (0..steps)
            .map(|_| {
                let of = ranks.iter().map(|ranks| match ranks {
                    0 => 0,
                    ranks => rng.random_range(1..=*ranks),
                });
                Ranks::Each(of.collect())
            })
            .collect(),
        Sampling::Fixed(share) => {
            let of = ranks
                .iter()
                .map(|ranks| (*ranks as f64 * share - 1e-9).ceil() as usize);
            vec![Ranks::Each(of.collect()); steps]
        }
    }
}
