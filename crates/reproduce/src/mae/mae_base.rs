//! Masked autoencoders on Fashion-MNIST with a thousand labels: what pre-training brings to a linear
//! probe and to fine-tuning, what the mask ratio does, and what a step costs at each.

mod present;
mod timing;

use super::common::{Batches, Curve, Images, Length, Protocol, fine_tune, fit, probe};
use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Result, Seed};
use menagerie_data_image::{FolderConfig, Split, augment::Augmentation, fashion_mnist, folder};
use menagerie_mae::mae_base::{
    self, ClassifierConfig, DecoderConfig, EpochSchedule, FinetuningConfig, Mae, MaeConfig,
    MaskedImages, MixConfig, PretrainingConfig, ProbingConfig, VitConfig, weights,
};
use menagerie_report::Report;
use menagerie_train::{Progress, Supervised, initialise};

/// The recipe behind `cargo xtask reproduce mae-base`.
pub const RECIPE: Recipe = Recipe {
    system: &mae_base::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale)?;
    let (outcomes, ratios) = all(&experiment, context)?;
    let costs = timing::steps(&experiment, context)?;
    Ok(present::report(
        context,
        &experiment,
        (&outcomes, &ratios),
        &costs,
    )?)
}

/// The whole comparison.
struct Experiment {
    unlabelled: Images,
    /// Labelled images are drawn from these.
    train: Images,
    test: Images,
    /// How many labels there are.
    labels: usize,
    model: MaeConfig,
    pretraining: (PretrainingConfig, Length),
    probing: Protocol,
    finetuning: (FinetuningConfig, Length),
    /// Rate of stochastic depth in fine-tuning.
    drop_path: f64,
    /// Mask ratios that are compared with the first seed, for so long, and probed only.
    ratios: (Vec<f64>, Length),
    seeds: usize,
    /// Runs at a time.
    workers: usize,
}

impl Experiment {
    fn of(scale: Scale) -> anyhow::Result<Self> {
        match scale {
            Scale::Small => Ok(Self::small()?),
            Scale::Paper => Self::paper(),
        }
    }

    /// All of Fashion-MNIST without labels, padded to 32×32, then a thousand labels. Without
    /// augmentation: the run passes over the images less than twice. The card's 2 000 steps, in
    /// batches of 48 for its 256, so that the run fits ten minutes: the same images in fewer and
    /// larger batches make a worse probe.
    fn small() -> Result<Self> {
        let train = Images::padded(fashion_mnist(Split::Train)?, 32)?;
        let test = fashion_mnist(Split::Test)?.stratified(2_000, Seed(0))?;
        let encoder = VitConfig::new(32, 4, 96, 4, 4);
        Ok(Self {
            unlabelled: train.clone(),
            train,
            test: Images::padded(test, 32)?,
            labels: 1_000,
            model: MaeConfig::new(encoder, DecoderConfig::new(48, 2, 4)),
            pretraining: (PretrainingConfig::new(), Length::new(2_000, 48, 1e-3)),
            probing: Protocol::Whole(300),
            finetuning: (
                // The same for both arms: neither layers nor mixing favour one.
                FinetuningConfig::new()
                    .with_layer_decay(1.0)
                    .with_mix(MixConfig::none()),
                Length::new(150, 64, 1e-3),
            ),
            drop_path: 0.0,
            ratios: (vec![0.5, 0.75, 0.9], Length::new(600, 48, 1e-3)),
            seeds: 3,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }

    /// The published run of ViT-B on ImageNet, which is read from the folder `imagenet` (with `train`
    /// and `val`) of `MENAGERIE_DATA` into memory.
    fn paper() -> anyhow::Result<Self> {
        let root = std::env::var_os("MENAGERIE_DATA").context(
            "ImageNet is not fetched: set MENAGERIE_DATA to a folder that holds imagenet/train and \
             imagenet/val",
        )?;
        let read = |part: &str| {
            let path = std::path::Path::new(&root).join("imagenet").join(part);
            let config = FolderConfig {
                channels: 3,
                size: Some([256, 256]),
            };
            folder(&path, &config).map(|(set, _)| set)
        };
        let side = VitConfig::base().image;
        let unlabelled = Images::augmented(read("train")?, Augmentation::pre_training(side))?;
        let pretraining = PretrainingConfig::new();
        let finetuning = FinetuningConfig::base();
        let length =
            |rates: &EpochSchedule, batch: usize| Length::published(rates, unlabelled.len(), batch);
        Ok(Self {
            train: unlabelled.with_augmentation(Augmentation::fine_tuning(side))?,
            test: Images::augmented(read("val")?, Augmentation::evaluation(side))?,
            labels: unlabelled.len(),
            model: MaeConfig::base(),
            pretraining: (
                pretraining.clone(),
                length(&pretraining.schedule(), pretraining.batch)?,
            ),
            probing: Protocol::Published(ProbingConfig::new()),
            finetuning: (
                finetuning.clone(),
                length(&finetuning.schedule(), finetuning.batch)?,
            ),
            drop_path: 0.1,
            ratios: (
                Vec::new(),
                length(&pretraining.schedule(), pretraining.batch)?,
            ),
            seeds: 1,
            workers: 1,
            unlabelled,
        })
    }
}

/// One pre-training and what it is good for.
struct Outcome {
    ratio: f64,
    /// The objective by step.
    loss: Curve,
    /// Accuracy of a linear probe, in percent.
    probe: f64,
    /// The same on the network as it was drawn.
    random_probe: f64,
    /// Accuracy after fine-tuning from pre-trained and from random weights, in percent.
    fine_tuned: Option<[f64; 2]>,
    pictures: Option<Pictures>,
}

/// Test images, their visible patches, predictions and both together.
struct Pictures {
    shape: [usize; 3],
    rows: Vec<(&'static str, Vec<Vec<f32>>)>,
}

/// Trains with every seed at the published ratio, and with the first one at each of the ratios that
/// are compared.
fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<(Vec<Outcome>, Vec<Outcome>)> {
    let first = Seed(context.seed);
    // The longest first, so that the workers end together.
    let published = experiment.model.mask_ratio;
    let mut jobs: Vec<(f64, Seed, bool)> = (0..experiment.seeds)
        .map(|seed| (published, Seed(context.seed + seed as u64), true))
        .collect();
    let (ratios, _) = &experiment.ratios;
    jobs.extend(ratios.iter().map(|ratio| (*ratio, first, false)));
    let progress = Progress::auto();
    let outcomes = jobs::run(&jobs, experiment.workers, |&(ratio, seed, tunes)| {
        let label = match tunes {
            true => format!("seed{}", seed.0),
            false => format!("ratio{:02.0}", 100.0 * ratio),
        };
        one(experiment, context, (ratio, seed, tunes), &label, &progress).context(label.clone())
    })?;
    Ok(outcomes
        .into_iter()
        .partition(|outcome| outcome.fine_tuned.is_some()))
}

fn one(
    experiment: &Experiment,
    context: &Context,
    (ratio, seed, tunes): (f64, Seed, bool),
    label: &str,
    progress: &Progress,
) -> Result<Outcome> {
    let (config, length) = &experiment.pretraining;
    let length = match tunes {
        true => length,
        false => &experiment.ratios.1,
    };
    let model_config = experiment.model.clone().with_mask_ratio(ratio);
    let tracked = context.device.clone().autodiff();
    let model = initialise(&tracked, seed.stream("weights"), || {
        model_config.init(&tracked)
    })?;
    let random = model.encoder.valid();
    let optimiser = config.optimizer(&model)?;
    let mut batches = Batches::new(experiment.unlabelled.clone(), length.batch, seed)?;
    let batch = |step: usize, device: &Device| {
        let (images, _, seed) = batches.at(step, device)?;
        let masking = model_config.draw_masking(images.dims()[0], seed.stream("mask"), device)?;
        Ok(MaskedImages { images, masking })
    };
    let setup = (seed, length, config, &model_config);
    let procedure = Supervised::new(model, optimiser, length.schedule.clone(), batch);
    let name = format!("{label}-pre-training");
    let (model, loss) = fit(context, &name, &setup, procedure, &length.fit(), progress)?;

    let labelled = experiment
        .train
        .stratified(experiment.labels, seed.stream("labels"))?;
    let sets = [&labelled, &experiment.test];
    let probed = |name: &str, encoder| {
        let name = format!("{label}-probe-{name}");
        let protocol = &experiment.probing;
        probe(context, &name, encoder, sets, protocol, seed, progress)
    };
    let (random_probe, probe) = (
        probed("random", &random)?,
        probed("pre-trained", &model.encoder)?,
    );
    let fine_tuned = tunes
        .then(|| tune(experiment, context, &model, sets, label, seed, progress))
        .transpose()?;
    let pictures = (tunes && seed.0 == context.seed)
        .then(|| pictures(&model, &experiment.test, context))
        .transpose()?;
    Ok(Outcome {
        ratio,
        loss,
        probe,
        random_probe,
        fine_tuned,
        pictures,
    })
}

/// Fine-tunes from pre-trained and from random weights.
fn tune(
    experiment: &Experiment,
    context: &Context,
    model: &Mae,
    sets: [&Images; 2],
    label: &str,
    seed: Seed,
    progress: &Progress,
) -> Result<[f64; 2]> {
    let classes = sets[0].class_names().len();
    let config = ClassifierConfig::new(model.config().encoder.clone(), classes)
        .with_drop_path(experiment.drop_path);
    let tracked = context.device.clone().autodiff();
    let (training, length) = &experiment.finetuning;
    let run = |name: &str, start: Option<&Mae>| {
        let classifier = initialise(&tracked, seed.stream("classifier"), || match start {
            None => config.init(&tracked),
            Some(mae) => weights::pretrained_from(&config, weights::state_dict(mae)?, &tracked)
                .map(|(classifier, _)| classifier),
        })?;
        let name = format!("{label}-fine-tuning-{name}");
        fine_tune(
            context,
            &name,
            classifier,
            sets,
            (training, length),
            seed,
            progress,
        )
    };
    Ok([run("pre-trained", Some(model))?, run("scratch", None)?])
}

/// The first test images as the model fills them in.
fn pictures(model: &Mae, test: &Images, context: &Context) -> Result<Pictures> {
    const SHOWN: usize = 12;
    let indices: Vec<usize> = (0..SHOWN.min(test.len())).collect();
    let images = test.batch(&indices, Seed(0), &context.device)?;
    let config = model.config();
    let seed = Seed(context.seed).stream("pictures");
    let masking = config.draw_masking(indices.len(), seed, &context.device)?;
    let filled = model.reconstruct(images.clone(), &masking)?;
    let row = |name, images: Tensor<4>| Ok((name, test.tiles(images)?));
    Ok(Pictures {
        shape: test.tile_shape(),
        rows: vec![
            row("image", images)?,
            row("visible", filled.masked)?,
            row("predicted", filled.predicted)?,
            row("both", filled.pasted)?,
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::super::common::tests::stripes;
    use super::*;

    fn brief() -> Experiment {
        let images = Images::padded(stripes(40), 32).unwrap();
        let short = |steps: usize| Length::new(steps, 8, 1e-3);
        Experiment {
            unlabelled: images.clone(),
            train: images.clone(),
            test: images,
            labels: 20,
            model: MaeConfig::new(VitConfig::new(32, 8, 16, 1, 2), DecoderConfig::new(8, 1, 2)),
            pretraining: (PretrainingConfig::new(), short(4)),
            probing: Protocol::Whole(60),
            finetuning: (FinetuningConfig::new().with_layer_decay(0.5), short(2)),
            drop_path: 0.1,
            ratios: (vec![0.5, 0.75], short(2)),
            seeds: 1,
            workers: 2,
        }
    }

    #[test]
    fn every_run_trains_resumes_and_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let context = |resume| Context {
            device: Device::default(),
            seed: 3,
            scale: Scale::Small,
            out: dir.path().into(),
            resume,
        };
        let experiment = brief();
        let (outcomes, ratios) = all(&experiment, &context(false)).unwrap();
        assert_eq!((outcomes.len(), ratios.len()), (1, 2));
        let (again, repeated) = all(&experiment, &context(true)).unwrap();
        let (runs, repetitions) = (
            outcomes.iter().chain(&ratios),
            again.iter().chain(&repeated),
        );
        for (one, two) in runs.zip(repetitions) {
            assert_eq!(one.loss, two.loss);
            assert_eq!(one.fine_tuned, two.fine_tuned);
            assert_eq!(one.probe, two.probe);
        }
        let costs = timing::steps(&experiment, &context(true)).unwrap();
        let visible: Vec<usize> = costs.iter().map(|cost| cost.visible).collect();
        assert_eq!(visible, [15, 8, 4]);
        let report =
            present::report(&context(true), &experiment, (&outcomes, &ratios), &costs).unwrap();
        report.write(dir.path()).unwrap();
        assert!(dir.path().join("media/reconstructions.png").is_file());
        assert!(report.summary().contains("linear probe"));
        let error = all(&experiment, &context(false)).err().unwrap();
        assert!(format!("{error:#}").contains("already holds a run"));
    }
}
