//! One model trained.

use super::data::Part;
use super::{Kind, Model, Study};
use crate::Context;
use burn::tensor::Device;
use menagerie_core::{Result, Seed};
use menagerie_series::final_mlp::{ClickModel, FinalMlp, Fit, Impressions, TrainingConfig};
use menagerie_train::{EarlyStop, FitConfig, Metrics, Progress, Run, Split, initialise};
use serde::Serialize;

/// A model and the seed that it starts from; all models of a seed see the same batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Arm {
    pub kind: Kind,
    /// The seed's place in the list, from 0.
    pub seed: usize,
}

impl Arm {
    pub(super) fn label(&self, study: &Study) -> String {
        format!("{}-{}-{}", study.id, self.kind.id(), self.seed)
    }
}

/// What came of an [`Arm`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub arm: Arm,
    pub parameters: usize,
    /// `auc` and `log loss` on the test rows.
    pub test: Metrics,
    /// The watched rows' area after each epoch: validation where there is such, else test.
    pub curve: Vec<f64>,
    /// The mean gate of the first stream on every context field, by the context field that a user listens to;
    /// where that is known.
    pub gates: Vec<Vec<f64>>,
}

#[derive(Serialize)]
struct Settings<'a> {
    arm: &'a Arm,
    model: &'a Model,
    training: &'a TrainingConfig,
    rows: [usize; 3],
}

/// Trains in a folder of its own, which is continued if it is there.
pub(super) fn train(
    study: &Study,
    arm: &Arm,
    context: &Context,
    progress: &Progress,
) -> Result<Outcome> {
    let part = &study.parts[arm.seed % study.parts.len()];
    let model = study.settings.model(arm.kind, part.train.fields().to_vec());
    let settings = Settings {
        arm,
        model: &model,
        training: &study.training,
        rows: super::sizes(part),
    };
    let label = arm.label(study);
    let run = Run::create(&context.out.join(&label), &settings, context.resume)?;
    let job = Job {
        study,
        part,
        arm,
        run,
        seed: Seed(context.seed + arm.seed as u64).stream("final-mlp"),
        device: context.device.clone().autodiff(),
        progress: progress.labelled(label),
    };
    match &model {
        Model::Baseline(config) => Ok(job.train(|device| config.init(device))?.0),
        Model::Dual(config) => Ok(job.train(|device| config.init(device))?.0),
        Model::Final(config) => {
            let (mut outcome, model) = job.train(|device| config.init(device))?;
            if config.gate1.is_some() {
                outcome.gates = gates(&model, part)?;
            }
            Ok(outcome)
        }
    }
}

struct Job<'a> {
    study: &'a Study,
    part: &'a Part,
    arm: &'a Arm,
    run: Run,
    seed: Seed,
    device: Device,
    progress: Progress,
}

impl Job<'_> {
    fn train<M: ClickModel>(self, init: impl FnOnce(&Device) -> Result<M>) -> Result<(Outcome, M)> {
        let model = initialise(&self.device, self.seed.stream("weights"), || {
            init(&self.device)
        })?;
        let parameters = trained(&model);
        // Where nothing depends on it, the test rows are watched.
        let watched: &Impressions = self.part.valid.as_ref().unwrap_or(&self.part.test);
        let mut training = self.study.training.clone();
        if !self.study.plateau {
            training.factor = 1.0;
        }
        let mut fit = Fit::new(model, &training, &self.part.train, Some(watched), self.seed)?;
        let epoch = fit.steps_per_epoch();
        let steps = epoch * training.epochs;
        let config = FitConfig {
            log_every: (steps / 50).max(1),
            evaluate_every: epoch,
            checkpoint_every: epoch * training.epochs.div_ceil(3),
            keep_checkpoints: 1,
            early_stop: self.study.plateau.then(|| EarlyStop {
                metric: "auc".into(),
                maximise: true,
                min_delta: training.min_delta,
                patience: training.patience,
            }),
            ..FitConfig::new(steps)
        };
        self.run.fit(&mut fit, &config, &self.progress)?;
        let model = match self.study.plateau {
            true => fit.best()?,
            false => fit.model()?.valid(),
        };
        let history = self.run.history()?;
        let lines = history
            .iter()
            .filter(|line| line.split == Split::Evaluation);
        let outcome = Outcome {
            arm: *self.arm,
            parameters,
            test: model.evaluate(&self.part.test, 4_096)?,
            curve: lines.filter_map(|line| line.metrics.get("auc")).collect(),
            gates: Vec::new(),
        };
        Ok((outcome, model))
    }
}

/// Numbers that are trained: running moments are not.
fn trained<M: ClickModel>(model: &M) -> usize {
    struct Count(usize);
    impl burn::module::ModuleVisitor for Count {
        fn visit_float<const D: usize>(
            &mut self,
            param: &burn::module::Param<burn::tensor::Tensor<D>>,
        ) {
            if param.val().is_require_grad() {
                self.0 += param.val().shape().num_elements();
            }
        }
    }
    let mut count = Count(0);
    model.visit(&mut count);
    count.0
}

/// The first stream's gates on the context fields, by the field that a user listens to.
fn gates(model: &FinalMlp, part: &Part) -> Result<Vec<Vec<f64>>> {
    let contexts = part.listens.iter().max().map_or(0, |most| most + 1);
    if contexts == 0 {
        return Ok(Vec::new());
    }
    // One row for each user; item and contexts do not matter to a gate by user.
    let fields = part.train.fields();
    let ids = (1..=part.listens.len() as u32)
        .flat_map(|user| std::iter::once(user).chain(std::iter::repeat_n(1, fields.len() - 1)));
    let labels = vec![true; part.listens.len()];
    let rows = Impressions::new(fields.to_vec(), ids.collect(), Vec::new(), labels)?;
    let places: Vec<usize> = (0..rows.len()).collect();
    let [first, _] = model.field_gates(&rows, &places)?;
    let values: Vec<f64> = first.into_data().iter::<f64>().collect();
    let mean = |heard: usize, context: usize| {
        let users = part
            .listens
            .iter()
            .enumerate()
            .filter(|(_, listens)| **listens == heard);
        let (sum, count) = users.fold((0.0, 0.0), |(sum, count), (user, _)| {
            (sum + values[user * fields.len() + 2 + context], count + 1.0)
        });
        sum / count
    };
    let row = |heard| (0..contexts).map(|context| mean(heard, context)).collect();
    Ok((0..contexts).map(row).collect())
}
