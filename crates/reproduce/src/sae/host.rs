//! The language model that a recipe reads, and its text.

use crate::Context;
use anyhow::Context as _;
use menagerie_core::Seed;
use menagerie_data_text::{CharVocabulary, tiny_shakespeare};
use menagerie_hub::HubOptions;
use menagerie_sae::host::{LanguageModel, char_host};
use serde::Serialize;

/// The model that autoencoders read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Host {
    /// The small character model, trained for so many steps on nine tenths of tiny-shakespeare.
    Character { steps: usize },
    /// A model from the Hub, run on windows of so many tokens of a text of one's own.
    Hub { id: &'static str, context: usize },
}

impl Host {
    /// The model, the tokens of its whole text, and the length of a window.
    ///
    /// The character model is trained in the run's folder `host`, or taken up from there.
    pub fn load(
        &self,
        context: &Context,
        seed: Seed,
    ) -> anyhow::Result<(LanguageModel, Vec<u32>, usize)> {
        let device = &context.device;
        match *self {
            Self::Character { steps } => {
                let text = tiny_shakespeare()?;
                let folder = context.out.join("host");
                let (model, vocabulary): (LanguageModel, CharVocabulary) =
                    char_host(&folder, seed, device, steps, context.resume)
                        .context("training the character model")?;
                let length = model.config().context;
                Ok((model, vocabulary.encode(&text)?, length))
            }
            Self::Hub {
                id,
                context: length,
            } => {
                let options = HubOptions::from_env();
                let tokens = tokens_of(id, &options)?;
                let model = LanguageModel::from_hub(id, "main", &options, device)?;
                Ok((model, tokens, length))
            }
        }
    }
}

/// The text that `MENAGERIE_TEXT` names, any UTF-8 file, in the vocabulary of a model from the Hub.
#[cfg(feature = "tokenizer")]
fn tokens_of(id: &str, options: &HubOptions) -> anyhow::Result<Vec<u32>> {
    let path = std::env::var_os("MENAGERIE_TEXT").context(
        "MENAGERIE_TEXT is not set: name a UTF-8 text file, e.g. an extract of OpenWebText or of \
         monology/pile-uncopyrighted",
    )?;
    let text = menagerie_core::fs::read_to_string(std::path::Path::new(&path))?;
    let tokenizer = menagerie_sae::host::Tokenizer::from_hub(id, "main", options)?;
    Ok(tokenizer.encode(&text, false)?)
}

#[cfg(not(feature = "tokenizer"))]
fn tokens_of(id: &str, _options: &HubOptions) -> anyhow::Result<Vec<u32>> {
    anyhow::bail!("{id} needs its tokenizer: build with `--features tokenizer`")
}
