//! The published recipe: ViT-B with both masks and with the encoder's alone, fine-tuned, tested with
//! several views.

use super::{DUAL, ENCODER_ONLY, data::Films, timing};
use crate::Context;
use anyhow::Context as _;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Result, Seed};
use menagerie_hub::StateDict;
use menagerie_mae::videomae_v2::{
    Batches, ClassifierConfig, Draw, FinetuningConfig, PretrainingConfig, SYSTEM, VideoMaeConfig,
    weights,
};
use menagerie_report::{Cell, Report, Table, Verdict, cells};
use menagerie_train::{FitConfig, Progress, Run, Sampler, Supervised, initialise};
use std::path::{Path, PathBuf};

/// Frames between two frames of a clip.
const STRIDE: usize = 4;

/// What is run.
pub(super) struct Published {
    pub model: VideoMaeConfig,
    pub pretraining: PretrainingConfig,
    pub finetuning: FinetuningConfig,
    pub stride: usize,
    /// Whether clips are mirrored in fine-tuning, as on Kinetics.
    pub mirrored: bool,
}

/// ViT-B on the films in the folder `videos` of `MENAGERIE_DATA`: `train` and `val`, a folder for
/// each class, in it a folder of frames or a file for each film. The paper pre-trains on a mixture of
/// which a part is not public, and tests on Kinetics and Something-Something.
pub(super) fn run(context: &Context) -> anyhow::Result<Report> {
    let root = std::env::var_os("MENAGERIE_DATA").map(PathBuf::from).context(
        "films are not fetched: set MENAGERIE_DATA to a folder that holds videos/train/<class> and \
         videos/val/<class>",
    )?;
    let published = Published {
        model: VideoMaeConfig::base(),
        pretraining: PretrainingConfig::base(),
        finetuning: FinetuningConfig::base(),
        stride: STRIDE,
        mirrored: true,
    };
    published.run(context, &root.join("videos"))
}

impl Published {
    pub fn run(&self, context: &Context, dir: &Path) -> anyhow::Result<Report> {
        let films = Films::open(dir, self.model.clip, self.stride)?;
        let arms: Vec<_> = super::arms(self.model)
            .into_iter()
            .filter(|arm| [DUAL, ENCODER_ONLY].contains(&arm.id))
            .collect();
        let costs = timing::costs(&arms, 1, context)?;
        let progress = Progress::auto();
        let mut accuracies = Vec::with_capacity(arms.len());
        for arm in &arms {
            let accuracy = self.one(context, arm, &films, &progress);
            accuracies.push(accuracy.with_context(|| arm.label)?);
        }
        let mut report = Report::new(&SYSTEM);
        report
            .setting("films to train on", films.train.len())
            .setting("films to test with", films.test.len());
        let mut table = Table::new(
            "Top-1 after fine-tuning, 5 × 3 views, in %",
            [
                "pre-training",
                "accuracy",
                "time of a step with one clip, s",
            ],
        );
        for ((arm, accuracy), cost) in arms.iter().zip(&accuracies).zip(&costs) {
            table.push(cells![
                arm.label,
                Cell::fixed(*accuracy, 2),
                Cell::fixed(cost.seconds, 2)
            ]);
        }
        report.table(table)?;
        if let ([dual, alone], [cost, whole]) = (&accuracies[..], &costs[..]) {
            report.verdict(
                "accuracy",
                Verdict::decided(
                    *dual >= alone - 1.0,
                    format!("{dual:.2} against {alone:.2} %"),
                    "at most 1 point below encoder masking alone",
                ),
            )?;
            let share = cost.multiply_adds.total() as f64 / whole.multiply_adds.total() as f64;
            let time = cost.seconds / whole.seconds;
            report.verdict(
                "cost",
                Verdict::decided(
                    share <= 0.75 && time < 0.85,
                    format!("{share:.2} of the multiply-adds, {time:.2} of the time"),
                    "at most 0.75 of the multiply-adds and less than 0.85 of the time",
                ),
            )?;
        }
        for id in ["decoder-mask", "model-size"] {
            let rule = "further runs of this size are left to the reader";
            report.verdict(id, Verdict::reported("not run", rule))?;
        }
        Ok(report)
    }

    /// Pre-trains an arm, fine-tunes it, and tests it: the accuracy in percent.
    fn one(
        &self,
        context: &Context,
        arm: &super::Arm,
        films: &Films,
        progress: &Progress,
    ) -> Result<f64> {
        let device = context.device.clone().autodiff();
        let seed = Seed(context.seed);
        let model = initialise(&device, seed.stream("weights"), || arm.model.init(&device))?;
        let training = self.pretraining.clone().with_masking(arm.masking);
        let view = |film: usize, draw: Draw| films.view(film, draw);
        let clips = seed.stream("clips");
        let mut batches = Batches::new(&arm.model.clip, &training, films.train.len(), clips, view)?;
        let epoch = batches.steps_per_epoch();
        let schedule = training.schedule().steps(epoch)?;
        let optimiser = training.optimizer(&model)?;
        let mut procedure = Supervised::new(model, optimiser, schedule, |step, device| {
            batches.batch(step, device)
        });
        if let Some(norm) = training.clip_norm {
            procedure = procedure.clipping(norm)?;
        }
        let name = format!("{}-pre-training", arm.id);
        let run = Run::create(&context.out.join(&name), &(arm, &training), context.resume)?;
        let steps = (training.epochs * epoch as f64).ceil() as usize;
        run.fit(
            &mut procedure,
            &FitConfig::new(steps),
            &progress.labelled(&name),
        )?;

        let classes = films.train.class_names().len();
        let config = ClassifierConfig::of(&arm.model, Some(classes));
        let official =
            weights::key_map().to_official(&menagerie_hub::values(&procedure.trained()?))?;
        let official = StateDict::from_tensors(name, official);
        let model = initialise(&device, seed.stream("classifier"), || {
            Ok(weights::load_pretrained(&config, official, &device)?.0)
        })?;
        let model = self.finetune(context, arm, films, model, seed, progress)?;
        let mut right = 0;
        for (film, label) in films.test.labels().iter().enumerate() {
            let views = films.views(film, &context.device)?;
            let best = model.classify_views(views)?.argmax(0).into_data();
            right += usize::from(best.iter::<i64>().next() == Some(*label as i64));
        }
        Ok(100.0 * right as f64 / films.test.len() as f64)
    }

    fn finetune(
        &self,
        context: &Context,
        arm: &super::Arm,
        films: &Films,
        model: menagerie_mae::videomae_v2::Classifier,
        seed: Seed,
        progress: &Progress,
    ) -> Result<menagerie_mae::videomae_v2::Classifier> {
        let training = &self.finetuning;
        let order = seed.stream("fine-tuning order");
        let mut sampler = Sampler::shuffled(films.train.len(), training.batch, order)?;
        let epoch = sampler.steps_per_epoch();
        let rates = training.rates(&model, training.schedule().steps(epoch)?)?;
        let optimiser = training.optimizer(&model)?;
        let clip = arm.model.clip;
        let frozen = model.clone();
        let batch = |step: usize, device: &Device| {
            let draws = seed.stream("fine-tuning").at(step as u64);
            let (loads, views) = (draws.stream("load"), draws.stream("view"));
            let mut values = Vec::new();
            let mut labels = Vec::new();
            for (place, film) in sampler.indices(step).into_iter().enumerate() {
                for sample in 0..training.samples {
                    let draw = Draw {
                        load: loads.at(place as u64),
                        view: views.at((place * training.samples + sample) as u64),
                    };
                    values.extend(films.tuning_view(film, draw, self.mirrored)?);
                    labels.push(films.train.labels()[film]);
                }
            }
            let shape = [labels.len(), 3, clip.frames, clip.size, clip.size];
            let clips = Tensor::from_data(TensorData::new(values, shape), device);
            training.prepare(&frozen, clips, &labels, draws.stream("mix"))
        };
        let mut procedure = Supervised::new(model, optimiser, rates, batch);
        if let Some(norm) = training.clip_norm {
            procedure = procedure.clipping(norm)?;
        }
        let name = format!("{}-fine-tuning", arm.id);
        let run = Run::create(&context.out.join(&name), &(arm, training), context.resume)?;
        let steps = (training.epochs * epoch as f64).ceil() as usize;
        run.fit(
            &mut procedure,
            &FitConfig::new(steps),
            &progress.labelled(&name),
        )?;
        procedure.trained()
    }
}
