//! Weights under the names of the official Equinox code.
//!
//! The reference keeps a transposed convolution's kernel as `[out, in, height, width]` and slides
//! it unflipped over the dilated input, so its rows and columns run backwards as seen from Burn's
//! `[in, out, height, width]`. Linear weights are `[out, in]` there and `[in, out]` here.
//!
//! No official checkpoints were published; [`save`] and [`load`] exchange them with the reference
//! through a `.safetensors` file under these names.

use super::{
    baselines::{AutoencoderConfig, InfoGanConfig, VaeConfig, VqVaeConfig},
    config::{BackboneConfig, Codebook, DecoderConfig, QlaeConfig},
    model::Qlae,
};
use burn::tensor::Device;
use menagerie_core::Result;
use menagerie_hub::{HubOptions, KeyMap, Op, Source, StateDict};
use std::path::Path;

/// Official names to [`Qlae`]'s parameters.
pub fn key_map(config: &QlaeConfig) -> KeyMap {
    let map = autoencoder(&config.backbone);
    match config.codebook {
        Codebook::PerLatent => codebooks(map, &config.values),
        Codebook::Global => map.rename("latent.values", "latent.values"),
    }
}

/// Official names to the parameters of an [`Autoencoder`](super::baselines::Autoencoder).
pub fn autoencoder_key_map(config: &AutoencoderConfig) -> KeyMap {
    autoencoder(&config.backbone)
}

/// Official names to the parameters of a [`Vae`](super::baselines::Vae).
pub fn vae_key_map(config: &VaeConfig) -> KeyMap {
    autoencoder(&config.backbone)
}

/// Official names to the parameters of a [`VqVae`](super::baselines::VqVae).
pub fn vqvae_key_map(config: &VqVaeConfig) -> KeyMap {
    autoencoder(&config.backbone).rename("latent.embeddings", "latent.embeddings")
}

/// Official names to the parameters of an [`InfoGan`](super::baselines::InfoGan).
pub fn infogan_key_map(config: &InfoGanConfig) -> KeyMap {
    let map = encoder(KeyMap::new(), "encoder.base");
    let map = dense(map, "encoder.critic", "encoder.critic");
    let map = decoder(map, "generator", &config.backbone.decoder);
    match &config.values {
        Some(values) => codebooks(map, values),
        None => map,
    }
}

/// Reads a model of `config` from a `.safetensors`, PyTorch or NumPy file with official names.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &QlaeConfig, path: &Path, device: &Device) -> Result<Qlae> {
    let model = config.init(device)?;
    menagerie_hub::load(model, &StateDict::open(path)?, &key_map(config))
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &QlaeConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<Qlae> {
    let model = config.init(device)?;
    menagerie_hub::load(model, &source.open(options)?, &key_map(config))
}

/// Writes a model as `.safetensors` with official names, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(config: &QlaeConfig, model: &Qlae, path: &Path) -> Result<()> {
    let values = menagerie_hub::values(model);
    let official = key_map(config).to_official(&values)?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}

fn autoencoder(backbone: &BackboneConfig) -> KeyMap {
    let map = encoder(KeyMap::new(), "encoder");
    decoder(map, "decoder", &backbone.decoder)
}

/// A linear layer, weight `[out, in]` to `[in, out]`.
fn dense(map: KeyMap, official: &str, module: &str) -> KeyMap {
    map.transpose(&format!("{official}.weight"), &format!("{module}.weight"))
        .rename(&format!("{official}.bias"), &format!("{module}.bias"))
}

/// Dense blocks: the affine map, and the layer normalisation where there is one.
fn dense_blocks(map: KeyMap, official: &str, module: &str) -> KeyMap {
    let (block, norm) = (
        format!("{official}.layers.{{i}}.layers"),
        format!("{module}.{{i}}.norm"),
    );
    dense(
        map,
        &format!("{block}.0"),
        &format!("{module}.{{i}}.linear"),
    )
    .rename(&format!("{block}.1.weight"), &format!("{norm}.gamma"))
    .rename(&format!("{block}.1.bias"), &format!("{norm}.beta"))
}

/// Gain and bias of an instance normalisation.
fn channel_affine(map: KeyMap, official: &str, module: &str) -> KeyMap {
    map.rename(&format!("{official}.weight"), &format!("{module}.weight"))
        .rename(&format!("{official}.bias"), &format!("{module}.bias"))
}

/// A transposed convolution: flipped along height and width, channels exchanged.
fn transposed(map: KeyMap, official: &str, module: &str) -> KeyMap {
    map.flip_permute(
        &format!("{official}.weight"),
        &format!("{module}.weight"),
        &[2, 3],
        &[1, 0, 2, 3],
    )
}

fn encoder(map: KeyMap, name: &str) -> KeyMap {
    let block = format!("{name}.conv.layers.{{i}}.layers");
    let map = map.rename(
        &format!("{block}.0.weight"),
        &format!("{name}.conv.{{i}}.weight"),
    );
    let map = channel_affine(
        map,
        &format!("{block}.1"),
        &format!("{name}.conv.{{i}}.norm"),
    );
    let dense_name = format!("{name}.dense");
    let map = dense_blocks(map, &dense_name, &dense_name);
    let head = format!("{name}.head");
    dense(map, &head, &head)
}

fn decoder(map: KeyMap, name: &str, config: &DecoderConfig) -> KeyMap {
    match config {
        DecoderConfig::Style(_) => {
            let module = format!("{name}.Style");
            let map = map.rename(&format!("{name}.input_map"), &format!("{module}.input_map"));
            let map = dense_blocks(map, &format!("{name}.dense"), &format!("{module}.dense"));
            let official = format!("{name}.style_conv_transpose.blocks.{{i}}");
            let block = format!("{module}.blocks.{{i}}");
            let map = transposed(map, &format!("{official}.forward_block.layers.0"), &block);
            let map = dense(
                map,
                &format!("{official}.conditioning.layers.0"),
                &format!("{block}.conditioning"),
            );
            map.rename(
                &format!("{name}.conv.layers.0.weight"),
                &format!("{module}.output.weight"),
            )
        }
        // A sequence of dense blocks, transition, reshape, blocks and output convolution.
        DecoderConfig::Image(_) => {
            let module = format!("{name}.Image");
            let map = dense_blocks(map, &format!("{name}.layers.0"), &format!("{module}.dense"));
            let map = dense(
                map,
                &format!("{name}.layers.1.layers.0"),
                &format!("{module}.transition"),
            );
            let official = format!("{name}.layers.3.layers.{{i}}.layers");
            let block = format!("{module}.blocks.{{i}}");
            let map = transposed(map, &format!("{official}.0"), &block);
            let map = channel_affine(map, &format!("{official}.1"), &format!("{block}.norm"));
            map.rename(
                &format!("{name}.layers.4.layers.0.weight"),
                &format!("{module}.output.weight"),
            )
        }
        // A sequence of dense blocks, head and reshape.
        DecoderConfig::Dense(_) => {
            let module = format!("{name}.Dense");
            let map = dense_blocks(map, &format!("{name}.layers.0"), &format!("{module}.dense"));
            dense(map, &format!("{name}.layers.1"), &format!("{module}.head"))
        }
    }
}

/// One official codebook per latent, one after the other in ours.
fn codebooks(map: KeyMap, sizes: &[usize]) -> KeyMap {
    let names: Vec<String> = (0..sizes.len())
        .map(|latent| format!("latent._values_per_latent.{latent}"))
        .collect();
    let join = Op::Concat {
        axis: 0,
        shares: sizes.to_vec(),
    };
    map.rule(names.iter().map(String::as_str), ["latent.values"], [join])
}
