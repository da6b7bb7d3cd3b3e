//! The map between the names of an official checkpoint and the paths of a Burn module.

use crate::{
    StateDict,
    axes::{self, Outcome},
    convert::{Converted, Rule, convert, weights_error},
    pattern::Pattern,
};
use burn::tensor::TensorData;
use menagerie_core::Result;
use std::collections::BTreeMap;

/// A declarative map from official keys to module paths that can be read in both directions.
///
/// A rule names official keys, module paths (fields joined with dots, as
/// [`ModuleVisitor`](burn::module::ModuleVisitor) meets them) and what happens to the tensors in
/// between. Every step is a permutation, flip, cut or join, so that values and gradients go
/// through [`to_official`](Self::to_official) unchanged. The first rule that matches a key
/// decides; a key that no rule matches keeps its name.
///
/// Patterns hold placeholders that must stand on both sides:
///
/// | placeholder | stands for |
/// | --- | --- |
/// | `{name}` | text without a dot: a word, digits, or part of either |
/// | `{*name}` | text that may hold dots |
/// | `{name-1}`, `{name+1}` | an integer, one below or above the one called `name` elsewhere |
///
/// ```
/// use menagerie_hub::{KeyMap, StateDict};
/// use burn::tensor::TensorData;
///
/// let map = KeyMap::new()
///     .rename("encoder_f{i}", "encoder.convs.{i-1}.weight")
///     .split("attn.qkv.bias", ["q.bias", "k.bias", "v.bias"], 0)
///     .ignore("*.num_batches_tracked");
/// let official = StateDict::from_tensors("example", [
///     ("encoder_f1".to_string(), TensorData::from([7f32])),
///     ("attn.qkv.bias".to_string(), TensorData::from([1f32, 2., 3.])),
///     ("bn.num_batches_tracked".to_string(), TensorData::from([100i64])),
/// ]);
/// let module = map.to_module(&official)?;
/// assert_eq!(module["encoder.convs.0.weight"], TensorData::from([7f32]));
/// assert_eq!(module["k.bias"], TensorData::from([2f32]));
/// assert_eq!(map.to_official(&module)?["attn.qkv.bias"], TensorData::from([1f32, 2., 3.]));
/// # Ok::<(), menagerie_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeyMap {
    rules: Vec<Rule>,
    ignored: Vec<Pattern>,
    computed: Vec<Pattern>,
}

/// One step between official tensors and module tensors, read from official to module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Axis `k` of the result is axis `axes[k]` of each tensor.
    Permute(Vec<usize>),
    /// Each tensor reversed along the axes.
    Flip(Vec<usize>),
    /// An axis of extent 1 taken out.
    Squeeze(usize),
    /// An axis of extent 1 put in.
    Unsqueeze(usize),
    /// One tensor cut along `axis` into parts whose extents are in proportion to `shares`.
    Split {
        /// The axis that is cut.
        axis: usize,
        /// The proportion of the parts, e.g. `[1, 1, 1]` or, with grouped keys, `[4, 1, 1]`.
        shares: Vec<usize>,
    },
    /// Several tensors joined along `axis`; their extents are in proportion to `shares`.
    Concat {
        /// The axis along which the tensors are joined.
        axis: usize,
        /// The proportion of the parts.
        shares: Vec<usize>,
    },
    /// Any number of tensors of one shape laid along a new first axis.
    Stack,
    /// One tensor taken apart along its first axis.
    Unstack,
}

impl KeyMap {
    /// The map under which every key keeps its name.
    pub fn identity() -> Self {
        Self::default()
    }

    /// A map without rules, to add them to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names differ, tensors do not.
    pub fn rename(self, official: &str, module: &str) -> Self {
        self.rule([official], [module], [])
    }

    /// Axis `k` of the module's tensor is axis `axes[k]` of the official one.
    pub fn permute(self, official: &str, module: &str, axes: &[usize]) -> Self {
        self.rule([official], [module], [Op::Permute(axes.to_vec())])
    }

    /// A matrix that the module holds transposed, such as PyTorch's `[outputs, inputs]` in
    /// Burn's `Linear`.
    pub fn transpose(self, official: &str, module: &str) -> Self {
        self.permute(official, module, &[1, 0])
    }

    /// `weight` and `bias` of a linear layer, PyTorch's `[outputs, inputs]` in a module's `[inputs,
    /// outputs]`; a layer without a bias has no such key on either side.
    pub fn linear(self, official: &str, module: &str) -> Self {
        self.transpose(&format!("{official}.weight"), &format!("{module}.weight"))
            .rename(&format!("{official}.bias"), &format!("{module}.bias"))
    }

    /// `weight` and `bias` under other names: norms and convolutions.
    pub fn affine(self, official: &str, module: &str) -> Self {
        ["weight", "bias"].iter().fold(self, |map, part| {
            map.rename(&format!("{official}.{part}"), &format!("{module}.{part}"))
        })
    }

    /// The official tensor reversed along `flipped`, then permuted: a transposed convolution
    /// kept as the convolution it is the adjoint of.
    pub fn flip_permute(
        self,
        official: &str,
        module: &str,
        flipped: &[usize],
        axes: &[usize],
    ) -> Self {
        let ops = [Op::Flip(flipped.to_vec()), Op::Permute(axes.to_vec())];
        self.rule([official], [module], ops)
    }

    /// One official tensor in equal parts along `axis`, such as a fused query, key and value.
    pub fn split<const N: usize>(self, official: &str, module: [&str; N], axis: usize) -> Self {
        let shares = vec![1; N];
        self.rule([official], module, [Op::Split { axis, shares }])
    }

    /// Official tensors of equal shape joined along `axis` into one of the module's.
    pub fn merge<const N: usize>(self, official: [&str; N], module: &str, axis: usize) -> Self {
        let shares = vec![1; N];
        self.rule(official, [module], [Op::Concat { axis, shares }])
    }

    /// Official tensors `[k, …]`, numbered from 0 by the placeholder that `module` lacks, as one
    /// tensor `[n, k, …]`.
    ///
    /// `stack("values.{j}", "latent.values")` takes `values.0`, `values.1`, … in that order;
    /// write `{j+1}` where they are numbered from 1.
    pub fn stack(self, official: &str, module: &str) -> Self {
        self.rule([official], [module], [Op::Stack])
    }

    /// The general rule: `ops` lead, in order, from the official tensors to the module's.
    ///
    /// A fused projection whose parts the module holds transposed is
    /// `rule(["qkv.weight"], ["q.weight", "k.weight", "v.weight"],
    /// [Op::Split { axis: 0, shares: vec![1, 1, 1] }, Op::Permute(vec![1, 0])])`.
    pub fn rule<'a>(
        mut self,
        official: impl IntoIterator<Item = &'a str>,
        module: impl IntoIterator<Item = &'a str>,
        ops: impl IntoIterator<Item = Op>,
    ) -> Self {
        self.rules.push(Rule {
            official: official.into_iter().map(Pattern::new).collect(),
            module: module.into_iter().map(Pattern::new).collect(),
            ops: ops.into_iter().collect(),
        });
        self
    }

    /// Official keys that the module has no use for; `*` stands for any text.
    pub fn ignore(mut self, official: &str) -> Self {
        self.ignored.push(Pattern::new(official));
        self
    }

    /// Module paths that `init` computes and checkpoints need not hold, such as fixed position
    /// embeddings; `*` stands for any text.
    pub fn computed(mut self, module: &str) -> Self {
        self.computed.push(Pattern::new(module));
        self
    }

    /// The rules of `other` after those of this map.
    pub fn and(mut self, other: KeyMap) -> Self {
        self.rules.extend(other.rules);
        self.ignored.extend(other.ignored);
        self.computed.extend(other.computed);
        self
    }

    /// Official weights under module paths, in the module's layout.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Weights`] that lists the keys a rule lacks and those that do not go through its
    /// steps.
    pub fn to_module(&self, weights: &StateDict) -> Result<BTreeMap<String, TensorData>> {
        self.modulewards(weights).finish(weights.origin())
    }

    /// Module tensors (values or gradients) under official keys, in the official layout.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Weights`] that lists the paths a rule lacks and those that do not go through its
    /// steps.
    pub fn to_official(
        &self,
        tensors: &BTreeMap<String, TensorData>,
    ) -> Result<BTreeMap<String, TensorData>> {
        let rules: Vec<Rule> = self
            .rules
            .iter()
            .map(Rule::inverse)
            .collect::<Outcome<_>>()
            .map_err(|problem| weights_error("the module's tensors", problem))?;
        let tensors = tensors.iter().map(|(path, data)| (path.as_str(), data));
        convert(&rules, tensors).finish("the module's tensors")
    }

    pub(crate) fn modulewards(&self, weights: &StateDict) -> Converted {
        let wanted = weights
            .iter()
            .filter(|(key, _)| !self.ignored.iter().any(|glob| glob.matches(key).is_some()));
        convert(&self.rules, wanted)
    }

    /// Whether a checkpoint need not hold `path`.
    pub(crate) fn is_computed(&self, path: &str) -> bool {
        self.computed
            .iter()
            .any(|glob| glob.matches(path).is_some())
    }

    /// The official keys that `path` is made from, as far as the rules tell.
    pub(crate) fn official_names(&self, path: &str) -> Vec<String> {
        self.rules
            .iter()
            .find_map(|rule| {
                let bindings = rule.module.iter().find_map(|p| p.matches(path))?;
                Some(rule.official.iter().map(|p| p.render(&bindings)).collect())
            })
            .unwrap_or_else(|| vec![path.to_owned()])
    }
}

impl Op {
    /// The step that undoes this one.
    pub(crate) fn inverse(&self) -> Outcome<Op> {
        Ok(match self {
            Op::Permute(axes) => Op::Permute(axes::inverse(axes)?),
            Op::Flip(axes) => Op::Flip(axes.clone()),
            Op::Squeeze(axis) => Op::Unsqueeze(*axis),
            Op::Unsqueeze(axis) => Op::Squeeze(*axis),
            Op::Split { axis, shares } => Op::Concat {
                axis: *axis,
                shares: shares.clone(),
            },
            Op::Concat { axis, shares } => Op::Split {
                axis: *axis,
                shares: shares.clone(),
            },
            Op::Stack => Op::Unstack,
            Op::Unstack => Op::Stack,
        })
    }

    pub(crate) fn apply(&self, tensors: &[TensorData]) -> Outcome<Vec<TensorData>> {
        let each =
            |op: &dyn Fn(&TensorData) -> Outcome<TensorData>| tensors.iter().map(op).collect();
        match self {
            Op::Permute(axes) => each(&|data| axes::permute(data, axes)),
            Op::Flip(axes) => each(&|data| axes::flip(data, axes)),
            Op::Squeeze(axis) => each(&|data| axes::squeeze(data, *axis)),
            Op::Unsqueeze(axis) => each(&|data| axes::unsqueeze(data, *axis)),
            Op::Split { axis, shares } => axes::split(only(tensors)?, *axis, shares),
            Op::Concat { axis, shares } => Ok(vec![axes::concat(tensors, *axis, shares)?]),
            Op::Stack => {
                let rows: Vec<_> = tensors
                    .iter()
                    .map(|data| axes::unsqueeze(data, 0))
                    .collect::<Outcome<_>>()?;
                Ok(vec![axes::concat(&rows, 0, &vec![1; rows.len()])?])
            }
            Op::Unstack => {
                let data = only(tensors)?;
                let rows = *data
                    .shape()
                    .to_vec()
                    .first()
                    .ok_or("is a scalar: no axis to take apart")?;
                axes::split(data, 0, &vec![1; rows])?
                    .iter()
                    .map(|row| axes::squeeze(row, 0))
                    .collect()
            }
        }
    }
}

fn only(tensors: &[TensorData]) -> Outcome<&TensorData> {
    match tensors {
        [data] => Ok(data),
        _ => Err(format!(
            "are {} tensors where the rule takes apart one",
            tensors.len()
        )),
    }
}

#[cfg(test)]
#[path = "key_map_tests.rs"]
mod tests;
