//! The runs of the comparison: every method on every set with every seed, several seeds at a time.

use super::{Experiment, Method, Study};
use crate::{Context, jobs};
use anyhow::Context as _;
use menagerie_cluster::depict::{
    Budget, Depict, Fit, LossWeights, TargetRule, TrainingConfig, assignments,
};
use menagerie_core::{Result, Seed};
use menagerie_nn::clustering::{Contingency, KMeansConfig, Normalisation, Rows};
use menagerie_train::{Progress, Record, Run};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Images of a cluster that are shown.
pub(super) const SHOWN: usize = 12;

/// What came of one seed on one set.
pub(super) struct Outcome {
    pub scores: Vec<(Method, Scores)>,
    /// The mean squared change of the targets after each pass of the joint stage, by method.
    pub changes: Vec<(Method, Vec<(f64, f64)>)>,
    /// Of the joint training with squared targets, first seed.
    pub gallery: Option<Gallery>,
}

/// A clustering against the true classes.
#[derive(Clone, Copy)]
pub(super) struct Scores {
    pub accuracy: f64,
    pub nmi: f64,
    pub ari: f64,
    /// Share of the images that the smallest cluster has; 0 if one is empty.
    pub smallest: f64,
    /// What this method took on top of the ones it starts from.
    pub seconds: f64,
}

/// What is shown of a clustering.
pub(super) struct Gallery {
    /// For each cluster the class it is matched with, its size, and its most probable images.
    pub clusters: Vec<(Option<usize>, usize, Vec<usize>)>,
    /// Images of each class, `[classes, clusters]`.
    pub table: Vec<Vec<u64>>,
}

/// One group of outcomes, one per seed, for each study.
pub(super) fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Vec<Vec<Outcome>>> {
    let progress = Progress::auto();
    let mut groups = Vec::new();
    for study in &experiment.studies {
        let seeds: Vec<usize> = (0..study.seeds).collect();
        // A single run has all threads to itself.
        let workers = experiment.workers.min(study.seeds);
        let outcomes = jobs::run(&seeds, workers, |&seed| {
            let label = format!("{} seed {}", study.id, context.seed + seed as u64);
            let job = Job {
                study,
                seed: Seed(context.seed + seed as u64),
                pictures: seed == 0,
                context,
                progress: progress.labelled(&label),
            };
            job.run().context(label)
        })?;
        groups.push(outcomes);
    }
    Ok(groups)
}

struct Job<'a> {
    study: &'a Study,
    seed: Seed,
    pictures: bool,
    context: &'a Context,
    progress: Progress,
}

impl Job<'_> {
    fn folder(&self) -> PathBuf {
        let name = format!("{}-seed{}", self.study.id, self.seed.0);
        self.context.out.join(name)
    }

    fn run(&self) -> Result<Outcome> {
        let study = self.study;
        let folder = self.folder();
        let fit = Fit {
            images: &study.images,
            training: &study.training,
            strata: None,
            seed: self.seed,
            folder: &folder,
            resume: self.context.resume,
            progress: &self.progress,
        };
        let mut outcome = Outcome {
            scores: Vec::new(),
            changes: Vec::new(),
            gallery: None,
        };
        let wanted = |method| study.methods.contains(&method);
        if wanted(Method::Pixels) {
            let began = Instant::now();
            let labels = self.pixels()?;
            outcome.add(Method::Pixels, study, &labels, began.elapsed())?;
        }
        let began = Instant::now();
        let autoencoder = fit.autoencoder(&study.config, &self.context.device)?;
        let initial = fit.initial_clusters(&autoencoder)?;
        outcome.add(Method::Autoencoder, study, &initial, began.elapsed())?;
        if wanted(Method::LongAutoencoder) {
            let began = Instant::now();
            let labels = self.long_autoencoder(&fit)?;
            outcome.add(Method::LongAutoencoder, study, &labels, began.elapsed())?;
        }
        let began = Instant::now();
        let warm = fit.warm_up(&autoencoder, &initial)?;
        outcome.add(Method::WarmUp, study, &fit.assign(&warm)?, began.elapsed())?;
        for method in [
            Method::Squared,
            Method::SquareRoot,
            Method::WithoutReconstruction,
        ] {
            if !wanted(method) {
                continue;
            }
            let (training, weights) = joint(study, method);
            let began = Instant::now();
            let model = fit.joint(method.id(), &warm, weights, &training)?;
            let labels = fit.assign(&model)?;
            outcome.add(method, study, &labels, began.elapsed())?;
            outcome.changes.push((method, self.changes(method)?));
            if method == Method::Squared && self.pictures {
                outcome.gallery = Some(gallery(study, &model, &labels)?);
            }
        }
        Ok(outcome)
    }

    fn pixels(&self) -> Result<Vec<usize>> {
        let images = &self.study.images;
        let points = Rows::new(images.values(), images.size())?;
        KMeansConfig::new(self.study.config.clusters)
            .with_restarts(self.study.restarts)
            .fit(&points, self.seed.stream("pixels"))?
            .assign(&points)
    }

    /// The same autoencoder, trained for as many passes as all three stages together.
    fn long_autoencoder(&self, fit: &Fit) -> Result<Vec<usize>> {
        let training = &self.study.training;
        let passes = training.autoencoder.epochs + training.warm_up.epochs + training.joint.epochs;
        let budget = Budget::new(passes, training.autoencoder.patience.max(passes));
        let long = training.clone().with_autoencoder(budget);
        let folder = self.folder().join(Method::LongAutoencoder.id());
        let fit = Fit {
            training: &long,
            folder: &folder,
            ..*fit
        };
        let model = fit.autoencoder(&self.study.config, &self.context.device)?;
        fit.initial_clusters(&model)
    }

    /// What the joint stage logged.
    fn changes(&self, method: Method) -> Result<Vec<(f64, f64)>> {
        let run = Run::open(&self.folder().join(method.id()));
        let records = run.history()?;
        let steps = (self.study.images.len() / self.study.training.batch).max(1);
        let point = |record: Record| {
            let change = record.metrics.get("target change")?;
            Some((record.step as f64 / steps as f64, change))
        };
        Ok(records.into_iter().filter_map(point).collect())
    }
}

/// Settings and weights of a joint stage.
fn joint(study: &Study, method: Method) -> (TrainingConfig, LossWeights) {
    let rule = match method {
        Method::SquareRoot => TargetRule::SquareRoot,
        _ => TargetRule::Squared,
    };
    let weights = match method {
        Method::WithoutReconstruction => LossWeights::without_reconstruction(),
        _ => study.config.weights,
    };
    let joint = study.training.joint.with_rule(rule);
    (study.training.clone().with_joint(joint), weights)
}

impl Outcome {
    fn add(
        &mut self,
        method: Method,
        study: &Study,
        clusters: &[usize],
        took: Duration,
    ) -> Result<()> {
        let table = Contingency::new(&study.labels, clusters)?;
        let smallest = (0..study.config.clusters)
            .map(|cluster| clusters.iter().filter(|found| **found == cluster).count())
            .min()
            .unwrap_or_default();
        let scores = Scores {
            accuracy: table.accuracy(),
            nmi: table.nmi(Normalisation::Arithmetic),
            ari: table.ari(),
            smallest: smallest as f64 / clusters.len() as f64,
            seconds: took.as_secs_f64(),
        };
        self.scores.push((method, scores));
        Ok(())
    }
}

fn gallery(study: &Study, model: &Depict, labels: &[usize]) -> Result<Gallery> {
    let clusters = study.config.clusters;
    let all: Vec<usize> = (0..study.images.len()).collect();
    let p = assignments(model, &study.images, &all)?;
    let table = Contingency::new(&study.labels, labels)?;
    let matching = table.matching();
    let shown = (0..clusters).map(|cluster| {
        let probability = |index: usize| p[index * clusters + cluster];
        let mut members: Vec<usize> = all
            .iter()
            .copied()
            .filter(|&i| labels[i] == cluster)
            .collect();
        members.sort_by(|&a, &b| probability(b).total_cmp(&probability(a)));
        let size = members.len();
        members.truncate(SHOWN);
        (matching.get(&cluster).copied(), size, members)
    });
    let rows = table.counts().chunks(table.clusters().len());
    Ok(Gallery {
        clusters: shown.collect(),
        table: rows.map(<[u64]>::to_vec).collect(),
    })
}
