//! Which autoencoder: sizes, activation, input normalisation, initialisation.

use burn::config::Config;
use menagerie_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// A sparse autoencoder, or a transcoder where [`d_out`](Self::d_out) is set.
///
/// ```
/// use menagerie_sae::sae::{Activation, SaeConfig};
///
/// let config = SaeConfig::new(768, 24_576, Activation::topk(32));
/// assert_eq!(config.parameters(), 37_774_080);
/// let error = SaeConfig::new(16, 64, Activation::topk(65)).validate().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "SaeConfig.activation.k = 65: must be at least 1 and at most d_sae, 64"
/// );
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct SaeConfig {
    /// Width d of the activations that are read.
    pub d_in: usize,
    /// Number F of latents.
    pub d_sae: usize,
    /// From pre-activations to latents.
    pub activation: Activation,
    /// Width of the activations that are predicted, for a transcoder; `None` for an autoencoder,
    /// which reconstructs its input.
    #[config(default = "None")]
    pub d_out: Option<usize>,
    /// Whether `b_dec` is subtracted from the input. Never for a transcoder.
    #[config(default = true)]
    pub subtract_decoder_bias: bool,
    /// Whether pre-activations are multiplied by the norm of their decoder row before the
    /// selection and latents divided by it in the decoder (SAELens' `rescale_acts_by_decoder_norm`),
    /// so that selection sees what a latent adds to the output.
    #[config(default = false)]
    pub rescale_by_decoder_norm: bool,
    /// Whether a linear map of the input is added to the output (skip transcoder).
    #[config(default = false)]
    pub skip: bool,
    /// What is done to every input, and undone at the output.
    #[config(default = "Normalization::None")]
    pub normalization: Normalization,
    /// The initial dictionary.
    #[config(default = "Initialization::FixedNorm(0.1)")]
    pub initialization: Initialization,
}

/// From pre-activations h to latents z.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Activation {
    /// max(h, 0).
    Relu,
    /// The k largest of each row, negative ones set to 0.
    TopK {
        /// Latents that are kept per row.
        k: usize,
        /// Whether the gradient also flows into a kept pre-activation below 0, as in sparsify's
        /// own backward pass.
        #[serde(default)]
        leaky_gradient: bool,
    },
    /// The k · n largest of a batch of n rows; with a threshold in its place at inference.
    BatchTopK {
        /// Latents that are kept per row on average.
        k: usize,
    },
    /// The largest of each of k groups of neighbouring latents, negative ones set to 0.
    GroupMax {
        /// The number of groups, which divides the number of latents.
        k: usize,
    },
    /// h where h > θ, else 0, with a learned θ per latent.
    JumpRelu {
        /// How θ is stored.
        threshold: Threshold,
        /// Width ε of the kernel of the straight-through estimators.
        bandwidth: f64,
        /// The initial θ.
        initial: f64,
    },
    /// h itself, also where it is negative: with identity matrices the baseline that loses nothing
    /// ([`SaeConfig::identity`]).
    Identity,
    /// A gate 1\[π > 0\] times a magnitude max(m, 0), which share the encoder's weights.
    Gated,
}

/// How a JumpReLU's threshold is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Threshold {
    /// θ itself (dictionary_learning, Gemma Scope).
    Plain,
    /// log θ (SAELens while training).
    Log,
}

/// What is done to every input row x, and undone at the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Normalization {
    /// Nothing.
    None,
    /// x · √d / ‖x‖.
    ConstantNorm,
    /// (x - mean) / (std + 1e-5), with the unbiased standard deviation; the output is multiplied
    /// by std and the mean added (OpenAI).
    LayerNorm,
}

/// The initial dictionary; the encoder starts as its transpose unless said otherwise, and the biases
/// at 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Initialization {
    /// Random rows of this norm: 1 in Bricken et al., 0.1 after the April update.
    FixedNorm(f64),
    /// Kaiming-uniform: every entry within ± √(6 / d) (SAELens' default before normalising).
    KaimingUniform,
    /// A decoder of zeros and a random encoder (sparsify's transcoders).
    ZeroDecoder,
    /// OpenAI: an encoder with entries within ± 1 / √d (PyTorch's `Linear`), and the decoder its
    /// rows at unit norm. Their code then scales the encoder, see
    /// [`SparseAutoencoder::rescale_encoder`](super::SparseAutoencoder::rescale_encoder).
    OpenAi,
    /// The identity as both, for as many latents as dimensions.
    Identity,
}

impl Activation {
    /// TopK with the gradient of a ReLU.
    pub fn topk(k: usize) -> Self {
        Self::TopK {
            k,
            leaky_gradient: false,
        }
    }

    /// JumpReLU as SAELens trains it: log θ, θ = 0.01, bandwidth 0.05.
    pub fn jump_relu() -> Self {
        Self::JumpRelu {
            threshold: Threshold::Log,
            bandwidth: 0.05,
            initial: 0.01,
        }
    }

    /// JumpReLU with thresholds θ as they are, for inference and dictionary_learning.
    pub fn jump_relu_plain() -> Self {
        Self::JumpRelu {
            threshold: Threshold::Plain,
            bandwidth: 0.001,
            initial: 0.001,
        }
    }

    /// The number of latents kept per row, where it is fixed.
    pub fn k(&self) -> Option<usize> {
        match *self {
            Self::TopK { k, .. } | Self::BatchTopK { k } | Self::GroupMax { k } => Some(k),
            _ => None,
        }
    }
}

impl SaeConfig {
    const NAME: &str = "SaeConfig";

    /// SAEs on the residual stream of GPT-2 small of `gpt2-small-res-jb`.
    pub fn gpt2_small_res_jb() -> Self {
        Self::new(768, 24_576, Activation::Relu)
    }

    /// SAEs on the attention outputs of GPT-2 small of `gpt2-small-hook-z-kk`; twice as wide in
    /// layers 5 and 7.
    pub fn gpt2_small_hook_z_kk(layer: usize) -> Self {
        let width = if matches!(layer, 5 | 7) {
            49_152
        } else {
            24_576
        };
        Self::new(768, width, Activation::Relu)
    }

    /// OpenAI's TopK autoencoders of GPT-2 small (Gao et al.), on layer-normalised inputs.
    pub fn openai_v5_32k() -> Self {
        Self::new(768, 32_768, Activation::topk(32))
            .with_normalization(Normalization::LayerNorm)
            .with_initialization(Initialization::OpenAi)
    }

    /// [`openai_v5_32k`](Self::openai_v5_32k) with 131,072 latents.
    pub fn openai_v5_128k() -> Self {
        Self {
            d_sae: 131_072,
            ..Self::openai_v5_32k()
        }
    }

    /// Gemma Scope: JumpReLU, no bias at the input. Width 2,304 for Gemma-2 2B, 3,584 for 9B.
    pub fn gemma_scope(d_in: usize, d_sae: usize) -> Self {
        Self::new(d_in, d_sae, Activation::jump_relu_plain()).with_subtract_decoder_bias(false)
    }

    /// Llama Scope on Llama 3.1 8B, `expansion` 8 or 32.
    pub fn llama_scope(expansion: usize) -> Self {
        Self::new(4_096, 4_096 * expansion, Activation::jump_relu_plain())
            .with_subtract_decoder_bias(false)
    }

    /// Latents that are the activations themselves: what metrics give where nothing is lost.
    pub fn identity(d_in: usize) -> Self {
        Self::new(d_in, d_in, Activation::Identity)
            .with_subtract_decoder_bias(false)
            .with_initialization(Initialization::Identity)
    }

    /// Width of the output.
    pub fn output(&self) -> usize {
        self.d_out.unwrap_or(self.d_in)
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        let (d, f, out) = (self.d_in, self.d_sae, self.output());
        let extra = match self.activation {
            Activation::JumpRelu { .. } => f,
            Activation::Gated => 2 * f,
            _ => 0,
        };
        d * f + f * out + f + out + extra + if self.skip { out * d } else { 0 }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: String| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        let positive = |value: f64| value.is_finite() && value > 0.0;
        for (field, value) in [
            ("d_in", self.d_in),
            ("d_sae", self.d_sae),
            ("d_out", self.output()),
        ] {
            if value == 0 {
                return refuse(field, &value, "must be at least 1".into());
            }
        }
        if let Some(k) = self.activation.k()
            && (k == 0 || k > self.d_sae)
        {
            let rule = format!("must be at least 1 and at most d_sae, {}", self.d_sae);
            return refuse("activation.k", &k, rule);
        }
        match self.activation {
            Activation::GroupMax { k } if !self.d_sae.is_multiple_of(k) => {
                let rule = format!("must be a multiple of the number of groups, {k}");
                return refuse("d_sae", &self.d_sae, rule);
            }
            Activation::JumpRelu {
                bandwidth, initial, ..
            } => {
                if !positive(bandwidth) {
                    let rule = "must be finite and above 0".into();
                    return refuse("activation.bandwidth", &bandwidth, rule);
                }
                if !positive(initial) {
                    let rule = "must be finite and above 0".into();
                    return refuse("activation.initial", &initial, rule);
                }
            }
            _ => {}
        }
        let transcoder = self.d_out.is_some();
        if transcoder && self.subtract_decoder_bias {
            let rule = "must be false for a transcoder, whose b_dec belongs to the output".into();
            return refuse("subtract_decoder_bias", &true, rule);
        }
        if transcoder && self.normalization != Normalization::None {
            let rule = "must be None for a transcoder".into();
            return refuse("normalization", &self.normalization, rule);
        }
        if self.normalization == Normalization::LayerNorm && self.d_in < 2 {
            let rule = "must be at least 2 for a standard deviation".into();
            return refuse("d_in", &self.d_in, rule);
        }
        if self.initialization == Initialization::Identity
            && (self.d_sae != self.d_in || self.output() != self.d_in)
        {
            let rule = format!("must be d_in, {}, for the identity", self.d_in);
            return refuse("d_sae", &self.d_sae, rule);
        }
        if let Initialization::FixedNorm(norm) = self.initialization
            && !positive(norm)
        {
            let rule = "must be finite and above 0".into();
            return refuse("initialization.FixedNorm", &norm, rule);
        }
        Ok(())
    }
}
