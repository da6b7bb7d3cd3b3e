//! Trains a small ConViT for a few dozen steps and shows where its heads look: as a convolution's
//! taps before, and what they made of it after.
//!
//! ```text
//! cargo run -p menagerie-examples --example convit
//! ```
//!
//! Takes well under a minute and writes `runs/examples/convit/attention.png`.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Result, Seed};
use menagerie_data_image::{ImageSet, Split, fashion_mnist};
use menagerie_efficient::convit::{ConVit, ConVitConfig, optimizer};
use menagerie_efficient::deit::{DeitRecipe, SoftLabelled};
use menagerie_report::Grid;
use menagerie_train::{FitConfig, Progress, Run, Sampler, Schedule, Supervised, initialise};
use std::path::Path;

const BATCH: usize = 64;
const STEPS: usize = 80;

/// Grey images, `[indices, 1, 28, 28]`.
fn batch(set: &ImageSet, indices: &[usize], device: &Device) -> Result<Tensor<4>> {
    let shape = [indices.len(), 1, 28, 28];
    let pixels = set.to_f32(indices.iter().copied())?;
    Ok(Tensor::from_data(TensorData::new(pixels, shape), device))
}

/// What each head of a local block sees from the patch in the middle, as 7×7 pixels.
fn middle(model: &ConVit, images: &Tensor<4>, layer: usize) -> Result<Vec<Vec<f32>>> {
    let map = model.attention_map(images.clone(), layer)?;
    let row: Vec<f32> = map.narrow(2, 24, 1).into_data().iter().collect();
    let scaled = |head: &[f32]| {
        let largest = head.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        head.iter().map(|value| value / largest).collect()
    };
    Ok(row.chunks(49).map(scaled).collect())
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let (train, test) = (fashion_mnist(Split::Train)?, fashion_mnist(Split::Test)?);
    let config = ConVitConfig::new(28, 4, 36, 4, 9)
        .with_local_blocks(3)
        .with_channels(1)
        .with_classes(10);
    let (device, tracked) = (Device::default(), Device::default().autodiff());
    let model = initialise(&tracked, Seed(0), || config.init(&tracked))?;
    let one = batch(&test, &[0], &device)?;
    let before = middle(&model, &one.clone().autodiff(), 0)?;

    let mut sampler = Sampler::shuffled(train.len(), BATCH, Seed(1))?;
    let batches = |step: usize, device: &Device| {
        let indices = sampler.indices(step);
        let labels: Vec<usize> = indices.iter().map(|index| train.labels()[*index]).collect();
        SoftLabelled::new(batch(&train, &indices, device)?, &labels, 10, 0.1)
    };
    let optimiser = optimizer(&DeitRecipe::new(), &model)?;
    let rates = Schedule::cosine(2e-3, STEPS / 10, STEPS);
    let mut procedure = Supervised::new(model, optimiser, rates, batches);
    let folder = Path::new("runs/examples/convit");
    let run = Run::create(folder, &config, true)?;
    run.fit(&mut procedure, &FitConfig::new(STEPS), &Progress::auto())?;

    let model = procedure.trained()?;
    let mut grid = Grid::new([1, 7, 7]).scale(12).row("before", before);
    for (layer, gates) in model.gates().into_iter().enumerate() {
        let gate = gates.mean().into_scalar::<f32>();
        println!("block {}: position counts for {gate:.3}", layer + 1);
        grid = grid.row(format!("block {}", layer + 1), middle(&model, &one, layer)?);
    }
    grid.write(&folder.join("attention.png"))?;
    let shown: Vec<usize> = (0..500).collect();
    let scores = model.prepare().forward(batch(&test, &shown, &device)?)?;
    let classes: Vec<i64> = scores.argmax(1).into_data().iter().collect();
    let pairs = classes.iter().zip(test.labels());
    let hits = pairs.filter(|(a, b)| **a == **b as i64).count();
    println!("{hits} of 500 garments recognised");
    Ok(())
}
