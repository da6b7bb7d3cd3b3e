//! Weights under the names of the official code.
//!
//! The U-Net's names are those of guided-diffusion, whose checkpoint on ImageNet at 256×256 is at
//! <https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt>; the
//! heads' are those of the code for the later paper, of which no checkpoints were published.

use super::config::UNetConfig;
use super::heads::{
    AttentionHead, AttentionHeadConfig, ConvHead, ConvHeadConfig, Head, HeadNorm, LinearHead,
    LinearHeadConfig,
};
use super::unet::UNet;
use burn::module::Module;
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Op, Source, StateDict};
use std::path::Path;

/// guided-diffusion's names to the parameters of [`UNet`].
pub fn unet_key_map() -> KeyMap {
    let map = KeyMap::new()
        .linear("time_embed.0", "time_in")
        .linear("time_embed.2", "time_out")
        .affine("out.0", "out_norm")
        .affine("out.2", "out_conv");
    [
        ("input_blocks.{i}.{j}", "input_blocks.{i}.layers.{j}"),
        ("middle_block.{j}", "middle_block.layers.{j}"),
        ("output_blocks.{i}.{j}", "output_blocks.{i}.layers.{j}"),
    ]
    .into_iter()
    .fold(map, |map, (official, module)| layers(map, official, module))
}

/// The layers of a block.
fn layers(map: KeyMap, official: &str, module: &str) -> KeyMap {
    let map = map.linear(
        &format!("{official}.emb_layers.1"),
        &format!("{module}.Residual.embedding"),
    );
    let map = [
        ("in_layers.0", "Residual.in_norm"),
        ("in_layers.2", "Residual.in_conv"),
        ("out_layers.0", "Residual.out_norm"),
        ("out_layers.3", "Residual.out_conv"),
        ("skip_connection", "Residual.skip"),
        ("norm", "Attention.norm"),
        ("op", "Down"),
        ("conv", "Up"),
    ]
    .into_iter()
    .fold(map, |map, (theirs, ours)| {
        map.affine(&format!("{official}.{theirs}"), &format!("{module}.{ours}"))
    });
    let map =
        [("qkv", "qkv"), ("proj_out", "proj")]
            .into_iter()
            .fold(map, |map, (theirs, ours)| {
                let module = format!("{module}.Attention.{ours}");
                map.rule(
                    [format!("{official}.{theirs}.weight").as_str()],
                    [format!("{module}_weight").as_str()],
                    // A convolution over positions, one wide.
                    [Op::Squeeze(2)],
                )
                .rename(
                    &format!("{official}.{theirs}.bias"),
                    &format!("{module}_bias"),
                )
            });
    map.affine(official, &format!("{module}.Conv"))
}

/// The official names of a linear head, also with hidden layers, to the parameters of
/// [`LinearHead`].
pub fn linear_key_map() -> KeyMap {
    KeyMap::new().linear("fcs.{i}", "fcs.{i}")
}

/// Names of a [`ConvHead`] as PyTorch would have them; there are no official ones.
pub fn conv_key_map() -> KeyMap {
    let names = ["conv1", "norm1", "conv2", "norm2"];
    let map = names
        .iter()
        .fold(KeyMap::new(), |map, name| map.affine(name, name));
    map.linear("fc", "fc")
}

/// The official names of an attention head to the parameters of [`AttentionHead`].
pub fn attention_key_map(config: &AttentionHeadConfig) -> KeyMap {
    let root = "intra_inter_block_attention";
    // The official list counts the layer that puts the learned token in.
    let layer = match config.cls_token {
        true => format!("{root}.layers.{{i+1}}"),
        false => format!("{root}.layers.{{i}}"),
    };
    let map = KeyMap::new()
        .linear("head", "head")
        .rename(&format!("{root}.cls_token"), "cls_token");
    let map = ["norm1", "norm2"].iter().fold(map, |map, name| {
        map.affine(&format!("{layer}.{name}"), &format!("blocks.{{i}}.{name}"))
    });
    let linears = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"];
    let map = linears.iter().fold(map, |map, name| {
        map.linear(&format!("{layer}.{name}"), &format!("blocks.{{i}}.{name}"))
    });
    let maps = config.maps.iter().enumerate();
    maps.fold(map, |map, (index, [block, _, _])| {
        let (official, module) = (format!("pre_layer.{block}"), format!("pre_layer.{index}"));
        let map = match config.norm {
            HeadNorm::Layer => {
                map.affine(&format!("{official}.1"), &format!("{module}.norm.Layer"))
            }
            HeadNorm::Batch => [
                ("weight", "gamma"),
                ("bias", "beta"),
                ("running_mean", "running_mean"),
                ("running_var", "running_var"),
            ]
            .into_iter()
            .fold(map, |map, (theirs, ours)| {
                map.rename(
                    &format!("{official}.1.{theirs}"),
                    &format!("{module}.norm.Batch.{ours}"),
                )
            })
            .ignore(&format!("{official}.1.num_batches_tracked")),
        };
        map.rule(
            [format!("{official}.2.weight").as_str()],
            [format!("{module}.projection.weight").as_str()],
            [Op::Squeeze(3), Op::Squeeze(2), Op::Permute(vec![1, 0])],
        )
        .rename(
            &format!("{official}.2.bias"),
            &format!("{module}.projection.bias"),
        )
    })
}

/// Reads a network of `config` from a `.safetensors`, PyTorch or NumPy file.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &UNetConfig, path: &Path, device: &Device) -> Result<UNet> {
    let unet = config.init(device)?;
    menagerie_hub::load(unet, &StateDict::open(path)?, &unet_key_map())
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &UNetConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<UNet> {
    let unet = config.init(device)?;
    menagerie_hub::load(unet, &source.open(options)?, &unet_key_map())
}

/// Writes a network as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(unet: &UNet, path: &Path) -> Result<()> {
    write(unet, &unet_key_map(), path)
}

fn write<M: Module>(module: &M, map: &KeyMap, path: &Path) -> Result<()> {
    let official = map.to_official(&menagerie_hub::values(module))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}

/// Reads a linear head, also one with hidden layers, of `config`.
///
/// # Errors
/// As [`load`].
pub fn load_linear(config: &LinearHeadConfig, path: &Path, device: &Device) -> Result<LinearHead> {
    let head = config.init(device)?;
    menagerie_hub::load(head, &StateDict::open(path)?, &linear_key_map())
}

/// Reads an attention head of `config`.
///
/// # Errors
/// As [`load`].
pub fn load_attention(
    config: &AttentionHeadConfig,
    path: &Path,
    device: &Device,
) -> Result<AttentionHead> {
    let head = config.init(device)?;
    menagerie_hub::load(head, &StateDict::open(path)?, &attention_key_map(config))
}

/// Reads a convolutional head of `config`; its names are ours, as the head itself
/// ([`conv_key_map`]).
///
/// # Errors
/// As [`load`].
pub fn load_conv(config: &ConvHeadConfig, path: &Path, device: &Device) -> Result<ConvHead> {
    let head = config.init(device)?;
    menagerie_hub::load(head, &StateDict::open(path)?, &conv_key_map())
}

/// Writes a head under the names by which it is read again, as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save_head(head: &Head, path: &Path) -> Result<()> {
    match head {
        Head::Linear(head) => write(head, &linear_key_map(), path),
        Head::Conv(head) => write(head, &conv_key_map(), path),
        Head::Attention(head) => write(head, &attention_key_map(head.config()), path),
    }
}
