//! Integration tests.
#![allow(clippy::unwrap_used)]

mod features;
mod heads;
mod training;
mod unet;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_core::Seed;
use menagerie_generative::diffusion_classifier::{Heads, UNet, UNetConfig};
use menagerie_nn::diffusion::{Diffusion, NoiseSchedule};
use menagerie_nn::noise::draw_normal;

/// The device under test: `MENAGERIE_DEVICE`, else `flex`.
pub(crate) fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or_else(|_| "flex".into());
    menagerie_core::device::parse(&name).unwrap()
}

/// The number of parameters, without drawing them.
pub(crate) fn num_params<M: Module>(module: &M) -> usize {
    use burn::module::{ModuleVisitor, Param};
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

/// Two levels on 8×8 images, attention at both, learned variances.
pub(crate) fn tiny() -> UNetConfig {
    UNetConfig::new(8, 2, 4, 8, 1, vec![1, 2])
        .with_attention_factors(vec![1, 2])
        .with_heads(Heads::Width(4))
        .with_norm_groups(4)
}

pub(crate) fn drawn(config: &UNetConfig, seed: u64, device: &Device) -> UNet {
    menagerie_train::initialise(device, Seed(seed), || config.init(device)).unwrap()
}

/// A network whose convolutions that start at 0 do not.
pub(crate) fn lively(config: &UNetConfig, seed: u64, device: &Device) -> UNet {
    use burn::module::{ModuleMapper, Param};
    struct Stir(u64);
    impl ModuleMapper for Stir {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let seed = Seed(self.0);
            param.map(|value| {
                let noise = draw_normal(value.dims(), seed, &value.device());
                value + noise * 0.1
            })
        }
    }
    drawn(config, seed, device).map(&mut Stir(1_000 * seed))
}

pub(crate) fn process() -> Diffusion {
    NoiseSchedule::Linear.diffusion(100).unwrap()
}

pub(crate) fn normal<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    draw_normal(shape, Seed(seed), &device())
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

pub(crate) fn largest<const D: usize>(tensor: Tensor<D>) -> f32 {
    values(tensor.abs().max())[0]
}
