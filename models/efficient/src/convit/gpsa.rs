//! Gated positional self-attention (section 3 of the paper).

use super::config::{ConVitConfig, Gating, weight_initializer};
use burn::module::{Initializer, Module, Param, ParamId};
use burn::tensor::{Device, Distribution, Shape, Tensor, TensorData, activation};
use menagerie_nn::transformer;
use menagerie_nn::vit::{Linear, LinearConfig};

/// Where each patch lies from each other one: `r_ij = (Δx, Δy, Δx² + Δy²)`, in patches, for query `i`
/// and key `j`, both row by row.
#[derive(Clone, Debug)]
pub struct Relative {
    /// `[3, tokens · tokens]`, the keys fastest.
    table: Tensor<2>,
    grid: usize,
}

impl Relative {
    /// Between the patches of a square grid.
    pub fn new(grid: usize, device: &Device) -> Self {
        let tokens = grid * grid;
        let offsets = offsets(grid);
        let mut table = Vec::with_capacity(3 * tokens * tokens);
        table.extend(offsets.iter().map(|[x, _]| *x));
        table.extend(offsets.iter().map(|[_, y]| *y));
        table.extend(offsets.iter().map(|[x, y]| x * x + y * y));
        let data = TensorData::new(table, [3, tokens * tokens]);
        Self {
            table: Tensor::from_data(data, device),
            grid,
        }
    }

    /// Patches of the grid.
    pub fn tokens(&self) -> usize {
        self.grid * self.grid
    }

    /// `r` in the official order, `[1, tokens, tokens, 3]`.
    pub fn indices(&self) -> Tensor<4> {
        let tokens = self.tokens();
        let table = self.table.clone().swap_dims(0, 1);
        table.reshape([1, tokens, tokens, 3])
    }

    /// How far each key is from each query, in patches, `[tokens, tokens]`.
    pub fn distances(&self) -> Tensor<2> {
        let tokens = self.tokens();
        let squares = self.table.clone().narrow(0, 2, 1);
        squares.reshape([tokens, tokens]).sqrt()
    }
}

/// `(Δx, Δy)` of every pair of a query and a key, the keys fastest.
fn offsets(grid: usize) -> Vec<[f32; 2]> {
    let tokens = grid * grid;
    let mut offsets = Vec::with_capacity(tokens * tokens);
    for query in 0..tokens {
        for key in 0..tokens {
            let along =
                |of: fn(usize, usize) -> usize| of(key, grid) as f32 - of(query, grid) as f32;
            offsets.push([along(|at, grid| at % grid), along(|at, grid| at / grid)]);
        }
    }
    offsets
}

/// The positional projection that makes head `a + K b` look at the offset `(Δx, Δy) = (b − c, a −
/// c)`, `c = (K − 1) / 2`, which lies between patches for an even K: for every head `α (2 Δx, 2 Δy, −1)`.
///
/// The logits are then `−α ‖Δ − δ‖²` up to a constant. Heads beyond K², if there are any, have zeros.
/// The paper divides by `√α` besides; the released code does not.
pub fn convolution_taps(heads: usize, locality: f64) -> Vec<[f32; 3]> {
    let kernel = heads.isqrt();
    let centre = (kernel as f64 - 1.0) / 2.0;
    let mut taps = vec![[0.0; 3]; heads];
    for row in 0..kernel {
        for column in 0..kernel {
            let offset = |at: usize| 2.0 * (at as f64 - centre) * locality;
            taps[row + kernel * column] =
                [offset(column) as f32, offset(row) as f32, -locality as f32];
        }
    }
    taps
}

/// Attention of which every head blends what it finds by content with where it looks by position.
#[derive(Module, Debug)]
pub struct Gpsa {
    /// Queries and keys side by side, each with its heads side by side; `dim` to `2 dim`.
    pub qk: Linear,
    /// Values, `dim` to `dim`; starts as the identity.
    pub v: Linear,
    /// Relative positions to the logits of the heads, 3 to `heads`.
    pub pos_proj: Linear,
    /// λ, `[heads]`: σ(λ) is what position counts for. Starts at 1.
    pub gating_param: Param<Tensor<1>>,
    /// The heads mixed, `dim` to `dim`.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    gating: Gating,
}

impl Gpsa {
    /// Of a configuration that was checked.
    pub(super) fn new(config: &ConVitConfig, device: &Device) -> Self {
        let (dim, heads) = (config.dim, config.heads);
        let linear = |inputs: usize, outputs: usize, bias: bool| {
            LinearConfig {
                bias,
                initializer: weight_initializer(),
                ..LinearConfig::new(inputs, outputs)
            }
            .init(device)
        };
        let mut attention = Self {
            qk: linear(dim, 2 * dim, config.qkv_bias),
            v: linear(dim, dim, config.qkv_bias),
            pos_proj: linear(3, heads, true),
            gating_param: Initializer::Ones.init([heads], device),
            proj: linear(dim, dim, true),
            heads,
            gating: config.gating,
        };
        if config.local_init {
            attention.v.weight = drawn([dim, dim], device, move |device| Tensor::eye(dim, device));
            let taps = convolution_taps(heads, config.locality);
            let locality = config.locality;
            attention.pos_proj.weight = drawn([3, heads], device, move |device| {
                projection(&taps, locality, device)
            });
        }
        attention
    }

    /// What position counts for in each head, σ(λ), `[heads]`: 1 and 0 where the gate is fixed.
    pub fn gates(&self) -> Tensor<1> {
        let gates = self.gating_param.val();
        match self.gating {
            Gating::Learned => activation::sigmoid(gates),
            Gating::Position => gates.ones_like(),
            Gating::Content => gates.zeros_like(),
        }
    }

    /// Where the heads look by position, P: `[heads, tokens, tokens]`, queries by keys; every row
    /// adds up to 1. It does not depend on the input.
    pub fn positions(&self, relative: &Relative) -> Tensor<3> {
        let tokens = relative.tokens();
        let mut weight = self.pos_proj.weight.val();
        let mut bias = self.pos_proj.bias.as_ref().map(Param::val);
        if self.gating == Gating::Content {
            // Nothing uses the maps: a graph that no gradient ever reaches would be kept, step by
            // step, until the end of the training.
            weight = weight.detach();
            bias = bias.map(Tensor::detach);
        }
        let mut logits = weight.transpose().matmul(relative.table.clone());
        if let Some(bias) = bias {
            // It cancels; its gradient is zero up to rounding.
            logits = logits + bias.unsqueeze_dim::<2>(1);
        }
        activation::softmax(logits.reshape([self.heads, tokens, tokens]), 2)
    }

    /// Tokens `[batch, tokens, dim]` to the same shape, with P from [`positions`](Self::positions).
    ///
    /// Both parts' rows add up to 1, so that blending the mixed values equals blending the maps. The
    /// official division by the row's sum, which is 1 up to rounding, is left out.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn forward(&self, x: Tensor<3>, positions: Tensor<3>) -> Tensor<3> {
        let values = self.v.forward(x.clone());
        let mixed = match self.gating {
            Gating::Position => mix_by_position(values, positions),
            Gating::Content => self.by_content(x, values),
            Gating::Learned => {
                let near = mix_by_position(values.clone(), positions);
                let found = self.by_content(x, values);
                let [_, _, dim] = found.dims();
                let gates = per_channel(self.gates(), dim);
                (near - found.clone()) * gates + found
            }
        };
        self.proj.forward(mixed)
    }

    fn by_content(&self, x: Tensor<3>, values: Tensor<3>) -> Tensor<3> {
        let size = values.dims()[2] / self.heads;
        let qkv = Tensor::cat(vec![self.qk.forward(x), values], 2);
        transformer::attention(qkv, self.heads, (size as f64).powf(-0.5))
    }

    /// The map A of `x [batch, tokens, dim]`: `[batch, heads, tokens, tokens]`, queries by keys.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn attention_map(&self, x: Tensor<3>, positions: Tensor<3>) -> Tensor<4> {
        let [batch, tokens, dim] = x.dims();
        let size = dim / self.heads;
        let qk = self
            .qk
            .forward(x)
            .reshape([batch, tokens, 2, self.heads, size]);
        let part = |at: usize| {
            let part = qk.clone().narrow(2, at, 1).squeeze_dim::<4>(2);
            part.swap_dims(1, 2)
        };
        let scale = (size as f64).powf(-0.5);
        let content = activation::softmax(part(0).matmul(part(1).transpose()) * scale, 3);
        let gates = self.gates().reshape([1, self.heads, 1, 1]);
        let map: Tensor<4> = content * (1.0 - gates.clone()) + positions.unsqueeze::<4>() * gates;
        map.clone() / map.sum_dim(3)
    }

    /// For inference: P with its gates in, and queries, keys and values in one layer.
    pub(super) fn prepare(&self, relative: &Relative) -> PreparedGpsa {
        let values = |linear: &Linear| {
            let bias = linear.bias.as_ref().map(Param::val);
            (linear.weight.val(), bias)
        };
        let ((qk, qk_bias), (v, v_bias)) = (values(&self.qk), values(&self.v));
        let bias = match (qk_bias, v_bias) {
            (Some(qk), Some(v)) => Some(Tensor::cat(vec![qk, v], 0)),
            _ => None,
        };
        let gates = self.gates();
        let [_, dim] = v.dims();
        PreparedGpsa {
            qkv: (Tensor::cat(vec![qk, v], 1), bias),
            positions: self.positions(relative) * gates.clone().reshape([self.heads, 1, 1]),
            content: per_channel(1.0 - gates, dim),
            proj: values(&self.proj),
            heads: self.heads,
        }
    }
}

/// [`Gpsa`] with everything computed that does not depend on the input.
#[derive(Clone, Debug)]
pub(super) struct PreparedGpsa {
    qkv: (Tensor<2>, Option<Tensor<1>>),
    /// σ(λ) P.
    positions: Tensor<3>,
    /// 1 − σ(λ), `[1, 1, dim]`.
    content: Tensor<3>,
    proj: (Tensor<2>, Option<Tensor<1>>),
    heads: usize,
}

impl PreparedGpsa {
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (weight, bias) = self.qkv.clone();
        let qkv = transformer::linear(x, weight, bias);
        let dim = qkv.dims()[2] / 3;
        let near = mix_by_position(qkv.clone().narrow(2, 2 * dim, dim), self.positions.clone());
        let scale = ((dim / self.heads) as f64).powf(-0.5);
        let found = transformer::attention(qkv, self.heads, scale);
        let (weight, bias) = self.proj.clone();
        transformer::linear(found * self.content.clone() + near, weight, bias)
    }
}

/// `[heads]` as `[1, 1, dim]`: each head's number for each of its channels.
fn per_channel(heads: Tensor<1>, dim: usize) -> Tensor<3> {
    let [count] = heads.dims();
    let size = dim / count;
    heads
        .reshape([count, 1])
        .expand([count, size])
        .reshape([1, 1, dim])
}

/// Values `[batch, tokens, dim]` mixed by maps `[heads, tokens, tokens]` that all images share: one
/// product per head.
fn mix_by_position(values: Tensor<3>, maps: Tensor<3>) -> Tensor<3> {
    let [batch, tokens, dim] = values.dims();
    let heads = maps.dims()[0];
    let size = dim / heads;
    let values = values
        .reshape([batch, tokens, heads, size])
        .permute([2, 1, 0, 3])
        .reshape([heads, tokens, batch * size]);
    maps.matmul(values)
        .reshape([heads, tokens, batch, size])
        .permute([2, 1, 0, 3])
        .reshape([batch, tokens, dim])
}

/// The taps as a weight `[3, heads]`; heads without a tap get small normal numbers.
fn projection(taps: &[[f32; 3]], locality: f64, device: &Device) -> Tensor<2> {
    let [heads, kernel] = [taps.len(), taps.len().isqrt()];
    let table: Vec<f32> = taps.iter().flatten().copied().collect();
    let table = Tensor::<2>::from_data(TensorData::new(table, [heads, 3]), device);
    let placed = kernel * kernel;
    let table = match heads - placed {
        0 => table,
        rest => {
            let normal = Distribution::Normal(0.0, 0.02 * locality);
            let rest = Tensor::random([rest, 3], normal, device);
            Tensor::cat(vec![table.narrow(0, 0, placed), rest], 0)
        }
    };
    table.transpose()
}

/// A parameter whose first value `draw` makes.
fn drawn<const D: usize>(
    shape: [usize; D],
    device: &Device,
    draw: impl FnOnce(&Device) -> Tensor<D> + Send + Sync + 'static,
) -> Param<Tensor<D>> {
    let init = move |device: &Device, requires: bool| {
        let value = draw(device);
        if requires {
            value.require_grad()
        } else {
            value
        }
    };
    Param::uninitialized(
        ParamId::new(),
        init,
        device.clone(),
        true,
        Shape::from(shape),
    )
}
