//! Forward passes and training steps at the published shapes.
#![allow(clippy::unwrap_used)]

use burn::{
    module::Module,
    tensor::{Device, Tensor},
    train::TrainStep,
};
use menagerie_cluster::{depict, prototype_net, stacked_geo};
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

/// 100 images of 1×28×28 and 50 maps, the batch of the official run on MNIST.
#[divan::bench_group(name = "depict", sample_count = 20)]
mod depict_mnist {
    use super::{depict::*, *};
    use divan::Bencher;
    use menagerie_nn::clustering::{Rows, Stop, assignment, lloyd};
    use menagerie_train::Procedure;
    use rand::RngExt;

    const BATCH: usize = 100;

    fn images(count: usize) -> Images {
        let mut rng = Seed(0).rng();
        let values = (0..count * 28 * 28).map(|_| rng.random_range(-1.0..1.0));
        Images::new(values.collect(), [1, 28, 28]).unwrap()
    }

    /// Rows of `count` numbers that add up to 1, `[70 000, count]`.
    fn assignments(count: usize) -> Vec<f32> {
        let mut rng = Seed(1).rng();
        let mut p: Vec<f32> = (0..70_000 * count).map(|_| rng.random::<f32>()).collect();
        for row in p.chunks_mut(count) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|value| *value /= sum);
        }
        p
    }

    /// Encoder and softmax layer.
    #[divan::bench]
    fn forward(bencher: Bencher) {
        let device = Device::default();
        let model = DepictConfig::mnist().init(&device).unwrap();
        let all: Vec<usize> = (0..BATCH).collect();
        let batch = images(BATCH).batch(&all, &device).unwrap();
        bencher.bench_local(|| model.probabilities(batch.clone()).unwrap().into_data());
    }

    /// The joint stage: noisy pass, clean pass, decoder, backward, Adam, clean assignments.
    #[divan::bench]
    fn step(bencher: Bencher) {
        let device = Device::default().autodiff();
        let model = DepictConfig::mnist().init(&device).unwrap();
        // More than one batch, so that no step closes a pass.
        let images = images(100 * BATCH);
        let config = TrainingConfig::published();
        let weights = LossWeights::new();
        let mut training =
            DepictTraining::joint(&model, &images, weights, &config, Seed(0)).unwrap();
        let mut step = 0;
        bencher.bench_local(|| {
            step += 1;
            training.step(step).unwrap().read().unwrap()
        });
    }

    /// Clean assignments of 10 000 images.
    #[divan::bench(sample_count = 3)]
    fn inference_10000(bencher: Bencher) {
        let device = Device::default();
        let model = DepictConfig::mnist().init(&device).unwrap();
        let images = images(10_000);
        let all: Vec<usize> = (0..images.len()).collect();
        bencher.bench_local(|| depict::assignments(&model, &images, &all).unwrap());
    }

    /// Frequencies and targets of 70 000 × 10 assignments.
    #[divan::bench]
    fn e_step(bencher: Bencher) {
        let p = assignments(10);
        bencher.bench_local(|| targets(&p, 10, TargetRule::Squared).unwrap());
    }

    /// 20 of Lloyd's iterations on 70 000 points of 10 values, 10 clusters.
    #[divan::bench(sample_count = 5)]
    fn k_means(bencher: Bencher) {
        let values = assignments(10);
        let points = Rows::new(&values, 10).unwrap();
        let stop = Stop {
            iterations: 20,
            tolerance: 0.0,
        };
        bencher.bench_local(|| lloyd(&points, values[..100].to_vec(), stop).unwrap());
    }

    /// The matching of 68 clusters with as many classes.
    #[divan::bench]
    fn matching(bencher: Bencher) {
        let mut rng = Seed(2).rng();
        let costs: Vec<i64> = (0..68 * 68).map(|_| -rng.random_range(0..100)).collect();
        bencher.bench_local(|| assignment(&costs, 68).unwrap());
    }
}

/// Seven bands, the number of Landsat 8.
#[divan::bench_group(name = "stacked_geo", sample_count = 30)]
mod stacked_geo_landsat8 {
    use super::{stacked_geo::*, *};
    use divan::Bencher;
    use menagerie_nn::clustering::{Rows, Stop, lloyd};
    use menagerie_train::Procedure;
    use rand::RngExt;

    fn uniform(count: usize) -> Vec<f32> {
        let mut rng = Seed(0).rng();
        (0..count).map(|_| rng.random()).collect()
    }

    /// Features of 100 000 pixels: three autoencoders.
    #[divan::bench]
    fn forward_100000(bencher: Bencher) {
        let device = Device::default();
        let stack = StackConfig::landsat8().init(&device).unwrap();
        let features = Features::Stack(stack, device);
        let pixels = uniform(100_000 * 7);
        bencher.bench_local(|| features.of(&pixels).unwrap());
    }

    /// A batch of 64: forward, penalty, backward, Adam.
    #[divan::bench(sample_count = 300)]
    fn step(bencher: Bencher) {
        let device = Device::default();
        let model = AutoencoderConfig::canonical(7).init(&device).unwrap();
        let pixels = uniform(640_000 * 7);
        let config = StageConfig::first();
        let mut training = AutoencoderTraining::new(&model, &pixels, &config, Seed(0)).unwrap();
        let mut step = 0;
        bencher.bench_local(|| {
            step += 1;
            training.step(step).unwrap().read().unwrap()
        });
    }

    /// Ten of Lloyd's iterations on a million points of two values, 7 clusters.
    #[divan::bench(sample_count = 10)]
    fn lloyd_million(bencher: Bencher) {
        let values = uniform(2_000_000);
        let points = Rows::new(&values, 2).unwrap();
        let stop = Stop {
            iterations: 10,
            tolerance: 0.0,
        };
        bencher.bench_local(|| lloyd(&points, values[..14].to_vec(), stop).unwrap());
    }

    /// The 7×7 majority filter on three million pixels of 7 classes.
    #[divan::bench(sample_count = 10)]
    fn majority_3_million(bencher: Bencher) {
        let classes = (0..1_500 * 2_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 29) as u8);
        let classes = classes.map(|class| class.min(6)).collect();
        let map = ClassMap::new(classes, [1_500, 2_000]).unwrap();
        bencher.bench_local(|| map.majority(7).unwrap());
    }
}
