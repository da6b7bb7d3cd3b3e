//! p-annealing (Karvonen et al. 2408.00113, section 3.2): the penalty Σ z^p starts convex at p = 1
//! and ends near the count of active latents, with a coefficient that keeps its strength.

use menagerie_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// When and how far p falls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PAnneal {
    /// The first exponent.
    pub p_start: f64,
    /// The last exponent.
    pub p_end: f64,
    /// The step at which the first of the updates happens.
    pub start: usize,
    /// The step of the last update.
    pub end: usize,
    /// Number of updates, equally far apart.
    pub updates: usize,
    /// Over how many steps the two penalties are compared.
    pub queue: usize,
    /// The coefficient before the first update.
    pub coefficient: f64,
}

/// The exponent and the coefficient, and what the next update needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PAnnealState {
    /// p of the penalty.
    pub p: f64,
    /// The exponent after the next update, known from the first update on.
    pub next_p: Option<f64>,
    /// λ of the penalty.
    pub coefficient: f64,
    done: usize,
    recent: VecDeque<[f64; 2]>,
}

impl PAnneal {
    /// Refuses values without a sense.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: &str| {
            Err(Error::config("PAnneal", field, value, rule))
        };
        for (field, p) in [("p_start", self.p_start), ("p_end", self.p_end)] {
            if !(p.is_finite() && p > 0.0) {
                return refuse(field, &p, "must be finite and above 0");
            }
        }
        if self.end < self.start {
            return refuse("end", &self.end, "must not be before start");
        }
        for (field, value) in [("updates", self.updates), ("queue", self.queue)] {
            if value == 0 {
                return refuse(field, &value, "must be at least 1");
            }
        }
        if !(self.coefficient.is_finite() && self.coefficient >= 0.0) {
            return refuse(
                "coefficient",
                &self.coefficient,
                "must be finite and at least 0",
            );
        }
        Ok(())
    }

    /// Before the first step.
    pub fn begin(&self) -> PAnnealState {
        PAnnealState {
            p: self.p_start,
            next_p: None,
            coefficient: self.coefficient,
            done: 0,
            recent: VecDeque::new(),
        }
    }

    /// The step of update `index`.
    fn update_step(&self, index: usize) -> usize {
        let length = (self.end - self.start) as f64;
        let part = index as f64 / (self.updates - 1).max(1) as f64;
        self.start + (length * part) as usize
    }

    /// The exponent that update `index` sets.
    fn exponent(&self, index: usize) -> f64 {
        let part = index as f64 / (self.updates - 1).max(1) as f64;
        self.p_start + (self.p_end - self.p_start) * part
    }
}

impl PAnnealState {
    /// Takes note of the penalty of step `step` with p and with the next exponent (without
    /// coefficient; the second is ignored while there is none), and updates both numbers where
    /// that step is one of the updates: the coefficient by the ratio of the recent penalties.
    pub fn after_step(&mut self, plan: &PAnneal, step: usize, penalty: f64, next: f64) {
        if self.next_p.is_some() {
            self.recent.push_back([penalty, next]);
            while self.recent.len() > plan.queue {
                self.recent.pop_front();
            }
        }
        // Several updates may fall on one step.
        while self.done < plan.updates && step >= plan.update_step(self.done) {
            self.update(plan);
        }
    }

    fn update(&mut self, plan: &PAnneal) {
        if self.next_p.is_some() {
            let [old, new] = self
                .recent
                .iter()
                .fold([0.0; 2], |sum, pair| [sum[0] + pair[0], sum[1] + pair[1]]);
            if new > 0.0 {
                self.coefficient *= old / new;
            }
        }
        self.p = plan.exponent(self.done);
        self.done += 1;
        self.next_p = Some(match self.done < plan.updates {
            true => plan.exponent(self.done),
            false => plan.p_end,
        });
    }
}
