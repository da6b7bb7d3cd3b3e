//! Integration tests.
#![allow(clippy::unwrap_used)]

mod color_mae;
mod color_noise;
mod dmae;
mod mae_base;
mod videomae_v2;

use burn::module::Module;
use burn::tensor::Device;

/// The device under test: `MENAGERIE_DEVICE`, else `flex`.
pub(crate) fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or_else(|_| "flex".into());
    menagerie_core::device::parse(&name).unwrap()
}

/// The number of parameters, without drawing them.
pub(crate) fn num_params<M: Module>(module: &M) -> usize {
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Tensor;
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += param.lazy_shape().num_elements();
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}
