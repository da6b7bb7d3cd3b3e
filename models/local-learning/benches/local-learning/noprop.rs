//! 128 images of 32×32 in colour: the update of a block, the chain of ten, the updates of ten blocks at
//! once on threads of their own, and a step of back-propagation through ten.

use burn::tensor::{Device, Distribution, Tensor};
use divan::Bencher;
use menagerie_core::Seed;
use menagerie_local_learning::noprop::{
    BackpropConfig, CtConfig, DtConfig, Embedding, FmConfig, Labelled, Learner, NetworkConfig,
    NoPropDt, TrainingConfig,
};
use menagerie_train::initialise;

const IMAGES: usize = 128;

fn network() -> NetworkConfig {
    NetworkConfig::cifar10(Embedding::OneHot)
}

fn batch(device: &Device) -> Labelled {
    let normal = Distribution::Normal(0.0, 1.0);
    Labelled {
        images: Tensor::random([IMAGES, 3, 32, 32], normal, device),
        labels: (0..IMAGES).map(|at| at % 10).collect(),
    }
}

fn blocks(device: &Device) -> NoPropDt {
    let config = DtConfig::new(network());
    initialise(device, Seed(0), || config.init(device)).unwrap()
}

/// Loss, gradients and an update of block 5, or of the only one.
fn step<M: Learner>(bencher: Bencher, model: M, device: &Device) {
    let batch = batch(device);
    let mut optimiser = model.optimiser(&TrainingConfig::new()).unwrap();
    let block = model.turns() / 2;
    let mut held = Some(model);
    bencher.bench_local(|| {
        // Moved, not shared, as in training.
        let model = held.take().unwrap();
        let (gradients, scalars) = model.gradients(&batch, block, Seed(1)).unwrap();
        held = Some(optimiser.step(1e-3, model, gradients));
        scalars.read().unwrap()
    });
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn block_step(bencher: Bencher) {
    let device = Device::default().autodiff();
    step(bencher, blocks(&device), &device);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn ct_step(bencher: Bencher) {
    let device = Device::default().autodiff();
    let config = CtConfig::new(network());
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    step(bencher, model, &device);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn fm_step(bencher: Bencher) {
    let device = Device::default().autodiff();
    let config = FmConfig::new(network());
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    step(bencher, model, &device);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn backprop_step(bencher: Bencher) {
    let device = Device::default().autodiff();
    let config = BackpropConfig::new(network());
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    step(bencher, model, &device);
}

/// Gradients of all ten blocks, each on a thread of its own.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn ten_blocks_at_once(bencher: Bencher) {
    let device = Device::default().autodiff();
    let (model, batch) = (blocks(&device), batch(&device));
    bencher.bench_local(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..model.turns())
                .map(|block| {
                    let (model, batch) = (&model, &batch);
                    scope.spawn(move || {
                        let (_, scalars) = model.gradients(batch, block, Seed(1)).unwrap();
                        scalars.read().unwrap().get("loss")
                    })
                })
                .collect();
            let losses = threads.into_iter().map(|thread| thread.join().unwrap());
            losses.collect::<Vec<_>>()
        })
    });
}

/// The same, one after the other.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn ten_blocks_in_turn(bencher: Bencher) {
    let device = Device::default().autodiff();
    let (model, batch) = (blocks(&device), batch(&device));
    bencher.bench_local(|| {
        let losses = (0..model.turns()).map(|block| {
            let (_, scalars) = model.gradients(&batch, block, Seed(1)).unwrap();
            scalars.read().unwrap().get("loss")
        });
        losses.collect::<Vec<_>>()
    });
}

/// An inference: all ten blocks.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn chain(bencher: Bencher) {
    let device = Device::default();
    let (model, batch) = (blocks(&device), batch(&device));
    bencher.bench_local(|| {
        let classes = model.predict(batch.images.clone(), Seed(1)).unwrap();
        classes.into_data()
    });
}
