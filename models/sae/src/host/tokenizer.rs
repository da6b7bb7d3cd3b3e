//! Text to tokens and back, by the `tokenizer.json` of a checkpoint.

use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result, fs};
use std::path::Path;

/// A tokenizer as the Hugging Face library defines it.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    origin: String,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Format`] if it is no tokenizer.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let inner = text
            .parse()
            .map_err(|error: tokenizers::Error| Error::format(path, error.to_string()))?;
        Ok(Self {
            inner,
            origin: path.display().to_string(),
        })
    }

    /// The number of tokens, added ones included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether it has no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a token by its text in the vocabulary, e.g. `<|endoftext|>`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The tokens of `text`; with `special`, also those that the tokenizer puts around it, such as a
    /// beginning of the sequence.
    ///
    /// # Errors
    /// [`Error::Other`] with the tokenizer's file and message.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, special)
            .map_err(|error| Error::other(format!("encoding with {}", self.origin), error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// [`encode`](Self::encode) to a batch of one, `[1, tokens]`.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encode_tensor(
        &self,
        text: &str,
        special: bool,
        device: &Device,
    ) -> Result<Tensor<2, Int>> {
        let tokens: Vec<i64> = self
            .encode(text, special)?
            .into_iter()
            .map(i64::from)
            .collect();
        let shape = [1, tokens.len()];
        Ok(Tensor::from_data(TensorData::new(tokens, shape), device))
    }

    /// The text of `tokens`, without special ones.
    ///
    /// # Errors
    /// [`Error::Input`] for a token that does not exist; [`Error::Other`] with the tokenizer's file
    /// and message.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let foreign = tokens
            .iter()
            .find(|token| self.inner.id_to_token(**token).is_none());
        if let Some(token) = foreign {
            let rule = format!("is none of the {} of {}", self.len(), self.origin);
            return Err(Error::input("a token", token, rule));
        }
        self.inner
            .decode(tokens, true)
            .map_err(|error| Error::other(format!("decoding with {}", self.origin), error))
    }
}
