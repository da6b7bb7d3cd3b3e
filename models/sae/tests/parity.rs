//! Holds the crate to fixtures made by the papers' own code.

use menagerie_parity::Case;
use std::process::ExitCode;

const CASES: &[Case] = &[];

fn main() -> ExitCode {
    menagerie_parity::main(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"), CASES)
}
