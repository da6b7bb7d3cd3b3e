//! Weights under the names of the fixtures.
//!
//! No checkpoint was published for this paper; one's own and those of PyTorch ports come from a local
//! file or from the Hub. Layers are called `enc.{i}` and `dec.{i}`, in a stack `ae{n}.enc.{i}`; linear
//! weights are `[out, in]`.

use super::{
    config::{AutoencoderConfig, StackConfig},
    model::{Autoencoder, Stack},
};
use burn::{module::Module, tensor::Device};
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

/// Official names to the parameters of an [`Autoencoder`].
pub fn key_map() -> KeyMap {
    KeyMap::new().linear("{side}.{i}", "{side}.{i}")
}

/// Official names to the parameters of a [`Stack`].
pub fn stack_key_map() -> KeyMap {
    KeyMap::new().linear("{ae}.{side}.{i}", "{ae}.{side}.{i}")
}

/// Reads an autoencoder of `config` from a `.safetensors`, PyTorch or NumPy file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape, as for a scene of another number of bands.
pub fn load(config: &AutoencoderConfig, path: &Path, device: &Device) -> Result<Autoencoder> {
    menagerie_hub::load(config.init(device)?, &StateDict::open(path)?, &key_map())
}

/// Reads a stack of `config` likewise.
///
/// # Errors
/// As [`load`].
pub fn load_stack(config: &StackConfig, path: &Path, device: &Device) -> Result<Stack> {
    menagerie_hub::load(
        config.init(device)?,
        &StateDict::open(path)?,
        &stack_key_map(),
    )
}

/// [`load_stack`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_stack_from(
    config: &StackConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<Stack> {
    let model = config.init(device)?;
    menagerie_hub::load(model, &source.open(options)?, &stack_key_map())
}

/// Writes an autoencoder as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &Autoencoder, path: &Path) -> Result<()> {
    write(model, &key_map(), path)
}

/// Writes a stack as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save_stack(model: &Stack, path: &Path) -> Result<()> {
    write(model, &stack_key_map(), path)
}

fn write<M: Module>(model: &M, map: &KeyMap, path: &Path) -> Result<()> {
    let official = map.to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}
