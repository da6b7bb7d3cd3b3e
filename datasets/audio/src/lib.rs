//! Sound: read from WAV files, brought to one rate, cropped, augmented.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Clip`] | channels of samples in `-1..=1` at some rate |
//! | [`wav`] | WAV of 8, 16, 24 and 32-bit integers and 32-bit floats, read and written |
//! | [`resample`](fn@resample) | another rate |
//! | [`crop`] | pieces of one length, at random |
//! | [`augment`] | noise below the last bit, random all-pass filters |
//! | [`silence`] | quiet ends, cut off |
//! | [`folder`](mod@folder) | all files below a folder, and a split of them |
//! | [`fsdd`](mod@fsdd) | spoken digits with their speakers |
//!
//! ```no_run
//! use menagerie_core::Seed;
//! use menagerie_data_audio::{augment, crop, fsdd};
//!
//! let digits = fsdd()?;
//! let (train, test) = digits.split();
//! let samples = digits.recordings()[train[0]].samples();
//!
//! // Step 7 of a run draws the same piece whenever it is reached.
//! let seed = Seed(0).stream("crop").at(7);
//! let mut piece = crop::take(samples, crop::draw(samples.len(), 8_192, seed), 8_192);
//! if let Some(filter) = augment::PhaseMangle::default().draw(8_000, seed.stream("phase"))? {
//!     filter.apply(&mut piece);
//! }
//! assert_eq!((piece.len(), test.len()), (8_192, 300));
//! # Ok::<(), menagerie_core::Error>(())
//! ```

pub mod augment;
mod clip;
pub mod crop;
pub mod folder;
pub mod fsdd;
mod resample;
pub mod silence;
pub mod wav;

pub use clip::{Channels, Clip};
pub use folder::{FolderConfig, FolderReport, Sounds, folder, split};
pub use fsdd::{Fsdd, fsdd};
pub use resample::resample;
