//! Weights under the names of the official code.
//!
//! No official checkpoint was published; those of ports and of one's own come from a local file or
//! from the Hub. Two layouts of the same names are understood:
//!
//! | | filters | a prototype's q values |
//! | --- | --- | --- |
//! | this crate and PyTorch ports ([`key_map`], [`load`], [`save`]) | `[out, in, 3, 3]` of the encoder's layer, also for `decoder_f{i}`, which is applied as its adjoint | channels first |
//! | TensorFlow ([`load_tensorflow`]) | `[3, 3, in, out]` likewise | channels last |

use super::{config::PrototypeNetConfig, model::PrototypeNet};
use burn::tensor::{Device, TensorData};
use menagerie_core::{Error, Result};
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

const PROTOTYPES: &str = "prototype_feature_vectors";
const CLASSIFIER: &str = "last_layer_w";

/// Official names to the parameters of [`PrototypeNet`].
pub fn key_map() -> KeyMap {
    KeyMap::new()
        .rename("encoder_f{i}", "encoder.convs.{i-1}.weight")
        .rename("decoder_f{i}", "decoder.convs.{i-1}.weight")
        .and(common())
}

/// [`key_map`] for TensorFlow's layout of the filters; prototypes need [`load_tensorflow`].
fn tensorflow_key_map() -> KeyMap {
    KeyMap::new()
        .permute("encoder_f{i}", "encoder.convs.{i-1}.weight", &[3, 2, 0, 1])
        .permute("decoder_f{i}", "decoder.convs.{i-1}.weight", &[3, 2, 0, 1])
        .and(common())
}

fn common() -> KeyMap {
    KeyMap::new()
        .rename("encoder_b{i}", "encoder.convs.{i-1}.bias")
        .rename("decoder_b{i}", "decoder.convs.{i-1}.bias")
        .rename(PROTOTYPES, "prototypes")
        .rename(CLASSIFIER, "classifier")
}

/// Reads a network of `config` from a `.safetensors`, PyTorch or NumPy file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &PrototypeNetConfig, path: &Path, device: &Device) -> Result<PrototypeNet> {
    let model = config.init(device)?;
    menagerie_hub::load(model, &StateDict::open(path)?, &key_map())
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &PrototypeNetConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<PrototypeNet> {
    let model = config.init(device)?;
    menagerie_hub::load(model, &source.open(options)?, &key_map())
}

/// Writes a network as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &PrototypeNet, path: &Path) -> Result<()> {
    let official = key_map().to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}

/// Reads the variables of the official TensorFlow graph, exported under their names (for example
/// with `numpy.savez`), into a network of `config`.
///
/// # Errors
/// Those of [`load`].
pub fn load_tensorflow(
    config: &PrototypeNetConfig,
    path: &Path,
    device: &Device,
) -> Result<PrototypeNet> {
    from_tensorflow(config, StateDict::open(path)?, device)
}

/// [`load_tensorflow`] of variables in memory.
///
/// # Errors
/// If the configuration is invalid, or a key is missing, unexpected or of another shape.
pub fn from_tensorflow(
    config: &PrototypeNetConfig,
    mut variables: StateDict,
    device: &Device,
) -> Result<PrototypeNet> {
    let model = config.init(device)?;
    // Prototypes of another shape are left for the loader to refuse by name.
    let shape = [config.prototypes, config.features()];
    let permuted = variables
        .get(PROTOTYPES)
        .filter(|data| data.shape().to_vec() == shape && data.dtype().is_float())
        .map(|data| channels_first(data, config.latent()))
        .transpose()?;
    if let Some(prototypes) = permuted {
        variables.insert(PROTOTYPES, prototypes);
    }
    menagerie_hub::load(model, &variables, &tensorflow_key_map())
}

/// Rows flattened from `[height, width, channels]` as rows flattened from `[channels, height,
/// width]`.
fn channels_first(data: &TensorData, [channels, height, width]: [usize; 3]) -> Result<TensorData> {
    let values = data
        .clone()
        .try_cast_as::<f32>()
        .and_then(TensorData::try_into_vec::<f32>)
        .map_err(|error| Error::other(format!("reading {PROTOTYPES}"), error))?;
    let area = height * width;
    let permuted: Vec<f32> = values
        .chunks(channels * area)
        .flat_map(|row| (0..channels * area).map(move |at| row[at % area * channels + at / area]))
        .collect();
    Ok(TensorData::new(permuted, data.shape().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_permuted_from_channels_last() {
        // Two positions with three channels, written as 10 * position + channel.
        let last = TensorData::from([[0f32, 1., 2., 10., 11., 12.]]);
        let first = channels_first(&last, [3, 1, 2]).unwrap();
        assert_eq!(first, TensorData::from([[0f32, 10., 1., 11., 2., 12.]]));
    }
}
