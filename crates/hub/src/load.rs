//! Weights into a module, and values and gradients out of one.

use crate::{KeyMap, StateDict, convert::quoted};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Bool, DType, Device, Gradients, Int, Tensor, TensorData, kind::Basic},
};
use menagerie_core::{Error, Result};
use std::{collections::BTreeMap, fmt};

/// What may be left over when weights are loaded. A misshapen key never passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Every weight has its place and every place its weight.
    #[default]
    Strict,
    /// The file may hold more than the module, e.g. the other half of an adversarial pair.
    AllowUnexpected,
    /// The module may hold more than the file; what the file lacks keeps its initial value.
    AllowMissing,
    /// Both.
    AllowBoth,
}

impl Strictness {
    fn allows_unexpected(self) -> bool {
        matches!(self, Self::AllowUnexpected | Self::AllowBoth)
    }

    fn allows_missing(self) -> bool {
        matches!(self, Self::AllowMissing | Self::AllowBoth)
    }
}

/// How weights and module fit together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Module paths that took their value from the weights.
    pub loaded: Vec<String>,
    /// Module paths without a weight, each with the official keys that would have filled it.
    pub missing: Vec<String>,
    /// Official keys without a place in the module.
    pub unexpected: Vec<String>,
    /// Keys whose shape or kind is not the module's, with what was found and what is needed.
    pub misshapen: Vec<String>,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |name: &str, keys: &[String]| {
            let shown = 12;
            let mut text = keys[..keys.len().min(shown)].join(", ");
            if keys.len() > shown {
                text.push_str(&format!(", … and {} more", keys.len() - shown));
            }
            format!("{} {name}: {text}", keys.len())
        };
        let mut parts = vec![format!("{} loaded", self.loaded.len())];
        for (name, keys) in [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("misshapen", &self.misshapen),
        ] {
            if !keys.is_empty() {
                parts.push(list(name, keys));
            }
        }
        f.write_str(&parts.join("; "))
    }
}

/// Loads `weights` into `module`, every weight into its place and every place from a weight.
///
/// Parameter ids, devices, autodiff state and whether a parameter requires gradients stay as they
/// are. Floating-point weights of another width are converted to the parameter's.
///
/// # Errors
/// [`Error::Weights`] that lists the missing, unexpected and misshapen keys.
pub fn load<M: Module>(module: M, weights: &StateDict, map: &KeyMap) -> Result<M> {
    Ok(load_with(module, weights, map, Strictness::Strict)?.0)
}

/// [`load()`] that tolerates what `strictness` says, with a report of what went where.
///
/// # Errors
/// [`Error::Weights`] that lists the keys that are not tolerated.
pub fn load_with<M: Module>(
    module: M,
    weights: &StateDict,
    map: &KeyMap,
    strictness: Strictness,
) -> Result<(M, LoadReport)> {
    let mut places = Places::default();
    module.visit(&mut places);
    let mut converted = map.modulewards(weights);
    let mut report = LoadReport::default();

    for misfit in &converted.misfits {
        report.misshapen.push(misfit.to_string());
    }
    let spoiled = |path: &String| converted.misfits.iter().any(|m| m.targets.contains(path));
    for (path, place) in &places.found {
        let Some(data) = converted.tensors.get(path) else {
            if !spoiled(path) && !map.is_computed(path) {
                let incomplete = converted
                    .incomplete
                    .iter()
                    .find(|i| i.targets.contains(path));
                let names =
                    incomplete.map_or_else(|| map.official_names(path), |i| i.absent.clone());
                report.missing.push(if names == [path.clone()] {
                    format!("`{path}`")
                } else {
                    format!("`{path}` (official {})", quoted(&names))
                });
            }
            continue;
        };
        match place.misfit(data) {
            None => report.loaded.push(path.clone()),
            Some(problem) => {
                let keys = &converted.sources[path];
                let mapped = if *keys == [path.clone()] {
                    String::new()
                } else {
                    format!(" as `{path}`")
                };
                report
                    .misshapen
                    .push(format!("{}{mapped} {problem}", quoted(keys)));
            }
        }
    }
    for (path, keys) in &converted.sources {
        if !places.found.contains_key(path) {
            report
                .unexpected
                .extend(keys.iter().map(|key| format!("`{key}`")));
        }
    }
    for incomplete in &converted.incomplete {
        if !incomplete
            .targets
            .iter()
            .any(|path| places.found.contains_key(path))
        {
            report
                .unexpected
                .extend(incomplete.present.iter().map(|key| format!("`{key}`")));
        }
    }
    report.unexpected.dedup();

    let refused = !report.misshapen.is_empty()
        || (!strictness.allows_missing() && !report.missing.is_empty())
        || (!strictness.allows_unexpected() && !report.unexpected.is_empty());
    if refused {
        return Err(Error::Weights {
            origin: weights.origin().to_owned(),
            module: short_name::<M>().to_owned(),
            problem: report.to_string(),
        });
    }
    converted
        .tensors
        .retain(|path, _| places.found.contains_key(path));
    let mut loader = Loader {
        path: Vec::new(),
        tensors: converted.tensors,
        places: places.found,
        failed: Vec::new(),
    };
    let module = module.map(&mut loader);
    match loader.failed.first() {
        None => Ok((module, report)),
        Some(problem) => Err(Error::Weights {
            origin: weights.origin().to_owned(),
            module: short_name::<M>().to_owned(),
            problem: problem.clone(),
        }),
    }
}

/// The values of all parameters and buffers under their module paths, in the layout in which
/// they are saved.
pub fn values<M: Module>(module: &M) -> BTreeMap<String, TensorData> {
    let mut values = Values::default();
    module.visit(&mut values);
    values.found
}

/// The gradients of all parameters that require them under their module paths, in the layout of
/// [`values`]; zeros where `grads` has none, because the loss does not depend on the parameter.
pub fn gradients<M: Module>(module: &M, grads: &Gradients) -> BTreeMap<String, TensorData> {
    let mut visitor = GradientVisitor {
        path: Vec::new(),
        grads,
        found: BTreeMap::new(),
    };
    module.visit(&mut visitor);
    visitor.found
}

/// `Conv2d` of `burn_nn::modules::conv::Conv2d`.
fn short_name<M>() -> &'static str {
    let name = std::any::type_name::<M>();
    let plain = name.split('<').next().unwrap_or(name);
    plain.rsplit("::").next().unwrap_or(plain)
}

/// What a parameter needs of its weight.
#[derive(Clone, Debug)]
struct Place {
    kind: Kind,
    shape: Vec<usize>,
    /// The element type the weight is converted to; none for the device's own default.
    dtype: Option<DType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Int,
    Bool,
}

impl Kind {
    fn of(dtype: DType) -> Self {
        if dtype.is_bool() {
            Kind::Bool
        } else if dtype.is_int() || dtype.is_uint() {
            Kind::Int
        } else {
            Kind::Float
        }
    }
}

impl Place {
    fn of<const D: usize, K: Basic>(kind: Kind, param: &Param<Tensor<D, K>>) -> Self
    where
        Tensor<D, K>: burn::module::Parameter,
    {
        // What is not initialised yet reports the shape it is saved with; afterwards only the
        // save mapper knows it (a column-major `Linear` turns its weight around).
        if param.is_initialized() {
            let saved = param.transform_for_save().val();
            Self {
                kind,
                shape: saved.shape().to_vec(),
                dtype: Some(saved.dtype()),
            }
        } else {
            Self {
                kind,
                shape: param.lazy_shape().to_vec(),
                dtype: None,
            }
        }
    }

    /// What is wrong with `data`, if anything.
    fn misfit(&self, data: &TensorData) -> Option<String> {
        let shape = data.shape().to_vec();
        if shape != self.shape {
            return Some(format!(
                "has shape {shape:?}, the module needs {:?}",
                self.shape
            ));
        }
        let kind = Kind::of(data.dtype());
        // NumPy and JAX keep masks as bytes.
        let byte_mask = self.kind == Kind::Bool && data.dtype() == DType::U8;
        (kind != self.kind && !byte_mask).then(|| {
            format!(
                "has elements {:?}, the module needs {:?}",
                data.dtype(),
                self.kind
            )
        })
    }
}

#[derive(Default)]
struct Places {
    path: Vec<String>,
    found: BTreeMap<String, Place>,
}

#[derive(Default)]
struct Values {
    path: Vec<String>,
    found: BTreeMap<String, TensorData>,
}

struct GradientVisitor<'a> {
    path: Vec<String>,
    grads: &'a Gradients,
    found: BTreeMap<String, TensorData>,
}

struct Loader {
    path: Vec<String>,
    tensors: BTreeMap<String, TensorData>,
    places: BTreeMap<String, Place>,
    failed: Vec<String>,
}

/// The path is the stack of the modules that were entered.
macro_rules! track_path {
    () => {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
    };
}

impl ModuleVisitor for Places {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found
            .insert(self.path.join("."), Place::of(Kind::Float, param));
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.found
            .insert(self.path.join("."), Place::of(Kind::Int, param));
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.found
            .insert(self.path.join("."), Place::of(Kind::Bool, param));
    }
}

impl ModuleVisitor for Values {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.transform_for_save().val().to_data();
        self.found.insert(self.path.join("."), data);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let data = param.transform_for_save().val().to_data();
        self.found.insert(self.path.join("."), data);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let data = param.transform_for_save().val().to_data();
        self.found.insert(self.path.join("."), data);
    }
}

impl ModuleVisitor for GradientVisitor<'_> {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        if !value.is_require_grad() {
            return;
        }
        let gradient = value
            .grad(self.grads)
            .unwrap_or_else(|| value.without_autodiff().zeros_like());
        let (_, _, mapper) = param.clone().consume();
        let data = mapper.on_save(gradient).to_data();
        self.found.insert(self.path.join("."), data);
    }
}

impl Loader {
    fn take<const D: usize, K: Basic>(&mut self, device: &Device) -> Option<Tensor<D, K>> {
        let path = self.path.join(".");
        let data = self.tensors.remove(&path)?;
        let dtype = self.places.get(&path).and_then(|place| place.dtype);
        let data = match dtype {
            Some(dtype) => data.try_cast(dtype),
            None => Ok(data),
        };
        let data = match data {
            Ok(data) => data,
            Err(error) => {
                self.failed.push(format!("`{path}` {error}"));
                return None;
            }
        };
        Some(match dtype {
            Some(dtype) => Tensor::from_data(data, (device, dtype)),
            None => Tensor::from_data(data, device),
        })
    }
}

impl ModuleMapper for Loader {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.take(&param.lazy_device()) {
            Some(tensor) => {
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            None => param,
        }
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        match self.take(&param.lazy_device()) {
            Some(tensor) => {
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            None => param,
        }
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        match self.take(&param.lazy_device()) {
            Some(tensor) => {
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            None => param,
        }
    }
}
