//! Bilinear forms of aligned slices of two vectors, many rows at once.

use super::micro::Level;
use super::sgemm::{self, Matrix};
use super::sparse::per_level;
use crate::memory::Buffer;
use rayon::prelude::*;

/// Rows that one thread takes at a time.
const ROWS: usize = 64;

/// Lanes of a partial sum.
const WIDTH: usize = 16;

/// Rows, heads, and the numbers of a slice on either side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub rows: usize,
    pub heads: usize,
    pub sizes: [usize; 2],
}

impl Shape {
    fn widths(&self) -> [usize; 2] {
        self.sizes.map(|size| size * self.heads)
    }
}

/// The rows of head `head` in a matrix of `width` columns.
fn slices(values: &[f32], head: usize, size: usize, width: usize) -> Matrix<'_> {
    Matrix {
        values: &values[head * size..],
        strides: [width, 1],
    }
}

fn nothing(_: usize, _: usize, _: &mut [f32]) {}

/// `x_h W_h` for every head, `[heads, rows, b]`.
pub(crate) fn products(level: Level, shape: &Shape, x: &[f32], w: &[f32]) -> Buffer {
    let (rows, [a, b], [left, _]) = (shape.rows, shape.sizes, shape.widths());
    let mut products = Buffer::new(shape.heads * rows * b);
    let heads = products.par_chunks_exact_mut(rows * b).enumerate();
    heads.for_each(|(head, products)| {
        let matrix = Matrix::rows(&w[head * a * b..][..a * b], b);
        let x = slices(x, head, a, left);
        sgemm::multiply(level, [rows, b, a], x, matrix, products, &nothing);
    });
    products
}

#[inline(always)]
fn dot_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; WIDTH];
    let (a_parts, a_rest) = a.as_chunks::<WIDTH>();
    let (b_parts, b_rest) = b.as_chunks::<WIDTH>();
    for (a, b) in a_parts.iter().zip(b_parts) {
        for lane in 0..WIDTH {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// `⟨u, x⟩ + ⟨v, y⟩` and the products with the slices of `y`, of some rows from `first`.
#[inline(always)]
fn sums_body<const FMA: bool>(
    shape: &Shape,
    [x, y]: [&[f32]; 2],
    [u, v]: [&[f32]; 2],
    products: &[f32],
    first: usize,
    sums: &mut [f32],
) {
    let ([_, b], [left, right]) = (shape.sizes, shape.widths());
    for (at, sum) in sums.iter_mut().enumerate() {
        let row = first + at;
        let (x, y) = (&x[row * left..][..left], &y[row * right..][..right]);
        let mut value = dot_body::<FMA>(x, u) + dot_body::<FMA>(y, v);
        for (head, y) in y.chunks_exact(b).enumerate() {
            value += dot_body::<FMA>(&products[(head * shape.rows + row) * b..][..b], y);
        }
        *sum = value;
    }
}

/// The value of every row.
pub(crate) fn sums(
    level: Level,
    shape: &Shape,
    xy: [&[f32]; 2],
    uv: [&[f32]; 2],
    products: &[f32],
    sums: &mut [f32],
) {
    let parts = sums.par_chunks_mut(ROWS).enumerate();
    parts.for_each(|(part, sums)| {
        let first = part * ROWS;
        per_level!(level, sums_body(
            shape: &Shape, xy: [&[f32]; 2], uv: [&[f32]; 2], products: &[f32], first: usize,
            sums: &mut [f32]
        ));
    });
}

/// The gradient of `y`, `y` times the row's gradient, and what both sides' linear weights take, of some rows
/// from `first`.
#[inline(always)]
fn rows_body<const FMA: bool>(
    shape: &Shape,
    [x, y]: [&[f32]; 2],
    v: &[f32],
    products: &[f32],
    gradient: &[f32],
    first: usize,
    [dy, scaled]: [&mut [f32]; 2],
    [du, dv]: [&mut [f32]; 2],
) {
    let ([_, b], [left, right]) = (shape.sizes, shape.widths());
    let rows = dy
        .chunks_exact_mut(right)
        .zip(scaled.chunks_exact_mut(right));
    for (at, (dy, scaled)) in rows.enumerate() {
        let row = first + at;
        let g = gradient[row];
        let (x, y) = (&x[row * left..][..left], &y[row * right..][..right]);
        for (du, x) in du.iter_mut().zip(x) {
            *du += g * x;
        }
        for ((scaled, dv), y) in scaled.iter_mut().zip(dv.iter_mut()).zip(y) {
            *scaled = g * y;
            *dv += g * y;
        }
        for (head, dy) in dy.chunks_exact_mut(b).enumerate() {
            let product = &products[(head * shape.rows + row) * b..][..b];
            let v = &v[head * b..][..b];
            for ((dy, product), v) in dy.iter_mut().zip(product).zip(v) {
                *dy = g * (product + v);
            }
        }
    }
}

/// Gradients of x, y, w, u and v.
pub(crate) fn gradients(
    level: Level,
    shape: &Shape,
    [x, y, w]: [&[f32]; 3],
    [u, v]: [&[f32]; 2],
    products: &[f32],
    gradient: &[f32],
) -> [Buffer; 5] {
    let (rows, [a, b], [left, right]) = (shape.rows, shape.sizes, shape.widths());
    let (mut dy, mut scaled) = (Buffer::new(rows * right), Buffer::new(rows * right));
    let outputs = dy
        .par_chunks_mut(ROWS * right)
        .zip(scaled.par_chunks_mut(ROWS * right));
    let sums: Vec<Vec<f32>> = outputs
        .enumerate()
        .map(|(part, (dy, scaled))| {
            let mut sums = vec![0.0; left + right];
            let (du, dv) = sums.split_at_mut(left);
            let (inputs, outputs, linear, first) = ([x, y], [dy, scaled], [du, dv], part * ROWS);
            per_level!(level, rows_body(
                shape: &Shape, inputs: [&[f32]; 2], v: &[f32], products: &[f32], gradient: &[f32],
                first: usize, outputs: [&mut [f32]; 2], linear: [&mut [f32]; 2]
            ));
            sums
        })
        .collect();
    let total = |at: usize| sums.iter().map(|sums| f64::from(sums[at])).sum::<f64>() as f32;
    let (mut du, mut dv) = (Buffer::new(left), Buffer::new(right));
    du.iter_mut()
        .enumerate()
        .for_each(|(at, du)| *du = total(at));
    dv.iter_mut()
        .enumerate()
        .for_each(|(at, dv)| *dv = total(left + at));

    let (mut dw, mut parts) = (Buffer::new(left * b), Buffer::new(rows * left));
    let scaled = &*scaled;
    let heads = dw
        .par_chunks_exact_mut(a * b)
        .zip(parts.par_chunks_exact_mut(rows * a));
    heads.enumerate().for_each(|(head, (dw, dx))| {
        let (x, scaled) = (slices(x, head, a, left), slices(scaled, head, b, right));
        let w = Matrix::rows(&w[head * a * b..][..a * b], b);
        sgemm::multiply(level, [a, b, rows], x.transposed(), scaled, dw, &nothing);
        sgemm::multiply(level, [rows, a, b], scaled, w.transposed(), dx, &nothing);
    });
    let mut dx = Buffer::new(rows * left);
    let parts = &*parts;
    dx.par_chunks_exact_mut(left)
        .enumerate()
        .for_each(|(row, dx)| {
            let g = gradient[row];
            for (head, dx) in dx.chunks_exact_mut(a).enumerate() {
                let part = &parts[(head * rows + row) * a..][..a];
                let u = &u[head * a..][..a];
                for ((dx, part), u) in dx.iter_mut().zip(part).zip(u) {
                    *dx = part + g * u;
                }
            }
        });
    [dx, dy, dw, du, dv]
}
