//! Tables of categories and numbers: clicks, ratings, census.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Table`] | labelled rows of named columns, split at random |
//! | [`Encoder`] | vocabularies and scales of the training rows: names to numbers, as FuxiCTR numbers them |
//! | [`libfm`] | libFM's text format; Frappe and MovieLens-tag |
//! | [`advertising`] | Criteo and Avazu |
//! | [`movielens`] | ratings as chances that were taken or not; `ml-latest-small` |
//! | [`census`] | Adult |
//! | [`procedural`] | impressions of a known law, with the probabilities behind their labels |
//!
//! ```
//! use menagerie_data_tabular::{Cell, Encoder, EncoderConfig, Table};
//!
//! let mut train = Table::of_categories(&["user", "colour"])?;
//! train.push(&[Cell::Category("ann"), Cell::Category("red")], true)?;
//! train.push(&[Cell::Category("bob"), Cell::Category("red")], false)?;
//! let encoder = Encoder::fit(&train, &EncoderConfig::default())?;
//! assert_eq!(encoder.encode(&train)?.ids, [1, 1, 2, 1]);
//!
//! // A name that training has not seen gets the last number of its field's vocabulary.
//! let mut test = Table::of_categories(&["user", "colour"])?;
//! test.push(&[Cell::Category("eve"), Cell::Category("blue")], true)?;
//! assert_eq!(encoder.encode(&test)?.ids, [3, 2]);
//! # Ok::<(), menagerie_core::Error>(())
//! ```

pub mod advertising;
mod calendar;
pub mod census;
mod encode;
pub mod libfm;
mod lines;
pub mod movielens;
pub mod procedural;
mod table;

pub use encode::{Encoded, Encoder, EncoderConfig, Encoding, Vocabulary};
pub use table::{Cell, Field, Kind, Splits, Table};
