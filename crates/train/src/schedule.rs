//! Learning rates as functions of the step.

use burn::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler};
use burn::module::ParamGroup;
use menagerie_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// A learning rate that depends on the step alone, so that there is no state to save.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The rate after warm-up and before decay.
    pub peak: f64,
    /// Steps of linear growth from `peak / warmup` to `peak`; 0 for none.
    pub warmup: usize,
    /// The rate of step 0 where the growth is to begin at another one: it then reaches `peak` at
    /// step `warmup`, one later than without.
    #[serde(default)]
    pub start: Option<f64>,
    /// What follows the warm-up.
    pub decay: Decay,
}

/// How a [`Schedule`] falls after its warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decay {
    /// Not at all.
    Constant,
    /// Half a cosine from the peak to `floor` at step `steps`, then `floor`.
    Cosine {
        /// The step, counted from the start of the run, at which the floor is reached.
        steps: usize,
        /// The final rate.
        floor: f64,
    },
    /// A straight line from the peak to `floor` at step `steps`, then `floor`.
    Linear {
        /// The step, counted from the start of the run, at which the floor is reached.
        steps: usize,
        /// The final rate.
        floor: f64,
    },
    /// Multiplied by `factor` at every one of `milestones` (steps, ascending).
    Steps {
        /// The steps at which the rate drops.
        milestones: Vec<usize>,
        /// What it is multiplied by.
        factor: f64,
    },
    /// A rate of its own for every epoch, as schedules that are moved once an epoch have it; the
    /// last one stays.
    Epochs {
        /// Steps of an epoch.
        length: usize,
        /// The rate of each epoch.
        rates: Vec<f64>,
    },
    /// Multiplied by `factor` every step.
    Exponential {
        /// What it is multiplied by.
        factor: f64,
    },
}

impl Schedule {
    /// The same rate at every step.
    pub fn constant(rate: f64) -> Self {
        Self {
            peak: rate,
            warmup: 0,
            start: None,
            decay: Decay::Constant,
        }
    }

    /// `warmup` steps up, then half a cosine down to 0 at step `steps` (SGDR without restarts).
    pub fn cosine(peak: f64, warmup: usize, steps: usize) -> Self {
        Self {
            peak,
            warmup,
            start: None,
            decay: Decay::Cosine { steps, floor: 0.0 },
        }
    }

    /// Lets the warm-up begin at `rate`, at step 0.
    pub fn starting_at(mut self, rate: f64) -> Self {
        self.start = Some(rate);
        self
    }

    /// Refuses rates that no optimiser can use.
    ///
    /// # Errors
    /// [`Error::Config`] that names the field, the value and the rule.
    pub fn validate(&self) -> Result<()> {
        fn refuse(field: &str, value: impl std::fmt::Debug, rule: &str) -> Result<()> {
            Err(Error::config("Schedule", field, value, rule))
        }
        let positive = |value: f64| value.is_finite() && value >= 0.0;
        if !positive(self.peak) {
            return refuse("peak", self.peak, "must be finite and not negative");
        }
        if let Some(start) = self.start
            && (!positive(start) || start > self.peak)
        {
            return refuse("start", start, "must lie between 0 and the peak");
        }
        match &self.decay {
            Decay::Cosine { steps, floor } | Decay::Linear { steps, floor } => {
                if !positive(*floor) || *floor > self.peak {
                    return refuse("floor", *floor, "must lie between 0 and the peak");
                }
                if *steps <= self.warmup {
                    return refuse("steps", steps, "must be larger than the warm-up");
                }
            }
            Decay::Steps { factor, milestones } => {
                if !positive(*factor) {
                    return refuse("factor", *factor, "must be finite and not negative");
                }
                if !milestones.is_sorted() {
                    return Err(Error::config(
                        "Schedule",
                        "milestones",
                        milestones,
                        "must be in ascending order",
                    ));
                }
            }
            Decay::Epochs { length, rates } => {
                if *length == 0 {
                    return refuse("length", length, "must be at least 1");
                }
                if rates.is_empty() || !rates.iter().all(|rate| positive(*rate)) {
                    return refuse(
                        "rates",
                        rates,
                        "must be finite, not negative, and not empty",
                    );
                }
            }
            Decay::Exponential { factor } if !positive(*factor) => {
                return refuse("factor", *factor, "must be finite and not negative");
            }
            Decay::Constant | Decay::Exponential { .. } => {}
        }
        Ok(())
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup {
            if let Some(start) = self.start {
                return start + (self.peak - start) * step as f64 / self.warmup as f64;
            }
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        // The part of the decay that lies behind, from 0 to 1.
        let done = |steps: usize| {
            let length = steps.saturating_sub(self.warmup).max(1) as f64;
            ((step - self.warmup) as f64 / length).min(1.0)
        };
        match &self.decay {
            Decay::Constant => self.peak,
            Decay::Cosine { steps, floor } => {
                let cosine = (std::f64::consts::PI * done(*steps)).cos();
                floor + (self.peak - floor) * 0.5 * (1.0 + cosine)
            }
            Decay::Linear { steps, floor } => floor + (self.peak - floor) * (1.0 - done(*steps)),
            Decay::Steps { milestones, factor } => {
                let passed = milestones
                    .iter()
                    .filter(|milestone| step >= **milestone)
                    .count();
                self.peak * factor.powi(passed as i32)
            }
            Decay::Epochs { length, rates } => {
                let epoch = (step - self.warmup) / (*length).max(1);
                let rate = rates.get(epoch).or(rates.last());
                rate.copied().unwrap_or(self.peak)
            }
            Decay::Exponential { factor } => self.peak * factor.powf((step - self.warmup) as f64),
        }
    }
}

impl From<f64> for Schedule {
    fn from(rate: f64) -> Self {
        Self::constant(rate)
    }
}

/// A schedule with multipliers for groups of parameters, e.g. layer-wise decay.
#[derive(Clone)]
pub struct Rates {
    schedule: Schedule,
    scales: Vec<(ParamGroup, f64)>,
}

impl Rates {
    /// The same schedule for every parameter.
    pub fn new(schedule: impl Into<Schedule>) -> Self {
        Self {
            schedule: schedule.into(),
            scales: Vec::new(),
        }
    }

    /// Multiplies the rate of the parameters in `group`; of several matches the last one counts.
    pub fn scaled(mut self, group: ParamGroup, factor: f64) -> Self {
        self.scales.push((group, factor));
        self
    }

    /// Layer-wise learning-rate decay (as in BEiT and MAE fine-tuning): the parameters of the
    /// `i`-th of `layers`, given from input to output, get `decay^(layers.len() - i)`; parameters
    /// in none of them, such as the head, keep the full rate.
    pub fn layer_wise(mut self, layers: impl IntoIterator<Item = ParamGroup>, decay: f64) -> Self {
        let layers: Vec<_> = layers.into_iter().collect();
        let depth = layers.len();
        for (index, group) in layers.into_iter().enumerate() {
            self = self.scaled(group, decay.powi((depth - index) as i32));
        }
        self
    }

    /// Refuses schedules and factors that no optimiser can use.
    ///
    /// # Errors
    /// [`Error::Config`] that names the field, the value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.schedule.validate()?;
        for (_, factor) in &self.scales {
            if !factor.is_finite() || *factor < 0.0 {
                return Err(Error::config(
                    "Rates",
                    "scale",
                    factor,
                    "must be finite and not negative",
                ));
            }
        }
        Ok(())
    }

    /// The base schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The learning rates of step `step`, counted from 0, in the form Burn's optimisers take.
    pub fn at(&self, step: usize) -> ModuleLearningRate {
        let base = self.schedule.at(step);
        self.scales
            .iter()
            .fold(
                ModuleLrScheduler::new(base),
                |scheduler, (group, factor)| scheduler.with_group(group.clone(), base * factor),
            )
            .step()
    }
}

impl<S: Into<Schedule>> From<S> for Rates {
    fn from(schedule: S) -> Self {
        Self::new(schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::ParamId;

    #[test]
    fn warm_up_then_cosine_hits_its_marks() {
        let schedule = Schedule::cosine(1.0, 10, 110);
        assert_eq!(schedule.at(0), 0.1);
        assert_eq!(schedule.at(9), 1.0);
        assert_eq!(schedule.at(10), 1.0);
        assert!((schedule.at(60) - 0.5).abs() < 1e-12);
        assert!(schedule.at(110).abs() < 1e-12);
        assert!(schedule.at(1000).abs() < 1e-12);
    }

    #[test]
    fn a_warm_up_may_begin_at_another_rate() {
        let schedule = Schedule::cosine(1.0, 10, 110).starting_at(0.0);
        assert_eq!(schedule.at(0), 0.0);
        assert_eq!(schedule.at(5), 0.5);
        assert_eq!(schedule.at(10), 1.0);
        assert!((schedule.at(60) - 0.5).abs() < 1e-12);
        let error = schedule.starting_at(2.0).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "Schedule.start = 2.0: must lie between 0 and the peak"
        );
    }

    #[test]
    fn an_epoch_keeps_its_rate() {
        let mut schedule = Schedule::constant(1.0);
        let rates = vec![0.5, 0.25];
        schedule.decay = Decay::Epochs { length: 3, rates };
        let rates: Vec<f64> = (0..8).map(|step| schedule.at(step)).collect();
        assert_eq!(rates, [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25]);
        let rates = Vec::new();
        schedule.decay = Decay::Epochs { length: 3, rates };
        assert_eq!(
            schedule.validate().unwrap_err().to_string(),
            "Schedule.rates = []: must be finite, not negative, and not empty"
        );
    }

    #[test]
    fn the_other_decays_hit_theirs() {
        let mut schedule = Schedule::constant(2.0);
        assert_eq!(schedule.at(12345), 2.0);
        schedule.decay = Decay::Steps {
            milestones: vec![5, 10],
            factor: 0.1,
        };
        assert_eq!(schedule.at(4), 2.0);
        assert_eq!(schedule.at(5), 0.2);
        assert!((schedule.at(10) - 0.02).abs() < 1e-12);
        schedule.decay = Decay::Linear {
            steps: 100,
            floor: 1.0,
        };
        assert_eq!(schedule.at(50), 1.5);
        schedule.decay = Decay::Exponential { factor: 0.5 };
        assert_eq!(schedule.at(3), 0.25);
    }

    #[test]
    fn impossible_schedules_are_refused() {
        let error = Schedule::constant(-1.0).validate().unwrap_err().to_string();
        assert_eq!(
            error,
            "Schedule.peak = -1.0: must be finite and not negative"
        );
        let error = Schedule::cosine(1.0, 10, 10)
            .validate()
            .unwrap_err()
            .to_string();
        assert!(error.contains("Schedule.steps = 10:"), "{error}");
    }

    #[test]
    fn layers_decay_towards_the_input() {
        let rates = Rates::new(1.0).layer_wise(
            [
                ParamGroup::from_predicate("embed"),
                ParamGroup::from_predicate("block"),
            ],
            0.5,
        );
        let at = rates.at(0);
        let rate = |path| at.lr_from_param(ParamId::new(), Some(path));
        assert_eq!(rate("embed.weight"), 0.25);
        assert_eq!(rate("block.weight"), 0.5);
        assert_eq!(rate("head.weight"), 1.0);
    }
}
