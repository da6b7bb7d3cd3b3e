//! The names under which libraries store a sparse autoencoder.
//!
//! [`crate::formats`] reads and writes whole checkpoints; these maps relate single tensors.

use super::config::{Activation, SaeConfig, Threshold};
use menagerie_hub::KeyMap;

/// SAELens: `W_enc` `[d, F]`, `W_dec` `[F, d]`, `b_enc`, `b_dec`; `threshold` (`log_threshold`
/// while training), `b_gate`, `b_mag`, `r_mag`, `W_skip` `[d_out, d]`. Gemma Scope's archives and
/// dictionary_learning's JumpReLU and Matryoshka use the same names.
pub fn saelens_key_map(config: &SaeConfig) -> KeyMap {
    let map = KeyMap::new()
        .transpose("W_enc", "encoder")
        .rename("W_dec", "decoder")
        .rename("b_dec", "b_dec");
    let map = match config.activation {
        Activation::Gated => ["b_gate", "b_mag", "r_mag"]
            .into_iter()
            .fold(map, |map, name| map.rename(name, &format!("gate.{name}"))),
        _ => map.rename("b_enc", "b_enc"),
    };
    let map = match config.activation {
        Activation::JumpRelu { threshold, .. } => map.rename(
            match threshold {
                Threshold::Plain => "threshold",
                Threshold::Log => "log_threshold",
            },
            "threshold",
        ),
        _ => map,
    };
    let map = inference_threshold(map, config, "topk_threshold");
    skip(map, config)
}

/// sparsify: `encoder.weight` `[F, d]`, `encoder.bias`, `W_dec` `[F, d_out]`, `b_dec`, `W_skip`.
pub fn sparsify_key_map(config: &SaeConfig) -> KeyMap {
    let map = KeyMap::new()
        .rename("encoder.weight", "encoder")
        .rename("encoder.bias", "b_enc")
        .rename("W_dec", "decoder")
        .rename("b_dec", "b_dec");
    let map = inference_threshold(map, config, "threshold");
    skip(map, config)
}

/// dictionary_learning's `AutoEncoder`, TopK, BatchTopK and Gated: `encoder.weight` `[F, d]`,
/// `encoder.bias`, `decoder.weight` `[d, F]`, and the decoder's bias as `bias`, `b_dec` or
/// `decoder_bias`.
pub fn dictionary_learning_key_map(config: &SaeConfig) -> KeyMap {
    let map = KeyMap::new()
        .rename("encoder.weight", "encoder")
        .transpose("decoder.weight", "decoder")
        .ignore("k");
    match config.activation {
        Activation::Gated => map
            .rename("decoder_bias", "b_dec")
            .rename("gate_bias", "gate.b_gate")
            .rename("mag_bias", "gate.b_mag")
            .rename("r_mag", "gate.r_mag"),
        Activation::Relu => map.rename("encoder.bias", "b_enc").rename("bias", "b_dec"),
        _ => {
            let map = map.rename("encoder.bias", "b_enc").rename("b_dec", "b_dec");
            inference_threshold(map, config, "threshold")
        }
    }
}

/// OpenAI: `encoder.weight` `[F, d]`, `latent_bias`, `decoder.weight` `[d, F]`, `pre_bias`.
pub fn openai_key_map(config: &SaeConfig) -> KeyMap {
    let map = KeyMap::new()
        .rename("encoder.weight", "encoder")
        .rename("latent_bias", "b_enc")
        .transpose("decoder.weight", "decoder")
        .rename("pre_bias", "b_dec");
    inference_threshold(map, config, "threshold")
}

/// The threshold of a selection over the batch, which only some files have.
fn inference_threshold(map: KeyMap, config: &SaeConfig, official: &str) -> KeyMap {
    match config.activation {
        Activation::TopK { .. } | Activation::BatchTopK { .. } => map
            .rename(official, "batch_threshold")
            .computed("batch_threshold"),
        _ => map,
    }
}

fn skip(map: KeyMap, config: &SaeConfig) -> KeyMap {
    match config.skip {
        true => map.rename("W_skip", "skip"),
        false => map,
    }
}
