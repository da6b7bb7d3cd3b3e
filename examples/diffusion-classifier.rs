//! Trains a small diffusion model on garments without labels, draws what it generates, and reads the
//! class of garments from its features.
//!
//! ```text
//! cargo run -p menagerie-examples --example diffusion-classifier
//! ```
//!
//! Takes under a minute and writes `runs/examples/diffusion-classifier/samples.png`.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Result, Seed};
use menagerie_data_image::{ImageSet, Split, fashion_mnist};
use menagerie_generative::diffusion_classifier::{
    Denoiser, FeatureExtractor, FeaturePoints, RidgeProbeConfig, UNetConfig,
};
use menagerie_nn::diffusion::{NoiseSchedule, Objective, Reverse, Sampler};
use menagerie_nn::{noise::draw_normal, resample::average_pool};
use menagerie_report::Grid;
use menagerie_train::{AdamW, FitConfig, Progress, Run, Sampler as Order, Supervised, initialise};
use std::path::Path;

/// Images at 14×14 in a black frame, in −1..1.
fn images(set: &ImageSet, indices: &[usize], device: &Device) -> Result<Tensor<4>> {
    let pixels = set.to_f32(indices.iter().copied())?;
    let images = TensorData::new(pixels, [indices.len(), 1, 28, 28]);
    let small = average_pool(Tensor::<4>::from_data(images, device));
    Ok(small.pad((1, 1, 1, 1), 0.0) * 2.0 - 1.0)
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let device = Device::default();
    let train = fashion_mnist(Split::Train)?.subset(0..8_000)?;
    let test = fashion_mnist(Split::Test)?.subset(0..1_000)?;
    let diffusion = NoiseSchedule::Linear.diffusion(1_000)?;
    let autodiff = device.clone().autodiff();
    let config = UNetConfig::small();
    let unet = initialise(&autodiff, Seed(0), || config.init(&autodiff))?;
    let model = Denoiser::new(unet, diffusion.clone(), Objective::new())?;

    let draw = model.clone();
    let mut order = Order::shuffled(train.len(), 32, Seed(1))?;
    let batch = |step: usize, device: &Device| {
        draw.draw(
            images(&train, &order.indices(step), device)?,
            Seed(step as u64),
        )
    };
    let optimiser = AdamW::new().grouped(&model, |_, rank| rank > 1)?;
    let mut procedure = Supervised::new(model, optimiser, 1e-3, batch);
    let folder = Path::new("runs/examples/diffusion-classifier");
    let run = Run::create(folder, &config, true)?;
    run.fit(&mut procedure, &FitConfig::new(150), &Progress::auto())?;
    let model = procedure.trained()?;

    let noise = draw_normal([20, 1, 16, 16], Seed(2), &device);
    let samples = model.sample(noise, &Sampler::ddim(Reverse::new()), 30, Seed(3))?;
    let pixels: Vec<f32> = ((samples + 1.0) / 2.0).into_data().iter().collect();
    let path = folder.join("samples.png");
    Grid::tiled([1, 16, 16], &pixels, 10).write(&path)?;
    println!("samples: {}", path.display());

    // The middle block at a step with little noise.
    let points = FeaturePoints::one(20, config.input_blocks() + 1);
    let extractor = FeatureExtractor::new(model.unet, diffusion, points)?;
    let probe = RidgeProbeConfig::new(10);
    let features = |set: &ImageSet, count: usize| -> Result<Tensor<2>> {
        let indices: Vec<usize> = (0..count).collect();
        let images = images(set, &indices, &device)?;
        let noise = extractor.draw_noise(images.dims(), Seed(4), &device);
        probe.pool(extractor.features(images, noise)?.only()?)
    };
    let fitted = probe.fit(features(&train, 2_000)?, &train.labels()[..2_000])?;
    let accuracy = fitted.accuracy(features(&test, 1_000)?, test.labels())?;
    println!("2 000 labels, a linear probe: {accuracy:.1} % of test garments are right");
    Ok(())
}
