//! Linear attention of one head: keys meet values first, so that there are no scores.

use super::gemm::{Left, Panels, multiply};
use super::micro::Level;
use rayon::prelude::*;

/// Sizes of queries, keys and values that lie side by side: `[batch, tokens, 3 heads size]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub tokens: usize,
    pub heads: usize,
    pub size: usize,
    /// Added to what a query's mixed values are divided by.
    pub epsilon: f32,
}

impl Shape {
    /// Channels of a token.
    pub(crate) fn dim(&self) -> usize {
        self.heads * self.size
    }

    fn width(&self) -> usize {
        3 * self.dim()
    }

    /// Where the values of the first head start in a token's numbers.
    pub(crate) fn values(&self) -> usize {
        2 * self.dim()
    }

    /// The numbers of one sequence.
    fn sequence<'a>(&self, qkv: &'a [f32], at: usize) -> &'a [f32] {
        let count = self.tokens * self.width();
        &qkv[at * count..(at + 1) * count]
    }

    /// Rows of `size` numbers, one per token.
    fn rows<'a>(&self, values: &'a [f32]) -> Left<'a> {
        Left {
            values,
            rows: self.tokens,
            strides: [self.size, 1],
        }
    }

    /// The same, transposed.
    fn columns<'a>(&self, values: &'a [f32]) -> Left<'a> {
        Left {
            values,
            rows: self.size,
            strides: [1, self.size],
        }
    }
}

/// What a head's queries meet.
struct Head {
    /// Queries after their non-linearity, `[tokens, size]`.
    queries: Vec<f32>,
    /// Keys after theirs, `[tokens, size]`.
    keys: Vec<f32>,
    /// Keys times values, `[size, size]`.
    state: Vec<f32>,
    /// The keys' sum, `[size]`.
    sums: Vec<f32>,
}

impl Head {
    fn new(level: Level, shape: Shape, qkv: &[f32], positions: &[f32], head: usize) -> Self {
        let Shape { tokens, size, .. } = shape;
        let (dim, width) = (shape.dim(), shape.width());
        let at = head * size;
        let mut queries = vec![0.0; tokens * size];
        let mut keys = vec![0.0; tokens * size];
        let mut sums = vec![0.0; size];
        let rows = qkv.chunks_exact(width).zip(positions.chunks_exact(dim));
        let out = queries
            .chunks_exact_mut(size)
            .zip(keys.chunks_exact_mut(size));
        for ((row, place), (query, key)) in rows.zip(out) {
            for (query, &value) in query.iter_mut().zip(&row[at..at + size]) {
                *query = value.max(0.0);
            }
            let parts = row[dim + at..dim + at + size].iter();
            let parts = parts.zip(&place[at..at + size]).zip(&mut sums);
            for (key, ((&value, &place), sum)) in key.iter_mut().zip(parts) {
                *key = (value + place).max(0.0);
                *sum += *key;
            }
        }
        let values = &qkv[shape.values() + at..];
        let values = Panels::pack(values, [tokens, size], [width, 1]);
        let mut state = vec![0.0; size * size];
        let left = shape.columns(&keys);
        multiply(
            level,
            &mut state,
            size,
            &left,
            &values,
            [tokens, size],
            false,
        );
        Self {
            queries,
            keys,
            state,
            sums,
        }
    }

    /// What every query finds, `[tokens, size]`; gives back what it was multiplied by, `[tokens]`.
    fn mix(&self, level: Level, shape: Shape, out: &mut [f32]) -> Vec<f32> {
        let size = shape.size;
        let state = Panels::pack(&self.state, [size; 2], [size, 1]);
        let left = shape.rows(&self.queries);
        multiply(level, out, size, &left, &state, [size; 2], false);
        let rows = out.chunks_exact_mut(size);
        rows.zip(self.queries.chunks_exact(size))
            .map(|(out, query)| {
                let weight = 1.0 / (dot(query, &self.sums) + shape.epsilon);
                for value in out {
                    *value *= weight;
                }
                weight
            })
            .collect()
    }
}

/// The sum of products, in eight lanes.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a, b) = (a.chunks(8), b.chunks(8));
    for (a, b) in a.zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}

/// Mixed values, one head after the other: `[batch, heads, tokens, size]`.
pub(crate) fn forward(
    level: Level,
    shape: Shape,
    qkv: &[f32],
    positions: &[f32],
    mixed: &mut [f32],
) {
    mixed
        .par_chunks_mut(shape.tokens * shape.size)
        .enumerate()
        .for_each(|(unit, mixed)| {
            let qkv = shape.sequence(qkv, unit / shape.heads);
            let head = Head::new(level, shape, qkv, positions, unit % shape.heads);
            head.mix(level, shape, mixed);
        });
}

/// Adds mixed values, `[heads, tokens, size]` of a sequence, to the tokens from `first` on.
pub(crate) fn gather(shape: Shape, mixed: &[f32], first: usize, out: &mut [f32]) {
    let Shape { tokens, size, .. } = shape;
    for (at, out) in out.chunks_exact_mut(shape.dim()).enumerate() {
        for (head, out) in out.chunks_exact_mut(size).enumerate() {
            let mixed = &mixed[(head * tokens + first + at) * size..][..size];
            for (out, mixed) in out.iter_mut().zip(mixed) {
                *out += mixed;
            }
        }
    }
}

/// The gradient of [`forward`]'s `qkv` from that of `[batch, tokens, heads size]`; `near` is that of
/// the values by another way, `[batch, tokens, heads size]`, and is added to it.
pub(crate) fn backward(
    level: Level,
    shape: Shape,
    qkv: &[f32],
    positions: &[f32],
    gradient: &[f32],
    near: &[f32],
    out: &mut [f32],
) {
    let (dim, size) = (shape.dim(), shape.size);
    let parts: Vec<[Vec<f32>; 3]> = (0..qkv.len() / (shape.tokens * shape.width()) * shape.heads)
        .into_par_iter()
        .map(|unit| {
            let (sequence, head) = (unit / shape.heads, unit % shape.heads);
            let qkv = shape.sequence(qkv, sequence);
            let gradient = &gradient[sequence * shape.tokens * dim..];
            backward_head(level, shape, qkv, positions, gradient, head)
        })
        .collect();
    let sequences = out.par_chunks_mut(shape.tokens * shape.width());
    let sequences = sequences.zip(near.par_chunks(shape.tokens * dim));
    sequences
        .zip(parts.par_chunks(shape.heads))
        .for_each(|((out, near), heads)| {
            let rows = out
                .chunks_exact_mut(shape.width())
                .zip(near.chunks_exact(dim));
            for (token, (out, near)) in rows.enumerate() {
                for (head, parts) in heads.iter().enumerate() {
                    for (at, part) in parts.iter().enumerate() {
                        let part = &part[token * size..(token + 1) * size];
                        out[at * dim + head * size..][..size].copy_from_slice(part);
                    }
                }
                for (out, near) in out[2 * dim..].iter_mut().zip(near) {
                    *out += near;
                }
            }
        });
}

/// The gradients of a head's queries, keys and values, `[tokens, size]` each.
fn backward_head(
    level: Level,
    shape: Shape,
    qkv: &[f32],
    positions: &[f32],
    gradient: &[f32],
    head: usize,
) -> [Vec<f32>; 3] {
    let Shape { tokens, size, .. } = shape;
    let (dim, square) = (shape.dim(), [shape.size; 2]);
    let parts = Head::new(level, shape, qkv, positions, head);
    let mut mixed = vec![0.0; tokens * size];
    let weights = parts.mix(level, shape, &mut mixed);
    // Of the undivided sums of values; and of the keys' sum, by way of the divisors.
    let mut slopes = vec![0.0; tokens * size];
    let mut of_sums = vec![0.0; size];
    let mut divisors = vec![0.0; tokens];
    for token in 0..tokens {
        let gradient = &gradient[token * dim + head * size..][..size];
        let line = token * size..(token + 1) * size;
        for (slope, gradient) in slopes[line.clone()].iter_mut().zip(gradient) {
            *slope = gradient * weights[token];
        }
        divisors[token] = -dot(gradient, &mixed[line.clone()]) * weights[token];
        for (sum, query) in of_sums.iter_mut().zip(&parts.queries[line]) {
            *sum += divisors[token] * query;
        }
    }
    let mut of_state = vec![0.0; size * size];
    let packed = Panels::pack(&slopes, [tokens, size], [size, 1]);
    let left = shape.columns(&parts.queries);
    multiply(
        level,
        &mut of_state,
        size,
        &left,
        &packed,
        [tokens, size],
        false,
    );
    let mut queries = mixed;
    let packed = Panels::pack(&parts.state, square, [1, size]);
    let left = shape.rows(&slopes);
    multiply(level, &mut queries, size, &left, &packed, square, false);
    let mut keys = slopes;
    let left = Left {
        values: &qkv[shape.values() + head * size..],
        rows: tokens,
        strides: [shape.width(), 1],
    };
    let packed = Panels::pack(&of_state, square, [1, size]);
    multiply(level, &mut keys, size, &left, &packed, square, false);
    let mut values = vec![0.0; tokens * size];
    let packed = Panels::pack(&of_state, square, [size, 1]);
    let left = shape.rows(&parts.keys);
    multiply(level, &mut values, size, &left, &packed, square, false);
    for token in 0..tokens {
        let line = token * size..(token + 1) * size;
        let query = queries[line.clone()].iter_mut();
        let query = query.zip(&parts.queries[line.clone()]).zip(&parts.sums);
        for ((slope, &query), sum) in query {
            *slope = if query > 0.0 {
                *slope + divisors[token] * sum
            } else {
                0.0
            };
        }
        let key = keys[line.clone()].iter_mut();
        for ((slope, &key), sum) in key.zip(&parts.keys[line]).zip(&of_sums) {
            *slope = if key > 0.0 { *slope + sum } else { 0.0 };
        }
    }
    [queries, keys, values]
}

/// The gradient of the positions `[tokens, heads size]`: that of the keys, summed over sequences.
pub(crate) fn positions(shape: Shape, of_qkv: &[f32], out: &mut [f32]) {
    let (dim, width) = (shape.dim(), shape.width());
    out.par_chunks_mut(dim)
        .enumerate()
        .for_each(|(token, out)| {
            out.fill(0.0);
            for sequence in of_qkv.chunks_exact(shape.tokens * width) {
                let key = &sequence[token * width + dim..][..dim];
                for (out, key) in out.iter_mut().zip(key) {
                    *out += key;
                }
            }
        });
}
