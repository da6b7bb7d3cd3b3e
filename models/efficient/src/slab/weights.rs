//! Weights under the names of the official code.
//!
//! Its buffers hold counters as integers and what can be computed (windows' masks and indices); the
//! former are read as numbers, the latter left out.

use super::config::{
    AttentionKind, CswinConfig, DeitConfig, LlamaConfig, Pooling, PvtConfig, SwinConfig,
};
use super::model::{Llama, SlabCswin, SlabDeit, SlabPvt, SlabSwin};
use super::norm::{NormConfig, NormKind};
use burn::module::Module;
use burn::tensor::{Device, TensorData};
use menagerie_core::{Error, Result};
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use std::path::Path;

/// The last parts of the names of counters.
const COUNTERS: [&str; 5] = [
    "warm",
    "iter",
    "total_step",
    "num_step",
    "num_batches_tracked",
];

/// Official names of a norm to the parameters of a [`Norm`](super::Norm).
pub fn norm_key_map(config: &NormConfig, official: &str, module: &str) -> KeyMap {
    let theirs = |name: &str| match official {
        "" => name.to_owned(),
        official => format!("{official}.{name}"),
    };
    let ours = |name: &str| match module {
        "" => name.to_owned(),
        module => format!("{module}.{name}"),
    };
    let batch = |map: KeyMap, root: &str| {
        let state = ["running_mean", "running_var", "num_batches_tracked"];
        let names = state.iter().chain(&["weight", "bias"]);
        names.fold(map, |map, name| {
            let (theirs, ours) = (
                theirs(&format!("{root}{name}")),
                ours(&format!("bn.{name}")),
            );
            map.rename(&theirs, &ours)
        })
    };
    let counters = |map: KeyMap| {
        COUNTERS[..4].iter().fold(map, |map, name| {
            map.rename(&theirs(name), &ours(&format!("blend.{name}")))
        })
    };
    let map = KeyMap::new();
    match config.kind {
        NormKind::Folded => map,
        NormKind::Layer => map
            .rename(&theirs("weight"), &ours("layer.weight"))
            .rename(&theirs("bias"), &ours("layer.bias")),
        NormKind::Rms => map.rename(&theirs("weight"), &ours("rms.weight")),
        NormKind::Batch => batch(map, "bn."),
        NormKind::RepBatch => batch(map.rename(&theirs("alpha"), &ours("alpha")), "bn."),
        NormKind::Progressive => {
            let map = map
                .rename(&theirs("norm1.weight"), &ours("layer.weight"))
                .rename(&theirs("norm1.bias"), &ours("layer.bias"))
                .rename(&theirs("norm2.alpha"), &ours("alpha"));
            batch(counters(map), "norm2.bn.")
        }
        NormKind::ProgressiveRms => {
            let map = map
                .rename(&theirs("norm1.weight"), &ours("rms.weight"))
                .rename(&theirs("norm2.alpha"), &ours("alpha"));
            batch(counters(map), "norm2.bn.")
        }
    }
}

/// Norms, mixer and perceptron of a block below `official` and `module`.
fn block(map: KeyMap, norm: &NormConfig, official: &str, module: &str, mixer: Mixed) -> KeyMap {
    let pair =
        |theirs: &str, ours: &str| (format!("{official}.{theirs}"), format!("{module}.{ours}"));
    let mut map = map;
    for name in ["norm1", "norm2"] {
        let (theirs, ours) = pair(name, name);
        map = map.and(norm_key_map(norm, &theirs, &ours));
    }
    for name in ["mlp.fc1", "mlp.fc2"] {
        let (theirs, ours) = pair(name, name);
        map = map.linear(&theirs, &ours);
    }
    let (variant, layers, values): (&str, &[&str], &[&str]) = match mixer {
        Mixed::Softmax => ("Softmax", &["qkv", "proj"], &[]),
        Mixed::Window => (
            "Window",
            &["qkv", "proj"],
            &["relative_position_bias_table"],
        ),
        Mixed::Linear => (
            "Linear",
            &["qkv", "proj"],
            &["positional_encoding", "dwc.weight", "dwc.bias"],
        ),
        Mixed::Reduced => (
            "Reduced",
            &["q", "kv", "proj"],
            &[
                "positional_encoding",
                "dwc.weight",
                "dwc.bias",
                "sr.weight",
                "sr.bias",
            ],
        ),
    };
    for name in layers {
        let (theirs, ours) = pair(&format!("attn.{name}"), &format!("attn.{variant}.{name}"));
        map = map.linear(&theirs, &ours);
    }
    for name in values {
        let (theirs, ours) = pair(&format!("attn.{name}"), &format!("attn.{variant}.{name}"));
        map = map.rename(&theirs, &ours);
    }
    if mixer == Mixed::Reduced {
        let (theirs, ours) = pair("attn.norm", "attn.Reduced.norm");
        map = map.and(norm_key_map(norm, &theirs, &ours));
    }
    map
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mixed {
    Softmax,
    Linear,
    Window,
    Reduced,
}

/// Official names to the parameters of a [`SlabDeit`]. The class token that SLAB-DeiT's official
/// code makes and does not use is left out.
pub fn deit_key_map(config: &DeitConfig) -> KeyMap {
    let mixer = match config.attention {
        AttentionKind::Softmax => Mixed::Softmax,
        AttentionKind::Linear => Mixed::Linear,
    };
    let map = KeyMap::new()
        .rename("pos_embed", "pos_embed")
        .affine("patch_embed.proj", "patch_embed")
        .and(norm_key_map(&config.norm, "norm", "norm"))
        .linear("head", "head");
    let map = block(map, &config.norm, "blocks.{i}", "blocks.{i}", mixer);
    match config.pooling {
        Pooling::Class => map.rename("cls_token", "cls_token"),
        Pooling::Mean => map.ignore("cls_token"),
    }
}

/// Official names to the parameters of a [`SlabSwin`].
pub fn swin_key_map(config: &SwinConfig) -> KeyMap {
    let norm = &config.norm;
    let merging = "layers.{s}.downsample";
    let map = KeyMap::new()
        .affine("patch_embed.proj", "patch_embed")
        .and(norm_key_map(norm, "patch_embed.norm", "patch_norm"))
        .and(norm_key_map(norm, "norm", "norm"))
        .and(norm_key_map(
            norm,
            &format!("{merging}.norm"),
            &format!("{merging}.norm"),
        ))
        .linear(
            &format!("{merging}.reduction"),
            &format!("{merging}.reduction"),
        )
        .linear("head", "head")
        .ignore("*.relative_position_index")
        .ignore("*.attn_mask");
    let stages = config.stages.iter().enumerate();
    stages.fold(map, |map, (at, stage)| {
        (0..stage.depth).fold(map, |map, index| {
            let mixer = match stage.attention.is_linear(index) {
                true => Mixed::Linear,
                false => Mixed::Window,
            };
            let official = format!("layers.{at}.blocks.{index}");
            block(map, norm, &official, &format!("{official}.block"), mixer)
        })
    })
}

/// Official names to the parameters of a [`SlabPvt`].
pub fn pvt_key_map(config: &PvtConfig) -> KeyMap {
    let norm = &config.norm;
    (0..config.stages.len()).fold(KeyMap::new().linear("head", "head"), |map, at| {
        let (theirs, ours) = (at + 1, format!("stages.{at}"));
        let map = map
            .affine(
                &format!("patch_embed{theirs}.proj"),
                &format!("{ours}.patch_embed"),
            )
            .and(norm_key_map(
                norm,
                &format!("patch_embed{theirs}.norm"),
                &format!("{ours}.patch_norm"),
            ))
            .rename(&format!("pos_embed{theirs}"), &format!("{ours}.pos_embed"));
        let (theirs, ours) = (
            format!("block{theirs}.{{i}}"),
            format!("{ours}.blocks.{{i}}"),
        );
        block(map, norm, &theirs, &ours, Mixed::Reduced)
    })
}

/// Official names to the parameters of a [`SlabCswin`]. A scale that the official code makes and does
/// not use is left out.
pub fn cswin_key_map(config: &CswinConfig) -> KeyMap {
    let norm = &config.norm;
    let map = KeyMap::new()
        .and(norm_key_map(norm, "norm", "norm"))
        .linear("head", "head")
        .ignore("*.attns.*.scale");
    (0..config.stages.len()).fold(map, |map, at| {
        let (conv, after) = match at {
            0 => ["0", "2"]
                .map(|part| format!("stage1_conv_embed.{part}"))
                .into(),
            at => ["conv", "norm"]
                .map(|part| format!("merge{at}.{part}"))
                .into(),
        };
        let ours = format!("stages.{at}");
        let mut map = map.affine(&conv, &format!("{ours}.conv")).and(norm_key_map(
            norm,
            &after,
            &format!("{ours}.norm"),
        ));
        let (theirs, ours) = (
            format!("stage{}.{{i}}", at + 1),
            format!("{ours}.blocks.{{i}}"),
        );
        for name in ["norm1", "norm2"] {
            let (theirs, ours) = (format!("{theirs}.{name}"), format!("{ours}.{name}"));
            map = map.and(norm_key_map(norm, &theirs, &ours));
        }
        for name in ["qkv", "proj", "mlp.fc1", "mlp.fc2"] {
            map = map.linear(&format!("{theirs}.{name}"), &format!("{ours}.{name}"));
        }
        for name in [
            "get_v.weight",
            "get_v.bias",
            "dwc.weight",
            "dwc.bias",
            "positional_encoding",
        ] {
            let name = format!("attns.{{j}}.{name}");
            map = map.rename(&format!("{theirs}.{name}"), &format!("{ours}.{name}"));
        }
        map
    })
}

/// Official names to the parameters of a [`Llama`].
pub fn llama_key_map(config: &LlamaConfig) -> KeyMap {
    let norm = &config.norm;
    let (theirs, ours) = ("model.layers.{i}", "layers.{i}");
    let map = KeyMap::new()
        .rename("model.embed_tokens.weight", "embed_tokens")
        .and(norm_key_map(norm, "model.norm", "norm"))
        .linear("lm_head", "lm_head")
        .ignore("*.rotary_emb.inv_freq");
    let map = ["input_layernorm", "post_attention_layernorm"]
        .iter()
        .fold(map, |map, name| {
            let (theirs, ours) = (format!("{theirs}.{name}"), format!("{ours}.{name}"));
            map.and(norm_key_map(norm, &theirs, &ours))
        });
    let attention = ["q_proj", "k_proj", "v_proj", "o_proj"].map(|name| ("self_attn", name));
    let perceptron = ["gate_proj", "up_proj", "down_proj"].map(|name| ("mlp", name));
    attention
        .iter()
        .chain(&perceptron)
        .fold(map, |map, (part, name)| {
            map.linear(
                &format!("{theirs}.{part}.{name}"),
                &format!("{ours}.{name}"),
            )
        })
}

/// The official state dict with its counters, which are integers with or without an axis, as the
/// modules hold them: numbers with one.
///
/// # Errors
/// If a counter cannot be read as a number.
pub fn counters_as_numbers(weights: &StateDict) -> Result<StateDict> {
    let mut read = weights.clone();
    for (key, data) in weights.iter() {
        let name = key.rsplit('.').next().unwrap_or(key);
        if !COUNTERS.contains(&name) || data.num_elements() != 1 {
            continue;
        }
        let value = data
            .clone()
            .try_cast_as::<f32>()
            .and_then(TensorData::try_into_vec::<f32>)
            .map_err(|error| Error::other(format!("reading {key}"), error))?;
        read.insert(key, TensorData::new(value, [1]));
    }
    Ok(read)
}

/// A module with the official weights, every one in its place.
///
/// # Errors
/// [`Error::Weights`] that lists the keys that are missing, unexpected or of another shape.
pub fn load_into<M: Module>(module: M, weights: &StateDict, map: &KeyMap) -> Result<M> {
    menagerie_hub::load(module, &counters_as_numbers(weights)?, map)
}

/// A model under the official names, with counters as the official code keeps them.
///
/// # Errors
/// None for a model and the map of its configuration.
pub fn state_dict<M: Module>(model: &M, map: &KeyMap) -> Result<StateDict> {
    let mut official = map.to_official(&menagerie_hub::values(model))?;
    for (key, data) in &mut official {
        let name = key.rsplit('.').next().unwrap_or(key);
        if COUNTERS.contains(&name) {
            *data = data
                .clone()
                .try_cast_as::<i64>()
                .map_err(|error| Error::other(format!("writing {key}"), error))?;
        }
    }
    Ok(StateDict::from_tensors("a network", official))
}

// Reading and writing of every kind of network.
macro_rules! files {
    ($($load:ident, $load_from:ident, $save:ident, $config:ty, $model:ty, $map:ident;)*) => {$(
        /// Reads a network of `config` from a `.safetensors` or PyTorch file with the official names.
        ///
        /// # Errors
        /// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected
        /// or of another shape.
        pub fn $load(config: &$config, path: &Path, device: &Device) -> Result<$model> {
            load_into(config.init(device)?, &StateDict::open(path)?, &$map(config))
        }

        /// The same from a local file or a file of a repository on the Hub.
        ///
        /// # Errors
        /// As from a local file, and those of [`Source::fetch`].
        pub fn $load_from(
            config: &$config,
            source: &Source,
            options: &HubOptions,
            device: &Device,
        ) -> Result<$model> {
            load_into(config.init(device)?, &source.open(options)?, &$map(config))
        }

        /// Writes a network under the official names as `.safetensors`, whole or not at all.
        ///
        /// # Errors
        /// If the file cannot be written.
        pub fn $save(model: &$model, path: &Path) -> Result<()> {
            state_dict(model, &$map(model.config()))?.save_safetensors(path)
        }
    )*};
}
files! {
    load_deit, load_deit_from, save_deit, DeitConfig, SlabDeit, deit_key_map;
    load_swin, load_swin_from, save_swin, SwinConfig, SlabSwin, swin_key_map;
    load_pvt, load_pvt_from, save_pvt, PvtConfig, SlabPvt, pvt_key_map;
    load_cswin, load_cswin_from, save_cswin, CswinConfig, SlabCswin, cswin_key_map;
    load_llama, load_llama_from, save_llama, LlamaConfig, Llama, llama_key_map;
}
