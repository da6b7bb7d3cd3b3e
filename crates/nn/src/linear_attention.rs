//! Attention without softmax, linear in the tokens.
//!
//! On `flex`, [`self_attention`] reads queries, keys and values where they lie, side by side, and
//! keeps neither scores nor heads apart in memory.

use crate::depthwise::token_conv;
#[cfg(feature = "flex")]
use crate::{flex::linear_attention as kernel, kernel::linear_attention::Shape};
use burn::tensor::{Tensor, activation};

/// Which product linear attention computes first; the result is the same up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Keys with values: linear in the tokens.
    KeysFirst,
    /// Queries with keys: quadratic in the tokens, linear in the channels of a head.
    ScoresFirst,
}

impl Order {
    /// The cheaper one for `queries` and `keys` tokens of `size` channels in a head.
    pub fn cheaper(queries: usize, keys: usize, size: usize) -> Self {
        match queries * keys * 2 * size > size * size * (queries + keys) {
            true => Self::KeysFirst,
            false => Self::ScoresFirst,
        }
    }
}

/// `y_i = q_i (Σ_j k_jᵀ v_j) / (q_i · Σ_j k_j + ε)` in every head, for queries `[batch, queries,
/// dim]`, keys and values `[batch, keys, dim]` that went through their non-linearity; the result is
/// `[batch, queries, dim]`.
///
/// # Panics
/// If the heads do not divide the width, or the shapes do not fit each other.
pub fn linear_attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    order: Order,
    epsilon: f64,
) -> Tensor<3> {
    let [batch, queries, dim] = q.dims();
    let size = dim / heads;
    let apart = |x: Tensor<3>| {
        let [batch, tokens, _] = x.dims();
        x.reshape([batch, tokens, heads, size]).swap_dims(1, 2)
    };
    let (q, k, v) = (apart(q), apart(k), apart(v));
    let sums = k.clone().sum_dim(2);
    let weight = q.clone().matmul(sums.transpose()) + epsilon;
    let mixed = match order {
        Order::KeysFirst => q.matmul(k.transpose().matmul(v)),
        Order::ScoresFirst => q.matmul(k.transpose()).matmul(v),
    };
    (mixed / weight)
        .swap_dims(1, 2)
        .reshape([batch, queries, dim])
}

/// Simplified linear attention of the tokens of a grid (SLAB, section 3.2): queries and keys, with
/// `positions` added to these, go through a ReLU and into [`linear_attention`]; the values'
/// [`token_conv`] is added to what comes out.
///
/// `qkv [batch, rows · columns, 3 · heads · size]` holds all queries, all keys, all values, the heads
/// side by side; `positions [1, rows · columns, heads · size]`; filters `[size, 1, k, k]` with odd
/// `k` and bias `[size]` are those of the convolution. The result is `[batch, rows · columns, heads ·
/// size]`.
///
/// # Panics
/// If the shapes do not fit each other, or `k` is even.
pub fn self_attention(
    qkv: Tensor<3>,
    positions: Tensor<3>,
    filters: Tensor<4>,
    bias: Tensor<1>,
    grid: [usize; 2],
    order: Order,
    epsilon: f64,
) -> Tensor<3> {
    let [_, tokens, width] = qkv.dims();
    let [size, one, side, other] = filters.dims();
    let dim = width / 3;
    assert!(
        size > 0 && width.is_multiple_of(3 * size) && one == 1,
        "linear attention: filters {:?} for {width} numbers of queries, keys and values",
        filters.dims()
    );
    assert!(
        side == other && side % 2 == 1,
        "linear attention: a kernel of {side}×{other}"
    );
    assert_eq!(tokens, grid[0] * grid[1], "linear attention: tokens");
    assert_eq!(bias.dims(), [size], "linear attention: bias");
    assert_eq!(
        positions.dims(),
        [1, tokens, dim],
        "linear attention: positions"
    );
    let heads = dim / size;
    #[cfg(feature = "flex")]
    if order == Order::KeysFirst {
        let shape = Shape {
            tokens,
            heads,
            size,
            epsilon: epsilon as f32,
        };
        let tracked = [qkv.is_autodiff(), positions.is_autodiff()].contains(&true)
            || filters.is_autodiff()
            || bias.is_autodiff();
        let inputs = [
            tracking(&qkv, tracked),
            tracking(&positions, tracked),
            tracking(&filters, tracked),
            tracking(&bias, tracked),
        ];
        if let Some(y) = kernel::self_attention(inputs, shape, grid, side) {
            return y;
        }
    }
    let [q, k, v] = std::array::from_fn(|part| qkv.clone().narrow(2, part * dim, dim));
    let (q, k) = (activation::relu(q), activation::relu(k + positions));
    linear_attention(q, k, v.clone(), heads, order, epsilon) + token_conv(v, grid, filters, bias)
}

#[cfg(feature = "flex")]
fn tracking<const D: usize>(x: &Tensor<D>, tracked: bool) -> burn::backend::DispatchTensor {
    match tracked && !x.is_autodiff() {
        true => x.clone().autodiff(),
        false => x.clone(),
    }
    .into_dispatch()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn some<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|at| ((at * 7919 + seed * 104_729) % 2_003) as f32 / 1_000.0 - 1.0)
            .collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    #[test]
    fn the_order_follows_the_cost() {
        assert_eq!(Order::cheaper(196, 196, 64), Order::KeysFirst);
        assert_eq!(Order::cheaper(9, 9, 16), Order::ScoresFirst);
    }

    #[test]
    fn a_query_of_zeros_finds_nothing() {
        let device = Device::default();
        let q = Tensor::zeros([1, 4, 2], &device);
        let k = Tensor::ones([1, 4, 2], &device);
        let y = linear_attention(q, k.clone(), k, 1, Order::KeysFirst, 1e-6);
        assert_eq!(y.abs().sum().into_scalar::<f32>(), 0.0);
    }

    /// Scores first is the plain form on every backend; keys first is the kernel on `flex`.
    #[test]
    fn both_orders_and_their_gradients_agree() {
        let device = Device::default().autodiff();
        // Heads narrower and wider than a vector, broken ones, grids smaller than the kernel.
        for [batch, rows, columns, heads, size, side] in [
            [2, 4, 5, 3, 4, 3],
            [1, 7, 7, 2, 32, 5],
            [3, 2, 3, 1, 19, 5],
            [1, 14, 14, 1, 64, 5],
        ] {
            let (tokens, dim) = (rows * columns, heads * size);
            let qkv = some([batch, tokens, 3 * dim], 1, &device).require_grad();
            let positions = some([1, tokens, dim], 2, &device).require_grad();
            let filters = some([size, 1, side, side], 3, &device).require_grad();
            let bias = some([size], 4, &device).require_grad();
            let along = some([batch, tokens, dim], 5, &device);
            let [found, expected] = [Order::KeysFirst, Order::ScoresFirst].map(|order| {
                let y = self_attention(
                    qkv.clone(),
                    positions.clone(),
                    filters.clone(),
                    bias.clone(),
                    [rows, columns],
                    order,
                    1e-2,
                );
                let grads = (y.clone() * along.clone()).sum().backward();
                let flat = |data: TensorData| data.iter::<f32>().collect::<Vec<f32>>();
                [
                    flat(y.into_data()),
                    flat(qkv.grad(&grads).unwrap().into_data()),
                    flat(positions.grad(&grads).unwrap().into_data()),
                    flat(filters.grad(&grads).unwrap().into_data()),
                    flat(bias.grad(&grads).unwrap().into_data()),
                ]
            });
            for (part, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let most = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                    assert!(
                        (found - expected).abs() <= 2e-5 * most,
                        "{batch}×{rows}×{columns}, {heads}×{size}: part {part} at {at}: {found}, \
                         not {expected}"
                    );
                }
            }
        }
    }
}
