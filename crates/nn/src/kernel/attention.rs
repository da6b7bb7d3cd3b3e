//! Causal attention of one sequence, a block of queries at a time, without its scores in memory.

use super::gemm::{Left, Panels, multiply};
use super::micro::Level;
use super::rows::{WIDTH, softmax, softmax_backward};
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
}

impl Shape {
    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.size
    }

    /// Where query, key and value of a head start in a token's numbers.
    fn starts(&self, head: usize) -> [usize; 3] {
        let group = head / (self.heads / self.kv_heads);
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
    let inputs = qkv.par_chunks(tokens * shape.width());
    let outputs = out.par_chunks_mut(tokens * heads * size);
    let outputs = outputs.zip(log_sums.par_chunks_mut(heads * tokens));
    inputs.zip(outputs).for_each(|(qkv, (out, log_sums))| {
        let mut scores = vec![0.0; BLOCK * shape.row()];
        for (head, log_sums) in log_sums.chunks_exact_mut(tokens).enumerate() {
            let out = &mut out[head * size..];
            forward_head(level, shape, scale, qkv, head, out, log_sums, &mut scores);
        }
    });
}

fn forward_head(
    level: Level,
    shape: Shape,
    scale: f32,
    qkv: &[f32],
    head: usize,
    out: &mut [f32],
    log_sums: &mut [f32],
    scores: &mut [f32],
) {
    let Shape {
        tokens,
        heads,
        size,
        ..
    } = shape;
    let (width, row) = (shape.width(), shape.row());
    let [query, key, value] = shape.starts(head);
    let keys = Panels::pack(&qkv[key..], [size, tokens], [1, width]);
    let values = Panels::pack(&qkv[value..], [tokens, size], [width, 1]);
    for (first, end) in shape.blocks() {
        let left = Left {
            values: &qkv[query + first * width..],
            rows: end - first,
            strides: [width, 1],
        };
        multiply(level, scores, row, &left, &keys, [size, end], false);
        let padded = end.next_multiple_of(WIDTH);
        for (at, log_sum) in log_sums[first..end].iter_mut().enumerate() {
            let line = &mut scores[at * row..][..padded];
            let [most, sum] = softmax(level, line, first + at + 1, scale);
            *log_sum = most + sum.ln();
            let inverse = 1.0 / sum;
            for score in line {
                *score *= inverse;
            }
        }
        let left = Left {
            values: scores,
            rows: end - first,
            strides: [row, 1],
        };
        let out = &mut out[first * heads * size..];
        multiply(level, out, heads * size, &left, &values, [end, size], false);
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
    let inputs = qkv
        .par_chunks(tokens * shape.width())
        .zip(gradient.par_chunks(tokens * heads * size))
        .zip(log_sums.par_chunks(heads * tokens));
    let outputs = out.par_chunks_mut(tokens * shape.width());
    inputs
        .zip(outputs)
        .for_each(|(((qkv, gradient), log_sums), out)| {
            out.fill(0.0);
            let mut scratch = vec![0.0; 2 * BLOCK * shape.row()];
            for (head, log_sums) in log_sums.chunks_exact(tokens).enumerate() {
                let gradient = &gradient[head * size..];
                backward_head(
                    level,
                    shape,
                    scale,
                    qkv,
                    head,
                    gradient,
                    log_sums,
                    out,
                    &mut scratch,
                );
            }
        });
}

fn backward_head(
    level: Level,
    shape: Shape,
    scale: f32,
    qkv: &[f32],
    head: usize,
    gradient: &[f32],
    log_sums: &[f32],
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let Shape {
        tokens,
        heads,
        size,
        ..
    } = shape;
    let (width, row) = (shape.width(), shape.row());
    let [query, key, value] = shape.starts(head);
    let (scores, slopes) = scratch.split_at_mut(BLOCK * row);
    let keys = Panels::pack(&qkv[key..], [size, tokens], [1, width]);
    let values = Panels::pack(&qkv[value..], [size, tokens], [1, width]);
    let back = Panels::pack(&qkv[key..], [tokens, size], [width, 1]);
    for (first, end) in shape.blocks() {
        let count = end - first;
        let queries = &qkv[query + first * width..];
        let gradient = &gradient[first * heads * size..];
        let by_query = |values, stride| Left {
            values,
            rows: count,
            strides: [stride, 1],
        };
        let dims = [size, end];
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
        let padded = end.next_multiple_of(WIDTH);
        for at in 0..count {
            let line = at * row..at * row + padded;
            let (scores, slopes) = (&mut scores[line.clone()], &mut slopes[line]);
            // What multiply leaves behind the last key is of another block.
            slopes[end..].fill(0.0);
            let log_sum = log_sums[first + at];
            softmax_backward(level, scores, slopes, first + at + 1, scale, log_sum);
        }
        let to = &mut out[query + first * width..];
        multiply(
            level,
            to,
            width,
            &by_query(slopes, row),
            &back,
            [end, size],
            false,
        );
        let by_key = |values| Left {
            values,
            rows: end,
            strides: [1, row],
        };
        let dims = [count, size];
        let packed = Panels::pack(gradient, dims, [heads * size, 1]);
        multiply(
            level,
            &mut out[value..],
            width,
            &by_key(scores),
            &packed,
            dims,
            true,
        );
        let packed = Panels::pack(queries, dims, [width, 1]);
        multiply(
            level,
            &mut out[key..],
            width,
            &by_key(slopes),
            &packed,
            dims,
            true,
        );
    }
}
