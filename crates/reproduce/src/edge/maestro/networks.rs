//! Networks that are trained and cut.

use super::SHARES;
use super::data::Pictures;
use crate::Context;
use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_edge::maestro::{
    LeNetConfig, MaestroConfig, MlpConfig, Network, Ranks, ResNetConfig, Training, VggConfig,
};
use menagerie_train::{FitConfig, Metrics, Progress, Run, Sampler, Split, initialise};
use serde::Serialize;

/// Images per batch of an evaluation.
const EVALUATION_BATCH: usize = 500;
/// Shares of a dense network's multiplications that networks are fitted to.
const BUDGETS: [f64; 5] = [0.05, 0.1, 0.2, 0.3, 0.5];

/// Which network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) enum Architecture {
    Mlp(MlpConfig),
    LeNet(LeNetConfig),
    ResNet(ResNetConfig),
    Vgg(VggConfig),
}

/// A network on data, trained in several ways.
#[derive(Clone)]
pub(super) struct Study {
    /// The name of its folders.
    pub id: &'static str,
    /// Its name in the report.
    pub label: &'static str,
    pub train: Pictures,
    pub test: Pictures,
    pub architecture: Architecture,
    /// The settings of all arms, without λ.
    pub config: MaestroConfig,
    /// Whether the rate falls.
    pub falling: bool,
    pub epochs: usize,
    pub batch: usize,
    /// Weights of the lasso, one arm each, ascending.
    pub lambdas: Vec<f64>,
    pub seeds: usize,
    /// Training images of which batch normalisation is estimated anew before an evaluation.
    pub estimation: usize,
}

/// How a network is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) enum Kind {
    /// As it is; afterwards decomposed and cut.
    Dense,
    /// As factors, with that weight of the lasso.
    Factored(f64),
}

/// One training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Arm {
    pub kind: Kind,
    /// The seed's place in the list, from 0.
    pub seed: usize,
}

impl Arm {
    pub(super) fn label(&self, study: &Study) -> String {
        let kind = match self.kind {
            Kind::Dense => "dense".to_owned(),
            Kind::Factored(lambda) => format!("lambda{lambda:e}"),
        };
        format!("{}-{kind}-seed{}", study.id, self.seed)
    }
}

impl Study {
    pub(super) fn arms(&self) -> Vec<Arm> {
        let kinds = || {
            let lambdas = self.lambdas.iter();
            std::iter::once(Kind::Dense).chain(lambdas.map(|lambda| Kind::Factored(*lambda)))
        };
        (0..self.seeds)
            .flat_map(|seed| kinds().map(move |kind| Arm { kind, seed }))
            .collect()
    }
}

/// An extracted network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// The share of the ranks, or of the dense network's multiplications.
    pub share: f64,
    /// Numbers that are stored.
    pub numbers: usize,
    /// Multiplications for an image.
    pub macs: usize,
    /// Test accuracy, in percent.
    pub accuracy: f64,
}

/// What came of one training.
pub(super) struct Outcome {
    pub arm: Arm,
    /// At the same share of the ranks of all layers.
    pub points: Vec<Point>,
    /// At budgets of multiplications, the least important ranks gone.
    pub fitted: Vec<Point>,
    /// The network as it was trained.
    pub whole: Point,
    /// The layers: name, ranks that are left, ranks that are stored.
    pub ranks: Vec<(String, usize, usize)>,
    /// Ranks that are left in all layers together, by epoch.
    pub shrinking: Vec<(f64, f64)>,
    /// Multiplications of all ranks that were left, the mean over epochs, as a share of the dense
    /// network's. A step of training takes somewhat fewer: it cuts a layer.
    pub cost: f64,
    /// The best truncation of a dense network that stores at most so many numbers.
    pub at_most: Option<Cutter>,
}

/// Cuts a network to so many numbers.
pub(super) type Cutter = Box<dyn Fn(usize) -> Result<Point> + Send>;

/// Trains a network and cuts it.
pub(super) fn train(
    study: &Study,
    arm: &Arm,
    context: &Context,
    progress: &Progress,
) -> Result<Outcome> {
    match &study.architecture {
        Architecture::Mlp(config) => one(study, arm, context, progress, |to| config.init(to)),
        Architecture::LeNet(config) => one(study, arm, context, progress, |to| config.init(to)),
        Architecture::ResNet(config) => one(study, arm, context, progress, |to| config.init(to)),
        Architecture::Vgg(config) => one(study, arm, context, progress, |to| config.init(to)),
    }
}

fn one<N: Network + 'static>(
    study: &Study,
    arm: &Arm,
    context: &Context,
    progress: &Progress,
    init: impl Fn(&Device) -> Result<N>,
) -> Result<Outcome> {
    // Networks of a seed start from the same weights and see the same images in the same order.
    let seed = Seed(context.seed + arm.seed as u64)
        .stream("maestro")
        .stream(study.id);
    let device = &context.device;
    let tracked = device.clone().autodiff();
    let dense = initialise(&tracked, seed.stream("weights"), || init(&tracked))?;
    let dense_macs = dense.macs(&Ranks::Full) as f64;
    let (network, config) = match arm.kind {
        Kind::Dense => (dense, study.config.clone().with_lambda(0.0)),
        Kind::Factored(lambda) => (dense.decompose()?, study.config.clone().with_lambda(lambda)),
    };
    let first_macs = network.macs(&Ranks::Full) as f64;
    let mut sampler = Sampler::shuffled(study.train.len(), study.batch, seed.stream("batches"))?;
    let epoch = sampler.steps_per_epoch();
    let batch = |step: usize, device: &Device| {
        let indices = sampler.indices(step);
        let draw = seed.stream("augmentation").at(step as u64);
        let images = study.train.images(&indices, draw, device)?;
        Ok((images, study.train.labels(&indices, device)))
    };
    let steps = study.epochs * epoch;
    let mut training =
        Training::new(network, config.clone(), epoch, seed, batch)?.evaluating(|network: &N, _| {
            let left: usize = network.ranks().iter().sum();
            Ok(Metrics::new()
                .with("ranks", left as f64)
                .with("macs", network.macs(&Ranks::Full) as f64)
                .with("numbers", network.numbers() as f64))
        });
    if study.falling {
        training = training.scheduled(config.falling(steps))?;
    }
    let label = arm.label(study);
    let setup = (
        seed,
        &study.architecture,
        &config,
        study.epochs,
        study.batch,
        arm,
    );
    let run = Run::create(&context.out.join(&label), &setup, context.resume)?;
    let fit = FitConfig {
        log_every: (steps / 100).max(1),
        evaluate_every: epoch,
        checkpoint_every: (steps / 3).max(1),
        keep_checkpoints: 1,
        ..FitConfig::new(steps)
    };
    run.fit(&mut training, &fit, &progress.labelled(&label))?;
    let trained = training.trained()?;
    let factored = match arm.kind {
        Kind::Dense => trained.decompose()?,
        Kind::Factored(_) => trained.copy(),
    };
    let points = SHARES.iter().map(|share| {
        let ranks = factored.share(*share)?;
        point(study, &factored, &ranks, *share, device)
    });
    let budgets = BUDGETS.iter().filter_map(|share| {
        // Less than a rank in every layer is refused.
        let ranks = factored.fit((dense_macs * share) as usize).ok()?;
        Some(point(study, &factored, &ranks, *share, device))
    });
    let history = run.history()?;
    let ends = |metric: &'static str| {
        let ends = history.iter();
        let ends = ends.filter(|record| record.split == Split::Evaluation);
        ends.filter_map(move |record| {
            let value = record.metrics.get(metric)?;
            Some((record.step as f64 / epoch as f64, value))
        })
    };
    // What an epoch ends with is what the next one costs.
    let begun = ends("macs").map(|(_, macs)| macs);
    let costs: Vec<f64> = std::iter::once(first_macs)
        .chain(begun)
        .take(study.epochs)
        .collect();
    let points = points.collect::<Result<_>>()?;
    let budgets = budgets.collect::<Result<_>>()?;
    let whole = point(study, &trained, &Ranks::Full, 1.0, device)?;
    let at_most = match arm.kind {
        Kind::Factored(_) => None,
        Kind::Dense => {
            let (study, device, factored) = (study.clone(), device.clone(), factored.copy());
            Some(
                Box::new(move |numbers| best_at_most(&study, &factored, numbers, &device))
                    as Cutter,
            )
        }
    };
    Ok(Outcome {
        arm: *arm,
        points,
        fitted: budgets,
        whole,
        ranks: trained
            .layers()
            .into_iter()
            .map(|(name, layer)| (name, layer.rank(), layer.width()))
            .collect(),
        shrinking: ends("ranks").collect(),
        cost: costs.iter().sum::<f64>() / costs.len().max(1) as f64 / dense_macs,
        at_most,
    })
}

/// The more accurate of two truncations that store at most `numbers`: with the same share of the
/// ranks in all layers, and by importance.
fn best_at_most<N: Network>(
    study: &Study,
    network: &N,
    numbers: usize,
    device: &Device,
) -> Result<Point> {
    let shares = (1..=100).rev().map(|percent| f64::from(percent) / 100.0);
    let shares = shares.map(|share| network.share(share));
    let mut cuts = vec![network.fit_numbers(numbers)?];
    for ranks in shares {
        let ranks = ranks?;
        if network.numbers_at(&ranks) <= numbers {
            cuts.push(ranks);
            break;
        }
    }
    let points = cuts
        .iter()
        .map(|ranks| point(study, network, ranks, 1.0, device));
    let points: Vec<Point> = points.collect::<Result<_>>()?;
    let best = points
        .into_iter()
        .max_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
    best.ok_or_else(|| Error::other("cutting a network", "there is no truncation"))
}

/// The network of those ranks.
fn point<N: Network>(
    study: &Study,
    network: &N,
    ranks: &Ranks,
    share: f64,
    device: &Device,
) -> Result<Point> {
    let small = network.extract(ranks, true).valid();
    let (train, test) = (&study.train, study.test.still());
    if study.estimation > 0 {
        // Batches as in training: shuffled, moved, mirrored.
        let seed = Seed(0).stream("estimation");
        let mut sampler = Sampler::shuffled(train.len(), study.batch, seed)?;
        let steps = study.estimation.min(train.len()).div_ceil(study.batch);
        let batches = (0..steps).map(|step| {
            let draw = seed.stream("augmentation").at(step as u64);
            train.images(&sampler.indices(step), draw, device)
        });
        small.estimate(batches, &Ranks::Full)?;
    }
    Ok(Point {
        share,
        numbers: small.numbers(),
        macs: small.macs(&Ranks::Full),
        accuracy: accuracy(&small, &test, device)?,
    })
}

/// The share, in percent, of `test` whose largest score is at the label.
fn accuracy(network: &impl Network, test: &Pictures, device: &Device) -> Result<f64> {
    let indices: Vec<usize> = (0..test.len()).collect();
    let mut right = 0.0;
    for chunk in indices.chunks(EVALUATION_BATCH) {
        let images = test.images(chunk, Seed(0), device)?;
        let scores = network.forward(images, &Ranks::Full)?;
        let predicted: Tensor<1, Int> = scores.argmax(1).squeeze_dim(1);
        let hits = predicted.equal(test.labels(chunk, device)).int().sum();
        right += hits
            .try_into_scalar::<f64>()
            .map_err(|error| Error::other("reading hits", error))?;
    }
    Ok(100.0 * right / test.len().max(1) as f64)
}
