//! Sizes and switches of the hosts.

use burn::config::Config;
use menagerie_core::{Error, Result};

/// The families of language models that published sparse autoencoders read.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Learned positions, LayerNorm, fused `q | k | v`, tanh GELU (Radford et al. 2019).
    Gpt2,
    /// Parallel residual, partial rotary positions, exact GELU: Pythia (Biderman et al. 2023).
    GptNeoX,
    /// RMSNorm, rotary positions, grouped keys, gated SiLU (Touvron et al. 2023).
    Llama,
    /// Llama with biases on query, key and value.
    Qwen2,
    /// Llama with RMSNorm on every head's query and key.
    Qwen3,
    /// Four norms a block, soft-capped scores and logits, alternating sliding windows.
    Gemma2,
}

/// The non-linearity of an MLP.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x Φ(x)`, exactly.
    Gelu,
    /// `x Φ(x)` with the approximation by tanh (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// `x σ(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

/// Rotary positions: the halves of a head's first `size` numbers are turned against each other.
#[derive(Config, Debug, PartialEq)]
pub struct RotaryConfig {
    /// The base θ of the wavelengths.
    pub theta: f64,
    /// How many numbers of each head turn; even.
    pub size: usize,
    /// Stretched wavelengths of long-context models.
    #[config(default = "None")]
    pub scaling: Option<RotaryScaling>,
}

/// How wavelengths were stretched for a longer context.
#[derive(Config, Debug, PartialEq)]
pub enum RotaryScaling {
    /// Every frequency divided by `factor`.
    Linear {
        /// The stretch.
        factor: f64,
    },
    /// Llama 3.1: long wavelengths are stretched, short ones kept, those between interpolated.
    Llama3 {
        /// The stretch of long wavelengths.
        factor: f64,
        /// Wavelengths above `original / low` are long.
        low: f64,
        /// Wavelengths below `original / high` are short.
        high: f64,
        /// The context before the stretch.
        original: usize,
    },
}

/// A language model. Make one with a named constructor or from a `config.json`
/// ([`from_hugging_face`](Self::from_hugging_face)).
#[derive(Config, Debug, PartialEq)]
pub struct LanguageModelConfig {
    /// The family, which decides norms, gating and the order of the parts.
    pub architecture: Architecture,
    /// Number of tokens.
    pub vocabulary: usize,
    /// The longest sequence.
    pub context: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_size: usize,
    /// Width of the MLP.
    pub mlp_size: usize,
    /// Non-linearity of the MLP.
    pub activation: Activation,
    /// Added to the variance in norms.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// Rotary positions; `None` for learned ones.
    #[config(default = "None")]
    pub rotary: Option<RotaryConfig>,
    /// Whether attention and MLP read the same residual (`GptNeoX`).
    #[config(default = false)]
    pub parallel: bool,
    /// Whether the unembedding is the transposed embedding.
    #[config(default = true)]
    pub tied: bool,
    /// Whether query, key and value have biases.
    #[config(default = false)]
    pub qkv_bias: bool,
    /// Whether the attention's output has a bias.
    #[config(default = false)]
    pub output_bias: bool,
    /// Whether the MLP has biases.
    #[config(default = false)]
    pub mlp_bias: bool,
    /// Whether an untied unembedding has a bias (after the folding of norms).
    #[config(default = false)]
    pub head_bias: bool,
    /// Scores are divided by its square root; `None` for the width of a head.
    #[config(default = "None")]
    pub query_scale: Option<f64>,
    /// `c` in `c tanh(scores / c)`.
    #[config(default = "None")]
    pub attention_softcap: Option<f64>,
    /// `c` in `c tanh(logits / c)`.
    #[config(default = "None")]
    pub logit_softcap: Option<f64>,
    /// Tokens that even layers (from 0) see, the present one included.
    #[config(default = "None")]
    pub window: Option<usize>,
}

impl LanguageModelConfig {
    const NAME: &str = "LanguageModelConfig";

    /// A GPT-2 with learned positions and heads of `hidden / heads`.
    pub fn gpt2(
        vocabulary: usize,
        context: usize,
        hidden: usize,
        layers: usize,
        heads: usize,
    ) -> Self {
        Self::new(
            Architecture::Gpt2,
            vocabulary,
            context,
            hidden,
            layers,
            heads,
            heads,
            hidden / heads.max(1),
            4 * hidden,
            Activation::GeluTanh,
        )
        .with_qkv_bias(true)
        .with_output_bias(true)
        .with_mlp_bias(true)
    }

    /// GPT-2 small: 124,439,808 parameters.
    pub fn gpt2_small() -> Self {
        Self::gpt2(50_257, 1024, 768, 12, 12)
    }

    /// GPT-2 medium: 354,823,168 parameters.
    pub fn gpt2_medium() -> Self {
        Self::gpt2(50_257, 1024, 1024, 24, 16)
    }

    /// GPT-2 large: 774,030,080 parameters.
    pub fn gpt2_large() -> Self {
        Self::gpt2(50_257, 1024, 1280, 36, 20)
    }

    /// GPT-2 XL: 1,557,611,200 parameters.
    pub fn gpt2_xl() -> Self {
        Self::gpt2(50_257, 1024, 1600, 48, 25)
    }

    /// The character model of the small reproductions: GPT-2 with 6 layers of width 64, 4 heads
    /// and a context of 128.
    pub fn char_gpt(vocabulary: usize) -> Self {
        Self::gpt2(vocabulary, 128, 64, 6, 4)
    }

    /// Pythia 70M: 70,426,624 parameters.
    pub fn pythia_70m() -> Self {
        Self::pythia(512, 6, 8)
    }

    /// Pythia 160M: 162,322,944 parameters.
    pub fn pythia_160m() -> Self {
        Self::pythia(768, 12, 12)
    }

    fn pythia(hidden: usize, layers: usize, heads: usize) -> Self {
        let head_size = hidden / heads;
        Self::new(
            Architecture::GptNeoX,
            50_304,
            2048,
            hidden,
            layers,
            heads,
            heads,
            head_size,
            4 * hidden,
            Activation::Gelu,
        )
        .with_rotary(Some(RotaryConfig::new(10_000.0, head_size / 4)))
        .with_parallel(true)
        .with_tied(false)
        .with_qkv_bias(true)
        .with_output_bias(true)
        .with_mlp_bias(true)
    }

    /// Llama 3.1 8B: 8,030,261,248 parameters.
    pub fn llama_3_1_8b() -> Self {
        let scaling = RotaryScaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original: 8192,
        };
        Self::new(
            Architecture::Llama,
            128_256,
            131_072,
            4096,
            32,
            32,
            8,
            128,
            14_336,
            Activation::Silu,
        )
        .with_rotary(Some(
            RotaryConfig::new(500_000.0, 128).with_scaling(Some(scaling)),
        ))
        .with_tied(false)
    }

    /// Gemma 2 2B: 2,614,341,888 parameters.
    pub fn gemma_2_2b() -> Self {
        Self::gemma_2(2304, 26, 8, 4, 9216)
    }

    /// Gemma 2 9B: 9,241,705,984 parameters.
    pub fn gemma_2_9b() -> Self {
        Self::gemma_2(3584, 42, 16, 8, 14_336)
    }

    fn gemma_2(
        hidden: usize,
        layers: usize,
        heads: usize,
        kv_heads: usize,
        mlp_size: usize,
    ) -> Self {
        Self::new(
            Architecture::Gemma2,
            256_000,
            8192,
            hidden,
            layers,
            heads,
            kv_heads,
            256,
            mlp_size,
            Activation::GeluTanh,
        )
        .with_epsilon(1e-6)
        .with_rotary(Some(RotaryConfig::new(10_000.0, 256)))
        .with_query_scale(Some(256.0))
        .with_attention_softcap(Some(50.0))
        .with_logit_softcap(Some(30.0))
        .with_window(Some(4096))
    }

    /// Whether norms subtract the mean and add a bias (LayerNorm) or not (RMSNorm).
    pub fn layer_norm(&self) -> bool {
        matches!(
            self.architecture,
            Architecture::Gpt2 | Architecture::GptNeoX
        )
    }

    /// Whether the MLP multiplies its activation with a second projection.
    pub fn gated(&self) -> bool {
        !self.layer_norm()
    }

    /// Whether every head's query and key are normed.
    pub fn query_key_norm(&self) -> bool {
        self.architecture == Architecture::Qwen3
    }

    /// Whether the outputs of attention and MLP are normed before they are added.
    pub fn post_norms(&self) -> bool {
        self.architecture == Architecture::Gemma2
    }

    /// Width of query, key and value together.
    pub(crate) fn qkv_size(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_size
    }

    /// The number of parameters; those of a tied unembedding count once.
    pub fn parameters(&self) -> usize {
        let linear =
            |inputs: usize, outputs: usize, bias: bool| (inputs + usize::from(bias)) * outputs;
        let norm = |size: usize| size * (1 + usize::from(self.layer_norm()));
        let attention = linear(self.hidden, self.qkv_size(), self.qkv_bias)
            + linear(self.heads * self.head_size, self.hidden, self.output_bias)
            + usize::from(self.query_key_norm()) * 2 * norm(self.head_size);
        let up = self.mlp_size * (1 + usize::from(self.gated()));
        let mlp = linear(self.hidden, up, self.mlp_bias)
            + linear(self.mlp_size, self.hidden, self.mlp_bias);
        let norms = (2 + 2 * usize::from(self.post_norms())) * norm(self.hidden);
        let positions = match self.rotary {
            Some(_) => 0,
            None => self.context * self.hidden,
        };
        let head = match self.tied {
            true => 0,
            false => linear(self.hidden, self.vocabulary, self.head_bias),
        };
        self.vocabulary * self.hidden
            + positions
            + self.layers * (attention + mlp + norms)
            + norm(self.hidden)
            + head
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: String| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        for (field, value) in [
            ("vocabulary", self.vocabulary),
            ("context", self.context),
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_size", self.head_size),
            ("mlp_size", self.mlp_size),
            ("window", self.window.unwrap_or(1)),
        ] {
            if value == 0 {
                return refuse(field, &0, "must be at least 1".into());
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let rule = format!("must divide the {} query heads", self.heads);
            return refuse("kv_heads", &self.kv_heads, rule);
        }
        let fused = matches!(
            self.architecture,
            Architecture::Gpt2 | Architecture::GptNeoX
        );
        if fused && self.heads * self.head_size != self.hidden {
            let rule = format!("heads · head_size must be hidden = {}", self.hidden);
            return refuse("head_size", &self.head_size, rule);
        }
        if fused && self.kv_heads != self.heads {
            let rule = format!("this architecture has one per query head: {}", self.heads);
            return refuse("kv_heads", &self.kv_heads, rule);
        }
        for (field, value) in [
            ("epsilon", Some(self.epsilon)),
            ("query_scale", self.query_scale),
            ("attention_softcap", self.attention_softcap),
            ("logit_softcap", self.logit_softcap),
            ("rotary.theta", self.rotary.as_ref().map(|r| r.theta)),
        ] {
            if value.is_some_and(|value| !value.is_finite() || value <= 0.0) {
                return refuse(field, &value, "must be finite and above 0".into());
            }
        }
        match (&self.rotary, self.architecture) {
            (None, Architecture::Gpt2) => {}
            (Some(_), Architecture::Gpt2) => {
                return refuse("rotary", &self.rotary, "GPT-2 learns its positions".into());
            }
            (None, _) => {
                return refuse("rotary", &"None", "this architecture needs it".into());
            }
            (Some(rotary), _) => rotary.validate(self.head_size)?,
        }
        if self.head_bias && self.tied {
            return refuse("head_bias", &true, "a tied unembedding has no bias".into());
        }
        Ok(())
    }
}

impl RotaryConfig {
    const NAME: &str = "RotaryConfig";

    fn validate(&self, head_size: usize) -> Result<()> {
        if !self.size.is_multiple_of(2) || self.size == 0 || self.size > head_size {
            let rule = format!("must be even, above 0 and at most the head's width {head_size}");
            return Err(Error::config(Self::NAME, "size", self.size, rule));
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let fits = match self.scaling {
            None => true,
            Some(RotaryScaling::Linear { factor }) => positive(factor),
            Some(RotaryScaling::Llama3 {
                factor,
                low,
                high,
                original,
            }) => positive(factor) && positive(low) && low < high && original > 0,
        };
        if !fits {
            let rule = "needs positive, finite factors and a low factor below the high one";
            return Err(Error::config(Self::NAME, "scaling", &self.scaling, rule));
        }
        Ok(())
    }
}
