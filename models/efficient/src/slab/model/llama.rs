//! A LLaMA-style language model with PRepBN in the place of root-mean-square normalisation.

use super::super::attention::{linear, weight_initializer};
use super::super::config::LlamaConfig;
use super::super::fold::{into_linear, take};
use super::super::norm::{Mode, Norm, NormKind};
use super::{check_statistics, check_trained};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use menagerie_core::{Error, Result};
use menagerie_nn::transformer::{causal_attention, cross_entropy};
use menagerie_nn::vit::Linear;

/// Causal attention with rotary positions, and a gated perceptron.
#[derive(Module, Debug)]
pub struct LlamaBlock {
    /// Before the attention.
    pub input_layernorm: Norm,
    /// Queries, `dim` to `dim`; no layer has a bias until its norm is folded.
    pub q_proj: Linear,
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// The heads mixed.
    pub o_proj: Linear,
    /// Before the perceptron.
    pub post_attention_layernorm: Norm,
    /// `dim` to `hidden`, through SiLU.
    pub gate_proj: Linear,
    /// `dim` to `hidden`.
    pub up_proj: Linear,
    /// `hidden` to `dim`.
    pub down_proj: Linear,
    #[module(skip)]
    heads: usize,
}

/// A language model.
#[derive(Module, Debug)]
pub struct Llama {
    /// `[vocabulary, dim]`.
    pub embed_tokens: Param<Tensor<2>>,
    /// The blocks.
    pub layers: Vec<LlamaBlock>,
    /// After them.
    pub norm: Norm,
    /// To the next word's scores.
    pub lm_head: Linear,
    #[module(skip)]
    config: LlamaConfig,
}

impl LlamaConfig {
    /// A model with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Llama> {
        self.validate()?;
        let (dim, hidden) = (self.dim, self.hidden);
        let layer = |inputs: usize, outputs: usize| linear(inputs, outputs, false, device);
        // Folding a norm leaves biases in the layers after it.
        let folded = self.norm.kind == NormKind::Folded;
        let after = |inputs: usize, outputs: usize| linear(inputs, outputs, folded, device);
        let block = || LlamaBlock {
            input_layernorm: self.norm.init(dim, device),
            q_proj: after(dim, dim),
            k_proj: after(dim, dim),
            v_proj: after(dim, dim),
            o_proj: layer(dim, dim),
            post_attention_layernorm: self.norm.init(dim, device),
            gate_proj: after(dim, hidden),
            up_proj: after(dim, hidden),
            down_proj: layer(hidden, dim),
            heads: self.heads,
        };
        Ok(Llama {
            embed_tokens: weight_initializer().init([self.vocabulary, dim], device),
            layers: (0..self.depth).map(|_| block()).collect(),
            norm: self.norm.init(dim, device),
            lm_head: after(dim, self.vocabulary),
            config: self.clone(),
        })
    }
}

/// Cosines and sines of the rotary positions, `[tokens, size / 2]` each.
#[derive(Clone, Debug)]
struct Rotations {
    cosines: Tensor<2>,
    sines: Tensor<2>,
}

impl Rotations {
    fn new(tokens: usize, size: usize, theta: f64, device: &Device) -> Self {
        let half = size / 2;
        let angle = |at: usize| {
            let frequency = theta.powf(-((at % half) as f64) / half as f64);
            (at / half) as f64 * frequency
        };
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = (0..tokens * half).map(|at| of(angle(at)) as f32).collect();
            Tensor::from_data(TensorData::new(values, [tokens, half]), device)
        };
        Self {
            cosines: table(f64::cos),
            sines: table(f64::sin),
        }
    }

    /// `[batch, tokens, heads · size]`, the first and the second half of every head turned against
    /// each other.
    fn apply(&self, x: Tensor<3>, heads: usize) -> Tensor<3> {
        let [batch, tokens, dim] = x.dims();
        let half = dim / heads / 2;
        let x = x.reshape([batch, tokens, heads, 2 * half]);
        let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let of = |table: &Tensor<2>| table.clone().reshape([1, tokens, 1, half]);
        let (cos, sin) = (of(&self.cosines), of(&self.sines));
        let first = a.clone() * cos.clone() - b.clone() * sin.clone();
        let second = b * cos + a * sin;
        Tensor::cat(vec![first, second], 3).reshape([batch, tokens, dim])
    }
}

impl LlamaBlock {
    fn forward(&self, x: Tensor<3>, rotations: &Rotations, mode: Mode) -> Tensor<3> {
        let size = x.dims()[2] / self.heads;
        let normed = self.input_layernorm.forward(x.clone(), mode);
        let q = rotations.apply(self.q_proj.forward(normed.clone()), self.heads);
        let k = rotations.apply(self.k_proj.forward(normed.clone()), self.heads);
        let v = self.v_proj.forward(normed);
        let qkv = Tensor::cat(vec![q, k, v], 2);
        let scale = (size as f64).powf(-0.5);
        let x = x + self
            .o_proj
            .forward(causal_attention(qkv, self.heads, self.heads, scale));
        let normed = self.post_attention_layernorm.forward(x.clone(), mode);
        let gate = activation::silu(self.gate_proj.forward(normed.clone()));
        x + self.down_proj.forward(gate * self.up_proj.forward(normed))
    }
}

impl Llama {
    /// What the model was built from.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Scores of the next word, `[batch, tokens, vocabulary]`, after each of `words [batch, tokens]`.
    ///
    /// # Errors
    /// [`Error::Input`] for no words, or a word that is not in the vocabulary.
    pub fn run(&self, words: Tensor<2, Int>, mode: Mode) -> Result<Tensor<3>> {
        let [batch, tokens] = words.dims();
        if batch * tokens == 0 {
            let rule = "must hold at least one word";
            return Err(Error::input("words", [batch, tokens], rule));
        }
        check_statistics(&[batch, tokens], tokens, mode, &self.config.norm)?;
        let values = words
            .clone()
            .try_into_vec_as::<i64>()
            .map_err(|error| Error::other("reading words", error))?;
        let vocabulary = self.config.vocabulary as i64;
        if let Some(word) = values.iter().find(|word| !(0..vocabulary).contains(*word)) {
            let rule = format!("must be below the size of the vocabulary, {vocabulary}");
            return Err(Error::input("a word", word, rule));
        }
        let table = self.embed_tokens.val();
        let dim = self.config.dim;
        let words = words.reshape([batch * tokens]);
        let words = match (table.is_autodiff(), words.is_autodiff()) {
            (true, false) => words.autodiff(),
            _ => words,
        };
        let mut x = table.select(0, words).reshape([batch, tokens, dim]);
        let size = dim / self.config.heads;
        let rotations = Rotations::new(tokens, size, self.config.theta, &x.device());
        for layer in &self.layers {
            x = layer.forward(x, &rotations, mode);
        }
        Ok(self.lm_head.forward(self.norm.forward(x, mode)))
    }

    /// The cross-entropy of every word but the first given those before it, in nats, the mean over
    /// `words [batch, tokens]`; `[1]`.
    ///
    /// # Errors
    /// [`Error::Input`] for fewer than two words in a row, or a word that is not in the vocabulary.
    pub fn loss(&self, words: Tensor<2, Int>, mode: Mode) -> Result<Tensor<1>> {
        let [batch, tokens] = words.dims();
        if batch == 0 || tokens < 2 {
            let rule = "must be rows of at least two";
            return Err(Error::input("words", [batch, tokens], rule));
        }
        let (count, vocabulary) = (tokens - 1, self.config.vocabulary);
        // Norms see the last words too, as in the official code.
        let scores = self.run(words.clone(), mode)?.narrow(1, 0, count);
        let scores = scores.reshape([batch * count, vocabulary]);
        let next = words.narrow(1, 1, count).reshape([batch * count]);
        let next = match (scores.is_autodiff(), next.is_autodiff()) {
            (true, false) => next.autodiff(),
            _ => next,
        };
        Ok(cross_entropy(scores, next).mean())
    }

    /// The same model with every norm folded into the layers after it.
    ///
    /// # Errors
    /// [`Error::Input`] if the model is on a device that records gradients, or a norm cannot be
    /// folded yet or at all.
    pub fn fold(&self) -> Result<Self> {
        check_trained(self)?;
        let mut folded = self.clone();
        for (index, layer) in folded.layers.iter_mut().enumerate() {
            let name = |part: &str| format!("model.layers.{index}.{part}");
            let affine = take(&mut layer.input_layernorm, &name("input_layernorm"))?;
            for linear in [&mut layer.q_proj, &mut layer.k_proj, &mut layer.v_proj] {
                into_linear(linear, &affine);
            }
            let after = &mut layer.post_attention_layernorm;
            let affine = take(after, &name("post_attention_layernorm"))?;
            for linear in [&mut layer.gate_proj, &mut layer.up_proj] {
                into_linear(linear, &affine);
            }
        }
        let affine = take(&mut folded.norm, "model.norm")?;
        into_linear(&mut folded.lm_head, &affine);
        folded.config.norm.kind = NormKind::Folded;
        Ok(folded)
    }
}
