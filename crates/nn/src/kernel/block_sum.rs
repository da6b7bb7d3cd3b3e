//! The sum of blocks of channels, and the gradient before it and a ReLU.

use super::micro::Level;
use super::rows::CHUNK;
use super::sparse::per_level;
use rayon::prelude::*;

/// Values that are summed at a time: they stay in the L1 cache.
const PIECE: usize = 2048;

#[inline(always)]
fn sum_body<const FMA: bool>(wide: &[f32], out: &mut [f32]) {
    let len = out.len();
    for start in (0..len).step_by(PIECE) {
        let end = len.min(start + PIECE);
        let out = &mut out[start..end];
        let mut blocks = wide.chunks_exact(len).map(|block| &block[start..end]);
        if let Some(first) = blocks.next() {
            out.copy_from_slice(first);
        }
        for block in blocks {
            for (out, value) in out.iter_mut().zip(block) {
                *out += value;
            }
        }
    }
}

/// Sums the `blocks` blocks of every sample, of which `len` is the length.
pub(crate) fn sum(level: Level, blocks: usize, len: usize, wide: &[f32], out: &mut [f32]) {
    let samples = out.par_chunks_mut(len).zip(wide.par_chunks(blocks * len));
    let few = CHUNK.div_ceil(blocks * len);
    samples.with_min_len(few).for_each(|(out, wide)| {
        per_level!(level, sum_body(wide: &[f32], out: &mut [f32]));
    });
}

#[inline(always)]
fn gradient_body<const FMA: bool>(wide: &[f32], dy: &[f32], dx: &mut [f32]) {
    let blocks = dx.chunks_exact_mut(dy.len());
    for (dx, wide) in blocks.zip(wide.chunks_exact(dy.len())) {
        for ((dx, &value), &dy) in dx.iter_mut().zip(wide).zip(dy) {
            *dx = if value > 0.0 { dy } else { 0.0 };
        }
    }
}

/// The gradient before a ReLU that has made `wide`, from the gradient `dy` after [`sum`].
pub(crate) fn gradient(
    level: Level,
    blocks: usize,
    len: usize,
    wide: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let inputs = wide.par_chunks(blocks * len).zip(dy.par_chunks(len));
    let samples = dx.par_chunks_mut(blocks * len).zip(inputs);
    let few = CHUNK.div_ceil(blocks * len);
    samples.with_min_len(few).for_each(|(dx, (wide, dy))| {
        per_level!(level, gradient_body(wide: &[f32], dy: &[f32], dx: &mut [f32]));
    });
}
