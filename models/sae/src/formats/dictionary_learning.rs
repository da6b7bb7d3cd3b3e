//! Folders of dictionary_learning: `ae.pt`, a PyTorch file, and `config.json`, whose
//! `trainer.dict_class` names the class.

use super::{
    Pretrained, SaeMetadata, folder_of,
    json::Object,
    weights::{Parts, Weights},
};
use crate::sae::{Activation, SaeConfig, SparseAutoencoder};
use burn::tensor::Device;
use menagerie_core::{Error, Result};
use std::path::Path;

pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "ae.pt";

/// How a class of dictionary_learning keeps its parameters.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    /// `bias`, subtracted from the input.
    AutoEncoder,
    /// As `AutoEncoder`, with a bias of the decoder that is not subtracted.
    AutoEncoderNew,
    Gated,
    JumpRelu,
    TopK,
    BatchTopK,
    Matryoshka,
}

const CLASSES: &[(&str, Class)] = &[
    ("AutoEncoder", Class::AutoEncoder),
    ("AutoEncoderNew", Class::AutoEncoderNew),
    ("GatedAutoEncoder", Class::Gated),
    ("JumpReluAutoEncoder", Class::JumpRelu),
    ("AutoEncoderTopK", Class::TopK),
    ("BatchTopKSAE", Class::BatchTopK),
    ("MatryoshkaBatchTopKSAE", Class::Matryoshka),
];

/// Reads a folder.
///
/// # Errors
/// A missing or malformed file, a class that dictionary_learning does not have, tensors that do not
/// fit.
pub fn load(path: &Path, device: &Device) -> Result<Pretrained> {
    let folder = folder_of(path);
    let cfg = Object::open(&folder.join(CONFIG))?;
    let trainer = cfg.need("trainer", cfg.object("trainer"))?;
    let name = trainer.need("dict_class", trainer.text("dict_class"))?;
    let class = CLASSES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, class)| *class)
        .ok_or_else(|| Error::unknown("dict_class", name, CLASSES.iter().map(|(n, _)| *n)))?;
    let d = trainer.need("activation_dim", trainer.size("activation_dim"))?;
    let f = trainer.need("dict_size", trainer.size("dict_size"))?;
    let weights = Weights::open(&folder.join(WEIGHTS))?;
    let sae = read(class, d, f, &trainer, &weights, device)?;
    Ok(Pretrained::new(sae, describe(&cfg, &trainer)?))
}

fn read(
    class: Class,
    d: usize,
    f: usize,
    trainer: &Object,
    weights: &Weights,
    device: &Device,
) -> Result<SparseAutoencoder> {
    let mut config = SaeConfig::new(d, f, Activation::Relu);
    let vector = |key: &str, width: usize| weights.vector(key, width, device);
    let mut parts = Parts::default();
    if matches!(class, Class::JumpRelu | Class::Matryoshka) {
        parts.encoder = Some(weights.transposed("W_enc", [f, d], device)?);
        parts.decoder = Some(weights.matrix("W_dec", [f, d], device)?);
        parts.b_enc = Some(vector("b_enc", f)?);
    } else {
        parts.encoder = Some(weights.matrix("encoder.weight", [f, d], device)?);
        parts.decoder = Some(weights.transposed("decoder.weight", [f, d], device)?);
    }
    let bias = match class {
        Class::AutoEncoder => "bias",
        Class::AutoEncoderNew => "decoder.bias",
        Class::Gated => "decoder_bias",
        _ => "b_dec",
    };
    parts.b_dec = Some(vector(bias, d)?);
    match class {
        Class::AutoEncoder => {}
        Class::AutoEncoderNew => config.subtract_decoder_bias = false,
        Class::Gated => {
            config.activation = Activation::Gated;
            parts.gate = Some([
                vector("r_mag", f)?,
                vector("gate_bias", f)?,
                vector("mag_bias", f)?,
            ]);
        }
        Class::JumpRelu => {
            config.activation = Activation::jump_relu_plain();
            let subtract = trainer.flag("apply_b_dec_to_input")?;
            config.subtract_decoder_bias = subtract.unwrap_or(false);
            parts.threshold = Some(vector("threshold", f)?);
        }
        Class::TopK => config.activation = Activation::topk(count(weights, trainer)?),
        Class::BatchTopK | Class::Matryoshka => {
            let k = count(weights, trainer)?;
            config.activation = Activation::BatchTopK { k };
        }
    }
    if matches!(
        class,
        Class::AutoEncoder | Class::AutoEncoderNew | Class::TopK | Class::BatchTopK
    ) {
        parts.b_enc = Some(vector("encoder.bias", f)?);
    }
    if class == Class::Matryoshka {
        // The widths of nested reconstructions, of which inference uses the largest.
        weights.ignore(&["group_sizes"]);
    }
    config
        .validate()
        .map_err(|error| Error::format(trainer.path(), error.to_string()))?;
    // -1 until it is estimated; older files of TopK have none.
    let threshold = match config.activation {
        Activation::TopK { .. } | Activation::BatchTopK { .. } if weights.has("threshold") => {
            Some(weights.number("threshold")?)
        }
        _ => None,
    };
    weights.finish()?;
    let sae = parts.assemble(config, device)?;
    match threshold {
        Some(threshold) if threshold >= 0.0 => sae.set_inference_threshold(threshold as f32),
        _ => Ok(sae),
    }
}

/// How many latents are kept, from the weights, else from the configuration.
fn count(weights: &Weights, trainer: &Object) -> Result<usize> {
    if !weights.has("k") {
        return trainer.need("k", trainer.size("k"));
    }
    let k = weights.number("k")?;
    if k < 1.0 || k.fract() != 0.0 {
        return Err(weights.refuse(format!("`k` is {k}, expected a whole number of at least 1")));
    }
    Ok(k as usize)
}

fn describe(cfg: &Object, trainer: &Object) -> Result<SaeMetadata> {
    let module = trainer.text("submodule_name")?.unwrap_or("");
    let layer = match trainer.size("layer")? {
        Some(layer) => Some(layer),
        None => module
            .rsplit('_')
            .next()
            .and_then(|layer| layer.parse().ok()),
    };
    let site = match module {
        module if module.starts_with("mlp_out") => "hook_mlp_out",
        module if module.starts_with("attention_out") => "hook_attn_out",
        _ => "hook_resid_post",
    };
    let buffer = cfg.object("buffer")?;
    Ok(SaeMetadata {
        model_name: trainer.text("lm_name")?.map(str::to_owned),
        hook_name: layer.map(|layer| format!("blocks.{layer}.{site}")),
        context_size: match &buffer {
            Some(buffer) => buffer.size("ctx_len")?,
            None => None,
        },
        ..SaeMetadata::default()
    })
}
