//! AdamW as an optimiser of Burn's, in one pass over memory.

use crate::AdamConfig;
use burn::config::Config;
use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::{AdamWState, AdaptiveMomentumState, LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_nn::adam::{AdamUpdate, adam_update};

/// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101) as PyTorch computes
/// it: the parameter shrinks by the learning rate times the decay, then Adam updates it.
///
/// Burn's own AdamW makes a dozen passes over memory, which for a large model costs as much as a
/// good part of the gradients.
#[derive(Config, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the second moment.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Added to the root of the second moment.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// The weight decay.
    #[config(default = 0.01)]
    pub weight_decay: f64,
}

impl AdamW {
    /// Refuses decays that no optimiser can use.
    ///
    /// # Errors
    /// [`Error::Config`] that names the field, the value and the rule.
    pub fn validate(&self) -> Result<()> {
        AdamConfig {
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            epsilon: self.epsilon,
        }
        .validate()?;
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            let rule = "must be finite and at least 0";
            return Err(Error::config(
                "AdamW",
                "weight_decay",
                self.weight_decay,
                rule,
            ));
        }
        Ok(())
    }

    /// The optimiser of a module's parameters, with decay for those alone for which `decays(path,
    /// rank)` holds, e.g. matrices.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn grouped<M: Module>(
        self,
        module: &M,
        decays: impl Fn(&str, usize) -> bool,
    ) -> Result<ModuleOptimizer> {
        self.validate()?;
        let exempt: Vec<String> = parameters(module)
            .into_iter()
            .filter(|(path, rank)| !decays(path, *rank))
            .map(|(path, _)| path)
            .collect();
        let optimiser = ModuleOptimizer::from(self);
        if exempt.is_empty() {
            return Ok(optimiser);
        }
        let without = self.with_weight_decay(0.0);
        Ok(optimiser.with_group(ParamGroup::from_paths(exempt), without, None))
    }
}

/// Path and rank of every floating-point parameter of a module, in the order of its fields.
pub fn parameters<M: Module>(module: &M) -> Vec<(String, usize)> {
    let mut found = Parameters::default();
    module.visit(&mut found);
    found.found
}

#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    found: Vec<(String, usize)>,
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        self.found.push((self.path.join("."), D));
    }
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let shape = tensor.shape();
        let len = shape.num_elements();
        let (first, second, time) = match state {
            Some(AdamWState { momentum }) => (momentum.moment_1, momentum.moment_2, momentum.time),
            None => (tensor.zeros_like(), tensor.zeros_like(), 0),
        };
        let update = AdamUpdate {
            rate,
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            epsilon: self.epsilon,
            time: time + 1,
        };
        let shrunk = match self.weight_decay {
            0.0 => tensor,
            decay => tensor * (1.0 - rate * decay),
        };
        let moments = [first.reshape([len]), second.reshape([len])];
        let [tensor, first, second] = adam_update(
            &update,
            shrunk.reshape([len]),
            gradient.reshape([len]),
            moments,
        );
        let momentum = AdaptiveMomentumState {
            time: update.time,
            moment_1: first.reshape(shape.clone()),
            moment_2: second.reshape(shape.clone()),
            max_moment_2: None,
        };
        (tensor.reshape(shape), Some(AdamWState { momentum }))
    }

    fn to_device<const D: usize>(mut state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}
