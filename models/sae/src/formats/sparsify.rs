//! Folders of Eleuther's sparsify: `cfg.json`, `sae.safetensors`.
//!
//! `encoder.weight` and `W_dec` are both `[d_sae, d_in]`; a matrix that is turned is read all the
//! same. Where the folder is called after a module of the model, as in published repositories, the
//! hook is taken from its name.

use super::{
    Pretrained, SaeMetadata, folder_of,
    json::Object,
    weights::{Parts, Weights, data},
};
use crate::sae::{Activation, Normalization, SaeConfig};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result, fs};
use menagerie_hub::StateDict;
use serde_json::json;
use std::path::Path;

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae.safetensors";

/// Reads a sparsify folder.
///
/// # Errors
/// A missing or malformed file, an activation that sparsify does not have, signed latents, tensors
/// that do not fit.
pub fn load(path: &Path, device: &Device) -> Result<Pretrained> {
    let folder = folder_of(path);
    let cfg = Object::open(&folder.join(CONFIG))?;
    let config = read_config(&cfg)?;
    let (d, f, out) = (config.d_in, config.d_sae, config.output());
    let weights = Weights::open(&folder.join(WEIGHTS))?;
    let decoder = weights.any(&["W_dec", "decoder.weight"]).unwrap_or("W_dec");
    let parts = Parts {
        encoder: Some(weights.matrix("encoder.weight", [f, d], device)?),
        b_enc: Some(weights.vector("encoder.bias", f, device)?),
        decoder: Some(weights.matrix(decoder, [f, out], device)?),
        b_dec: Some(weights.vector("b_dec", out, device)?),
        skip: config
            .skip
            .then(|| weights.matrix("W_skip", [out, d], device))
            .transpose()?,
        ..Parts::default()
    };
    weights.finish()?;
    let transcoder = config.d_out.is_some();
    let sae = parts.assemble(config, device)?;
    Ok(Pretrained::new(sae, describe(folder, transcoder)?))
}

fn read_config(cfg: &Object) -> Result<SaeConfig> {
    let d_in = cfg.need("d_in", cfg.size("d_in"))?;
    let k = cfg.need("k", cfg.size("k"))?;
    // A number of latents of 0 stands for the expansion factor.
    let d_sae = match cfg.size("num_latents")?.filter(|&latents| latents > 0) {
        Some(latents) => latents,
        None => {
            let factor = cfg.need("expansion_factor", cfg.size("expansion_factor"))?;
            d_in.saturating_mul(factor)
        }
    };
    if cfg.flag("signed")?.unwrap_or(false) {
        let found = true.into();
        return Err(cfg.wrong("signed", &found, "false: latents are not negative"));
    }
    let activation = match cfg.text("activation")?.unwrap_or("topk") {
        "topk" => Activation::TopK {
            k,
            leaky_gradient: true,
        },
        "groupmax" => Activation::GroupMax { k },
        other => return Err(Error::unknown("activation", other, ["topk", "groupmax"])),
    };
    let transcode = cfg.flag("transcode")?.unwrap_or(false);
    let config = SaeConfig::new(d_in, d_sae, activation)
        .with_d_out(transcode.then_some(d_in))
        .with_subtract_decoder_bias(!transcode)
        .with_skip(cfg.flag("skip_connection")?.unwrap_or(false));
    config
        .validate()
        .map_err(|error| Error::format(cfg.path(), error.to_string()))?;
    Ok(config)
}

/// What the names of the folder and of the one that holds it say.
fn describe(folder: &Path, transcoder: bool) -> Result<SaeMetadata> {
    let mut metadata = SaeMetadata::default();
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let hook = hook(&name);
    if transcoder {
        // It predicts what a module writes from what it reads.
        let input = |hook: &str| {
            let (block, site) = hook.rsplit_once('.')?;
            let site = match site {
                "hook_mlp_out" => "mlp.hook_in",
                "hook_attn_out" => "attn.hook_in",
                "hook_resid_post" => "hook_resid_pre",
                _ => return None,
            };
            Some(format!("{block}.{site}"))
        };
        metadata.hook_name = hook.as_deref().and_then(input);
        metadata.hook_name_out = hook;
    } else {
        metadata.hook_name = hook;
    }
    let run = folder.parent().map(|parent| parent.join("config.json"));
    if let Some(run) = run.filter(|run| run.exists()) {
        let run = Object::open(&run)?;
        metadata.model_name = run.text("model")?.map(str::to_owned);
        metadata.context_size = run.size("ctx_len")?;
        if let Some(data) = run.text("dataset")? {
            metadata.extra.insert("dataset_path".into(), data.into());
        }
    }
    Ok(metadata)
}

/// The hook at which a module of a Hugging Face model writes: `layers.5` or `h.5` is the residual
/// stream behind block 5, `layers.5.mlp` what its perceptron adds.
fn hook(module: &str) -> Option<String> {
    if module == "embed_tokens" {
        return Some("hook_embed".into());
    }
    let module = module.replace('_', ".");
    let mut parts = module.split('.');
    let (Some("layers" | "h"), Some(layer)) = (parts.next(), parts.next()) else {
        return None;
    };
    let layer: usize = layer.parse().ok()?;
    let rest: Vec<&str> = parts.collect();
    let site = match rest[..] {
        [] => "hook_resid_post",
        ["mlp"] => "hook_mlp_out",
        ["attn"] | ["attention"] | ["self", "attn"] => "hook_attn_out",
        _ => return None,
    };
    Some(format!("blocks.{layer}.{site}"))
}

/// Writes a sparsify folder, whole or not at all.
///
/// # Errors
/// A variant that sparsify does not have: it has TopK and GroupMax, with b_dec subtracted from the
/// input exactly if it is no transcoder, and normalises nothing (fold norms and scales first). A
/// transcoder between different widths. A folder that cannot be written.
pub fn save(pretrained: &Pretrained, folder: &Path) -> Result<()> {
    let sae = &pretrained.sae;
    let config = sae.config();
    let (activation, k) = match config.activation {
        Activation::TopK { k, .. } => ("topk", k),
        Activation::GroupMax { k } => ("groupmax", k),
        other => {
            let rule = "must be TopK or GroupMax for sparsify";
            return Err(Error::input("activation", other, rule));
        }
    };
    let transcode = config.d_out.is_some();
    for (what, fits) in [
        ("normalization", config.normalization == Normalization::None),
        ("rescale_by_decoder_norm", !config.rescale_by_decoder_norm),
        (
            "subtract_decoder_bias",
            config.subtract_decoder_bias != transcode,
        ),
        ("d_out", config.output() == config.d_in),
        ("by_head", !pretrained.by_head),
        ("expects_scale", !pretrained.expects_scale),
    ] {
        if !fits {
            return Err(Error::input(
                format!("`{what}` of the autoencoder"),
                "another than sparsify's",
                "this format cannot say so; fold it, or write a SAELens folder",
            ));
        }
    }
    let cfg = json!({
        "activation": activation,
        "expansion_factor": config.d_sae.div_ceil(config.d_in),
        "normalize_decoder": true,
        "num_latents": config.d_sae,
        "k": k,
        "multi_topk": false,
        "skip_connection": config.skip,
        "transcode": transcode,
        "d_in": config.d_in,
    });
    let bias = match &sae.b_enc {
        Some(bias) => bias.val(),
        None => Tensor::zeros([config.d_sae], &sae.b_dec.device()),
    };
    let mut tensors = vec![
        ("encoder.weight".to_owned(), data(sae.encoder.val())),
        ("encoder.bias".to_owned(), data(bias)),
        ("W_dec".to_owned(), data(sae.decoder.val())),
        ("b_dec".to_owned(), data(sae.b_dec.val())),
    ];
    if let Some(skip) = &sae.skip {
        tensors.push(("W_skip".to_owned(), data(skip.val())));
    }
    fs::write_dir_with(folder, |folder| {
        fs::write(&folder.join(CONFIG), format!("{cfg}\n"))?;
        StateDict::from_tensors(WEIGHTS, tensors).save_safetensors(folder.join(WEIGHTS))
    })
}

#[cfg(test)]
mod tests {
    use super::hook;

    #[test]
    fn modules_are_hooks() {
        for (module, expected) in [
            ("embed_tokens", Some("hook_embed")),
            ("layers.5", Some("blocks.5.hook_resid_post")),
            ("layers_12", Some("blocks.12.hook_resid_post")),
            ("h.0", Some("blocks.0.hook_resid_post")),
            ("layers.5.mlp", Some("blocks.5.hook_mlp_out")),
            ("layers.5.self_attn", Some("blocks.5.hook_attn_out")),
            ("layers.x", None),
            ("run", None),
        ] {
            assert_eq!(hook(module).as_deref(), expected, "{module}");
        }
    }
}
