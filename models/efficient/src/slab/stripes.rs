//! Attention inside of stripes (CSWin, arXiv:2107.00652), by softmax or simplified and linear.

use super::attention::{HeadConv, Order, linear_attention};
use super::config::SlaConfig;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor, activation};
use menagerie_nn::depthwise::token_conv;
use menagerie_nn::vit::convolution_initializer;

/// Side of the kernel that values are convolved with.
const KERNEL: usize = 3;

/// `[batch, side², dim]` as stripes of `rows × columns` tokens, `[batch · stripes, rows · columns,
/// dim]`.
fn partition(x: Tensor<3>, side: usize, [rows, columns]: [usize; 2]) -> Tensor<3> {
    if rows * columns == side * side {
        return x;
    }
    let [batch, _, dim] = x.dims();
    let (down, across) = (side / rows, side / columns);
    x.reshape([batch, down, rows, across, columns, dim])
        .permute([0, 1, 3, 2, 4, 5])
        .reshape([batch * down * across, rows * columns, dim])
}

/// The inverse of [`partition`].
fn join(x: Tensor<3>, side: usize, [rows, columns]: [usize; 2]) -> Tensor<3> {
    if rows * columns == side * side {
        return x;
    }
    let [stripes, _, dim] = x.dims();
    let (down, across) = (side / rows, side / columns);
    let batch = stripes / (down * across);
    x.reshape([batch, down, across, rows, columns, dim])
        .permute([0, 1, 3, 2, 4, 5])
        .reshape([batch, side * side, dim])
}

/// A filter for every channel.
#[derive(Module, Debug)]
pub struct ChannelConv {
    /// `[dim, 1, 3, 3]`.
    pub weight: Param<Tensor<4>>,
    /// `[dim]`.
    pub bias: Param<Tensor<1>>,
}

/// Attention inside of the stripes of a grid; values convolved within their stripe are added.
#[derive(Module, Debug)]
pub struct StripeAttention {
    /// Convolution of the values of a stripe: where they are.
    pub get_v: ChannelConv,
    /// Added to the keys of linear attention, `[1, tokens of a stripe, dim]`; starts at 0.
    pub positional_encoding: Option<Param<Tensor<3>>>,
    /// Convolution of the values of linear attention, its filters shared by the heads.
    pub dwc: Option<HeadConv>,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    side: usize,
    #[module(skip)]
    stripe: [usize; 2],
    #[module(skip)]
    epsilon: f64,
}

impl StripeAttention {
    /// Of sizes that were checked: `side²` tokens of width `dim` in stripes of rows and columns; by
    /// softmax where there are no settings of linear attention.
    pub(crate) fn new(
        [dim, heads, side]: [usize; 3],
        stripe: [usize; 2],
        sla: Option<&SlaConfig>,
        device: &Device,
    ) -> Self {
        let (fan_in, fan_out) = (Some(KERNEL * KERNEL), Some(dim));
        let initializer = convolution_initializer();
        let [rows, columns] = stripe;
        let positions = || Initializer::Zeros.init([1, rows * columns, dim], device);
        Self {
            get_v: ChannelConv {
                weight: initializer.init_with([dim, 1, KERNEL, KERNEL], fan_in, fan_out, device),
                bias: initializer.init_with([dim], fan_in, fan_out, device),
            },
            positional_encoding: sla.map(|_| positions()),
            dwc: sla.map(|sla| HeadConv::new(dim / heads, sla.kernel, device)),
            heads,
            side,
            stripe,
            epsilon: sla.map_or(0.0, |sla| sla.epsilon),
        }
    }

    /// Queries, keys and values `[batch, side², dim]` to the same shape.
    ///
    /// # Panics
    /// If the shape is another.
    pub fn forward(&self, qkv: [Tensor<3>; 3]) -> Tensor<3> {
        let [q, k, v] = qkv.map(|x| partition(x, self.side, self.stripe));
        let (weight, bias) = (self.get_v.weight.val(), self.get_v.bias.val());
        let placed = token_conv(v.clone(), self.stripe, weight, bias);
        let mixed = match (&self.positional_encoding, &self.dwc) {
            (Some(positions), Some(dwc)) => {
                let [_, tokens, dim] = q.dims();
                let order = Order::cheaper(tokens, tokens, dim / self.heads);
                let (q, k) = (activation::relu(q), activation::relu(k + positions.val()));
                let near = dwc.forward(v.clone(), self.stripe);
                linear_attention(q, k, v, self.heads, order, self.epsilon) + near
            }
            _ => self.by_softmax(q, k, v),
        };
        join(mixed + placed, self.side, self.stripe)
    }

    fn by_softmax(&self, q: Tensor<3>, k: Tensor<3>, v: Tensor<3>) -> Tensor<3> {
        let dims @ [batch, tokens, dim] = q.dims();
        let size = dim / self.heads;
        let apart = |x: Tensor<3>| x.reshape([batch, tokens, self.heads, size]).swap_dims(1, 2);
        let scores = apart(q).matmul(apart(k).transpose()) * (size as f64).powf(-0.5);
        let mixed = activation::softmax(scores, 3).matmul(apart(v));
        mixed.swap_dims(1, 2).reshape(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Int;

    #[test]
    fn stripes_are_rows_or_columns_and_come_back() {
        let device = Device::default();
        let x = Tensor::<1, Int>::arange(0..16, &device)
            .float()
            .reshape([1, 16, 1]);
        let values = |x: Tensor<3>| -> Vec<f32> { x.into_data().iter().collect() };
        let columns = partition(x.clone(), 4, [4, 2]);
        assert_eq!(columns.dims(), [2, 8, 1]);
        assert_eq!(values(columns.clone())[..4], [0.0, 1.0, 4.0, 5.0]);
        let rows = partition(x.clone(), 4, [1, 4]);
        assert_eq!(values(rows.clone())[4..8], [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(values(join(columns, 4, [4, 2])), values(x.clone()));
        assert_eq!(values(join(rows, 4, [1, 4])), values(x));
    }
}
