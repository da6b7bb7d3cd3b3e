//! Text corpora, vocabularies and token windows.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`tiny_shakespeare`] | a megabyte of plays, found or fetched |
//! | [`CharVocabulary`] | one token per distinct character |
//! | [`split`] | a contiguous training and validation part |
//! | [`Windows`] | inputs and next-token targets of one length, at random or in order |
//!
//! ```no_run
//! use menagerie_core::Seed;
//! use menagerie_data_text::{CharVocabulary, Windows, split, tiny_shakespeare};
//!
//! let text = tiny_shakespeare()?;
//! let vocabulary = CharVocabulary::of(&text)?;
//! let (train, validation) = split(&vocabulary.encode(&text)?, 0.1)?;
//! let windows = Windows::new(train, 128)?;
//!
//! // Step 7 of a run draws the same 32 windows whenever it is reached.
//! let batch = windows.random(32, Seed(0).stream("batch").at(7));
//! assert_eq!((batch.rows, batch.length, batch.inputs.len()), (32, 128, 32 * 128));
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod shakespeare;
mod vocabulary;
mod windows;

pub use shakespeare::tiny_shakespeare;
pub use vocabulary::CharVocabulary;
pub use windows::{Batch, Windows, split};
