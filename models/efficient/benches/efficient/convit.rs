//! ConViT-Ti and -S at 224², and the small shape of the reproduction.

use super::*;
use divan::Bencher;
use menagerie_efficient::convit::{ConVit, ConVitConfig, optimizer, recipe};
use menagerie_train::{Procedure, Supervised, initialise};

fn model(config: &ConVitConfig, device: &Device) -> ConVit {
    initialise(device, Seed(0), || config.init(device)).unwrap()
}

/// With the positional maps computed in every pass, as in training.
fn forward(bencher: Bencher, config: ConVitConfig, batch: usize) {
    let device = Device::default();
    let (model, images) = (
        model(&config, &device),
        images(batch, config.image, &device),
    );
    bencher.bench_local(|| model.forward(images.clone(), &[]).unwrap().into_data());
}

/// With kept positional maps.
fn prepared(bencher: Bencher, config: ConVitConfig, batch: usize) {
    let device = Device::default();
    let (model, images) = (
        model(&config, &device),
        images(batch, config.image, &device),
    );
    let model = model.prepare();
    bencher.bench_local(|| model.forward(images.clone()).unwrap().into_data());
}

/// Forward, backward and AdamW.
fn run_step(bencher: Bencher, config: ConVitConfig, batch: usize) {
    let device = Device::default().autodiff();
    let (model, recipe) = (model(&config, &device), recipe());
    let optimiser = optimizer(&recipe, &model).unwrap();
    let (images, labels) = (
        images(batch, config.image, &device).narrow(1, 0, config.channels),
        labels(batch, config.classes),
    );
    let batches = |step: usize, _: &Device| {
        config.prepare(&recipe, images.clone(), &labels, Seed(step as u64))
    };
    let mut procedure = Supervised::new(model, optimiser, 1e-4, batches);
    let mut step = 0;
    bencher.bench_local(|| {
        step += 1;
        procedure.step(step).unwrap().read().unwrap()
    });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn tiny_1(bencher: Bencher) {
    forward(bencher, ConVitConfig::tiny(), 1);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn tiny_8(bencher: Bencher) {
    forward(bencher, ConVitConfig::tiny(), 8);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn tiny_16(bencher: Bencher) {
    forward(bencher, ConVitConfig::tiny(), 16);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn tiny_1_kept(bencher: Bencher) {
    prepared(bencher, ConVitConfig::tiny(), 1);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn tiny_8_kept(bencher: Bencher) {
    prepared(bencher, ConVitConfig::tiny(), 8);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn tiny_16_kept(bencher: Bencher) {
    prepared(bencher, ConVitConfig::tiny(), 16);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn small_1(bencher: Bencher) {
    forward(bencher, ConVitConfig::small(), 1);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn small_16(bencher: Bencher) {
    forward(bencher, ConVitConfig::small(), 16);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn small_1_kept(bencher: Bencher) {
    prepared(bencher, ConVitConfig::small(), 1);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn small_16_kept(bencher: Bencher) {
    prepared(bencher, ConVitConfig::small(), 16);
}

/// A training step of 8 images of 224².
#[divan::bench(sample_count = 5, sample_size = 1)]
fn tiny_step_8(bencher: Bencher) {
    run_step(bencher, ConVitConfig::tiny(), 8);
}

/// The shape of the reproduction: 49 grey patches of 28², width 48, 32 images.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn step_small(bencher: Bencher) {
    let config = ConVitConfig::new(28, 4, 48, 6, 4)
        .with_local_blocks(5)
        .with_channels(1)
        .with_classes(10)
        .with_mlp_ratio(2.0);
    run_step(bencher, config, 32);
}
