//! What a training step costs with each of the masks.

use super::Arm;
use crate::Context;
use burn::tensor::{Device, Distribution, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_mae::videomae_v2::{MaskedClips, MultiplyAdds, PretrainingConfig, VideoMae};
use menagerie_train::{Procedure, Supervised, initialise};
use std::time::Instant;

/// Steps of which the median is taken.
const STEPS: usize = 15;

/// The cost of one arm.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    /// Visible and decoded cubes of a clip.
    pub counts: [usize; 2],
    /// Of a forward pass per clip.
    pub multiply_adds: MultiplyAdds,
    /// Median of forward, backward and update, in seconds.
    pub seconds: f64,
}

/// The cost of every arm, on random clips of `batch`. The arms take turns, so that whatever slows
/// the machine down slows all of them.
pub(super) fn costs(arms: &[Arm], batch: usize, context: &Context) -> Result<Vec<Cost>> {
    let device = context.device.clone().autodiff();
    let mut runs = arms
        .iter()
        .map(|arm| Ok((trainer(arm, batch, &device)?, Vec::with_capacity(STEPS))))
        .collect::<Result<Vec<_>>>()?;
    for step in 0..=STEPS {
        for (trainer, times) in &mut runs {
            let began = Instant::now();
            trainer.step(step)?.read()?;
            // The first step draws the weights and makes the optimiser's state.
            if step > 0 {
                times.push(began.elapsed().as_secs_f64());
            }
        }
    }
    arms.iter()
        .zip(runs)
        .map(|(arm, (_, mut times))| {
            times.sort_by(f64::total_cmp);
            let median = times.get(times.len() / 2).copied();
            let counts = arm.masking.counts(arm.model.clip.grid())?;
            Ok(Cost {
                counts,
                multiply_adds: arm.model.multiply_adds(counts[0], counts[1]),
                seconds: median.ok_or_else(|| Error::other("timing a step", "no step"))?,
            })
        })
        .collect()
}

fn trainer<'a>(arm: &'a Arm, batch: usize, device: &Device) -> Result<Supervised<'a, VideoMae>> {
    let model = initialise(device, Seed(0), || arm.model.init(device))?;
    let optimiser = PretrainingConfig::new().optimizer(&model)?;
    let clip = arm.model.clip;
    let shape = [batch, 3, clip.frames, clip.size, clip.size];
    let clips = Tensor::random(shape, Distribution::Default, device);
    Ok(Supervised::new(
        model,
        optimiser,
        1e-4,
        move |step, device| {
            let masks = arm.masking.draw(clip.grid(), batch, Seed(step as u64))?;
            Ok(MaskedClips {
                clips: clips.clone(),
                masks: masks.on(device)?,
            })
        },
    ))
}
