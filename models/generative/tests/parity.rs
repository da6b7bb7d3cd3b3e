//! Holds the crate to fixtures made by the papers' own code.

#[path = "parity/diffusion_classifier.rs"]
mod diffusion_classifier;

use menagerie_parity::Case;
use std::process::ExitCode;

/// One list per system.
const CASES: &[&[Case]] = &[diffusion_classifier::CASES];

fn main() -> ExitCode {
    menagerie_parity::main(
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"),
        &CASES.concat(),
    )
}
