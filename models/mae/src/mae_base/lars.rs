//! LARS: the rate of each matrix in proportion to its norm.

use burn::config::Config;
use burn::optim::momentum::{Momentum, MomentumConfig, MomentumState};
use burn::optim::{LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};

/// LARS (You et al., arXiv:1708.03888) as the official code of linear probing has it: `g ← g + wd p`
/// and `g ← trust · ‖p‖ / ‖g‖ · g` for parameters of more than one axis, then `μ ← m μ + g` and `p ←
/// p − rate · μ`.
#[derive(Config, Copy, Debug, PartialEq)]
pub struct Lars {
    /// m.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// The factor of the ratio of norms.
    #[config(default = 1e-3)]
    pub trust_coefficient: f64,
    /// wd.
    #[config(default = 0.0)]
    pub weight_decay: f64,
}

impl Lars {
    /// Refuses values that no optimiser can use.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse =
            |field: &str, value: f64, rule: &str| Err(Error::config("Lars", field, value, rule));
        if !(0.0..1.0).contains(&self.momentum) {
            let rule = "must be at least 0 and below 1";
            return refuse("momentum", self.momentum, rule);
        }
        if !(self.trust_coefficient.is_finite() && self.trust_coefficient > 0.0) {
            let rule = "must be finite and above 0";
            return refuse("trust_coefficient", self.trust_coefficient, rule);
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            let rule = "must be finite and at least 0";
            return refuse("weight_decay", self.weight_decay, rule);
        }
        Ok(())
    }
}

impl Optimizer for Lars {
    type State<const D: usize> = MomentumState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        mut gradient: Tensor<D>,
        state: Option<MomentumState<D>>,
    ) -> (Tensor<D>, Option<MomentumState<D>>) {
        if D > 1 {
            gradient = gradient + tensor.clone() * self.weight_decay;
            let norm = |x: &Tensor<D>| x.clone().square().sum().sqrt();
            let (length, update) = (norm(&tensor), norm(&gradient));
            let undefined = (length.clone() * update.clone()).equal_elem(0.0);
            let ratio = (length / update * self.trust_coefficient).mask_fill(undefined, 1.0);
            gradient = gradient * ratio.unsqueeze();
        }
        let momentum = MomentumConfig {
            momentum: self.momentum,
            dampening: 0.0,
            nesterov: false,
        };
        let (velocity, state) = Momentum::new(&momentum).transform(gradient, state);
        (tensor - velocity * rate, Some(state))
    }

    fn to_device<const D: usize>(state: MomentumState<D>, device: &Device) -> MomentumState<D> {
        state.to_device(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn matrices_move_by_their_norm_and_vectors_by_their_gradient() {
        let device = Device::default();
        let lars = Lars::new().with_trust_coefficient(0.1);
        let matrix = Tensor::<2>::from_floats([[3.0, 4.0]], &device);
        let gradient = Tensor::<2>::from_floats([[0.0, 2.0]], &device);
        // The ratio is 0.1 · 5 / 2.
        let (moved, state) = lars.step(1.0, matrix, gradient.clone(), None);
        assert_eq!(values(moved.clone()), [3.0, 3.5]);
        let ratio = 0.1 * (9.0f32 + 3.5 * 3.5).sqrt() / 2.0;
        let (moved, _) = lars.step(1.0, moved, gradient.clone(), state);
        assert!((values(moved)[1] - (3.5 - 0.9 * 0.5 - 2.0 * ratio)).abs() < 1e-6);

        let zero = Tensor::<2>::zeros([1, 2], &device);
        let (moved, _) = lars.step(0.5, zero, gradient, None);
        assert_eq!(values(moved), [0.0, -1.0]);
        let vector = Tensor::<1>::from_floats([3.0], &device);
        let (moved, _) = lars.step(0.5, vector, Tensor::from_floats([2.0], &device), None);
        assert_eq!(values(moved), [2.0]);
    }

    #[test]
    fn impossible_settings_are_refused() {
        let error = Lars::new().with_momentum(1.0).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "Lars.momentum = 1.0: must be at least 0 and below 1"
        );
        let error = Lars::new().with_trust_coefficient(0.0).validate();
        assert!(error.unwrap_err().to_string().contains("trust_coefficient"));
    }
}
