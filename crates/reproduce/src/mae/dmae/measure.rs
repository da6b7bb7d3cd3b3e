//! What the teacher costs, and pictures.

use super::Experiment;
use crate::{Context, mae::common::Images};
use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_mae::mae_base::Mae;
use std::time::Instant;

/// Seconds of a pass of the teacher over a batch.
pub(super) struct Cost {
    /// All blocks, the last norm and the decoder, as the released code runs it.
    pub whole: f64,
    /// As far as the aligned block.
    pub partial: f64,
    /// Blocks that run, of all.
    pub blocks: [usize; 2],
}

/// Times the whole teacher and the part of it that distillation needs.
pub(super) fn cost(experiment: &Experiment, teacher: &Mae, device: &Device) -> Result<Cost> {
    const PASSES: usize = 7;
    let config = &experiment.config;
    let vit = &config.teacher;
    let shape = [experiment.timed, vit.channels, vit.image, vit.image];
    let images = Tensor::<4>::random(shape, Distribution::Default, device);
    let masking = config
        .student
        .draw_masking(experiment.timed, Seed(0), device)?;
    let partial = config.teacher(teacher.encoder.clone())?;
    let whole = teacher.clone().valid();
    let median = |pass: &dyn Fn() -> Result<()>| -> Result<f64> {
        let mut times = Vec::with_capacity(PASSES);
        for repeat in 0..=PASSES {
            let began = Instant::now();
            pass()?;
            if repeat > 0 {
                times.push(began.elapsed().as_secs_f64());
            }
        }
        times.sort_by(f64::total_cmp);
        let median = times.get(PASSES / 2).copied();
        median.ok_or_else(|| Error::other("timing the teacher", "no pass"))
    };
    let read = |tensor: Tensor<3>| drop(tensor.into_data());
    Ok(Cost {
        whole: median(&|| {
            read(whole.forward_with(images.clone(), &masking)?.prediction);
            Ok(())
        })?,
        partial: median(&|| {
            partial
                .features(images.clone(), &masking)?
                .into_iter()
                .for_each(read);
            Ok(())
        })?,
        blocks: [partial.config().depth, vit.depth],
    })
}

/// Pictures in 0..1, one by one.
pub(super) type Tiles = Vec<Vec<f32>>;

/// The first test images as they are, and as the encoder sees them.
pub(super) fn originals(experiment: &Experiment, context: &Context) -> Result<[Tiles; 2]> {
    let (images, filled) = fill_in(
        &experiment.config.student.init(&context.device)?,
        experiment,
        context,
    )?;
    Ok([images, filled.0])
}

/// The first test images with their hidden patches as `model` fills them in.
pub(super) fn pictures(model: &Mae, experiment: &Experiment, context: &Context) -> Result<Tiles> {
    Ok(fill_in(model, experiment, context)?.1.1)
}

/// Images, and then what is visible of them and what comes of it; the same masks for every model.
fn fill_in(
    model: &Mae,
    experiment: &Experiment,
    context: &Context,
) -> Result<(Tiles, (Tiles, Tiles))> {
    const SHOWN: usize = 12;
    let test: &Images = &experiment.test;
    let indices: Vec<usize> = (0..SHOWN.min(test.len())).collect();
    let images = test.batch(&indices, Seed(0), &context.device)?;
    let seed = Seed(context.seed).stream("pictures");
    let config = &experiment.config.student;
    let masking = config.draw_masking(indices.len(), seed, &context.device)?;
    let filled = model.reconstruct(images.clone(), &masking)?;
    let tiles = |images: Tensor<4>| test.tiles(images);
    Ok((
        tiles(images)?,
        (tiles(filled.masked)?, tiles(filled.pasted)?),
    ))
}
