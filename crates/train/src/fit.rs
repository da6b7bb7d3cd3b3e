//! The loop: steps, logging, evaluation, checkpoints, early stopping.

use crate::{
    Metrics, Progress, Record, Run, Scalars, Split,
    checkpoint::{Checkpoints, LoopState},
};
use menagerie_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A training procedure: anything that goes forward in steps and can be put down and taken up.
///
/// For a resumed run to give the same numbers as an uninterrupted one, a step may depend only on
/// its number and on what [`save`](Self::save) writes: draw batches with [`crate::Sampler`] and
/// random numbers from `Seed::at(step)`.
pub trait Procedure {
    /// Runs step `step`, counted from 0 over the whole run.
    ///
    /// # Errors
    /// Whatever ends the training.
    fn step(&mut self, step: usize) -> Result<Scalars>;

    /// Measures the present state on held-out data; `step` steps are done. Nothing by default.
    ///
    /// # Errors
    /// Whatever ends the training.
    fn evaluate(&mut self, step: usize) -> Result<Metrics> {
        let _ = step;
        Ok(Metrics::new())
    }

    /// A part of the present state, e.g. a parameter, that is NaN or infinite, with its name: such a
    /// state is never written as a checkpoint. Nothing by default.
    ///
    /// # Errors
    /// If the state cannot be read.
    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        Ok(None)
    }

    /// Writes everything a later [`load`](Self::load) needs into `folder`.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn save(&self, folder: &Path) -> Result<()>;

    /// Takes up the state that [`save`](Self::save) left in `folder`.
    ///
    /// # Errors
    /// If a file is missing or does not fit.
    fn load(&mut self, folder: &Path) -> Result<()>;
}

/// How long to train and what to write down on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitConfig {
    /// Steps of the whole run.
    pub steps: usize,
    /// Every how many steps the metrics are read from the device, checked and logged.
    pub log_every: usize,
    /// Every how many steps to evaluate; 0 for only at the end.
    pub evaluate_every: usize,
    /// Every how many steps to write a checkpoint; 0 for only at the end.
    pub checkpoint_every: usize,
    /// How many of the newest checkpoints to keep.
    pub keep_checkpoints: usize,
    /// When to stop before `steps`; needs evaluations.
    pub early_stop: Option<EarlyStop>,
}

impl FitConfig {
    /// `steps` steps; logs about 200 lines, evaluates about 10 times, writes about 10 checkpoints
    /// and keeps the last 2.
    pub fn new(steps: usize) -> Self {
        Self {
            steps,
            log_every: (steps / 200).max(1),
            evaluate_every: (steps / 10).max(1),
            checkpoint_every: (steps / 10).max(1),
            keep_checkpoints: 2,
            early_stop: None,
        }
    }

    fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: usize, rule: &str| {
            Err(Error::config("FitConfig", field, value, rule))
        };
        if self.steps == 0 {
            return refuse("steps", 0, "must be at least 1");
        }
        if self.log_every == 0 {
            return refuse("log_every", 0, "must be at least 1");
        }
        match &self.early_stop {
            Some(stop) if stop.patience == 0 => {
                refuse("early_stop.patience", 0, "must be at least 1")
            }
            Some(stop) if !stop.min_delta.is_finite() || stop.min_delta < 0.0 => {
                Err(Error::config(
                    "FitConfig",
                    "early_stop.min_delta",
                    stop.min_delta,
                    "must be finite and not negative",
                ))
            }
            Some(_) if self.evaluate_every == 0 => refuse(
                "evaluate_every",
                0,
                "must be at least 1 when early stopping is on",
            ),
            _ => Ok(()),
        }
    }
}

/// Stops when an evaluation metric has not improved for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyStop {
    /// The evaluation metric to watch.
    pub metric: String,
    /// Whether larger is better.
    pub maximise: bool,
    /// By how much an evaluation must beat the best one to count as better.
    pub min_delta: f64,
    /// How many evaluations in a row may fail to improve.
    pub patience: usize,
}

/// The best evaluation so far; part of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stopping {
    best: Option<f64>,
    best_step: usize,
    without_improvement: usize,
}

impl Stopping {
    /// Takes in an evaluation; true if it is time to stop.
    fn update(&mut self, rule: &EarlyStop, step: usize, metrics: &Metrics) -> Result<bool> {
        let value = metrics.get(&rule.metric).ok_or_else(|| {
            Error::unknown(
                "early-stop metric",
                rule.metric.clone(),
                metrics.iter().map(|(name, _)| name),
            )
        })?;
        let better = self.best.is_none_or(|best| {
            if rule.maximise {
                value > best + rule.min_delta
            } else {
                value < best - rule.min_delta
            }
        });
        if better {
            *self = Self {
                best: Some(value),
                best_step: step,
                without_improvement: 0,
            };
        } else {
            self.without_improvement += 1;
        }
        Ok(self.without_improvement >= rule.patience)
    }
}

/// How a training ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Steps done.
    pub step: usize,
    /// The last logged training metrics.
    pub train: Metrics,
    /// The last evaluation.
    pub evaluation: Metrics,
    /// The step of the best evaluation, if early stopping watched one.
    pub best_step: Option<usize>,
    /// Whether early stopping ended the run.
    pub stopped_early: bool,
}

impl Run {
    /// Trains `procedure` from its last checkpoint, or from the start, to the end.
    ///
    /// # Errors
    /// Whatever the procedure reports; [`Error::NonFinite`], which names the step, the metric and
    /// the last good checkpoint, when a logged metric is NaN or infinite.
    pub fn fit(
        &self,
        procedure: &mut impl Procedure,
        config: &FitConfig,
        progress: &Progress,
    ) -> Result<Summary> {
        config.validate()?;
        let checkpoints = Checkpoints::new(self.folder());
        let (mut state, mut last_good) = match checkpoints.last()? {
            Some((path, state)) if self.resumes() => {
                procedure.load(&path)?;
                (state, Some(path))
            }
            _ => (LoopState::default(), None),
        };
        checkpoints.clean();
        self.rewind(state.step)?;

        let mut task = progress.task(state.step, config.steps);
        while state.step < config.steps && !state.stopped {
            let scalars = procedure.step(state.step)?;
            state.step += 1;
            let last = state.step == config.steps;
            let due = |every: usize| last || (every > 0 && state.step.is_multiple_of(every));
            let (evaluate, checkpoint) = (due(config.evaluate_every), due(config.checkpoint_every));
            let step = state.step;
            let refuse = |found: Option<(&str, f64)>| match found {
                None => Ok(()),
                Some((quantity, value)) => Err(Error::NonFinite {
                    step,
                    quantity: quantity.into(),
                    value,
                    checkpoint: last_good
                        .as_ref()
                        .map_or("none".into(), |path| path.display().to_string()),
                }),
            };
            if due(config.log_every) || evaluate || checkpoint {
                state.train = scalars.read()?;
                refuse(state.train.non_finite())?;
                if due(config.log_every) {
                    self.log(&Record {
                        step: state.step,
                        split: Split::Train,
                        metrics: state.train.clone(),
                    })?;
                }
                task.metrics(&state.train);
            }
            if evaluate {
                state.evaluation = procedure.evaluate(state.step)?;
                if !state.evaluation.is_empty() {
                    self.log(&Record {
                        step: state.step,
                        split: Split::Evaluation,
                        metrics: state.evaluation.clone(),
                    })?;
                }
                if let Some(rule) = &config.early_stop {
                    let watched = state.evaluation.get(&rule.metric);
                    refuse(
                        watched
                            .filter(|value| !value.is_finite())
                            .map(|value| (rule.metric.as_str(), value)),
                    )?;
                    state.stopped =
                        state.stopping.update(rule, state.step, &state.evaluation)? && !last;
                }
            }
            if checkpoint || state.stopped {
                // The metrics were computed before the update, the weights after it.
                let bad = procedure.non_finite()?;
                refuse(bad.as_ref().map(|(name, value)| (name.as_str(), *value)))?;
                let written = checkpoints.write(&state, config.keep_checkpoints, |folder| {
                    procedure.save(folder)
                })?;
                last_good = Some(written);
            }
            task.step(state.step, &state.train);
        }
        task.finish(state.step, &state.train);
        Ok(Summary {
            step: state.step,
            train: state.train,
            evaluation: state.evaluation,
            best_step: state.stopping.best.map(|_| state.stopping.best_step),
            stopped_early: state.stopped,
        })
    }
}
