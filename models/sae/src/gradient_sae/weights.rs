//! Weights under the names of the reference.
//!
//! No official checkpoints were published. A trained autoencoder is a TopK: its
//! [`sae`](super::GradientSae::sae) goes through [`crate::formats`] as any other does.

use super::{config::GradientSaeConfig, model::GradientSae};
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

/// `W_enc` `[F, d]`, `W_dec` `[F, d]`, `b_enc` and `b_pre`.
pub fn key_map() -> KeyMap {
    KeyMap::new()
        .rename("W_enc", "sae.encoder")
        .rename("W_dec", "sae.decoder")
        .rename("b_enc", "sae.b_enc")
        .rename("b_pre", "sae.b_dec")
        .computed("sae.batch_threshold")
}

/// Reads an autoencoder of `config` from a `.safetensors`, PyTorch or NumPy file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &GradientSaeConfig, path: &Path, device: &Device) -> Result<GradientSae> {
    menagerie_hub::load(config.init(device)?, &StateDict::open(path)?, &key_map())
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &GradientSaeConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<GradientSae> {
    menagerie_hub::load(config.init(device)?, &source.open(options)?, &key_map())
}

/// Writes an autoencoder as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(sae: &GradientSae, path: &Path) -> Result<()> {
    let mut values = menagerie_hub::values(sae);
    values.remove("sae.batch_threshold");
    let official = key_map().to_official(&values)?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}
