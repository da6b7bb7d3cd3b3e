//! Learning rates and sparsity coefficients as the libraries schedule them. Steps count from 0; the
//! values are those in effect at a step.

use menagerie_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the learning rate goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RateSchedule {
    /// The same at every step.
    Constant {
        /// The rate.
        rate: f64,
    },
    /// dictionary_learning: linear growth from 0 over `warmup` steps, then constant, then linear
    /// decay to 0 from step `decay_start` to step `total`.
    DictionaryLearning {
        /// The rate between warm-up and decay.
        rate: f64,
        /// Steps of growth.
        warmup: usize,
        /// Where the decay starts, if there is one.
        decay_start: Option<usize>,
        /// Steps of the whole run.
        total: usize,
    },
    /// dictionary_learning with resampling: growth from 0 over `warmup` steps after every
    /// resampling.
    Resampling {
        /// The rate after each warm-up.
        rate: f64,
        /// Steps of growth.
        warmup: usize,
        /// Steps between resamplings.
        every: usize,
    },
    /// SAELens: growth from rate / warmup over `warmup` steps, a middle part, and linear decay to 0
    /// over the last `decay` of `total` steps.
    SaeLens {
        /// The rate after the warm-up.
        rate: f64,
        /// Steps of growth.
        warmup: usize,
        /// Steps of the final decay.
        decay: usize,
        /// Steps of the whole run.
        total: usize,
        /// The rate that half a cosine reaches at the end of the middle part; `None` for a constant
        /// rate there.
        cosine_to: Option<f64>,
    },
}

impl RateSchedule {
    /// The rate of step `step`.
    pub fn at(&self, step: usize) -> f64 {
        match *self {
            Self::Constant { rate } => rate,
            Self::DictionaryLearning {
                rate,
                warmup,
                decay_start,
                total,
            } => match decay_start {
                _ if step < warmup => rate * step as f64 / warmup as f64,
                Some(start) if step >= start => {
                    let left = total.saturating_sub(step) as f64;
                    rate * left / total.saturating_sub(start).max(1) as f64
                }
                _ => rate,
            },
            Self::Resampling {
                rate,
                warmup,
                every,
            } => rate * sparsity_warmup(step % every.max(1), warmup),
            Self::SaeLens {
                rate,
                warmup,
                decay,
                total,
                cosine_to,
            } => {
                if step < warmup {
                    return rate * (step + 1) as f64 / warmup as f64;
                }
                let end = total.saturating_sub(decay);
                let middle = |step: usize| match cosine_to {
                    None => rate,
                    Some(floor) => {
                        let length = end.saturating_sub(warmup).max(1) as f64;
                        let done = (step.saturating_sub(warmup) as f64 / length).min(1.0);
                        let cosine = (std::f64::consts::PI * done).cos();
                        floor + (rate - floor) * 0.5 * (1.0 + cosine)
                    }
                };
                if step < end || decay == 0 {
                    return middle(step);
                }
                let left = total.saturating_sub(step) as f64;
                middle(end) * left / decay as f64
            }
        }
    }

    /// Refuses rates that no optimiser can use.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let (rate, floor) = match *self {
            Self::Constant { rate }
            | Self::DictionaryLearning { rate, .. }
            | Self::Resampling { rate, .. } => (rate, None),
            Self::SaeLens {
                rate, cosine_to, ..
            } => (rate, cosine_to),
        };
        for rate in [Some(rate), floor].into_iter().flatten() {
            if !(rate.is_finite() && rate >= 0.0) {
                return Err(Error::config(
                    "RateSchedule",
                    "rate",
                    rate,
                    "must be finite and at least 0",
                ));
            }
        }
        Ok(())
    }
}

/// min(step / steps, 1): the factor of a sparsity coefficient, 1 without a warm-up.
pub fn sparsity_warmup(step: usize, steps: usize) -> f64 {
    match steps {
        0 => 1.0,
        steps => (step as f64 / steps as f64).min(1.0),
    }
}
