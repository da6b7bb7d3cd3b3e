//! Gemma Scope archives: `layer_<l>/width_<w>/average_l0_<n>/params.npz`.
//!
//! JumpReLU autoencoders without a bias at the input (Lieberum et al., arXiv:2408.05147). Sizes are
//! those of the arrays; model and hook are taken from the path, `gemma-scope-<size>-<pt or
//! it>-<res, mlp or att>/…`. Autoencoders of `att` read attention outputs by head; those of
//! `embedding` were trained on embeddings without Gemma's factor √d, which is folded in.

use super::{
    Pretrained, SaeMetadata, file_in,
    weights::{Parts, Weights, data},
};
use crate::sae::{Activation, Normalization, SaeConfig};
use burn::tensor::{Device, TensorData};
use menagerie_core::{Error, Result, fs};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

pub(super) const WEIGHTS: &str = "params.npz";

/// Reads an archive, or the one in a folder.
///
/// # Errors
/// A missing or malformed file, arrays that do not fit each other.
pub fn load(path: &Path, device: &Device) -> Result<Pretrained> {
    let path = file_in(path, WEIGHTS);
    let site = Site::of(&path);
    let weights = Weights::open(&path)?;
    let key = |names: [&'static str; 2]| weights.any(&names).unwrap_or(names[0]);
    let (encoder, decoder) = (key(["W_enc", "w_enc"]), key(["W_dec", "w_dec"]));
    let (d, f) = (weights.length("b_dec")?, weights.length("b_enc")?);
    if weights.has("scaling_factor") {
        let factor = weights.values("scaling_factor", f)?;
        if factor.iter::<f64>().any(|value| (value - 1.0).abs() > 1e-5) {
            return Err(weights.refuse("`scaling_factor` is not 1".into()));
        }
    }
    let parts = Parts {
        encoder: Some(weights.transposed(encoder, [f, d], device)?),
        b_enc: Some(weights.vector("b_enc", f, device)?),
        decoder: Some(weights.matrix(decoder, [f, d], device)?),
        b_dec: Some(weights.vector("b_dec", d, device)?),
        threshold: Some(weights.vector("threshold", f, device)?),
        ..Parts::default()
    };
    weights.finish()?;
    let mut sae = parts.assemble(SaeConfig::gemma_scope(d, f), device)?;
    if site.embedding {
        let root = (d as f64).sqrt();
        sae.encoder = sae.encoder.map(|encoder| encoder / root);
        sae.decoder = sae.decoder.map(|decoder| decoder * root);
    }
    let mut pretrained = Pretrained::new(sae, site.metadata);
    pretrained.by_head = site.by_head;
    Ok(pretrained)
}

/// What a path says of the autoencoder at its end.
#[derive(Default)]
struct Site {
    metadata: SaeMetadata,
    embedding: bool,
    by_head: bool,
}

impl Site {
    fn of(path: &Path) -> Self {
        let mut site = Self::default();
        let parts: Vec<String> = path
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        site.embedding = parts
            .iter()
            .rev()
            .skip(1)
            .take(3)
            .any(|part| part == "embedding");
        let layer = parts
            .iter()
            .rev()
            .find_map(|part| part.strip_prefix("layer_")?.parse::<usize>().ok());
        let kind = parts
            .iter()
            .rev()
            .find_map(|part| part.split_once("gemma-scope-").map(|(_, rest)| rest));
        let kind: Vec<&str> = kind.unwrap_or("").split('-').collect();
        if let [size, tuning, ..] = kind[..] {
            let name = match tuning {
                "it" => format!("gemma-2-{size}-it"),
                _ => format!("gemma-2-{size}"),
            };
            site.metadata.model_name = Some(name);
            site.metadata.prepend_bos = Some(true);
            site.metadata.context_size = Some(1024);
        }
        let hook = |suffix: &str| layer.map(|layer| format!("blocks.{layer}.{suffix}"));
        site.metadata.hook_name = match kind.get(2).copied() {
            _ if site.embedding => Some("hook_embed".into()),
            Some("res") => hook("hook_resid_post"),
            Some("mlp") => hook("hook_mlp_out"),
            Some("att") => hook("attn.hook_z"),
            _ => None,
        };
        site.by_head = !site.embedding && kind.get(2) == Some(&"att");
        site
    }
}

/// Writes an archive, whole or not at all.
///
/// It is read by its path: one in a folder called `embedding` is scaled when it is read, so write
/// elsewhere.
///
/// # Errors
/// Another variant than a JumpReLU autoencoder without a bias at the input; a file that cannot be
/// written.
pub fn save(pretrained: &Pretrained, path: &Path) -> Result<()> {
    let sae = &pretrained.sae;
    let config = sae.config();
    let plain = !config.subtract_decoder_bias
        && !config.skip
        && !config.rescale_by_decoder_norm
        && config.d_out.is_none()
        && config.normalization == Normalization::None
        && !pretrained.expects_scale;
    let (Activation::JumpRelu { .. }, true, Some(threshold), Some(bias)) =
        (config.activation, plain, sae.thresholds(), &sae.b_enc)
    else {
        return Err(Error::input(
            "the autoencoder",
            config.activation,
            "must be a plain JumpReLU without b_dec at the input for Gemma Scope",
        ));
    };
    let arrays = [
        ("W_enc", data(sae.encoder.val().transpose())),
        ("W_dec", data(sae.decoder.val())),
        ("b_enc", data(bias.val())),
        ("b_dec", data(sae.b_dec.val())),
        ("threshold", data(threshold)),
    ];
    fs::write_with(path, |temporary| {
        let file = File::create(temporary).map_err(Error::io("create", path))?;
        let mut archive = ZipWriter::new(BufWriter::new(file));
        let failed = |error: zip::result::ZipError| Error::format(path, error.to_string());
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(true);
        for (name, array) in &arrays {
            archive
                .start_file(format!("{name}.npy"), options)
                .map_err(failed)?;
            archive
                .write_all(&header(array))
                .and_then(|()| archive.write_all(array.as_bytes()))
                .map_err(Error::io("write", path))?;
        }
        let file = archive.finish().map_err(failed)?;
        let file = file.into_inner().map_err(|error| error.into_error());
        file.and_then(|file| file.sync_all())
            .map_err(Error::io("write", path))
    })
}

/// The header of a NumPy array of `f32`, version 1.0, padded to a multiple of 64 bytes.
fn header(array: &TensorData) -> Vec<u8> {
    let shape: String = array
        .shape()
        .iter()
        .map(|extent| format!("{extent}, "))
        .collect();
    let mut text = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}",
        shape.trim_end()
    );
    let padding = 64 - (10 + text.len() + 1) % 64;
    text.extend(std::iter::repeat_n(' ', padding % 64));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.into_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::Site;
    use std::path::Path;

    #[test]
    fn a_path_says_which_model_and_hook() {
        let of = |path: &str| Site::of(Path::new(path));
        let site = of(
            "hub/models--google--gemma-scope-2b-pt-res/snapshots/abc/layer_20/width_16k/average_l0_71/params.npz",
        );
        assert_eq!(site.metadata.model_name.as_deref(), Some("gemma-2-2b"));
        let hook = site.metadata.hook_name.as_deref();
        assert_eq!(hook, Some("blocks.20.hook_resid_post"));
        assert!(!site.embedding && !site.by_head);

        let site = of("gemma-scope-9b-it-att/layer_3/width_16k/average_l0_9/params.npz");
        assert_eq!(site.metadata.model_name.as_deref(), Some("gemma-2-9b-it"));
        assert_eq!(
            site.metadata.hook_name.as_deref(),
            Some("blocks.3.attn.hook_z")
        );
        assert!(site.by_head);

        let site = of("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6/params.npz");
        assert_eq!(site.metadata.hook_name.as_deref(), Some("hook_embed"));
        assert!(site.embedding);

        assert_eq!(of("params.npz").metadata.hook_name, None);
    }
}
