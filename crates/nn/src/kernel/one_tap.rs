//! Convolutions of one tap: a product of matrices at every sample.

use super::conv::{After, Geometry};
use super::micro::Level;
use super::sgemm::{self, Matrix};

/// `out = after(x weight)` at every pixel: a convolution of one tap, or with `back` its adjoint.
pub(crate) fn product(
    level: Level,
    g: &Geometry,
    back: bool,
    from: &[f32],
    weight: &[f32],
    after: After,
    out: &mut [f32],
) {
    let pixels = g.input_pixels();
    let weight = Matrix::rows(weight, g.inputs);
    let (depth, channels, weight) = match back {
        false => (g.inputs, g.outputs, weight),
        true => (g.outputs, g.inputs, weight.transposed()),
    };
    let samples = from.chunks_exact(depth * pixels);
    for (from, out) in samples.zip(out.chunks_exact_mut(channels * pixels)) {
        let maps = Matrix::rows(from, pixels);
        let dims = [channels, pixels, depth];
        sgemm::multiply(level, dims, weight, maps, out, &|channel, _, part| {
            after.apply(channel, part);
        });
    }
}
