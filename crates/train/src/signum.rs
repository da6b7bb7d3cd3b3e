//! Steps by the gradient's sign, without a schedule.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, path::Path};

/// Settings of [`Signum`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignumConfig {
    /// How near to the average the gradient is taken, β.
    pub momentum: f64,
}

impl Default for SignumConfig {
    /// sparsify's 0.95.
    fn default() -> Self {
        Self { momentum: 0.95 }
    }
}

impl SignumConfig {
    /// Refuses a momentum outside of (0, 1).
    ///
    /// # Errors
    /// [`Error::Config`] that names the field, the value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !(self.momentum > 0.0 && self.momentum < 1.0) {
            let rule = "must be above 0 and below 1";
            return Err(Error::config(
                "SignumConfig",
                "momentum",
                self.momentum,
                rule,
            ));
        }
        Ok(())
    }
}

/// Schedule-free sign descent: sign-SGD (Bernstein et al., arXiv:1802.04434) inside the averaging of
/// Defazio et al. (*The Road Less Scheduled*, arXiv:2405.15682), as sparsify trains by default.
///
/// A base point z takes the steps, z ← z - rate · sign(g). The average x of the base points, weighted
/// by the square of the largest rate so far, is what is used in the end; gradients are taken at
/// y = (1 - β) z + β x, which is what the module holds while it is trained. [`averaged`](Self::averaged)
/// gives the module with x.
#[derive(Clone, Debug)]
pub struct Signum {
    config: SignumConfig,
    state: State,
    base: HashMap<ParamId, Tensor<1>>,
}

/// What the weights of the average depend on.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct State {
    largest_rate: f64,
    weights: f64,
}

impl Signum {
    /// Without any update yet.
    ///
    /// # Errors
    /// What [`SignumConfig::validate`] reports.
    pub fn new(config: SignumConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            state: State::default(),
            base: HashMap::new(),
        })
    }

    /// `module`, at y, after one update of every parameter that has a gradient.
    pub fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
        self.state.largest_rate = self.state.largest_rate.max(rate);
        let weight = self.state.largest_rate.powi(2);
        self.state.weights += weight;
        // Rates of 0 from the start leave nothing to average.
        let share = match self.state.weights > 0.0 {
            true => weight / self.state.weights,
            false => 0.0,
        };
        module.map(&mut Step {
            rate,
            share,
            momentum: self.config.momentum,
            gradients,
            base: &mut self.base,
        })
    }

    /// `module`, at y, with the average x of the base points in its place.
    pub fn averaged<M: Module>(&self, module: M) -> M {
        module.map(&mut Averaged {
            momentum: self.config.momentum,
            base: &self.base,
        })
    }

    /// Writes the state as `.safetensors`, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut parts: Vec<(String, TensorData)> = self
            .base
            .iter()
            .map(|(id, base)| (id.to_string(), base.clone().into_data().convert::<f32>()))
            .collect();
        // One order for one state, whatever the map's.
        parts.sort_by(|(a, _), (b, _)| a.cmp(b));
        let broken = |error: safetensors::SafeTensorError| Error::format(path, error.to_string());
        let views = parts.iter().map(|(name, data)| {
            let shape = data.shape().iter().copied().collect();
            TensorView::new(Dtype::F32, shape, data.as_bytes()).map(|view| (name, view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(broken)?;
        let state = serde_json::to_string(&self.state)
            .map_err(|error| Error::format(path, error.to_string()))?;
        let state = HashMap::from([(STATE.to_owned(), state)]);
        let bytes = safetensors::serialize(views, Some(state)).map_err(broken)?;
        menagerie_core::fs::write(path, bytes)
    }

    /// Takes up the state that [`save`](Self::save) wrote, on `device`.
    ///
    /// # Errors
    /// A file that is missing or malformed.
    pub fn load(&mut self, path: &Path, device: &Device) -> Result<()> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let broken = |problem: String| Error::format(path, problem);
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|error| broken(error.to_string()))?;
        let state = header
            .metadata()
            .as_ref()
            .and_then(|entries| serde_json::from_str(entries.get(STATE)?).ok())
            .ok_or_else(|| broken(format!("its metadata has no entry `{STATE}`")))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
        let device = device.clone().without_autodiff();
        let mut base = HashMap::new();
        for (name, view) in tensors.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(broken(format!("`{name}` is {:?}, not F32", view.dtype())));
            }
            let id: ParamId = name
                .parse()
                .map_err(|_| broken(format!("`{name}` is no parameter's id")))?;
            let (values, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = values
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect();
            base.insert(id, Tensor::from_data(values.as_slice(), &device));
        }
        self.state = state;
        self.base = base;
        Ok(())
    }
}

/// The entry of the metadata with the weights of the average.
const STATE: &str = "state";

struct Step<'a> {
    rate: f64,
    share: f64,
    momentum: f64,
    gradients: GradientsParams,
    base: &'a mut HashMap<ParamId, Tensor<1>>,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let id = param.id;
        edited(param, |y| {
            let [len] = y.dims();
            let gradient = gradient.without_autodiff().reshape([len]);
            let base = self.base.remove(&id).unwrap_or_else(|| y.clone());
            let x = average(y, &base, self.momentum);
            let base = base - gradient.sign() * self.rate;
            let x = x.clone() + (base.clone() - x) * self.share;
            let y = x.clone() + (base.clone() - x) * (1.0 - self.momentum);
            self.base.insert(id, base);
            y
        })
    }
}

struct Averaged<'a> {
    momentum: f64,
    base: &'a HashMap<ParamId, Tensor<1>>,
}

impl ModuleMapper for Averaged<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.base.get(&param.id) {
            Some(base) => edited(param, |y| average(y, base, self.momentum)),
            None => param,
        }
    }
}

/// x, of y = (1 - β) z + β x.
fn average(y: Tensor<1>, base: &Tensor<1>, momentum: f64) -> Tensor<1> {
    y.clone() + (base.clone() - y) * (1.0 - 1.0 / momentum)
}

/// A parameter whose flattened value `change` replaces; it keeps its identity and is trained as
/// before.
fn edited<const D: usize>(
    param: Param<Tensor<D>>,
    change: impl FnOnce(Tensor<1>) -> Tensor<1>,
) -> Param<Tensor<D>> {
    let (id, tensor, mapper) = param.consume();
    let shape = tensor.shape();
    let strategy = tensor.gradient_checkpointing_strategy();
    let trained = tensor.is_require_grad();
    let flat = tensor.without_autodiff().reshape([shape.num_elements()]);
    let tensor: Tensor<D> = change(flat).reshape(shape);
    let tensor = match strategy {
        Some(strategy) => tensor
            .autodiff()
            .with_gradient_checkpointing_strategy(strategy)
            .set_require_grad(trained),
        None => tensor,
    };
    Param::from_mapped_value(id, tensor, mapper)
}
