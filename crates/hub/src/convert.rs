//! Carrying tensors through the rules of a key map.

use crate::{
    axes::Outcome,
    key_map::Op,
    pattern::{Bindings, Pattern},
};
use burn::tensor::TensorData;
use menagerie_core::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Official patterns, module patterns, and the steps from the one to the other.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) official: Vec<Pattern>,
    pub(crate) module: Vec<Pattern>,
    pub(crate) ops: Vec<Op>,
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

impl Rule {
    pub(crate) fn inverse(&self) -> Outcome<Rule> {
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

/// The keys and tensors that one rule takes together.
type Group<'a> = BTreeMap<Slot, (&'a str, &'a TensorData)>;

/// Carries tensors through `rules`, read from their `official` to their `module` side.
pub(crate) fn convert<'a>(
    rules: &[Rule],
    tensors: impl Iterator<Item = (&'a str, &'a TensorData)>,
) -> Converted {
    let mut converted = Converted::default();
    let mut groups: BTreeMap<(usize, Bindings), Group> = BTreeMap::new();
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

    fn carry(&mut self, rule: &Rule, bindings: &Bindings, group: &Group) {
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
    pub(crate) fn finish(self, origin: &str) -> Result<BTreeMap<String, TensorData>> {
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

pub(crate) fn weights_error(origin: &str, problem: impl Into<String>) -> Error {
    Error::Weights {
        origin: origin.to_owned(),
        module: "the key map".into(),
        problem: problem.into(),
    }
}
