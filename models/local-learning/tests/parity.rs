//! Holds the crate to recorded fixtures.

#[path = "parity/noprop.rs"]
mod noprop;

use menagerie_parity::Case;
use std::process::ExitCode;

/// One list per system.
const CASES: &[&[Case]] = &[noprop::CASES];

fn main() -> ExitCode {
    menagerie_parity::main(
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"),
        &CASES.concat(),
    )
}
