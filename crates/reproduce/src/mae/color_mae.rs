//! Masked autoencoders with masks of five colors: how hard each is to fill in, what the masks look
//! like, and what the features are good for.
//!
//! With every seed the arms share the first weights, the images and their order, and the number of
//! steps; only the noise that the masks are cut out of differs. White noise is MAE's random masking.

mod dense;
mod masks;
mod present;
mod shapes;

use super::common::{Batches, Curve, Images, Length, Protocol, fine_tune, fit, probe};
use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_image::{FolderConfig, Split, augment::Augmentation, fashion_mnist, folder};
use menagerie_data_synthetic::TexturesConfig;
use menagerie_mae::{
    color_mae::{
        self, Color, ColorMaeConfig, ColorMasks, ColorPretrainingConfig, NoiseConfig,
        NoiseSchedule, Sampling,
    },
    mae_base::{
        ClassifierConfig, DecoderConfig, FinetuningConfig, Mae, MaeConfig, MixConfig,
        ProbingConfig, VitConfig,
        objective::{masked_error, target},
        weights,
    },
};
use menagerie_report::Report;
use menagerie_train::{Progress, Supervised, initialise};

use shapes::Shapes;

/// The recipe behind `cargo xtask reproduce color-mae`.
pub const RECIPE: Recipe = Recipe {
    system: &color_mae::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale)?;
    let outcomes = all(&experiment, context)?;
    let textured = shapes::study(&experiment, context)?;
    let looks = masks::looks(&experiment, context)?;
    let costs = masks::costs(&experiment, context)?;
    Ok(present::report(
        context,
        &experiment,
        (&outcomes, &textured),
        &looks,
        &costs,
    )?)
}

/// The colors that are fine-tuned too: the paper's choice and MAE's.
const TUNED: [Color; 2] = [Color::Green, Color::White];
/// Images per batch of an evaluation.
const EVALUATION_BATCH: usize = 250;

/// The whole comparison.
struct Experiment {
    unlabelled: Images,
    /// Labelled images are drawn from these.
    train: Images,
    test: Images,
    /// How many labels there are.
    labels: usize,
    /// How many of them have a class for every patch.
    dense_labels: usize,
    model: MaeConfig,
    /// The noise of every arm but for its color.
    noise: NoiseConfig,
    sampling: Sampling,
    pretraining: (ColorPretrainingConfig, Length),
    probing: Protocol,
    finetuning: (FinetuningConfig, Length),
    /// Rate of stochastic depth in fine-tuning.
    drop_path: f64,
    /// The dense task, if it is run.
    shapes: Option<Shapes>,
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

    /// Fashion-MNIST padded to 32×32: a grid of 8×8 patches. The objective is the error of the
    /// pixels themselves, so that what is trained is what is compared.
    fn small() -> Result<Self> {
        let train = Images::padded(fashion_mnist(Split::Train)?, 32)?;
        let test = fashion_mnist(Split::Test)?.stratified(2_000, Seed(0))?;
        let encoder = VitConfig::new(32, 4, 64, 3, 4);
        let model = MaeConfig::new(encoder, DecoderConfig::new(32, 1, 4));
        Ok(Self {
            unlabelled: train.clone(),
            train,
            test: Images::padded(test, 32)?,
            labels: 1_000,
            dense_labels: 200,
            model: model.with_norm_pix_loss(false),
            noise: NoiseConfig::new(Color::White).with_slices(512),
            sampling: Sampling::PerImage,
            pretraining: (ColorPretrainingConfig::new(), Length::new(600, 64, 1e-3)),
            probing: Protocol::Whole(300),
            finetuning: (
                FinetuningConfig::new()
                    .with_layer_decay(1.0)
                    .with_mix(MixConfig::none()),
                Length::new(150, 64, 1e-3),
            ),
            drop_path: 0.0,
            shapes: Some(Shapes {
                drawn: TexturesConfig::small(),
                unlabelled: 20_000,
                labelled: [400, 400],
                length: Length::new(2_000, 32, 1e-3),
            }),
            seeds: 3,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }

    /// The published runs of ViT-B on ImageNet, 300 epochs each, which is read from the folder
    /// `imagenet` (with `train` and `val`) of `MENAGERIE_DATA` into memory.
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
        let pretraining = ColorPretrainingConfig::published(300);
        let finetuning = FinetuningConfig::base();
        let mae = &pretraining.mae;
        let images = unlabelled.len();
        let pretrained = Length {
            schedule: pretraining.schedule(images / mae.batch)?,
            ..Length::published(&mae.schedule(), images, mae.batch)?
        };
        let tuned = Length::published(&finetuning.schedule(), images, finetuning.batch)?;
        Ok(Self {
            train: unlabelled.with_augmentation(Augmentation::fine_tuning(side))?,
            test: Images::augmented(read("val")?, Augmentation::evaluation(side))?,
            labels: unlabelled.len(),
            dense_labels: 1_000,
            model: ColorMaeConfig::base().mae,
            noise: NoiseConfig::new(Color::White),
            sampling: Sampling::Grouped,
            pretraining: (pretraining, pretrained),
            probing: Protocol::Published(ProbingConfig::new()),
            finetuning: (finetuning, tuned),
            drop_path: 0.1,
            // Segmentation and detection at the published size take their own frameworks.
            shapes: None,
            seeds: 1,
            workers: 1,
            unlabelled,
        })
    }

    /// The system of an arm.
    fn config(&self, color: Color) -> ColorMaeConfig {
        let noise = NoiseConfig {
            color,
            ..self.noise.clone()
        };
        let mut config = ColorMaeConfig::of(self.model.clone(), color);
        config.noise = NoiseSchedule::constant(noise);
        config.sampling = self.sampling;
        config
    }

    /// The masks of an arm that no training has seen, from noise of their own.
    fn held_out(&self, color: Color) -> Result<ColorMasks> {
        let noise = NoiseConfig {
            color,
            ..self.noise.clone()
        };
        let bank = noise.init(Seed(0).stream("held-out noise"))?;
        let grid = self.model.encoder.grid();
        ColorMasks::new(bank, Sampling::PerImage, grid, self.model.mask_ratio)
    }
}

/// One pre-training and what it is good for.
struct Outcome {
    color: Color,
    /// The objective by step.
    loss: Curve,
    /// The error of hidden pixels of test images under masks of the same color.
    error: f64,
    /// Accuracy of a linear probe, in percent.
    probe: f64,
    /// Mean intersection over union of a linear probe of patches, in percent.
    dense: f64,
    /// Accuracy after fine-tuning, in percent.
    fine_tuned: Option<f64>,
    /// Test images as images, visible and filled in.
    pictures: Option<[Vec<Vec<f32>>; 3]>,
}

/// Trains every color with every seed.
fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Vec<Outcome>> {
    let jobs: Vec<(Color, Seed)> = (0..experiment.seeds)
        .map(|seed| Seed(context.seed + seed as u64))
        .flat_map(|seed| Color::ALL.map(|color| (color, seed)))
        .collect();
    let progress = Progress::auto();
    jobs::run(&jobs, experiment.workers, |&(color, seed)| {
        let label = format!("{}-seed{}", color.name(), seed.0);
        one(experiment, context, (color, seed), &label, &progress).context(label.clone())
    })
}

fn one(
    experiment: &Experiment,
    context: &Context,
    (color, seed): (Color, Seed),
    label: &str,
    progress: &Progress,
) -> Result<Outcome> {
    let (config, length) = &experiment.pretraining;
    let system = experiment.config(color);
    let tracked = context.device.clone().autodiff();
    // The stream of the weights knows no color: the arms of a seed start alike.
    let model = initialise(&tracked, seed.stream("weights"), || system.init(&tracked))?;
    let optimiser = config.optimizer(&model)?;
    let masks = system.masks(seed)?;
    let mut batches = Batches::new(experiment.unlabelled.clone(), length.batch, seed)?;
    let epoch = (experiment.unlabelled.len() / length.batch).max(1);
    let batch = |step: usize, device: &Device| {
        let (images, _, _) = batches.at(step, device)?;
        masks.mask(images, step, epoch, seed)
    };
    let setup = (seed, length, config, &system);
    let procedure = Supervised::new(model, optimiser, length.schedule.clone(), batch);
    let name = format!("{label}-pre-training");
    let (model, loss) = fit(context, &name, &setup, procedure, &length.fit(), progress)?;

    let labelled = experiment
        .train
        .stratified(experiment.labels, seed.stream("labels"))?;
    let sets = [&labelled, &experiment.test];
    let name = format!("{label}-probe");
    let probed = probe(
        context,
        &name,
        &model.encoder,
        sets,
        &experiment.probing,
        seed,
        progress,
    )?;
    let fine_tuned = TUNED
        .contains(&color)
        .then(|| tune(experiment, context, &model, sets, label, seed, progress))
        .transpose()?;
    let first = seed.0 == context.seed;
    Ok(Outcome {
        color,
        loss,
        error: error(&model, experiment, color, &context.device)?,
        probe: probed,
        dense: dense::probe(experiment, context, &model.encoder, &labelled, label, seed)?,
        fine_tuned,
        pictures: first
            .then(|| pictures(&model, experiment, color, &context.device))
            .transpose()?,
    })
}

/// The mean squared error of hidden pixels, as they are normalised for the network, over all test
/// images under held-out masks of a color. Where the network was trained on normalised patches, its
/// predictions get mean and deviation of the true ones.
fn error(model: &Mae, experiment: &Experiment, color: Color, device: &Device) -> Result<f64> {
    let masks = experiment.held_out(color)?;
    let patch = model.config().encoder.patch;
    let indices: Vec<usize> = (0..experiment.test.len()).collect();
    let mut sum = 0.0;
    for (part, chunk) in indices.chunks(EVALUATION_BATCH).enumerate() {
        let images = experiment.test.batch(chunk, Seed(0), device)?;
        let seed = Seed(0).stream("held-out masks").at(part as u64);
        let masking = masks.draw(chunk.len(), seed, device)?;
        let predicted = model.reconstruct(images.clone(), &masking)?.predicted;
        let [predicted, images] = [predicted, images].map(|images| target(images, patch, false));
        let error = masked_error(predicted, images, masking.mask);
        let error = error
            .try_into_scalar::<f64>()
            .map_err(|error| Error::other("reading an error", error))?;
        sum += error * chunk.len() as f64;
    }
    Ok(sum / indices.len() as f64)
}

/// The accuracy after fine-tuning from pre-trained weights, in percent.
fn tune(
    experiment: &Experiment,
    context: &Context,
    model: &Mae,
    sets: [&Images; 2],
    label: &str,
    seed: Seed,
    progress: &Progress,
) -> Result<f64> {
    let classes = sets[0].class_names().len();
    let config = ClassifierConfig::new(model.config().encoder.clone(), classes)
        .with_drop_path(experiment.drop_path);
    let tracked = context.device.clone().autodiff();
    let classifier = initialise(&tracked, seed.stream("classifier"), || {
        weights::pretrained_from(&config, weights::state_dict(model)?, &tracked)
            .map(|(classifier, _)| classifier)
    })?;
    let (training, length) = &experiment.finetuning;
    let name = format!("{label}-fine-tuning");
    let training = (training, length);
    fine_tune(context, &name, classifier, sets, training, seed, progress)
}

/// The first test images: as they are, the visible part, and filled in.
fn pictures(
    model: &Mae,
    experiment: &Experiment,
    color: Color,
    device: &Device,
) -> Result<[Vec<Vec<f32>>; 3]> {
    const SHOWN: usize = 8;
    let test = &experiment.test;
    let indices: Vec<usize> = (0..SHOWN.min(test.len())).collect();
    let images = test.batch(&indices, Seed(0), device)?;
    let masks = experiment.held_out(color)?;
    let masking = masks.draw(indices.len(), Seed(0).stream("pictures"), device)?;
    let filled = model.reconstruct(images.clone(), &masking)?;
    let tiles = |images: Tensor<4>| test.tiles(images);
    Ok([tiles(images)?, tiles(filled.masked)?, tiles(filled.pasted)?])
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
            dense_labels: 10,
            model: MaeConfig::new(VitConfig::new(32, 4, 16, 1, 2), DecoderConfig::new(8, 1, 2)),
            noise: NoiseConfig::new(Color::White).with_slices(24).with_size(32),
            sampling: Sampling::PerImage,
            pretraining: (ColorPretrainingConfig::new(), short(3)),
            probing: Protocol::Whole(60),
            finetuning: (
                FinetuningConfig::new()
                    .with_layer_decay(1.0)
                    .with_mix(MixConfig::none()),
                short(2),
            ),
            drop_path: 0.0,
            shapes: Some(Shapes {
                drawn: TexturesConfig::small(),
                unlabelled: 16,
                labelled: [6, 6],
                length: short(3),
            }),
            seeds: 1,
            workers: 2,
        }
    }

    #[test]
    fn every_color_trains_resumes_and_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let context = |resume| Context {
            device: Device::default(),
            seed: 3,
            scale: Scale::Small,
            out: dir.path().into(),
            resume,
        };
        let experiment = brief();
        let outcomes = all(&experiment, &context(false)).unwrap();
        let colors: Vec<Color> = outcomes.iter().map(|outcome| outcome.color).collect();
        assert_eq!(colors, Color::ALL);
        let again = all(&experiment, &context(true)).unwrap();
        for (one, two) in outcomes.iter().zip(&again) {
            assert_eq!(one.loss, two.loss);
            assert_eq!(one.error, two.error);
            assert_eq!(one.fine_tuned, two.fine_tuned);
            assert_eq!((one.probe, one.dense), (two.probe, two.dense));
            assert_eq!(one.fine_tuned.is_some(), TUNED.contains(&one.color));
        }
        let textured = shapes::study(&experiment, &context(false)).unwrap();
        let colors: Vec<Option<Color>> = textured.iter().map(|outcome| outcome.color).collect();
        assert_eq!(colors, [Some(Color::Green), None, Some(Color::White)]);
        assert_eq!(
            textured,
            shapes::study(&experiment, &context(true)).unwrap()
        );
        let looks = masks::looks(&experiment, &context(true)).unwrap();
        let costs = masks::costs(&experiment, &context(true)).unwrap();
        let report = present::report(
            &context(true),
            &experiment,
            (&outcomes, &textured),
            &looks,
            &costs,
        )
        .unwrap();
        report.write(dir.path()).unwrap();
        for picture in [
            "masks.png",
            "reconstructions.png",
            "spectra.svg",
            "loss.svg",
        ] {
            assert!(
                dir.path().join("media").join(picture).is_file(),
                "{picture}"
            );
        }
        assert!(report.summary().contains("hidden areas"));
    }
}
