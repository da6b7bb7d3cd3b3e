//! SAELens folders: `cfg.json`, `sae_weights.safetensors`, perhaps `sparsity.safetensors`.
//!
//! Read as SAELens 6.18 reads them, with the configurations before 6.0, which are flat. Written as
//! SAELens saves trained models: decoder norms folded where selection used them, BatchTopK as a
//! JumpReLU of constant threshold.

use super::{
    Pretrained, SaeMetadata, folder_of,
    json::Object,
    weights::{Parts, Weights, data},
};
use crate::sae::{Activation, Normalization, SaeConfig, SparseAutoencoder};
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, fs};
use menagerie_hub::StateDict;
use serde_json::{Map, Value, json};
use std::path::Path;

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";
pub(super) const SPARSITY: &str = "sparsity.safetensors";

/// The version whose layout is written.
const VERSION: &str = "6.18.0";

/// What a configuration before 6.0 says of the model and its data rather than of the autoencoder.
const METADATA: &[&str] = &[
    "context_size",
    "dataset_path",
    "exclude_special_tokens",
    "hook_head_index",
    "hook_head_index_out",
    "hook_name",
    "hook_name_out",
    "model_class_name",
    "model_from_pretrained_kwargs",
    "model_name",
    "neuronpedia_id",
    "prepend_bos",
    "sae_lens_training_version",
    "seqpos_slice",
];

/// Reads a SAELens folder.
///
/// # Errors
/// A missing or malformed file; an architecture, activation or normalisation that SAELens does not
/// have; tensors that do not fit; a `scaling_factor` other than ones without
/// `finetuning_scaling_factor`.
pub fn load(path: &Path, device: &Device) -> Result<Pretrained> {
    let folder = folder_of(path);
    let mut cfg = Object::open(&folder.join(CONFIG))?;
    let (mut metadata, legacy) = split_metadata(&mut cfg)?;
    if legacy {
        modernise(&mut cfg, &metadata)?;
    }
    let (config, expects_scale) = read_config(&cfg)?;
    let by_head = match cfg.text("reshape_activations")?.unwrap_or("none") {
        "none" => false,
        "hook_z" => true,
        other => return Err(unknown("reshape_activations", other, &["none", "hook_z"])),
    };
    let metadata = describe(&mut metadata, legacy)?;
    if by_head
        && let Some(hook) = &metadata.hook_name
        && !hook.ends_with("_z")
    {
        let found = Value::from(hook.clone());
        return Err(cfg.wrong(
            "hook_name",
            &found,
            "a hook whose name ends in `_z`, as `reshape_activations` is `hook_z`",
        ));
    }
    // What `from_pretrained` of TransformerLens was told when activations were collected.
    let processed_host = metadata
        .extra
        .get("model_from_pretrained_kwargs")
        .and_then(|kwargs| kwargs.get("center_writing_weights")?.as_bool());
    let finetuned = cfg.flag("finetuning_scaling_factor")?.unwrap_or(false);
    let weights = Weights::open(&folder.join(WEIGHTS))?;
    let sae = read_weights(&weights, config, finetuned, device)?;
    let log_sparsity = read_sparsity(&folder.join(SPARSITY), sae.config().d_sae)?;
    Ok(Pretrained {
        sae,
        metadata,
        by_head,
        expects_scale,
        processed_host,
        log_sparsity,
    })
}

fn unknown(kind: &'static str, name: &str, known: &[&str]) -> Error {
    Error::unknown(kind, name, known.iter().copied())
}

/// Takes the model's part out of a configuration; and whether it is one from before 6.0.
fn split_metadata(cfg: &mut Object) -> Result<(Object, bool)> {
    let nested = cfg.object("metadata")?;
    cfg.take("metadata");
    let version = match cfg.text("sae_lens_version")? {
        Some(version) => Some(version),
        None => match &nested {
            Some(nested) => nested.text("sae_lens_version")?,
            None => None,
        },
    };
    let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    let legacy = major.is_none_or(|major| major < 6);
    cfg.rename("hook_point", "hook_name");
    cfg.rename("hook_point_head_index", "hook_head_index");
    Ok((nested.unwrap_or_else(|| cfg.clone()), legacy))
}

/// Gives a configuration from before 6.0 the names and defaults of today.
fn modernise(cfg: &mut Object, metadata: &Object) -> Result<()> {
    cfg.rename("activation_fn_str", "activation_fn");
    let activation = cfg.text("activation_fn")?.unwrap_or("relu").to_owned();
    match activation.as_str() {
        "relu" => {}
        "topk" => {
            let kwargs = cfg.object("activation_fn_kwargs")?;
            let k = match &kwargs {
                Some(kwargs) => kwargs.size("k")?,
                None => None,
            };
            let Some(k) = k else {
                return Err(cfg.wrong(
                    "activation_fn_kwargs",
                    &Value::Null,
                    "an object with the number `k` of a `topk`",
                ));
            };
            cfg.set("architecture", "topk".into());
            cfg.set("k", k.into());
        }
        other => return Err(unknown("activation", other, &["relu", "topk"])),
    }
    if cfg.get("architecture").is_none() {
        cfg.set("architecture", "standard".into());
    }
    if cfg.get("reshape_activations").is_none() {
        let heads = metadata.text("hook_name")?.unwrap_or("").contains("hook_z");
        cfg.set(
            "reshape_activations",
            if heads { "hook_z" } else { "none" }.into(),
        );
    }
    if let Some(Value::Bool(scaled)) = cfg.get("normalize_activations") {
        let name = match scaled {
            true => "expected_average_only_in",
            false => "none",
        };
        cfg.set("normalize_activations", name.into());
    }
    Ok(())
}

fn read_config(cfg: &Object) -> Result<(SaeConfig, bool)> {
    let d_in = cfg.need("d_in", cfg.size("d_in"))?;
    let d_sae = cfg.need("d_sae", cfg.size("d_sae"))?;
    let architecture = cfg.need("architecture", cfg.text("architecture"))?;
    let (activation, transcoder, skip) = match architecture {
        "standard" => (Activation::Relu, false, false),
        "topk" => {
            let k = cfg.need("k", cfg.size("k"))?;
            (Activation::topk(k), false, false)
        }
        "jumprelu" => (Activation::jump_relu_plain(), false, false),
        "gated" => (Activation::Gated, false, false),
        "transcoder" => (Activation::Relu, true, false),
        "skip_transcoder" => (Activation::Relu, true, true),
        "jumprelu_transcoder" => (Activation::jump_relu_plain(), true, false),
        "jumprelu_skip_transcoder" => (Activation::jump_relu_plain(), true, true),
        other => {
            let known = [
                "standard",
                "topk",
                "jumprelu",
                "gated",
                "transcoder",
                "skip_transcoder",
                "jumprelu_transcoder",
                "jumprelu_skip_transcoder",
            ];
            return Err(unknown("architecture", other, &known));
        }
    };
    let d_out = match transcoder {
        true => Some(cfg.need("d_out", cfg.size("d_out"))?),
        false => None,
    };
    let (normalization, expects_scale) = match cfg.text("normalize_activations")?.unwrap_or("none")
    {
        "none" => (Normalization::None, false),
        "expected_average_only_in" => (Normalization::None, true),
        "constant_norm_rescale" => (Normalization::ConstantNorm, false),
        "layer_norm" => (Normalization::LayerNorm, false),
        other => {
            let known = [
                "none",
                "expected_average_only_in",
                "constant_norm_rescale",
                "layer_norm",
            ];
            return Err(unknown("normalize_activations", other, &known));
        }
    };
    let subtract = cfg.flag("apply_b_dec_to_input")?.unwrap_or(!transcoder);
    let rescale = cfg.flag("rescale_acts_by_decoder_norm")?.unwrap_or(false);
    let config = SaeConfig::new(d_in, d_sae, activation)
        .with_d_out(d_out)
        .with_skip(skip)
        .with_subtract_decoder_bias(subtract)
        .with_rescale_by_decoder_norm(rescale)
        .with_normalization(normalization);
    config
        .validate()
        .map_err(|error| Error::format(cfg.path(), error.to_string()))?;
    Ok((config, expects_scale))
}

fn describe(metadata: &mut Object, legacy: bool) -> Result<SaeMetadata> {
    let text = |key: &str| metadata.text(key).map(|text| text.map(str::to_owned));
    let described = SaeMetadata {
        model_name: text("model_name")?,
        hook_name: text("hook_name")?,
        hook_name_out: text("hook_name_out")?,
        prepend_bos: metadata.flag("prepend_bos")?,
        context_size: metadata.size("context_size")?,
        extra: Map::new(),
    };
    let own = [
        "model_name",
        "hook_name",
        "hook_name_out",
        "prepend_bos",
        "context_size",
        // Of the file, not of the autoencoder.
        "sae_lens_version",
    ];
    let extra = std::mem::take(metadata.entries_mut())
        .into_iter()
        .filter(|(key, value)| {
            let key = key.as_str();
            (!legacy || METADATA.contains(&key)) && !own.contains(&key) && !value.is_null()
        })
        .collect();
    Ok(SaeMetadata { extra, ..described })
}

fn read_weights(
    weights: &Weights,
    config: SaeConfig,
    finetuned: bool,
    device: &Device,
) -> Result<SparseAutoencoder> {
    let (d, f, out) = (config.d_in, config.d_sae, config.output());
    let gated = config.activation == Activation::Gated;
    let vector = |key: &str| weights.vector(key, f, device);
    let mut decoder = weights.matrix("W_dec", [f, out], device)?;
    if weights.has("scaling_factor") {
        let factor = vector("scaling_factor")?;
        let ones = data(factor.clone())
            .iter::<f64>()
            .all(|value| (value - 1.0).abs() <= 1e-8 + 1e-5);
        if !ones && !finetuned {
            return Err(weights.refuse(
                "`scaling_factor` is not 1 although `finetuning_scaling_factor` is false".into(),
            ));
        }
        if !ones {
            // z · s decoded by W_dec is z decoded by s · W_dec.
            decoder = decoder * factor.unsqueeze_dim(1);
        }
    }
    let parts = Parts {
        encoder: Some(weights.transposed("W_enc", [f, d], device)?),
        b_enc: (!gated).then(|| vector("b_enc")).transpose()?,
        decoder: Some(decoder),
        b_dec: Some(weights.vector("b_dec", out, device)?),
        threshold: matches!(config.activation, Activation::JumpRelu { .. })
            .then(|| vector("threshold"))
            .transpose()?,
        gate: match gated {
            true => Some([vector("r_mag")?, vector("b_gate")?, vector("b_mag")?]),
            false => None,
        },
        skip: config
            .skip
            .then(|| weights.matrix("W_skip", [out, d], device))
            .transpose()?,
    };
    weights.finish()?;
    parts.assemble(config, device)
}

fn read_sparsity(path: &Path, d_sae: usize) -> Result<Option<Vec<f32>>> {
    if !path.exists() {
        return Ok(None);
    }
    let values = Weights::open(path)?.values("sparsity", d_sae)?;
    values
        .try_into_vec_as()
        .map(Some)
        .map_err(|error| Error::format(path, format!("{error:?}")))
}

/// Writes a SAELens folder, whole or not at all.
///
/// Decoder norms are folded where the selection uses them, and BatchTopK becomes a JumpReLU of
/// constant threshold, as SAELens saves them; both are the same function at inference.
///
/// # Errors
/// A variant that SAELens does not have; a BatchTopK whose threshold was never estimated; a folder
/// that cannot be written.
pub fn save(pretrained: &Pretrained, folder: &Path) -> Result<()> {
    let mut sae = pretrained.sae.clone();
    let rescaled = sae.config().rescale_by_decoder_norm;
    if matches!(sae.config().activation, Activation::BatchTopK { .. }) {
        sae = sae.into_jump_relu()?;
    } else if rescaled {
        sae = sae.fold_decoder_norms()?;
    }
    let cfg = write_config(pretrained, &sae, rescaled)?;
    let tensors = StateDict::from_tensors(WEIGHTS, write_weights(&sae));
    fs::write_dir_with(folder, |folder| {
        let text = serde_json::to_string_pretty(&cfg)
            .map_err(|error| Error::other("writing cfg.json", error))?;
        fs::write(&folder.join(CONFIG), text + "\n")?;
        tensors.save_safetensors(folder.join(WEIGHTS))?;
        match &pretrained.log_sparsity {
            None => Ok(()),
            Some(values) => {
                let values = TensorData::from(values.as_slice());
                StateDict::from_tensors(SPARSITY, [("sparsity".to_owned(), values)])
                    .save_safetensors(folder.join(SPARSITY))
            }
        }
    })
}

fn write_config(pretrained: &Pretrained, sae: &SparseAutoencoder, rescaled: bool) -> Result<Value> {
    let config = sae.config();
    let unsupported = |rule: &str| Err(Error::input("activation", config.activation, rule));
    let transcoder = config.d_out.is_some();
    let architecture = match (config.activation, transcoder, config.skip) {
        (Activation::Relu, false, false) => "standard",
        (Activation::TopK { .. }, false, false) => "topk",
        (Activation::JumpRelu { .. }, false, false) => "jumprelu",
        (Activation::Gated, false, false) => "gated",
        (Activation::Relu, true, false) => "transcoder",
        (Activation::Relu, true, true) => "skip_transcoder",
        (Activation::JumpRelu { .. }, true, false) => "jumprelu_transcoder",
        (Activation::JumpRelu { .. }, true, true) => "jumprelu_skip_transcoder",
        (_, true, _) => return unsupported("SAELens has ReLU and JumpReLU transcoders only"),
        _ => return unsupported("SAELens has no architecture for it"),
    };
    let normalization = match (config.normalization, pretrained.expects_scale) {
        (Normalization::None, false) => "none",
        (Normalization::None, true) => "expected_average_only_in",
        (Normalization::ConstantNorm, _) => "constant_norm_rescale",
        (Normalization::LayerNorm, _) => "layer_norm",
    };
    let described = &pretrained.metadata;
    let mut metadata = described.extra.clone();
    for (key, value) in [
        ("model_name", json!(described.model_name)),
        ("hook_name", json!(described.hook_name)),
        ("prepend_bos", json!(described.prepend_bos)),
        ("context_size", json!(described.context_size)),
    ] {
        metadata.insert(key.to_owned(), value);
    }
    if let Some(hook) = &described.hook_name_out {
        metadata.insert("hook_name_out".to_owned(), json!(hook));
    }
    metadata.entry("hook_head_index").or_insert(Value::Null);
    metadata
        .entry("sae_lens_training_version")
        .or_insert(Value::Null);
    metadata.insert("sae_lens_version".to_owned(), VERSION.into());
    let mut cfg = json!({
        "architecture": architecture,
        "d_in": config.d_in,
        "d_sae": config.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": config.subtract_decoder_bias,
        "normalize_activations": normalization,
        "reshape_activations": if pretrained.by_head { "hook_z" } else { "none" },
        "metadata": metadata,
    });
    if let Some(width) = config.d_out {
        cfg["d_out"] = width.into();
    }
    if let Activation::TopK { k, .. } = config.activation {
        cfg["k"] = k.into();
        // True of folded weights too: their norms are 1.
        cfg["rescale_acts_by_decoder_norm"] = rescaled.into();
    }
    Ok(cfg)
}

fn write_weights(sae: &SparseAutoencoder) -> Vec<(String, TensorData)> {
    let mut tensors = vec![
        ("W_enc".to_owned(), data(sae.encoder.val().transpose())),
        ("W_dec".to_owned(), data(sae.decoder.val())),
        ("b_dec".to_owned(), data(sae.b_dec.val())),
    ];
    let mut put = |key: &str, tensor: Tensor<1>| tensors.push((key.to_owned(), data(tensor)));
    if let Some(bias) = &sae.b_enc {
        put("b_enc", bias.val());
    }
    if let Some(threshold) = sae.thresholds() {
        put("threshold", threshold);
    }
    if let Some(gate) = &sae.gate {
        put("r_mag", gate.r_mag.val());
        put("b_gate", gate.b_gate.val());
        put("b_mag", gate.b_mag.val());
    }
    if let Some(skip) = &sae.skip {
        tensors.push(("W_skip".to_owned(), data(skip.val())));
    }
    tensors
}
