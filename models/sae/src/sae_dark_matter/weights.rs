//! Files: autoencoders on error components under the official trainer's names, and linear maps.

use super::regression::LinearFit;
use crate::sae::{SaeConfig, SparseAutoencoder, weights::sparsify_key_map};
use burn::tensor::{Device, TensorData};
use menagerie_core::{Error, Result};
use menagerie_hub::{KeyMap, StateDict};
use std::path::Path;

/// The names of the trainer that is vendored in the official code, those of sparsify:
/// `encoder.weight` `[latents, width]`, `encoder.bias`, `W_dec` `[latents, width]`, `b_dec`.
pub fn key_map(config: &SaeConfig) -> KeyMap {
    sparsify_key_map(config)
}

/// Reads an autoencoder of `config` that was trained on a component of the error.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &SaeConfig, path: &Path, device: &Device) -> Result<SparseAutoencoder> {
    let sae = config.init(device)?;
    menagerie_hub::load(sae, &StateDict::open(path)?, &key_map(config))
}

const PROBE: &str = "probe";
const CONSTANT: &str = "constant";

/// Writes a linear map as `.safetensors`, whole or not at all: `probe` `[inputs, outputs]` and, if
/// there is one, `constant` `[outputs]`, in `f32`.
///
/// # Errors
/// If the file cannot be written.
pub fn save_probe(probe: &LinearFit, path: &Path) -> Result<()> {
    let narrow =
        |values: &[f64]| -> Vec<f32> { values.iter().map(|&value| value as f32).collect() };
    let weight = TensorData::new(narrow(probe.coefficients()), probe.widths());
    let mut tensors = vec![(PROBE.to_owned(), weight)];
    if let Some(constants) = probe.intercept() {
        let constants = TensorData::new(narrow(constants), [constants.len()]);
        tensors.push((CONSTANT.to_owned(), constants));
    }
    StateDict::from_tensors(path.display().to_string(), tensors).save_safetensors(path)
}

/// Reads a linear map that [`save_probe`] wrote. The probes of the official code predict
/// `Sae(x) - x`: negate those.
///
/// # Errors
/// If the file cannot be read, lacks the map, or holds one of another shape.
pub fn load_probe(path: &Path) -> Result<LinearFit> {
    let tensors = StateDict::open(path)?;
    let missing = || Error::format(path, format!("no `{PROBE}` of two axes"));
    let weight = tensors.get(PROBE).ok_or_else(missing)?;
    let [inputs, outputs] = weight.shape().to_vec()[..] else {
        return Err(missing());
    };
    let wide = |data: &TensorData| data.iter::<f64>().collect::<Vec<_>>();
    let intercept = tensors.get(CONSTANT).map(wide);
    if let Some(constants) = &intercept
        && constants.len() != outputs
    {
        let problem = format!("`{CONSTANT}` has {} values, not {outputs}", constants.len());
        return Err(Error::format(path, problem));
    }
    LinearFit::from_parts([inputs, outputs], wide(weight), intercept)
}
