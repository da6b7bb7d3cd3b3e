//! Sample efficiency on Fashion-MNIST: a ConViT against the same network with ordinary attention
//! everywhere, on few, some and all images, at equal steps; and the gate against position or content
//! alone.

mod present;

use super::common::{Batches, Images, Length, accuracy, values};
use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use burn::tensor::Device;
use menagerie_core::{Result, Seed};
use menagerie_data_image::{Split, fashion_mnist};
use menagerie_efficient::convit::{
    self, ConVit, ConVitConfig, Gating, epochs_for_share, optimizer,
};
use menagerie_efficient::deit::DeitRecipe;
use menagerie_nn::mix::MixConfig;
use menagerie_report::Report;
use menagerie_train::{Progress, Run, Supervised, initialise};
use serde::Serialize;

/// The recipe behind `cargo xtask reproduce convit`.
pub const RECIPE: Recipe = Recipe {
    system: &convit::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale)?;
    let outcomes = all(&experiment, context)?;
    Ok(present::report(context, &experiment, &outcomes)?)
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
enum Kind {
    /// The method.
    ConVit,
    /// No local blocks: a plain vision transformer.
    Plain,
    /// Local blocks that look by position alone.
    Position,
    /// Local blocks that look by content alone.
    Content,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::ConVit => "ConViT",
            Self::Plain => "ViT",
            Self::Position => "position alone",
            Self::Content => "content alone",
        }
    }

    fn config(self, config: &ConVitConfig) -> ConVitConfig {
        let config = config.clone();
        match self {
            Self::ConVit => config,
            Self::Plain => config.with_local_blocks(0),
            Self::Position => config.with_gating(Gating::Position),
            Self::Content => config.with_gating(Gating::Content),
        }
    }
}

/// One training.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Arm {
    kind: Kind,
    /// Training images.
    images: usize,
    /// The seed's place in the list, from 0.
    seed: usize,
}

impl Arm {
    fn label(&self) -> String {
        let name = self.kind.name().to_lowercase().replace(' ', "-");
        format!("{name}-{}-seed{}", self.images, self.seed)
    }
}

/// The whole comparison.
struct Experiment {
    train: Images,
    test: Images,
    config: ConVitConfig,
    recipe: DeitRecipe,
    /// Training images and the run's length on them, ascending.
    sizes: Vec<(usize, Length)>,
    arms: Vec<Arm>,
    seeds: usize,
    /// Seeds on the largest size, where the two networks differ least and a claim only asks which
    /// leads.
    seeds_on_all: usize,
    workers: usize,
}

/// How many training images the gate is compared with its limits on.
const ABLATION: usize = 2_000;

impl Experiment {
    fn of(scale: Scale) -> anyhow::Result<Self> {
        match scale {
            Scale::Small => Ok(Self::small()?),
            Scale::Paper => Self::paper(),
        }
    }

    /// 49 patches, width 48, six blocks of which five are local. A width of 64 and batches of 64 would
    /// take two and a half times the ten minutes that a run may take.
    fn small() -> Result<Self> {
        let config = ConVitConfig::new(28, 4, 48, 6, 4)
            .with_local_blocks(5)
            .with_channels(1)
            .with_classes(10)
            .with_mlp_ratio(2.0);
        let recipe = DeitRecipe::new()
            .with_mix(MixConfig::none())
            .with_repeats(1);
        let length = Length::new(1_500, 32, 1e-3);
        let sizes = [500, ABLATION, 60_000].map(|images| (images, length.clone()));
        let test = fashion_mnist(Split::Test)?.stratified(5_000, Seed(0))?;
        let mut experiment = Self {
            train: Images::garments(fashion_mnist(Split::Train)?)?.moving(),
            test: Images::garments(test)?,
            config,
            recipe,
            sizes: sizes.to_vec(),
            arms: Vec::new(),
            seeds: 2,
            seeds_on_all: 1,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        };
        experiment.arms = experiment.arms(&[Kind::Position, Kind::Content]);
        Ok(experiment)
    }

    /// ConViT-Ti and its plain twin on a tenth of ImageNet and on all of it.
    fn paper() -> anyhow::Result<Self> {
        let config = ConVitConfig::tiny();
        let recipe = convit::recipe();
        let [train, test] = Images::imagenet(config.image)?;
        let length = |share: f64| -> Result<(usize, Length)> {
            let images = (train.len() as f64 * share).round() as usize;
            let epoch = (images / recipe.batch).max(1);
            let stretched = recipe
                .clone()
                .with_epochs(epochs_for_share(recipe.epochs, share)?)
                .with_warmup(epochs_for_share(recipe.warmup, share)?);
            let length = Length {
                steps: stretched.total_epochs() * epoch,
                batch: recipe.batch,
                schedule: stretched.schedule(epoch)?,
            };
            Ok((images, length))
        };
        let mut experiment = Self {
            sizes: vec![length(0.1)?, length(1.0)?],
            test,
            train,
            config,
            recipe,
            arms: Vec::new(),
            seeds: 1,
            seeds_on_all: 1,
            workers: 1,
        };
        experiment.arms = experiment.arms(&[]);
        Ok(experiment)
    }

    /// Both networks on every size with every seed of it, then `ablations` with the first seed.
    fn arms(&self, ablations: &[Kind]) -> Vec<Arm> {
        let arm = |kind, images, seed| Arm { kind, images, seed };
        let mut arms = Vec::new();
        for seed in 0..self.seeds {
            let brief = seed >= self.seeds_on_all;
            let sizes = self.sizes.len() - usize::from(brief);
            for (images, _) in self.sizes.iter().take(sizes) {
                arms.extend([Kind::ConVit, Kind::Plain].map(|kind| arm(kind, *images, seed)));
            }
        }
        let size = self.sizes.iter().map(|(images, _)| *images);
        let size = size.min_by_key(|images| images.abs_diff(ABLATION));
        arms.extend(
            size.into_iter()
                .flat_map(|size| ablations.iter().map(move |kind| arm(*kind, size, 0))),
        );
        arms
    }

    fn length(&self, images: usize) -> Result<&Length> {
        let found = self.sizes.iter().find(|(size, _)| *size == images);
        found.map(|(_, length)| length).ok_or_else(|| {
            menagerie_core::Error::input("training images", images, "must be one of the sizes")
        })
    }
}

/// What came of one training.
struct Outcome {
    arm: Arm,
    /// Test accuracy, in percent.
    accuracy: f64,
    /// σ(λ) of every head, by local block.
    gates: Vec<Vec<f64>>,
    /// How far every head looks, in patches, by local block.
    far: Vec<Vec<f64>>,
    /// The training loss by step.
    curve: Vec<(f64, f64)>,
    /// Where each head of the first and the last local block looks from the middle of the first
    /// test image; of the first seed of the method.
    maps: Vec<Vec<Vec<f32>>>,
}

fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Vec<Outcome>> {
    let progress = Progress::auto();
    jobs::run(&experiment.arms, experiment.workers, |arm| {
        one(experiment, context, arm, &progress).with_context(|| arm.label())
    })
}

fn one(
    experiment: &Experiment,
    context: &Context,
    arm: &Arm,
    progress: &Progress,
) -> Result<Outcome> {
    // Networks of a seed see the same images in the same order.
    let seed = Seed(context.seed + arm.seed as u64).stream("convit");
    let (config, recipe) = (arm.kind.config(&experiment.config), &experiment.recipe);
    let length = experiment.length(arm.images)?;
    let tracked = context.device.clone().autodiff();
    let images = experiment
        .train
        .stratified(arm.images, seed.stream("images"))?;
    let mut batches = Batches::new(images, length.batch, recipe.repeats, seed)?;
    let batch = |step: usize, device: &Device| {
        let (images, labels, seed) = batches.at(step, device)?;
        config.prepare(recipe, images, &labels, seed)
    };
    let model = initialise(&tracked, seed.stream("weights"), || config.init(&tracked))?;
    let optimiser = optimizer(recipe, &model)?;
    let mut procedure = Supervised::new(model, optimiser, length.schedule.clone(), batch);
    let setup = (seed, length, recipe, &config, arm);
    let label = arm.label();
    let run = Run::create(&context.out.join(&label), &setup, context.resume)?;
    run.fit(&mut procedure, &length.fit(), &progress.labelled(&label))?;
    let model = procedure.trained()?;
    let history = run.history()?;
    let prepared = model.prepare();
    let device = &context.device;
    Ok(Outcome {
        arm: arm.clone(),
        accuracy: accuracy(&experiment.test, device, |images| prepared.forward(images))?,
        gates: model
            .gates()
            .into_iter()
            .map(values)
            .collect::<Result<_>>()?,
        far: far(&model, &experiment.test, device)?,
        curve: history
            .iter()
            .filter_map(|record| Some((record.step as f64, record.metrics.get("loss")?)))
            .collect(),
        maps: match (arm.kind, arm.seed) {
            (Kind::ConVit, 0) => maps(&model, &experiment.test, device)?,
            _ => Vec::new(),
        },
    })
}

/// How far the heads look on a few test images.
fn far(model: &ConVit, test: &Images, device: &Device) -> Result<Vec<Vec<f64>>> {
    let indices: Vec<usize> = (0..test.len().min(50)).collect();
    let images = test.batch(&indices, Seed(0), device)?;
    let far = model.non_localities(images)?;
    far.into_iter().map(values).collect()
}

/// The rows of the maps of the first and the last local block that belong to the patch in the
/// middle, each head's scaled to its largest.
fn maps(model: &ConVit, test: &Images, device: &Device) -> Result<Vec<Vec<Vec<f32>>>> {
    let config = model.config();
    let last = config.local_blocks.saturating_sub(1);
    let middle = config.tokens() / 2;
    let image = test.batch(&[0], Seed(0), device)?;
    [0, last]
        .into_iter()
        .map(|layer| {
            let map = model.attention_map(image.clone(), layer)?;
            let row = values(map.narrow(2, middle, 1))?;
            let heads = row.chunks(config.tokens());
            Ok(heads
                .map(|head| {
                    let largest = head.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
                    head.iter().map(|value| (value / largest) as f32).collect()
                })
                .collect())
        })
        .collect()
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
        let images = Images::garments(stripes(40)).unwrap();
        let length = Length::new(3, 8, 1e-3);
        let mut experiment = Experiment {
            train: images.clone().moving(),
            test: images,
            config: ConVitConfig::new(28, 7, 16, 3, 4)
                .with_local_blocks(2)
                .with_channels(1)
                .with_classes(2),
            recipe: DeitRecipe::new().with_repeats(1),
            sizes: vec![(20, length.clone()), (40, length)],
            arms: Vec::new(),
            seeds: 1,
            seeds_on_all: 1,
            workers: 2,
        };
        experiment.arms = experiment.arms(&[Kind::Position, Kind::Content]);
        assert_eq!(experiment.arms.len(), 6);
        let outcomes = all(&experiment, &context(false)).unwrap();
        let again = all(&experiment, &context(true)).unwrap();
        for (one, two) in outcomes.iter().zip(&again) {
            assert_eq!((one.accuracy, &one.gates), (two.accuracy, &two.gates));
        }
        let report = present::report(&context(true), &experiment, &outcomes).unwrap();
        report.write(dir.path()).unwrap();
        assert!(dir.path().join("media/attention-40.png").is_file());
        assert!(report.summary().contains("Test accuracy"));
    }
}
