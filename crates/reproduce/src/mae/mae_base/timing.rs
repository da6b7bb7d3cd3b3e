//! What a training step costs at each mask ratio.

use super::Experiment;
use crate::Context;
use burn::tensor::{Distribution, Tensor};
use burn::train::TrainStep;
use menagerie_core::{Error, Result, Seed};
use menagerie_mae::mae_base::MaskedImages;
use std::time::Instant;

/// Steps of which the median is taken.
const STEPS: usize = 7;
const BATCH: usize = 64;

/// The time of a step that encodes some of the patches.
pub(super) struct Cost {
    pub ratio: f64,
    /// Visible patches of an image.
    pub visible: usize,
    /// Median of forward and backward, in seconds.
    pub seconds: f64,
}

/// Forward and backward with all patches but one visible, then at the mask ratios of the experiment
/// and the published one, on random images of a batch of 64.
pub(super) fn steps(experiment: &Experiment, context: &Context) -> Result<Vec<Cost>> {
    let device = context.device.clone().autodiff();
    let tokens = experiment.model.encoder.tokens();
    // Half a patch is rounded up to a whole one.
    let none = 0.5 / tokens as f64;
    let mut ratios = [none, experiment.model.mask_ratio].to_vec();
    ratios.extend(&experiment.ratios.0);
    ratios.sort_by(f64::total_cmp);
    ratios.dedup();
    let side = experiment.model.encoder.image;
    let images = Tensor::random([BATCH, 3, side, side], Distribution::Default, &device);
    ratios
        .into_iter()
        .map(|ratio| {
            let config = experiment.model.clone().with_mask_ratio(ratio);
            let model = config.init(&device)?;
            let mut times = Vec::with_capacity(STEPS);
            for step in 0..=STEPS {
                let batch = MaskedImages {
                    images: images.clone(),
                    masking: config.draw_masking(BATCH, Seed(step as u64), &device)?,
                };
                let began = Instant::now();
                let output = TrainStep::step(&model, batch);
                output.item.read()?;
                // The first one draws the weights.
                if step > 0 {
                    times.push(began.elapsed().as_secs_f64());
                }
            }
            times.sort_by(f64::total_cmp);
            let seconds = times.get(STEPS / 2).copied();
            Ok(Cost {
                ratio,
                visible: config.visible(),
                seconds: seconds.ok_or_else(|| Error::other("timing a step", "no step"))?,
            })
        })
        .collect()
}
