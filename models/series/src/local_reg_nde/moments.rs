//! Adam and AdaMax in the precision of the parameters: Burn lacks the second, and reads the state of the
//! first back in single precision.

use super::config::Optimizer;
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_hub::StateDict;
use std::collections::HashMap;
use std::path::Path;

const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;
/// The entry of a file with the number of updates.
const TIME: &str = "time";

/// Adam (Kingma and Ba, arXiv:1412.6980): `m = β₁ m + (1 - β₁) g`, `v = β₂ v + (1 - β₂) g²`, `θ -= rate
/// · (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)`; or AdaMax (section 7.1), with the largest recent gradient
/// in place of the root mean square: `v = max(β₂ v, |g|)`, `θ -= rate / (1 - β₁ᵗ) · m / (v + ε)`.
#[derive(Clone, Debug)]
pub struct Moments {
    kind: Optimizer,
    time: usize,
    /// First moment, and second moment or largest gradient, flat.
    moments: HashMap<ParamId, [Tensor<1>; 2]>,
}

impl Moments {
    /// Of no update yet.
    pub fn new(kind: Optimizer) -> Self {
        Self {
            kind,
            time: 0,
            moments: HashMap::new(),
        }
    }

    /// `module` after one update of every parameter that has a gradient.
    pub fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
        self.time += 1;
        let time = self.time.min(i32::MAX as usize) as i32;
        module.map(&mut Step {
            kind: self.kind,
            rate,
            corrections: BETAS.map(|beta| 1.0 - beta.powi(time)),
            gradients,
            moments: &mut self.moments,
        })
    }

    /// Writes the state as `.safetensors`, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut parts = vec![(TIME.to_owned(), vec![self.time as i64].as_slice().into())];
        for (id, moments) in &self.moments {
            for (name, moment) in ["first", "second"].into_iter().zip(moments) {
                parts.push((format!("{id}.{name}"), moment.clone().into_data()));
            }
        }
        StateDict::from_tensors(path.display().to_string(), parts).save_safetensors(path)
    }

    /// Takes up the state that [`save`](Self::save) wrote, on `device`.
    ///
    /// # Errors
    /// A file that is missing or malformed.
    pub fn load(&mut self, path: &Path, device: &Device) -> Result<()> {
        let file = StateDict::open(path)?;
        let device = device.clone().without_autodiff();
        let lacks = |key: &str| Error::format(path, format!("it has no `{key}`"));
        let time = file.get(TIME).and_then(|data| data.iter::<i64>().next());
        let time = time.ok_or_else(|| lacks(TIME))?;
        let mut moments = HashMap::new();
        let firsts = file.keys().filter_map(|key| key.strip_suffix(".first"));
        for name in firsts {
            let id: ParamId = name
                .parse()
                .map_err(|_| Error::format(path, format!("`{name}` is no parameter's id")))?;
            let of = |part: &str| {
                let key = format!("{name}.{part}");
                let data = file.get(&key).ok_or_else(|| lacks(&key))?;
                let dtype = data.dtype();
                Ok::<_, Error>(Tensor::from_data(data.clone(), (&device, dtype)))
            };
            moments.insert(id, [of("first")?, of("second")?]);
        }
        self.time = usize::try_from(time).unwrap_or_default();
        self.moments = moments;
        Ok(())
    }
}

struct Step<'a> {
    kind: Optimizer,
    rate: f64,
    /// What the moments are divided by: they start at zero.
    corrections: [f64; 2],
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
        let (tracked, trained) = (tensor.is_autodiff(), tensor.is_require_grad());
        let flat = [shape.num_elements()];
        let gradient = gradient.inner().reshape(flat);
        let [first, second] = match self.moments.remove(&id) {
            Some(moments) => moments,
            None => [gradient.zeros_like(), gradient.zeros_like()],
        };
        let first = first * BETAS[0] + gradient.clone() * (1.0 - BETAS[0]);
        let (second, scale) = match self.kind {
            Optimizer::Adam => {
                let second = second * BETAS[1] + gradient.square() * (1.0 - BETAS[1]);
                let scale = (second.clone() / self.corrections[1]).sqrt();
                (second, scale)
            }
            Optimizer::AdaMax => {
                let largest = (second * BETAS[1]).max_pair(gradient.abs());
                (largest.clone(), largest)
            }
        };
        let way = first.clone() / (scale + EPSILON) * (self.rate / self.corrections[0]);
        let moved: Tensor<D> = (tensor.inner().reshape(flat) - way).reshape(shape);
        self.moments.insert(id, [first, second]);
        let moved = if tracked {
            moved.autodiff().set_require_grad(trained)
        } else {
            moved
        };
        Param::from_mapped_value(id, moved, mapper)
    }
}
