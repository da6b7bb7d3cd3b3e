//! One neural ODE trained.

use super::{Experiment, Method};
use crate::Context;
use burn::tensor::Device;
use menagerie_core::{Result, Seed};
use menagerie_series::local_reg_nde::{
    Fit, NeuralOde, NodeConfig, TrainingConfig, objective::accuracy,
};
use menagerie_train::{FitConfig, Metrics, Progress, Run, Sampler, initialise};
use serde::Serialize;
use std::time::Instant;

/// A method and a seed; methods share weights to start from and batches.
#[derive(Clone, Debug)]
pub(super) struct Arm {
    pub method: Method,
    pub seed: usize,
}

impl Arm {
    pub(super) fn label(&self) -> String {
        format!("{}-{}", self.method.id, self.seed)
    }
}

/// What came of an [`Arm`].
#[derive(Debug)]
pub(super) struct Outcome {
    pub method: &'static str,
    pub seed: usize,
    model: NeuralOde,
    /// On all test images in one batch.
    pub accuracy: f64,
    pub evaluations: f64,
    /// Seconds of training, beside other arms.
    pub seconds: f64,
    /// Seconds of a prediction of all test images, alone.
    pub prediction: f64,
    /// Evaluations of predictions during training.
    pub history: Vec<(f64, f64)>,
}

#[derive(Serialize)]
struct Settings<'a> {
    config: &'a NodeConfig,
    training: &'a TrainingConfig,
    images: usize,
}

/// Accuracy and evaluations on all test images.
fn measure(model: &NeuralOde, experiment: &Experiment, device: &Device) -> Result<[f64; 2]> {
    let all = experiment.test.all(device);
    let prediction = model.forward(all.images)?;
    let share = accuracy(prediction.logits, all.labels);
    Ok([share, prediction.evaluations as f64])
}

/// Trains in a folder of its own, which is continued if it is there.
pub(super) fn train(
    experiment: &Experiment,
    arm: &Arm,
    context: &Context,
    progress: &Progress,
) -> Result<Outcome> {
    let tracked = context.device.clone().autodiff();
    let seed = Seed(context.seed + arm.seed as u64).stream("local-reg-nde");
    let config = &experiment.config;
    let model = initialise(&tracked, seed.stream("weights"), || config.init(&tracked))?;
    let training = TrainingConfig {
        regularizer: arm.method.regularizer,
        adjoint: arm.method.adjoint,
        seed: seed.stream("times").0,
        ..experiment.training.clone()
    };
    let (count, batch) = (experiment.train.len(), training.batch);
    let mut sampler = Sampler::shuffled(count, batch, seed.stream("order"))?;
    let batches = |step: usize, to: &Device| Ok(experiment.train.batch(&sampler.indices(step), to));
    let device = &context.device;
    let evaluate = |model: &NeuralOde, _: usize| {
        let [accuracy, evaluations] = measure(model, experiment, device)?;
        Ok(Metrics::new()
            .with("test accuracy", accuracy)
            .with("test evaluations", evaluations))
    };
    let mut fit = Fit::new(model, &training, batches)?.evaluating(evaluate);
    let label = arm.label();
    let settings = Settings {
        config,
        training: &training,
        images: count,
    };
    let run = Run::create(&context.out.join(&label), &settings, context.resume)?;
    let steps = training.steps;
    let fitting = FitConfig {
        log_every: (steps / 50).max(1),
        checkpoint_every: (steps / 3).max(1),
        keep_checkpoints: 1,
        ..FitConfig::new(steps)
    };
    let began = Instant::now();
    run.fit(&mut fit, &fitting, &progress.labelled(label))?;
    let seconds = began.elapsed().as_secs_f64();
    let model = fit.trained()?;
    let [accuracy, evaluations] = measure(&model, experiment, device)?;
    let history = run.history()?.into_iter().filter_map(|line| {
        let evaluations = line.metrics.get("test evaluations")?;
        Some((line.step as f64, evaluations))
    });
    Ok(Outcome {
        method: arm.method.id,
        seed: arm.seed,
        model,
        accuracy,
        evaluations,
        seconds,
        prediction: f64::NAN,
        history: history.collect(),
    })
}

/// Medians of predictions of all test images, the models in turn.
pub(super) fn time(
    experiment: &Experiment,
    outcomes: &mut [Outcome],
    context: &Context,
) -> Result<()> {
    let images = experiment.test.all(&context.device).images;
    let mut times = vec![Vec::new(); outcomes.len()];
    for round in 0..10 {
        for (outcome, times) in outcomes.iter().zip(&mut times) {
            let began = Instant::now();
            let _ = outcome.model.forward(images.clone())?.logits.into_data();
            if round > 0 {
                times.push(began.elapsed().as_secs_f64());
            }
        }
    }
    for (outcome, mut times) in outcomes.iter_mut().zip(times) {
        times.sort_by(f64::total_cmp);
        outcome.prediction = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
    }
    Ok(())
}
