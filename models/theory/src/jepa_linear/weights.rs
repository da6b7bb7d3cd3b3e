//! Weights under the names of the fixtures: `encoder.{i}.weight`, the first layer applied first, and
//! `predictor.weight` (JEPA) or `decoder.weight` (MAE), all `[outputs, inputs]`.
//!
//! No checkpoint was published; those of one's own come from a local file or from the Hub.

use super::config::{JepaLinearConfig, Kind};
use super::dynamics::Chain;
use super::matrix::Matrix;
use super::model::DeepLinear;
use burn::tensor::{Device, TensorData};
use menagerie_core::{Error, Result};
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

fn head(kind: Kind) -> &'static str {
    match kind {
        Kind::Jepa => "predictor.weight",
        Kind::Mae => "decoder.weight",
    }
}

/// Official names to the parameters of a [`DeepLinear`].
pub fn key_map(kind: Kind) -> KeyMap {
    KeyMap::new()
        .transpose("encoder.{i}.weight", "encoder.{i}.weight")
        .transpose(head(kind), "head.weight")
}

/// Reads a network of `config` from a `.safetensors`, PyTorch or NumPy file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &JepaLinearConfig, path: &Path, device: &Device) -> Result<DeepLinear> {
    from_state_dict(config, &StateDict::open(path)?, device)
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &JepaLinearConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<DeepLinear> {
    from_state_dict(config, &source.open(options)?, device)
}

/// [`load`] of weights in memory.
///
/// # Errors
/// Those of [`load`].
pub fn from_state_dict(
    config: &JepaLinearConfig,
    weights: &StateDict,
    device: &Device,
) -> Result<DeepLinear> {
    menagerie_hub::load(config.init(device)?, weights, &key_map(config.kind))
}

/// Writes a network as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &DeepLinear, path: &Path) -> Result<()> {
    let map = key_map(model.config().kind);
    let official = map.to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}

/// The matrices of a network, in double precision.
pub(crate) fn to_chain(model: &DeepLinear) -> Result<Chain> {
    let matrix = |layer: &burn::nn::Linear| Ok(Matrix::read(layer.weight.val())?.transpose());
    let layers = model.encoder.iter().map(matrix).collect::<Result<_>>()?;
    Chain::new(model.config(), layers, matrix(&model.head)?)
}

/// Writes matrices in double precision.
///
/// # Errors
/// If the file cannot be written.
pub fn save_chain(chain: &Chain, path: &Path) -> Result<()> {
    let layers = chain.layers.iter().enumerate();
    let layers = layers.map(|(at, layer)| (format!("encoder.{at}.weight"), layer));
    let all = layers.chain([(head(chain.kind).to_owned(), &chain.head)]);
    let tensors = all.map(|(name, matrix)| {
        let data = TensorData::new(matrix.values().to_vec(), matrix.shape());
        (name, data)
    });
    StateDict::from_tensors(path.display().to_string(), tensors).save_safetensors(path)
}

/// Reads the matrices of `config` from a file, in the precision of the file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load_chain(config: &JepaLinearConfig, path: &Path) -> Result<Chain> {
    chain_from_state_dict(config, &StateDict::open(path)?)
}

/// [`load_chain`] of weights in memory.
///
/// # Errors
/// Those of [`load_chain`].
pub fn chain_from_state_dict(config: &JepaLinearConfig, weights: &StateDict) -> Result<Chain> {
    config.validate()?;
    let names = (0..config.layers).map(|at| format!("encoder.{at}.weight"));
    let names: Vec<String> = names.chain([head(config.kind).into()]).collect();
    let (mut problems, mut matrices) = (Vec::new(), Vec::new());
    for (name, [rows, columns]) in names.iter().zip(config.shapes()) {
        match weights.get(name) {
            None => problems.push(format!("missing {name}")),
            Some(data) if data.shape().to_vec() != [rows, columns] => problems.push(format!(
                "{name} has the shape {:?}, not [{rows}, {columns}]",
                data.shape().to_vec()
            )),
            Some(data) => matrices.push(Matrix::new(rows, columns, data.iter::<f64>().collect())?),
        }
    }
    let unexpected = weights
        .keys()
        .filter(|key| !names.iter().any(|name| name == key));
    problems.extend(unexpected.map(|key| format!("unexpected {key}")));
    match matrices.pop() {
        Some(head) if problems.is_empty() => Chain::new(config, matrices, head),
        _ => Err(Error::Weights {
            origin: weights.origin().to_owned(),
            module: "DeepLinear".into(),
            problem: problems.join("; "),
        }),
    }
}

impl Chain {
    /// The network of these matrices on a device, in single precision.
    ///
    /// # Errors
    /// [`Error::Weights`] if they are not those of `config`.
    pub fn network(&self, config: &JepaLinearConfig, device: &Device) -> Result<DeepLinear> {
        let layers = self.layers.iter().enumerate();
        let layers = layers.map(|(at, layer)| (format!("encoder.{at}.weight"), layer));
        let all = layers.chain([(head(self.kind).to_owned(), &self.head)]);
        let tensors = all.map(|(name, matrix)| {
            let values: Vec<f32> = matrix.values().iter().map(|value| *value as f32).collect();
            (name, TensorData::new(values, matrix.shape()))
        });
        from_state_dict(
            config,
            &StateDict::from_tensors("matrices", tensors),
            device,
        )
    }
}
