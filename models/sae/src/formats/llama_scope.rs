//! Llama Scope folders (He et al., arXiv:2410.20526): `hyperparams.json`,
//! `checkpoints/final.safetensors`.
//!
//! JumpReLU autoencoders with one threshold for all latents, trained on activations times
//! s = √d / (mean norm of the data set). The scale is folded into the weights and the threshold
//! multiplied by it, as SAELens does.

use super::{
    Pretrained, SaeMetadata, folder_of,
    json::Object,
    weights::{Parts, Weights},
};
use crate::sae::{Activation, SaeConfig};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use std::path::Path;

pub(super) const CONFIG: &str = "hyperparams.json";
pub(super) const WEIGHTS: &str = "checkpoints/final.safetensors";

/// Reads a folder.
///
/// # Errors
/// A missing or malformed file, a norm or threshold that is not positive, tensors that do not fit.
pub fn load(path: &Path, device: &Device) -> Result<Pretrained> {
    let folder = folder_of(path);
    let cfg = Object::open(&folder.join(CONFIG))?;
    let d = cfg.need("d_model", cfg.size("d_model"))?;
    let f = cfg.need("d_sae", cfg.size("d_sae"))?;
    let config =
        SaeConfig::new(d, f, Activation::jump_relu_plain()).with_subtract_decoder_bias(false);
    config
        .validate()
        .map_err(|error| Error::format(cfg.path(), error.to_string()))?;
    let norms = cfg.need(
        "dataset_average_activation_norm",
        cfg.object("dataset_average_activation_norm"),
    )?;
    let norm = positive(&norms, "in")?;
    let scale = (d as f64).sqrt() / norm;
    let threshold = positive(&cfg, "jump_relu_threshold")? * scale;

    let weights = Weights::open(&folder.join(WEIGHTS))?;
    let bias = match cfg.flag("use_decoder_bias")?.unwrap_or(true) {
        true => weights.vector("decoder.bias", d, device)?,
        false => Tensor::zeros([d], device),
    };
    let parts = Parts {
        encoder: Some(weights.matrix("encoder.weight", [f, d], device)?),
        b_enc: Some(weights.vector("encoder.bias", f, device)?),
        decoder: Some(weights.transposed("decoder.weight", [f, d], device)?),
        b_dec: Some(bias),
        threshold: Some(Tensor::full([f], threshold, device)),
        ..Parts::default()
    };
    weights.finish()?;
    let metadata = SaeMetadata {
        model_name: Some("meta-llama/Llama-3.1-8B".into()),
        hook_name: cfg.text("hook_point_in")?.map(str::to_owned),
        prepend_bos: Some(true),
        context_size: Some(1024),
        ..SaeMetadata::default()
    };
    let sae = parts.assemble(config, device)?.fold_scale(scale)?;
    Ok(Pretrained::new(sae, metadata))
}

fn positive(object: &Object, key: &str) -> Result<f64> {
    let value = object.need(key, object.number(key))?;
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(Error::format(
        object.path(),
        format!("`{key}` is {value}, expected a number above 0"),
    ))
}
