//! The map between the names of an official checkpoint and the paths of a Burn module.

use crate::{
    StateDict,
    axes::{self, Outcome},
    pattern::{Bindings, Pattern},
};
use burn::tensor::TensorData;
use menagerie_core::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

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

/// Official patterns, module patterns, and the steps from the one to the other.
#[derive(Clone, Debug)]
struct Rule {
    official: Vec<Pattern>,
    module: Vec<Pattern>,
    ops: Vec<Op>,
}

/// What became of a set of tensors on its way through a map.
#[derive(Debug, Default)]
pub(crate) struct Converted {
    /// Tensors under their new names.
    pub(crate) tensors: BTreeMap<String, TensorData>,
    /// The old names each new name was made from.
    pub(crate) sources: BTreeMap<String, Vec<String>>,
    /// Rules that met some of their keys but not all.
    pub(crate) incomplete: Vec<Incomplete>,
    /// Rules that could not be carried out.
    pub(crate) misfits: Vec<Misfit>,
}

/// A rule of which some keys are absent.
#[derive(Debug)]
pub(crate) struct Incomplete {
    pub(crate) present: Vec<String>,
    pub(crate) absent: Vec<String>,
    pub(crate) targets: Vec<String>,
}

/// A rule whose tensors do not go through its steps.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub(crate) keys: Vec<String>,
    pub(crate) targets: Vec<String>,
    pub(crate) problem: String,
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
    /// [`Error::Weights`] that lists the keys a rule lacks and those that do not go through its
    /// steps.
    pub fn to_module(&self, weights: &StateDict) -> Result<BTreeMap<String, TensorData>> {
        self.modulewards(weights).finish(weights.origin())
    }

    /// Module tensors (values or gradients) under official keys, in the official layout.
    ///
    /// # Errors
    /// [`Error::Weights`] that lists the paths a rule lacks and those that do not go through its
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
    fn inverse(&self) -> Outcome<Op> {
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

    fn apply(&self, tensors: &[TensorData]) -> Outcome<Vec<TensorData>> {
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

impl Rule {
    fn inverse(&self) -> Outcome<Rule> {
        Ok(Rule {
            official: self.module.clone(),
            module: self.official.clone(),
            ops: self
                .ops
                .iter()
                .rev()
                .map(Op::inverse)
                .collect::<Outcome<_>>()?,
        })
    }

    /// The placeholder by which any number of keys on the `official` side is numbered.
    fn counter(&self) -> Option<&str> {
        let targets: BTreeSet<&str> = self.module.iter().flat_map(Pattern::names).collect();
        let stacks = self.ops.contains(&Op::Stack);
        self.official
            .iter()
            .flat_map(Pattern::names)
            .find(|name| stacks && !targets.contains(name))
    }

    /// Where `key` stands in the rule: its slot, and the bindings it shares with its fellows.
    fn place(&self, key: &str) -> Option<(Slot, Bindings)> {
        let counter = self.counter();
        self.official
            .iter()
            .enumerate()
            .find_map(|(position, pattern)| {
                let mut bindings = pattern.matches(key)?;
                let number = match counter {
                    Some(name) => bindings.remove(name)?.parse().ok()?,
                    None => 0,
                };
                Some(((position, number), bindings))
            })
    }

    /// The slots that a complete group fills, given the ones that are there.
    fn slots(&self, present: impl Iterator<Item = Slot>) -> Vec<Slot> {
        if self.counter().is_none() {
            return (0..self.official.len())
                .map(|position| (position, 0))
                .collect();
        }
        let last = present.map(|(_, number)| number).max().unwrap_or(0);
        // A lone number far away is one absent key to report, not a billion of them.
        (0..=last.min(1 << 16)).map(|number| (0, number)).collect()
    }

    /// The name of a slot on the `official` side.
    fn name(&self, (position, number): Slot, bindings: &Bindings) -> String {
        let mut bindings = bindings.clone();
        if let Some(name) = self.counter() {
            bindings.insert(name.to_owned(), number.to_string());
        }
        self.official
            .get(position)
            .map_or_else(String::new, |pattern| pattern.render(&bindings))
    }

    /// The names of `count` results.
    fn targets(&self, count: Option<usize>, bindings: &Bindings) -> Outcome<Vec<String>> {
        let render = |pattern: &Pattern| pattern.render(bindings);
        match (self.module.as_slice(), count) {
            (patterns, None) => Ok(patterns.iter().map(render).collect()),
            ([pattern], Some(count)) if self.ops.contains(&Op::Unstack) => {
                let counter = pattern
                    .names()
                    .find(|name| !bindings.contains_key(*name))
                    .ok_or_else(|| {
                        format!("has no number to tell rows of `{}` apart", pattern.text())
                    })?;
                Ok((0..count)
                    .map(|number| {
                        let mut bindings = bindings.clone();
                        bindings.insert(counter.to_owned(), number.to_string());
                        pattern.render(&bindings)
                    })
                    .collect())
            }
            (patterns, Some(count)) if patterns.len() == count => {
                Ok(patterns.iter().map(render).collect())
            }
            (patterns, Some(count)) => Err(format!(
                "gives {count} tensors for {} names",
                patterns.len()
            )),
        }
    }
}

/// Position among a rule's patterns, and number where any number of keys matches one pattern.
type Slot = (usize, usize);

/// Carries tensors through `rules`, read from their `official` to their `module` side.
fn convert<'a>(
    rules: &[Rule],
    tensors: impl Iterator<Item = (&'a str, &'a TensorData)>,
) -> Converted {
    let mut converted = Converted::default();
    let mut groups: BTreeMap<(usize, Bindings), BTreeMap<Slot, (&str, &TensorData)>> =
        BTreeMap::new();
    for (key, data) in tensors {
        let place = rules
            .iter()
            .enumerate()
            .find_map(|(index, rule)| Some((index, rule.place(key)?)));
        match place {
            Some((index, (slot, bindings))) => {
                let group = groups.entry((index, bindings)).or_default();
                if let Some((earlier, _)) = group.insert(slot, (key, data)) {
                    converted.misfits.push(Misfit {
                        keys: vec![earlier.to_owned(), key.to_owned()],
                        targets: Vec::new(),
                        problem: "fill the same place of one rule".into(),
                    });
                }
            }
            None => converted.put(key.to_owned(), data.clone(), vec![key.to_owned()]),
        }
    }
    for ((index, bindings), group) in groups {
        if let Some(rule) = rules.get(index) {
            converted.carry(rule, &bindings, &group);
        }
    }
    converted
}

impl Converted {
    fn put(&mut self, key: String, data: TensorData, sources: Vec<String>) {
        if let Some(earlier) = self.sources.get(&key) {
            self.misfits.push(Misfit {
                keys: earlier.iter().chain(&sources).cloned().collect(),
                problem: format!("both become `{key}`"),
                targets: vec![key],
            });
            return;
        }
        self.sources.insert(key.clone(), sources);
        self.tensors.insert(key, data);
    }

    fn carry(
        &mut self,
        rule: &Rule,
        bindings: &Bindings,
        group: &BTreeMap<Slot, (&str, &TensorData)>,
    ) {
        let keys: Vec<String> = group.values().map(|(key, _)| (*key).to_owned()).collect();
        let targets = rule.targets(None, bindings).unwrap_or_default();
        let absent: Vec<String> = rule
            .slots(group.keys().copied())
            .into_iter()
            .filter(|slot| !group.contains_key(slot))
            .map(|slot| rule.name(slot, bindings))
            .collect();
        if !absent.is_empty() {
            self.incomplete.push(Incomplete {
                present: keys,
                absent,
                targets,
            });
            return;
        }
        let start: Vec<TensorData> = group.values().map(|(_, data)| (*data).clone()).collect();
        let results = rule
            .ops
            .iter()
            .try_fold(start, |tensors, op| op.apply(&tensors))
            .and_then(|results| Ok((rule.targets(Some(results.len()), bindings)?, results)));
        match results {
            Ok((names, results)) => {
                for (name, data) in names.into_iter().zip(results) {
                    self.put(name, data, keys.clone());
                }
            }
            Err(problem) => self.misfits.push(Misfit {
                keys,
                targets,
                problem,
            }),
        }
    }

    /// All tensors, or every reason why there are not.
    fn finish(self, origin: &str) -> Result<BTreeMap<String, TensorData>> {
        let mut problems: Vec<String> = self.misfits.iter().map(Misfit::to_string).collect();
        problems.extend(self.incomplete.iter().map(Incomplete::to_string));
        if problems.is_empty() {
            return Ok(self.tensors);
        }
        Err(weights_error(origin, problems.join("; ")))
    }
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", quoted(&self.keys), self.problem)
    }
}

impl std::fmt::Display for Incomplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (present, absent) = (quoted(&self.present), quoted(&self.absent));
        write!(f, "{present} come without {absent}")
    }
}

/// `` `a`, `b` and 7 more ``, at most four names.
pub(crate) fn quoted(keys: &[String]) -> String {
    let mut text: Vec<String> = keys.iter().take(4).map(|key| format!("`{key}`")).collect();
    if keys.len() > text.len() {
        text.push(format!("{} more", keys.len() - text.len()));
    }
    text.join(", ")
}

fn weights_error(origin: &str, problem: impl Into<String>) -> Error {
    Error::Weights {
        origin: origin.to_owned(),
        module: "the key map".into(),
        problem: problem.into(),
    }
}

#[cfg(test)]
#[path = "key_map_tests.rs"]
mod tests;
