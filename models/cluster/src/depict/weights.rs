//! Weights under the names of the fixtures, and those of the released code.
//!
//! | source | names | kernels | dense layers |
//! | --- | --- | --- | --- |
//! | this crate and PyTorch ports ([`key_map`], [`load`], [`save`]) | `conv1`, `conv2`, `fc_enc`, `fc_dec`, `deconv1`, `deconv0`, `cluster`, each `.weight` and `.bias` | as cross-correlations | `[out, in]` |
//! | the released code ([`load_released`]) | twelve arrays in the order of the layers, without the softmax layer | true convolutions: flipped in both axes | `[in, out]` |
//!
//! The repository of the code has the autoencoder for MNIST-test
//! (`results/DEPICT/params/params_MNIST-test_values_best.pickle`), and no network after the joint
//! training.

use super::{config::DepictConfig, model::Depict};
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

/// Official names to the parameters of [`Depict`].
pub fn key_map() -> KeyMap {
    // Convolutions keep their names and layouts.
    KeyMap::new()
        .linear("fc_enc", "fc_enc")
        .linear("fc_dec", "fc_dec")
        .linear("cluster", "cluster")
}

/// The numbers of the released arrays to the parameters of [`Depict`]: the name of array `n` is
/// `{prefix}n`.
fn released_key_map(prefix: &str) -> KeyMap {
    const LAYERS: [(&str, bool); 6] = [
        ("conv1", true),
        ("conv2", true),
        ("fc_enc", false),
        ("fc_dec", false),
        ("deconv1", true),
        ("deconv0", true),
    ];
    let mut map = KeyMap::new();
    for (number, (layer, convolution)) in LAYERS.into_iter().enumerate() {
        let weight = format!("{prefix}{}", 2 * number);
        let bias = format!("{prefix}{}", 2 * number + 1);
        let path = format!("{layer}.weight");
        map = if convolution {
            map.flip_permute(&weight, &path, &[2, 3], &[0, 1, 2, 3])
        } else {
            map.rename(&weight, &path)
        };
        map = map.rename(&bias, &format!("{layer}.bias"));
    }
    // There is none in the file.
    map.computed("cluster.*")
}

/// Reads a network of `config` from a `.safetensors`, PyTorch or NumPy file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &DepictConfig, path: &Path, device: &Device) -> Result<Depict> {
    menagerie_hub::load(config.init(device)?, &StateDict::open(path)?, &key_map())
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &DepictConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<Depict> {
    let model = config.init(device)?;
    menagerie_hub::load(model, &source.open(options)?, &key_map())
}

/// Reads the autoencoder of the released code: the pickled list of arrays as it is in the repository,
/// or the same as `.npz` (`numpy.savez(path, *arrays)`). The softmax layer is drawn.
///
/// # Errors
/// As [`load`].
pub fn load_released(config: &DepictConfig, path: &Path, device: &Device) -> Result<Depict> {
    let arrays = StateDict::open(path)?;
    let prefix = if arrays.get("arr_0").is_some() {
        "arr_"
    } else {
        ""
    };
    menagerie_hub::load(config.init(device)?, &arrays, &released_key_map(prefix))
}

/// Writes a network as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &Depict, path: &Path) -> Result<()> {
    let official = key_map().to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}
