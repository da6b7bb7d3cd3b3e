use menagerie_core::{Error, Result};

/// One token per distinct character; a token's id is the character's rank in Unicode order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharVocabulary {
    /// Sorted, without repetition.
    characters: Vec<char>,
}

impl CharVocabulary {
    /// The characters that occur in `text`.
    ///
    /// # Errors
    /// [`Error::Input`] for an empty text.
    pub fn of(text: &str) -> Result<Self> {
        let mut characters: Vec<char> = text.chars().collect();
        characters.sort_unstable();
        characters.dedup();
        if characters.is_empty() {
            return Err(Error::input(
                "the text of a vocabulary",
                "",
                "needs at least one character",
            ));
        }
        Ok(Self { characters })
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.characters.len()
    }

    /// Never true: a vocabulary has at least one character.
    pub fn is_empty(&self) -> bool {
        self.characters.is_empty()
    }

    /// The characters in the order of their tokens.
    pub fn characters(&self) -> &[char] {
        &self.characters
    }

    /// One token per character of `text`.
    ///
    /// # Errors
    /// [`Error::Input`] that names the first character without a token and where it stands.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        text.chars()
            .enumerate()
            .map(
                |(at, character)| match self.characters.binary_search(&character) {
                    // There are fewer than 2^32 characters.
                    Ok(rank) => Ok(rank as u32),
                    Err(_) => Err(Error::input(
                        format!("character {at} of the text"),
                        character,
                        format!("is none of the vocabulary's {}", self.len()),
                    )),
                },
            )
            .collect()
    }

    /// The text that `tokens` stand for.
    ///
    /// # Errors
    /// [`Error::Input`] for a token that is not below [`len`](Self::len).
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        tokens
            .iter()
            .enumerate()
            .map(|(at, &token)| {
                self.characters.get(token as usize).ok_or_else(|| {
                    Error::input(
                        format!("token {at}"),
                        token,
                        format!("must be below {}, the size of the vocabulary", self.len()),
                    )
                })
            })
            .collect()
    }
}
