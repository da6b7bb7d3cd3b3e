//! An exponential moving average of a module's weights.

use crate::checkpoint::{load_module, save_module};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, Device, Int, Tensor, container::TensorContainer};
use menagerie_core::{Error, Result};
use std::path::Path;

/// A shadow of a module whose float parameters follow the module's slowly:
/// `shadow ← decay · shadow + (1 − decay) · weight`. Integer and boolean buffers are copied.
#[derive(Clone, Debug)]
pub struct Ema<M> {
    decay: f64,
    shadow: M,
}

impl<M: Module> Ema<M> {
    /// Starts the average at the module's present weights.
    ///
    /// # Errors
    /// [`Error::Config`] if `decay` does not lie in `[0, 1]`.
    pub fn new(module: &M, decay: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&decay) {
            return Err(Error::config("Ema", "decay", decay, "must lie in [0, 1]"));
        }
        Ok(Self {
            decay,
            shadow: module.valid(),
        })
    }

    /// Moves the average towards the module's present weights.
    pub fn update(&mut self, module: &M) {
        let mut collected = Collect::default();
        module.visit(&mut collected);
        let mut blend = Blend {
            decay: self.decay,
            weights: collected.0,
        };
        self.shadow = self.shadow.clone().map(&mut blend);
    }

    /// The averaged module, without autodiff.
    pub fn module(&self) -> &M {
        &self.shadow
    }

    pub(crate) fn fork(self, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        Self {
            shadow: self.shadow.fork(&device),
            ..self
        }
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        save_module(&self.shadow, path)
    }

    pub(crate) fn load(&mut self, path: &Path) -> Result<()> {
        self.shadow = load_module(self.shadow.clone(), path)?;
        Ok(())
    }
}

#[derive(Default)]
struct Collect(TensorContainer<ParamId>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.register(param.id, param.val().without_autodiff());
    }
    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.0.register(param.id, param.val());
    }
    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.0.register(param.id, param.val());
    }
}

struct Blend {
    decay: f64,
    weights: TensorContainer<ParamId>,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.weights.remove::<Tensor<D>>(&param.id) {
            Some(weight) => param
                .map(|shadow| shadow.mul_scalar(self.decay) + weight.mul_scalar(1.0 - self.decay)),
            None => param,
        }
    }
    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        match self.weights.remove::<Tensor<D, Int>>(&param.id) {
            Some(value) => param.map(|_| value),
            None => param,
        }
    }
    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        match self.weights.remove::<Tensor<D, Bool>>(&param.id) {
            Some(value) => param.map(|_| value),
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};

    #[test]
    fn the_shadow_follows_by_the_decay() {
        let device = Device::flex().autodiff();
        let fill = |layer: Linear, value: f32| Linear {
            weight: layer.weight.map(|weight| weight.full_like(value)),
            bias: None,
        };
        let layer = fill(LinearConfig::new(2, 2).with_bias(false).init(&device), 1.0);
        let mut ema = Ema::new(&layer, 0.75).unwrap();
        let layer = fill(layer, 2.0);
        ema.update(&layer);
        ema.update(&layer);
        let shadow: Vec<f32> = ema.module().weight.val().into_data().try_to_vec().unwrap();
        assert!(shadow.iter().all(|value| (value - 1.4375).abs() < 1e-6));
        assert!(!ema.module().weight.val().is_autodiff());
        assert!(
            Ema::new(&layer, 1.5)
                .unwrap_err()
                .to_string()
                .contains("Ema.decay = 1.5")
        );
    }
}
