//! Autoencoders of attention outputs (Kissane et al., arXiv:2406.17759): `<name>.pt`, a PyTorch
//! file, and `<name>_cfg.json`.

use super::{
    Pretrained, SaeMetadata, checkpoint_at,
    json::Object,
    weights::{Parts, Weights},
};
use crate::sae::{Activation, SaeConfig};
use burn::tensor::Device;
use menagerie_core::{Error, Result};
use std::path::{Path, PathBuf};

/// Where the configuration of a checkpoint lies.
pub(super) fn config_path(checkpoint: &Path) -> PathBuf {
    let stem = checkpoint.file_stem().unwrap_or_default();
    checkpoint.with_file_name(format!("{}_cfg.json", stem.to_string_lossy()))
}

/// Reads a checkpoint, or the only one in a folder.
///
/// # Errors
/// A missing or malformed file, tensors that do not fit the configuration.
pub fn load(path: &Path, device: &Device) -> Result<Pretrained> {
    let path = checkpoint_at(path)?;
    let cfg = Object::open(&config_path(&path))?;
    let d = cfg.need("act_size", cfg.size("act_size"))?;
    let f = cfg.need("dict_size", cfg.size("dict_size"))?;
    let config = SaeConfig::new(d, f, Activation::Relu);
    config
        .validate()
        .map_err(|error| Error::format(cfg.path(), error.to_string()))?;
    let weights = Weights::open(&path)?;
    let parts = Parts {
        encoder: Some(weights.transposed("W_enc", [f, d], device)?),
        b_enc: Some(weights.vector("b_enc", f, device)?),
        decoder: Some(weights.matrix("W_dec", [f, d], device)?),
        b_dec: Some(weights.vector("b_dec", d, device)?),
        ..Parts::default()
    };
    weights.finish()?;
    let hook = cfg.text("act_name")?.map(str::to_owned);
    let by_head = hook.as_ref().is_none_or(|hook| hook.ends_with("_z"));
    let metadata = SaeMetadata {
        model_name: cfg.text("model_name")?.map(str::to_owned),
        hook_name: hook,
        context_size: cfg.size("seq_len")?,
        prepend_bos: Some(true),
        ..SaeMetadata::default()
    };
    let mut pretrained = Pretrained::new(parts.assemble(config, device)?, metadata);
    pretrained.by_head = by_head;
    Ok(pretrained)
}
