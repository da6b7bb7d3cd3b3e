//! The classifier whose features a neural SDE moves.

use super::config::{NsdeConfig, Sampling, Scope};
use super::layers::Dense;
use super::model::{Prediction, SPAN, check_rows};
use super::objective::{Learning, number};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor, activation};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::ode::{Brownian, Keep, Outputs, SdeSolution};

/// Drift and diffusion, without time.
#[derive(Module, Debug)]
pub struct SdeDynamics {
    /// State to hidden units, tangent.
    pub drift_in: Dense,
    /// Back to the state.
    pub drift_out: Dense,
    /// Linear, state to state.
    pub diffusion: Dense,
}

impl SdeDynamics {
    /// Drift of states `[batch, state]`.
    ///
    /// # Panics
    /// If u has other columns.
    pub fn drift(&self, u: Tensor<2>) -> Tensor<2> {
        self.drift_out
            .forward(activation::tanh(self.drift_in.forward(u)))
    }

    /// Diffusion of states `[batch, state]`: what multiplies the noise of every element.
    ///
    /// # Panics
    /// If u has other columns.
    pub fn diffusion(&self, u: Tensor<2>) -> Tensor<2> {
        self.diffusion.forward(u)
    }
}

/// A linear layer to a small state, an SDE from time 0 to 1, and a linear classifier.
#[derive(Module, Debug)]
pub struct NeuralSde {
    /// Images to states.
    pub encoder: Dense,
    /// Drift and diffusion.
    pub dynamics: SdeDynamics,
    /// States to scores.
    pub classifier: Dense,
    #[module(skip)]
    config: NsdeConfig,
}

impl NsdeConfig {
    /// A model with drawn weights.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<NeuralSde> {
        self.validate()?;
        let (state, hidden) = (self.state, self.hidden);
        let dense = |inputs, outputs| Dense::new([inputs, outputs], self.precision, device);
        Ok(NeuralSde {
            encoder: dense(self.inputs, state),
            dynamics: SdeDynamics {
                drift_in: dense(state, hidden),
                drift_out: dense(hidden, state),
                diffusion: dense(state, state),
            },
            classifier: dense(state, self.classes),
            config: self.clone(),
        })
    }
}

/// A solve, and what is made small of it.
#[derive(Debug)]
pub struct RegularizedSde {
    /// The solve.
    pub solution: SdeSolution<2>,
    /// The regulariser's value, without its weight; 0 if there is none.
    pub value: f64,
    /// Gradients of the weighted regulariser with respect to drift and diffusion.
    pub gradients: Option<GradientsParams>,
}

impl NeuralSde {
    /// The configuration.
    pub fn config(&self) -> &NsdeConfig {
        &self.config
    }

    /// First states `[batch, state]` of images `[batch, inputs]`, with autodiff if the model has it.
    ///
    /// # Errors
    /// [`Error::Input`] for rows of another length, or none.
    pub fn states(&self, x: Tensor<2>) -> Result<Tensor<2>> {
        check_rows(&x, self.config.inputs)?;
        Ok(self.encoder.forward(x.cast(self.config.precision.dtype())))
    }

    fn solve(
        &self,
        u: Tensor<2>,
        save_at: &[f64],
        keep: Keep,
        seed: Seed,
    ) -> Result<SdeSolution<2>> {
        let plain = self.dynamics.valid();
        let solver = self.config.solver.sosri();
        let drift = |u: Tensor<2>, _: f64| plain.drift(u);
        let diffusion = |u: Tensor<2>, _: f64| plain.diffusion(u);
        solver.solve(drift, diffusion, u, SPAN, save_at, keep, seed)
    }

    /// Scores of images `[batch, inputs]` along the path that the seed decides; evaluations are those
    /// of the drift, and as many are made of the diffusion.
    ///
    /// # Errors
    /// [`Error::Input`] for rows of another length, or none, and if the solve fails.
    pub fn forward(&self, x: Tensor<2>, seed: Seed) -> Result<Prediction> {
        let u = self.states(x)?.inner();
        let solution = self.solve(u, &[], Keep::End, seed)?;
        Ok(Prediction {
            evaluations: solution.evaluations(),
            logits: self.classifier.forward(solution.end),
            attempts: solution.attempts,
        })
    }

    /// Solves from first states, and measures the regulariser: the scaled error of one step, times its
    /// length, from a random time, over noise of its own, with gradients through all of its stages.
    ///
    /// # Errors
    /// If the solve fails, and for a global regulariser, or one of stiffness, which SOSRI has not.
    pub fn forward_train(&self, u: Tensor<2>, learning: &Learning) -> Result<RegularizedSde> {
        let regularizer = learning.regularizer;
        let local = match regularizer.scope {
            Scope::Vanilla => false,
            Scope::Local if regularizer.kind == super::Kind::Error => true,
            scope => {
                let rule = "must be `Vanilla` or `Local`, of the error, for an SDE";
                return Err(Error::config("RegularizerConfig", "scope", scope, rule));
            }
        };
        let time = SPAN[0] + learning.time * (SPAN[1] - SPAN[0]);
        let unbiased = local && regularizer.sampling == Sampling::Unbiased;
        let save_at = if unbiased { &[time][..] } else { &[] };
        let seed = learning.seed.stream("noise");
        let mut solution = self.solve(u, save_at, Keep::States, seed)?;
        let mut regularized = RegularizedSde {
            value: 0.0,
            gradients: None,
            solution: solution.clone(),
        };
        if local {
            let steps = solution.taken.len();
            let chosen = ((learning.time * steps as f64) as usize).min(steps.saturating_sub(1));
            let (from, t) = match solution.saved.pop() {
                Some(saved) => (saved, time),
                None => (
                    solution.taken[chosen].from.clone(),
                    solution.taken[chosen].t,
                ),
            };
            let (value, gradients) = self.probe(from, t, learning)?;
            regularized.value = value;
            regularized.gradients = Some(gradients);
        }
        regularized.solution.saved.clear();
        regularized.solution.saved_in.clear();
        Ok(regularized)
    }

    /// The regulariser of a step from `u` at `t`, and its weighted gradients.
    fn probe(&self, u: Tensor<2>, t: f64, learning: &Learning) -> Result<(f64, GradientsParams)> {
        let solver = self.config.solver.sosri();
        let plain = self.dynamics.valid();
        let span = [t, SPAN[1]];
        let dt = {
            let drift = |u: Tensor<2>, _: f64| plain.drift(u);
            let diffusion = |u: Tensor<2>, _: f64| plain.diffusion(u);
            solver.first_step(drift, diffusion, &u, span)?
        };
        let increment = Brownian::new(&u, learning.seed.stream("probe")).next(dt);
        let tracked = self.dynamics.drift_in.weight.val().is_autodiff();
        let u = if tracked { u.autodiff() } else { u };
        let drift = |u: Tensor<2>, _: f64| self.dynamics.drift(u);
        let diffusion = |u: Tensor<2>, _: f64| self.dynamics.diffusion(u);
        let step = solver.step(drift, diffusion, &u, t, &increment);
        let value = step.error(&solver, &u) * dt;
        let found = number(value.clone());
        let gradients = if tracked {
            let gradients = (value * learning.weight).backward();
            GradientsParams::from_grads(gradients, &self.dynamics)
        } else {
            GradientsParams::new()
        };
        Ok((found, gradients))
    }

    /// Gradients through the steps of a solve, of those with respect to its end: with respect to the
    /// first states, and to drift and diffusion.
    ///
    /// # Errors
    /// If the steps of the solve were not kept.
    pub fn backward(
        &self,
        solution: &SdeSolution<2>,
        end: Tensor<2>,
    ) -> Result<(Tensor<2>, GradientsParams)> {
        let solver = self.config.solver.sosri();
        let mut sum = GradientsAccumulator::new();
        let first = solver.pull_back(
            &self.dynamics,
            |dynamics: &SdeDynamics, u, _| dynamics.drift(u),
            |dynamics: &SdeDynamics, u, _| dynamics.diffusion(u),
            solution,
            Outputs::end(end),
            &mut sum,
        )?;
        Ok((first, sum.grads()))
    }
}
