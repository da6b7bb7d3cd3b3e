//! Forward passes and training steps at the cards' shapes.
#![allow(clippy::unwrap_used)]

#[path = "theory/jepa_linear.rs"]
mod jepa_linear;
#[path = "theory/shallow.rs"]
mod shallow;

fn main() {
    divan::main();
}
