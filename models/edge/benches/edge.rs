//! Forward passes and training steps at the cards' shapes.
#![allow(clippy::unwrap_used)]

#[path = "edge/maestro.rs"]
mod maestro;

fn main() {
    divan::main();
}
