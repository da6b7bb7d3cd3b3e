//! Trains a small SLAB-DeiT while its layer normalisation fades out, then folds what is left of the
//! norms away: the same answers in less time.
//!
//! ```text
//! cargo run -p menagerie-examples --example slab
//! ```
//!
//! Takes well under a minute.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Result, Seed};
use menagerie_data_image::{ImageSet, Split, fashion_mnist};
use menagerie_efficient::deit::SoftLabelled;
use menagerie_efficient::slab::{
    Classifier, DeitConfig, NormConfig, NormKind, SlabDeit, estimate, optimizer, recipe,
};
use menagerie_train::{FitConfig, Progress, Run, Sampler, Schedule, Supervised, initialise};
use std::{path::Path, time::Instant};

const BATCH: usize = 64;
const STEPS: usize = 100;

/// Grey images, `[indices, 1, 28, 28]`.
fn batch(set: &ImageSet, indices: &[usize], device: &Device) -> Result<Tensor<4>> {
    let shape = [indices.len(), 1, 28, 28];
    let pixels = set.to_f32(indices.iter().copied())?;
    Ok(Tensor::from_data(TensorData::new(pixels, shape), device))
}

/// Hits of the first 500 test images, and the milliseconds that they took.
fn hits(model: &SlabDeit, images: &Tensor<4>, labels: &[usize]) -> Result<(usize, f64)> {
    let began = Instant::now();
    let scores = model.forward(images.clone())?;
    let classes: Vec<i64> = scores.argmax(1).into_data().iter().collect();
    let elapsed = began.elapsed().as_secs_f64();
    let hits = classes
        .iter()
        .zip(labels)
        .filter(|(a, b)| **a == **b as i64);
    Ok((hits.count(), 1e3 * elapsed))
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let (train, test) = (fashion_mnist(Split::Train)?, fashion_mnist(Split::Test)?);
    // Layer normalisation is gone after 60 of 100 steps.
    let norm = NormConfig::new(NormKind::Progressive).with_steps(60);
    let config = DeitConfig::new(28, 4, 48, 4, 3, norm)
        .with_channels(1)
        .with_classes(10);
    let device = Device::default();
    let tracked = device.clone().autodiff();
    let model = initialise(&tracked, Seed(0), || config.init(&tracked))?;
    let mut sampler = Sampler::shuffled(train.len(), BATCH, Seed(1))?;
    let batches = |step: usize, device: &Device| {
        let indices = sampler.indices(step);
        let labels: Vec<usize> = indices.iter().map(|index| train.labels()[*index]).collect();
        SoftLabelled::new(batch(&train, &indices, device)?, &labels, 10, 0.1)
    };
    let optimiser = optimizer(&recipe(), &model)?;
    let rates = Schedule::cosine(2e-3, STEPS / 10, STEPS);
    let mut procedure = Supervised::new(model, optimiser, rates, batches).clipping(5.0)?;
    let run = Run::create(Path::new("runs/examples/slab"), &config, true)?;
    run.fit(&mut procedure, &FitConfig::new(STEPS), &Progress::auto())?;

    let model = procedure.trained()?;
    for part in 0..20 {
        let indices: Vec<usize> = (part * BATCH..(part + 1) * BATCH).collect();
        estimate(&model, batch(&train, &indices, &device)?)?;
    }
    let shown: Vec<usize> = (0..500).collect();
    let images = batch(&test, &shown, &device)?;
    for (name, model) in [("with norms", model.clone()), ("folded", model.fold()?)] {
        hits(&model, &images, test.labels())?;
        let (hits, time) = hits(&model, &images, test.labels())?;
        println!("{name}: {hits} of 500 garments recognised in {time:.0} ms");
    }
    Ok(())
}
