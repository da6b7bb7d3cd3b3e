//! Pre-trains a small masked autoencoder on garments for a few hundred steps and shows what it makes
//! of hidden patches.
//!
//! ```text
//! cargo run -p menagerie-examples --example mae-base
//! ```
//!
//! Takes well under a minute and writes `runs/examples/mae-base/reconstructions.png`.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Result, Seed};
use menagerie_data_image::{ImageSet, Split, fashion_mnist};
use menagerie_mae::mae_base::{
    DecoderConfig, MaeConfig, MaskedImages, PretrainingConfig, VitConfig,
};
use menagerie_report::Grid;
use menagerie_train::{FitConfig, Progress, Run, Sampler, Schedule, Supervised, initialise};
use std::path::Path;

const BATCH: usize = 64;
const STEPS: usize = 600;

/// Grey images, `[indices, 1, 28, 28]` in -1..1.
fn batch(set: &ImageSet, indices: Vec<usize>, device: &Device) -> Result<Tensor<4>> {
    let shape = [indices.len(), 1, 28, 28];
    let pixels = TensorData::new(set.to_f32(indices)?, shape);
    Ok(Tensor::from_data(pixels, device) * 2.0 - 1.0)
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let device = Device::default();
    let (train, test) = (fashion_mnist(Split::Train)?, fashion_mnist(Split::Test)?);

    // 49 patches of 4×4 in one channel, of which the encoder sees 12.
    let encoder = VitConfig::new(28, 4, 64, 3, 4).with_channels(1);
    let config = MaeConfig::new(encoder, DecoderConfig::new(32, 1, 4)).with_norm_pix_loss(false);
    let autodiff = device.clone().autodiff();
    let model = initialise(&autodiff, Seed(0), || config.init(&autodiff))?;
    let optimiser = PretrainingConfig::new().optimizer(&model)?;
    let mut sampler = Sampler::shuffled(train.len(), BATCH, Seed(0))?;
    let batches = |step: usize, device: &Device| {
        Ok(MaskedImages {
            images: batch(&train, sampler.indices(step), device)?,
            masking: config.draw_masking(BATCH, Seed(1).at(step as u64), device)?,
        })
    };
    let rates = Schedule::cosine(3e-3, STEPS / 10, STEPS);
    let mut procedure = Supervised::new(model, optimiser, rates, batches);
    let folder = Path::new("runs/examples/mae-base");
    let run = Run::create(folder, &config, true)?;
    let fit = FitConfig::new(STEPS);
    let summary = run.fit(&mut procedure, &fit, &Progress::auto())?;
    println!("after {} steps: {}", summary.step, summary.train);

    let images = batch(&test, (0..10).collect(), &device)?;
    let masking = config.draw_masking(10, Seed(2), &device)?;
    let made = procedure.trained()?.reconstruct(images.clone(), &masking)?;
    let mut grid = Grid::new([1, 28, 28]);
    for (label, images) in [
        ("image", images),
        ("visible", made.masked),
        ("predicted", made.predicted),
        ("both", made.pasted),
    ] {
        let pixels: Vec<f32> = ((images + 1.0) / 2.0).into_data().iter().collect();
        grid = grid.row(label, pixels.chunks(28 * 28));
    }
    let path = folder.join("reconstructions.png");
    grid.write(&path)?;
    println!("hidden patches, filled in: {}", path.display());
    Ok(())
}
