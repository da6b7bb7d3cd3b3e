//! Weights under the names of FuxiCTR's state dict.
//!
//! FuxiCTR has a table for each field, `embedding_layer.embedding_layer.embedding_layers.<field>.weight`
//! `[vocabulary, D]`, and for a number a linear layer `[D, 1]`; here tables lie one below the other, and so
//! do the numbers' vectors. The place of a layer in `mlp1.mlp` counts normalisation, activation and dropout
//! where there are such.
//!
//! No checkpoint was published; those of one's own come from a local file or from the Hub.

use super::click::ClickModel;
use super::config::{DualMlpConfig, Field, FieldKind, FinalMlpConfig, GateConfig, StreamConfig};
use super::model::{DualMlp, FinalMlp};
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Op, Source, StateDict};
use std::path::Path;

/// The tables of `fields` below `official`, together in `module`.
fn embedding<'a>(
    map: KeyMap,
    official: &str,
    module: &str,
    fields: impl Iterator<Item = &'a Field>,
) -> KeyMap {
    let (numbers, tables): (Vec<&Field>, Vec<&Field>) =
        fields.partition(|field| field.kind == FieldKind::Number);
    let keys = |fields: &[&Field]| -> Vec<String> {
        let keys = fields.iter();
        let root = format!("{official}.embedding_layer.embedding_layers");
        keys.map(|field| format!("{root}.{}.weight", field.name))
            .collect()
    };
    let mut map = map;
    if !tables.is_empty() {
        let shares = tables.iter().map(|field| field.vocabulary()).collect();
        let target = format!("{module}.table");
        let keys = keys(&tables);
        let ops = [Op::Concat { axis: 0, shares }];
        map = map.rule(keys.iter().map(String::as_str), [target.as_str()], ops);
    }
    if !numbers.is_empty() {
        let shares = vec![1; numbers.len()];
        let target = format!("{module}.numbers");
        let keys = keys(&numbers);
        let ops = [Op::Permute(vec![1, 0]), Op::Concat { axis: 0, shares }];
        map = map.rule(keys.iter().map(String::as_str), [target.as_str()], ops);
    }
    map
}

/// The layers of a perceptron, with an output layer after the hidden ones where there is one.
fn mlp(map: KeyMap, official: &str, module: &str, config: &StreamConfig, output: bool) -> KeyMap {
    let stride = 2 + usize::from(config.batch_norm) + usize::from(config.dropout > 0.0);
    let mut map = map;
    for at in 0..config.hidden.len() {
        let (linear, layer) = (at * stride, format!("{module}.layers.{at}"));
        map = map.linear(
            &format!("{official}.mlp.{linear}"),
            &format!("{layer}.linear"),
        );
        if config.batch_norm {
            let norm = linear + 1;
            for (theirs, ours) in [
                ("weight", "gain"),
                ("bias", "shift"),
                ("running_mean", "mean"),
                ("running_var", "variance"),
            ] {
                let theirs = format!("{official}.mlp.{norm}.{theirs}");
                map = map.rename(&theirs, &format!("{layer}.norm.{ours}"));
            }
        }
    }
    if output {
        let last = config.hidden.len() * stride;
        map = map.linear(
            &format!("{official}.mlp.{last}"),
            &format!("{module}.output"),
        );
    }
    map
}

fn gate(map: KeyMap, number: usize, config: &GateConfig, fields: &[Field]) -> KeyMap {
    let (official, module) = (format!("fs_module.fs{number}"), format!("gate{number}"));
    let hidden = StreamConfig::new(config.hidden.clone());
    let map = mlp(
        map,
        &format!("{official}_gate"),
        &format!("{module}.mlp"),
        &hidden,
        true,
    );
    let named = config.context.iter().flat_map(|name| {
        let field = fields.iter().find(|field| field.name == *name);
        field.into_iter()
    });
    let context = (format!("{official}_ctx_emb"), format!("{module}.context"));
    let map = embedding(map, &context.0, &context.1, named);
    map.rename(&format!("{official}_ctx_bias"), &format!("{module}.bias"))
}

/// Official names to the parameters of [`FinalMlp`].
pub fn key_map(config: &FinalMlpConfig) -> KeyMap {
    let map = KeyMap::new().ignore("*.num_batches_tracked");
    let mut map = embedding(map, "embedding_layer", "embedding", config.fields.iter());
    for (number, of) in [(1, &config.gate1), (2, &config.gate2)] {
        if let Some(of) = of {
            map = gate(map, number, of, &config.fields);
        }
    }
    let map = mlp(map, "mlp1", "stream1", &config.stream1, false);
    mlp(map, "mlp2", "stream2", &config.stream2, false)
        .linear("fusion_module.w_x", "fusion.left")
        .linear("fusion_module.w_y", "fusion.right")
        .rename("fusion_module.w_xy", "fusion.bilinear")
}

/// Official names to the parameters of [`DualMlp`].
pub fn dual_key_map(config: &DualMlpConfig) -> KeyMap {
    let map = KeyMap::new().ignore("*.num_batches_tracked");
    let map = embedding(map, "embedding_layer", "embedding", config.fields.iter());
    let map = mlp(map, "mlp1", "stream1", &config.stream1, true);
    mlp(map, "mlp2", "stream2", &config.stream2, true)
}

/// Reads a model of `config` from a `.safetensors`, PyTorch or NumPy file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &FinalMlpConfig, path: &Path, device: &Device) -> Result<FinalMlp> {
    from_state_dict(config, &StateDict::open(path)?, device)
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &FinalMlpConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<FinalMlp> {
    from_state_dict(config, &source.open(options)?, device)
}

/// [`load`] of weights in memory.
///
/// # Errors
/// Those of [`load`].
pub fn from_state_dict(
    config: &FinalMlpConfig,
    weights: &StateDict,
    device: &Device,
) -> Result<FinalMlp> {
    menagerie_hub::load(config.init(device)?, weights, &key_map(config))
}

/// [`load`] of a DualMLP.
///
/// # Errors
/// Those of [`load`].
pub fn load_dual(config: &DualMlpConfig, path: &Path, device: &Device) -> Result<DualMlp> {
    let weights = StateDict::open(path)?;
    menagerie_hub::load(config.init(device)?, &weights, &dual_key_map(config))
}

/// Writes a model as `.safetensors` under its official names, whole or not at all; baselines without such
/// names under those of their parameters.
///
/// # Errors
/// If the file cannot be written.
pub fn save<M: ClickModel>(model: &M, path: &Path) -> Result<()> {
    let official = model.key_map().to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}
