//! Forward passes and training steps at the cards' shapes.
#![allow(clippy::unwrap_used)]

#[path = "local-learning/noprop.rs"]
mod noprop;

fn main() {
    divan::main();
}
