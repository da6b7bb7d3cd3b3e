//! Holds the crate to fixtures made by independent references of the papers.

#[path = "parity/final_mlp.rs"]
mod final_mlp;
#[path = "parity/local_reg_nde.rs"]
mod local_reg_nde;
use menagerie_parity::Case;
use std::process::ExitCode;

/// One list per system.
const CASES: &[&[Case]] = &[final_mlp::CASES, local_reg_nde::CASES];

fn main() -> ExitCode {
    menagerie_parity::main(
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"),
        &CASES.concat(),
    )
}
