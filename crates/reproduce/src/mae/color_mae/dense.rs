//! A probe of patches: is it background, and if not, what does it belong to?
//!
//! Fashion-MNIST has no labels of pixels, but garments lie on black: a patch that is dark is
//! background, another has the class of its image.

use super::Experiment;
use crate::Context;
use crate::mae::common::Images;
use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_mae::mae_base::{Encoder, LabelledFeatures, Lars, ProbeHead, Probing};
use menagerie_train::{FitConfig, Progress, Run, Schedule, initialise};

/// Steps of the probe; every one sees all labelled patches.
const STEPS: usize = 200;
/// The peak rate of the probe, the published one of linear probes.
const RATE: f64 = 6.4;
/// Images that are tested on.
const TEST: usize = 500;
/// A patch whose mean is below this, on a scale from 0 (black) to 1, is background.
const DARK: f32 = 0.05;

/// Mean intersection over union, in percent, of a linear probe on the patch tokens of a frozen
/// `encoder`: background or which garment.
pub(super) fn probe(
    experiment: &Experiment,
    context: &Context,
    encoder: &Encoder,
    labelled: &Images,
    label: &str,
    seed: Seed,
) -> Result<f64> {
    let labelled = labelled.stratified(
        experiment.dense_labels.min(labelled.len()),
        seed.stream("dense labels"),
    )?;
    let test = experiment
        .test
        .stratified(TEST.min(experiment.test.len()), Seed(0))?;
    let classes = labelled.class_names().len() + 1;
    let device = &context.device;
    let garments = |images: &Images| garments(encoder, images, device);
    let sets = [garments(&labelled)?, garments(&test)?];
    let name = format!("{label}-dense-probe");
    fit(context, &name, sets, classes, seed)
}

/// The same for patches whose classes are known: trained on the first, measured on the second.
pub(super) fn fit(
    context: &Context,
    name: &str,
    [train, test]: [Patches; 2],
    classes: usize,
    seed: Seed,
) -> Result<f64> {
    let device = &context.device;
    let tracked = device.clone().autodiff();
    let [rows, dim] = train.features.dims();
    let head = initialise(&tracked, seed.stream("dense probe"), || {
        ProbeHead::new(dim, classes, &tracked)
    })?;
    let labels = ints(&train.classes, device);
    let batch = |_: usize, _: &Device| {
        Ok(LabelledFeatures {
            features: train.features.clone(),
            labels: labels.clone(),
        })
    };
    let schedule = Schedule::cosine(RATE, STEPS / 10, STEPS).starting_at(0.0);
    let mut probing = Probing::new(head, Lars::new(), schedule, batch)?;
    let fit = FitConfig {
        checkpoint_every: 0,
        evaluate_every: 0,
        ..FitConfig::new(STEPS)
    };
    let run = Run::create(&context.out.join(name), &(seed, rows, dim), context.resume)?;
    run.fit(&mut probing, &fit, &Progress::silent())?;
    let scores = probing.trained()?.forward(test.features);
    let predicted = scores
        .argmax(1)
        .into_data()
        .convert::<i64>()
        .try_to_vec::<i64>()
        .map_err(|error| Error::other("reading predictions", error))?;
    Ok(mean_iou(&predicted, &test.classes, classes))
}

/// The patches of a set with their classes.
pub(super) struct Patches {
    /// `[images · tokens, dim]`.
    pub features: Tensor<2>,
    pub classes: Vec<i64>,
}

/// The patch tokens of all images, `[images · tokens, dim]`.
pub(super) fn tokens(encoder: &Encoder, images: &Images, device: &Device) -> Result<Tensor<2>> {
    let indices: Vec<usize> = (0..images.len()).collect();
    let parts = indices.chunks(super::EVALUATION_BATCH).map(|chunk| {
        let batch = images.batch(chunk, Seed(0), device)?;
        let tokens = encoder.forward(batch, None, &[])?;
        let patches = tokens.narrow(1, 1, encoder.config().tokens());
        Ok(patches.flatten::<2>(0, 1))
    });
    Ok(Tensor::cat(parts.collect::<Result<Vec<_>>>()?, 0))
}

/// The patches of garments, background 0.
fn garments(encoder: &Encoder, images: &Images, device: &Device) -> Result<Patches> {
    let config = encoder.config();
    let indices: Vec<usize> = (0..images.len()).collect();
    let mut classes = Vec::new();
    for chunk in indices.chunks(super::EVALUATION_BATCH) {
        let batch = images.batch(chunk, Seed(0), device)?;
        for (index, tile) in chunk.iter().zip(images.tiles(batch)?) {
            let garment = images
                .labels()
                .get(*index)
                .map_or(0, |class| *class as i64 + 1);
            let patches = brightness(&tile, config.image, config.patch);
            classes.extend(patches.iter().map(|mean| match *mean < DARK {
                true => 0,
                false => garment,
            }));
        }
    }
    let features = tokens(encoder, images, device)?;
    Ok(Patches { features, classes })
}

/// The mean of each patch of a picture `[channels, side, side]`, row by row.
fn brightness(tile: &[f32], side: usize, patch: usize) -> Vec<f32> {
    let grid = side / patch;
    let mut sums = vec![0.0; grid * grid];
    for (at, value) in tile.iter().enumerate() {
        let (row, column) = (at / side % side, at % side);
        sums[row / patch * grid + column / patch] += value;
    }
    let pixels = (tile.len() / sums.len()) as f32;
    sums.iter().map(|sum| sum / pixels).collect()
}

/// The mean over classes of intersection over union, in percent; classes that nowhere occur are
/// left out.
fn mean_iou(predicted: &[i64], labels: &[i64], classes: usize) -> f64 {
    let ious = (0..classes as i64).filter_map(|class| {
        let pairs = || predicted.iter().zip(labels);
        let both = pairs()
            .filter(|(p, l)| **p == class && **l == class)
            .count();
        let either = pairs()
            .filter(|(p, l)| **p == class || **l == class)
            .count();
        (either > 0).then(|| both as f64 / either as f64)
    });
    let ious: Vec<f64> = ious.collect();
    100.0 * ious.iter().sum::<f64>() / ious.len() as f64
}

fn ints(values: &[i64], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(values, device)
}

#[cfg(test)]
mod tests {
    use super::{brightness, mean_iou};

    #[test]
    fn patches_are_averaged_over_pixels_and_channels() {
        let tile: Vec<f32> = (0..32).map(|at| at as f32).collect();
        // Two channels of 4×4; patch 0 has 0, 1, 4, 5 and the same plus 16.
        assert_eq!(brightness(&tile, 4, 2), [10.5, 12.5, 18.5, 20.5]);
    }

    #[test]
    fn intersections_are_over_unions() {
        // Class 0: 1 of 3; class 1: 1 of 2; class 2 nowhere; class 3: 0 of 1.
        let iou = mean_iou(&[0, 0, 1, 3], &[0, 1, 1, 0], 4);
        let expected = 100.0 * (1.0 / 3.0 + 1.0 / 2.0 + 0.0) / 3.0;
        assert!((iou - expected).abs() < 1e-9, "{iou}");
        assert!((mean_iou(&[1, 1], &[1, 1], 3) - 100.0).abs() < 1e-9);
    }
}
