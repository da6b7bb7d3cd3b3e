//! Forward passes and training steps at the published shapes.
#![allow(clippy::unwrap_used)]

use burn::{
    module::Module,
    tensor::{Device, Tensor},
    train::TrainStep,
};
use menagerie_cluster::prototype_net;
use menagerie_core::Seed;

fn main() {
    divan::main();
}

/// 250 images of 1×28×28, the batch of the official run.
#[divan::bench_group(name = "prototype_net", sample_count = 30)]
mod prototype_net_250 {
    use super::{prototype_net::*, *};
    use divan::Bencher;
    use elastic::{ElasticConfig, Fields};
    use menagerie_train::{Procedure, Supervised};
    use rand::RngExt;

    const BATCH: usize = 250;

    fn images() -> Vec<f32> {
        let mut rng = Seed(0).rng();
        (0..BATCH * 28 * 28).map(|_| rng.random()).collect()
    }

    fn examples() -> Examples {
        let labels = (0..BATCH).map(|index| index % 10).collect();
        Examples::new(images(), labels, [1, 28, 28], 10).unwrap()
    }

    fn config() -> PrototypeNetConfig {
        PrototypeNetConfig::mnist().with_initialisation(Initialisation::He)
    }

    /// Encoder, distances, scores and decoder.
    #[divan::bench]
    fn forward(bencher: Bencher) {
        let device = Device::default();
        let model = config().init(&device).unwrap();
        let images: Tensor<4> = examples().images(&device);
        bencher.bench_local(|| {
            let pass = model.forward(images.clone()).unwrap();
            (pass.logits.into_data(), pass.reconstruction.into_data())
        });
    }

    /// Forward, four losses, backward and Adam.
    #[divan::bench]
    fn step(bencher: Bencher) {
        let device = Device::default().autodiff();
        let model = config().init(&device).unwrap();
        let _ = model.num_params();
        let examples = examples();
        let all: Vec<usize> = (0..BATCH).collect();
        let batch = examples.batch(&all, &device).unwrap();
        let optimiser = TrainingConfig::published().optimizer().unwrap();
        let mut procedure = Supervised::new(model, optimiser, 2e-3, |_, _| Ok(batch.clone()));
        let mut step = 0;
        bencher.bench_local(|| {
            step += 1;
            procedure.step(step).unwrap().read().unwrap()
        });
    }

    /// The gradients alone.
    #[divan::bench]
    fn backward(bencher: Bencher) {
        let device = Device::default().autodiff();
        let model = config().init(&device).unwrap();
        let examples = examples();
        let all: Vec<usize> = (0..BATCH).collect();
        let batch = examples.batch(&all, &device).unwrap();
        bencher.bench_local(|| TrainStep::step(&model, batch.clone()).grads);
    }

    /// Noise is given, as in the peer.
    #[divan::bench]
    fn elastic(bencher: Bencher) {
        let images = images();
        let noise = Fields::draw(BATCH, [28, 28], Seed(1));
        let elastic = ElasticConfig::new().init().unwrap();
        bencher.bench_local(|| elastic.deform(&images, [1, 28, 28], &noise).unwrap());
    }
}
