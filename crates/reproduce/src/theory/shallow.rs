//! Residual stacks, their parallel expansions and stacks without identity on small garments, by depth
//! and width, and on digits of full size.

mod present;
mod train;
mod verdicts;

use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use burn::tensor::{Device, Distribution, Tensor};
use menagerie_core::{Result, Seed};
use menagerie_data_image::{ImageSet, Split, cifar10, fashion_mnist, mnist};
use menagerie_report::Report;
use menagerie_theory::shallow::{self, Form, LabelledImages, ShallowConfig, TrainingConfig};
use menagerie_train::{Procedure, Progress, Supervised, initialise};
use std::time::Instant;
use train::{Arm, Outcome};

/// The recipe behind `cargo xtask reproduce shallow`.
pub const RECIPE: Recipe = Recipe {
    system: &shallow::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale)?;
    let results = experiment.run(context)?;
    Ok(present::report(context, &experiment, &results)?)
}

const FORMS: [Form; 3] = [Form::Sequential, Form::Parallel, Form::Plain];

/// Images, and the stacks that are trained on them.
struct Study {
    id: &'static str,
    label: &'static str,
    train: LabelledImages,
    test: LabelledImages,
    configs: Vec<ShallowConfig>,
    training: TrainingConfig,
    seeds: usize,
}

struct Experiment {
    /// The study that the verdicts look at, then others.
    studies: Vec<Study>,
    workers: usize,
}

/// The first images of a set, as they are or every second row and column of them averaged with the
/// next.
fn images(set: &ImageSet, count: usize, halved: bool) -> Result<LabelledImages> {
    let count = count.min(set.len());
    let [channels, side, _] = set.image_shape();
    let pixels = set.to_f32(0..count)?;
    let labels = set.labels().iter().copied().take(count).collect();
    if !halved {
        return LabelledImages::new(pixels, [channels, side, side], labels);
    }
    let half = side / 2;
    let pooled = pixels.chunks_exact(side * side).flat_map(|map| {
        (0..half * half).map(move |at| {
            let at = 2 * (at / half) * side + 2 * (at % half);
            (map[at] + map[at + 1] + map[at + side] + map[at + side + 1]) / 4.0
        })
    });
    LabelledImages::new(pooled.collect(), [channels, half, half], labels)
}

impl Experiment {
    fn of(scale: Scale) -> Result<Self> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let studies = match scale {
            Scale::Small => Self::small()?,
            Scale::Paper => Self::paper()?,
        };
        Ok(Self { studies, workers })
    }

    /// Garments of 14² by depth and width, three seeds; all digits at their full size with four layers,
    /// two seeds, as far as the time goes: one epoch.
    fn small() -> Result<Vec<Study>> {
        let configs = [1, 2, 4, 8, 16]
            .into_iter()
            .flat_map(|layers| [4, 8].map(|filters| ShallowConfig::new(1, 14, layers, filters)));
        Ok(vec![
            Study {
                id: "garments",
                label: "Fashion-MNIST, 14²",
                train: images(&fashion_mnist(Split::Train)?, 5_000, true)?,
                test: images(&fashion_mnist(Split::Test)?, 2_000, true)?,
                configs: configs.collect(),
                training: TrainingConfig::new(),
                seeds: 3,
            },
            Study {
                id: "digits",
                label: "MNIST, 28²",
                train: images(&mnist(Split::Train)?, usize::MAX, false)?,
                test: images(&mnist(Split::Test)?, usize::MAX, false)?,
                configs: vec![ShallowConfig::mnist(4, 4, 3)],
                training: TrainingConfig::new().with_epochs(1),
                seeds: 2,
            },
        ])
    }

    /// All images and all of the grid.
    fn paper() -> Result<Vec<Study>> {
        let whole = |set: Result<ImageSet>| images(&set?, usize::MAX, false);
        Ok(vec![
            Study {
                id: "mnist",
                label: "MNIST",
                train: whole(mnist(Split::Train))?,
                test: whole(mnist(Split::Test))?,
                configs: ShallowConfig::mnist(1, 1, 1).grid(),
                training: TrainingConfig::published(),
                seeds: 3,
            },
            Study {
                id: "cifar10",
                label: "CIFAR-10",
                train: whole(cifar10(Split::Train))?,
                test: whole(cifar10(Split::Test))?,
                configs: ShallowConfig::cifar10(1, 1, 1).grid(),
                training: TrainingConfig::published(),
                seeds: 3,
            },
        ])
    }

    fn run(&self, context: &Context) -> anyhow::Result<Results> {
        let progress = Progress::auto();
        let mut arms: Vec<(usize, Arm)> = Vec::new();
        for (at, study) in self.studies.iter().enumerate() {
            for config in &study.configs {
                for form in FORMS {
                    let config = config.clone().with_form(form);
                    let arm = |seed| Arm {
                        config: config.clone(),
                        seed,
                    };
                    arms.extend((0..study.seeds).map(|seed| (at, arm(seed))));
                }
            }
        }
        // The longest first.
        let cost = |at: usize, config: &ShallowConfig| {
            let study = &self.studies[at];
            let pixels = study.train.len() * study.training.epochs * config.image.pow(2);
            pixels * config.layers * config.filters
        };
        arms.sort_by_key(|(at, arm)| std::cmp::Reverse(cost(*at, &arm.config)));
        let outcomes = jobs::run(&arms, self.workers, |(at, arm)| {
            let study = &self.studies[*at];
            train::train(study, arm, context, &progress).with_context(|| arm.label(study))
        })?;
        let mut studies: Vec<Vec<Outcome>> = self.studies.iter().map(|_| Vec::new()).collect();
        for ((at, _), outcome) in arms.iter().zip(outcomes) {
            studies[*at].push(outcome);
        }
        Ok(Results {
            studies,
            identical: identical(context)?,
            times: times(context)?,
        })
    }
}

/// What came of everything.
struct Results {
    /// Outcomes of each study.
    studies: Vec<Vec<Outcome>>,
    /// The largest difference of the scores of both forms of one layer, and of the sum of all orders of
    /// a linear stack from its result, as a share of that.
    identical: (f64, f64),
    /// Seconds of 16 layers of 32 filters on 64 maps of 16², sequential and parallel: of the forward
    /// pass, and of a training step.
    times: [[f64; 2]; 2],
}

fn identical(context: &Context) -> Result<(f64, f64)> {
    let device = &context.device;
    let images = Tensor::<4>::random([8, 1, 14, 14], Distribution::Uniform(0.0, 1.0), device);
    let single = ShallowConfig::new(1, 14, 1, 8);
    let single = initialise(device, Seed(context.seed), || single.init(device))?;
    let apart = single.forward(images.clone())? - single.to_parallel().forward(images.clone())?;
    let linear = ShallowConfig::new(1, 14, 8, 4).with_activation(shallow::Activation::Identity);
    let linear = initialise(device, Seed(context.seed), || linear.init(device))?;
    let result = linear.features(images.clone())?;
    let orders = linear.orders(images)?.into_iter().reduce(|a, b| a + b);
    let off = orders.map_or(f64::NAN, |sum| {
        let norm = |x: Tensor<4>| f64::from(x.square().sum().sqrt().into_scalar::<f32>());
        norm(sum - result.clone()) / norm(result)
    });
    let apart = f64::from(apart.abs().max().into_scalar::<f32>());
    Ok((apart, off))
}

/// Medians of nine passes after a first one.
fn times(context: &Context) -> Result<[[f64; 2]; 2]> {
    let config = ShallowConfig::new(3, 16, 16, 32);
    let seed = Seed(context.seed);
    let device = &context.device;
    let deep = initialise(device, seed, || config.init(device))?;
    let images = Tensor::<4>::random([64, 3, 16, 16], Distribution::Uniform(0.0, 1.0), device);
    let labels = (0..64).map(|at| at % config.classes).collect();
    let set = LabelledImages::new(
        images.clone().into_data().iter().collect(),
        [3, 16, 16],
        labels,
    )?;
    let tracked = device.clone().autodiff();
    let training = TrainingConfig::new();
    let places: Vec<usize> = (0..set.len()).collect();
    let batch = set.batch(&places, training.objective, &tracked);
    let mut all: [[Vec<f64>; 2]; 2] = Default::default();
    for (at, form) in [Form::Sequential, Form::Parallel].into_iter().enumerate() {
        let model = deep.to_form(form);
        let start = initialise(&tracked, seed, || {
            config.clone().with_form(form).init(&tracked)
        })?;
        let optimizer = training.optimizer()?;
        let batches = |_: usize, _: &Device| Ok(batch.clone());
        let mut fit = Supervised::new(start, optimizer, training.rate, batches);
        for round in 0..10 {
            let began = Instant::now();
            let _ = model.features(images.clone())?.into_data();
            let forward = began.elapsed().as_secs_f64();
            let began = Instant::now();
            fit.step(round + 1)?.read()?;
            let step = began.elapsed().as_secs_f64();
            if round > 0 {
                all[0][at].push(forward);
                all[1][at].push(step);
            }
        }
    }
    Ok(all.map(|pass| {
        pass.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::super::super::efficient::common::tests::stripes;
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
        let set = || images(&stripes(40), 40, true).unwrap();
        let config = |layers| ShallowConfig::new(1, 14, layers, 2).with_classes(2);
        let experiment = Experiment {
            studies: vec![Study {
                id: "stripes",
                label: "Stripes",
                train: set(),
                test: set(),
                configs: vec![config(1), config(2), config(8)],
                training: TrainingConfig::new().with_epochs(2).with_batch(20),
                seeds: 2,
            }],
            workers: 2,
        };
        let results = experiment.run(&context(false)).unwrap();
        let again = experiment.run(&context(true)).unwrap();
        assert_eq!(results.studies[0].len(), 18);
        for (one, two) in results.studies[0].iter().zip(&again.studies[0]) {
            assert_eq!(one, two);
        }
        assert_eq!(results.identical.0, 0.0);
        let report = present::report(&context(true), &experiment, &results).unwrap();
        report.write(dir.path()).unwrap();
        assert!(dir.path().join("media/stripes-2.svg").is_file());
        assert!(report.summary().contains("shallow"), "{}", report.summary());
    }
}
