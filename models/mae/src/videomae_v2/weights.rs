//! Official weights by their own names.
//!
//! | file | call |
//! | --- | --- |
//! | pre-training (`encoder.…`, `decoder.…`, `mask_token`) | [`load`] |
//! | fine-tuned or distilled (`blocks.…`, `fc_norm.…`, `head.…`) | [`load_classifier`] |
//! | feature extractor (the same without `head.…`, often below `model.`) | [`load_classifier`] with no classes |
//! | pre-training, to be fine-tuned | [`load_pretrained`] |
//!
//! Dictionaries called `model` or `module` around the weights, and the prefixes that wrappers leave
//! (`module.`, `model.`, `_orig_mod.`), are seen through.

use super::classifier::{Classifier, ClassifierConfig};
use super::config::VideoMaeConfig;
use super::model::VideoMae;
use crate::weights::{TIMM, affine, blocks, linear};
use burn::tensor::{Device, TensorData};
use menagerie_core::{Error, Result};
use menagerie_hub::{HubOptions, KeyMap, LoadReport, Source, StateDict, Strictness};
use std::path::Path;

/// Names that wrappers put before every key: data parallelism, compilation, a wrapping module.
const WRAPPERS: [&str; 3] = ["module.", "model.", "_orig_mod."];

/// Official names of a pre-training network to the parameters of [`VideoMae`].
pub fn key_map() -> KeyMap {
    tower("encoder.")
        .and(blocks("decoder.blocks.{i}", "decoder.blocks.{i}", &TIMM))
        .and(affine("decoder.norm", "decoder.norm"))
        .and(linear("decoder.head", "decoder.head"))
        .transpose("encoder_to_decoder.weight", "encoder_to_decoder.weight")
        .rename("mask_token", "mask_token")
}

/// Official names of a fine-tuned network or a feature extractor to the parameters of
/// [`Classifier`].
pub fn classifier_key_map() -> KeyMap {
    tower("")
        .and(affine("fc_norm", "fc_norm"))
        .and(linear("head", "head"))
}

/// Embedding, blocks and norm below `root`, which is empty or ends in a dot.
fn tower(root: &str) -> KeyMap {
    let at = |name: &str| format!("{root}{name}");
    affine(&at("patch_embed.proj"), &at("patch_embed"))
        .and(blocks(&at("blocks.{i}"), &at("blocks.{i}"), &TIMM))
        .and(affine(&at("norm"), &at("norm")))
}

/// Reads a pre-training network from a `.safetensors` or PyTorch file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &VideoMaeConfig, path: &Path, device: &Device) -> Result<VideoMae> {
    from_weights(config, StateDict::open(path)?, device)
}

/// [`load`] from a local file or a file of a repository on the Hub, such as
/// `OpenGVLab/VideoMAE2`.
///
/// # Errors
/// Those of [`load`] and [`Source::open`].
pub fn load_from(
    config: &VideoMaeConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<VideoMae> {
    from_weights(config, source.open(options)?, device)
}

/// [`load`] of weights in memory.
///
/// # Errors
/// Those of [`load`].
pub fn from_weights(
    config: &VideoMaeConfig,
    weights: StateDict,
    device: &Device,
) -> Result<VideoMae> {
    menagerie_hub::load(config.init(device)?, &unwrap(weights), &key_map())
}

/// Writes a pre-training network as `.safetensors` under official names, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &VideoMae, path: &Path) -> Result<()> {
    let official = key_map().to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}

/// Reads a fine-tuned network, or a feature extractor if `config` has no classes.
///
/// # Errors
/// As [`load`].
pub fn load_classifier(
    config: &ClassifierConfig,
    path: &Path,
    device: &Device,
) -> Result<Classifier> {
    classifier_from_weights(config, StateDict::open(path)?, device)
}

/// [`load_classifier`] from a local file or a file of a repository on the Hub, such as
/// `OpenGVLab/VideoMAEv2-Base`.
///
/// # Errors
/// Those of [`load`] and [`Source::open`].
pub fn load_classifier_from(
    config: &ClassifierConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<Classifier> {
    classifier_from_weights(config, source.open(options)?, device)
}

/// [`load_classifier`] of weights in memory.
///
/// A file with a head for a network without classes loses its head; any other difference is an
/// error.
///
/// # Errors
/// As [`load`].
pub fn classifier_from_weights(
    config: &ClassifierConfig,
    weights: StateDict,
    device: &Device,
) -> Result<Classifier> {
    let mut weights = unwrap(weights);
    if config.classes.is_none() {
        weights.remove("head.weight");
        weights.remove("head.bias");
    }
    menagerie_hub::load(config.init(device)?, &weights, &classifier_key_map())
}

/// Writes a classifier as `.safetensors` under official names, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save_classifier(model: &Classifier, path: &Path) -> Result<()> {
    let official = classifier_key_map().to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}

/// The start of fine-tuning: embedding and blocks of a pre-training or another fine-tuned
/// checkpoint; the decoder and `norm` are left out, `fc_norm` starts afresh if there is none, and so
/// does a head of another number of classes.
///
/// # Errors
/// If the configuration is invalid, or a key of the embedding or the blocks is missing, unexpected
/// or of another shape.
pub fn load_pretrained(
    config: &ClassifierConfig,
    weights: StateDict,
    device: &Device,
) -> Result<(Classifier, LoadReport)> {
    let model = config.init(device)?;
    let weights = unwrap(weights);
    let module = menagerie_hub::values(&model);
    let shape = |key: &str| module.get(key).map(|data| data.shape().to_vec());
    let origin = weights.origin().to_owned();
    let mut kept = StateDict::from_tensors(origin.clone(), []);
    for (key, data) in weights.iter() {
        let inner = ["backbone.", "encoder."]
            .iter()
            .find_map(|prefix| key.strip_prefix(prefix));
        let name = inner.unwrap_or(key);
        let foreign = key.starts_with("decoder.")
            || key.starts_with("norm.")
            || name.starts_with("norm.") && shape("norm.weight").is_none()
            || ["mask_token", "encoder_to_decoder.weight"].contains(&key);
        // A head of other classes is replaced, as in the official script.
        let classes = |data: &TensorData| data.shape().to_vec().first().copied();
        let other_head = name.starts_with("head.")
            && shape("head.bias").and_then(|shape| shape.first().copied()) != classes(data);
        if !foreign && !other_head {
            kept.insert(name, data.clone());
        }
    }
    let (model, report) = menagerie_hub::load_with(
        model,
        &kept,
        &classifier_key_map(),
        Strictness::AllowMissing,
    )?;
    let fresh = |entry: &String| {
        ["fc_norm.", "norm.", "head."]
            .iter()
            .any(|name| entry.trim_start_matches('`').starts_with(name))
    };
    if report.missing.iter().all(fresh) {
        Ok((model, report))
    } else {
        Err(Error::Weights {
            origin,
            module: "Classifier".into(),
            problem: report.to_string(),
        })
    }
}

/// The head of a 710-class network for one of the data sets that Kinetics-710 was made from: row `k`
/// of the new head is row `map[k]` of the old one. The maps are files of the official repository
/// ([`read_label_map`]).
///
/// # Errors
/// [`Error::Weights`] if there is no head, and [`Error::Input`] for an empty map or a row that does
/// not exist.
pub fn convert_head(weights: StateDict, map: &[usize]) -> Result<StateDict> {
    let mut weights = unwrap(weights);
    for key in ["head.weight", "head.bias"] {
        let data = weights.remove(key).ok_or_else(|| Error::Weights {
            origin: weights.origin().to_owned(),
            module: "a head".into(),
            problem: format!("`{key}` is missing"),
        })?;
        let converted = select_rows(&data, map)
            .map_err(|error| error.unwrap_or_else(|| Error::other(key, "cannot be read")))?;
        weights.insert(key, converted);
    }
    Ok(weights)
}

fn select_rows(data: &TensorData, map: &[usize]) -> Result<TensorData, Option<Error>> {
    let mut shape = data.shape().to_vec();
    let rows = shape.first().copied().unwrap_or(0);
    if let Some(row) = map.iter().find(|row| **row >= rows) {
        let rule = format!("must be below the head's {rows} classes");
        return Err(Some(Error::input("a row of the label map", row, rule)));
    }
    if map.is_empty() {
        let rule = "must have at least one class";
        return Err(Some(Error::input("the label map", map, rule)));
    }
    let width = shape[1..].iter().product::<usize>();
    let values: Vec<f32> = data
        .clone()
        .try_cast_as::<f32>()
        .ok()
        .and_then(|data| data.try_into_vec().ok())
        .ok_or(None)?;
    let chosen: Vec<f32> = map
        .iter()
        .flat_map(|row| &values[row * width..][..width])
        .copied()
        .collect();
    shape[0] = map.len();
    Ok(TensorData::new(chosen, shape))
}

/// Reads a label map: a JSON list of rows, such as `misc/label_710to400.json` of the official
/// repository.
///
/// # Errors
/// [`Error::Io`], or [`Error::Format`] if the file is not such a list.
pub fn read_label_map(path: &Path) -> Result<Vec<usize>> {
    let text = menagerie_core::fs::read_to_string(path)?;
    serde_json::from_str(&text)
        .map_err(|error| Error::format(path, format!("is no list of class numbers: {error}")))
}

/// The weights without the names that stand before every one of them.
fn unwrap(weights: StateDict) -> StateDict {
    let mut weights = weights;
    // One wrapper may hold another.
    while let Some(prefix) = WRAPPERS
        .iter()
        .find(|prefix| !weights.is_empty() && weights.keys().all(|key| key.starts_with(**prefix)))
    {
        match weights.below(prefix) {
            Ok(inner) => weights = inner,
            Err(_) => break,
        }
    }
    weights
}
