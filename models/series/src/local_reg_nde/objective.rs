//! Losses, and solves with a regulariser.

use super::config::{Adjoint as Way, Kind, RegularizerConfig, Sampling, Scope};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Int, Tensor, activation};
use menagerie_core::{Result, Seed};
use menagerie_nn::ode::{
    Adjoint, Cotangent, Extra, Field, Keep, Outputs, Probe, Request, Solution, Step, Tsit5,
    continuous, discrete,
};
use rand::RngExt;

/// The cross-entropy of scores `[batch, classes]` and labels `[batch]` in nats, the mean, shape `[1]`.
///
/// # Panics
/// If there are not as many labels as rows.
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let logarithms = activation::log_softmax(logits, 1);
    -logarithms.gather(1, labels.unsqueeze_dim::<2>(1)).mean()
}

/// The share of rows whose largest score is that of the label.
///
/// # Panics
/// If there are not as many labels as rows.
pub fn accuracy(logits: Tensor<2>, labels: Tensor<1, Int>) -> f64 {
    let found = logits.inner().argmax(1).squeeze_dim::<1>(1);
    number(found.equal(labels).float().mean())
}

/// The logarithm of the likelihood of observations `[batch, times, variables]`, for every series:
/// normal with deviation `sigma`, errors only where `mask` is 1, constants summed over all entries and
/// divided by the number of observations as in the authors' code; `[batch]`.
///
/// # Panics
/// If shapes differ.
pub fn log_likelihood(
    predicted: Tensor<3>,
    data: Tensor<3>,
    mask: Tensor<3>,
    sigma: f64,
) -> Tensor<1> {
    let constant = sigma.ln() + 0.5 * std::f64::consts::TAU.ln();
    let error = (predicted - data) * mask.clone();
    let entries = error.square() * (-0.5 / (sigma * sigma)) - constant;
    let sum = |x: Tensor<3>| x.flatten::<2>(1, 2).sum_dim(1).squeeze_dim::<1>(1);
    sum(entries) / sum(mask)
}

/// The divergence of `N(μ, e^logvar)` from the standard normal distribution, the mean over dimensions;
/// `[batch]` of `[batch, size]`.
///
/// # Panics
/// If shapes differ.
pub fn divergence(mu: Tensor<2>, logvar: Tensor<2>) -> Tensor<1> {
    let terms = logvar.clone().exp() + mu.square() - 1.0 - logvar;
    terms.mean_dim(1).squeeze_dim::<1>(1) * 0.5
}

/// The weight of the divergence at step `step`: `1 - 0.99^(step - 100)`, 0 before.
pub fn divergence_weight(step: usize) -> f64 {
    (1.0 - 0.99f64.powf(step as f64 - 100.0)).max(0.0)
}

/// The mean squared error where `mask` is 1, of every series `[batch, times, variables]` alone, and of
/// them the mean.
///
/// # Panics
/// If shapes differ.
pub fn masked_error(predicted: Tensor<3>, data: Tensor<3>, mask: Tensor<3>) -> Tensor<1> {
    let error = (predicted - data) * mask.clone();
    let sum = |x: Tensor<3>| x.flatten::<2>(1, 2).sum_dim(1);
    (sum(error.square()) / sum(mask)).mean()
}

/// The one value of a tensor.
pub(crate) fn number(tensor: Tensor<1>) -> f64 {
    let data = tensor.inner().cast(DType::F64).into_data();
    data.iter::<f64>().next().unwrap_or(f64::NAN)
}

/// Where in the span, or among its steps, the time of a local regulariser lies: uniform in 0..1.
pub fn draw_time(seed: Seed) -> f64 {
    seed.stream("time").rng().random()
}

/// How one batch is learnt.
#[derive(Clone, Copy, Debug)]
pub struct Learning {
    /// The regulariser.
    pub regularizer: RegularizerConfig,
    /// Its weight at this step.
    pub weight: f64,
    /// How gradients are taken back.
    pub adjoint: Way,
    /// The time of a local regulariser, 0..1, of [`draw_time`].
    pub time: f64,
    /// The number of the step.
    pub step: usize,
    /// Decides noise.
    pub seed: Seed,
}

/// A solve and what is made small of it.
#[derive(Debug)]
pub struct Regularized<P, S> {
    /// The solve, with states at the times that were asked for.
    pub solution: Solution<P, S>,
    /// The regulariser's value, without its weight; 0 if there is none.
    pub value: f64,
    probe: Option<Probe<P, S>>,
}

/// Solves, and measures the regulariser.
///
/// # Errors
/// As [`Tsit5::solve`].
pub fn solve<const D: usize, F: Field<D>>(
    solver: &Tsit5,
    field: &F,
    u: Tensor<D>,
    span: [f64; 2],
    save_at: &[f64],
    learning: &Learning,
) -> Result<Regularized<F::Place, F::Slope>> {
    let RegularizerConfig {
        scope,
        kind,
        sampling,
        mean,
        ..
    } = learning.regularizer;
    let time = span[0] + learning.time * (span[1] - span[0]);
    let unbiased = scope == Scope::Local && sampling == Sampling::Unbiased;
    let place = save_at.partition_point(|saved| *saved <= time);
    let mut times = save_at.to_vec();
    if unbiased {
        times.insert(place, time);
    }
    let request = Request {
        save_at: &times,
        keep: match learning.adjoint {
            Way::Discrete => Keep::States,
            Way::Continuous => Keep::Slopes,
        },
        stiffness: scope == Scope::Global && kind == Kind::Stiffness,
    };
    let mut solution = solver.solve(field, u, span, request)?;
    let start = match scope {
        Scope::Local if unbiased => {
            solution.saved_in.remove(place);
            Some((solution.saved.remove(place), time))
        }
        Scope::Local => {
            let steps = solution.taken.len();
            let chosen = ((learning.time * steps as f64) as usize).min(steps.saturating_sub(1));
            let chosen = solution.taken.get(chosen);
            chosen.map(|step| (step.from.clone(), step.t))
        }
        Scope::Vanilla | Scope::Global => None,
    };
    let probe = start
        .map(|(from, t)| Probe::take(solver, field, from, [t, span[1]]))
        .transpose()?;
    let value = match (&probe, scope, kind) {
        (Some(probe), ..) => {
            let estimate = kind.local();
            estimate.of(field, &probe.from, &probe.step, solver.tolerance)
        }
        (None, Scope::Global, Kind::Error) => {
            let steps = solution.accepted().count().max(1) as f64;
            solution.error_sum() / if mean { steps } else { 1.0 }
        }
        (None, Scope::Global, Kind::Stiffness) => stiffest(&solution).1,
        (None, ..) => 0.0,
    };
    Ok(Regularized {
        solution,
        value,
        probe,
    })
}

/// Which accepted step is the stiffest, and how stiff it is.
fn stiffest<P, S>(solution: &Solution<P, S>) -> (usize, f64) {
    let steps = solution.accepted().enumerate();
    let steps = steps.map(|(at, step)| (at, step.stiffness.unwrap_or(0.0)));
    steps.fold(
        (0, 0.0),
        |most, step| if step.1 > most.1 { step } else { most },
    )
}

impl<P: Clone, S: Clone> Regularized<P, S> {
    /// Gradients with respect to the first state and to the parameters of the field, of a number
    /// whose gradients with respect to the states are `outputs` plus the weighted regulariser, and
    /// how often a continuous adjoint evaluated its own field.
    ///
    /// # Errors
    /// As [`discrete`] and [`continuous`].
    pub fn backward<const D: usize, F>(
        &self,
        solver: &Tsit5,
        field: &F,
        outputs: Outputs<D>,
        learning: &Learning,
    ) -> Result<(Tensor<D>, Vec<GradientsParams>, usize)>
    where
        F: Adjoint<D, Place = P, Slope = S>,
    {
        let RegularizerConfig {
            scope,
            kind,
            mean,
            differentiate_first_stage,
            ..
        } = learning.regularizer;
        let weight = learning.weight;
        let mut sum = field.zero();
        if let Some(probe) = &self.probe {
            let first = differentiate_first_stage;
            probe.pull_back(
                kind.local(),
                field,
                solver.tolerance,
                weight,
                first,
                &mut sum,
            );
        }
        match learning.adjoint {
            Way::Discrete => {
                let steps = self.solution.taken.len() as f64;
                let chosen = stiffest(&self.solution).0;
                let weight = match kind {
                    Kind::Error if mean => weight / steps,
                    _ => weight,
                };
                let of_step = |at: usize, step: &Step<P, S>, from: &P| -> Vec<Cotangent<D>> {
                    if kind == Kind::Stiffness && at != chosen {
                        return Vec::new();
                    }
                    kind.global()
                        .cotangents(field, from, step, solver.tolerance, weight)
                };
                let extra: Option<Extra<'_, D, F>> = match scope {
                    Scope::Global => Some(&of_step),
                    _ => None,
                };
                let first = discrete(field, &self.solution, outputs, extra, &mut sum)?;
                Ok((first, vec![field.gradients(sum)], 0))
            }
            Way::Continuous => {
                let (first, gradients, evaluations) =
                    continuous(solver, field, &self.solution, outputs)?;
                Ok((first, vec![gradients, field.gradients(sum)], evaluations))
            }
        }
    }
}
