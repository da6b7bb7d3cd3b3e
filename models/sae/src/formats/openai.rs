//! Checkpoints of OpenAI's sparse_autoencoder (Gao et al., arXiv:2406.04093): one PyTorch file.
//!
//! A TopK autoencoder reads layer-normalised activations, a ReLU one activations as they are; the
//! original code tells by the same rule.

use super::{
    Pretrained, SaeMetadata, checkpoint_at,
    weights::{Parts, Weights},
};
use crate::sae::{Activation, Initialization, Normalization, SaeConfig};
use burn::tensor::Device;
use menagerie_core::{Error, Result};
use menagerie_hub::Scalar;
use std::path::Path;

/// Statistics of training, which inference does not need.
const STATISTICS: &[&str] = &[
    "latents_activation_frequency",
    "latents_mean_square",
    "stats_last_nonzero",
];

/// Reads a checkpoint, or the only one in a folder.
///
/// # Errors
/// A missing or malformed file, an activation other than ReLU and TopK with ReLU, tensors that do
/// not fit.
pub fn load(path: &Path, device: &Device) -> Result<Pretrained> {
    let path = checkpoint_at(path)?;
    let weights = Weights::open(&path)?;
    let (d, f) = (weights.length("pre_bias")?, weights.length("latent_bias")?);
    let (activation, normalization) = activation(&weights, &path)?;
    let config = SaeConfig::new(d, f, activation)
        .with_normalization(normalization)
        .with_initialization(Initialization::FixedNorm(1.0));
    config
        .validate()
        .map_err(|error| Error::format(&path, error.to_string()))?;
    let parts = Parts {
        encoder: Some(weights.matrix("encoder.weight", [f, d], device)?),
        b_enc: Some(weights.vector("latent_bias", f, device)?),
        decoder: Some(weights.transposed("decoder.weight", [f, d], device)?),
        b_dec: Some(weights.vector("pre_bias", d, device)?),
        ..Parts::default()
    };
    weights.ignore(STATISTICS);
    weights.finish()?;
    let sae = parts.assemble(config, device)?;
    Ok(Pretrained::new(sae, SaeMetadata::default()))
}

fn activation(weights: &Weights, path: &Path) -> Result<(Activation, Normalization)> {
    let scalar = |key: &str| weights.scalar(key);
    let name = match scalar("activation") {
        None => "ReLU".to_owned(),
        Some(Scalar::Text(name)) => name,
        Some(other) => {
            let problem = format!("`activation` is {other:?}, expected a name");
            return Err(Error::format(path, problem));
        }
    };
    match name.as_str() {
        "ReLU" => Ok((Activation::Relu, Normalization::None)),
        "TopK" => {
            match scalar("activation_state_dict.postact_fn") {
                None => {}
                Some(Scalar::Text(name)) if name == "ReLU" => {}
                Some(other) => {
                    let problem = format!("`postact_fn` of a TopK is {other:?}, expected ReLU");
                    return Err(Error::format(path, problem));
                }
            }
            match scalar("activation_state_dict.k") {
                Some(Scalar::Int(k)) if k > 0 => Ok((
                    Activation::topk(usize::try_from(k).unwrap_or(usize::MAX)),
                    Normalization::LayerNorm,
                )),
                other => {
                    let problem = format!("`k` of a TopK is {other:?}, expected a whole number");
                    Err(Error::format(path, problem))
                }
            }
        }
        other => Err(Error::unknown("activation", other, ["ReLU", "TopK"])),
    }
}
