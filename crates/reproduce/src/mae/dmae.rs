//! Distillation on Fashion-MNIST: a student that learns from a middle block of a pre-trained teacher
//! against one that is pre-trained alone for as many steps, and against other targets and masks.

mod measure;
mod present;

use super::common::{Batches, Images, Length, Protocol, fine_tune, fit, probe};
use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use burn::tensor::Device;
use measure::{Cost, Tiles, cost, originals, pictures};
use menagerie_core::{Result, Seed};
use menagerie_data_image::{FolderConfig, Split, augment::Augmentation, fashion_mnist, folder};
use menagerie_mae::dmae::{self, DistillationBatch, DmaeConfig, Teacher};
use menagerie_mae::mae_base::{
    ClassifierConfig, DecoderConfig, EpochSchedule, FinetuningConfig, Mae, MaeConfig, MaskedImages,
    MixConfig, PretrainingConfig, ProbingConfig, VitConfig, weights,
};
use menagerie_report::Report;
use menagerie_train::{Progress, Supervised, initialise};
use serde::Serialize;

/// The recipe behind `cargo xtask reproduce dmae`.
pub const RECIPE: Recipe = Recipe {
    system: &dmae::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale)?;
    let results = all(&experiment, context)?;
    Ok(present::report(context, &experiment, &results)?)
}

/// Where the teacher comes from.
#[derive(Clone, Debug)]
enum Origin {
    /// Pre-trained here, for so long.
    Trained(Box<MaeConfig>, Length),
    /// A checkpoint of the official kind.
    File(std::path::PathBuf),
}

/// One way to train the student.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Arm {
    pub name: &'static str,
    /// The teacher's block that is aligned; `None` for pre-training alone.
    pub teacher_block: Option<usize>,
    pub mask_ratio: f64,
    /// Whether the distance is multiplied by the root of the teacher's width, which the paper does
    /// not do.
    pub scaled: bool,
    /// Whether it is fine-tuned besides probed.
    pub tuned: bool,
    /// Whether a claim is decided by it: by all seeds then, by one otherwise.
    pub decides: bool,
}

/// The whole comparison.
struct Experiment {
    unlabelled: Images,
    train: Images,
    test: Images,
    labels: usize,
    origin: Origin,
    /// Of the arm that the paper proposes.
    config: DmaeConfig,
    arms: Vec<Arm>,
    distillation: (PretrainingConfig, Length),
    probing: Protocol,
    finetuning: (FinetuningConfig, Length),
    drop_path: f64,
    /// Of arms that decide a claim.
    seeds: usize,
    workers: usize,
    /// Images of a timed pass of the teacher.
    timed: usize,
}

impl Experiment {
    fn of(scale: Scale) -> anyhow::Result<Self> {
        match scale {
            Scale::Small => Ok(Self::small()?),
            Scale::Paper => Self::paper(),
        }
    }

    /// 49 patches; a teacher of eight blocks of width 128, a student of four of width 48. About two
    /// thirds of 3 000 and 1 000 steps, in batches of 32 for 128, so that the run fits ten minutes.
    fn small() -> Result<Self> {
        let train = Images::padded(fashion_mnist(Split::Train)?, 28)?;
        let test = fashion_mnist(Split::Test)?.stratified(2_000, Seed(0))?;
        let decoder = DecoderConfig::new(64, 2, 4);
        let mae = |dim: usize, depth: usize| {
            MaeConfig::new(VitConfig::new(28, 4, dim, depth, 4), decoder.clone())
                .with_norm_pix_loss(false)
        };
        let (student, teacher) = (mae(48, 4), mae(128, 8));
        let length = |steps: usize| Length::new(steps, 32, 1e-3);
        let config = DmaeConfig::new(student, teacher.encoder.clone(), vec![2], vec![5]);
        let arm = |name, teacher_block| Arm {
            name,
            teacher_block,
            mask_ratio: 0.75,
            scaled: false,
            tuned: false,
            decides: false,
        };
        let decides = |arm: Arm| Arm {
            decides: true,
            ..arm
        };
        let tuned = |arm: Arm| Arm {
            tuned: true,
            ..decides(arm)
        };
        Ok(Self {
            unlabelled: train.clone(),
            train,
            test: Images::padded(test, 28)?,
            labels: 1_000,
            origin: Origin::Trained(Box::new(teacher), length(2_000)),
            arms: vec![
                tuned(arm("alone", None)),
                tuned(arm("distilled", Some(5))),
                arm("last block", Some(7)),
                Arm {
                    mask_ratio: 0.9,
                    ..decides(arm("nine tenths hidden", Some(5)))
                },
                Arm {
                    scaled: true,
                    ..arm("scaled distance", Some(5))
                },
            ],
            config,
            distillation: (PretrainingConfig::new(), length(700)),
            probing: Protocol::Whole(300),
            finetuning: (
                FinetuningConfig::new()
                    .with_layer_decay(1.0)
                    .with_mix(MixConfig::none()),
                Length::new(150, 64, 1e-3),
            ),
            drop_path: 0.0,
            seeds: 3,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            timed: 64,
        })
    }

    /// ViT-L to ViT-B on ImageNet, both read from `MENAGERIE_DATA`: the folder `imagenet`, and the
    /// teacher's checkpoint `mae_visualize_vit_large.pth`.
    fn paper() -> anyhow::Result<Self> {
        let root = std::env::var_os("MENAGERIE_DATA").context(
            "ImageNet is not fetched: set MENAGERIE_DATA to a folder that holds imagenet/train, \
             imagenet/val and mae_visualize_vit_large.pth",
        )?;
        let root = std::path::PathBuf::from(root);
        let read = |part: &str| {
            let config = FolderConfig {
                channels: 3,
                size: Some([256, 256]),
            };
            folder(&root.join("imagenet").join(part), &config).map(|(set, _)| set)
        };
        let config = DmaeConfig::base();
        let side = config.student.encoder.image;
        let unlabelled = Images::augmented(read("train")?, Augmentation::pre_training(side))?;
        let (distillation, finetuning) = (dmae::distillation(), dmae::fine_tuning());
        let length =
            |rates: &EpochSchedule, batch: usize| Length::published(rates, unlabelled.len(), batch);
        let arm = |name, teacher_block, mask_ratio| Arm {
            name,
            teacher_block,
            mask_ratio,
            scaled: false,
            tuned: true,
            decides: true,
        };
        let lengths = [
            length(&distillation.schedule(), distillation.batch)?,
            length(&finetuning.schedule(), finetuning.batch)?,
        ];
        let [distilling, tuning] = lengths;
        Ok(Self {
            train: unlabelled.with_augmentation(Augmentation::fine_tuning(side))?,
            test: Images::augmented(read("val")?, Augmentation::evaluation(side))?,
            labels: unlabelled.len(),
            unlabelled,
            origin: Origin::File(root.join("mae_visualize_vit_large.pth")),
            arms: vec![
                arm("alone", None, 0.75),
                arm("distilled", Some(17), 0.75),
                arm("last block", Some(23), 0.75),
                arm("nine tenths hidden", Some(17), 0.95),
            ],
            config,
            distillation: (distillation, distilling),
            probing: Protocol::Published(ProbingConfig::new()),
            finetuning: (finetuning, tuning),
            drop_path: 0.15,
            seeds: 1,
            workers: 1,
            timed: 32,
        })
    }

    fn arm_config(&self, arm: &Arm) -> DmaeConfig {
        let mut config = self.config.clone();
        config.student.mask_ratio = arm.mask_ratio;
        if let Some(block) = arm.teacher_block {
            config.teacher_blocks = vec![block];
        }
        if arm.scaled {
            config.alignment = config.width_factor();
        }
        config
    }
}

/// What came of one arm with one seed.
struct Outcome {
    arm: Arm,
    /// The seed's place in the list, from 0.
    seed: usize,
    /// Accuracy of a linear probe, in percent.
    probe: f64,
    /// Accuracy after fine-tuning, in percent.
    tuned: Option<f64>,
    /// The first test images as the student fills them in.
    pictures: Option<Tiles>,
}

struct Results {
    outcomes: Vec<Outcome>,
    /// The linear probe of the teacher's own features, in percent.
    teacher_probe: f64,
    cost: Option<Cost>,
    /// The first test images, the visible part of them, and what the teacher makes of it.
    pictures: [Tiles; 3],
}

fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Results> {
    let progress = Progress::auto();
    let seed = Seed(context.seed).stream("teacher");
    let teacher = teacher(experiment, context, seed, &progress).context("teacher")?;
    let labelled = experiment
        .train
        .stratified(experiment.labels, seed.stream("labels"))?;
    let sets = [&labelled, &experiment.test];
    let name = "teacher-probe";
    let teacher_probe = probe(
        context,
        name,
        &teacher.encoder,
        sets,
        &experiment.probing,
        seed,
        &progress,
    )?;
    let cost = cost(experiment, &teacher, &context.device)?;
    let [images, visible] = originals(experiment, context)?;
    let filled = pictures(&teacher, experiment, context)?;

    let jobs: Vec<(usize, Arm)> = (0..experiment.seeds)
        .flat_map(|seed| experiment.arms.iter().map(move |arm| (seed, arm.clone())))
        .filter(|(seed, arm)| arm.decides || *seed == 0)
        .collect();
    let outcomes = jobs::run(&jobs, experiment.workers, |(seed, arm)| {
        let label = format!("{}-seed{seed}", arm.name.replace(' ', "-"));
        one(experiment, context, &teacher, arm, *seed, &label, &progress).context(label.clone())
    })?;
    Ok(Results {
        outcomes,
        teacher_probe,
        cost: Some(cost),
        pictures: [images, visible, filled],
    })
}

/// The teacher, whole and without autodiff.
fn teacher(
    experiment: &Experiment,
    context: &Context,
    seed: Seed,
    progress: &Progress,
) -> Result<Mae> {
    match &experiment.origin {
        Origin::File(path) => {
            let config = MaeConfig::large().with_norm_pix_loss(false);
            weights::load(&config, path, &context.device)
        }
        Origin::Trained(config, length) => {
            let (training, _) = &experiment.distillation;
            let tracked = context.device.clone().autodiff();
            let model = initialise(&tracked, seed.stream("weights"), || config.init(&tracked))?;
            let optimiser = training.optimizer(&model)?;
            let mut batches = Batches::new(experiment.unlabelled.clone(), length.batch, seed)?;
            let batch = |step: usize, device: &Device| {
                let (images, _, seed) = batches.at(step, device)?;
                let rows = images.dims()[0];
                let masking = config.draw_masking(rows, seed.stream("mask"), device)?;
                Ok(MaskedImages { images, masking })
            };
            let setup = (seed, length, training, config);
            let procedure = Supervised::new(model, optimiser, length.schedule.clone(), batch);
            let fitted = fit(
                context,
                "teacher",
                &setup,
                procedure,
                &length.fit(),
                progress,
            )?;
            Ok(fitted.0)
        }
    }
}

fn one(
    experiment: &Experiment,
    context: &Context,
    teacher: &Mae,
    arm: &Arm,
    index: usize,
    label: &str,
    progress: &Progress,
) -> Result<Outcome> {
    // Arms of a seed share weights, batches and masks.
    let seed = Seed(context.seed + index as u64).stream("student");
    let student = student(experiment, context, teacher, arm, seed, label, progress)?;
    let labelled = experiment
        .train
        .stratified(experiment.labels, seed.stream("labels"))?;
    let sets = [&labelled, &experiment.test];
    let name = format!("{label}-probe");
    let probe = probe(
        context,
        &name,
        &student.encoder,
        sets,
        &experiment.probing,
        seed,
        progress,
    )?;
    let tuned = arm
        .tuned
        .then(|| {
            let classes = labelled.class_names().len();
            let config = ClassifierConfig::new(student.config().encoder.clone(), classes)
                .with_drop_path(experiment.drop_path);
            let tracked = context.device.clone().autodiff();
            let (training, length) = &experiment.finetuning;
            let state = weights::state_dict(&student)?;
            let classifier = initialise(&tracked, seed.stream("classifier"), || {
                weights::pretrained_from(&config, state, &tracked).map(|(model, _)| model)
            })?;
            let (name, training) = (format!("{label}-fine-tuning"), (training, length));
            fine_tune(context, &name, classifier, sets, training, seed, progress)
        })
        .transpose()?;
    Ok(Outcome {
        arm: arm.clone(),
        seed: index,
        probe,
        tuned,
        pictures: (index == 0 && arm.tuned)
            .then(|| pictures(&student, experiment, context))
            .transpose()?,
    })
}

/// A student trained as the arm says, without autodiff.
fn student(
    experiment: &Experiment,
    context: &Context,
    teacher: &Mae,
    arm: &Arm,
    seed: Seed,
    label: &str,
    progress: &Progress,
) -> Result<Mae> {
    let config = experiment.arm_config(arm);
    let (training, length) = &experiment.distillation;
    let tracked = context.device.clone().autodiff();
    let mut batches = Batches::new(experiment.unlabelled.clone(), length.batch, seed)?;
    let mut masked = |step: usize, device: &Device| {
        let (images, _, seed) = batches.at(step, device)?;
        let rows = images.dims()[0];
        let masking = config
            .student
            .draw_masking(rows, seed.stream("mask"), device)?;
        Ok((images, masking))
    };
    let setup = (seed, length, training, &config, arm);
    let weights = seed.stream("weights");
    if arm.teacher_block.is_none() {
        let model = initialise(&tracked, weights, || config.student.init(&tracked))?;
        let optimiser = training.optimizer(&model)?;
        let batch = |step: usize, device: &Device| {
            let (images, masking) = masked(step, device)?;
            Ok(MaskedImages { images, masking })
        };
        let procedure = Supervised::new(model, optimiser, length.schedule.clone(), batch);
        return Ok(fit(context, label, &setup, procedure, &length.fit(), progress)?.0);
    }
    let teacher: Teacher = config.teacher(teacher.encoder.clone())?;
    let model = initialise(&tracked, weights, || config.init(&tracked))?;
    let optimiser = training.optimizer(&model)?;
    let batch = |step: usize, device: &Device| {
        let (images, masking) = masked(step, device)?;
        DistillationBatch::new(&teacher, images, masking)
    };
    let procedure = Supervised::new(model, optimiser, length.schedule.clone(), batch);
    let fitted = fit(context, label, &setup, procedure, &length.fit(), progress)?;
    Ok(fitted.0.student)
}

#[cfg(test)]
mod tests {
    use super::super::common::tests::stripes;
    use super::*;

    #[test]
    fn every_arm_trains_resumes_and_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let context = |resume| Context {
            device: Device::default(),
            seed: 3,
            scale: Scale::Small,
            out: dir.path().into(),
            resume,
        };
        let images = Images::padded(stripes(40), 28).unwrap();
        let short = |steps: usize| Length::new(steps, 8, 1e-3);
        let mae = |dim: usize, depth: usize| {
            MaeConfig::new(
                VitConfig::new(28, 7, dim, depth, 2),
                DecoderConfig::new(8, 1, 2),
            )
        };
        let (student, teacher) = (mae(16, 2), mae(24, 3));
        let arm = |name, teacher_block| Arm {
            name,
            teacher_block,
            mask_ratio: 0.75,
            scaled: false,
            tuned: true,
            decides: true,
        };
        let experiment = Experiment {
            unlabelled: images.clone(),
            train: images.clone(),
            test: images,
            labels: 20,
            origin: Origin::Trained(Box::new(teacher.clone()), short(4)),
            config: DmaeConfig::new(student, teacher.encoder, vec![1], vec![1]),
            arms: vec![
                arm("alone", None),
                arm("distilled", Some(1)),
                arm("nine tenths hidden", Some(1)),
            ],
            distillation: (PretrainingConfig::new(), short(3)),
            probing: Protocol::Whole(60),
            finetuning: (FinetuningConfig::new(), short(2)),
            drop_path: 0.1,
            seeds: 1,
            workers: 2,
            timed: 2,
        };
        let results = all(&experiment, &context(false)).unwrap();
        assert_eq!(results.outcomes.len(), 3);
        let again = all(&experiment, &context(true)).unwrap();
        for (one, two) in results.outcomes.iter().zip(&again.outcomes) {
            assert_eq!((one.probe, one.tuned), (two.probe, two.tuned));
        }
        let report = present::report(&context(true), &experiment, &results).unwrap();
        report.write(dir.path()).unwrap();
        assert!(dir.path().join("media/reconstructions.png").is_file());
        assert!(
            report
                .summary()
                .contains("What the teacher costs in a step")
        );
        let error = all(&experiment, &context(false)).err().unwrap();
        assert!(format!("{error:#}").contains("already holds a run"));
    }
}
