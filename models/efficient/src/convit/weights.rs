//! Weights under the names of the official code, which are timm's.

use super::config::ConVitConfig;
use super::model::ConVit;
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

/// Official names to the parameters of a [`ConVit`]. Relative positions are not stored.
pub fn key_map(config: &ConVitConfig) -> KeyMap {
    let local = config.local_blocks;
    (0..config.depth)
        .fold(KeyMap::new(), |map, block| {
            let official = |name: &str| format!("blocks.{block}.{name}");
            let ours = |name: &str| match block.checked_sub(local) {
                None => format!("local.{block}.{name}"),
                Some(block) => format!("global.{block}.{name}"),
            };
            let affine = |map: KeyMap, name| map.affine(&official(name), &ours(name));
            let linear = |map: KeyMap, name| map.linear(&official(name), &ours(name));
            let map = ["norm1", "norm2"].into_iter().fold(map, affine);
            let layers = ["attn.proj", "mlp.fc1", "mlp.fc2"];
            let map = layers.into_iter().fold(map, linear);
            if block >= local {
                return linear(map, "attn.qkv");
            }
            let layers = ["attn.qk", "attn.v", "attn.pos_proj"];
            let gates = "attn.gating_param";
            layers
                .into_iter()
                .fold(map, linear)
                .rename(&official(gates), &ours(gates))
        })
        .rename("cls_token", "cls_token")
        .rename("pos_embed", "pos_embed")
        .affine("patch_embed.proj", "patch_embed")
        .affine("norm", "norm")
        .linear("head", "head")
}

/// Reads a network of `config` from a `.safetensors` or PyTorch file with the official names.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &ConVitConfig, path: &Path, device: &Device) -> Result<ConVit> {
    from_state_dict(config, &StateDict::open(path)?, device)
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &ConVitConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<ConVit> {
    from_state_dict(config, &source.open(options)?, device)
}

/// [`load`] of weights in memory.
///
/// # Errors
/// If the configuration is invalid, or a key is missing, unexpected or of another shape.
pub fn from_state_dict(
    config: &ConVitConfig,
    weights: &StateDict,
    device: &Device,
) -> Result<ConVit> {
    menagerie_hub::load(config.init(device)?, weights, &key_map(config))
}

/// A network's weights under the official names.
///
/// # Errors
/// None for a model that [`ConVitConfig::init`] made.
pub fn state_dict(model: &ConVit) -> Result<StateDict> {
    let official = key_map(model.config()).to_official(&menagerie_hub::values(model))?;
    Ok(StateDict::from_tensors("a ConViT", official))
}

/// Writes a network under the official names as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &ConVit, path: &Path) -> Result<()> {
    state_dict(model)?.save_safetensors(path)
}
