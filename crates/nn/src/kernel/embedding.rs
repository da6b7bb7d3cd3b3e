//! A table, its penalty and its moments in one pass.

use super::adam::{Numbers, chunk};
use super::micro::Level;
use super::sparse::per_level;
use crate::adam::AdamUpdate;
use crate::memory::Buffer;
use rayon::prelude::*;

/// Values that one thread takes at a time: with their gradient, moments and results they fit the second
/// cache.
const CHUNK: usize = 1 << 13;

/// Lanes of a partial sum.
const WIDTH: usize = 32;

/// The gradient of a penalty, and what the whole gradient is multiplied by.
#[derive(Clone, Copy)]
pub(crate) struct Pull {
    pub l1: f32,
    pub l2: f32,
    pub factor: f32,
}

#[inline(always)]
fn sums_body<const FMA: bool>(values: &[f32]) -> [f32; 3] {
    let mut lanes = [[0.0f32; WIDTH]; 3];
    for part in values.chunks(WIDTH) {
        for (lane, value) in part.iter().enumerate() {
            lanes[0][lane] += value * value;
            lanes[1][lane] += value.abs();
            lanes[2][lane] += if *value == 0.0 { 0.0 } else { 1.0 };
        }
    }
    lanes.map(|lanes| lanes.iter().sum())
}

/// Sums of squares, of absolute values, and of ones where a value is not 0.
pub(crate) fn sums(level: Level, values: &[f32]) -> [f64; 3] {
    let parts: Vec<[f32; 3]> = values
        .par_chunks(CHUNK)
        .map(|values| per_level!(level, sums_body(values: &[f32]) -> [f32; 3]))
        .collect();
    std::array::from_fn(|of| parts.iter().map(|part| f64::from(part[of])).sum())
}

#[inline(always)]
fn gradient_body<const FMA: bool>(pull: &Pull, p: &[f32], g: &mut [f32]) {
    for (g, p) in g.iter_mut().zip(p) {
        // The sign of 0 is 0, unlike that of its bits.
        let sign = f32::from(u8::from(*p > 0.0)) - f32::from(u8::from(*p < 0.0));
        *g = (*g + (pull.l1 * sign + pull.l2 * p)) * pull.factor;
    }
}

/// Table and moments after an update with `(g + penalty) · factor`, where `g` is given for some rows,
/// ascending, and 0 for the others.
///
/// # Panics
/// If the slices differ in length.
pub(crate) fn adam_rows(
    level: Level,
    update: &AdamUpdate,
    pull: &Pull,
    dim: usize,
    (rows, sums): (&[u32], &[f32]),
    [p, m, v]: [&[f32]; 3],
) -> [Buffer; 3] {
    let len = p.len();
    assert!(m.len() == len && v.len() == len && sums.len() == rows.len() * dim);
    let mut out = [(); 3].map(|()| Buffer::new(len));
    let [p_out, m_out, v_out] = &mut out;
    let numbers = &Numbers::of(update);
    // Whole rows for each thread.
    let count = (CHUNK / dim).max(1);
    let size = count * dim;
    let inputs = p
        .par_chunks(size)
        .zip(m.par_chunks(size))
        .zip(v.par_chunks(size));
    p_out
        .par_chunks_mut(size)
        .zip(m_out.par_chunks_mut(size))
        .zip(v_out.par_chunks_mut(size))
        .zip(inputs)
        .enumerate()
        .for_each_init(Vec::new, |gradient, (part, (((p_out, m_out), v_out), ((p, m), v)))| {
            let first = part * count;
            gradient.clear();
            gradient.resize(p.len(), 0.0f32);
            let from = rows.partition_point(|row| (*row as usize) < first);
            let to = rows.partition_point(|row| (*row as usize) < first + count);
            for at in from..to {
                let row = rows[at] as usize - first;
                gradient[row * dim..][..dim].copy_from_slice(&sums[at * dim..][..dim]);
            }
            let g = gradient.as_mut_slice();
            per_level!(level, gradient_body(pull: &Pull, p: &[f32], g: &mut [f32]));
            let (out, input) = ([p_out, m_out, v_out], [p, gradient.as_slice(), m, v]);
            per_level!(level, chunk(out: [&mut [f32]; 3], input: [&[f32]; 4], numbers: &Numbers));
        });
    out
}
