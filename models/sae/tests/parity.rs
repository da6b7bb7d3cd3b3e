//! Holds the crate to fixtures made by the papers' own code.

#[path = "parity/dark_matter.rs"]
mod dark_matter;
#[path = "parity/formats.rs"]
mod formats;
#[path = "parity/host.rs"]
mod host;
#[path = "parity/variants.rs"]
mod variants;

use menagerie_parity::Case;
use std::process::ExitCode;

/// One list per module.
const CASES: &[&[Case]] = &[
    dark_matter::CASES,
    formats::CASES,
    host::CASES,
    variants::CASES,
];

fn main() -> ExitCode {
    menagerie_parity::main(
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"),
        &CASES.concat(),
    )
}
