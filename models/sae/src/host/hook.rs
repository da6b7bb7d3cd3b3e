//! Places in a host where activations are read and replaced, by TransformerLens' names.

use super::config::LanguageModelConfig;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};
use std::{collections::BTreeMap, fmt};

/// What is read at a [`HookPoint`]. Widths: `d` of the residual stream, `h` heads of `s`, `k` key
/// heads, `m` of the MLP, `v` tokens in the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// `hook_embed` `[batch, tokens, d]`: token embeddings (scaled in Gemma).
    Embed,
    /// `hook_pos_embed` `[1, tokens, d]`: learned position embeddings (GPT-2).
    PositionEmbed,
    /// `hook_resid_pre` `[batch, tokens, d]`: the residual stream before a block.
    ResidPre,
    /// `ln1.hook_normalized` `[batch, tokens, d]`: after LayerNorm's gain and bias, before the gain
    /// of an RMSNorm.
    AttentionNorm,
    /// `attn.hook_in` `[batch, tokens, d]`: what the attention projects, every gain applied (a name
    /// of ours; with LayerNorm the same as `ln1.hook_normalized`).
    AttentionInput,
    /// `attn.hook_q` `[batch, tokens, h·s]`: queries as projected.
    Query,
    /// `attn.hook_k` `[batch, tokens, k·s]`: keys as projected.
    Key,
    /// `attn.hook_v` `[batch, tokens, k·s]`: values.
    Value,
    /// `attn.hook_rot_q` `[batch, tokens, h·s]`: queries after norm and rotation.
    RotatedQuery,
    /// `attn.hook_rot_k` `[batch, tokens, k·s]`: keys after norm and rotation.
    RotatedKey,
    /// `attn.hook_pattern` `[batch, h·queries, keys]`: attention probabilities.
    Pattern,
    /// `attn.hook_z` `[batch, tokens, h·s]`: the heads' mixed values before the output projection.
    Z,
    /// `hook_attn_out` `[batch, tokens, d]`: what the attention adds to the residual stream.
    AttentionOut,
    /// `hook_resid_mid` `[batch, tokens, d]`: between attention and MLP; not in parallel blocks.
    ResidMid,
    /// `hook_mlp_in` `[batch, tokens, d]`: what the MLP's norm reads; a replacement leaves the
    /// residual stream as it is.
    MlpIn,
    /// `ln2.hook_normalized` `[batch, tokens, d]`: after LayerNorm's gain and bias, before the gain
    /// of an RMSNorm.
    MlpNorm,
    /// `mlp.hook_in` `[batch, tokens, d]`: what the MLP projects, every gain applied (a name of
    /// ours; with LayerNorm the same as `ln2.hook_normalized`).
    MlpInput,
    /// `mlp.hook_pre` `[batch, tokens, m]`: before the non-linearity.
    MlpPre,
    /// `mlp.hook_pre_linear` `[batch, tokens, m]`: the factor of a gated MLP.
    MlpPreLinear,
    /// `mlp.hook_post` `[batch, tokens, m]`: after the non-linearity (and the product).
    MlpPost,
    /// `hook_mlp_out` `[batch, tokens, d]`: what the MLP adds to the residual stream.
    MlpOut,
    /// `hook_resid_post` `[batch, tokens, d]`: the residual stream after a block.
    ResidPost,
    /// `ln_final.hook_normalized` `[batch, tokens, d]`: what the unembedding reads, before the gain
    /// of an RMSNorm.
    FinalNorm,
    /// `hook_logits` `[batch, tokens, v]`.
    Logits,
}

/// Sites of a model and of its blocks in the order in which a run meets them.
const BEFORE: &[(Site, &str)] = &[
    (Site::Embed, "hook_embed"),
    (Site::PositionEmbed, "hook_pos_embed"),
];
const IN_BLOCK: &[(Site, &str)] = &[
    (Site::ResidPre, "hook_resid_pre"),
    (Site::AttentionNorm, "ln1.hook_normalized"),
    (Site::AttentionInput, "attn.hook_in"),
    (Site::Query, "attn.hook_q"),
    (Site::Key, "attn.hook_k"),
    (Site::Value, "attn.hook_v"),
    (Site::RotatedQuery, "attn.hook_rot_q"),
    (Site::RotatedKey, "attn.hook_rot_k"),
    (Site::Pattern, "attn.hook_pattern"),
    (Site::Z, "attn.hook_z"),
    (Site::AttentionOut, "hook_attn_out"),
    (Site::ResidMid, "hook_resid_mid"),
    (Site::MlpIn, "hook_mlp_in"),
    (Site::MlpNorm, "ln2.hook_normalized"),
    (Site::MlpInput, "mlp.hook_in"),
    (Site::MlpPre, "mlp.hook_pre"),
    (Site::MlpPreLinear, "mlp.hook_pre_linear"),
    (Site::MlpPost, "mlp.hook_post"),
    (Site::MlpOut, "hook_mlp_out"),
    (Site::ResidPost, "hook_resid_post"),
];
const AFTER: &[(Site, &str)] = &[
    (Site::FinalNorm, "ln_final.hook_normalized"),
    (Site::Logits, "hook_logits"),
];

impl Site {
    fn exists(self, config: &LanguageModelConfig) -> bool {
        match self {
            Self::PositionEmbed => config.rotary.is_none(),
            Self::RotatedQuery | Self::RotatedKey => config.rotary.is_some(),
            Self::ResidMid => !config.parallel,
            Self::MlpPreLinear => config.gated(),
            _ => true,
        }
    }

    fn name(self) -> &'static str {
        let all = BEFORE.iter().chain(IN_BLOCK).chain(AFTER);
        let mut found = all.filter(|(site, _)| *site == self);
        found.next().map_or("", |(_, name)| *name)
    }
}

/// A place in a model where an activation can be read or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookPoint {
    layer: Option<usize>,
    site: Site,
}

impl HookPoint {
    /// The hook called `name`, e.g. `blocks.3.hook_resid_pre`, in a model of `config`.
    ///
    /// # Errors
    /// [`Error::Argument`] that lists the names that exist.
    pub fn parse(name: &str, config: &LanguageModelConfig) -> Result<Self> {
        let listed = |sites: &[(Site, &str)], name: &str| {
            sites
                .iter()
                .find(|(site, known)| *known == name && site.exists(config))
                .map(|(site, _)| *site)
        };
        if let Some(site) = listed(BEFORE, name).or_else(|| listed(AFTER, name)) {
            return Ok(Self { layer: None, site });
        }
        let in_block = name
            .strip_prefix("blocks.")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(layer, rest)| Some((layer.parse().ok()?, listed(IN_BLOCK, rest)?)));
        match in_block {
            Some((layer, site)) if layer < config.layers => Ok(Self {
                layer: Some(layer),
                site,
            }),
            _ => Err(Error::argument(
                "hook",
                name,
                format!(
                    "must be one of {}, where {{l}} is a layer from 0 to {}",
                    Self::names(config).join(", "),
                    config.layers.saturating_sub(1)
                ),
            )),
        }
    }

    /// The names of a model's hooks in the order of a run, with `{l}` for a layer.
    pub fn names(config: &LanguageModelConfig) -> Vec<String> {
        let there = |sites: &'static [(Site, &str)]| {
            sites
                .iter()
                .filter(|(site, _)| site.exists(config))
                .map(|(_, name)| *name)
        };
        there(BEFORE)
            .map(str::to_owned)
            .chain(there(IN_BLOCK).map(|name| format!("blocks.{{l}}.{name}")))
            .chain(there(AFTER).map(str::to_owned))
            .collect()
    }

    /// The block it lies in; `None` before and after the blocks.
    pub fn layer(&self) -> Option<usize> {
        self.layer
    }

    /// What is read there.
    pub fn site(&self) -> Site {
        self.site
    }

    pub(crate) fn model(site: Site) -> Self {
        Self { layer: None, site }
    }

    pub(crate) fn block(layer: usize, site: Site) -> Self {
        Self {
            layer: Some(layer),
            site,
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "blocks.{layer}.{}", self.site.name()),
            None => f.write_str(self.site.name()),
        }
    }
}

/// What takes an activation's place, computed from it.
type Replacement<'a> = Box<dyn FnOnce(Tensor<3>) -> Result<Tensor<3>> + 'a>;

/// What a run shall read, replace and where it may stop.
///
/// ```
/// # use burn::tensor::{Device, Int, Tensor};
/// use menagerie_sae::host::{HookPoint, Hooks, LanguageModelConfig};
///
/// let config = LanguageModelConfig::gpt2(11, 8, 12, 2, 3);
/// let model = config.init(&Device::default())?;
/// let [resid, z] = ["blocks.1.hook_resid_pre", "blocks.0.attn.hook_z"]
///     .map(|name| HookPoint::parse(name, &config));
/// let (resid, z) = (resid?, z?);
///
/// // Without the first head of block 0, as far as block 1.
/// let mut hooks = Hooks::new()
///     .replacing(z, |z| Ok(z.slice_fill([0..1, 0..5, 0..4], 0.0)))
///     .reading(resid)
///     .stopping_at(resid);
/// let tokens = Tensor::<2, Int>::from_ints([[1, 2, 3, 4, 5]], &Device::default());
/// assert!(model.run(tokens, &mut hooks)?.is_none());
/// assert_eq!(hooks.take(&resid)?.dims(), [1, 5, 12]);
/// # Ok::<(), menagerie_core::Error>(())
/// ```
#[derive(Default)]
pub struct Hooks<'a> {
    read: BTreeMap<HookPoint, Option<Tensor<3>>>,
    replace: BTreeMap<HookPoint, Vec<Replacement<'a>>>,
    stop: Option<HookPoint>,
}

impl<'a> Hooks<'a> {
    /// None: an ordinary run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the activation at `hook`, after any replacement.
    pub fn reading(mut self, hook: HookPoint) -> Self {
        self.read.insert(hook, None);
        self
    }

    /// Goes on with what `replace` makes of the activation, which must have the same shape. Several
    /// replacements of one hook follow each other.
    pub fn replacing(
        mut self,
        hook: HookPoint,
        replace: impl FnOnce(Tensor<3>) -> Result<Tensor<3>> + 'a,
    ) -> Self {
        self.replace
            .entry(hook)
            .or_default()
            .push(Box::new(replace));
        self
    }

    /// Ends the run after `hook`.
    pub fn stopping_at(mut self, hook: HookPoint) -> Self {
        self.stop = Some(hook);
        self
    }

    /// What was read at `hook`.
    pub fn get(&self, hook: &HookPoint) -> Option<&Tensor<3>> {
        self.read.get(hook)?.as_ref()
    }

    /// Takes what was read at `hook` out.
    ///
    /// # Errors
    /// [`Error::Input`] if nothing was read there.
    pub fn take(&mut self, hook: &HookPoint) -> Result<Tensor<3>> {
        self.read
            .get_mut(hook)
            .and_then(Option::take)
            .ok_or_else(|| {
                Error::input(
                    "the hook to take from",
                    hook.to_string(),
                    "must have been read by a run",
                )
            })
    }

    /// Whether an activation must be laid out for `hook`.
    pub(crate) fn wants(&self, hook: HookPoint) -> bool {
        self.read.contains_key(&hook) || self.replace.contains_key(&hook) || self.stop == Some(hook)
    }

    /// Shows `value` to whoever asked for `hook`; returns what to go on with.
    pub(crate) fn at(&mut self, hook: HookPoint, value: Tensor<3>) -> Result<Tensor<3>, Interrupt> {
        if !self.wants(hook) {
            return Ok(value);
        }
        let mut value = value;
        for replace in self.replace.remove(&hook).unwrap_or_default() {
            let shape = value.dims();
            value = replace(value)?;
            if value.dims() != shape {
                return Err(Error::input(
                    format!("the shape that replaces {hook}"),
                    value.dims(),
                    format!("must be {shape:?} as before"),
                )
                .into());
            }
        }
        if let Some(slot) = self.read.get_mut(&hook) {
            *slot = Some(value.clone());
        }
        match self.stop == Some(hook) {
            true => Err(Interrupt::Stop),
            false => Ok(value),
        }
    }

    /// Refuses hooks that a run of the whole model has not met.
    pub(crate) fn finish(&self) -> Result<()> {
        let unread = self.read.iter().find(|(_, value)| value.is_none());
        let left = unread
            .map(|(hook, _)| hook)
            .or_else(|| self.replace.keys().next());
        match left {
            None => Ok(()),
            Some(hook) => Err(Error::input(
                "a hook",
                hook.to_string(),
                "was not met: the model has none of that name, or the run stopped or began elsewhere",
            )),
        }
    }
}

impl fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |hooks: Vec<&HookPoint>| -> Vec<String> {
            hooks.into_iter().map(ToString::to_string).collect()
        };
        f.debug_struct("Hooks")
            .field("read", &names(self.read.keys().collect()))
            .field("replace", &names(self.replace.keys().collect()))
            .field("stop", &self.stop.map(|hook| hook.to_string()))
            .finish()
    }
}

/// Why a pass ends before the logits.
pub(crate) enum Interrupt {
    /// The hook to stop at was reached.
    Stop,
    /// Something went wrong.
    Failed(Error),
}

impl From<Error> for Interrupt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
