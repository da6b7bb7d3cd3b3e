//! Holding what a case computed against what the reference recorded.

use crate::{
    Fixture,
    compare::{Outcome, Rule, compare},
};
use burn::{
    module::Module,
    tensor::{Bool, Gradients, Int, Tensor, TensorData},
};
use menagerie_core::{Error, Result};
use menagerie_hub::KeyMap;
use std::collections::{BTreeMap, BTreeSet};

/// The comparisons of one case with one fixture.
///
/// A value that is out of tolerance is noted, and the case goes on; a name that the fixture does
/// not have is an error at once.
#[derive(Debug)]
pub struct Check<'a> {
    fixture: &'a Fixture,
    within: BTreeMap<String, f64>,
    read: BTreeSet<String>,
    findings: Vec<Finding>,
}

/// One compared tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its full name, e.g. `out/recon`.
    pub name: String,
    /// `max|a − b|`.
    pub absolute: f64,
    /// `max|a − b| / max|b|`.
    pub relative: f64,
    /// Why it fails, if it does.
    pub failure: Option<String>,
}

impl<'a> Check<'a> {
    /// Nothing compared yet.
    pub fn new(fixture: &'a Fixture) -> Self {
        Self {
            fixture,
            within: BTreeMap::new(),
            read: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    /// Whether the fixture has an `out/<name>`, for results that only some of a case's files
    /// hold.
    pub fn expects(&self, name: &str) -> bool {
        self.fixture.recorded(&format!("out/{name}")).is_some()
    }

    /// Holds `out/<name>` to the absolute tolerance `tol` instead of the file's own; for the
    /// exceptions that a fixture's `tolerance` states, and to be called before the comparison.
    pub fn within(&mut self, name: &str, tol: f64) -> &mut Self {
        self.within.insert(format!("out/{name}"), tol);
        self
    }

    /// Holds the gradient of the full name `name`, e.g. `grad/encoder.weight`, to the absolute
    /// tolerance `tol` instead of the file's own: for gradients that rounding decides, with a `tol`
    /// from what rounding was measured to do. To be called before the comparison.
    pub fn gradient_within(&mut self, name: &str, tol: f64) -> &mut Self {
        self.within.insert(name.into(), tol);
        self
    }

    /// Compares a floating-point result with `out/<name>`.
    ///
    /// # Errors
    /// [`Error::Format`] where the fixture has no such tensor.
    pub fn output<const D: usize>(&mut self, name: &str, ours: Tensor<D>) -> Result<()> {
        self.output_data(name, ours.into_data())
    }

    /// Compares indices with `out/<name>`, element by element, also where that is stored as
    /// floats.
    ///
    /// # Errors
    /// [`Error::Format`] where the fixture has no such tensor.
    pub fn output_int<const D: usize>(&mut self, name: &str, ours: Tensor<D, Int>) -> Result<()> {
        self.output_data(name, ours.into_data())
    }

    /// Compares a mask with `out/<name>`, element by element, also where that is stored as
    /// floats.
    ///
    /// # Errors
    /// [`Error::Format`] where the fixture has no such tensor.
    pub fn output_bool<const D: usize>(&mut self, name: &str, ours: Tensor<D, Bool>) -> Result<()> {
        self.output_data(name, ours.into_data())
    }

    /// Compares data in host memory with `out/<name>`.
    ///
    /// # Errors
    /// [`Error::Format`] where the fixture has no such tensor.
    pub fn output_data(&mut self, name: &str, ours: TensorData) -> Result<()> {
        self.output_where(name, ours, |_| true)
    }

    /// Compares those elements of `out/<name>` whose row-major position `counts`: for results
    /// that are exact with stated exceptions, such as indices at ties.
    ///
    /// # Errors
    /// [`Error::Format`] where the fixture has no such tensor, or where no element counts.
    pub fn output_where(
        &mut self,
        name: &str,
        ours: TensorData,
        counts: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let key = format!("out/{name}");
        let rule = match self.within.get(&key) {
            Some(tol) => Rule::Absolute(*tol),
            None => Rule::Output(self.fixture.tol()),
        };
        self.hold(&key, &ours, rule, counts)
    }

    /// Compares the gradients of `module` with every `grad/<official key>` that it has.
    ///
    /// Keys of another module stay unread, for another call to read.
    ///
    /// # Errors
    /// [`Error::Weights`] where gradients do not go through `map`, [`Error::Format`] where the
    /// fixture has no gradient of this module.
    pub fn gradients<M: Module>(
        &mut self,
        module: &M,
        grads: &Gradients,
        map: &KeyMap,
    ) -> Result<()> {
        self.gradients_under("grad/", module, grads, map)
    }

    /// [`gradients`](Self::gradients) under another root, for fixtures that record the gradients
    /// of several losses, e.g. `grad_reg/`.
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients).
    pub fn gradients_under<M: Module>(
        &mut self,
        root: &str,
        module: &M,
        grads: &Gradients,
        map: &KeyMap,
    ) -> Result<()> {
        let ours = map.to_official(&menagerie_hub::gradients(module, grads))?;
        self.hold_all(root, &ours, Rule::Gradient(self.fixture.grad_tol()))
    }

    /// Compares one gradient, in the official layout, with the tensor of the full name `name`,
    /// e.g. `grad/latent.values`.
    ///
    /// # Errors
    /// [`Error::Format`] where the fixture has no such tensor.
    pub fn gradient_data(&mut self, name: &str, ours: TensorData) -> Result<()> {
        let rule = match self.within.get(name) {
            Some(tol) => Rule::Absolute(*tol),
            None => Rule::Gradient(self.fixture.grad_tol()),
        };
        self.hold(name, &ours, rule, |_| true)
    }

    /// Compares the values of `module` with every `out/<prefix><official key>` that it has, e.g.
    /// with the prefix `after_step/`.
    ///
    /// # Errors
    /// [`Error::Weights`] where values do not go through `map`, [`Error::Format`] where the
    /// fixture has no parameter of this module below the prefix.
    pub fn parameters<M: Module>(&mut self, prefix: &str, module: &M, map: &KeyMap) -> Result<()> {
        let ours = map.to_official(&menagerie_hub::values(module))?;
        self.hold_all(
            &format!("out/{prefix}"),
            &ours,
            Rule::Output(self.fixture.tol()),
        )
    }

    /// What was compared so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What was compared, and a failure for every recorded tensor that was not.
    pub fn finish(mut self) -> Vec<Finding> {
        for (name, _) in self.fixture.expected() {
            if !self.read.contains(name) {
                self.findings.push(Finding {
                    name: name.to_owned(),
                    absolute: f64::INFINITY,
                    relative: f64::INFINITY,
                    failure: Some("was not read by the case".into()),
                });
            }
        }
        self.findings
    }

    fn hold_all(
        &mut self,
        root: &str,
        ours: &BTreeMap<String, TensorData>,
        rule: Rule,
    ) -> Result<()> {
        let mut met = false;
        for (key, data) in ours {
            let name = format!("{root}{key}");
            if self.fixture.recorded(&name).is_some() {
                let rule = match self.within.get(&name) {
                    Some(tol) => Rule::Absolute(*tol),
                    None => rule,
                };
                self.hold(&name, data, rule, |_| true)?;
                met = true;
            }
        }
        if met {
            return Ok(());
        }
        let keys: Vec<&str> = ours.keys().map(String::as_str).take(8).collect();
        Err(Error::format(
            self.fixture.path(),
            format!(
                "nothing below `{root}` is of this module, which has: {}",
                keys.join(", ")
            ),
        ))
    }

    fn hold(
        &mut self,
        name: &str,
        ours: &TensorData,
        rule: Rule,
        counts: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let Some(theirs) = self.fixture.recorded(name) else {
            let known: Vec<&str> = self
                .fixture
                .expected()
                .map(|(key, _)| key)
                .take(20)
                .collect();
            return Err(Error::format(
                self.fixture.path(),
                format!(
                    "no `{name}` to hold a result against; there are: {}",
                    known.join(", ")
                ),
            ));
        };
        if theirs.num_elements() > 0 && !(0..theirs.num_elements()).any(&counts) {
            return Err(Error::input(
                format!("`{name}`"),
                "excepted as a whole",
                "at least one element must count",
            ));
        }
        let Outcome {
            absolute,
            relative,
            failure,
        } = compare(ours, theirs, rule, |position| !counts(position));
        self.read.insert(name.to_owned());
        self.findings.push(Finding {
            name: name.to_owned(),
            absolute,
            relative,
            failure,
        });
        Ok(())
    }
}
