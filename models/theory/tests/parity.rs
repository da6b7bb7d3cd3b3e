//! Holds the crate to fixtures made by independent references of the papers.

#[path = "parity/jepa_linear.rs"]
mod jepa_linear;
#[path = "parity/shallow.rs"]
mod shallow;

use menagerie_parity::Case;
use std::process::ExitCode;

/// One list per system.
const CASES: &[&[Case]] = &[jepa_linear::CASES, shallow::CASES];

fn main() -> ExitCode {
    menagerie_parity::main(
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"),
        &CASES.concat(),
    )
}
