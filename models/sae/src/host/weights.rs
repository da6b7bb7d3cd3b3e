//! Weights under the names of Hugging Face's checkpoints.

use super::{
    config::{Architecture, LanguageModelConfig},
    model::LanguageModel,
};
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::{KeyMap, Op, StateDict};
use std::path::Path;

/// Official names to [`LanguageModel`]'s parameters.
///
/// GPT-2's names are those with `transformer.`, GPT-NeoX's unembedding is `embed_out.weight`;
/// [`LanguageModel::load`] takes the other spellings too. Masks and rotary tables that older files
/// hold are ignored, and so is a tied `lm_head.weight`.
pub fn key_map(config: &LanguageModelConfig) -> KeyMap {
    let map = match config.architecture {
        Architecture::Gpt2 => gpt2(),
        Architecture::GptNeoX => gpt_neox(),
        Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 | Architecture::Gemma2 => {
            llama(config)
        }
    };
    match config.tied {
        true => map.ignore("lm_head.weight").ignore("embed_out.weight"),
        false => map,
    }
}

/// Conv1D keeps its weights as `[inputs, outputs]`, like Burn.
fn gpt2() -> KeyMap {
    let block = |official: &str| format!("transformer.h.{{l}}.{official}");
    let ours = |path: &str| format!("blocks.{{l}}.{path}");
    let mut map = KeyMap::new()
        .rename("transformer.wte.weight", "embedding")
        .rename("transformer.wpe.weight", "positions")
        .transpose("lm_head.weight", "head.weight")
        .rename("lm_head.bias", "head.bias")
        .ignore("transformer.h.*.attn.bias")
        .ignore("transformer.h.*.attn.masked_bias");
    map = norm(map, "transformer.ln_f", "final_norm");
    map = norm(map, &block("ln_1"), &ours("attention_norm"));
    map = norm(map, &block("ln_2"), &ours("mlp_norm"));
    for (official, module) in [
        ("attn.c_attn", "attention.qkv"),
        ("attn.c_proj", "attention.output"),
        ("mlp.c_fc", "mlp.up"),
        ("mlp.c_proj", "mlp.down"),
    ] {
        map = map
            .rename(
                &block(&format!("{official}.weight")),
                &ours(&format!("{module}.weight")),
            )
            .rename(
                &block(&format!("{official}.bias")),
                &ours(&format!("{module}.bias")),
            );
    }
    map
}

fn gpt_neox() -> KeyMap {
    let block = |official: &str| format!("gpt_neox.layers.{{l}}.{official}");
    let ours = |path: &str| format!("blocks.{{l}}.{path}");
    let mut map = KeyMap::new()
        .rename("gpt_neox.embed_in.weight", "embedding")
        .transpose("embed_out.weight", "head.weight")
        .ignore("gpt_neox.layers.*.attention.bias")
        .ignore("gpt_neox.layers.*.attention.masked_bias")
        .ignore("*.rotary_emb.inv_freq");
    map = norm(map, "gpt_neox.final_layer_norm", "final_norm");
    map = norm(map, &block("input_layernorm"), &ours("attention_norm"));
    map = norm(map, &block("post_attention_layernorm"), &ours("mlp_norm"));
    for (official, module) in [
        ("attention.query_key_value", "attention.qkv"),
        ("attention.dense", "attention.output"),
        ("mlp.dense_h_to_4h", "mlp.up"),
        ("mlp.dense_4h_to_h", "mlp.down"),
    ] {
        map = dense(map, &block(official), &ours(module));
    }
    map
}

fn llama(config: &LanguageModelConfig) -> KeyMap {
    let block = |official: &str| format!("model.layers.{{l}}.{official}");
    let ours = |path: &str| format!("blocks.{{l}}.{path}");
    let mut map = KeyMap::new()
        .rename("model.embed_tokens.weight", "embedding")
        .transpose("lm_head.weight", "head.weight")
        .ignore("*.rotary_emb.inv_freq")
        .rename("model.norm.weight", "final_norm.gain")
        .rename(
            &block("input_layernorm.weight"),
            &ours("attention_norm.gain"),
        );
    let norms: &[(&str, &str)] = match config.post_norms() {
        true => &[
            ("post_attention_layernorm", "attention_post_norm"),
            ("pre_feedforward_layernorm", "mlp_norm"),
            ("post_feedforward_layernorm", "mlp_post_norm"),
        ],
        false => &[("post_attention_layernorm", "mlp_norm")],
    };
    for (official, module) in norms.iter().chain(&[
        ("self_attn.q_norm", "attention.query_norm"),
        ("self_attn.k_norm", "attention.key_norm"),
    ]) {
        map = map.rename(
            &block(&format!("{official}.weight")),
            &ours(&format!("{module}.gain")),
        );
    }
    map = fused(
        map,
        &["q_proj", "k_proj", "v_proj"].map(|name| block(&format!("self_attn.{name}"))),
        &ours("attention.qkv"),
        &[config.heads, config.kv_heads, config.kv_heads],
    );
    map = fused(
        map,
        &["gate_proj", "up_proj"].map(|name| block(&format!("mlp.{name}"))),
        &ours("mlp.up"),
        &[1, 1],
    );
    map = dense(map, &block("self_attn.o_proj"), &ours("attention.output"));
    dense(map, &block("mlp.down_proj"), &ours("mlp.down"))
}

/// Gain and bias of a LayerNorm.
fn norm(map: KeyMap, official: &str, module: &str) -> KeyMap {
    map.rename(&format!("{official}.weight"), &format!("{module}.gain"))
        .rename(&format!("{official}.bias"), &format!("{module}.bias"))
}

/// A linear layer, weight `[outputs, inputs]` to `[inputs, outputs]`.
fn dense(map: KeyMap, official: &str, module: &str) -> KeyMap {
    map.transpose(&format!("{official}.weight"), &format!("{module}.weight"))
        .rename(&format!("{official}.bias"), &format!("{module}.bias"))
}

/// Linear layers of one input as one layer, their outputs side by side in proportion to `shares`.
fn fused(map: KeyMap, official: &[String], module: &str, shares: &[usize]) -> KeyMap {
    let names = |part: &str| -> Vec<String> {
        official
            .iter()
            .map(|name| format!("{name}.{part}"))
            .collect()
    };
    let join = Op::Concat {
        axis: 0,
        shares: shares.to_vec(),
    };
    map.rule(
        names("weight").iter().map(String::as_str),
        [format!("{module}.weight").as_str()],
        [join.clone(), Op::Permute(vec![1, 0])],
    )
    .rule(
        names("bias").iter().map(String::as_str),
        [format!("{module}.bias").as_str()],
        [join],
    )
}

impl LanguageModel {
    /// A model of `config` with `weights` under their official names.
    ///
    /// # Errors
    /// If the configuration is invalid; [`menagerie_core::Error::Weights`] that lists the missing,
    /// unexpected and misshapen keys.
    pub fn load(
        config: &LanguageModelConfig,
        weights: &StateDict,
        device: &Device,
    ) -> Result<Self> {
        let model = config.init(device)?;
        let weights = canonical(config, weights);
        menagerie_hub::load(model, &weights, &key_map(config))
    }

    /// Writes the weights as `.safetensors` under their official names, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let official = key_map(&self.config).to_official(&menagerie_hub::values(self))?;
        StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
    }
}

/// The same tensors under the spelling of names that [`key_map`] knows.
fn canonical(config: &LanguageModelConfig, weights: &StateDict) -> StateDict {
    let respell = |key: &str| match config.architecture {
        Architecture::Gpt2 if key.starts_with("transformer.") || key.starts_with("lm_head.") => {
            key.to_owned()
        }
        Architecture::Gpt2 => format!("transformer.{key}"),
        Architecture::GptNeoX if key == "lm_head.weight" => "embed_out.weight".to_owned(),
        _ => key.to_owned(),
    };
    StateDict::from_tensors(
        weights.origin(),
        weights
            .iter()
            .map(|(key, data)| (respell(key), data.clone())),
    )
}
