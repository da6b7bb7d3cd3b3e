//! rave: counts, options, refusals, streams, weights.

mod codes;
mod options;
mod refusals;
mod streams;
mod training;
mod weights;

use super::device;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use menagerie_codec::rave::{DiscriminatorConfig, NoiseConfig, Rave, RaveConfig};
use menagerie_core::Seed;
use menagerie_train::initialise;

/// A small model with all that a large one has.
fn small() -> RaveConfig {
    let mut config = RaveConfig::v1()
        .with_capacity(4)
        .with_latent(3)
        .with_bands(4)
        .with_sample_rate(8_000)
        .with_noise(Some(NoiseConfig::new(vec![2, 4])));
    config.ratios = vec![4, 2, 2];
    config.dilations = vec![vec![1, 3, 9]; 3];
    config
}

/// The same in the later architecture.
fn small_v2() -> RaveConfig {
    let noise = NoiseConfig::new(vec![2, 2]).with_hidden(Some(3));
    let mut config = RaveConfig::v2()
        .with_capacity(4)
        .with_latent(3)
        .with_bands(4)
        .with_sample_rate(8_000)
        .with_noise(Some(noise));
    config.ratios = vec![4, 2];
    config.dilations = vec![vec![1, 3], vec![1]];
    config
}

fn model(config: &RaveConfig) -> Rave {
    let device = device();
    initialise(&device, Seed(1), || config.init(&device)).unwrap()
}

/// Audio of `time` samples, not periodic.
fn audio(time: usize) -> Vec<f32> {
    (0..time)
        .map(|t| {
            let t = t as f32;
            0.3 * (0.05 * t).sin() + 0.2 * (0.0007 * t * t).sin()
        })
        .collect()
}

/// Trained numbers: buffers do not count.
fn num_params<M: Module>(module: &M) -> usize {
    struct Count(usize, Vec<String>);
    impl ModuleVisitor for Count {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.1.push(name.into());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.1.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !self.1.last().unwrap().starts_with("running_") {
                self.0 += param.lazy_shape().num_elements();
            }
        }
    }
    let mut count = Count(0, Vec::new());
    module.visit(&mut count);
    count.0
}

#[test]
fn published_models_have_the_published_sizes() {
    let device = device();
    for (config, encoder, decoder) in [
        (RaveConfig::v1(), 4_836_416, 12_779_442),
        (RaveConfig::v1_small(), 1_375_904, 3_432_466),
        (RaveConfig::v1_large(), 15_457_344, 48_703_410),
        (RaveConfig::v2(), 16_056_928, 15_479_072),
        (RaveConfig::v2_small(), 3_945_904, 3_816_608),
    ] {
        let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
        assert_eq!(num_params(&model.encoder), encoder, "encoder of {config:?}");
        assert_eq!(num_params(&model.decoder), decoder, "decoder of {config:?}");
    }
    for (config, periods, scales) in [
        (DiscriminatorConfig::v1(), 0, 16_917_942),
        (DiscriminatorConfig::v2(), 9_697_445, 17_433_507),
        (DiscriminatorConfig::v2_small(), 2_429_525, 4_362_195),
    ] {
        let nets = initialise(&device, Seed(1), || config.init(&device)).unwrap();
        assert_eq!(num_params(&nets.periods), periods, "{config:?}");
        assert_eq!(num_params(&nets.scales), scales, "{config:?}");
    }
}
