//! The pre-norm transformer block.

use super::{Keep, LayerNorm, Linear, LinearConfig};
use crate::transformer;
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};

/// Where cosine attention caps the logarithm of its scale: ln 100.
const LOG_SCALE_CAP: f64 = 4.6052;
/// The least norm that a query or key is divided by.
const NORM_FLOOR: f64 = 1e-12;

/// Sizes and variants of a [`Block`].
#[derive(Config, Debug, PartialEq)]
pub struct BlockConfig {
    /// Width of a token.
    pub dim: usize,
    /// Attention heads; they divide `dim`.
    pub heads: usize,
    /// Width of the hidden layer of the multilayer perceptron.
    pub hidden: usize,
    /// The bias of queries, keys and values.
    #[config(default = "QkvBias::Fused")]
    pub qkv_bias: QkvBias,
    /// The ε of both layer norms.
    #[config(default = 1e-6)]
    pub epsilon: f64,
    /// Trained factors on both branches, one per channel, which start at this value (CaiT's layer
    /// scale).
    #[config(default = "None")]
    pub layer_scale: Option<f64>,
    /// Whether attention compares directions: queries and keys of length 1, times a trained scale
    /// per head that starts at 10 and stays below 100.
    #[config(default = false)]
    pub cosine: bool,
    /// How the weights of the linear layers are drawn.
    #[config(default = "Initializer::XavierUniform { gain: 1.0 }")]
    pub initializer: Initializer,
}

/// The bias of the projection to queries, keys and values.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum QkvBias {
    /// One vector for all three (timm).
    Fused,
    /// Vectors for queries and values, none for keys (BEiT).
    QueryValue,
    /// None.
    None,
}

impl BlockConfig {
    const NAME: &str = "BlockConfig";

    /// Refuses sizes and values that no block can be built from.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("dim", self.dim),
            ("heads", self.heads),
            ("hidden", self.hidden),
        ] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        if !self.dim.is_multiple_of(self.heads) {
            let rule = format!("must divide dim, which is {}", self.dim);
            return Err(Error::config(Self::NAME, "heads", self.heads, rule));
        }
        if !self.epsilon.is_finite() || self.epsilon <= 0.0 {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "epsilon", self.epsilon, rule));
        }
        match self.layer_scale {
            Some(scale) if !scale.is_finite() => Err(Error::config(
                Self::NAME,
                "layer_scale",
                scale,
                "must be finite",
            )),
            _ => Ok(()),
        }
    }

    /// A block with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Block> {
        self.validate()?;
        let dim = self.dim;
        let linear = |inputs: usize, outputs: usize, bias: bool| {
            LinearConfig {
                bias,
                initializer: self.initializer.clone(),
                ..LinearConfig::new(inputs, outputs)
            }
            .init(device)
        };
        let zeros = || Initializer::Zeros.init([dim], device);
        let separate = self.qkv_bias == QkvBias::QueryValue;
        let log_scale = Initializer::Constant {
            value: std::f64::consts::LN_10,
        };
        let layer_scale = || {
            self.layer_scale
                .map(|value| Initializer::Constant { value }.init([dim], device))
        };
        Ok(Block {
            norm1: LayerNorm::new(dim, self.epsilon, device),
            attn: Attention {
                qkv: linear(dim, 3 * dim, self.qkv_bias == QkvBias::Fused),
                q_bias: separate.then(zeros),
                v_bias: separate.then(zeros),
                scale: self
                    .cosine
                    .then(|| log_scale.init([self.heads, 1, 1], device)),
                proj: linear(dim, dim, true),
                heads: self.heads,
            },
            norm2: LayerNorm::new(dim, self.epsilon, device),
            mlp: Mlp {
                fc1: linear(dim, self.hidden, true),
                fc2: linear(self.hidden, dim, true),
            },
            gamma_1: layer_scale(),
            gamma_2: layer_scale(),
        })
    }
}

/// `x ← x + γ₁ Attention(LN(x))`, then `x ← x + γ₂ MLP(LN(x))`.
#[derive(Module, Debug)]
pub struct Block {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// Attention of all tokens to all tokens.
    pub attn: Attention,
    /// Before the multilayer perceptron.
    pub norm2: LayerNorm,
    /// The multilayer perceptron.
    pub mlp: Mlp,
    /// Layer scale of the attention, `[dim]`.
    pub gamma_1: Option<Param<Tensor<1>>>,
    /// Layer scale of the multilayer perceptron, `[dim]`.
    pub gamma_2: Option<Param<Tensor<1>>>,
}

impl Block {
    /// Tokens `[batch, tokens, dim]` to the same shape; `keep` says which branches stochastic depth
    /// leaves in.
    ///
    /// # Panics
    /// If the last axis is not `dim`.
    pub fn forward(&self, x: Tensor<3>, keep: Option<&Keep>) -> Tensor<3> {
        let branch = self.attn.forward(self.norm1.forward(x.clone()));
        let x = add(
            x,
            branch,
            self.gamma_1.as_ref(),
            keep.map(|keep| &keep.attention),
        );
        let branch = self.mlp.forward(self.norm2.forward(x.clone()));
        add(x, branch, self.gamma_2.as_ref(), keep.map(|keep| &keep.mlp))
    }
}

/// `x + γ · keep · branch`.
fn add(
    x: Tensor<3>,
    mut branch: Tensor<3>,
    gamma: Option<&Param<Tensor<1>>>,
    keep: Option<&Tensor<3>>,
) -> Tensor<3> {
    if let Some(gamma) = gamma {
        branch = branch * gamma.val().unsqueeze();
    }
    if let Some(keep) = keep {
        branch = branch * keep.clone();
    }
    x + branch
}

/// Multi-head attention of all tokens to all tokens.
#[derive(Module, Debug)]
pub struct Attention {
    /// Queries, keys, values side by side, each with its heads side by side; `dim` to `3 dim`.
    pub qkv: Linear,
    /// Bias of the queries alone, `[dim]`.
    pub q_bias: Option<Param<Tensor<1>>>,
    /// Bias of the values alone, `[dim]`.
    pub v_bias: Option<Param<Tensor<1>>>,
    /// Logarithm of each head's scale in cosine attention, `[heads, 1, 1]`.
    pub scale: Option<Param<Tensor<3>>>,
    /// The heads mixed, `dim` to `dim`.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    /// Tokens `[batch, tokens, dim]` to the same shape.
    ///
    /// # Panics
    /// If the last axis is not `dim`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let size = x.dims()[2] / self.heads;
        let qkv = match (&self.q_bias, &self.v_bias) {
            (Some(q), Some(v)) => {
                let (q, v) = (q.val(), v.val());
                let bias = Tensor::cat(vec![q.clone(), q.zeros_like(), v], 0);
                transformer::linear(x, self.qkv.weight.val(), Some(bias))
            }
            _ => self.qkv.forward(x),
        };
        let mixed = match &self.scale {
            None => transformer::attention(qkv, self.heads, (size as f64).powf(-0.5)),
            Some(scale) => {
                let scale = scale.val().clamp_max(LOG_SCALE_CAP).exp();
                transformer::attention(directions(qkv, scale, self.heads), self.heads, 1.0)
            }
        };
        self.proj.forward(mixed)
    }
}

/// Queries of length `scale`, keys of length 1, values as they are.
fn directions(qkv: Tensor<3>, scale: Tensor<3>, heads: usize) -> Tensor<3> {
    let [batch, tokens, width] = qkv.dims();
    let parts = qkv.reshape([batch, tokens, 3, heads, width / (3 * heads)]);
    let [q, k, v] = std::array::from_fn(|at| parts.clone().narrow(2, at, 1));
    let unit = |x: Tensor<5>| {
        // The floor goes below the root, whose slope at 0 is infinite.
        let square = x.clone().square().sum_dim(4);
        x / square.clamp_min(NORM_FLOOR * NORM_FLOOR).sqrt()
    };
    let q = unit(q) * scale.reshape([1, 1, 1, heads, 1]);
    Tensor::cat(vec![q, unit(k), v], 2).reshape([batch, tokens, width])
}

/// Linear, GELU, linear.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `dim` to `hidden`.
    pub fc1: Linear,
    /// `hidden` to `dim`.
    pub fc2: Linear,
}

impl Mlp {
    /// `[batch, tokens, dim]` to the same shape.
    ///
    /// # Panics
    /// If the last axis is not `dim`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(transformer::gelu(self.fc1.forward(x)))
    }
}
