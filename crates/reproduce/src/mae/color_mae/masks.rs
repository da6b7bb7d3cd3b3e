//! What masks of each color look like, and what they cost.

use super::Experiment;
use crate::Context;
use burn::tensor::{Distribution, Tensor};
use burn::train::TrainStep;
use menagerie_core::{Error, Result, Seed};
use menagerie_mae::{
    color_mae::{
        Color, ColorMaeConfig, ColorMasks, Masking, NoiseConfig, Sampling,
        noise::{draw_white, filter, radial_power},
        statistics::hidden_components,
    },
    mae_base::{MaeConfig, MaskedImages},
};

use menagerie_report::Stat;
use std::time::Instant;

/// Masks that are counted.
const COUNTED: usize = 4_096;
/// Side of the published grid of patches.
const PUBLISHED_GRID: usize = 14;
/// Tiles whose power is averaged, and their side.
const POWER: [usize; 2] = [64, 64];
/// Masks that are drawn at once, the published batch of a device.
const BATCH: usize = 512;
/// Repetitions of which the median is taken.
const REPETITIONS: usize = 9;
/// Images of a step that is timed.
const STEP_BATCH: usize = 64;
/// Masks that are shown.
const SHOWN: usize = 6;

/// What the noise and the masks of a color look like.
pub(super) struct Look {
    pub color: Color,
    /// Mean power at the frequencies 1, 2, … per tile.
    pub power: Vec<f64>,
    /// Connected hidden areas of a mask on the grid of the experiment.
    pub areas: Stat,
    /// The same on the published grid of 14×14.
    pub published_areas: Stat,
    /// A tile of noise in 0..=1, `[64, 64]`.
    pub noise: Vec<f32>,
    /// Masks on the published grid, 1 for visible, in squares of the tile's size.
    pub masks: Vec<Vec<f32>>,
}

/// Looks at every color.
pub(super) fn looks(experiment: &Experiment, context: &Context) -> Result<Vec<Look>> {
    Color::ALL
        .into_iter()
        .map(|color| look(experiment, context, color))
        .collect()
}

fn look(experiment: &Experiment, context: &Context, color: Color) -> Result<Look> {
    let [slices, size] = POWER;
    let noise = NoiseConfig {
        color,
        slices,
        size,
        ..experiment.noise.clone()
    };
    let seed = Seed(context.seed).stream("looks");
    let power = radial_power(&filter(&draw_white(&noise, seed), &noise)?, size)?;
    let bank = noise.init(seed)?;
    let ratio = experiment.model.mask_ratio;
    let draw = |grid: usize, count: usize| {
        let masks = ColorMasks::new(bank.clone(), Sampling::PerImage, grid, ratio)?;
        hidden(&masks.draw(count, seed.stream("masks"), &context.device)?)
    };
    let areas = |grid: usize| -> Result<Stat> {
        let masks = draw(grid, COUNTED)?;
        let areas = masks.chunks(grid * grid);
        Ok(areas
            .map(|mask| hidden_components(mask, grid) as f64)
            .collect())
    };
    let shown = draw(PUBLISHED_GRID, SHOWN)?;
    Ok(Look {
        color,
        power,
        areas: areas(experiment.model.encoder.grid())?,
        published_areas: areas(PUBLISHED_GRID)?,
        noise: bank.values()[..size * size].to_vec(),
        masks: shown
            .chunks(PUBLISHED_GRID * PUBLISHED_GRID)
            .map(|mask| enlarged(mask, PUBLISHED_GRID, size))
            .collect(),
    })
}

/// Whether each patch is hidden, `[batch, tokens]`.
fn hidden(masking: &Masking) -> Result<Vec<bool>> {
    let mask = masking.mask.clone().into_data();
    let mask = mask
        .try_into_vec::<f32>()
        .map_err(|error| Error::other("reading masks", error))?;
    Ok(mask.iter().map(|value| *value > 0.5).collect())
}

/// A mask as a picture of `size` × `size`: visible patches white, in the middle of black.
fn enlarged(mask: &[bool], grid: usize, size: usize) -> Vec<f32> {
    let side = size / grid;
    let margin = (size - side * grid) / 2;
    (0..size * size)
        .map(|at| {
            let [row, column] = [at / size, at % size]
                .map(|place| place.checked_sub(margin).map_or(grid, |place| place / side));
            let inside = row < grid && column < grid;
            f32::from(inside && !mask[row * grid + column])
        })
        .collect()
}

/// The time of something with green and with random masks, in seconds.
pub(super) struct Cost {
    pub what: &'static str,
    pub green: f64,
    pub random: f64,
}

/// Times masks alone, and a step of the experiment's model with each.
pub(super) fn costs(experiment: &Experiment, context: &Context) -> Result<Vec<Cost>> {
    let published = ColorMaeConfig::base();
    let green = |grid: usize| {
        let noise = NoiseConfig::new(Color::Green)
            .with_slices(512)
            .with_size(64);
        let bank = noise.init(Seed(0))?;
        ColorMasks::new(bank, Sampling::Grouped, grid, published.mae.mask_ratio)
    };
    let masks = green(PUBLISHED_GRID)?;
    let draws: [&dyn Fn(Seed) -> Result<Masking>; 2] =
        [&|seed| masks.draw(BATCH, seed, &context.device), &|seed| {
            published.mae.draw_masking(BATCH, seed, &context.device)
        }];
    let [green_masks, random_masks] = medians(
        draws.map(|draw| move |seed| draw(seed).and_then(|masking| hidden(&masking)).map(|_| ())),
    )?;

    let device = context.device.clone().autodiff();
    let config: &MaeConfig = &experiment.model;
    let model = config.init(&device)?;
    let side = config.encoder.image;
    let images = Tensor::random([STEP_BATCH, 3, side, side], Distribution::Default, &device);
    let masks = green(config.encoder.grid())?;
    let draws: [&dyn Fn(Seed) -> Result<Masking>; 2] =
        [&|seed| masks.draw(STEP_BATCH, seed, &device), &|seed| {
            config.draw_masking(STEP_BATCH, seed, &device)
        }];
    let [green_step, random_step] = medians(draws.map(|draw| {
        let (model, images) = (&model, images.clone());
        move |seed| {
            let batch = MaskedImages {
                images: images.clone(),
                masking: draw(seed)?,
            };
            TrainStep::step(model, batch).item.read().map(|_| ())
        }
    }))?;
    Ok(vec![
        Cost {
            what: "512 masks of 14×14",
            green: green_masks,
            random: random_masks,
        },
        Cost {
            what: "forward and backward of 64 images of this run",
            green: green_step,
            random: random_step,
        },
    ])
}

/// The median time of each of two things, in turns.
fn medians(mut runs: [impl FnMut(Seed) -> Result<()>; 2]) -> Result<[f64; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for repetition in 0..=REPETITIONS {
        for (run, times) in runs.iter_mut().zip(&mut times) {
            let began = Instant::now();
            run(Seed(repetition as u64))?;
            // The first ones make what is made once.
            if repetition > 0 {
                times.push(began.elapsed().as_secs_f64());
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[REPETITIONS / 2]
    }))
}
