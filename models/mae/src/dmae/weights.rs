//! Weights under the names of the official code, which are MAE's with
//! `aligned_feature_projection_heads.{k}`.

use super::config::{DmaeConfig, Projection};
use super::model::{Dmae, Teacher};
use crate::mae_base::weights::{Names, encoder_from_state_dict, mae_under};
use crate::weights::linear;
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

/// Official names to the parameters of [`Dmae`].
pub fn key_map(projection: Projection) -> KeyMap {
    let root = "aligned_feature_projection_heads.{k}";
    let names: &[&str] = match projection {
        Projection::None => &[],
        Projection::Linear => &[""],
        Projection::Mlp => &[".fc1", ".fc2"],
        Projection::TwoMlps => &[".0.fc1", ".0.fc2", ".1.fc1", ".1.fc2"],
    };
    let heads = names.iter().enumerate().map(|(layer, name)| {
        linear(
            &format!("{root}{name}"),
            &format!("heads.{{k}}.layers.{layer}"),
        )
    });
    heads.fold(mae_under("student.", Names::Official), KeyMap::and)
}

/// Reads a student with its heads from a `.safetensors` or PyTorch file. Fixed positions may be
/// absent.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &DmaeConfig, path: &Path, device: &Device) -> Result<Dmae> {
    from_state_dict(config, &StateDict::open(path)?, device)
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &DmaeConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<Dmae> {
    from_state_dict(config, &source.open(options)?, device)
}

/// [`load`] of weights in memory.
///
/// # Errors
/// If the configuration is invalid, or a key is missing, unexpected or of another shape.
pub fn from_state_dict(config: &DmaeConfig, weights: &StateDict, device: &Device) -> Result<Dmae> {
    let map = key_map(config.projection)
        .computed("student.encoder.pos_embed")
        .computed("student.decoder.pos_embed");
    menagerie_hub::load(config.init(device)?, weights, &map)
}

/// Writes a student with its heads under the official names as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &Dmae, path: &Path) -> Result<()> {
    let map = key_map(model.config().projection);
    let official = map.to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}

/// The teacher from the file of a pre-trained encoder or autoencoder, official, timm's or Hugging
/// Face's: only the blocks up to the last aligned one are kept.
///
/// # Errors
/// As [`load`].
pub fn load_teacher(config: &DmaeConfig, path: &Path, device: &Device) -> Result<Teacher> {
    teacher_from_state_dict(config, &StateDict::open(path)?, device)
}

/// [`load_teacher`] of weights in memory.
///
/// # Errors
/// As [`load`].
pub fn teacher_from_state_dict(
    config: &DmaeConfig,
    weights: &StateDict,
    device: &Device,
) -> Result<Teacher> {
    config.validate()?;
    let encoder = encoder_from_state_dict(&config.teacher, weights, device)?;
    config.teacher(encoder)
}
