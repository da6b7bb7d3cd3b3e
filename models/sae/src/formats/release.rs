//! Published releases on the Hub.

use super::{
    Format, Pretrained, attention_output, dictionary_learning, gemma_scope, llama_scope, saelens,
    sparsify,
};
use burn::tensor::Device;
use menagerie_core::{Error, Result};
use menagerie_hub::{HubOptions, Source};
use std::path::{Path, PathBuf};

/// A repository of autoencoders of one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The repository, `organisation/name`.
    pub repo: String,
    /// Its format.
    pub format: Format,
    /// A branch, tag or commit.
    pub revision: String,
    /// Whether its autoencoders read a host that TransformerLens has processed, where that is known
    /// of the release; see [`Pretrained::processed_host`].
    pub processed_host: Option<bool>,
}

/// Releases that are known by a name of their own, in SAELens' list; all of them were trained on
/// GPT-2 small as TransformerLens processes it by default.
const NAMED: &[(&str, &str, Format)] = &[
    (
        "gpt2-small-res-jb",
        "jbloom/GPT2-Small-SAEs-Reformatted",
        Format::SaeLens,
    ),
    (
        "gpt2-small-mlp-tm",
        "tommmcgrath/gpt2-small-mlp-out-saes",
        Format::SaeLens,
    ),
    (
        "gpt2-small-hook-z-kk",
        "ckkissane/attn-saes-gpt2-small-all-layers",
        Format::AttentionOutput,
    ),
];

/// How repositories that hold one format begin.
const PREFIXES: &[(&str, Format)] = &[
    ("google/gemma-scope-", Format::GemmaScope),
    ("EleutherAI/sae-", Format::Sparsify),
    ("fnlp/Llama3_1-8B-Base-LX", Format::LlamaScope),
];

impl Release {
    /// A repository of a given format, at its branch `main`.
    pub fn new(repo: impl Into<String>, format: Format) -> Self {
        Self {
            repo: repo.into(),
            format,
            revision: "main".into(),
            processed_host: None,
        }
    }

    /// A release by name: `gpt2-small-res-jb`, `gpt2-small-mlp-tm`, `gpt2-small-hook-z-kk`, or a
    /// repository of Gemma
    /// Scope, Llama Scope or Eleuther's, e.g. `google/gemma-scope-2b-pt-res`.
    ///
    /// # Errors
    /// [`Error::Unknown`] for any other; make it with [`new`](Self::new).
    pub fn parse(name: &str) -> Result<Self> {
        let named = NAMED.iter().find(|(known, ..)| *known == name);
        let prefixed = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
        match (named, prefixed) {
            (Some((_, repo, format)), _) => Ok(Self {
                processed_host: Some(true),
                ..Self::new(*repo, *format)
            }),
            (None, Some((_, format))) => Ok(Self::new(name, *format)),
            (None, None) => {
                let names = NAMED.iter().map(|(name, ..)| (*name).to_owned());
                let prefixes = PREFIXES.iter().map(|(prefix, _)| format!("{prefix}…"));
                Err(Error::unknown("release", name, names.chain(prefixes)))
            }
        }
    }

    /// Fetches the autoencoder `sae_id` of the release, where it is not in the cache, and reads it.
    ///
    /// `sae_id` is its folder in the repository, or its `.pt` file.
    ///
    /// # Errors
    /// Those of [`Source::fetch`] and [`Format::load`].
    pub fn load(&self, sae_id: &str, options: &HubOptions, device: &Device) -> Result<Pretrained> {
        let path = self.fetch(sae_id, options)?;
        let mut pretrained = self.format.load(&path, device)?;
        pretrained.processed_host = self.processed_host.or(pretrained.processed_host);
        Ok(pretrained)
    }

    /// The local path of the autoencoder `sae_id`, after its files were fetched.
    fn fetch(&self, sae_id: &str, options: &HubOptions) -> Result<PathBuf> {
        let fetch = |file: String| {
            Source::Hub {
                repo: self.repo.clone(),
                file,
                revision: self.revision.clone(),
            }
            .fetch(options)
        };
        let inside = |file: &str| match sae_id.trim_matches('/') {
            "" => file.to_owned(),
            folder => format!("{folder}/{file}"),
        };
        Ok(match self.format {
            Format::OpenAi => fetch(sae_id.to_owned())?,
            Format::AttentionOutput => {
                let config = attention_output::config_path(Path::new(sae_id));
                fetch(config.to_string_lossy().into_owned())?;
                fetch(sae_id.to_owned())?
            }
            Format::SaeLens => {
                fetch(inside(saelens::CONFIG))?;
                // Not every folder has it.
                let _ = fetch(inside(saelens::SPARSITY));
                fetch(inside(saelens::WEIGHTS))?
            }
            Format::Sparsify => {
                // Of the whole repository, which not every one has.
                let _ = fetch("config.json".to_owned());
                fetch(inside(sparsify::CONFIG))?;
                fetch(inside(sparsify::WEIGHTS))?
            }
            Format::GemmaScope => fetch(inside(gemma_scope::WEIGHTS))?,
            Format::DictionaryLearning => {
                fetch(inside(dictionary_learning::CONFIG))?;
                fetch(inside(dictionary_learning::WEIGHTS))?
            }
            Format::LlamaScope => {
                fetch(inside(llama_scope::WEIGHTS))?;
                fetch(inside(llama_scope::CONFIG))?
            }
        })
    }
}

/// The autoencoder `sae_id` of a published release, from the Hub or its cache, e.g.
/// `gpt2-small-res-jb` and `blocks.8.hook_resid_pre`, or `google/gemma-scope-2b-pt-res` and
/// `layer_20/width_16k/average_l0_71`.
///
/// # Errors
/// As [`Release::parse`] and [`Release::load`].
pub fn from_pretrained(
    release: &str,
    sae_id: &str,
    options: &HubOptions,
    device: &Device,
) -> Result<Pretrained> {
    Release::parse(release)?.load(sae_id, options, device)
}
