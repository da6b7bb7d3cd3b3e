//! Reproducible weights to start from.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Int, Tensor};
use menagerie_core::{Result, Seed, device};

/// Builds a module whose random weights are decided by `seed`, also while other threads build
/// theirs.
///
/// ```
/// # use burn::{nn::LinearConfig, tensor::Device};
/// # use menagerie_core::Seed;
/// let device = Device::flex();
/// let init = || Ok(LinearConfig::new(2, 2).init(&device));
/// let one = menagerie_train::initialise(&device, Seed(1), init)?;
/// let same = menagerie_train::initialise(&device, Seed(1), init)?;
/// assert_eq!(one.weight.val().into_data(), same.weight.val().into_data());
/// # Ok::<(), menagerie_core::Error>(())
/// ```
///
/// # Errors
/// Whatever `init` reports.
pub fn initialise<M: Module>(
    device: &Device,
    seed: Seed,
    init: impl FnOnce() -> Result<M>,
) -> Result<M> {
    device::seeded(device, seed, || {
        let module = init()?;
        module.visit(&mut Touch);
        Ok(module)
    })
}

/// Makes every lazy parameter draw its value, in the order of the module's fields.
struct Touch;

impl ModuleVisitor for Touch {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let _ = param.val();
    }
    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let _ = param.val();
    }
    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let _ = param.val();
    }
}
