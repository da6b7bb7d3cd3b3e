//! Weights under the names of the fixtures: linear layers `[outputs, inputs]` with `weight` and
//! `bias`, the time being the last input of a layer that has it.
//!
//! | model | layers |
//! | --- | --- |
//! | [`NeuralOde`] | `neural_ode.model.layers.{i}`, `classifier` |
//! | [`NeuralSde`] | `encoder`, `drift.0`, `drift.1`, `diffusion`, `classifier` |
//! | [`LatentOde`] | `gru.update_gate.{0,1}`, `gru.reset_gate.{0,1}`, `gru.new_state.{0,1}`, `rec_to_gen.{0,1}`, `neural_ode.model.{i}`, `gen_to_data` |
//! | [`ConvNeuralOde`] | the module's own |
//!
//! No checkpoint was published; those of one's own come from a local file or from the Hub, in either
//! precision.

use super::config::{ConvNodeConfig, LatentOdeConfig, NodeConfig, NsdeConfig};
use super::conv::ConvNeuralOde;
use super::latent::LatentOde;
use super::model::NeuralOde;
use super::sde::NeuralSde;
use burn::module::Module;
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

/// A configuration whose model loads and saves.
pub trait Weights {
    /// The model.
    type Model: Module;

    /// A model with drawn weights.
    ///
    /// # Errors
    /// For an invalid configuration.
    fn fresh(&self, device: &Device) -> Result<Self::Model>;

    /// Official names to the model's parameters.
    fn key_map(&self) -> KeyMap;
}

impl Weights for NodeConfig {
    type Model = NeuralOde;

    fn fresh(&self, device: &Device) -> Result<NeuralOde> {
        self.init(device)
    }

    fn key_map(&self) -> KeyMap {
        let last = format!("neural_ode.model.layers.{}", self.layers);
        KeyMap::new()
            .linear("neural_ode.model.layers.0", "dynamics.first")
            .linear(&last, "dynamics.last")
            .linear("neural_ode.model.layers.{i}", "dynamics.middle.{i-1}")
            .linear("classifier", "classifier")
    }
}

impl Weights for NsdeConfig {
    type Model = NeuralSde;

    fn fresh(&self, device: &Device) -> Result<NeuralSde> {
        self.init(device)
    }

    fn key_map(&self) -> KeyMap {
        KeyMap::new()
            .linear("encoder", "encoder")
            .linear("drift.0", "dynamics.drift_in")
            .linear("drift.1", "dynamics.drift_out")
            .linear("diffusion", "dynamics.diffusion")
            .linear("classifier", "classifier")
    }
}

impl Weights for LatentOdeConfig {
    type Model = LatentOde;

    fn fresh(&self, device: &Device) -> Result<LatentOde> {
        self.init(device)
    }

    fn key_map(&self) -> KeyMap {
        let gates = [
            ("update_gate", "update"),
            ("reset_gate", "reset"),
            ("new_state", "fresh"),
        ];
        let map = gates
            .into_iter()
            .fold(KeyMap::new(), |map, (theirs, ours)| {
                map.linear(
                    &format!("gru.{theirs}.0"),
                    &format!("encoder.{ours}.hidden"),
                )
                .linear(
                    &format!("gru.{theirs}.1"),
                    &format!("encoder.{ours}.output"),
                )
            });
        map.linear("rec_to_gen.0", "posterior_in")
            .linear("rec_to_gen.1", "posterior_out")
            .linear("neural_ode.model.{i}", "dynamics.layers.{i}")
            .linear("gen_to_data", "decoder")
    }
}

impl Weights for ConvNodeConfig {
    type Model = ConvNeuralOde;

    fn fresh(&self, device: &Device) -> Result<ConvNeuralOde> {
        self.init(device)
    }

    fn key_map(&self) -> KeyMap {
        KeyMap::new().linear("classifier", "classifier")
    }
}

/// Official names to the parameters of [`SdeDynamics`](super::SdeDynamics) alone.
pub fn dynamics_map() -> KeyMap {
    KeyMap::new()
        .linear("drift.0", "drift_in")
        .linear("drift.1", "drift_out")
        .linear("diffusion", "diffusion")
}

/// Reads a model of `config` from a `.safetensors`, PyTorch or NumPy file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load<C: Weights>(config: &C, path: &Path, device: &Device) -> Result<C::Model> {
    from_state_dict(config, &StateDict::open(path)?, device)
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from<C: Weights>(
    config: &C,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<C::Model> {
    from_state_dict(config, &source.open(options)?, device)
}

/// [`load`] of weights in memory.
///
/// # Errors
/// Those of [`load`].
pub fn from_state_dict<C: Weights>(
    config: &C,
    weights: &StateDict,
    device: &Device,
) -> Result<C::Model> {
    menagerie_hub::load(config.fresh(device)?, weights, &config.key_map())
}

/// Writes a model as `.safetensors`, whole or not at all, in the model's precision.
///
/// # Errors
/// If the file cannot be written.
pub fn save<C: Weights>(config: &C, model: &C::Model, path: &Path) -> Result<()> {
    let official = config
        .key_map()
        .to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}
