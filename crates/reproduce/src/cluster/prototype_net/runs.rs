//! The runs of the comparison: every arm on every data set with every seed, several at a time.

use super::{
    Arm, Experiment, Study,
    measure::{self, Outcome},
};
use crate::{Context, jobs};
use anyhow::Context as _;
use burn::{
    tensor::Device,
    train::{InferenceStep, LearnerModel, TrainStep},
};
use menagerie_cluster::prototype_net::{
    Batches, LabelledImages, PlainNetConfig, PrototypeNetConfig, TrainingConfig, evaluate,
};
use menagerie_core::{Result, Seed};
use menagerie_train::{FitConfig, Metrics, Progress, Run, Scalars, Split, Supervised, initialise};

/// Images per batch of an evaluation.
pub(super) const EVALUATION_BATCH: usize = 500;

/// The outcomes of one arm on one data set, one per seed.
pub(super) struct Group {
    /// The position of the data set in the experiment.
    pub study: usize,
    pub arm: Arm,
    pub outcomes: Vec<Outcome>,
}

/// Trains every arm on every data set with every seed.
pub(super) fn all(experiment: &Experiment, context: &Context) -> anyhow::Result<Vec<Group>> {
    let mut groups: Vec<Group> = (0..experiment.studies.len())
        .flat_map(|study| Arm::ALL.map(|arm| (study, arm)))
        .map(|(study, arm)| Group {
            study,
            arm,
            outcomes: Vec::new(),
        })
        .collect();
    // Seed by seed, so that a run that is stopped early has the whole comparison of a few.
    let jobs: Vec<(usize, usize)> = (0..experiment.seeds)
        .flat_map(|seed| (0..groups.len()).map(move |group| (group, seed)))
        .collect();
    let progress = Progress::auto();
    let outcomes = jobs::run(&jobs, experiment.workers, |&(group, seed)| {
        let Group { study, arm, .. } = groups[group];
        let job = Job {
            study: &experiment.studies[study],
            arm,
            // Pictures of one seed are enough, the first one.
            pictures: seed == 0,
            seed: Seed(context.seed + seed as u64),
            context,
        };
        let label = format!("{} {} seed {}", job.study.id, arm.id(), job.seed.0);
        job.run(&progress.labelled(&label)).context(label)
    })?;
    for (&(group, _), outcome) in jobs.iter().zip(outcomes) {
        groups[group].outcomes.push(outcome);
    }
    Ok(groups)
}

/// What identifies a run: `config.json` of its folder.
#[derive(serde::Serialize)]
struct Setup<'a> {
    data: &'a str,
    images: usize,
    arm: Arm,
    seed: Seed,
    device: String,
    model: &'a PrototypeNetConfig,
    training: &'a TrainingConfig,
}

struct Job<'a> {
    study: &'a Study,
    arm: Arm,
    seed: Seed,
    pictures: bool,
    context: &'a Context,
}

impl Job<'_> {
    fn run(&self, progress: &Progress) -> Result<Outcome> {
        let config = self.study.config(self.arm);
        let device = self.context.device.clone().autodiff();
        let weights = self.seed.stream("weights");
        if self.arm == Arm::Plain {
            let config = PlainNetConfig::matching(&config);
            let model = initialise(&device, weights, || config.init(&device))?;
            let (_, outcome) = self.fit(model, progress)?;
            return Ok(outcome);
        }
        let model = initialise(&device, weights, || config.init(&device))?;
        let (model, outcome) = self.fit(model, progress)?;
        let prototypes =
            measure::prototypes(&model, self.study, &self.context.device, self.pictures)?;
        Ok(Outcome {
            prototypes: Some(prototypes),
            ..outcome
        })
    }

    fn fit<M>(&self, model: M, progress: &Progress) -> Result<(M, Outcome)>
    where
        M: LearnerModel
            + TrainStep<Input = LabelledImages, Output = Scalars>
            + InferenceStep<Input = LabelledImages, Output = Scalars>,
    {
        let (study, device) = (self.study, &self.context.device);
        let training = &study.training;
        let name = format!("{}-{}-seed{}", study.id, self.arm.id(), self.seed.0);
        let run = Run::create(
            &self.context.out.join(name),
            &Setup {
                data: study.id,
                images: study.train.len(),
                arm: self.arm,
                seed: self.seed,
                device: format!("{device:?}"),
                model: &study.config(self.arm),
                training,
            },
            self.context.resume,
        )?;
        let mut batches = Batches::new(&study.train, training, self.seed)?;
        let epoch = batches.steps_per_epoch();
        let steps = training.epochs * epoch;
        let batch = |step: usize, device: &Device| batches.batch(step, device);
        let rate = training.learning_rate;
        let mut procedure = Supervised::new(model, training.optimizer()?, rate, batch)
            .evaluating(|model: &M, _| evaluate(model, &study.test, EVALUATION_BATCH, device));
        let every = epoch * (training.epochs / 10).max(1);
        let fit = FitConfig {
            log_every: epoch,
            evaluate_every: every,
            checkpoint_every: every,
            keep_checkpoints: 1,
            ..FitConfig::new(steps)
        };
        let summary = run.fit(&mut procedure, &fit, progress)?;
        let model = procedure.trained()?;
        let train = evaluate(&model, &study.train, EVALUATION_BATCH, device)?;
        let history = run.history()?;
        let curve = |split: Split, metric: &str| {
            let of = |metrics: &Metrics| metrics.get(metric);
            let records = history.iter().filter(|record| record.split == split);
            records
                .filter_map(|record| {
                    Some((record.step as f64 / epoch as f64, of(&record.metrics)?))
                })
                .collect()
        };
        Ok((
            model,
            Outcome {
                train,
                test: summary.evaluation,
                accuracy: curve(Split::Evaluation, "accuracy"),
                r1: curve(Split::Train, "r1"),
                prototypes: None,
            },
        ))
    }
}
