//! Sixteen layers of 32 filters on 256 maps of 32²: one after the other, beside each other, and as one
//! convolution; and the forward pass and step of the reproduction's largest stack.

use burn::tensor::{Device, Distribution, Tensor};
use divan::Bencher;
use menagerie_core::Seed;
use menagerie_theory::shallow::{
    Form, LabelledImages, Objective, ResidualStack, ShallowConfig, TrainingConfig,
};
use menagerie_train::{Procedure, Supervised, initialise};

fn published(device: &Device) -> (ResidualStack, Tensor<4>) {
    let config = ShallowConfig::cifar10(16, 32, 3);
    let model = initialise(device, Seed(0), || config.init(device)).unwrap();
    let normal = Distribution::Normal(0.0, 1.0);
    (model, Tensor::random([256, 3, 32, 32], normal, device))
}

fn features(bencher: Bencher, form: Form) {
    let device = Device::default();
    let (model, images) = published(&device);
    let model = model.to_form(form);
    bencher.bench_local(|| model.features(images.clone()).unwrap().into_data());
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn sequential_16(bencher: Bencher) {
    features(bencher, Form::Sequential);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn parallel_16(bencher: Bencher) {
    features(bencher, Form::Parallel);
}

/// One convolution of 512 filters, the activation, and the sum of 16 blocks.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn fused_16(bencher: Bencher) {
    let device = Device::default();
    let (model, images) = published(&device);
    let fused = model.fused_parallel();
    bencher.bench_local(|| fused.features(images.clone()).unwrap().into_data());
}

fn small() -> ShallowConfig {
    ShallowConfig::new(1, 14, 16, 8)
}

fn examples() -> LabelledImages {
    let pixels = (0..64 * 196).map(|at| (at * 7919 % 256) as f32 / 255.0);
    let labels = (0..64).map(|at| at % 10);
    LabelledImages::new(pixels.collect(), [1, 14, 14], labels.collect()).unwrap()
}

/// 64 images of 14², 16 layers of 8 filters.
#[divan::bench(sample_count = 30, sample_size = 1)]
fn forward_small(bencher: Bencher) {
    let device = Device::default();
    let model = initialise(&device, Seed(0), || small().init(&device)).unwrap();
    let places: Vec<usize> = (0..64).collect();
    let batch = examples().batch(&places, Objective::CrossEntropy, &device);
    bencher.bench_local(|| model.forward(batch.images.clone()).unwrap().into_data());
}

fn step(bencher: Bencher, form: Form) {
    let device = Device::default().autodiff();
    let model = initialise(&device, Seed(0), || small().with_form(form).init(&device)).unwrap();
    let places: Vec<usize> = (0..64).collect();
    let batch = examples().batch(&places, Objective::CrossEntropy, &device);
    let training = TrainingConfig::new();
    let optimizer = training.optimizer().unwrap();
    let batches = |_: usize, _: &Device| Ok(batch.clone());
    let mut fit = Supervised::new(model, optimizer, training.rate, batches);
    let mut at = 0;
    bencher.bench_local(|| {
        at += 1;
        fit.step(at).unwrap().read().unwrap()
    });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn step_sequential(bencher: Bencher) {
    step(bencher, Form::Sequential);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn step_parallel(bencher: Bencher) {
    step(bencher, Form::Parallel);
}
