//! Causal self-attention of every host.

use super::{
    config::{Architecture, LanguageModelConfig},
    hook::{HookPoint, Hooks, Interrupt, Site},
    layers::{Norm, Rotation},
};
use burn::{
    module::Module,
    nn::{Initializer, Linear, LinearConfig},
    tensor::{
        Bool, Device, Int, Tensor, activation::softmax, module::attention,
        ops::AttentionModuleOptions,
    },
};
use menagerie_nn::transformer::{self, causal_attention};

/// Multi-head attention over the present and earlier tokens, with grouped keys and values.
#[derive(Module, Debug)]
pub struct Attention {
    /// Query, key and value `[hidden, (heads + 2 · kv heads) · head size]`: all queries, all keys,
    /// all values; in GPT-NeoX the three of each head side by side.
    pub qkv: Linear,
    /// The heads' values back to the residual stream.
    pub output: Linear,
    /// Norm of each head's query (Qwen3).
    pub query_norm: Option<Norm>,
    /// Norm of each head's key (Qwen3).
    pub key_norm: Option<Norm>,
    heads: usize,
    kv_heads: usize,
    head_size: usize,
    interleaved: bool,
    #[module(skip)]
    scores: Scores,
}

/// How scores become probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scores {
    /// Times the product of query and key.
    scale: f64,
    /// `c` in `c tanh(score / c)`.
    softcap: Option<f64>,
    /// How many tokens are seen, the present one included.
    window: Option<usize>,
}

/// A linear layer with weights from N(0, `std`²) and no or zero biases.
pub(crate) fn linear(
    inputs: usize,
    outputs: usize,
    bias: bool,
    std: f64,
    device: &Device,
) -> Linear {
    let mut layer = LinearConfig::new(inputs, outputs)
        .with_bias(false)
        .with_initializer(Initializer::Normal { mean: 0.0, std })
        .init(device);
    layer.bias = bias.then(|| Initializer::Zeros.init([outputs], device));
    layer
}

/// A linear layer by the house's kernel.
pub(crate) fn project(layer: &Linear, x: Tensor<3>) -> Tensor<3> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    transformer::linear(x, layer.weight.val(), bias)
}

/// Standard deviation of initial weights in every host (Radford et al. 2019).
pub(crate) const INITIAL: f64 = 0.02;

/// That of projections into the residual stream, so that its variance does not grow with depth.
pub(crate) fn residual_std(config: &LanguageModelConfig) -> f64 {
    INITIAL / (2.0 * config.layers as f64).sqrt()
}

impl Attention {
    pub(crate) fn init(config: &LanguageModelConfig, layer: usize, device: &Device) -> Self {
        let norm = || {
            config
                .query_key_norm()
                .then(|| Norm::init(config, config.head_size, device))
        };
        let scale = config.query_scale.unwrap_or(config.head_size as f64);
        Self {
            qkv: linear(
                config.hidden,
                config.qkv_size(),
                config.qkv_bias,
                INITIAL,
                device,
            ),
            output: linear(
                config.heads * config.head_size,
                config.hidden,
                config.output_bias,
                residual_std(config),
                device,
            ),
            query_norm: norm(),
            key_norm: norm(),
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_size: config.head_size,
            interleaved: config.architecture == Architecture::GptNeoX,
            scores: Scores {
                scale: scale.sqrt().recip(),
                softcap: config.attention_softcap,
                window: config.window.filter(|_| layer.is_multiple_of(2)),
            },
        }
    }

    /// `x` and the result: `[batch, tokens, hidden]`.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        rotation: Option<&Rotation>,
        layer: usize,
        hooks: &mut Hooks,
    ) -> Result<Tensor<3>, Interrupt> {
        let [batch, tokens, _] = x.dims();
        let hook = |site| HookPoint::block(layer, site);
        let qkv = project(&self.qkv, x);
        let watched = [Site::Query, Site::Key, Site::Value, Site::Pattern]
            .iter()
            .any(|site| hooks.wants(hook(*site)));
        if rotation.is_none() && self.is_plain(tokens) && !watched {
            let z = causal_attention(qkv, self.heads, self.kv_heads, self.scores.scale);
            return Ok(project(&self.output, hooks.at(hook(Site::Z), z)?));
        }
        let [query, key, value] = self.split(qkv);
        let query = hooks.at(hook(Site::Query), query)?;
        let key = hooks.at(hook(Site::Key), key)?;
        let value = hooks.at(hook(Site::Value), value)?;

        let heads = |x: Tensor<3>, heads| {
            x.reshape([batch, tokens, heads, self.head_size])
                .swap_dims(1, 2)
        };
        let merge = |x: Tensor<4>| {
            let [_, heads, _, _] = x.dims();
            x.swap_dims(1, 2)
                .reshape([batch, tokens, heads * self.head_size])
        };
        let mut turn = |x: Tensor<3>, count, norm: &Option<Norm>, site| {
            let x = heads(x, count);
            let x = match norm {
                Some(norm) => norm.forward(x),
                None => x,
            };
            let Some(rotation) = rotation else {
                return Ok(x);
            };
            let x = rotation.apply(x);
            match hooks.wants(hook(site)) {
                true => Ok(heads(hooks.at(hook(site), merge(x))?, count)),
                false => Ok::<_, Interrupt>(x),
            }
        };
        let query = turn(query, self.heads, &self.query_norm, Site::RotatedQuery)?;
        let key = turn(key, self.kv_heads, &self.key_norm, Site::RotatedKey)?;
        let key = self.repeat(key);
        let value = self.repeat(heads(value, self.kv_heads));

        let z = if hooks.wants(hook(Site::Pattern)) {
            let pattern = self.scores.pattern(query, key);
            let pattern = pattern.reshape([batch, self.heads * tokens, tokens]);
            let pattern = hooks.at(hook(Site::Pattern), pattern)?;
            pattern
                .reshape([batch, self.heads, tokens, tokens])
                .matmul(value)
        } else {
            self.scores.mix(query, key, value)
        };
        let z = hooks.at(hook(Site::Z), merge(z))?;
        Ok(project(&self.output, z))
    }

    /// Whether nothing but the causal mask and a scale comes between queries and keys.
    fn is_plain(&self, tokens: usize) -> bool {
        let Scores {
            softcap, window, ..
        } = self.scores;
        let sees_all = window.is_none_or(|window| window >= tokens);
        softcap.is_none() && sees_all && self.query_norm.is_none() && !self.interleaved
    }

    /// Query `[batch, tokens, heads · head size]`, key and value `[batch, tokens, kv heads · head
    /// size]`.
    fn split(&self, qkv: Tensor<3>) -> [Tensor<3>; 3] {
        let [batch, tokens, _] = qkv.dims();
        let (queries, keys) = (self.heads * self.head_size, self.kv_heads * self.head_size);
        if self.interleaved {
            let qkv = qkv.reshape([batch, tokens, self.heads, 3 * self.head_size]);
            [0, 1, 2].map(|part| {
                qkv.clone()
                    .narrow(3, part * self.head_size, self.head_size)
                    .reshape([batch, tokens, queries])
            })
        } else {
            [(0, queries), (queries, keys), (queries + keys, keys)]
                .map(|(start, size)| qkv.clone().narrow(2, start, size))
        }
    }

    /// Every key head once for each query head of its group.
    fn repeat(&self, x: Tensor<4>) -> Tensor<4> {
        let group = self.heads / self.kv_heads;
        if group == 1 {
            return x;
        }
        let [batch, kv_heads, tokens, size] = x.dims();
        x.reshape([batch, kv_heads, 1, tokens, size])
            .expand([batch, kv_heads, group, tokens, size])
            .reshape([batch, self.heads, tokens, size])
    }
}

impl Scores {
    /// Attention probabilities `[batch, heads, queries, keys]` of queries and keys `[batch, heads,
    /// tokens, head size]`.
    fn pattern(&self, query: Tensor<4>, key: Tensor<4>) -> Tensor<4> {
        let [batch, heads, tokens, _] = query.dims();
        let device = query.device();
        let scores = query.matmul(key.transpose()) * self.scale;
        let scores = match self.softcap {
            Some(cap) => (scores / cap).tanh() * cap,
            None => scores,
        };
        let hidden = self.hidden(tokens, &device);
        let hidden = hidden.expand([batch, heads, tokens, tokens]);
        softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3)
    }

    /// The values that each query attends to, mixed: all `[batch, heads, tokens, head size]`.
    fn mix(&self, query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
        let [_, _, tokens, _] = query.dims();
        let windowed = self.window.is_some_and(|window| window < tokens);
        // Burn's attention on `tch` leaves the cap out and reads the mask the other way round.
        if query.device().is_autodiff() || self.softcap.is_some() || windowed {
            return self.pattern(query, key).matmul(value);
        }
        let options = AttentionModuleOptions {
            scale: Some(self.scale),
            softcap: None,
            is_causal: true,
        };
        attention(query, key, value, None, None, options)
    }

    /// Where a query (row) must not look (column): at later tokens, and before the window.
    /// `[1, 1, tokens, tokens]`
    fn hidden(&self, tokens: usize, device: &Device) -> Tensor<4, Bool> {
        let device = device.clone().without_autodiff();
        let positions = Tensor::<1, Int>::arange(0..tokens as i64, &device);
        let shape = [tokens, tokens];
        let row = positions.clone().unsqueeze_dim::<2>(1).expand(shape);
        let column = positions.unsqueeze_dim::<2>(0).expand(shape);
        let distance = row - column;
        let later = distance.clone().lower_elem(0);
        let hidden = match self.window {
            Some(window) => later.bool_or(distance.greater_equal_elem(window as i64)),
            None => later,
        };
        hidden.unsqueeze()
    }
}
