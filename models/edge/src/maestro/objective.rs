//! The objective and the ranks of a step.

use super::config::{MaestroConfig, Sampling};
use super::network::{Factored, Network, Ranks};
use super::norm::Mode;
use burn::tensor::{
    Int, Tensor,
    activation::{log_softmax, softmax},
};
use menagerie_core::{Result, Seed};
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

/// What a pass made of a batch.
#[derive(Clone, Debug)]
pub struct Scored {
    /// `[rows, classes]`.
    pub logits: Tensor<2>,
    /// `[rows]`.
    pub labels: Tensor<1, Int>,
    /// How much each row counts, `[rows]`; all of them the same where there is none.
    pub weights: Option<Tensor<1>>,
}

impl Scored {
    /// The mean of a number for each row, `[1]`.
    fn mean(&self, rows: Tensor<1>) -> Tensor<1> {
        match &self.weights {
            None => rows.mean(),
            Some(weights) => (rows * weights.clone()).sum() / weights.clone().sum(),
        }
    }
}

/// A network that [`Training`](super::Training) can train.
pub trait Trainable: Factored {
    /// What a step learns from.
    type Batch: Clone;

    /// A pass in training at the ranks of a step, which draws from `seed`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the batch does not fit.
    fn scored(&self, batch: &Self::Batch, ranks: &Ranks, seed: Seed) -> Result<Scored>;
}

/// Images `[batch, channels, height, width]` with their classes `[batch]`.
pub type Labelled = (Tensor<4>, Tensor<1, Int>);

impl<N: Network> Trainable for N {
    type Batch = Labelled;

    fn scored(&self, (images, labels): &Labelled, ranks: &Ranks, _: Seed) -> Result<Scored> {
        Ok(Scored {
            logits: self.run(images.clone(), ranks, Mode::Train)?,
            labels: labels.clone(),
            weights: None,
        })
    }
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
    loss_of(network, config, &(images, labels), ranks, Seed(0))
}

/// The objective of any batch at the ranks of a step, whose passes draw from `seed`.
///
/// # Errors
/// What [`Trainable::scored`] reports.
///
/// # Panics
/// If a label is no class.
pub fn loss_of<N: Trainable>(
    network: &N,
    config: &MaestroConfig,
    batch: &N::Batch,
    ranks: &Ranks,
    seed: Seed,
) -> Result<Loss> {
    let cut = network.scored(batch, ranks, seed.stream("cut"))?;
    let (partial, full, full_logits) = match config.full_pass {
        false => {
            let rows = cross_entropy(cut.logits.clone(), cut.labels.clone());
            (cut.mean(rows), None, None)
        }
        true => {
            let whole = network.scored(batch, &Ranks::Full, seed.stream("whole"))?;
            let taught = softmax(whole.logits.clone(), 1).detach();
            let rows = -(taught * log_softmax(cut.logits.clone(), 1)).sum_dim(1);
            let full = cross_entropy(whole.logits.clone(), whole.labels.clone());
            let full = whole.mean(full);
            (
                cut.mean(rows.squeeze_dim(1)),
                Some(full),
                Some(whole.logits),
            )
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
        partial_logits: cut.logits,
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
