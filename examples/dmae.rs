//! Distils a masked autoencoder into one a seventh of its width for a few dozen steps and shows how
//! the student's features turn towards the teacher's.
//!
//! ```text
//! cargo run -p menagerie-examples --example dmae
//! ```
//!
//! Takes well under a minute; the teacher of a real run is one that was trained for longer.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Result, Seed};
use menagerie_data_image::{ImageSet, Split, fashion_mnist};
use menagerie_mae::dmae::{DistillationBatch, DmaeConfig};
use menagerie_mae::mae_base::{
    DecoderConfig, MaeConfig, MaskedImages, PretrainingConfig, VitConfig,
};
use menagerie_train::{FitConfig, Progress, Run, Sampler, Schedule, Supervised, initialise};
use std::path::Path;

const BATCH: usize = 64;
const STEPS: usize = 60;

/// Grey images, `[indices, 1, 28, 28]`.
fn batch(set: &ImageSet, indices: Vec<usize>, device: &Device) -> Result<Tensor<4>> {
    let shape = [indices.len(), 1, 28, 28];
    Ok(Tensor::from_data(
        TensorData::new(set.to_f32(indices)?, shape),
        device,
    ))
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let (device, train) = (Device::default().autodiff(), fashion_mnist(Split::Train)?);
    let mae = |dim: usize, depth: usize| {
        let encoder = VitConfig::new(28, 4, dim, depth, 4).with_channels(1);
        MaeConfig::new(encoder, DecoderConfig::new(32, 1, 4)).with_norm_pix_loss(false)
    };
    let (student, teacher) = (mae(32, 2), mae(96, 4));
    // Block 1 of 2 learns from block 2 of 4.
    let config = DmaeConfig::new(student, teacher.encoder.clone(), vec![1], vec![2]);
    let rates = || Schedule::cosine(3e-3, STEPS / 10, STEPS);
    let mut sampler = Sampler::shuffled(train.len(), BATCH, Seed(0))?;
    let mut masked = |step: usize, device: &Device| {
        Ok(MaskedImages {
            images: batch(&train, sampler.indices(step), device)?,
            masking: teacher.draw_masking(BATCH, Seed(1).at(step as u64), device)?,
        })
    };

    let model = initialise(&device, Seed(0), || teacher.init(&device))?;
    let optimiser = PretrainingConfig::new().optimizer(&model)?;
    let mut procedure = Supervised::new(model, optimiser, rates(), &mut masked);
    let folder = Path::new("runs/examples/dmae/teacher");
    let summary = Run::create(folder, &teacher, true)?.fit(
        &mut procedure,
        &FitConfig::new(STEPS),
        &Progress::auto(),
    )?;
    println!("teacher: {}", summary.train);
    let encoder = procedure.trained()?.encoder;
    drop(procedure);
    let partial = config.teacher(encoder)?;
    println!("blocks that run: {}", partial.config().depth);
    let model = initialise(&device, Seed(2), || config.init(&device))?;
    let optimiser = PretrainingConfig::new().optimizer(&model)?;
    let batches = |step: usize, device: &Device| {
        let MaskedImages { images, masking } = masked(step, device)?;
        DistillationBatch::new(&partial, images, masking)
    };
    let mut procedure = Supervised::new(model, optimiser, rates(), batches);
    let folder = Path::new("runs/examples/dmae/student");
    let summary = Run::create(folder, &config, true)?.fit(
        &mut procedure,
        &FitConfig::new(STEPS),
        &Progress::auto(),
    )?;
    println!("student: {}", summary.train);
    Ok(())
}
