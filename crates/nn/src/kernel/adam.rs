//! Adam in one pass.

use super::micro::Level;
use super::sparse::per_level;
use crate::adam::AdamUpdate;
use crate::memory::Buffer;
use rayon::prelude::*;

/// Values that one thread takes at a time.
const CHUNK: usize = 1 << 15;

/// Updated parameter and moments.
///
/// # Panics
/// If the slices differ in length.
pub(crate) fn update(level: Level, update: &AdamUpdate, [p, g, m, v]: [&[f32]; 4]) -> [Buffer; 3] {
    let len = p.len();
    assert!(g.len() == len && m.len() == len && v.len() == len);
    let mut out = [(); 3].map(|()| Buffer::new(len));
    let [p_out, m_out, v_out] = &mut out;
    let numbers = &Numbers::of(update);
    let inputs = p
        .par_chunks(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(m.par_chunks(CHUNK))
        .zip(v.par_chunks(CHUNK));
    p_out
        .par_chunks_mut(CHUNK)
        .zip(m_out.par_chunks_mut(CHUNK))
        .zip(v_out.par_chunks_mut(CHUNK))
        .zip(inputs)
        .for_each(|(((p_out, m_out), v_out), (((p, g), m), v))| {
            let (out, input) = ([p_out, m_out, v_out], [p, g, m, v]);
            per_level!(level, chunk(out: [&mut [f32]; 3], input: [&[f32]; 4], numbers: &Numbers));
        });
    out
}

pub(crate) struct Numbers {
    betas: [f32; 2],
    complements: [f32; 2],
    step: f32,
    correction: f32,
    epsilon: f32,
}

impl Numbers {
    pub(crate) fn of(update: &AdamUpdate) -> Self {
        let (step, correction) = update.corrected();
        Self {
            betas: [update.beta_1 as f32, update.beta_2 as f32],
            complements: [(1.0 - update.beta_1) as f32, (1.0 - update.beta_2) as f32],
            step: step as f32,
            correction: correction as f32,
            epsilon: update.epsilon as f32,
        }
    }
}

#[inline(always)]
pub(crate) fn chunk<const FMA: bool>(
    [p_out, m_out, v_out]: [&mut [f32]; 3],
    [p, g, m, v]: [&[f32]; 4],
    numbers: &Numbers,
) {
    let len = p.len();
    let (g, m, v) = (&g[..len], &m[..len], &v[..len]);
    let (p_out, m_out, v_out) = (&mut p_out[..len], &mut m_out[..len], &mut v_out[..len]);
    for i in 0..len {
        let first = numbers.betas[0] * m[i] + numbers.complements[0] * g[i];
        let second = numbers.betas[1] * v[i] + numbers.complements[1] * (g[i] * g[i]);
        m_out[i] = first;
        v_out[i] = second;
        p_out[i] =
            p[i] - first / (second.sqrt() * numbers.correction + numbers.epsilon) * numbers.step;
    }
}
