//! Spoken digits at 8 kHz: how much faster sub-bands are, how compact the latent space becomes, and
//! what the second stage of training does to it.

mod data;
mod measure;
mod present;

use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use data::Speech;
use measure::{Compaction, Speeds, compaction, speeds};
use menagerie_codec::rave::{
    self, DiscriminatorConfig, LatentAnalysis, Rave, RaveConfig, RaveTraining, RaveTrainingConfig,
    SecondStage, Version,
};
use menagerie_core::{Error, Result, Seed};
use menagerie_report::Report;
use menagerie_train::{FitConfig, Progress, Run, Schedule, Split, initialise};
use serde::Serialize;
use std::path::Path;

/// The recipe behind `cargo xtask reproduce rave`.
pub const RECIPE: Recipe = Recipe {
    system: &rave::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale)?;
    let results = all(&experiment, context)?;
    Ok(present::report(context, &experiment, &results)?)
}

/// The whole comparison.
struct Experiment {
    speech: Speech,
    config: RaveConfig,
    discriminator: DiscriminatorConfig,
    training: RaveTrainingConfig,
    /// Steps of the second stage.
    second: usize,
    /// Held-out crops that are measured.
    held_out: usize,
    /// Capacity of the timed networks on sub-bands and on the waveform, and seconds of audio.
    timed: (usize, f64),
    /// The model whose speed is the paper's headline.
    headline: RaveConfig,
    /// Frames of audio in it.
    seconds: f64,
}

impl Experiment {
    fn of(scale: Scale) -> anyhow::Result<Self> {
        match scale {
            Scale::Small => Ok(Self::small(Speech::digits()?)),
            Scale::Paper => Self::paper(),
        }
    }

    /// The card's experiment.
    fn small(speech: Speech) -> Self {
        let mut discriminator = DiscriminatorConfig::new(Version::V1, 4);
        discriminator.layers = 3;
        Self {
            speech,
            config: RaveConfig::speech(),
            discriminator,
            training: RaveTrainingConfig::new(Schedule::constant(1e-3))
                .with_steps(1_500)
                .with_warmup(1_500)
                .with_crop(8_192)
                .with_scales(vec![1024, 512, 256, 128, 64]),
            second: 500,
            held_out: 64,
            timed: (16, 4.0),
            headline: RaveConfig::v1(),
            seconds: 4.0,
        }
    }

    /// The published model and schedule on a folder of recordings, `vctk` in `MENAGERIE_DATA`.
    fn paper() -> anyhow::Result<Self> {
        let root = std::env::var_os("MENAGERIE_DATA").context(
            "VCTK is not fetched: set MENAGERIE_DATA to a folder that holds vctk with recordings as \
             WAV files",
        )?;
        let config = RaveConfig::v1();
        let training = RaveTrainingConfig::v1();
        Ok(Self {
            speech: Speech::folder(&Path::new(&root).join("vctk"), config.sample_rate as u32)?,
            second: training.steps - training.warmup,
            training: training.with_steps(1_000_000),
            discriminator: DiscriminatorConfig::v1(),
            held_out: 256,
            timed: (64, 4.0),
            headline: config.clone(),
            seconds: 4.0,
            config,
        })
    }
}

/// One arm of the second stage.
struct SecondArm {
    stage: SecondStage,
    analysis: LatentAnalysis,
    /// Spectral distance of held-out reconstructions.
    distance: f64,
}

struct Results {
    speeds: Speeds,
    /// The spectral distance of held-out reconstructions by step of the first stage.
    curve: Vec<(f64, f64)>,
    analysis: LatentAnalysis,
    compaction: Compaction,
    second: Vec<SecondArm>,
    /// A held-out signal, and its reconstructions by name.
    sounds: Vec<(String, Vec<f32>)>,
}

fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Results> {
    let progress = Progress::auto();
    let seed = Seed(context.seed);
    let speeds = speeds(experiment, &context.device, seed)?;
    let (first, curve) = first_stage(experiment, context, seed, &progress)?;
    let held_out = held_out(experiment, &context.device)?;
    let model = first.clone().valid();
    let analysis = LatentAnalysis::fit(measure::means(&model, &held_out)?)?;
    let scales = &experiment.training.scales;
    let compaction = compaction(&model, &analysis, &held_out, scales)?;

    let arms = [SecondStage::Decoder, SecondStage::Both];
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let trained = jobs::run(&arms, workers.min(2), |stage| {
        let label = format!("second-{stage:?}").to_lowercase();
        second_stage(experiment, context, &first, *stage, seed, &label, &progress).context(label)
    })?;
    let mut second = Vec::new();
    let mut sounds = measure::sounds(&model, &analysis, &experiment.speech, seed)?;
    for (stage, model) in arms.into_iter().zip(&trained) {
        second.push(SecondArm {
            stage,
            analysis: LatentAnalysis::fit(measure::means(model, &held_out)?)?,
            distance: measure::distance(model, &held_out, scales)?,
        });
        if stage == SecondStage::Decoder {
            let sound = measure::reconstructed(model, &experiment.speech, Some(seed))?;
            sounds.push(("after the second stage, with noise".into(), sound));
        }
    }
    Ok(Results {
        speeds,
        curve,
        analysis,
        compaction,
        second,
        sounds,
    })
}

/// Held-out crops, `[crops, 1, time]`.
fn held_out(experiment: &Experiment, device: &Device) -> Result<Tensor<3>> {
    let crop = experiment.training.crop;
    experiment
        .speech
        .held_out(experiment.held_out, crop, device)
}

#[derive(Serialize)]
struct Setup<'a> {
    config: &'a RaveConfig,
    training: &'a RaveTrainingConfig,
    discriminator: &'a DiscriminatorConfig,
    seed: Seed,
}

/// Trains as `training` says; the model on the device with autodiff, and the evaluated distance by
/// step.
fn train(
    experiment: &Experiment,
    context: &Context,
    model: Rave,
    training: &RaveTrainingConfig,
    seed: Seed,
    label: &str,
    progress: &Progress,
) -> Result<(Rave, Vec<(f64, f64)>)> {
    let tracked = context.device.clone().autodiff();
    let nets = &experiment.discriminator;
    let discriminator = initialise(&tracked, seed.stream("nets"), || nets.init(&tracked))?;
    let setup = Setup {
        config: &experiment.config,
        training,
        discriminator: nets,
        seed,
    };
    let (rows, crop) = (training.batch, training.crop);
    let batch = |step: usize, device: &Device| {
        let seed = seed.stream("crops").at(step as u64);
        experiment.speech.batch(rows, crop, seed, device)
    };
    let measured =
        experiment
            .speech
            .held_out(experiment.held_out.min(16), crop, &context.device)?;
    let mut procedure = RaveTraining::new(
        model,
        discriminator,
        training.clone(),
        seed,
        &tracked,
        batch,
    )?
    .evaluating(|model, _| {
        let distance = measure::distance(model, &measured, &training.scales)?;
        Ok(menagerie_train::Metrics::new().with("distance", distance))
    });
    let run = Run::create(&context.out.join(label), &setup, context.resume)?;
    run.fit(
        &mut procedure,
        &FitConfig::new(training.steps),
        &progress.labelled(label),
    )?;
    let curve = run.history()?;
    let curve = curve
        .iter()
        .filter(|record| record.split == Split::Evaluation)
        .filter_map(|record| Some((record.step as f64, record.metrics.get("distance")?)));
    Ok((procedure.model()?.clone(), curve.collect()))
}

fn first_stage(
    experiment: &Experiment,
    context: &Context,
    seed: Seed,
    progress: &Progress,
) -> Result<(Rave, Vec<(f64, f64)>)> {
    let tracked = context.device.clone().autodiff();
    let config = &experiment.config;
    let model = initialise(&tracked, seed.stream("weights"), || config.init(&tracked))?;
    let training = &experiment.training;
    train(
        experiment, context, model, training, seed, "first", progress,
    )
}

/// The same weights with discriminators, whose steps alternate with the generator's; without
/// autodiff.
fn second_stage(
    experiment: &Experiment,
    context: &Context,
    first: &Rave,
    stage: SecondStage,
    seed: Seed,
    label: &str,
    progress: &Progress,
) -> Result<Rave> {
    let tracked = context.device.clone().autodiff();
    // A module of its own: running statistics are shared between clones.
    let weights =
        menagerie_hub::StateDict::from_tensors("the first stage", menagerie_hub::values(first));
    let config = &experiment.config;
    let fresh = initialise(&tracked, seed.stream("weights"), || config.init(&tracked))?;
    let model = menagerie_hub::load(fresh, &weights, &menagerie_hub::KeyMap::identity())?;
    let training = experiment
        .training
        .clone()
        .with_steps(experiment.second)
        .with_warmup(0)
        .with_second_stage(stage);
    let seed = seed.stream("second");
    let trained = train(experiment, context, model, &training, seed, label, progress)?;
    if experiment.second == 0 {
        return Err(Error::other("the second stage", "has no step"));
    }
    Ok(trained.0.valid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use menagerie_codec::rave::NoiseConfig;

    #[test]
    fn every_stage_trains_resumes_and_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let context = |resume| Context {
            device: Device::default(),
            seed: 3,
            scale: Scale::Small,
            out: dir.path().into(),
            resume,
        };
        let tones: Vec<f32> = (0..40_000)
            .map(|t| 0.3 * (0.1 * t as f32).sin() + 0.1 * (1e-5 * (t * t) as f32).sin())
            .collect();
        let mut experiment = Experiment::small(Speech::from_samples(tones.clone(), tones, 8_000));
        let tiny = RaveConfig::speech()
            .with_capacity(2)
            .with_latent(4)
            .with_noise(Some(NoiseConfig::new(vec![4, 4])));
        experiment.config = tiny.clone();
        experiment.headline = tiny;
        experiment.seconds = 0.3;
        experiment.timed = (2, 0.3);
        experiment.discriminator.capacity = 2;
        experiment.discriminator.layers = 1;
        experiment.training = experiment
            .training
            .clone()
            .with_steps(3)
            .with_warmup(3)
            .with_batch(2)
            .with_crop(2_048)
            .with_scales(vec![256, 64]);
        experiment.second = 4;
        experiment.held_out = 4;
        let results = all(&experiment, &context(false)).unwrap();
        let again = all(&experiment, &context(true)).unwrap();
        assert_eq!(results.analysis, again.analysis);
        assert_eq!(results.second[1].analysis, again.second[1].analysis);
        // The frozen encoder says the same as before.
        assert_eq!(results.second[0].analysis, results.analysis);
        assert_ne!(results.second[1].analysis, results.analysis);
        let report = present::report(&context(true), &experiment, &results).unwrap();
        report.write(dir.path()).unwrap();
        assert!(dir.path().join("media/original.wav").is_file());
        assert!(report.summary().contains("compaction"));
        let error = all(&experiment, &context(false)).err().unwrap();
        assert!(format!("{error:#}").contains("already holds a run"));
    }
}
