//! Sizes and the strength of the gradient.

use crate::sae::{Activation, Initialization, SaeConfig};
use burn::config::Config;
use menagerie_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// A TopK autoencoder that selects by pre-activation and gradient.
///
/// ```
/// use menagerie_sae::gradient_sae::GradientSaeConfig;
///
/// assert_eq!(GradientSaeConfig::gpt2_small().parameters(), 37_774_080);
/// let error = GradientSaeConfig::new(16, 64, 4).with_beta(-1.0).validate().unwrap_err();
/// assert_eq!(error.to_string(), "GradientSaeConfig.beta = -1.0: must be finite and at least 0");
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct GradientSaeConfig {
    /// Width d of the activations.
    pub d_in: usize,
    /// Number F of latents.
    pub d_sae: usize,
    /// Latents that are kept per row.
    pub k: usize,
    /// β: the weight of the attribution in the score; 0 is plain TopK.
    #[config(default = 1.0)]
    pub beta: f64,
    /// What g is measured in.
    #[config(default = "GradientScale::Sum")]
    pub gradient: GradientScale,
}

/// What the gradient is measured in, which sets what β means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GradientScale {
    /// Of the sum of next-token cross-entropies over positions, in nats.
    Sum,
    /// Divided by its mean norm over the batch, so that β does not depend on the loss.
    UnitMeanNorm,
}

impl GradientSaeConfig {
    const NAME: &str = "GradientSaeConfig";

    /// Layer 7 of GPT-2 small, the paper's main setting, with 24,576 latents and k = 32; the
    /// paper's own numbers of both are not known.
    pub fn gpt2_small() -> Self {
        Self::new(768, 24_576, 32)
    }

    /// The same with 32,768 latents.
    pub fn gpt2_small_32k() -> Self {
        Self::new(768, 32_768, 32)
    }

    /// The small character model: width 64, 384 latents.
    pub fn small(k: usize) -> Self {
        Self::new(64, 384, k)
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.sae().parameters()
    }

    /// The autoencoder behind the selection.
    pub fn sae(&self) -> SaeConfig {
        SaeConfig::new(self.d_in, self.d_sae, Activation::topk(self.k))
            .with_initialization(Initialization::FixedNorm(1.0))
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.k == 0 || self.k > self.d_sae {
            let rule = format!("must be at least 1 and at most d_sae, {}", self.d_sae);
            return Err(Error::config(Self::NAME, "k", self.k, rule));
        }
        if !(self.beta.is_finite() && self.beta >= 0.0) {
            let rule = "must be finite and at least 0";
            return Err(Error::config(Self::NAME, "beta", self.beta, rule));
        }
        self.sae().validate()
    }
}
