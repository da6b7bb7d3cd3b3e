//! Weights under the names of the reference that the parity fixtures come from.
//!
//! Nobody has published official code or checkpoints. [`save`] and [`load`] exchange models through a
//! `.safetensors` file under these names; PyTorch and NumPy files with them are read as well. Linear
//! weights are `[outputs, inputs]` there.

use super::adjoint::Adjoint;
use super::backprop::Backprop;
use super::config::Embedding;
use super::continuous::NoPropCt;
use super::flow::NoPropFm;
use super::model::NoPropDt;
use super::readout::Readout;
use burn::module::Module;
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

/// A model whose parameters have names outside.
pub trait Official: Module {
    /// Those names to the model's own.
    fn key_map(&self) -> KeyMap;
}

/// Reads the weights of `model` from a `.safetensors`, PyTorch or NumPy file.
///
/// # Errors
/// If the file cannot be read, or a key is missing, unexpected or of another shape.
pub fn load<M: Official>(model: M, path: &Path) -> Result<M> {
    from_state_dict(model, &StateDict::open(path)?)
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from<M: Official>(model: M, source: &Source, options: &HubOptions) -> Result<M> {
    from_state_dict(model, &source.open(options)?)
}

/// [`load`] from a file that is in memory.
///
/// # Errors
/// If a key is missing, unexpected or of another shape.
pub fn from_state_dict<M: Official>(model: M, weights: &StateDict) -> Result<M> {
    let map = model.key_map();
    menagerie_hub::load(model, weights, &map)
}

/// Writes a model as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save<M: Official>(model: &M, path: &Path) -> Result<()> {
    let official = model.key_map().to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}

/// Embeddings and head, and what a PyTorch file has besides.
fn common() -> KeyMap {
    KeyMap::new()
        .rename("embed", "readout.embed")
        .linear("head", "readout.head")
        .ignore("*.num_batches_tracked")
}

fn image_path(map: KeyMap, official: &str, module: &str) -> KeyMap {
    let map = ["conv1", "conv2", "conv3"].iter().fold(map, |map, name| {
        map.affine(&format!("{official}.{name}"), &format!("{module}.{name}"))
    });
    let map = map.linear(&format!("{official}.fc"), &format!("{module}.fc"));
    norm(map, &format!("{official}.bn"), &format!("{module}.bn"))
}

fn norm(map: KeyMap, official: &str, module: &str) -> KeyMap {
    let parts = ["weight", "bias", "running_mean", "running_var"];
    parts.iter().fold(map, |map, part| {
        map.rename(&format!("{official}.{part}"), &format!("{module}.{part}"))
    })
}

fn linears(map: KeyMap, root: &str, names: &[&str]) -> KeyMap {
    names.iter().fold(map, |map, name| {
        let path = format!("{root}.{name}");
        map.linear(&path, &path)
    })
}

/// Blocks in discrete time.
fn discrete(readout: &Readout) -> KeyMap {
    let root = "blocks.{i}";
    let (image, label) = (format!("{root}.image"), format!("{root}.label"));
    let map = image_path(common(), &image, &image);
    let map = match readout.config().embedding {
        Embedding::Prototype => image_path(map, &label, &format!("{label}.Image")),
        _ => (1..=3).fold(map, |map, at| {
            let module = format!("{label}.Dense");
            let map = map.linear(&format!("{label}.fc{at}"), &format!("{module}.fc{at}"));
            norm(map, &format!("{label}.bn{at}"), &format!("{module}.bn{at}"))
        }),
    };
    linears(map, root, &["fuse1", "fuse2", "out"])
}

/// The block in continuous time.
fn continuous(readout: &Readout) -> KeyMap {
    let map = image_path(common(), "block.image", "block.image");
    let map = match readout.config().embedding {
        Embedding::Prototype => image_path(map, "block.label", "block.label.Image"),
        _ => map.linear("block.label", "block.label.Dense"),
    };
    linears(map, "block", &["time", "fuse1", "fuse2", "out"])
}

impl Official for NoPropDt {
    fn key_map(&self) -> KeyMap {
        discrete(&self.readout)
    }
}

impl Official for Backprop {
    fn key_map(&self) -> KeyMap {
        discrete(&self.readout)
    }
}

impl Official for NoPropCt {
    fn key_map(&self) -> KeyMap {
        continuous(&self.readout)
    }
}

impl Official for NoPropFm {
    fn key_map(&self) -> KeyMap {
        continuous(&self.readout)
    }
}

impl Official for Adjoint {
    fn key_map(&self) -> KeyMap {
        continuous(&self.readout)
    }
}
