//! Holds the crate to fixtures made by the papers' own code.

#[path = "parity/host.rs"]
mod host;
#[path = "parity/variants.rs"]
mod variants;

use menagerie_parity::Case;
use std::process::ExitCode;

/// One list per module.
const CASES: &[&[Case]] = &[host::CASES, variants::CASES];

fn main() -> ExitCode {
    menagerie_parity::main(
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"),
        &CASES.concat(),
    )
}
