//! Weights under the names of the official code, of timm and of Hugging Face.
//!
//! | names | files |
//! | --- | --- |
//! | [`Names::Official`] | `mae_pretrain_vit_*.pth`, `mae_finetuned_vit_*.pth`, `mae_visualize_vit_large*.pth`; timm's `vit_*_patch*_224.mae` |
//! | [`Names::HuggingFace`] | `facebook/vit-mae-*` as published |
//! | [`Names::HuggingFaceNew`] | the same as recent `transformers` writes it |

use super::classifier::Classifier;
use super::config::{ClassifierConfig, MaeConfig, VitConfig};
use super::encoder::{Encoder, Start};
use super::model::Mae;
use crate::weights::{TIMM, affine, blocks, linear, separate_qkv};
use burn::module::{Initializer, Module};
use burn::tensor::Device;
use menagerie_core::{Error, Result};
use menagerie_hub::{HubOptions, KeyMap, LoadReport, Source, StateDict, Strictness};
use menagerie_nn::vit::position;
use std::path::Path;

/// Whose names a checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The official code's, which are timm's.
    Official,
    /// Those of the files in `facebook/vit-mae-*`.
    HuggingFace,
    /// Those that recent versions of `transformers` use.
    HuggingFaceNew,
}

impl Names {
    /// The names that `weights` has, told by its keys; the official ones where none is telling.
    pub fn of(weights: &StateDict) -> Self {
        let any = |part: &str| weights.keys().any(|key| key.contains(part));
        if any("attention.attention.query") {
            Self::HuggingFace
        } else if any("attention.q_proj") {
            Self::HuggingFaceNew
        } else {
            Self::Official
        }
    }
}

/// Names of a whole autoencoder to the parameters of [`Mae`].
pub fn key_map(names: Names) -> KeyMap {
    mae_under("", names)
}

/// The parameters of a [`Mae`] below `root`, which is empty or ends in a dot.
pub(crate) fn mae_under(root: &str, names: Names) -> KeyMap {
    encoder_under(&format!("{root}encoder."), names).and(decoder(&format!("{root}decoder"), names))
}

/// Names of an encoder alone to the parameters of [`Encoder`].
pub fn encoder_key_map(names: Names) -> KeyMap {
    encoder_under("", names)
}

/// Official names of a classifier to the parameters of [`Classifier`].
pub fn classifier_key_map() -> KeyMap {
    encoder_under("encoder.", Names::Official)
        .and(affine("fc_norm", "fc_norm"))
        .and(linear("head", "head"))
}

/// Official names of a linear probe to the parameters of [`LinearProbe`](super::LinearProbe). The
/// count of batches has no use where the running moments have a fixed momentum.
pub fn probe_key_map() -> KeyMap {
    encoder_under("encoder.", Names::Official)
        .rename("head.0.running_mean", "head.running_mean")
        .rename("head.0.running_var", "head.running_var")
        .and(linear("head.1", "head.linear"))
        .ignore("head.0.num_batches_tracked")
}

/// The encoder's parameters below `root`, which is empty or ends in a dot.
pub(crate) fn encoder_under(root: &str, names: Names) -> KeyMap {
    let ours = |name: &str| format!("{root}{name}");
    match names {
        Names::Official => KeyMap::new()
            .rename("cls_token", &ours("cls_token"))
            .rename("pos_embed", &ours("pos_embed"))
            .and(affine("patch_embed.proj", &ours("patch_embed")))
            .and(blocks("blocks.{i}", &ours("blocks.{i}"), &TIMM))
            .and(affine("norm", &ours("norm"))),
        Names::HuggingFace | Names::HuggingFaceNew => {
            let layers = match names {
                Names::HuggingFace => "vit.encoder.layer.{i}",
                _ => "vit.layers.{i}",
            };
            KeyMap::new()
                .rename("vit.embeddings.cls_token", &ours("cls_token"))
                .rename("vit.embeddings.position_embeddings", &ours("pos_embed"))
                .and(affine(
                    "vit.embeddings.patch_embeddings.projection",
                    &ours("patch_embed"),
                ))
                .and(hugging_face_blocks(layers, &ours("blocks.{i}"), names))
                .and(affine("vit.layernorm", &ours("norm")))
        }
    }
}

fn decoder(module: &str, names: Names) -> KeyMap {
    let ours = |name: &str| format!("{module}.{name}");
    let [token, positions, embed, layers, norm, pred] = match names {
        Names::Official => [
            "mask_token",
            "decoder_pos_embed",
            "decoder_embed",
            "decoder_blocks.{i}",
            "decoder_norm",
            "decoder_pred",
        ],
        Names::HuggingFace | Names::HuggingFaceNew => [
            "decoder.mask_token",
            "decoder.decoder_pos_embed",
            "decoder.decoder_embed",
            "decoder.decoder_layers.{i}",
            "decoder.decoder_norm",
            "decoder.decoder_pred",
        ],
    };
    KeyMap::new()
        .rename(token, &ours("mask_token"))
        .rename(positions, &ours("pos_embed"))
        .and(linear(embed, &ours("embed")))
        .and(match names {
            Names::Official => blocks(layers, &ours("blocks.{i}"), &TIMM),
            _ => hugging_face_blocks(layers, &ours("blocks.{i}"), names),
        })
        .and(affine(norm, &ours("norm")))
        .and(linear(pred, &ours("pred")))
}

fn hugging_face_blocks(official: &str, module: &str, names: Names) -> KeyMap {
    let theirs = |name: &str| format!("{official}.{name}");
    let ours = |name: &str| format!("{module}.{name}");
    let (qkv, proj, mlp) = match names {
        Names::HuggingFaceNew => (
            ["q_proj", "k_proj", "v_proj"].map(|part| theirs(&format!("attention.{part}"))),
            "attention.o_proj",
            ["mlp.fc1", "mlp.fc2"],
        ),
        _ => (
            ["query", "key", "value"].map(|part| theirs(&format!("attention.attention.{part}"))),
            "attention.output.dense",
            ["intermediate.dense", "output.dense"],
        ),
    };
    separate_qkv(qkv, &ours("attn.qkv"))
        .and(linear(&theirs(proj), &ours("attn.proj")))
        .and(linear(&theirs(mlp[0]), &ours("mlp.fc1")))
        .and(linear(&theirs(mlp[1]), &ours("mlp.fc2")))
        .and(affine(&theirs("layernorm_before"), &ours("norm1")))
        .and(affine(&theirs("layernorm_after"), &ours("norm2")))
}

/// Reads an autoencoder of `config`, decoder included, from a `.safetensors` or PyTorch file. Fixed
/// positions may be absent.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load(config: &MaeConfig, path: &Path, device: &Device) -> Result<Mae> {
    from_state_dict(config, &StateDict::open(path)?, device)
}

/// [`load`] from a local file or a file of a repository on the Hub.
///
/// # Errors
/// Those of [`load`] and [`Source::fetch`].
pub fn load_from(
    config: &MaeConfig,
    source: &Source,
    options: &HubOptions,
    device: &Device,
) -> Result<Mae> {
    from_state_dict(config, &source.open(options)?, device)
}

/// [`load`] of weights in memory.
///
/// # Errors
/// If the configuration is invalid, or a key is missing, unexpected or of another shape.
pub fn from_state_dict(config: &MaeConfig, weights: &StateDict, device: &Device) -> Result<Mae> {
    let map = key_map(Names::of(weights))
        .computed("encoder.pos_embed")
        .computed("decoder.pos_embed");
    menagerie_hub::load(config.init(device)?, weights, &map)
}

/// Reads an encoder with its last norm from the file of an encoder or of a whole autoencoder, whose
/// decoder is left out.
///
/// # Errors
/// As [`load`].
pub fn load_encoder(config: &VitConfig, path: &Path, device: &Device) -> Result<Encoder> {
    encoder_from_state_dict(config, &StateDict::open(path)?, device)
}

/// [`load_encoder`] of weights in memory.
///
/// # Errors
/// As [`from_state_dict`].
pub fn encoder_from_state_dict(
    config: &VitConfig,
    weights: &StateDict,
    device: &Device,
) -> Result<Encoder> {
    let encoder = config.init(Start::Pretraining, true, device)?;
    let map = without_decoder(encoder_key_map(Names::of(weights))).computed("pos_embed");
    menagerie_hub::load(encoder, weights, &map)
}

/// An autoencoder's weights under the official names.
///
/// # Errors
/// None for a model that [`MaeConfig::init`] made.
pub fn state_dict(model: &Mae) -> Result<StateDict> {
    let official = key_map(Names::Official).to_official(&menagerie_hub::values(model))?;
    Ok(StateDict::from_tensors("an autoencoder", official))
}

/// Writes an autoencoder under the official names as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(model: &Mae, path: &Path) -> Result<()> {
    write(model, &key_map(Names::Official), path)
}

/// Writes a classifier under the official names as `.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save_classifier(model: &Classifier, path: &Path) -> Result<()> {
    write(model, &classifier_key_map(), path)
}

fn write<M: Module>(model: &M, map: &KeyMap, path: &Path) -> Result<()> {
    let official = map.to_official(&menagerie_hub::values(model))?;
    StateDict::from_tensors(path.display().to_string(), official).save_safetensors(path)
}

/// Reads a fine-tuned classifier, every key of it.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or a key is missing, unexpected or of
/// another shape.
pub fn load_classifier(
    config: &ClassifierConfig,
    path: &Path,
    device: &Device,
) -> Result<Classifier> {
    menagerie_hub::load(
        config.init(device)?,
        &StateDict::open(path)?,
        &classifier_key_map(),
    )
}

/// A classifier that starts from pre-trained weights, with what was and was not taken over.
///
/// As the official code does it: positions are resized to the classifier's grid, a head of another
/// shape is dropped, and a head that is not there starts from N(0, (2e-5)²). Head and `fc_norm` may
/// be missing, the decoder and an unused `norm` are left out; anything else that does not fit is an
/// error.
///
/// # Errors
/// If the configuration is invalid, the file cannot be read, or any other key is missing,
/// unexpected or of another shape.
pub fn load_pretrained(
    config: &ClassifierConfig,
    path: &Path,
    device: &Device,
) -> Result<(Classifier, LoadReport)> {
    pretrained_from(config, StateDict::open(path)?, device)
}

/// [`load_pretrained`] of weights in memory.
///
/// # Errors
/// As [`load_pretrained`].
pub fn pretrained_from(
    config: &ClassifierConfig,
    mut weights: StateDict,
    device: &Device,
) -> Result<(Classifier, LoadReport)> {
    let names = Names::of(&weights);
    let mut classifier = config.init(device)?;
    resize_positions(&mut weights, names, &config.encoder)?;
    let head = [config.classes, config.encoder.dim];
    let shaped = |key: &str, shape: &[usize]| {
        weights
            .get(key)
            .is_some_and(|data| data.shape().to_vec() == shape)
    };
    if !shaped("head.weight", &head) || !shaped("head.bias", &head[..1]) {
        weights.remove("head.weight");
        weights.remove("head.bias");
        let small = Initializer::Normal {
            mean: 0.0,
            std: 2e-5,
        };
        classifier.head.weight = small.init([head[1], head[0]], device);
    }
    let mut map = without_decoder(encoder_under("encoder.", names))
        .and(affine("fc_norm", "fc_norm"))
        .and(linear("head", "head"))
        .computed("head.*")
        .computed("fc_norm.*");
    if classifier.encoder.norm.is_none() {
        map = map.ignore("norm.*").ignore("vit.layernorm.*");
    }
    menagerie_hub::load_with(classifier, &weights, &map, Strictness::Strict)
}

/// The table of positions in `weights`, if it is one of another square grid, resized.
fn resize_positions(weights: &mut StateDict, names: Names, config: &VitConfig) -> Result<()> {
    let key = match names {
        Names::Official => "pos_embed",
        _ => "vit.embeddings.position_embeddings",
    };
    let Some(table) = weights.get(key) else {
        return Ok(());
    };
    // Anything but a table of a square grid and a class token is left for the loader to refuse.
    let [1, rows, _] = table.shape().to_vec()[..] else {
        return Ok(());
    };
    let from = rows.saturating_sub(1).isqrt();
    if from == 0 || from * from + 1 != rows || from == config.grid() {
        return Ok(());
    }
    let resized = position::interpolate(table, 1, [from; 2], [config.grid(); 2])
        .map_err(|error| Error::other(format!("resizing `{key}`"), error))?;
    weights.insert(key, resized);
    Ok(())
}

/// Leaves the decoder's keys of either naming out.
fn without_decoder(map: KeyMap) -> KeyMap {
    map.ignore("mask_token")
        .ignore("decoder_*")
        .ignore("decoder.*")
}
