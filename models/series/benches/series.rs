//! Forward passes and training steps at the cards' shapes.
#![allow(clippy::unwrap_used)]

#[path = "series/final_mlp.rs"]
mod final_mlp;
#[path = "series/local_reg_nde.rs"]
mod local_reg_nde;

fn main() {
    divan::main();
}
