//! Masks from colored noise beside random ones, alone and in a step of ViT-B/16 at 224².

use burn::tensor::{Device, Distribution, Tensor};
use divan::Bencher;
use menagerie_core::Seed;
use menagerie_mae::{
    color_mae::{Color, ColorMaeConfig, ColorMasks, ColorPretrainingConfig, NoiseConfig, Sampling},
    mae_base::MaskedImages,
};
use menagerie_nn::vit::Masking;
use menagerie_train::{Procedure, Supervised, initialise};

/// The published batch of a device.
const MASKS: usize = 512;
/// Images of a step.
const BATCH: usize = 8;

fn images(batch: usize, device: &Device) -> Tensor<4> {
    let normal = Distribution::Normal(0.0, 1.0);
    Tensor::random([batch, 3, 224, 224], normal, device)
}

fn noise(color: Color) -> NoiseConfig {
    NoiseConfig::new(color).with_slices(512).with_size(64)
}

fn masks(sampling: Sampling) -> ColorMasks {
    let bank = noise(Color::Green).init(Seed(0)).unwrap();
    ColorMasks::new(bank, sampling, 14, 0.75).unwrap()
}

fn mask(bencher: Bencher, draw: impl Fn(Seed, &Device) -> Masking) {
    let device = Device::default();
    let mut step = 0;
    bencher.bench_local(|| {
        step += 1;
        draw(Seed(step), &device).mask.into_data()
    });
}

/// 512 tiles of 64×64, filtered: once per run.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn noise_bank(bencher: Bencher) {
    bencher.bench_local(|| noise(Color::Green).init(Seed(0)).unwrap());
}

/// 512 masks of 14×14 by the official rule.
#[divan::bench(sample_count = 100, sample_size = 1)]
fn masks_green(bencher: Bencher) {
    let masks = masks(Sampling::Grouped);
    mask(bencher, |seed, device| {
        masks.draw(MASKS, seed, device).unwrap()
    });
}

/// 512 masks with a slice and a crop for each image.
#[divan::bench(sample_count = 100, sample_size = 1)]
fn masks_green_per_image(bencher: Bencher) {
    let masks = masks(Sampling::PerImage);
    mask(bencher, |seed, device| {
        masks.draw(MASKS, seed, device).unwrap()
    });
}

/// 512 masks from uniform noise, MAE's.
#[divan::bench(sample_count = 100, sample_size = 1)]
fn masks_random(bencher: Bencher) {
    let config = ColorMaeConfig::base().mae;
    mask(bencher, |seed, device| {
        config.draw_masking(MASKS, seed, device).unwrap()
    });
}

/// Masking, forward, backward and AdamW.
fn step(bencher: Bencher, draw: impl Fn(Seed, &Device) -> Masking) {
    let device = Device::default().autodiff();
    let config = ColorMaeConfig::base();
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    let optimiser = ColorPretrainingConfig::new().optimizer(&model).unwrap();
    let images = images(BATCH, &device);
    let batches = |step: usize, device: &Device| {
        Ok(MaskedImages {
            images: images.clone(),
            masking: draw(Seed(step as u64), device),
        })
    };
    let mut procedure = Supervised::new(model, optimiser, 1e-4, batches);
    let mut step = 0;
    bencher.bench_local(|| {
        step += 1;
        procedure.step(step).unwrap().read().unwrap()
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn step_green(bencher: Bencher) {
    let masks = masks(Sampling::Grouped);
    step(bencher, |seed, device| {
        masks.draw(BATCH, seed, device).unwrap()
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn step_random(bencher: Bencher) {
    let config = ColorMaeConfig::base().mae;
    step(bencher, |seed, device| {
        config.draw_masking(BATCH, seed, device).unwrap()
    });
}

/// All patches of one image encoded.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn forward_1(bencher: Bencher) {
    let device = Device::default();
    let config = ColorMaeConfig::base();
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    let images = images(1, &device);
    bencher.bench_local(|| model.encode(images.clone()).unwrap().into_data());
}
