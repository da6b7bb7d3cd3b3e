//! Ordered low-rank factors: linear maps whose best truncations are known in closed form, and
//! networks against the singular value decomposition of dense ones.

mod data;
mod linear;
mod networks;
mod present;
mod timing;
mod verdicts;

use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use data::Pictures;
use linear::{Closed, Form};
use menagerie_core::Result;
use menagerie_data_image::{ImageSet, Split, cifar10, fashion_mnist, mnist};
use menagerie_edge::maestro::{
    self, LeNetConfig, MaestroConfig, MlpConfig, ResNetConfig, VggConfig,
};
use menagerie_report::Report;
use menagerie_train::Progress;
use networks::{Architecture, Arm, Kind, Outcome, Study};
use timing::Times;

/// The recipe behind `cargo xtask reproduce maestro`.
pub const RECIPE: Recipe = Recipe {
    system: &maestro::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = Experiment::of(context.scale)?;
    let results = all(&experiment, context)?;
    Ok(present::report(context, &experiment, &results)?)
}

/// Mean and deviation of MNIST's pixels.
const MEAN: [f32; 1] = [0.1307];
const DEVIATION: [f32; 1] = [0.3081];
/// Shares of the ranks that networks are cut to.
const SHARES: [f64; 6] = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0];

/// Everything that is trained.
struct Experiment {
    /// Linear maps, one of each form for every seed.
    forms: Vec<Form>,
    /// Seeds of the linear maps.
    seeds: usize,
    /// The network of the claims on truncation and shrinking.
    truncation: Study,
    /// The network of the claim on footprints.
    footprint: Study,
    /// The first network on other data, or another network, without a verdict of its own.
    beside: Option<Study>,
    workers: usize,
}

impl Experiment {
    fn of(scale: Scale) -> Result<Self> {
        match scale {
            Scale::Small => Self::small(),
            Scale::Paper => Self::paper(),
        }
    }

    /// A perceptron on the first 8 000 digits, and on as many garments beside it; LeNet on all digits.
    fn small() -> Result<Self> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let first = |set: ImageSet, count: usize| set.subset(0..count);
        let digits = |split, count| Pictures::new(first(mnist(split)?, count)?, &MEAN, &DEVIATION);
        let garments =
            |split, count| Pictures::new(first(fashion_mnist(split)?, count)?, &[0.286], &[0.353]);
        let truncation = Study {
            id: "perceptron",
            label: "Perceptron, MNIST",
            train: digits(Split::Train, 8_000)?,
            test: digits(Split::Test, 2_000)?,
            architecture: Architecture::Mlp(MlpConfig::new(vec![784, 96, 64, 10])),
            config: MaestroConfig::new().with_rate(0.02),
            falling: false,
            epochs: 12,
            batch: 64,
            lambdas: vec![0.0, 1e-4, 3e-4, 1e-3],
            seeds: 3,
            estimation: 0,
        };
        let beside = Study {
            id: "garments",
            label: "Perceptron, Fashion-MNIST",
            train: garments(Split::Train, 8_000)?,
            test: garments(Split::Test, 2_000)?,
            ..truncation.clone()
        };
        Ok(Self {
            forms: Form::ALL.to_vec(),
            seeds: 3,
            truncation,
            footprint: Self::lenet(8, vec![0.0, 256e-6], 2)?,
            beside: Some(beside),
            workers,
        })
    }

    fn lenet(epochs: usize, lambdas: Vec<f64>, seeds: usize) -> Result<Study> {
        let digits = |split| Pictures::new(mnist(split)?, &MEAN, &DEVIATION);
        Ok(Study {
            id: "lenet",
            label: "LeNet, MNIST",
            train: digits(Split::Train)?,
            test: digits(Split::Test)?,
            architecture: Architecture::LeNet(LeNetConfig::new()),
            config: MaestroConfig::new(),
            falling: false,
            epochs,
            batch: 128,
            lambdas,
            seeds,
            estimation: 0,
        })
    }

    /// ResNet-18 and, beside it, VGG-19 on CIFAR-10, and LeNet on MNIST for 300 epochs.
    fn paper() -> Result<Self> {
        let (mean, deviation) = ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]);
        let truncation = Study {
            id: "resnet18",
            label: "ResNet-18, CIFAR-10",
            train: Pictures::new(cifar10(Split::Train)?, &mean, &deviation)?.moving(4),
            test: Pictures::new(cifar10(Split::Test)?, &mean, &deviation)?,
            architecture: Architecture::ResNet(ResNetConfig::resnet18_cifar()),
            config: MaestroConfig::cifar(),
            falling: true,
            epochs: 300,
            batch: 128,
            lambdas: vec![0.0, 4e-6, 16e-6, 64e-6],
            seeds: 3,
            estimation: 50_000,
        };
        let beside = Study {
            id: "vgg19",
            label: "VGG-19, CIFAR-10",
            architecture: Architecture::Vgg(VggConfig::vgg19()),
            ..truncation.clone()
        };
        Ok(Self {
            forms: Form::ALL.to_vec(),
            seeds: 3,
            truncation,
            footprint: Self::lenet(300, vec![0.0, 16e-6, 64e-6, 256e-6], 3)?,
            beside: Some(beside),
            workers: 1,
        })
    }
}

/// One thing to train.
enum Job<'a> {
    Linear(Form, usize),
    Network(&'a Study, Arm),
}

/// What came of a [`Job`].
enum Done {
    Linear(Closed),
    Network(Outcome),
}

/// What came of everything.
struct Results {
    linear: Vec<Closed>,
    truncation: Vec<Outcome>,
    footprint: Vec<Outcome>,
    beside: Vec<Outcome>,
    /// The shrunk networks of the largest λ beside truncations of the dense ones that store as much.
    equal: Vec<Equal>,
    times: Times,
}

/// Two networks that store equally many numbers.
struct Equal {
    /// Numbers of the shrunk network; the other has no more.
    numbers: usize,
    /// Test accuracy of the shrunk network, in percent.
    ours: f64,
    /// That of the truncated decomposition of the dense one of the same seed.
    decomposed: f64,
}

/// Cuts every dense network to the numbers of the shrunk one of the same seed.
fn equals(study: &Study, outcomes: &[Outcome]) -> Result<Vec<Equal>> {
    let largest = study.lambdas.iter().copied().fold(0.0, f64::max);
    let shrunk = outcomes
        .iter()
        .filter(|outcome| outcome.arm.kind == Kind::Factored(largest) && largest > 0.0);
    shrunk
        .filter_map(|ours| {
            let dense = outcomes
                .iter()
                .find(|dense| dense.arm.kind == Kind::Dense && dense.arm.seed == ours.arm.seed)?;
            let numbers = ours.whole.numbers;
            let point = dense.at_most.as_ref()?(numbers);
            Some(point.map(|point| Equal {
                numbers,
                ours: ours.whole.accuracy,
                decomposed: point.accuracy,
            }))
        })
        .collect()
}

fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Results> {
    let progress = Progress::auto();
    // The longest first.
    let networks = [&experiment.footprint, &experiment.truncation]
        .into_iter()
        .chain(&experiment.beside)
        .flat_map(|study| {
            let arms = study.arms().into_iter();
            arms.map(move |arm| Job::Network(study, arm))
        });
    let forms = experiment.forms.iter();
    let linear =
        forms.flat_map(|form| (0..experiment.seeds).map(move |seed| Job::Linear(*form, seed)));
    let jobs: Vec<Job> = networks.chain(linear).collect();
    let done = jobs::run(&jobs, experiment.workers, |job| match job {
        Job::Linear(form, seed) => linear::recover(*form, *seed, context)
            .map(Done::Linear)
            .with_context(|| format!("{form:?} seed {seed}")),
        Job::Network(study, arm) => networks::train(study, arm, context, &progress)
            .map(Done::Network)
            .with_context(|| arm.label(study)),
    })?;
    let mut linear = Vec::new();
    let (mut truncation, mut footprint, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for (job, done) in jobs.iter().zip(done) {
        match (job, done) {
            (_, Done::Linear(closed)) => linear.push(closed),
            (Job::Network(study, _), Done::Network(outcome)) => {
                let outcomes = match study.id {
                    id if id == experiment.footprint.id => &mut footprint,
                    id if id == experiment.truncation.id => &mut truncation,
                    _ => &mut beside,
                };
                outcomes.push(outcome);
            }
            (Job::Linear(..), Done::Network(_)) => {}
        }
    }
    Ok(Results {
        equal: equals(&experiment.footprint, &footprint)?,
        linear,
        truncation,
        footprint,
        beside,
        times: timing::measure(context)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::efficient::common::tests::stripes;
    use super::*;
    use burn::tensor::Device;

    fn brief(id: &'static str, architecture: Architecture, estimation: usize) -> Study {
        let pictures = || Pictures::new(stripes(40), &[0.4], &[0.3]).unwrap();
        Study {
            id,
            label: id,
            train: pictures().moving(2),
            test: pictures(),
            architecture,
            config: MaestroConfig::new(),
            falling: true,
            epochs: 2,
            batch: 20,
            lambdas: vec![0.0, 1e-4],
            seeds: 1,
            estimation,
        }
    }

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
        let resnet = ResNetConfig::new(28, [1, 1, 1, 1], 2)
            .with_width(4)
            .with_channels(1);
        let lenet = LeNetConfig::new().with_classes(2);
        let experiment = Experiment {
            forms: vec![Form::Autoencoder],
            seeds: 1,
            truncation: brief("resnet", Architecture::ResNet(resnet), 40),
            footprint: brief("lenet", Architecture::LeNet(lenet), 0),
            beside: None,
            workers: 2,
        };
        let results = all(&experiment, &context(false)).unwrap();
        let again = all(&experiment, &context(true)).unwrap();
        for (one, two) in results.truncation.iter().zip(&again.truncation) {
            assert_eq!((&one.points, &one.ranks), (&two.points, &two.ranks));
        }
        assert_eq!(results.truncation.len(), 3);
        let report = present::report(&context(true), &experiment, &results).unwrap();
        report.write(dir.path()).unwrap();
        assert!(dir.path().join("media/lenet.svg").is_file());
        let summary = report.summary();
        assert!(
            summary.contains("ResNet") || summary.contains("resnet"),
            "{summary}"
        );
    }
}
