//! Holds the crate to fixtures made by the papers' own code.

#[path = "parity/maestro.rs"]
mod maestro;

use menagerie_parity::Case;
use std::process::ExitCode;

/// One list per system.
const CASES: &[&[Case]] = &[maestro::CASES];

fn main() -> ExitCode {
    menagerie_parity::main(
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"),
        &CASES.concat(),
    )
}
