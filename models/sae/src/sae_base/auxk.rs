//! AuxK: the most active dead latents reconstruct what the living ones leave over (Gao et al.
//! 2406.04093, appendix A.2), in the conventions of five code bases.

use super::{
    codes::Scaling,
    model::SparseAutoencoder,
    objective::{mask, total_variance},
};
use burn::tensor::{Tensor, activation::relu};
use menagerie_core::{Error, Result};
use menagerie_nn::sparse::{Pattern, weighted_rows};
use serde::{Deserialize, Serialize};

/// The auxiliary term.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuxK {
    /// Whose details.
    pub convention: Convention,
    /// How many dead latents take part at most; d / 2 where it is `None`.
    pub k: Option<usize>,
    /// The weight of the term, 1/32 in most code.
    pub coefficient: f64,
}

/// What code bases do differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Convention {
    /// Living pre-activations count as 0, ReLU after the selection; target x - sg(x') + sg(b_dec),
    /// decoded with b_dec; over the mean squared deviation of that target from its batch mean.
    OpenAi,
    /// ReLU of the dead pre-activations, decoded without bias; target sg(x - x'), over its
    /// variance in the batch.
    DictionaryLearning,
    /// ReLU, decoded with b_dec; target sg(y - x'), over the variance of y in the batch, times
    /// min(dead / (d/2), 1); moves the decoder alone.
    Sparsify,
    /// Dead pre-activations as they are, also negative ones, decoded with b_dec and rescaled by
    /// the norms; target sg(x - x'); times min(dead / (d/2), 1).
    SaeLens,
    /// An older sparsify, vendored in the code of the dark-matter paper: target x' - y, of the
    /// wrong sign and not constant; moves the encoder, too, else as [`Sparsify`](Self::Sparsify).
    /// For comparison with runs of that code.
    OldSparsify,
}

impl Convention {
    /// Whether the batch at hand counts when latents are held to be dead.
    pub(crate) fn counts_the_batch(self) -> bool {
        matches!(self, Self::OpenAi | Self::DictionaryLearning)
    }

    /// Whether a latent is dead after more than the given time, rather than from it on.
    pub(crate) fn is_strict(self) -> bool {
        self != Self::DictionaryLearning
    }

    /// What an activation has to exceed to count as one.
    pub(crate) fn fired_above(self) -> f32 {
        match self {
            Self::OpenAi => 1e-3,
            _ => 0.0,
        }
    }
}

impl AuxK {
    /// The usual weight 1/32 and number of latents: 256 in OpenAI's code, d / 2 in the others.
    pub fn new(convention: Convention) -> Self {
        Self {
            convention,
            k: (convention == Convention::OpenAi).then_some(256),
            coefficient: 1.0 / 32.0,
        }
    }

    /// Another number of latents.
    pub fn with_k(mut self, k: usize) -> Self {
        self.k = Some(k);
        self
    }

    /// Another weight.
    pub fn with_coefficient(mut self, coefficient: f64) -> Self {
        self.coefficient = coefficient;
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.k == Some(0) {
            return Err(Error::config("AuxK", "k", 0, "must be at least 1"));
        }
        if !self.coefficient.is_finite() {
            return Err(Error::config(
                "AuxK",
                "coefficient",
                self.coefficient,
                "must be finite",
            ));
        }
        Ok(())
    }
}

/// What the living latents leave over.
pub(crate) struct Residual<'a> {
    /// x' `[rows, d_out]`.
    pub reconstruction: &'a Tensor<2>,
    /// What it should be.
    pub target: &'a Tensor<2>,
    /// The normalisation of the input that x' undid.
    pub scaling: Option<&'a Scaling>,
}

/// The term before its coefficient `[1]`; `None` without a dead latent.
///
/// `input` `[rows, d]` is what the encoder multiplies, `scores` `[rows, latents]` the
/// pre-activations of all latents as constants.
pub(crate) fn auxiliary_loss(
    sae: &SparseAutoencoder,
    config: &AuxK,
    input: &Tensor<2>,
    scores: &Tensor<2>,
    dead: &[bool],
    residual: Residual,
) -> Option<Tensor<1>> {
    let count = dead.iter().filter(|&&dead| dead).count();
    let d = sae.config().d_in;
    if count == 0 {
        return None;
    }
    let k = config.k.unwrap_or((d / 2).max(1));
    let k = match config.convention {
        Convention::OpenAi => k.min(dead.len()),
        _ => k.min(count),
    };
    let dead_mask = mask(dead, scores);
    let living = dead_mask.clone().lower_elem(0.5).unsqueeze::<2>();
    let candidates = match config.convention {
        Convention::OpenAi => scores.clone() * dead_mask.clone().unsqueeze(),
        Convention::SaeLens => scores.clone().mask_fill(living, f32::NEG_INFINITY),
        _ => relu(scores.clone()).mask_fill(living, f32::NEG_INFINITY),
    };
    let pattern = Pattern::topk(&candidates, k);
    let h = sae.sampled(input.clone(), &pattern);
    let columns = pattern.column_indices(&h.device());
    let values = match config.convention {
        Convention::SaeLens => h,
        Convention::OpenAi => relu(h) * dead_mask.select(0, columns),
        Convention::DictionaryLearning | Convention::OldSparsify => relu(h),
        Convention::Sparsify => relu(h).detach(),
    };
    let values = match sae.config().rescale_by_decoder_norm {
        true => {
            let columns = pattern.column_indices(&values.device());
            values / sae.decoder_norms().select(0, columns)
        }
        false => values,
    };
    let sum = weighted_rows(values, sae.decoder.val(), &pattern);
    let bias = sae.b_dec.val().unsqueeze::<2>();
    let few = (count as f64 / (d / 2).max(1) as f64).min(1.0);
    let (x, x_hat) = (residual.target.clone(), residual.reconstruction.clone());
    let scaling = residual.scaling;
    Some(match config.convention {
        Convention::OpenAi => {
            // All of it in normalised units.
            let left = x - x_hat.detach();
            let left = match scaling {
                Some(Scaling { scale, .. }) => left / scale.clone(),
                None => left,
            };
            let residual = left + bias.clone().detach();
            let mean = residual.clone().mean_dim(0);
            let error = (sum + bias - residual.clone()).square().mean();
            finite(error / (mean - residual).square().mean())
        }
        Convention::DictionaryLearning => {
            let residual = (x - x_hat).detach();
            finite((residual.clone() - sum).square().sum() / total_variance(residual))
        }
        Convention::SaeLens => {
            let residual = (x - x_hat).detach();
            let rows = residual.dims()[0] as f64;
            // As every decoding, this one undoes the normalisation.
            let decoded = sae.undo(sum + bias, scaling);
            (decoded - residual).square().sum() * (few / rows)
        }
        Convention::Sparsify => {
            let residual = (x.clone() - x_hat).detach();
            (sum + bias - residual).square().sum() / total_variance(x) * few
        }
        Convention::OldSparsify => {
            let residual = x_hat - x.clone();
            (sum + bias - residual).square().sum() / total_variance(x) * few
        }
    })
}

/// 0 for a ratio that is not a number, as with a residual without variance.
fn finite(ratio: Tensor<1>) -> Tensor<1> {
    let undefined = ratio.clone().is_nan();
    ratio.mask_fill(undefined, 0.0)
}
