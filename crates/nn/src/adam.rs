//! The update of Adam as one pass over parameter, gradient and moments.
//!
//! Written on Burn operations it is a dozen passes over memory, which for a large dictionary cost
//! more than the gradients.

use burn::tensor::Tensor;

/// The numbers of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamUpdate {
    /// The learning rate.
    pub rate: f64,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Which update this is, from 1; for the correction of the moments' bias.
    pub time: usize,
}

impl AdamUpdate {
    /// Step size and 1/√(1 - β₂ᵗ), both with the bias of the moments taken out.
    pub(crate) fn corrected(&self) -> (f64, f64) {
        let unbiased = |beta: f64| 1.0 - beta.powi(self.time.min(i32::MAX as usize) as i32);
        let step = self.rate / unbiased(self.beta_1);
        (step, unbiased(self.beta_2).sqrt().recip())
    }
}

/// Parameter, first and second moment after one update, of flat tensors `[n]` without autodiff:
/// m = β₁ m + (1 - β₁) g, v = β₂ v + (1 - β₂) g², p = p - rate · m̂ / (√v̂ + ε), as PyTorch
/// computes it.
///
/// # Panics
/// If the tensors differ in length.
pub fn adam_update(
    update: &AdamUpdate,
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    moments: [Tensor<1>; 2],
) -> [Tensor<1>; 3] {
    let len = parameter.dims();
    assert!(len == gradient.dims() && moments.iter().all(|moment| moment.dims() == len));
    #[cfg(feature = "flex")]
    if let Some(updated) = crate::flex::adam::update(update, &parameter, &gradient, &moments) {
        return updated;
    }
    plain(update, parameter, gradient, moments)
}

/// The same in Burn operations, for every backend.
pub fn plain(
    update: &AdamUpdate,
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
) -> [Tensor<1>; 3] {
    let (step, correction) = update.corrected();
    let first = first * update.beta_1 + gradient.clone() * (1.0 - update.beta_1);
    let second = second * update.beta_2 + gradient.square() * (1.0 - update.beta_2);
    let root = second.clone().sqrt() * correction + update.epsilon;
    [parameter - first.clone() / root * step, first, second]
}
