//! Blocks that learn alone against back-propagation through the same blocks, at the same number of
//! updates, on Fashion-MNIST; the other two methods and embeddings; the paper's network on MNIST as far
//! as the time goes; and the memory of a step.

mod memory;
mod present;

use crate::{Context, Recipe, Scale, jobs};
use anyhow::Context as _;
use burn::tensor::{Device, Tensor, TensorData};
use memory::Memory;
use menagerie_core::{Error, Result, Seed};
use menagerie_data_image::{ImageSet, Split, cifar10, fashion_mnist, mnist};
use menagerie_local_learning::noprop::{
    self, AdjointConfig, BackpropConfig, CtConfig, DtConfig, Embedding, FmConfig, Labelled,
    Learner, NetworkConfig, Training, TrainingConfig, prototypes,
};
use menagerie_report::Report;
use menagerie_train::{FitConfig, Metrics, Progress, Run, Sampler, Split as Part, initialise};
use serde::Serialize;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The recipe behind `cargo xtask reproduce noprop`.
pub const RECIPE: Recipe = Recipe {
    system: &noprop::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = match context.scale {
        Scale::Small => Experiment::small()?,
        Scale::Paper => Experiment::paper()?,
    };
    let results = all(&experiment, context)?;
    Ok(present::report(context, &experiment, &results)?)
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
enum Method {
    Discrete,
    Backprop,
    Continuous,
    Flow,
    Adjoint,
}

/// One training.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Arm {
    name: String,
    /// Which of the experiment's data.
    data: usize,
    method: Method,
    network: NetworkConfig,
    /// Blocks, of the methods that have several.
    blocks: usize,
    /// Steps of an inference, and of the adjoint method's solver.
    inference: usize,
    /// Updates that make up a pass over the data; blocks change after each.
    pass: usize,
    /// Updates.
    steps: usize,
    /// Updates between evaluations.
    evaluate: usize,
}

const DISCRETE: &str = "NoProp-DT, one-hot";
const BACKPROP: &str = "back-propagation, one-hot";
const DISCRETE_MNIST: &str = "NoProp-DT, the paper's network, MNIST";
const BACKPROP_MNIST: &str = "back-propagation, the paper's network, MNIST";
/// Images of a batch.
const BATCH: usize = 128;

/// The whole comparison.
struct Experiment {
    /// Images to train on and to test with.
    data: Vec<[ImageSet; 2]>,
    arms: Vec<Arm>,
    training: TrainingConfig,
    /// Accuracy, in percent, that blocks must reach.
    least: f64,
    /// The network whose memory is measured.
    memory: NetworkConfig,
    seeds: usize,
    /// Inferences with draws of their own, whose mean counts.
    inferences: u64,
    workers: usize,
}

impl Experiment {
    /// 12 800 garments, five narrow blocks, four epochs of a pass for each of them. Methods of one
    /// block get as many updates, the adjoint method a tenth, each of which is a hundred steps forward
    /// and back. The paper's network on digits gets 40 updates of each of its blocks.
    fn small() -> Result<Self> {
        const PASS: usize = 12_800 / BATCH;
        const FEW: usize = 40;
        let arm = |name: &str, method, embedding, steps| Arm {
            name: name.into(),
            data: 0,
            method,
            network: NetworkConfig::small(embedding),
            blocks: 5,
            inference: 100,
            pass: PASS,
            steps,
            evaluate: (steps / 4).max(1),
        };
        let published = |name: &str, method, steps| Arm {
            data: 1,
            network: NetworkConfig::mnist(OneHot),
            blocks: 10,
            pass: FEW,
            evaluate: steps,
            ..arm(name, method, OneHot, steps)
        };
        use Embedding::{Learned, OneHot, Prototype};
        use Method::{Adjoint, Backprop, Continuous, Discrete, Flow};
        // The longest first.
        let arms = vec![
            arm(BACKPROP, Backprop, OneHot, 20 * PASS),
            published(DISCRETE_MNIST, Discrete, 10 * FEW),
            // As many passes of a block: each update passes through all ten.
            published(BACKPROP_MNIST, Backprop, FEW),
            arm("NoProp-DT, prototypes", Discrete, Prototype, 20 * PASS),
            arm(DISCRETE, Discrete, OneHot, 20 * PASS),
            arm("NoProp-DT, 20 dimensions", Discrete, Learned, 20 * PASS),
            arm("NoProp-CT, one-hot", Continuous, OneHot, 20 * PASS),
            arm("NoProp-FM, one-hot", Flow, OneHot, 20 * PASS),
            arm("adjoint, one-hot", Adjoint, OneHot, 2 * PASS),
        ];
        let test = |set: ImageSet, count| set.subset(0..count);
        Ok(Self {
            data: vec![
                [
                    fashion_mnist(Split::Train)?.subset(0..12_800)?,
                    test(fashion_mnist(Split::Test)?, 4_000)?,
                ],
                [mnist(Split::Train)?, test(mnist(Split::Test)?, 2_000)?],
            ],
            arms,
            training: TrainingConfig::new().with_batch(BATCH),
            least: 78.0,
            memory: NetworkConfig::mnist(OneHot),
            seeds: 1,
            inferences: 1,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }

    /// The published recipe on CIFAR-10: three seeds of five inferences.
    fn paper() -> Result<Self> {
        let data = [cifar10(Split::Train)?, cifar10(Split::Test)?];
        let images = data[0].len();
        let pass = TrainingConfig::cifar().pass(images);
        let mut arms = Vec::new();
        for (method, name, blocks, steps) in [
            (
                Method::Discrete,
                "NoProp-DT",
                10,
                TrainingConfig::cifar().steps(images, 10),
            ),
            (
                Method::Backprop,
                "back-propagation",
                10,
                TrainingConfig::cifar().steps(images, 1),
            ),
            (
                Method::Continuous,
                "NoProp-CT",
                1,
                TrainingConfig::continuous_cifar10().steps(images, 1),
            ),
            (
                Method::Flow,
                "NoProp-FM",
                1,
                TrainingConfig::continuous_cifar10().steps(images, 1),
            ),
            (
                Method::Adjoint,
                "adjoint",
                1,
                TrainingConfig::adjoint_cifar().steps(images, 1),
            ),
        ] {
            for (embedding, kind) in [
                (Embedding::OneHot, "one-hot"),
                (Embedding::Learned, "20 dimensions"),
                (Embedding::Prototype, "prototypes"),
            ] {
                // The paper's adjoint method has one-hot embeddings alone.
                if method == Method::Adjoint && embedding != Embedding::OneHot {
                    continue;
                }
                arms.push(Arm {
                    name: format!("{name}, {kind}"),
                    data: 0,
                    method,
                    network: NetworkConfig::cifar10(embedding),
                    blocks,
                    inference: 1_000,
                    pass,
                    steps,
                    evaluate: steps.div_ceil(10),
                });
            }
        }
        Ok(Self {
            data: vec![data],
            arms,
            training: TrainingConfig::new().with_batch(BATCH),
            least: 78.25,
            memory: NetworkConfig::cifar10(Embedding::OneHot),
            seeds: 3,
            inferences: 5,
            workers: 1,
        })
    }
}

/// What came of one arm with one seed.
struct Outcome {
    arm: String,
    /// The seed's place in the list, from 0.
    seed: usize,
    /// Test accuracy in percent, the mean over inferences.
    accuracy: f64,
    /// Test accuracy of one inference by the number of updates.
    curve: Vec<(f64, f64)>,
    /// Seconds of the updates; of those that were left, in a resumed run.
    seconds: f64,
}

struct Results {
    outcomes: Vec<Outcome>,
    memory: Memory,
}

fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Results> {
    // First, while nothing else has been computed.
    let memory = memory::measure(&experiment.memory, [5, 10], experiment.training.batch)?;
    let progress = Progress::auto();
    let jobs: Vec<(usize, &Arm)> = (0..experiment.seeds)
        .flat_map(|seed| experiment.arms.iter().map(move |arm| (seed, arm)))
        .collect();
    let outcomes = jobs::run(&jobs, experiment.workers, |(seed, arm)| {
        let name = arm.name.to_lowercase().replace([' ', ',', '\''], "-");
        let label = format!("{name}-seed{seed}");
        let job = Job {
            experiment,
            context,
            arm,
            index: *seed,
            progress: progress.labelled(&label),
            label: label.clone(),
        };
        job.run().context(label)
    })?;
    Ok(Results { outcomes, memory })
}

/// One training of one seed.
struct Job<'a> {
    experiment: &'a Experiment,
    context: &'a Context,
    arm: &'a Arm,
    index: usize,
    label: String,
    progress: Progress,
}

impl Job<'_> {
    fn run(&self) -> Result<Outcome> {
        let (arm, network) = (self.arm, self.arm.network.clone());
        let device = self.context.device.clone().autodiff();
        match arm.method {
            Method::Discrete => {
                let config = DtConfig::new(network).with_steps(arm.blocks);
                self.train(&device, || config.init(&device))
            }
            Method::Backprop => {
                let config = BackpropConfig::new(network).with_steps(arm.blocks);
                self.train(&device, || config.init(&device))
            }
            Method::Continuous => {
                let config = CtConfig::new(network).with_inference_steps(arm.inference);
                self.train(&device, || config.init(&device))
            }
            Method::Flow => {
                let config = FmConfig::new(network).with_inference_steps(arm.inference);
                self.train(&device, || config.init(&device))
            }
            Method::Adjoint => {
                let config = AdjointConfig::new(network).with_steps(arm.inference);
                self.train(&device, || config.init(&device))
            }
        }
    }

    fn train<M: Learner>(
        &self,
        device: &Device,
        init: impl FnOnce() -> Result<M>,
    ) -> Result<Outcome> {
        let (arm, experiment) = (self.arm, self.experiment);
        let [train, test] = &experiment.data[arm.data];
        let seed = Seed(self.context.seed + self.index as u64).stream("noprop");
        let mut model = initialise(device, seed.stream("weights"), init)?;
        if arm.network.embedding == Embedding::Prototype {
            let all: Vec<usize> = (0..train.len()).collect();
            let all = batch(train, &all, &self.context.device)?;
            let rows = prototypes(all.images, &all.labels, arm.network.classes)?;
            model.readout_mut().set_embeddings(rows)?;
        }
        let size = experiment.training.batch;
        let mut sampler = Sampler::shuffled(train.len(), size, seed.stream("batches"))?;
        let batches = |step: usize, device: &Device| batch(train, &sampler.indices(step), device);
        let right = |model: &M, run: u64| {
            let seed = seed.stream("inference").at(run);
            accuracy(model, test, seed, &self.context.device)
        };
        let evaluated = Cell::new(Duration::ZERO);
        let mut training = Training::new(model, &experiment.training, arm.pass, seed, batches)?
            .evaluating(|model, _| {
                let began = Instant::now();
                let metrics = Metrics::new().with("accuracy", right(model, 0)?);
                evaluated.set(evaluated.get() + began.elapsed());
                Ok(metrics)
            });
        let run = Run::create(
            &self.context.out.join(&self.label),
            &(seed, arm, &experiment.training),
            self.context.resume,
        )?;
        let fit = FitConfig {
            log_every: (arm.steps / 100).max(1),
            evaluate_every: arm.evaluate,
            checkpoint_every: (arm.steps / 3).max(1),
            keep_checkpoints: 1,
            ..FitConfig::new(arm.steps)
        };
        let began = Instant::now();
        run.fit(&mut training, &fit, &self.progress)?;
        let seconds = (began.elapsed() - evaluated.get()).as_secs_f64();
        let model = training.trained()?;
        let mut sum = 0.0;
        for inference in 0..experiment.inferences {
            sum += right(&model, inference)?;
        }
        let evaluations = run.history()?.into_iter();
        Ok(Outcome {
            arm: arm.name.clone(),
            seed: self.index,
            accuracy: sum / experiment.inferences as f64,
            curve: evaluations
                .filter(|record| record.split == Part::Evaluation)
                .filter_map(|record| Some((record.step as f64, record.metrics.get("accuracy")?)))
                .collect(),
            seconds,
        })
    }
}

/// Images `[indices, channels, height, width]` in 0..1 with their classes.
fn batch(set: &ImageSet, indices: &[usize], device: &Device) -> Result<Labelled> {
    let [channels, height, width] = set.image_shape();
    let pixels = set.to_f32(indices.iter().copied())?;
    let shape = [indices.len(), channels, height, width];
    let labels = indices.iter().filter_map(|at| set.labels().get(*at));
    Ok(Labelled {
        images: Tensor::from_data(TensorData::new(pixels, shape), device),
        labels: labels.copied().collect(),
    })
}

/// The share of images, in percent, whose class an inference finds.
fn accuracy<M: Learner>(model: &M, test: &ImageSet, seed: Seed, device: &Device) -> Result<f64> {
    const IMAGES: usize = 250;
    let indices: Vec<usize> = (0..test.len()).collect();
    let mut right = 0;
    for (at, chunk) in indices.chunks(IMAGES).enumerate() {
        let batch = batch(test, chunk, device)?;
        let found = model.classify(batch.images, seed.at(at as u64))?;
        let found = found
            .try_into_vec_as::<i64>()
            .map_err(|error| Error::other("reading classes", error))?;
        let pairs = found.iter().zip(&batch.labels);
        right += pairs.filter(|(a, b)| **a == **b as i64).count();
    }
    Ok(100.0 * right as f64 / test.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::super::super::efficient::common::tests::stripes;
    use super::*;

    fn tiny(embedding: Embedding, dim: usize) -> NetworkConfig {
        NetworkConfig::new([1, 28, 28], 2, embedding, dim)
            .with_convs([2, 2, 2])
            .with_fc(6)
            .with_fc2(4)
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
        let arm = |name: &str, method, network: NetworkConfig| Arm {
            name: name.into(),
            data: 0,
            method,
            network,
            blocks: 2,
            inference: 3,
            pass: 2,
            steps: 6,
            evaluate: 3,
        };
        let one_hot = tiny(Embedding::OneHot, 2);
        let experiment = Experiment {
            data: vec![[stripes(24), stripes(10)]],
            arms: vec![
                arm(DISCRETE, Method::Discrete, one_hot.clone()),
                arm(BACKPROP, Method::Backprop, one_hot.clone()),
                arm(
                    "prototypes",
                    Method::Discrete,
                    tiny(Embedding::Prototype, 784),
                ),
                arm("ct", Method::Continuous, tiny(Embedding::Learned, 3)),
                arm("fm", Method::Flow, one_hot.clone()),
                arm("adjoint", Method::Adjoint, one_hot.clone()),
            ],
            training: TrainingConfig::new().with_batch(8),
            least: 0.0,
            memory: one_hot,
            seeds: 1,
            inferences: 2,
            workers: 2,
        };
        let results = all(&experiment, &context(false)).unwrap();
        let again = all(&experiment, &context(true)).unwrap();
        for (one, two) in results.outcomes.iter().zip(&again.outcomes) {
            assert_eq!(one.accuracy, two.accuracy, "{}", one.arm);
            assert_eq!(one.curve.len(), 2, "{}", one.arm);
        }
        let report = present::report(&context(true), &experiment, &results).unwrap();
        report.write(dir.path()).unwrap();
        assert!(report.summary().contains("Test accuracy"));
    }

    #[test]
    fn back_propagation_through_more_blocks_holds_more() {
        let network = tiny(Embedding::OneHot, 2).with_convs([16, 16, 16]);
        let memory = memory::measure(&network, [2, 12], 64).unwrap();
        // Tests run one at a time: nothing else comes and goes meanwhile.
        let [few, many] = memory.backprop.map(|held| held.step);
        assert!(many > 2 * few, "{few} {many}");
        let [few, many] = memory.discrete.map(|held| held.step);
        assert!(many < few + few / 10, "{few} {many}");
    }
}
