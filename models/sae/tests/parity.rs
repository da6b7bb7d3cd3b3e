//! Holds the crate to fixtures made by the papers' own code.

#[path = "parity/dark_matter.rs"]
mod dark_matter;
#[path = "parity/dictionary_learning.rs"]
mod dictionary_learning;
#[path = "parity/formats.rs"]
mod formats;
#[path = "parity/gradient.rs"]
mod gradient;
#[path = "parity/host.rs"]
mod host;
#[path = "parity/sparse_coders.rs"]
mod sparse_coders;
#[path = "parity/training.rs"]
mod training;
#[path = "parity/variants.rs"]
mod variants;

use menagerie_parity::Case;
use std::process::ExitCode;

/// One list per module.
const CASES: &[&[Case]] = &[
    dark_matter::CASES,
    dictionary_learning::CASES,
    formats::CASES,
    gradient::CASES,
    host::CASES,
    sparse_coders::CASES,
    training::CASES,
    variants::CASES,
];

fn main() -> ExitCode {
    menagerie_parity::main(
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"),
        &CASES.concat(),
    )
}
