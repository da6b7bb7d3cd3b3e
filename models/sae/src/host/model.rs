//! The model and how it is run, read and edited.

use super::{
    attention::{INITIAL, linear, project},
    block::Block,
    config::{Architecture, LanguageModelConfig},
    hook::{HookPoint, Hooks, Interrupt, Site},
    layers::{Norm, Rotation},
};
use burn::{
    module::{Module, Param},
    nn::{Initializer, Linear},
    tensor::{Device, Int, Tensor, module},
};
use menagerie_core::{Error, Result};
use menagerie_nn::transformer;

/// A causal language model of any [`Architecture`].
#[derive(Module, Debug)]
pub struct LanguageModel {
    /// Token embeddings `[vocabulary, hidden]`.
    pub embedding: Param<Tensor<2>>,
    /// Learned positions `[context, hidden]` (GPT-2).
    pub positions: Option<Param<Tensor<2>>>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// The norm before the unembedding.
    pub final_norm: Norm,
    /// The unembedding; `None` where it is the transposed embedding.
    pub head: Option<Linear>,
    #[module(skip)]
    pub(crate) config: LanguageModelConfig,
}

impl LanguageModelConfig {
    /// A model of this configuration on `device`, weights from N(0, 0.02²), those of projections
    /// into the residual stream divided by √(2 · layers). Parameters are drawn from the device's
    /// generator; call it inside [`menagerie_train::initialise`] for a reproducible model.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<LanguageModel> {
        self.validate()?;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: INITIAL,
        };
        let head = || {
            linear(
                self.hidden,
                self.vocabulary,
                self.head_bias,
                INITIAL,
                device,
            )
        };
        Ok(LanguageModel {
            embedding: normal.init([self.vocabulary, self.hidden], device),
            positions: match self.rotary {
                Some(_) => None,
                None => Some(normal.init([self.context, self.hidden], device)),
            },
            blocks: (0..self.layers)
                .map(|layer| Block::init(self, layer, device))
                .collect(),
            final_norm: Norm::init(self, self.hidden, device),
            head: (!self.tied).then(head),
            config: self.clone(),
        })
    }
}

impl LanguageModel {
    /// Sizes and switches.
    pub fn config(&self) -> &LanguageModelConfig {
        &self.config
    }

    /// Logits `[batch, tokens, vocabulary]` of the token after each of `tokens` `[batch, tokens]`.
    ///
    /// # Errors
    /// [`Error::Input`] for an empty batch, more tokens than the context holds, or a token outside
    /// of the vocabulary.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Result<Tensor<3>> {
        self.check(&tokens)?;
        finished(self.pass(tokens, &mut Hooks::new()))
    }

    /// A run that reads, replaces and stops as `hooks` say. Logits `[batch, tokens, vocabulary]`, or
    /// `None` if it was stopped before them.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward) and of the replacements; [`Error::Input`] for a hook that
    /// the run did not meet.
    pub fn run(&self, tokens: Tensor<2, Int>, hooks: &mut Hooks) -> Result<Option<Tensor<3>>> {
        self.check(&tokens)?;
        let outcome = self.pass(tokens, hooks);
        let logits = match outcome {
            Ok(logits) => Some(logits),
            Err(Interrupt::Stop) => None,
            Err(Interrupt::Failed(error)) => return Err(error),
        };
        hooks.finish()?;
        Ok(logits)
    }

    /// The activation at `hook` `[batch, tokens, width]`, from a run that goes no further. The
    /// heads' parts lie side by side.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn activations(&self, tokens: Tensor<2, Int>, hook: &HookPoint) -> Result<Tensor<3>> {
        let mut hooks = Hooks::new().reading(*hook).stopping_at(*hook);
        self.run(tokens, &mut hooks)?;
        hooks.take(hook)
    }

    /// Logits `[batch, tokens, vocabulary]` with the activation at `hook` replaced.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn forward_with(
        &self,
        tokens: Tensor<2, Int>,
        hook: &HookPoint,
        replace: impl FnOnce(Tensor<3>) -> Result<Tensor<3>>,
    ) -> Result<Tensor<3>> {
        let mut hooks = Hooks::new().replacing(*hook, replace);
        self.run(tokens, &mut hooks)?.ok_or_else(stopped)
    }

    /// Logits `[batch, tokens, vocabulary]` from an activation `[batch, tokens, hidden]` at
    /// `blocks.{l}.hook_resid_pre` or `blocks.{l}.hook_resid_post`, without what comes before.
    ///
    /// # Errors
    /// [`Error::Input`] for another hook, or an activation of another width or length.
    pub fn continue_from(&self, hook: &HookPoint, activation: Tensor<3>) -> Result<Tensor<3>> {
        let first = match (hook.layer(), hook.site()) {
            (Some(layer), Site::ResidPre) => layer,
            (Some(layer), Site::ResidPost) => layer + 1,
            _ => {
                return Err(Error::input(
                    "the hook to continue from",
                    hook.to_string(),
                    "must be blocks.{l}.hook_resid_pre or blocks.{l}.hook_resid_post",
                ));
            }
        };
        if first > self.blocks.len() {
            return Err(Error::input(
                "the hook to continue from",
                hook.to_string(),
                format!("the model has {} blocks", self.blocks.len()),
            ));
        }
        let [batch, tokens, width] = activation.dims();
        self.check_shape(batch, tokens)?;
        if width != self.config.hidden {
            return Err(Error::input(
                "the width of the activation",
                width,
                format!("must be {}", self.config.hidden),
            ));
        }
        finished(self.pass_from(first, activation, &mut Hooks::new()))
    }

    /// The width of the activation at `hook`: the last axis of what is read there. That of attention
    /// patterns is the number of keys, at most the context, which is returned for it.
    pub fn hidden_size(&self, hook: &HookPoint) -> usize {
        let config = &self.config;
        match hook.site() {
            Site::Query | Site::RotatedQuery | Site::Z => config.heads * config.head_size,
            Site::Key | Site::RotatedKey | Site::Value => config.kv_heads * config.head_size,
            Site::Pattern => config.context,
            Site::MlpPre | Site::MlpPreLinear | Site::MlpPost => config.mlp_size,
            Site::Logits => config.vocabulary,
            Site::Embed
            | Site::PositionEmbed
            | Site::ResidPre
            | Site::AttentionNorm
            | Site::AttentionInput
            | Site::AttentionOut
            | Site::ResidMid
            | Site::MlpIn
            | Site::MlpNorm
            | Site::MlpInput
            | Site::MlpOut
            | Site::ResidPost
            | Site::FinalNorm => config.hidden,
        }
    }

    /// From tokens, which must be in range, to logits.
    pub(crate) fn pass(
        &self,
        tokens: Tensor<2, Int>,
        hooks: &mut Hooks,
    ) -> Result<Tensor<3>, Interrupt> {
        let [_, length] = tokens.dims();
        let x = module::embedding(self.embedding.val(), tokens);
        let x = match self.config.architecture {
            Architecture::Gemma2 => x * (self.config.hidden as f64).sqrt(),
            _ => x,
        };
        let mut x = hooks.at(HookPoint::model(Site::Embed), x)?;
        if let Some(positions) = &self.positions {
            let positions = positions.val().narrow(0, 0, length).unsqueeze();
            x = x + hooks.at(HookPoint::model(Site::PositionEmbed), positions)?;
        }
        self.pass_from(0, x, hooks)
    }

    /// From the residual stream before block `first` to logits.
    fn pass_from(
        &self,
        first: usize,
        x: Tensor<3>,
        hooks: &mut Hooks,
    ) -> Result<Tensor<3>, Interrupt> {
        let [_, tokens, _] = x.dims();
        let device = x.device().without_autodiff();
        let rotation = self
            .config
            .rotary
            .as_ref()
            .map(|rotary| Rotation::new(rotary, tokens, &device));
        let mut x = x;
        for (layer, block) in self.blocks.iter().enumerate().skip(first) {
            x = block.forward(x, rotation.as_ref(), layer, hooks)?;
        }
        let x = self.final_norm.normalize(x);
        let x = hooks.at(HookPoint::model(Site::FinalNorm), x)?;
        let x = self.final_norm.scale(x);
        let logits = match &self.head {
            Some(head) => project(head, x),
            None => transformer::linear(x, self.embedding.val().transpose(), None),
        };
        let logits = match self.config.logit_softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        };
        hooks.at(HookPoint::model(Site::Logits), logits)
    }

    fn check_shape(&self, batch: usize, tokens: usize) -> Result<()> {
        let limit = self.config.context;
        if batch == 0 || tokens == 0 || tokens > limit {
            return Err(Error::input(
                "the shape of the tokens",
                [batch, tokens],
                format!("must be [batch, tokens] with 1 to {limit} tokens and no empty batch"),
            ));
        }
        Ok(())
    }

    fn check(&self, tokens: &Tensor<2, Int>) -> Result<()> {
        let [batch, length] = tokens.dims();
        self.check_shape(batch, length)?;
        let read = |value: Tensor<1, Int>| {
            value
                .try_into_scalar::<i64>()
                .map_err(|error| Error::other("reading the tokens", format!("{error:?}")))
        };
        let (least, most) = (read(tokens.clone().min())?, read(tokens.clone().max())?);
        let vocabulary = self.config.vocabulary;
        match (least < 0, most >= vocabulary as i64) {
            (false, false) => Ok(()),
            (below, _) => Err(Error::input(
                "a token",
                if below { least } else { most },
                format!("must be below {vocabulary}, the size of the vocabulary, and not negative"),
            )),
        }
    }
}

/// The logits of a pass without a hook to stop at.
pub(crate) fn finished(outcome: Result<Tensor<3>, Interrupt>) -> Result<Tensor<3>> {
    match outcome {
        Ok(logits) => Ok(logits),
        Err(Interrupt::Failed(error)) => Err(error),
        Err(Interrupt::Stop) => Err(stopped()),
    }
}

fn stopped() -> Error {
    Error::other("running a language model", "stopped before its logits")
}
