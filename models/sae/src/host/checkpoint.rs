//! Whole checkpoints: a folder of a Hugging Face model, or a repository on the Hub.

#[cfg(feature = "tokenizer")]
use super::tokenizer::Tokenizer;
use super::{config::LanguageModelConfig, model::LanguageModel};
use burn::tensor::Device;
use menagerie_core::{Error, Result, fs};
use menagerie_hub::{HubOptions, Source, StateDict};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The weights in one file, or the list of the files they are spread over; the preferred first.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Where the files of a checkpoint are.
enum Files<'a> {
    Folder(&'a Path),
    Hub {
        repo: &'a str,
        revision: &'a str,
        options: &'a HubOptions,
    },
}

impl Files<'_> {
    /// The local path of a file.
    fn path(&self, file: &str) -> Result<PathBuf> {
        match self {
            Self::Folder(dir) => Source::File(dir.join(file)).fetch(&HubOptions::new("")),
            Self::Hub {
                repo,
                revision,
                options,
            } => Source::Hub {
                repo: (*repo).to_owned(),
                file: file.to_owned(),
                revision: (*revision).to_owned(),
            }
            .fetch(options),
        }
    }

    fn model(&self, device: &Device) -> Result<LanguageModel> {
        let config = LanguageModelConfig::from_file(&self.path("config.json")?)?;
        LanguageModel::load(&config, &self.weights()?, device)
    }

    fn weights(&self) -> Result<StateDict> {
        let mut first = None;
        for name in WEIGHTS {
            match self.path(name) {
                Ok(path) if name.ends_with(".json") => return self.sharded(&path),
                Ok(path) => return StateDict::open(path),
                Err(error) => first = first.or(Some(error)),
            }
        }
        // What kept the preferred file away says the most.
        Err(Error::other(
            format!("looking for one of {}", WEIGHTS.join(", ")),
            first.map_or_else(String::new, |error| error.to_string()),
        ))
    }

    /// The tensors of every file that an index names.
    fn sharded(&self, index: &Path) -> Result<StateDict> {
        let text = fs::read_to_string(index)?;
        let Index { weight_map } =
            serde_json::from_str(&text).map_err(|error| Error::format(index, error.to_string()))?;
        let files: BTreeSet<&String> = weight_map.values().collect();
        let mut all = StateDict::from_tensors(index.display().to_string(), []);
        for file in files {
            // A file beside the index, not one that a foreign text leads to.
            if file.is_empty() || file.starts_with('.') || file.contains(['/', '\\']) {
                let problem = format!("names the file `{file}`, which is none beside it");
                return Err(Error::format(index, problem));
            }
            for (key, data) in StateDict::open(self.path(file)?)?.iter() {
                all.insert(key, data.clone());
            }
        }
        Ok(all)
    }
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl LanguageModel {
    /// Reads `config.json` and the weights of a folder, in one file or spread over several.
    ///
    /// # Errors
    /// If a file is missing or malformed; those of
    /// [`LanguageModelConfig::from_hugging_face`] and [`LanguageModel::load`].
    pub fn from_folder(dir: &Path, device: &Device) -> Result<Self> {
        Files::Folder(dir).model(device)
    }

    /// [`from_folder`](Self::from_folder) of a repository such as `openai-community/gpt2` at a branch,
    /// tag or commit (`main`), fetched into the Hub's cache where it is not there.
    ///
    /// # Errors
    /// Those of [`from_folder`](Self::from_folder) and [`Source::fetch`].
    pub fn from_hub(
        repo: &str,
        revision: &str,
        options: &HubOptions,
        device: &Device,
    ) -> Result<Self> {
        let files = Files::Hub {
            repo,
            revision,
            options,
        };
        files.model(device)
    }
}

#[cfg(feature = "tokenizer")]
impl Tokenizer {
    /// Reads `tokenizer.json` of a folder.
    ///
    /// # Errors
    /// Those of [`from_file`](Self::from_file).
    pub fn from_folder(dir: &Path) -> Result<Self> {
        Self::from_file(&dir.join("tokenizer.json"))
    }

    /// `tokenizer.json` of a repository at a branch, tag or commit, fetched into the Hub's cache where
    /// it is not there.
    ///
    /// # Errors
    /// Those of [`from_file`](Self::from_file) and [`Source::fetch`].
    pub fn from_hub(repo: &str, revision: &str, options: &HubOptions) -> Result<Self> {
        let files = Files::Hub {
            repo,
            revision,
            options,
        };
        Self::from_file(&files.path("tokenizer.json")?)
    }
}
