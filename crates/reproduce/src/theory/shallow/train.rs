//! One stack trained.

use super::Study;
use crate::Context;
use burn::module::Module;
use burn::tensor::Device;
use menagerie_core::{Result, Seed};
use menagerie_theory::shallow::{Form, ResidualStack, ShallowConfig, TrainingConfig, evaluate};
use menagerie_train::{FitConfig, Metrics, Progress, Run, Sampler, Supervised, initialise};
use serde::Serialize;

/// A stack and the seed that it starts from; seeds are shared by the forms of a stack, which start
/// from the same weights and see the same batches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Arm {
    pub config: ShallowConfig,
    /// The seed's place in the list, from 0.
    pub seed: usize,
}

impl Arm {
    pub(super) fn label(&self, study: &Study) -> String {
        let ShallowConfig {
            layers,
            filters,
            kernel,
            form,
            ..
        } = &self.config;
        let form = name(*form);
        format!(
            "{}-{form}-{layers}-{filters}-{kernel}-{}",
            study.id, self.seed
        )
    }
}

pub(super) fn name(form: Form) -> &'static str {
    match form {
        Form::Sequential => "sequential",
        Form::Parallel => "parallel",
        Form::Plain => "plain",
    }
}

/// What came of an [`Arm`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub arm: Arm,
    /// Loss, cross-entropy, squared error and accuracy on all training images, and on test images.
    pub train: Metrics,
    pub test: Metrics,
    /// What the expansion leaves out, at the start and at the end.
    pub gap: [f64; 2],
}

#[derive(Serialize)]
struct Settings<'a> {
    arm: &'a Arm,
    training: &'a TrainingConfig,
    images: usize,
}

/// The mean gap on the first test images.
fn gap(model: &ResidualStack, study: &Study) -> Result<f64> {
    let model = model.valid();
    let device = model.stem.bias.val().device();
    let places: Vec<usize> = (0..study.test.len().min(100)).collect();
    let objective = study.training.objective;
    let images = study.test.batch(&places, objective, &device).images;
    let gap = model.expansion_gap(images)?.mean();
    Ok(f64::from(gap.into_scalar::<f32>()))
}

/// Trains in a folder of its own, which is continued if it is there.
pub(super) fn train(
    study: &Study,
    arm: &Arm,
    context: &Context,
    progress: &Progress,
) -> Result<Outcome> {
    study.train.fits(&arm.config)?;
    let tracked = context.device.clone().autodiff();
    let training = &study.training;
    let seed = Seed(context.seed + arm.seed as u64).stream("shallow");
    let model = initialise(&tracked, seed.stream("weights"), || {
        arm.config.init(&tracked)
    })?;
    let before = gap(&model, study)?;
    let mut sampler = Sampler::shuffled(study.train.len(), training.batch, seed.stream("order"))?;
    let steps = training.epochs * sampler.steps_per_epoch();
    let batches = |step: usize, to: &Device| {
        let places = sampler.indices(step);
        Ok(study.train.batch(&places, training.objective, to))
    };
    let optimizer = training.optimizer()?;
    let mut fit = Supervised::new(model, optimizer, training.rate, batches);
    let label = arm.label(study);
    let settings = Settings {
        arm,
        training,
        images: study.train.len(),
    };
    let run = Run::create(&context.out.join(&label), &settings, context.resume)?;
    let config = FitConfig {
        log_every: (steps / 50).max(1),
        checkpoint_every: (steps / 3).max(1),
        keep_checkpoints: 1,
        ..FitConfig::new(steps)
    };
    run.fit(&mut fit, &config, &progress.labelled(label))?;
    let model = fit.trained()?;
    let objective = training.objective;
    Ok(Outcome {
        arm: arm.clone(),
        train: evaluate(&model, &study.train, objective)?,
        test: evaluate(&model, &study.test, objective)?,
        gap: [before, gap(&model, study)?],
    })
}
