//! Weights under the names of the fixtures: `stem`, `layers.{l}` and `classifier`, each with `weight`
//! and `bias`, convolutions `[out, in, k, k]`, the classifier `[classes, c · H · H]` over channels,
//! rows and columns in this order. The forms of a stack share them.
//!
//! No checkpoint was published; those of one's own come from a local file or from the Hub.

use super::config::ShallowConfig;
use super::model::ResidualStack;
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

/// Official names to the parameters of a [`ResidualStack`].
pub fn key_map() -> KeyMap {
    KeyMap::new()
        .rename("stem.{name}", "stem.{name}")
        .rename("layers.{l}.{name}", "layers.{l}.{name}")
        .transpose("classifier.weight", "classifier.weight")
        .rename("classifier.bias", "classifier.bias")
}

/// Reads a stack of `config` from a `.safetensors`, PyTorch or NumPy file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape, e.g. a layer of another width.
pub fn load(config: &ShallowConfig, path: &Path, device: &Device) -> Result<ResidualStack> {
    from_state_dict(config, &StateDict::open(path)?, device)
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &ShallowConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<ResidualStack> {
    from_state_dict(config, &source.open(options)?, device)
}

/// [`load`] of weights in memory.
///
/// # Errors
/// Those of [`load`].
pub fn from_state_dict(
    config: &ShallowConfig,
    weights: &StateDict,
    device: &Device,
) -> Result<ResidualStack> {
    menagerie_hub::load(config.init(device)?, weights, &key_map())
}

/// Writes a stack as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &ResidualStack, path: &Path) -> Result<()> {
    let official = key_map().to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}
