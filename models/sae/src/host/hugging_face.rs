//! Configurations from the `config.json` of a Hugging Face checkpoint.

use super::config::{Activation, Architecture, LanguageModelConfig, RotaryConfig, RotaryScaling};
use menagerie_core::{Error, Result, fs};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::path::Path;

/// What an error calls the file.
const FILE: &str = "config.json";

/// The values of `model_type` that are understood.
const MODEL_TYPES: &[(&str, Architecture)] = &[
    ("gpt2", Architecture::Gpt2),
    ("gpt_neox", Architecture::GptNeoX),
    ("llama", Architecture::Llama),
    ("qwen2", Architecture::Qwen2),
    ("qwen3", Architecture::Qwen3),
    ("gemma2", Architecture::Gemma2),
];

impl LanguageModelConfig {
    /// Reads the text of a `config.json`; what it leaves out has the value that the transformers
    /// library gives it.
    ///
    /// # Errors
    /// [`Error::Unknown`] for another `model_type`, [`Error::Format`] for malformed JSON or a
    /// missing field, [`Error::Config`] for a value that no model can be built from or that asks for
    /// something these hosts do not do.
    pub fn from_hugging_face(text: &str) -> Result<Self> {
        let malformed = |problem: String| Error::format(FILE, problem);
        let fields: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let name = fields
            .get("model_type")
            .and_then(Value::as_str)
            .ok_or_else(|| malformed("no `model_type`".into()))?;
        let architecture = MODEL_TYPES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, architecture)| *architecture)
            .ok_or_else(|| {
                Error::unknown(
                    "model_type",
                    name,
                    MODEL_TYPES.iter().map(|(name, _)| *name),
                )
            })?;
        // A null says the same as no field at all, but for Gemma's caps, which it turns off.
        let given = fields
            .into_iter()
            .filter(|(name, value)| !value.is_null() || name.ends_with("_softcapping"));
        let fields = Value::Object(given.collect());
        let config = match architecture {
            Architecture::Gpt2 => read::<Gpt2>(fields)?.config()?,
            Architecture::GptNeoX => read::<GptNeoX>(fields)?.config()?,
            _ => read::<Llama>(fields)?.config(architecture)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// As [`from_hugging_face`](Self::from_hugging_face), and [`Error::Io`].
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_hugging_face(&fs::read_to_string(path)?).map_err(|error| match error {
            Error::Format { problem, .. } => Error::format(path, problem),
            error => error,
        })
    }
}

fn read<T: DeserializeOwned>(fields: Value) -> Result<T> {
    serde_json::from_value(fields).map_err(|error| Error::format(FILE, error.to_string()))
}

fn activation(field: &str, name: &str) -> Result<Activation> {
    match name {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "silu" | "swish" => Ok(Activation::Silu),
        "relu" => Ok(Activation::Relu),
        _ => Err(refuse(
            field,
            name,
            "must be gelu, gelu_new, gelu_pytorch_tanh, silu or relu",
        )),
    }
}

fn refuse(field: &str, value: impl std::fmt::Debug, rule: &str) -> Error {
    Error::config(FILE, field, value, rule)
}

/// Refuses switches that are on where these hosts have nothing of the kind.
fn off(switches: &[(&str, bool)]) -> Result<()> {
    match switches.iter().find(|(_, on)| *on) {
        None => Ok(()),
        Some((field, _)) => Err(refuse(field, true, "is not supported: must be false")),
    }
}

#[derive(Deserialize)]
struct Gpt2 {
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: Option<String>,
    layer_norm_epsilon: Option<f64>,
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    scale_attn_weights: Option<bool>,
}

impl Gpt2 {
    fn config(self) -> Result<LanguageModelConfig> {
        off(&[(
            "scale_attn_by_inverse_layer_idx",
            self.scale_attn_by_inverse_layer_idx,
        )])?;
        let name = self.activation_function.as_deref().unwrap_or("gelu_new");
        let config = LanguageModelConfig::gpt2(
            self.vocab_size,
            self.n_positions,
            self.n_embd,
            self.n_layer,
            self.n_head,
        );
        let unscaled = self.scale_attn_weights == Some(false);
        Ok(LanguageModelConfig {
            mlp_size: self.n_inner.unwrap_or(config.mlp_size),
            activation: activation("activation_function", name)?,
            epsilon: self.layer_norm_epsilon.unwrap_or(1e-5),
            tied: self.tie_word_embeddings.unwrap_or(true),
            query_scale: unscaled.then_some(1.0),
            ..config
        })
    }
}

#[derive(Deserialize)]
struct GptNeoX {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: Option<usize>,
    rotary_pct: Option<f64>,
    rotary_emb_base: Option<f64>,
    rope_theta: Option<f64>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    use_parallel_residual: Option<bool>,
    attention_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
}

impl GptNeoX {
    fn config(self) -> Result<LanguageModelConfig> {
        let rope = self
            .rope_parameters
            .or(self.rope_scaling)
            .unwrap_or_default();
        let head_size = self.hidden_size / self.num_attention_heads.max(1);
        let share = self
            .rotary_pct
            .or(rope.partial_rotary_factor)
            .unwrap_or(0.25);
        if !(share > 0.0 && share <= 1.0) {
            return Err(refuse("rotary_pct", share, "must be above 0 and at most 1"));
        }
        let theta = self.rotary_emb_base.or(self.rope_theta).or(rope.rope_theta);
        let rotary = RotaryConfig {
            theta: theta.unwrap_or(10_000.0),
            size: (head_size as f64 * share) as usize,
            scaling: rope.scaling()?,
        };
        let bias = self.attention_bias.unwrap_or(true);
        Ok(LanguageModelConfig::new(
            Architecture::GptNeoX,
            self.vocab_size,
            self.max_position_embeddings.unwrap_or(2048),
            self.hidden_size,
            self.num_hidden_layers,
            self.num_attention_heads,
            self.num_attention_heads,
            head_size,
            self.intermediate_size,
            activation("hidden_act", self.hidden_act.as_deref().unwrap_or("gelu"))?,
        )
        .with_epsilon(self.layer_norm_eps.unwrap_or(1e-5))
        .with_rotary(Some(rotary))
        .with_parallel(self.use_parallel_residual.unwrap_or(true))
        .with_tied(self.tie_word_embeddings.unwrap_or(false))
        .with_qkv_bias(bias)
        .with_output_bias(bias)
        .with_mlp_bias(true))
    }
}

/// Llama and what descends from it.
#[derive(Deserialize)]
struct Llama {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    sliding_window: Option<usize>,
    query_pre_attn_scalar: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    attn_logit_softcapping: Option<Option<f64>>,
    #[serde(default, deserialize_with = "given")]
    final_logit_softcapping: Option<Option<f64>>,
}

/// A field that is there, if only to say null.
fn given<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::deserialize(field).map(Some)
}

impl Llama {
    fn config(self, architecture: Architecture) -> Result<LanguageModelConfig> {
        off(&[("use_sliding_window", self.use_sliding_window)])?;
        let gemma = architecture == Architecture::Gemma2;
        let biased = self.attention_bias.unwrap_or(false);
        let own_head = self.hidden_size / self.num_attention_heads.max(1);
        let head_size = self.head_dim.unwrap_or(match architecture {
            Architecture::Gemma2 => 256,
            Architecture::Qwen3 => 128,
            _ => own_head,
        });
        let kv_heads = match architecture {
            Architecture::Gemma2 => self.num_key_value_heads.unwrap_or(4),
            _ => self.num_key_value_heads.unwrap_or(self.num_attention_heads),
        };
        let context = self.max_position_embeddings.unwrap_or(match architecture {
            Architecture::Llama => 2048,
            Architecture::Gemma2 => 8192,
            _ => 32_768,
        });
        let rope = self
            .rope_parameters
            .or(self.rope_scaling)
            .unwrap_or_default();
        let rotary = RotaryConfig {
            theta: self.rope_theta.or(rope.rope_theta).unwrap_or(10_000.0),
            size: head_size,
            scaling: rope.scaling()?,
        };
        let named = match gemma {
            true => self.hidden_activation.or(self.hidden_act),
            false => self.hidden_act,
        };
        let usual = if gemma { "gelu_pytorch_tanh" } else { "silu" };
        let config = LanguageModelConfig::new(
            architecture,
            self.vocab_size,
            context,
            self.hidden_size,
            self.num_hidden_layers,
            self.num_attention_heads,
            kv_heads,
            head_size,
            self.intermediate_size,
            activation("hidden_act", named.as_deref().unwrap_or(usual))?,
        )
        .with_epsilon(self.rms_norm_eps.unwrap_or(1e-6))
        .with_rotary(Some(rotary))
        .with_tied(self.tie_word_embeddings.unwrap_or(gemma))
        // Qwen2 has these biases without saying so.
        .with_qkv_bias(biased || architecture == Architecture::Qwen2)
        .with_output_bias(biased && architecture != Architecture::Qwen2)
        .with_mlp_bias(self.mlp_bias && architecture == Architecture::Llama);
        if !gemma {
            return Ok(config);
        }
        Ok(LanguageModelConfig {
            query_scale: Some(self.query_pre_attn_scalar.unwrap_or(256.0)),
            attention_softcap: self.attn_logit_softcapping.unwrap_or(Some(50.0)),
            logit_softcap: self.final_logit_softcapping.unwrap_or(Some(30.0)),
            window: Some(self.sliding_window.unwrap_or(4096)),
            ..config
        })
    }
}

/// Rotary settings, called `rope_scaling` in older files and `rope_parameters` in newer ones.
#[derive(Default, Deserialize)]
struct Rope {
    rope_type: Option<String>,
    /// The older name of `rope_type`.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

impl Rope {
    fn scaling(&self) -> Result<Option<RotaryScaling>> {
        fn needed<T: Copy>(field: &str, value: Option<T>) -> Result<T> {
            let rule = "this rope_type needs it";
            value.ok_or_else(|| refuse(&format!("rope_scaling.{field}"), "missing", rule))
        }
        let name = self.rope_type.as_deref().or(self.r#type.as_deref());
        match name.unwrap_or("default") {
            "default" => Ok(None),
            "linear" => Ok(Some(RotaryScaling::Linear {
                factor: needed("factor", self.factor)?,
            })),
            "llama3" => Ok(Some(RotaryScaling::Llama3 {
                factor: needed("factor", self.factor)?,
                low: needed("low_freq_factor", self.low_freq_factor)?,
                high: needed("high_freq_factor", self.high_freq_factor)?,
                original: needed(
                    "original_max_position_embeddings",
                    self.original_max_position_embeddings,
                )?,
            })),
            name => Err(refuse(
                "rope_scaling.rope_type",
                name,
                "must be default, linear or llama3",
            )),
        }
    }
}
