//! Attention in shifted windows with relative positions (Swin, arXiv:2103.14030).

use super::attention::{linear, weight_initializer};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use menagerie_nn::vit::Linear;

/// What a pair of tokens that the shift brought together is worth less.
const MASKED: f32 = -100.0;

/// `[batch, side², dim]` as windows `[batch · windows, window², dim]`, row by row.
pub(crate) fn partition(x: Tensor<3>, side: usize, window: usize) -> Tensor<3> {
    if side == window {
        return x;
    }
    let [batch, _, dim] = x.dims();
    let count = side / window;
    x.reshape([batch, count, window, count, window, dim])
        .permute([0, 1, 3, 2, 4, 5])
        .reshape([batch * count * count, window * window, dim])
}

/// The inverse of [`partition`].
pub(crate) fn join(x: Tensor<3>, side: usize, window: usize) -> Tensor<3> {
    if side == window {
        return x;
    }
    let [windows, _, dim] = x.dims();
    let count = side / window;
    let batch = windows / (count * count);
    x.reshape([batch, count, count, window, window, dim])
        .permute([0, 1, 3, 2, 4, 5])
        .reshape([batch, side * side, dim])
}

/// Tokens `[batch, side², dim]` moved up and left by `shift` rows and columns, around the border.
pub(crate) fn roll(x: Tensor<3>, side: usize, shift: usize) -> Tensor<3> {
    if shift == 0 {
        return x;
    }
    let [batch, tokens, dim] = x.dims();
    let turn = |x: Tensor<4>, axis: usize| {
        let parts = [(shift, side - shift), (0, shift)];
        let parts = parts.map(|(first, count)| x.clone().narrow(axis, first, count));
        Tensor::cat(parts.to_vec(), axis)
    };
    let x = x.reshape([batch, side, side, dim]);
    turn(turn(x, 1), 2).reshape([batch, tokens, dim])
}

/// Multi-head attention inside of windows.
#[derive(Module, Debug)]
pub struct WindowAttention {
    /// Queries, keys, values side by side; `dim` to `3 dim`.
    pub qkv: Linear,
    /// What a relative position adds to the scores of each head, `[(2 window − 1)², heads]`.
    pub relative_position_bias_table: Param<Tensor<2>>,
    /// The heads mixed, `dim` to `dim`.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    window: usize,
}

impl WindowAttention {
    /// Of sizes that were checked.
    pub(crate) fn new(dim: usize, heads: usize, window: usize, device: &Device) -> Self {
        let places = (2 * window - 1) * (2 * window - 1);
        Self {
            qkv: linear(dim, 3 * dim, true, device),
            relative_position_bias_table: weight_initializer().init([places, heads], device),
            proj: linear(dim, dim, true, device),
            heads,
            window,
        }
    }

    /// Windows `[batch · windows, window², dim]` to the same shape; `mask [windows, window²,
    /// window²]` is added to the scores.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn forward(&self, x: Tensor<3>, mask: Option<Tensor<3>>) -> Tensor<3> {
        let dims @ [total, tokens, dim] = x.dims();
        let (heads, size) = (self.heads, dim / self.heads);
        let qkv = self.qkv.forward(x);
        let part = |at: usize| {
            let part = qkv.clone().narrow(2, at * dim, dim);
            part.reshape([total, tokens, heads, size]).swap_dims(1, 2)
        };
        let scale = (size as f64).powf(-0.5);
        let scores = (part(0) * scale).matmul(part(1).transpose());
        let mut scores = scores + self.bias(tokens).unsqueeze::<4>();
        if let Some(mask) = mask {
            let [windows, ..] = mask.dims();
            scores = (scores.reshape([total / windows, windows, heads, tokens * tokens])
                + mask.reshape([1, windows, 1, tokens * tokens]))
            .reshape([total, heads, tokens, tokens]);
        }
        let mixed = activation::softmax(scores, 3).matmul(part(2));
        self.proj.forward(mixed.swap_dims(1, 2).reshape(dims))
    }

    /// What relative positions add, `[heads, tokens, tokens]`.
    fn bias(&self, tokens: usize) -> Tensor<3> {
        let table = self.relative_position_bias_table.val();
        let device = table.device().without_autodiff();
        let index = TensorData::new(relative_index(self.window), [tokens * tokens]);
        let index = Tensor::<1, Int>::from_data(index, &device);
        let index = if table.is_autodiff() {
            index.autodiff()
        } else {
            index
        };
        table
            .select(0, index)
            .reshape([tokens, tokens, self.heads])
            .permute([2, 0, 1])
    }
}

/// The row of the table for every pair of tokens of a window, the keys fastest.
fn relative_index(window: usize) -> Vec<i64> {
    let tokens = window * window;
    let mut index = Vec::with_capacity(tokens * tokens);
    for query in 0..tokens {
        for key in 0..tokens {
            let row = query / window + window - 1 - key / window;
            let column = query % window + window - 1 - key % window;
            index.push((row * (2 * window - 1) + column) as i64);
        }
    }
    index
}

/// What is added to the scores where tokens are shifted: −100 between tokens that were not neighbours
/// before, `[windows, window², window²]`.
pub(crate) fn shift_mask(side: usize, window: usize, shift: usize) -> TensorData {
    let region = |at: usize| match at {
        at if at < side - window => 0,
        at if at < side - shift => 1,
        _ => 2,
    };
    let (count, tokens) = (side / window, window * window);
    let mut mask = Vec::with_capacity(count * count * tokens * tokens);
    for corner in 0..count * count {
        let (top, left) = (corner / count * window, corner % count * window);
        let of = |token: usize| 3 * region(top + token / window) + region(left + token % window);
        for query in 0..tokens {
            mask.extend((0..tokens).map(|key| match of(query) == of(key) {
                true => 0.0,
                false => MASKED,
            }));
        }
    }
    TensorData::new(mask, [count * count, tokens, tokens])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_come_back_and_shifts_go_around() {
        let device = Device::default();
        let x = Tensor::<1, Int>::arange(0..16, &device).float();
        let x = x.reshape([1, 16, 1]);
        let windows = partition(x.clone(), 4, 2);
        let first: Vec<f32> = windows.clone().narrow(0, 1, 1).into_data().iter().collect();
        assert_eq!(first, [2.0, 3.0, 6.0, 7.0]);
        assert_eq!(join(windows, 4, 2).into_data(), x.clone().into_data());
        let rolled = roll(x.clone(), 4, 1);
        let values: Vec<f32> = rolled.clone().into_data().iter().collect();
        assert_eq!(values[..4], [5.0, 6.0, 7.0, 4.0]);
        assert_eq!(roll(rolled, 4, 3).into_data(), x.into_data());
    }

    #[test]
    fn a_shifted_window_keeps_strangers_apart() {
        let mask: Vec<f32> = shift_mask(4, 2, 1).iter().collect();
        // The first window was whole, the last one is made of four corners.
        assert!(mask[..16].iter().all(|value| *value == 0.0));
        let last = &mask[48..];
        for query in 0..4 {
            for key in 0..4 {
                let expected = if query == key { 0.0 } else { MASKED };
                assert_eq!(last[query * 4 + key], expected);
            }
        }
    }
}
