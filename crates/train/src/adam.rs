//! Adam whose moments can be seen and edited.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_nn::adam::{AdamUpdate, adam_update};
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, path::Path};

/// Settings of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamConfig {
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

impl Default for AdamConfig {
    /// PyTorch's defaults.
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }
}

impl AdamConfig {
    /// Refuses decays outside of [0, 1) and a negative epsilon.
    ///
    /// # Errors
    /// [`Error::Config`] that names the field, the value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: f64, rule: &str| {
            Err(Error::config("AdamConfig", field, value, rule))
        };
        for (field, value) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            if !(0.0..1.0).contains(&value) {
                return refuse(field, value, "must be at least 0 and below 1");
            }
        }
        if !(self.epsilon.is_finite() && self.epsilon >= 0.0) {
            return refuse("epsilon", self.epsilon, "must be finite and at least 0");
        }
        Ok(())
    }
}

/// Adam (Kingma and Ba, arXiv:1412.6980) as PyTorch computes it, in one pass over memory on `flex`.
///
/// Burn's own optimiser hides its moments; methods that re-initialise parts of a parameter have to
/// reset them.
#[derive(Clone, Debug)]
pub struct Adam {
    config: AdamConfig,
    time: usize,
    moments: HashMap<ParamId, [Tensor<1>; 2]>,
}

impl Adam {
    /// Without any update yet.
    ///
    /// # Errors
    /// What [`AdamConfig::validate`] reports.
    pub fn new(config: AdamConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            time: 0,
            moments: HashMap::new(),
        })
    }

    /// How many updates were made.
    pub fn time(&self) -> usize {
        self.time
    }

    /// `module` after one update of every parameter that has a gradient.
    pub fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
        self.time += 1;
        let update = AdamUpdate {
            rate,
            beta_1: self.config.beta_1,
            beta_2: self.config.beta_2,
            epsilon: self.config.epsilon,
            time: self.time,
        };
        module.map(&mut Step {
            update,
            gradients,
            moments: &mut self.moments,
        })
    }

    /// First and second moment of a parameter, flattened; `None` before its first update.
    pub fn moments(&self, id: ParamId) -> Option<&[Tensor<1>; 2]> {
        self.moments.get(&id)
    }

    /// Replaces both moments of a parameter, flattened.
    pub fn set_moments(&mut self, id: ParamId, moments: [Tensor<1>; 2]) {
        self.moments.insert(id, moments);
    }

    /// Changes both moments of a parameter `[rows, columns]`, if it has some.
    pub fn edit<const D: usize>(
        &mut self,
        id: ParamId,
        shape: [usize; D],
        change: impl Fn(Tensor<D>) -> Tensor<D>,
    ) {
        if let Some(moments) = self.moments.remove(&id) {
            let moments = moments.map(|moment| {
                let changed = change(moment.reshape(shape));
                let len = changed.dims().iter().product::<usize>();
                changed.reshape([len])
            });
            self.moments.insert(id, moments);
        }
    }

    /// Writes the state as `.safetensors`, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut parts = Vec::with_capacity(2 * self.moments.len());
        for (id, moments) in &self.moments {
            for (name, moment) in ["first", "second"].into_iter().zip(moments) {
                let data = moment.clone().into_data().convert::<f32>();
                parts.push((format!("{id}.{name}"), data));
            }
        }
        // One order for one state, whatever the map's.
        parts.sort_by(|(a, _), (b, _)| a.cmp(b));
        let views = parts.iter().map(|(name, data)| {
            let shape = data.shape().iter().copied().collect();
            TensorView::new(Dtype::F32, shape, data.as_bytes()).map(|view| (name, view))
        });
        let broken = |error: SafeTensorError| Error::format(path, error.to_string());
        let views = views.collect::<Result<Vec<_>, _>>().map_err(broken)?;
        let time = HashMap::from([(TIME.to_owned(), self.time.to_string())]);
        let bytes = safetensors::serialize(views, Some(time)).map_err(broken)?;
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
        let time = header
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(TIME)?.parse().ok())
            .ok_or_else(|| broken(format!("its metadata has no number `{TIME}`")))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
        let device = device.clone().without_autodiff();
        let read = |name: String| {
            let view = tensors
                .tensor(&name)
                .map_err(|error| broken(error.to_string()))?;
            if view.dtype() != Dtype::F32 {
                return Err(broken(format!("`{name}` is {:?}, not F32", view.dtype())));
            }
            let (values, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = values
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect();
            Ok(Tensor::<1>::from_data(values.as_slice(), &device))
        };
        let mut moments = HashMap::new();
        for name in tensors.names() {
            let Some(id) = name.strip_suffix(".first") else {
                continue;
            };
            let pair = [read(name.to_string())?, read(format!("{id}.second"))?];
            if pair[0].dims() != pair[1].dims() {
                return Err(broken(format!("the moments of `{id}` differ in length")));
            }
            let id: ParamId = id
                .parse()
                .map_err(|_| broken(format!("`{id}` is no parameter's id")))?;
            moments.insert(id, pair);
        }
        self.time = time;
        self.moments = moments;
        Ok(())
    }
}

/// The entry of the metadata with the number of updates.
const TIME: &str = "time";

struct Step<'a> {
    update: AdamUpdate,
    gradients: GradientsParams,
    moments: &'a mut HashMap<ParamId, [Tensor<1>; 2]>,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.shape();
        let strategy = tensor.gradient_checkpointing_strategy();
        let len = shape.num_elements();
        let flat = tensor.without_autodiff().reshape([len]);
        let gradient = gradient.without_autodiff().reshape([len]);
        let zeros = || [flat.zeros_like(), flat.zeros_like()];
        let moments = self.moments.remove(&id).unwrap_or_else(zeros);
        let [flat, first, second] = adam_update(&self.update, flat, gradient, moments);
        self.moments.insert(id, [first, second]);
        let tensor: Tensor<D> = flat.reshape(shape);
        let tensor = match strategy {
            // A parameter that has a gradient is one that is trained.
            Some(strategy) => tensor
                .autodiff()
                .with_gradient_checkpointing_strategy(strategy)
                .require_grad(),
            None => tensor,
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}
