//! The neural SDE on digits and the latent ODE on damped sinusoids, regularised or not.

use super::Experiment;
use crate::Context;
use burn::tensor::Device;
use menagerie_core::{Error, Result, Seed};
use menagerie_series::local_reg_nde::{
    Fit, RegularizerConfig, Trainable, TrainingConfig, objective,
};
use menagerie_train::{FitConfig, Progress, Run, Sampler, initialise};

/// A model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Sde,
    Latent,
}

/// A model, with or without the local error, and a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Other {
    pub which: Which,
    pub regularised: bool,
    pub seed: usize,
}

impl Other {
    pub(super) fn label(&self) -> String {
        let which = match self.which {
            Which::Sde => "sde",
            Which::Latent => "latent",
        };
        let how = if self.regularised { "local" } else { "vanilla" };
        format!("{which}-{how}-{}", self.seed)
    }

    /// The SDE's weight is the paper's; the latent ODE's is the digits' by the scale of its loss, whose
    /// squared errors are divided by 2 σ².
    fn regularizer(&self) -> RegularizerConfig {
        let weight = match self.which {
            _ if !self.regularised => return RegularizerConfig::vanilla(),
            Which::Sde => return RegularizerConfig::mnist_sde(),
            Which::Latent => 1e5,
        };
        RegularizerConfig::new().with_weight([weight, weight])
    }
}

/// What came of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// Accuracy of the SDE, or the latent ODE's squared error on new series.
    pub quality: f64,
    pub evaluations: f64,
}

fn fit<M: Trainable>(
    other: &Other,
    context: &Context,
    progress: &Progress,
    training: &TrainingConfig,
    model: M,
    batches: impl FnMut(usize, &Device) -> Result<M::Batch>,
) -> Result<M> {
    let label = other.label();
    let mut fit = Fit::new(model, training, batches)?;
    let run = Run::create(&context.out.join(&label), training, context.resume)?;
    let steps = training.steps;
    let fitting = FitConfig {
        log_every: (steps / 50).max(1),
        checkpoint_every: (steps / 3).max(1),
        keep_checkpoints: 1,
        ..FitConfig::new(steps)
    };
    run.fit(&mut fit, &fitting, &progress.labelled(label))?;
    fit.trained()
}

/// Trains in a folder of its own, which is continued if it is there.
pub(super) fn train(
    experiment: &Experiment,
    other: &Other,
    context: &Context,
    progress: &Progress,
) -> Result<Found> {
    let tracked = context.device.clone().autodiff();
    let seed = Seed(context.seed + other.seed as u64).stream("local-reg-nde others");
    let training = |base: &TrainingConfig| TrainingConfig {
        regularizer: other.regularizer(),
        seed: seed.stream("times").0,
        ..base.clone()
    };
    let weights = seed.stream("weights");
    match other.which {
        Which::Sde => {
            let (config, base) = &experiment.sde;
            let training = training(base);
            let model = initialise(&tracked, weights, || config.init(&tracked))?;
            let (set, order) = (&experiment.train, seed.stream("order"));
            let mut sampler = Sampler::shuffled(set.len(), training.batch, order)?;
            let batches = |step: usize, to: &Device| Ok(set.batch(&sampler.indices(step), to));
            let model = fit(other, context, progress, &training, model, batches)?;
            let all = experiment.test.all(&context.device);
            let prediction = model.forward(all.images, seed.stream("test"))?;
            Ok(Found {
                quality: objective::accuracy(prediction.logits, all.labels),
                evaluations: prediction.evaluations as f64,
            })
        }
        Which::Latent => {
            let Some((config, base, signals)) = &experiment.latent else {
                return Err(Error::other("training", "there is no latent ODE"));
            };
            let training = training(base);
            let model = initialise(&tracked, weights, || config.init(&tracked))?;
            let signals = signals.draw(seed.stream("signals"))?;
            let (size, draws) = (training.batch, seed.stream("series"));
            let numbers =
                |batch: usize| -> Vec<usize> { (batch * size..(batch + 1) * size).collect() };
            // Every batch is new; the first one is kept for the test.
            let batches =
                |step: usize, to: &Device| Ok(signals.series(&numbers(step + 1), draws, to));
            let model = fit(other, context, progress, &training, model, batches)?;
            let series = signals.series(&numbers(0), draws, &context.device);
            let imputed = model.impute(&series)?;
            // On all values, those that were not seen among them.
            let dtype = imputed.predicted.dtype();
            let data = series.data.cast(dtype);
            let mask = data.ones_like();
            let error = objective::masked_error(imputed.predicted, data, mask);
            Ok(Found {
                quality: error.into_data().iter::<f64>().next().unwrap_or(f64::NAN),
                evaluations: imputed.evaluations as f64,
            })
        }
    }
}
