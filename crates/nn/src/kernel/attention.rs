//! Attention of one sequence, a block of queries at a time, without its scores in memory.

use super::gemm::{Left, Panels, multiply};
use super::micro::Level;
use super::rows::{WIDTH, softmax, softmax_backward};
use crate::memory::Buffer;
use rayon::prelude::*;

/// Queries per block.
const BLOCK: usize = WIDTH;

/// Sizes of queries, keys and values that lie side by side: `[batch, tokens, (heads + 2 kv_heads)
/// size]`, a group of `heads / kv_heads` query heads to each key head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub tokens: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub size: usize,
    /// Whether a query sees the keys up to its own only.
    pub causal: bool,
}

impl Shape {
    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.size
    }

    /// Query heads per key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Where query, key and value of a head start in a token's numbers.
    fn starts(&self, head: usize) -> [usize; 3] {
        let group = head / self.group();
        [
            head * self.size,
            (self.heads + group) * self.size,
            (self.heads + self.kv_heads + group) * self.size,
        ]
    }

    /// Blocks of queries: the first, and the one after the last.
    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        let ends = move |first: usize| (first, self.tokens.min(first + BLOCK));
        (0..self.tokens).step_by(BLOCK).map(ends)
    }

    /// Keys that the queries before `end` see.
    fn keys(&self, end: usize) -> usize {
        if self.causal { end } else { self.tokens }
    }

    /// Keys that a query sees.
    fn seen(&self, query: usize) -> usize {
        self.keys(query + 1)
    }

    /// Scores per row of a buffer: whole vectors.
    fn row(&self) -> usize {
        self.tokens.next_multiple_of(WIDTH)
    }
}

/// Mixed values `[batch, tokens, heads size]`, and for every head's every query the logarithm of
/// the sum of its exponentials `[batch, heads, tokens]`.
pub(crate) fn forward(
    level: Level,
    shape: Shape,
    scale: f32,
    qkv: &[f32],
    out: &mut [f32],
    log_sums: &mut [f32],
) {
    let Shape {
        tokens,
        heads,
        size,
        ..
    } = shape;
    // One head after the other, so that each is a slice of its own to work on in parallel.
    let mut mixed = Buffer::new(out.len());
    mixed
        .par_chunks_mut(tokens * size)
        .zip(log_sums.par_chunks_mut(tokens))
        .enumerate()
        .for_each(|(unit, (mixed, log_sums))| {
            let (sequence, head) = (unit / heads, unit % heads);
            let qkv = &qkv[sequence * tokens * shape.width()..][..tokens * shape.width()];
            forward_head(level, shape, scale, qkv, head, mixed, log_sums);
        });
    let sequences = out.par_chunks_mut(tokens * heads * size);
    sequences
        .zip(mixed.par_chunks(heads * tokens * size))
        .for_each(|(out, mixed)| {
            for (head, mixed) in mixed.chunks_exact(tokens * size).enumerate() {
                scatter(mixed, size, &mut out[head * size..], heads * size);
            }
        });
}

/// Copies rows of `size` numbers to rows that are `stride` apart.
fn scatter(from: &[f32], size: usize, to: &mut [f32], stride: usize) {
    for (from, to) in from.chunks_exact(size).zip(to.chunks_mut(stride)) {
        to[..size].copy_from_slice(from);
    }
}

/// Mixed values of one head `[tokens, size]`.
fn forward_head(
    level: Level,
    shape: Shape,
    scale: f32,
    qkv: &[f32],
    head: usize,
    out: &mut [f32],
    log_sums: &mut [f32],
) {
    let Shape { tokens, size, .. } = shape;
    let (width, row) = (shape.width(), shape.row());
    let mut scores = vec![0.0; BLOCK * row];
    let [query, key, value] = shape.starts(head);
    let keys = Panels::pack(&qkv[key..], [size, tokens], [1, width]);
    let values = Panels::pack(&qkv[value..], [tokens, size], [width, 1]);
    for (first, end) in shape.blocks() {
        let last = shape.keys(end);
        let left = Left {
            values: &qkv[query + first * width..],
            rows: end - first,
            strides: [width, 1],
        };
        multiply(level, &mut scores, row, &left, &keys, [size, last], false);
        let padded = last.next_multiple_of(WIDTH);
        for (at, log_sum) in log_sums[first..end].iter_mut().enumerate() {
            let line = &mut scores[at * row..][..padded];
            let [most, sum] = softmax(level, line, shape.seen(first + at), scale);
            *log_sum = most + sum.ln();
            let inverse = 1.0 / sum;
            for score in line {
                *score *= inverse;
            }
        }
        let left = Left {
            values: &scores,
            rows: end - first,
            strides: [row, 1],
        };
        let out = &mut out[first * size..];
        multiply(level, out, size, &left, &values, [last, size], false);
    }
}

/// The gradient of [`forward`]'s `qkv`.
pub(crate) fn backward(
    level: Level,
    shape: Shape,
    scale: f32,
    qkv: &[f32],
    log_sums: &[f32],
    gradient: &[f32],
    out: &mut [f32],
) {
    let Shape {
        tokens,
        heads,
        size,
        ..
    } = shape;
    // A key head and its queries side by side, so that each group is a slice of its own.
    let group = shape.group();
    let width = (group + 2) * size;
    let mut parts = Buffer::new(out.len());
    parts
        .par_chunks_mut(tokens * width)
        .enumerate()
        .for_each(|(unit, part)| {
            let (sequence, kv_head) = (unit / shape.kv_heads, unit % shape.kv_heads);
            let qkv = &qkv[sequence * tokens * shape.width()..][..tokens * shape.width()];
            let gradient = &gradient[sequence * tokens * heads * size..];
            part.fill(0.0);
            for member in 0..group {
                let head = kv_head * group + member;
                let gradient = &gradient[head * size..];
                let log_sums = &log_sums[(sequence * heads + head) * tokens..][..tokens];
                let starts = [member, group, group + 1].map(|at| at * size);
                let to = Part {
                    values: part,
                    starts,
                    width,
                };
                backward_head(level, shape, scale, qkv, head, gradient, log_sums, to);
            }
        });
    let sequences = out.par_chunks_mut(tokens * shape.width());
    sequences
        .zip(parts.par_chunks(shape.kv_heads * tokens * width))
        .for_each(|(out, parts)| {
            for (kv_head, part) in parts.chunks_exact(tokens * width).enumerate() {
                let [query, key, value] = shape.starts(kv_head * group);
                let rows = out.chunks_exact_mut(shape.width());
                for (out, part) in rows.zip(part.chunks_exact(width)) {
                    let (queries, rest) = part.split_at(group * size);
                    out[query..query + group * size].copy_from_slice(queries);
                    out[key..key + size].copy_from_slice(&rest[..size]);
                    out[value..value + size].copy_from_slice(&rest[size..]);
                }
            }
        });
}

/// Where the gradients of a head's query, key and value are added.
struct Part<'a> {
    values: &'a mut [f32],
    starts: [usize; 3],
    width: usize,
}

fn backward_head(
    level: Level,
    shape: Shape,
    scale: f32,
    qkv: &[f32],
    head: usize,
    gradient: &[f32],
    log_sums: &[f32],
    out: Part,
) {
    let Shape {
        tokens,
        heads,
        size,
        ..
    } = shape;
    let (width, row) = (shape.width(), shape.row());
    let [query, key, value] = shape.starts(head);
    let mut scratch = vec![0.0; 2 * BLOCK * row];
    let (scores, slopes) = scratch.split_at_mut(BLOCK * row);
    let Part {
        values: out,
        starts: [to_query, to_key, to_value],
        width: out_width,
    } = out;
    let keys = Panels::pack(&qkv[key..], [size, tokens], [1, width]);
    let values = Panels::pack(&qkv[value..], [size, tokens], [1, width]);
    let back = Panels::pack(&qkv[key..], [tokens, size], [width, 1]);
    for (first, end) in shape.blocks() {
        let (count, last) = (end - first, shape.keys(end));
        let queries = &qkv[query + first * width..];
        let gradient = &gradient[first * heads * size..];
        let by_query = |values, stride| Left {
            values,
            rows: count,
            strides: [stride, 1],
        };
        let dims = [size, last];
        multiply(
            level,
            scores,
            row,
            &by_query(queries, width),
            &keys,
            dims,
            false,
        );
        multiply(
            level,
            slopes,
            row,
            &by_query(gradient, heads * size),
            &values,
            dims,
            false,
        );
        let padded = last.next_multiple_of(WIDTH);
        for at in 0..count {
            let line = at * row..at * row + padded;
            let (scores, slopes) = (&mut scores[line.clone()], &mut slopes[line]);
            // What multiply leaves behind the last key is of another block.
            slopes[last..].fill(0.0);
            let log_sum = log_sums[first + at];
            softmax_backward(
                level,
                scores,
                slopes,
                shape.seen(first + at),
                scale,
                log_sum,
            );
        }
        let to = &mut out[to_query + first * out_width..];
        multiply(
            level,
            to,
            out_width,
            &by_query(slopes, row),
            &back,
            [last, size],
            false,
        );
        let by_key = |values| Left {
            values,
            rows: last,
            strides: [1, row],
        };
        let dims = [count, size];
        let packed = Panels::pack(gradient, dims, [heads * size, 1]);
        multiply(
            level,
            &mut out[to_value..],
            out_width,
            &by_key(scores),
            &packed,
            dims,
            true,
        );
        let packed = Panels::pack(queries, dims, [width, 1]);
        multiply(
            level,
            &mut out[to_key..],
            out_width,
            &by_key(slopes),
            &packed,
            dims,
            true,
        );
    }
}
