//! Weights under the names of mmpretrain, which the official checkpoints have.
//!
//! The files are checkpoints of mmengine: a dictionary with the weights below `state_dict`, whatever
//! else there is. Tables of positions are in the files and are loaded like any weight.

use super::config::ColorMaeConfig;
use crate::{
    mae_base::{self, Classifier, ClassifierConfig, Encoder, Mae, Start, VitConfig},
    weights::{BlockNames, affine, blocks, linear},
};
use burn::{module::Module, tensor::Device};
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, LoadReport, Source, StateDict};
use std::path::Path;

/// The parts of a block in mmpretrain.
const MMPRETRAIN: BlockNames = BlockNames {
    norms: ["ln1", "ln2"],
    qkv: "attn.qkv",
    proj: "attn.proj",
    mlp: ["ffn.layers.0.0", "ffn.layers.1"],
};

/// Official names to the parameters of the autoencoder.
pub fn key_map() -> KeyMap {
    backbone("encoder.")
        .and(affine("backbone.ln1", "encoder.norm"))
        .rename("neck.mask_token", "decoder.mask_token")
        .rename("neck.decoder_pos_embed", "decoder.pos_embed")
        .and(linear("neck.decoder_embed", "decoder.embed"))
        .and(blocks(
            "neck.decoder_blocks.{i}",
            "decoder.blocks.{i}",
            &MMPRETRAIN,
        ))
        .and(affine("neck.ln1", "decoder.norm"))
        .and(linear("neck.decoder_pred", "decoder.pred"))
}

/// Official names to the parameters of an encoder alone; the decoder is left out.
pub fn encoder_key_map() -> KeyMap {
    backbone("")
        .and(affine("backbone.ln1", "norm"))
        .ignore("neck.*")
}

/// Official names to the parameters of a fine-tuned classifier, which has no norm after its blocks
/// and one, `ln2`, after pooling.
pub fn classifier_key_map() -> KeyMap {
    backbone("encoder.")
        .and(affine("backbone.ln2", "fc_norm"))
        .and(linear("head.fc", "head"))
}

/// The encoder's parameters but for the norm after its blocks, below `root`, which is empty or ends
/// in a dot.
fn backbone(root: &str) -> KeyMap {
    let ours = |name: &str| format!("{root}{name}");
    KeyMap::new()
        .rename("backbone.cls_token", &ours("cls_token"))
        .rename("backbone.pos_embed", &ours("pos_embed"))
        .and(affine(
            "backbone.patch_embed.projection",
            &ours("patch_embed"),
        ))
        .and(blocks(
            "backbone.layers.{i}",
            &ours("blocks.{i}"),
            &MMPRETRAIN,
        ))
}

/// The weights of a checkpoint.
fn weights(checkpoint: StateDict) -> Result<StateDict> {
    // A checkpoint with nothing else in it has lost its root already.
    let nested = checkpoint.keys().any(|key| key.starts_with("state_dict."));
    if nested {
        checkpoint.below("state_dict")
    } else {
        Ok(checkpoint)
    }
}

/// Reads an autoencoder from a `.pth` or `.safetensors` file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &ColorMaeConfig, path: &Path, device: &Device) -> Result<Mae> {
    from_state_dict(config, StateDict::open(path)?, device)
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &ColorMaeConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<Mae> {
    from_state_dict(config, source.open(options)?, device)
}

/// [`load`] of weights in memory.
///
/// # Errors
/// If the configuration is invalid, or a key is missing, unexpected or of another shape.
pub fn from_state_dict(
    config: &ColorMaeConfig,
    checkpoint: StateDict,
    device: &Device,
) -> Result<Mae> {
    menagerie_hub::load(config.init(device)?, &weights(checkpoint)?, &key_map())
}

/// Reads the encoder of a pre-trained autoencoder, with its last norm.
///
/// # Errors
/// As [`load`].
pub fn load_encoder(config: &VitConfig, path: &Path, device: &Device) -> Result<Encoder> {
    let encoder = config.init(Start::Pretraining, true, device)?;
    menagerie_hub::load(
        encoder,
        &weights(StateDict::open(path)?)?,
        &encoder_key_map(),
    )
}

/// Reads a fine-tuned classifier.
///
/// # Errors
/// As [`load`].
pub fn load_classifier(
    config: &ClassifierConfig,
    path: &Path,
    device: &Device,
) -> Result<Classifier> {
    let classifier = config.init(device)?;
    menagerie_hub::load(
        classifier,
        &weights(StateDict::open(path)?)?,
        &classifier_key_map(),
    )
}

/// A classifier that starts from a pre-trained autoencoder or another classifier, with what was and was
/// not taken over: [`mae_base::weights::load_pretrained`] for a file of mmpretrain.
///
/// # Errors
/// As there; keys are named as timm names them.
pub fn load_pretrained(
    config: &ClassifierConfig,
    path: &Path,
    device: &Device,
) -> Result<(Classifier, LoadReport)> {
    let checkpoint = weights(StateDict::open(path)?)?;
    let mut renamed = StateDict::from_tensors(checkpoint.origin(), []);
    for (key, data) in checkpoint.iter() {
        if !key.starts_with("neck.") {
            renamed.insert(timm(key), data.clone());
        }
    }
    mae_base::weights::pretrained_from(config, renamed, device)
}

/// What timm calls a parameter of an encoder or classifier of mmpretrain.
fn timm(key: &str) -> String {
    let key = match key.strip_prefix("backbone.") {
        Some(key) => key,
        None => return key.replace("head.fc.", "head."),
    };
    match key.strip_prefix("layers.") {
        Some(block) => {
            let inner = [
                (".ln1.", ".norm1."),
                (".ln2.", ".norm2."),
                (".ffn.layers.0.0.", ".mlp.fc1."),
                (".ffn.layers.1.", ".mlp.fc2."),
            ];
            let named = inner.iter().fold(block.to_owned(), |key, (theirs, ours)| {
                key.replace(theirs, ours)
            });
            format!("blocks.{named}")
        }
        None => key
            .replace("patch_embed.projection.", "patch_embed.proj.")
            .replace("ln1.", "norm.")
            .replace("ln2.", "fc_norm."),
    }
}

/// Writes an autoencoder under the official names as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &Mae, path: &Path) -> Result<()> {
    write(model, &key_map(), path)
}

/// Writes a classifier under the official names as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save_classifier(model: &Classifier, path: &Path) -> Result<()> {
    write(model, &classifier_key_map(), path)
}

fn write<M: Module>(model: &M, map: &KeyMap, path: &Path) -> Result<()> {
    let official = map.to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}
