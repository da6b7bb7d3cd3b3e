//! Norms and attentions on Fashion-MNIST: layer normalisation, plain batch normalisation, RepBN from
//! the start and PRepBN with softmax, and PRepBN with simplified linear attention, at equal steps; and
//! what folding and linear attention save.

mod present;
mod timing;

use super::common::{Batches, Images, Length, accuracy, values};
use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use burn::tensor::Device;
use menagerie_core::{Result, Seed};
use menagerie_data_image::{Split, fashion_mnist};
use menagerie_efficient::deit::DeitRecipe;
use menagerie_efficient::slab::{
    self, AttentionKind, Classifier, DeitConfig, ESTIMATION_PASSES, NormConfig, NormKind, SlabDeit,
    optimizer, prepare, reestimate,
};
use menagerie_nn::mix::MixConfig;
use menagerie_report::Report;
use menagerie_train::{Progress, Run, Supervised, initialise};
use serde::Serialize;
use timing::Times;

/// The recipe behind `cargo xtask reproduce slab`.
pub const RECIPE: Recipe = Recipe {
    system: &slab::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale)?;
    let results = all(&experiment, context)?;
    Ok(present::report(context, &experiment, &results)?)
}

/// One network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Arm {
    name: &'static str,
    norm: NormKind,
    attention: AttentionKind,
    /// The peak of the learning rate, where it is another one; such runs are reported alone.
    rate: Option<f64>,
}

impl Arm {
    /// Whether a verdict depends on it. One seed says enough about what is only reported.
    fn decides(&self) -> bool {
        self.rate.is_none() && self.name != FROM_START
    }
}

/// The arm that the others are compared with.
const LAYER: &str = "layer norm";
const BATCH: &str = "batch norm";
const FROM_START: &str = "RepBN";
const PROGRESSIVE: &str = "PRepBN";
const LINEAR: &str = "PRepBN, linear attention";

/// The whole comparison.
struct Experiment {
    train: Images,
    test: Images,
    /// The networks with softmax.
    softmax: DeitConfig,
    /// The network with linear attention.
    linear: DeitConfig,
    recipe: DeitRecipe,
    length: Length,
    /// Passes over as many images after training, in which statistics are re-estimated; the best one
    /// by the test images counts, as in the official procedure.
    estimation: (usize, usize),
    arms: Vec<Arm>,
    seeds: usize,
    workers: usize,
}

impl Experiment {
    fn of(scale: Scale) -> anyhow::Result<Self> {
        match scale {
            Scale::Small => Ok(Self::small()?),
            Scale::Paper => Self::paper(),
        }
    }

    fn arms() -> Vec<Arm> {
        use AttentionKind::{Linear, Softmax};
        let arm = |name, norm, attention| Arm {
            name,
            norm,
            attention,
            rate: None,
        };
        vec![
            arm(LAYER, NormKind::Layer, Softmax),
            arm(BATCH, NormKind::Batch, Softmax),
            arm(FROM_START, NormKind::RepBatch, Softmax),
            arm(PROGRESSIVE, NormKind::Progressive, Softmax),
            arm(LINEAR, NormKind::Progressive, Linear),
        ]
    }

    /// 49 patches, width 48, six blocks; the blend takes 60 % of the steps. A width of 64 and batches
    /// of 128 would take more than the ten minutes that a run may take.
    fn small() -> Result<Self> {
        const STEPS: usize = 1_500;
        let norm = NormConfig::new(NormKind::Progressive).with_steps(STEPS * 6 / 10);
        let config = DeitConfig::new(28, 4, 48, 6, 4, norm)
            .with_channels(1)
            .with_classes(10)
            .with_mlp_ratio(2.0);
        let mut arms = Self::arms();
        for (name, norm) in [
            ("layer norm, rate 3e-3", NormKind::Layer),
            ("batch norm, rate 3e-3", NormKind::Batch),
        ] {
            arms.push(Arm {
                name,
                norm,
                attention: AttentionKind::Softmax,
                rate: Some(3e-3),
            });
        }
        let recipe = slab::recipe().with_mix(MixConfig::none());
        Ok(Self {
            train: Images::garments(fashion_mnist(Split::Train)?)?.moving(),
            test: Images::garments(fashion_mnist(Split::Test)?.stratified(5_000, Seed(0))?)?,
            softmax: config.clone().with_attention(AttentionKind::Softmax),
            linear: config,
            recipe,
            length: Length::new(STEPS, 32, 1e-3),
            estimation: (1, 5_000),
            arms,
            seeds: 2,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }

    /// DeiT-T, with its class token and a blend of 300 000 steps, and SLAB-DeiT-T under the published
    /// recipe, on ImageNet.
    fn paper() -> anyhow::Result<Self> {
        let norm = NormConfig::new(NormKind::Progressive);
        let (softmax, linear) = (DeitConfig::tiny(norm), DeitConfig::slab_tiny());
        let [train, test] = Images::imagenet(linear.image)?;
        let recipe = slab::recipe();
        let epoch = (train.len() / recipe.batch).max(1);
        Ok(Self {
            length: Length {
                steps: recipe.total_epochs() * epoch,
                batch: recipe.batch,
                schedule: recipe.schedule(epoch)?,
            },
            estimation: (ESTIMATION_PASSES, train.len()),
            test,
            train,
            softmax,
            linear,
            recipe,
            arms: Self::arms(),
            seeds: 1,
            workers: 1,
        })
    }

    fn config(&self, arm: &Arm) -> DeitConfig {
        let config = match arm.attention {
            AttentionKind::Softmax => &self.softmax,
            AttentionKind::Linear => &self.linear,
        };
        let mut config = config.clone();
        config.norm.kind = arm.norm;
        config
    }
}

/// What came of one network with one seed.
struct Outcome {
    arm: Arm,
    /// The seed's place in the list, from 0.
    seed: usize,
    /// Test accuracy, in percent.
    accuracy: f64,
    /// Accuracy of the folded network, and how far its scores are from the unfolded one's.
    folded: Option<(f64, f64)>,
    /// The training loss by step.
    curve: Vec<(f64, f64)>,
    /// The trained network; of the first seed.
    model: Option<SlabDeit>,
}

struct Results {
    outcomes: Vec<Outcome>,
    times: Times,
}

fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Results> {
    let progress = Progress::auto();
    let jobs: Vec<(usize, Arm)> = (0..experiment.seeds)
        .flat_map(|seed| experiment.arms.iter().map(move |arm| (seed, *arm)))
        .filter(|(seed, arm)| *seed == 0 || arm.decides())
        .collect();
    let outcomes = jobs::run(&jobs, experiment.workers, |(seed, arm)| {
        let label = format!(
            "{}-seed{seed}",
            arm.name.to_lowercase().replace([' ', ','], "-")
        );
        one(experiment, context, arm, *seed, &label, &progress).context(label.clone())
    })?;
    let times = timing::measure(experiment, &outcomes, context)?;
    Ok(Results { outcomes, times })
}

fn one(
    experiment: &Experiment,
    context: &Context,
    arm: &Arm,
    index: usize,
    label: &str,
    progress: &Progress,
) -> Result<Outcome> {
    // Networks of a seed see the same images in the same order.
    let seed = Seed(context.seed + index as u64).stream("slab");
    let (config, recipe) = (experiment.config(arm), &experiment.recipe);
    let mut length = experiment.length.clone();
    if let Some(rate) = arm.rate {
        length.schedule.peak = rate;
    }
    let tracked = context.device.clone().autodiff();
    let mut batches = Batches::new(experiment.train.clone(), length.batch, recipe.repeats, seed)?;
    let model = initialise(&tracked, seed.stream("weights"), || config.init(&tracked))?;
    let sizes = model.clone();
    let batch = |step: usize, device: &Device| {
        let (images, labels, seed) = batches.at(step, device)?;
        prepare(recipe, &sizes, images, &labels, seed)
    };
    let optimiser = optimizer(recipe, &model)?;
    let mut procedure = Supervised::new(model, optimiser, length.schedule.clone(), batch);
    if let Some(clip) = recipe.clip {
        procedure = procedure.clipping(clip)?;
    }
    let run = Run::create(
        &context.out.join(label),
        &(seed, &length, recipe, &config, arm),
        context.resume,
    )?;
    run.fit(&mut procedure, &length.fit(), &progress.labelled(label))?;
    let model = procedure.trained()?;
    let device = &context.device;
    let right =
        |model: &SlabDeit| accuracy(&experiment.test, device, |images| model.forward(images));
    // Every batch normalisation gets what PRepBN's gets.
    let found = match config.norm.kind {
        NormKind::Layer => right(&model)?,
        _ => settle(experiment, &model, seed, device, right)?,
    };
    let folded = match config.norm.kind {
        NormKind::Layer => None,
        _ => {
            let folded = model.fold()?;
            let images = experiment
                .test
                .batch(&first(&experiment.test, 200), Seed(0), device)?;
            let far = model.forward(images.clone())? - folded.forward(images)?;
            let far = values(far.abs().max())?;
            let far = far.first().copied().unwrap_or(f64::NAN);
            Some((right(&folded)?, far))
        }
    };
    let history = run.history()?;
    Ok(Outcome {
        arm: *arm,
        seed: index,
        accuracy: found,
        folded,
        curve: history
            .iter()
            .filter_map(|record| Some((record.step as f64, record.metrics.get("loss")?)))
            .collect(),
        model: (index == 0).then_some(model),
    })
}

fn first(images: &Images, count: usize) -> Vec<usize> {
    (0..images.len().min(count)).collect()
}

/// Lets the statistics take in the training images again, without training, and keeps the best; the
/// accuracy then.
fn settle(
    experiment: &Experiment,
    model: &SlabDeit,
    seed: Seed,
    device: &Device,
    evaluate: impl FnMut(&SlabDeit) -> Result<f64>,
) -> Result<f64> {
    const BATCH: usize = 250;
    let (passes, images) = experiment.estimation;
    let size = BATCH.min(experiment.train.len());
    let order = seed.stream("estimation");
    let steps = images.div_ceil(size);
    let batches = |pass: usize| {
        let mut batches = Batches::new(experiment.train.clone(), size, 1, order)?;
        let steps = pass * steps..(pass + 1) * steps;
        Ok(steps.map(move |step| Ok(batches.at(step, device)?.0)))
    };
    let found = reestimate(model, passes, batches, evaluate)?;
    Ok(found.values.get(found.best).copied().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::super::common::tests::stripes;
    use super::*;
    use menagerie_efficient::slab::Pooling;

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
        let norm = NormConfig::new(NormKind::Progressive).with_steps(2);
        let linear = DeitConfig::new(28, 7, 12, 2, 3, norm)
            .with_channels(1)
            .with_classes(2);
        let softmax = linear.clone().with_attention(AttentionKind::Softmax);
        let experiment = Experiment {
            train: images.clone().moving(),
            test: images,
            softmax: softmax.with_pooling(Pooling::Class),
            linear,
            recipe: slab::recipe(),
            length: Length::new(3, 8, 1e-3),
            estimation: (2, 20),
            arms: Experiment::arms(),
            seeds: 1,
            workers: 2,
        };
        let results = all(&experiment, &context(false)).unwrap();
        let again = all(&experiment, &context(true)).unwrap();
        for (one, two) in results.outcomes.iter().zip(&again.outcomes) {
            assert_eq!(one.accuracy, two.accuracy);
        }
        let report = present::report(&context(true), &experiment, &results).unwrap();
        report.write(dir.path()).unwrap();
        assert!(report.summary().contains("Test accuracy"));
    }

    #[test]
    fn the_published_arms_are_two_networks() {
        let norm = NormConfig::new(NormKind::Progressive);
        let experiment = Experiment {
            train: Images::garments(stripes(4)).unwrap(),
            test: Images::garments(stripes(4)).unwrap(),
            softmax: DeitConfig::tiny(norm.clone()),
            linear: DeitConfig::slab_tiny(),
            recipe: slab::recipe(),
            length: Length::new(1, 1, 1e-3),
            estimation: (1, 1),
            arms: Experiment::arms(),
            seeds: 1,
            workers: 1,
        };
        for arm in &experiment.arms {
            let config = experiment.config(arm);
            let (pooling, steps) = match arm.name {
                LINEAR => (Pooling::Mean, 60_000),
                _ => (Pooling::Class, 300_000),
            };
            assert_eq!((config.pooling, config.norm.steps), (pooling, steps));
            assert_eq!(
                (config.norm.kind, config.attention),
                (arm.norm, arm.attention)
            );
        }
    }
}
