//! A block: attention, MLP and how they meet the residual stream.

use super::{
    attention::{Attention, INITIAL, linear, project, residual_std},
    config::{Activation, LanguageModelConfig},
    hook::{HookPoint, Hooks, Interrupt, Site},
    layers::{Norm, Rotation},
};
use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor, activation},
};
use menagerie_nn::transformer::gelu_tanh;

/// Two linear layers with a non-linearity, gated in the newer architectures.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[hidden, mlp size]`; gated `[hidden, 2 · mlp size]`, the non-linear half first.
    pub up: Linear,
    /// `[mlp size, hidden]`.
    pub down: Linear,
    size: usize,
    gated: bool,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    fn init(config: &LanguageModelConfig, device: &Device) -> Self {
        let halves = if config.gated() { 2 } else { 1 };
        Self {
            up: linear(
                config.hidden,
                halves * config.mlp_size,
                config.mlp_bias,
                INITIAL,
                device,
            ),
            down: linear(
                config.mlp_size,
                config.hidden,
                config.mlp_bias,
                residual_std(config),
                device,
            ),
            size: config.mlp_size,
            gated: config.gated(),
            activation: config.activation,
        }
    }

    /// `x` and the result: `[batch, tokens, hidden]`.
    fn forward(
        &self,
        x: Tensor<3>,
        layer: usize,
        hooks: &mut Hooks,
    ) -> Result<Tensor<3>, Interrupt> {
        let hook = |site| HookPoint::block(layer, site);
        let up = project(&self.up, x);
        let post = if self.gated {
            let gate = hooks.at(hook(Site::MlpPre), up.clone().narrow(2, 0, self.size))?;
            let factor = up.narrow(2, self.size, self.size);
            let factor = hooks.at(hook(Site::MlpPreLinear), factor)?;
            self.activation.apply(gate) * factor
        } else {
            self.activation.apply(hooks.at(hook(Site::MlpPre), up)?)
        };
        Ok(project(&self.down, hooks.at(hook(Site::MlpPost), post)?))
    }
}

impl Activation {
    pub(crate) fn apply(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gelu => activation::gelu(x),
            Self::GeluTanh => gelu_tanh(x),
            Self::Silu => activation::silu(x),
            Self::Relu => activation::relu(x),
        }
    }
}

/// One block of a host.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm of what the attention reads.
    pub attention_norm: Norm,
    /// Attention.
    pub attention: Attention,
    /// Norm of what the attention adds (Gemma-2).
    pub attention_post_norm: Option<Norm>,
    /// Norm of what the MLP reads.
    pub mlp_norm: Norm,
    /// MLP.
    pub mlp: Mlp,
    /// Norm of what the MLP adds (Gemma-2).
    pub mlp_post_norm: Option<Norm>,
    parallel: bool,
}

impl Block {
    pub(crate) fn init(config: &LanguageModelConfig, layer: usize, device: &Device) -> Self {
        let norm = || Norm::init(config, config.hidden, device);
        let post = || config.post_norms().then(norm);
        Self {
            attention_norm: norm(),
            attention: Attention::init(config, layer, device),
            attention_post_norm: post(),
            mlp_norm: norm(),
            mlp: Mlp::init(config, device),
            mlp_post_norm: post(),
            parallel: config.parallel,
        }
    }

    /// The residual stream `[batch, tokens, hidden]` before to that after the block.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        rotation: Option<&Rotation>,
        layer: usize,
        hooks: &mut Hooks,
    ) -> Result<Tensor<3>, Interrupt> {
        let hook = |site| HookPoint::block(layer, site);
        let x = hooks.at(hook(Site::ResidPre), x)?;
        let normed = self.attention_norm.normalize(x.clone());
        let normed = hooks.at(hook(Site::AttentionNorm), normed)?;
        let read = self.attention_norm.scale(normed);
        let read = hooks.at(hook(Site::AttentionInput), read)?;
        let attended = self.attention.forward(read, rotation, layer, hooks)?;
        let attended = post(&self.attention_post_norm, attended);
        let attended = hooks.at(hook(Site::AttentionOut), attended)?;

        let (x, read) = if self.parallel {
            (x.clone() + attended, x)
        } else {
            let mid = hooks.at(hook(Site::ResidMid), x + attended)?;
            (mid.clone(), mid)
        };
        let read = hooks.at(hook(Site::MlpIn), read)?;
        let normed = self.mlp_norm.normalize(read);
        let normed = hooks.at(hook(Site::MlpNorm), normed)?;
        let read = self.mlp_norm.scale(normed);
        let read = hooks.at(hook(Site::MlpInput), read)?;
        let added = self.mlp.forward(read, layer, hooks)?;
        let added = post(&self.mlp_post_norm, added);
        let added = hooks.at(hook(Site::MlpOut), added)?;
        hooks.at(hook(Site::ResidPost), x + added)
    }
}

fn post(norm: &Option<Norm>, x: Tensor<3>) -> Tensor<3> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
