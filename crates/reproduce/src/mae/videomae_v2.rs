//! VideoMAE V2 on moving garments: a decoder that works on half of the cubes against one that works
//! on all hidden ones, at equal steps; features by linear probes of motion and class, and the cost.

mod data;
mod measure;
mod present;
mod published;
mod timing;

use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use burn::tensor::Device;
use data::{Film, Moving, tensor};
use measure::{Features, Pictures, Probes, pictures, probes};
use menagerie_core::{Result, Seed};
use menagerie_data_video::big_buck_bunny;
use menagerie_mae::videomae_v2::{
    self, Batches, ClipConfig, DecoderMask, Draw, LossOver, MaskingConfig, PretrainingConfig,
    TowerConfig, VideoMae, VideoMaeConfig,
};
use menagerie_report::Report;
use menagerie_train::{FitConfig, Progress, Run, Schedule, Supervised, initialise};

/// The recipe behind `cargo xtask reproduce videomae-v2`.
pub const RECIPE: Recipe = Recipe {
    system: &videomae_v2::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    match context.scale {
        Scale::Small => {
            let experiment = Experiment::small()?;
            let outcome = experiment.run(context)?;
            Ok(present::report(context, &experiment, &outcome)?)
        }
        Scale::Paper => published::run(context),
    }
}

/// One way to pre-train.
#[derive(Clone, Debug, serde::Serialize)]
struct Arm {
    /// The name of its folders.
    id: &'static str,
    /// Its name in the report.
    label: &'static str,
    model: VideoMaeConfig,
    masking: MaskingConfig,
}

const DUAL: &str = "dual";
const ENCODER_ONLY: &str = "encoder-only";
const RANDOM: &str = "random-all";
const NARROW: &str = "dual-narrow";

/// The masks of the paper and those it compares with, for `model`.
fn arms(model: VideoMaeConfig) -> Vec<Arm> {
    let arm = |id, label, model, masking| Arm {
        id,
        label,
        model,
        masking,
    };
    let (dual, random) = (
        MaskingConfig::new(),
        MaskingConfig::new().with_decoder(DecoderMask::Random(0.5)),
    );
    let TowerConfig { dim, depth, heads } = model.encoder;
    let narrow = VideoMaeConfig {
        encoder: TowerConfig::new(dim / 2, depth, heads),
        ..model
    };
    vec![
        arm(DUAL, "dual masking", model, dual),
        arm(
            ENCODER_ONLY,
            "encoder masking alone",
            model,
            MaskingConfig::encoder_only(),
        ),
        arm(
            RANDOM,
            "random decoder mask, loss on all decoded cubes",
            model.with_loss_over(LossOver::Decoded),
            random,
        ),
        arm(NARROW, "dual masking, half as wide", narrow, dual),
    ]
}

/// The whole comparison.
struct Experiment {
    moving: Moving,
    arms: Vec<Arm>,
    training: PretrainingConfig,
    steps: usize,
    /// Labelled clips for the probes, and clips to test them on.
    labelled: [usize; 2],
    /// Seeds of the arms that a claim is decided by, and of those that are reported.
    seeds: [usize; 2],
    /// Runs at a time.
    workers: usize,
    /// A film for the pictures, or why there is none.
    film: std::result::Result<Film, String>,
    film_steps: usize,
}

/// What one pre-training led to.
struct Trained {
    /// The objective by step.
    loss: Vec<(f64, f64)>,
    probes: Probes,
    pictures: Option<Pictures>,
}

/// All that is reported.
struct Outcome {
    /// `[arm][seed]`.
    arms: Vec<Vec<Trained>>,
    /// Probes of networks that were not trained, one per seed.
    untrained: Vec<Probes>,
    costs: Vec<timing::Cost>,
    film: Option<Pictures>,
}

impl Experiment {
    /// Garments of 20×20 pixels on frames of 32×32, 350 steps of 32 clips for every arm.
    fn small() -> Result<Self> {
        let clip = ClipConfig::new().with_frames(8).with_size(64).with_patch(8);
        let film = big_buck_bunny()
            .and_then(|frames| Film::new(frames, clip, 2))
            .map_err(|error| error.to_string());
        Ok(Self {
            moving: Moving::garments()?,
            arms: arms(VideoMaeConfig::experiment()),
            training: PretrainingConfig::new().with_batch(32).with_samples(1),
            steps: 350,
            labelled: [2_000, 2_000],
            seeds: [3, 1],
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            film,
            film_steps: 250,
        })
    }

    /// A short warm-up, then half a cosine: the same for every arm.
    fn schedule(&self, steps: usize) -> Schedule {
        Schedule::cosine(1e-3, steps / 20, steps).starting_at(0.0)
    }

    fn run(&self, context: &Context) -> anyhow::Result<Outcome> {
        // Before the workers start: they would share the machine with the clock.
        let costs = timing::costs(&self.arms, self.training.batch, context)?;
        let progress = Progress::auto();
        let film = match &self.film {
            Ok(film) => Some(self.film(context, film, &progress).context("the film")?),
            Err(_) => None,
        };
        let sets = [
            Moving::labelled(&self.moving.train, self.labelled[0]),
            Moving::labelled(&self.moving.test, self.labelled[1]),
        ];
        // Seed by seed, so that a run that is stopped early has the whole comparison of a few.
        let [decided, reported] = self.seeds;
        let jobs: Vec<(usize, usize)> = (0..decided.max(reported))
            .flat_map(|seed| (0..self.arms.len()).map(move |arm| (arm, seed)))
            .filter(|(arm, seed)| {
                let decides = [DUAL, ENCODER_ONLY].contains(&self.arms[*arm].id);
                *seed < if decides { decided } else { reported }
            })
            .collect();
        let found = jobs::run(&jobs, self.workers, |&(arm, number)| {
            let (arm, seed) = (&self.arms[arm], Seed(context.seed + number as u64));
            let label = format!("{}-seed{}", arm.id, seed.0);
            self.one(context, arm, seed, number == 0, &sets, &label, &progress)
                .context(label.clone())
        })?;
        let mut arms: Vec<Vec<Trained>> = self.arms.iter().map(|_| Vec::new()).collect();
        let mut untrained = Vec::new();
        for ((arm, _), (trained, before)) in jobs.into_iter().zip(found) {
            arms[arm].push(trained);
            untrained.extend(before);
        }
        Ok(Outcome {
            arms,
            untrained,
            costs,
            film,
        })
    }

    /// Pre-trains an arm with a seed and probes what came out; the first arm's network is probed
    /// before training, too.
    fn one(
        &self,
        context: &Context,
        arm: &Arm,
        seed: Seed,
        shows: bool,
        sets: &[Vec<menagerie_data_video::MovingClip>; 2],
        label: &str,
        progress: &Progress,
    ) -> Result<(Trained, Option<Probes>)> {
        let device = &context.device;
        let classes = 1 + sets[0].iter().map(|moving| moving.class).max().unwrap_or(0);
        let probe = |model: &VideoMae| {
            let [train, test] = sets.each_ref().map(|set| Features::of(model, set, device));
            probes(&train?, &test?, classes)
        };
        let before = match arm.id == DUAL {
            true => {
                let weights = seed.stream("weights");
                let fresh = initialise(device, weights, || arm.model.init(device))?;
                Some(probe(&fresh)?)
            }
            false => None,
        };
        let view = |image: usize, draw: Draw| self.moving.view(image, draw);
        let images = self.moving.train.images();
        let (model, loss) = self.pretrain(
            context,
            arm,
            (self.steps, images),
            seed,
            label,
            progress,
            view,
        )?;
        let pictures = match shows {
            true => {
                let clips: Vec<_> = (0..2).map(|at| self.moving.test.draw(at).clip).collect();
                Some(self.fill_in(&model, clips, device)?)
            }
            false => None,
        };
        let trained = Trained {
            loss,
            probes: probe(&model)?,
            pictures,
        };
        Ok((trained, before))
    }

    /// The clips with what the network makes of nine tenths of them, all hidden cubes decoded.
    fn fill_in(
        &self,
        model: &VideoMae,
        clips: Vec<menagerie_data_video::Clip>,
        device: &Device,
    ) -> Result<Pictures> {
        let masks = MaskingConfig::encoder_only();
        let seed = Seed(0).stream("pictures");
        let masks = masks.draw(model.grid(), clips.len(), seed)?.on(device)?;
        pictures(model, tensor(clips, &model.config().clip, device), &masks)
    }

    /// Trains an arm on `clips` clips that `view` shows; the network without autodiff, and its
    /// objective by step.
    fn pretrain(
        &self,
        context: &Context,
        arm: &Arm,
        (steps, clips): (usize, usize),
        seed: Seed,
        label: &str,
        progress: &Progress,
        view: impl FnMut(usize, Draw) -> Result<Vec<f32>>,
    ) -> Result<(VideoMae, Vec<(f64, f64)>)> {
        let device = context.device.clone().autodiff();
        let weights = seed.stream("weights");
        let model = initialise(&device, weights, || arm.model.init(&device))?;
        let training = self.training.clone().with_masking(arm.masking);
        // The draws of clips are the seed's alone: every arm sees the same ones.
        let clip = arm.model.clip;
        let mut batches = Batches::new(&clip, &training, clips, seed.stream("clips"), view)?;
        let setup = (arm, seed, &training, steps, format!("{:?}", context.device));
        let run = Run::create(&context.out.join(label), &setup, context.resume)?;
        let optimiser = training.optimizer(&model)?;
        let schedule = self.schedule(steps);
        let mut procedure = Supervised::new(model, optimiser, schedule, |step, device| {
            batches.batch(step, device)
        });
        let fit = FitConfig {
            log_every: (steps / 100).max(1),
            evaluate_every: 0,
            checkpoint_every: (steps / 4).max(1),
            keep_checkpoints: 1,
            ..FitConfig::new(steps)
        };
        run.fit(&mut procedure, &fit, &progress.labelled(label))?;
        let history = run.history()?;
        let loss = history
            .iter()
            .filter_map(|record| Some((record.step as f64, record.metrics.get("loss")?)))
            .collect();
        Ok((procedure.trained()?, loss))
    }

    /// A network for the frames of the film, and what it makes of the film's middle.
    fn film(&self, context: &Context, film: &Film, progress: &Progress) -> Result<Pictures> {
        let dual = self.arms.first().map(|arm| arm.model);
        let model = dual
            .unwrap_or_else(VideoMaeConfig::experiment)
            .with_clip(film.clip);
        let arm = Arm {
            id: "film",
            label: "dual masking on a film",
            model,
            masking: MaskingConfig::new(),
        };
        // One film: every batch is that often a stretch of it.
        let clips = self.training.batch;
        let (model, _) = self.pretrain(
            context,
            &arm,
            (self.film_steps, clips),
            Seed(context.seed),
            arm.id,
            progress,
            |_, draw| film.view(draw),
        )?;
        self.fill_in(&model, vec![film.middle()?], &context.device)
    }
}

#[cfg(test)]
mod tests;
