//! Forward passes and training steps at the cards' shapes.
#![allow(clippy::unwrap_used)]

fn main() {
    divan::main();
}
