//! A pre-norm block with any of the mixers.

use super::super::attention::{LinearAttention, ReducedAttention, linear};
use super::super::fold::{before_patches, into_linear, take};
use super::super::norm::{Mode, Norm, NormConfig};
use super::super::window::WindowAttention;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_core::Result;
use menagerie_nn::vit::{Attention, Keep, Mlp};

/// How a block mixes tokens.
// A module cannot stand in a box, and a network has few of these.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Mixer {
    /// Softmax over all tokens.
    Softmax(Attention),
    /// Simplified linear attention.
    Linear(LinearAttention),
    /// Softmax inside of windows.
    Window(WindowAttention),
    /// Keys and values from a coarser grid.
    Reduced(ReducedAttention),
}

/// `x ← x + mix(norm(x))`, then `x ← x + MLP(norm(x))`.
#[derive(Module, Debug)]
pub struct Block {
    /// Before the mixer.
    pub norm1: Norm,
    /// The mixer.
    pub attn: Mixer,
    /// Before the multilayer perceptron.
    pub norm2: Norm,
    /// The multilayer perceptron.
    pub mlp: Mlp,
}

impl Block {
    pub(crate) fn new(
        mixer: Mixer,
        dim: usize,
        hidden: usize,
        norm: &NormConfig,
        device: &Device,
    ) -> Self {
        Self {
            norm1: norm.init(dim, device),
            attn: mixer,
            norm2: norm.init(dim, device),
            mlp: Mlp {
                fc1: linear(dim, hidden, true, device),
                fc2: linear(hidden, dim, true, device),
            },
        }
    }

    /// Tokens `[batch, tokens, dim]` to the same shape, all of them mixed with each other.
    ///
    /// # Panics
    /// If the shape is another.
    pub fn forward(&self, x: Tensor<3>, mode: Mode, keep: Option<&Keep>) -> Tensor<3> {
        self.forward_with(x, mode, keep, |tokens| match &self.attn {
            Mixer::Softmax(mixer) => mixer.forward(tokens),
            Mixer::Linear(mixer) => mixer.forward(tokens),
            Mixer::Window(mixer) => mixer.forward(tokens, None),
            Mixer::Reduced(mixer) => mixer.forward(tokens, mode),
        })
    }

    /// [`forward`](Self::forward) with what surrounds the mixer.
    pub(crate) fn forward_with(
        &self,
        x: Tensor<3>,
        mode: Mode,
        keep: Option<&Keep>,
        mix: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let kept = |branch: Tensor<3>, keep: Option<&Tensor<3>>| match keep {
            None => branch,
            Some(keep) => branch * keep.clone(),
        };
        let branch = mix(self.norm1.forward(x.clone(), mode));
        let x = x + kept(branch, keep.map(|keep| &keep.attention));
        let branch = self.mlp.forward(self.norm2.forward(x.clone(), mode));
        x + kept(branch, keep.map(|keep| &keep.mlp))
    }

    /// All norms, in the order of a pass.
    pub(crate) fn norms(&self) -> Vec<&Norm> {
        let inner = match &self.attn {
            Mixer::Reduced(mixer) => mixer.norm.as_ref(),
            _ => None,
        };
        [&self.norm1]
            .into_iter()
            .chain(inner)
            .chain([&self.norm2])
            .collect()
    }

    /// Folds both norms, and the one inside of a reduction.
    pub(crate) fn fold(&mut self, name: &str) -> Result<()> {
        let affine = take(&mut self.norm1, &format!("{name}.norm1"))?;
        match &mut self.attn {
            Mixer::Softmax(mixer) => into_linear(&mut mixer.qkv, &affine),
            Mixer::Linear(mixer) => into_linear(&mut mixer.qkv, &affine),
            Mixer::Window(mixer) => into_linear(&mut mixer.qkv, &affine),
            Mixer::Reduced(mixer) => {
                into_linear(&mut mixer.q, &affine);
                match (&mut mixer.sr, &mut mixer.norm) {
                    (Some(sr), Some(norm)) => {
                        before_patches(sr, &affine);
                        let inner = take(norm, &format!("{name}.attn.norm"))?;
                        into_linear(&mut mixer.kv, &inner);
                    }
                    _ => into_linear(&mut mixer.kv, &affine),
                }
            }
        }
        let affine = take(&mut self.norm2, &format!("{name}.norm2"))?;
        into_linear(&mut self.mlp.fc1, &affine);
        Ok(())
    }
}
