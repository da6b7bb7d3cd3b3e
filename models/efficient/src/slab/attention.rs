//! Simplified linear attention (section 3.2 of the paper), with and without spatial reduction.

use super::config::SlaConfig;
use super::norm::{Mode, Norm, NormConfig};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor, TensorData, activation};
use menagerie_core::Result;
use menagerie_nn::depthwise::token_conv;
use menagerie_nn::linear_attention::self_attention;
pub use menagerie_nn::linear_attention::{Order, linear_attention};
use menagerie_nn::vit::{
    Linear, LinearConfig, PatchEmbed, PatchEmbedConfig, convolution_initializer,
};

/// N(0, 0.02²). The official code cuts it off at ±2, a hundred deviations away.
pub(crate) fn weight_initializer() -> Initializer {
    Initializer::Normal {
        mean: 0.0,
        std: 0.02,
    }
}

pub(crate) fn linear(inputs: usize, outputs: usize, bias: bool, device: &Device) -> Linear {
    LinearConfig {
        bias,
        initializer: weight_initializer(),
        ..LinearConfig::new(inputs, outputs)
    }
    .init(device)
}

/// The depth-wise convolution whose filters all heads share.
#[derive(Module, Debug)]
pub struct HeadConv {
    /// `[size of a head, 1, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// `[size of a head]`.
    pub bias: Param<Tensor<1>>,
}

impl HeadConv {
    pub(crate) fn new(size: usize, kernel: usize, device: &Device) -> Self {
        let inputs = kernel * kernel;
        let initializer = convolution_initializer();
        Self {
            weight: initializer.init_with(
                [size, 1, kernel, kernel],
                Some(inputs),
                Some(size),
                device,
            ),
            bias: initializer.init_with([size], Some(inputs), Some(size), device),
        }
    }

    /// Tokens `[batch, rows · columns, heads · size]` of a grid to the same shape.
    pub(crate) fn forward(&self, x: Tensor<3>, grid: [usize; 2]) -> Tensor<3> {
        token_conv(x, grid, self.weight.val(), self.bias.val())
    }
}

/// Simplified linear attention over a square of tokens.
#[derive(Module, Debug)]
pub struct LinearAttention {
    /// Queries, keys, values side by side; `dim` to `3 dim`.
    pub qkv: Linear,
    /// Added to the keys before their non-linearity, `[1, side², dim]`; starts at 0.
    pub positional_encoding: Param<Tensor<3>>,
    /// Convolution of the values.
    pub dwc: HeadConv,
    /// The heads mixed, `dim` to `dim`.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    side: usize,
    #[module(skip)]
    epsilon: f64,
}

impl LinearAttention {
    /// Of sizes that were checked: `side²` tokens of width `dim`.
    pub(crate) fn new(
        dim: usize,
        heads: usize,
        side: usize,
        sla: &SlaConfig,
        device: &Device,
    ) -> Self {
        Self {
            qkv: linear(dim, 3 * dim, true, device),
            positional_encoding: Initializer::Zeros.init([1, side * side, dim], device),
            dwc: HeadConv::new(dim / heads, sla.kernel, device),
            proj: linear(dim, dim, true, device),
            heads,
            side,
            epsilon: sla.epsilon,
        }
    }

    /// Tokens `[batch, side², dim]` to the same shape.
    ///
    /// # Panics
    /// If the shape is another.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, tokens, dim] = x.dims();
        let order = Order::cheaper(tokens, tokens, dim / self.heads);
        self.forward_in_order(x, order)
    }

    /// [`forward`](Self::forward) with a product of one's own choice first.
    ///
    /// # Panics
    /// If the shape is another.
    pub fn forward_in_order(&self, x: Tensor<3>, order: Order) -> Tensor<3> {
        let mixed = self_attention(
            self.qkv.forward(x),
            self.positional_encoding.val(),
            self.dwc.weight.val(),
            self.dwc.bias.val(),
            [self.side; 2],
            order,
            self.epsilon,
        );
        self.proj.forward(mixed)
    }
}

/// Attention whose keys and values come from a coarser grid (PVT), by softmax or simplified and
/// linear.
#[derive(Module, Debug)]
pub struct ReducedAttention {
    /// `dim` to `dim`.
    pub q: Linear,
    /// Keys and values side by side; `dim` to `2 dim`.
    pub kv: Linear,
    /// To the coarser grid, where there is one: squares of tokens to one token.
    pub sr: Option<PatchEmbed>,
    /// After it.
    pub norm: Option<Norm>,
    /// Added to the keys of linear attention, `[1, keys, dim]`.
    pub positional_encoding: Option<Param<Tensor<3>>>,
    /// Convolution of the values of linear attention.
    pub dwc: Option<HeadConv>,
    /// The heads mixed, `dim` to `dim`.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    side: usize,
    #[module(skip)]
    epsilon: f64,
}

impl ReducedAttention {
    /// Of sizes that were checked: `side²` tokens, of which `reduction²` become one for keys and
    /// values; by softmax where there are no settings of linear attention.
    pub(crate) fn new(
        [dim, heads, side, reduction]: [usize; 4],
        sla: Option<&SlaConfig>,
        norm: &NormConfig,
        device: &Device,
    ) -> Result<Self> {
        let keys = side * side / (reduction * reduction);
        let sr =
            PatchEmbedConfig::new(dim, reduction, dim).with_initializer(convolution_initializer());
        Ok(Self {
            q: linear(dim, dim, true, device),
            kv: linear(dim, 2 * dim, true, device),
            sr: match reduction {
                1 => None,
                _ => Some(sr.init(device)?),
            },
            norm: (reduction > 1).then(|| norm.init(dim, device)),
            positional_encoding: sla.map(|_| Initializer::Zeros.init([1, keys, dim], device)),
            dwc: sla.map(|sla| HeadConv::new(dim / heads, sla.kernel, device)),
            proj: linear(dim, dim, true, device),
            heads,
            side,
            epsilon: sla.map_or(0.0, |sla| sla.epsilon),
        })
    }

    /// Tokens `[batch, side², dim]` to the same shape.
    ///
    /// # Panics
    /// If the shape is another.
    pub fn forward(&self, x: Tensor<3>, mode: Mode) -> Tensor<3> {
        let [batch, tokens, dim] = x.dims();
        let q = self.q.forward(x.clone());
        let coarse = match &self.sr {
            None => x,
            Some(sr) => {
                let picture = x
                    .reshape([batch, self.side, self.side, dim])
                    .permute([0, 3, 1, 2]);
                let coarse = sr.forward(picture);
                match &self.norm {
                    None => coarse,
                    Some(norm) => norm.forward(coarse, mode),
                }
            }
        };
        let keys = coarse.dims()[1];
        let kv = self.kv.forward(coarse);
        let (k, v) = (kv.clone().narrow(2, 0, dim), kv.narrow(2, dim, dim));
        let mixed = match (&self.positional_encoding, &self.dwc) {
            (Some(positions), Some(dwc)) => {
                let k = activation::relu(k + positions.val());
                let order = Order::cheaper(tokens, keys, dim / self.heads);
                let q = activation::relu(q);
                let mixed = linear_attention(q, k, v.clone(), self.heads, order, self.epsilon);
                mixed + dwc.forward(stretch(v, tokens), [self.side; 2])
            }
            _ => self.by_softmax(q, k, v),
        };
        self.proj.forward(mixed)
    }

    fn by_softmax(&self, q: Tensor<3>, k: Tensor<3>, v: Tensor<3>) -> Tensor<3> {
        let dims @ [_, _, dim] = q.dims();
        let size = dim / self.heads;
        let apart = |x: Tensor<3>| {
            let [batch, tokens, _] = x.dims();
            x.reshape([batch, tokens, self.heads, size]).swap_dims(1, 2)
        };
        let scores = apart(q).matmul(apart(k).transpose()) * (size as f64).powf(-0.5);
        let mixed = activation::softmax(scores, 3).matmul(apart(v));
        mixed.swap_dims(1, 2).reshape(dims)
    }
}

/// Tokens `[batch, from, dim]` as `[batch, to, dim]`: linear interpolation along the tokens, centres
/// of the intervals aligned.
fn stretch(x: Tensor<3>, to: usize) -> Tensor<3> {
    let [_, from, _] = x.dims();
    if from == to {
        return x;
    }
    let mut weights = vec![0.0f32; to * from];
    for (at, row) in weights.chunks_exact_mut(from).enumerate() {
        let place = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let first = (place as usize).min(from - 1);
        let part = (place - first as f64) as f32;
        row[first] += 1.0 - part;
        row[(first + 1).min(from - 1)] += part;
    }
    let device = x.device();
    let weights = Tensor::<2>::from_data(TensorData::new(weights, [to, from]), &device);
    weights.unsqueeze::<3>().matmul(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stretch_as_pytorch_does_it() {
        let device = Device::default();
        let x = Tensor::<3>::from_floats([[[0.0], [1.0], [4.0]]], &device);
        let values: Vec<f32> = stretch(x, 6).into_data().iter().collect();
        let expected = [0.0, 0.25, 0.75, 1.75, 3.25, 4.0];
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{values:?}");
        }
    }
}
