//! The references' outputs, losses and gradients, reproduced.

#[path = "parity/depict.rs"]
mod depict;
#[path = "parity/prototype_net.rs"]
mod prototype_net;
#[path = "parity/stacked_geo.rs"]
mod stacked_geo;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [depict::CASES, prototype_net::CASES, stacked_geo::CASES].concat();
    menagerie_parity::main(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"), &cases)
}
