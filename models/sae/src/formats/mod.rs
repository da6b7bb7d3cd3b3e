//! Published sparse autoencoders in the ecosystem's own formats.
//!
//! | format | files | read | written |
//! | --- | --- | --- | --- |
//! | [`saelens`] | `cfg.json`, `sae_weights.safetensors`, perhaps `sparsity.safetensors` | yes, configurations before 6.0 too | yes |
//! | [`sparsify`] | `cfg.json`, `sae.safetensors` | yes | yes |
//! | [`gemma_scope`] | `params.npz` | yes | yes |
//! | [`openai`] | `<name>.pt` | yes | no |
//! | [`dictionary_learning`] | `ae.pt`, `config.json` | yes | no |
//! | [`attention_output`] | `<name>.pt`, `<name>_cfg.json` | yes | no |
//! | [`llama_scope`] | `hyperparams.json`, `checkpoints/final.safetensors` | yes | no |
//!
//! Formats whose weights are pickles are not written: write the SAELens folder, which every tool
//! reads. [`open`] tells the formats apart by their files, [`from_pretrained`] fetches one from the
//! Hub by release and name.
//!
//! Layouts are held to the shapes that the configuration announces: a matrix that is transposed is
//! turned, one that fits neither way is an error.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use menagerie_hub::HubOptions;
//! use menagerie_sae::formats;
//!
//! let pretrained = formats::from_pretrained(
//!     "gpt2-small-res-jb",
//!     "blocks.8.hook_resid_pre",
//!     &HubOptions::from_env(),
//!     &Device::default(),
//! )?;
//! println!("{:?} of {:?}", pretrained.metadata.hook_name, pretrained.metadata.model_name);
//! # Ok::<(), menagerie_core::Error>(())
//! ```

pub mod attention_output;
pub mod dictionary_learning;
pub mod gemma_scope;
mod json;
pub mod llama_scope;
pub mod openai;
mod release;
pub mod saelens;
pub mod sparsify;
mod weights;

use crate::sae::SparseAutoencoder;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

pub use release::{Release, from_pretrained};

/// An autoencoder from a file, with what the file says of it.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// The autoencoder.
    pub sae: SparseAutoencoder,
    /// Which model it reads, and where.
    pub metadata: SaeMetadata,
    /// Whether it reads attention outputs by head, `[.., heads, d_head]`, which are flattened to
    /// `[.., heads · d_head]` before and reshaped after.
    pub by_head: bool,
    /// Whether it expects activations times s = √d / mean ‖x‖ of its data set, which the file does
    /// not hold. Estimate it with [`Norms`](crate::activations::Norms) and fold it with
    /// [`fold_scale`](SparseAutoencoder::fold_scale).
    pub expects_scale: bool,
    /// Whether it was trained on a host whose weights TransformerLens had processed (norms folded,
    /// what writes to the residual stream centred): run it on
    /// [`LanguageModel::processed`](crate::host::LanguageModel::processed) then, as activations of
    /// the raw weights differ from those by their mean. `None` where nothing says so; today's
    /// SAELens and sparsify train on raw weights.
    pub processed_host: Option<bool>,
    /// Log10 of how often each latent is active, `[d_sae]`, where it was recorded.
    pub log_sparsity: Option<Vec<f32>>,
}

/// Which model an autoencoder reads, and where. A file may say less.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SaeMetadata {
    /// The model, by the name that the file uses, e.g. `gpt2-small`.
    pub model_name: Option<String>,
    /// The hook whose activations are read, e.g. `blocks.8.hook_resid_pre`.
    pub hook_name: Option<String>,
    /// The hook whose activations a transcoder predicts.
    pub hook_name_out: Option<String>,
    /// Whether contexts begin with the token for the beginning of a text.
    pub prepend_bos: Option<bool>,
    /// Tokens of a training context.
    pub context_size: Option<usize>,
    /// All else that the file says, in SAELens' names.
    pub extra: Map<String, Value>,
}

/// A format of published autoencoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A SAELens folder.
    SaeLens,
    /// A folder of Eleuther's sparsify.
    Sparsify,
    /// A Gemma Scope archive.
    GemmaScope,
    /// A checkpoint of OpenAI's sparse_autoencoder.
    OpenAi,
    /// A folder of dictionary_learning.
    DictionaryLearning,
    /// A checkpoint of the attention-output autoencoders of Kissane et al.
    AttentionOutput,
    /// A Llama Scope folder.
    LlamaScope,
}

impl Pretrained {
    /// An autoencoder of which nothing else is known.
    pub fn new(sae: SparseAutoencoder, metadata: SaeMetadata) -> Self {
        Self {
            sae,
            metadata,
            by_head: false,
            expects_scale: false,
            processed_host: None,
            log_sparsity: None,
        }
    }

    /// Activations of any shape as rows `[rows, d_in]`; by head if that is how they are read.
    ///
    /// # Errors
    /// A shape that does not end in d_in, or in heads and head width of product d_in.
    pub fn rows<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<2>> {
        let (dims, d_in) = (x.dims(), self.sae.config().d_in);
        let last = |axes: usize| dims[D.saturating_sub(axes)..].iter().product::<usize>();
        // The heads of a hook of ours lie side by side on one axis.
        let fits = last(1) == d_in || (self.by_head && D >= 2 && last(2) == d_in);
        if !fits {
            let rule = match self.by_head {
                true => format!("must end in heads and head width of product d_in, {d_in}"),
                false => format!("must end in d_in, {d_in}"),
            };
            return Err(Error::input("shape of the activations", dims, rule));
        }
        let rows = dims.iter().product::<usize>() / d_in;
        Ok(x.reshape([rows, d_in]))
    }
}

impl Format {
    /// The format of the folder or file at `path`, by its files.
    ///
    /// # Errors
    /// [`Error::Io`] where there is nothing, [`Error::Format`] where it is none of the formats.
    pub fn detect(path: &Path) -> Result<Self> {
        let kind = std::fs::metadata(path).map_err(Error::io("find", path))?;
        if kind.is_dir() {
            return Self::of_folder(path);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match name.as_ref() {
            "sae_weights.safetensors" | "sae.safetensors" | "ae.pt" => {
                Self::of_folder(path.parent().unwrap_or(Path::new(".")))
            }
            name if name.ends_with(".npz") => Ok(Self::GemmaScope),
            name if name.ends_with(".pt") || name.ends_with(".pth") => {
                match attention_output::config_path(path).exists() {
                    true => Ok(Self::AttentionOutput),
                    false => Ok(Self::OpenAi),
                }
            }
            _ => Err(unrecognised(path)),
        }
    }

    fn of_folder(folder: &Path) -> Result<Self> {
        let has = |name: &str| folder.join(name).exists();
        if has(saelens::WEIGHTS) {
            return Ok(Self::SaeLens);
        }
        if has(sparsify::WEIGHTS) {
            return Ok(Self::Sparsify);
        }
        if has(gemma_scope::WEIGHTS) {
            return Ok(Self::GemmaScope);
        }
        if has(dictionary_learning::WEIGHTS) {
            return Ok(Self::DictionaryLearning);
        }
        if has(llama_scope::CONFIG) {
            return Ok(Self::LlamaScope);
        }
        match only_checkpoint(folder)? {
            Some(path) => Self::detect(&path),
            None => Err(unrecognised(folder)),
        }
    }

    /// Reads the folder or file at `path`, which is of this format.
    ///
    /// # Errors
    /// A file that is missing, malformed, contradicts itself, or that this crate has no variant
    /// for; see the format's module.
    pub fn load(self, path: &Path, device: &Device) -> Result<Pretrained> {
        match self {
            Self::SaeLens => saelens::load(path, device),
            Self::Sparsify => sparsify::load(path, device),
            Self::GemmaScope => gemma_scope::load(path, device),
            Self::OpenAi => openai::load(path, device),
            Self::DictionaryLearning => dictionary_learning::load(path, device),
            Self::AttentionOutput => attention_output::load(path, device),
            Self::LlamaScope => llama_scope::load(path, device),
        }
    }
}

/// Reads a published autoencoder from a folder or file of any of the formats.
///
/// # Errors
/// As [`Format::detect`] and [`Format::load`].
pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Pretrained> {
    let path = path.as_ref();
    Format::detect(path)?.load(path, device)
}

fn unrecognised(path: &Path) -> Error {
    Error::format(
        path,
        "none of the known formats, which have: sae_weights.safetensors (SAELens), \
         sae.safetensors (sparsify), params.npz (Gemma Scope), ae.pt (dictionary_learning), \
         hyperparams.json (Llama Scope), or one .pt file (OpenAI, attention output)",
    )
}

/// `path`, or `name` inside it where it is a folder.
fn file_in(path: &Path, name: &str) -> PathBuf {
    match path.is_dir() {
        true => path.join(name),
        false => path.to_path_buf(),
    }
}

/// `path` itself if it is a folder, else the folder it lies in.
fn folder_of(path: &Path) -> &Path {
    match path.is_dir() {
        true => path,
        false => path.parent().unwrap_or(Path::new(".")),
    }
}

/// The PyTorch checkpoint in a folder, if there is exactly one.
fn only_checkpoint(folder: &Path) -> Result<Option<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if matches!(
            path.extension().and_then(|extension| extension.to_str()),
            Some("pt" | "pth")
        ) {
            found.push(path);
        }
    }
    Ok(match found.len() {
        1 => found.pop(),
        _ => None,
    })
}

/// The checkpoint at `path`, or the only one in the folder `path`.
fn checkpoint_at(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    only_checkpoint(path)?
        .ok_or_else(|| Error::format(path, "expected exactly one .pt file in this folder"))
}
