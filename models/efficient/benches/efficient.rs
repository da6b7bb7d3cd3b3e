//! Forward passes and training steps at the cards' shapes.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Distribution, Tensor};
use menagerie_core::Seed;

#[path = "efficient/convit.rs"]
mod convit;
#[path = "efficient/slab.rs"]
mod slab;

fn main() {
    divan::main();
}

fn images(batch: usize, side: usize, device: &Device) -> Tensor<4> {
    let normal = Distribution::Normal(0.0, 1.0);
    Tensor::random([batch, 3, side, side], normal, device)
}

/// `batch` labels.
fn labels(batch: usize, classes: usize) -> Vec<usize> {
    (0..batch).map(|index| index % classes).collect()
}
