//! Holds the crate to fixtures made by the papers' own code.

#[path = "parity/color_mae.rs"]
mod color_mae;
#[path = "parity/dmae.rs"]
mod dmae;
#[path = "parity/mae_base.rs"]
mod mae_base;
#[path = "parity/videomae_v2.rs"]
mod videomae_v2;

use menagerie_parity::Case;
use std::process::ExitCode;

/// One list per system.
const CASES: &[&[Case]] = &[
    color_mae::CASES,
    dmae::CASES,
    mae_base::CASES,
    videomae_v2::CASES,
];

fn main() -> ExitCode {
    menagerie_parity::main(
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"),
        &CASES.concat(),
    )
}
