//! A step's own estimates of its error and of stiffness as numbers to be made small, with their
//! gradients.

use super::combine::{number, rms};
use super::control::Tolerance;
use super::field::{Adjoint, Cotangent, Field, Stages};
use super::solve::{Step, Tsit5, stiff_weights, stiffness};
use super::tableau::{ERROR, STABILITY, STAGES};
use burn::tensor::Tensor;
use menagerie_core::Result;

/// What is estimated of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Estimate {
    /// The scaled error times the step's length.
    Error,
    /// `‖k₇ - k₆‖ / (‖u⁺ - g₆‖ + floor)` beside the stability limit; 0 if there is nothing to divide by.
    Stiffness {
        /// What is added to the norm of states; the solver's own measure adds nothing.
        floor: f64,
    },
}

impl Estimate {
    /// The estimate of a step that started from `from`.
    pub fn of<const D: usize, F: Field<D>>(
        self,
        field: &F,
        from: &F::Place,
        step: &Step<F::Place, F::Slope>,
        tolerance: Tolerance,
    ) -> f64 {
        match self {
            Self::Error => step.error(field, from, tolerance) * step.dt,
            Self::Stiffness { floor } => {
                let parts = step.stiff_parts(field);
                let [slopes, states] = parts.map(|x| rms(&[(1.0, &x)]));
                stiffness(slopes, states, floor)
            }
        }
    }

    /// `weight` times the gradients of the estimate with respect to state and slopes of the step, its
    /// length a constant. Gradients of 0 where the estimate is 0.
    pub fn cotangents<const D: usize, F: Field<D>>(
        self,
        field: &F,
        from: &F::Place,
        step: &Step<F::Place, F::Slope>,
        tolerance: Tolerance,
        weight: f64,
    ) -> Vec<Cotangent<D>> {
        match self {
            Self::Error => of_error(field, from, step, tolerance, weight),
            Self::Stiffness { floor } => of_stiffness(field, step, floor, weight),
        }
    }
}

fn count<const D: usize>(x: &Tensor<D>) -> f64 {
    x.shape().num_elements() as f64
}

fn of_error<const D: usize, F: Field<D>>(
    field: &F,
    from: &F::Place,
    step: &Step<F::Place, F::Slope>,
    tolerance: Tolerance,
    weight: f64,
) -> Vec<Cotangent<D>> {
    let error = field.sum(&step.error_terms());
    let (u, after) = (field.state(from).clone(), field.state(&step.to).clone());
    let larger = after.clone().abs().greater(u.clone().abs());
    let largest = u.clone().mask_where(larger.clone(), after.clone());
    let scale = largest.clone().abs() * tolerance.relative + tolerance.absolute;
    let scaled = error / scale.clone();
    let size = number(scaled.clone().square().mean()).sqrt();
    if size == 0.0 {
        return Vec::new();
    }
    // R = dt ‖w‖ with w = ũ / s: ∂R/∂ũ = dt w / (n ‖w‖ s), ∂R/∂s = -dt w² / (n ‖w‖ s).
    let factor = weight * step.dt / (count(&scaled) * size);
    let by_error = scaled.clone() / scale * factor;
    let by_largest = (by_error.clone() * scaled) * largest.sign() * -tolerance.relative;
    let none = by_largest.zeros_like();
    let by_after = none.clone().mask_where(larger.clone(), by_largest.clone());
    let by_state = by_largest.mask_where(larger, none);
    vec![
        Cotangent {
            value: by_error,
            state: 0.0,
            slopes: ERROR.map(|share| share * step.dt),
        },
        Cotangent::after(by_after, step.dt),
        Cotangent {
            value: by_state,
            state: 1.0,
            slopes: [0.0; STAGES],
        },
    ]
}

fn of_stiffness<const D: usize, F: Field<D>>(
    field: &F,
    step: &Step<F::Place, F::Slope>,
    floor: f64,
    weight: f64,
) -> Vec<Cotangent<D>> {
    let [slopes, states] = step.stiff_parts(field);
    let norms = [&slopes, &states].map(|x| rms(&[(1.0, x)]));
    if stiffness(norms[0], norms[1], floor) == 0.0 {
        return Vec::new();
    }
    let below = norms[1] + floor;
    let weight = weight / STABILITY / count(&slopes);
    let [by_slopes, by_states] = stiff_weights(step.dt);
    vec![
        Cotangent {
            value: slopes * (weight / (norms[0] * below)),
            state: 0.0,
            slopes: by_slopes,
        },
        Cotangent {
            value: states * (-weight * norms[0] / (below * below * norms[1])),
            state: 0.0,
            slopes: by_states,
        },
    ]
}

/// A single step from a state at a time, of the length that a solve from there would start with.
#[derive(Clone, Debug)]
pub struct Probe<P, S> {
    /// Where the step started.
    pub from: P,
    /// The step.
    pub step: Step<P, S>,
}

impl<P: Clone, S: Clone> Probe<P, S> {
    /// The step from `from` at the start of `span`, of the length that [`Tsit5::first_step`] finds.
    ///
    /// # Errors
    /// As [`Tsit5::first_step`].
    pub fn take<const D: usize, F>(
        solver: &Tsit5,
        field: &F,
        from: P,
        span: [f64; 2],
    ) -> Result<Self>
    where
        F: Field<D, Place = P, Slope = S>,
    {
        let slope = field.slope(&from, &[], span[0]);
        let dt = solver.first_step(field, &from, &slope, span)?;
        let step = Step::take(field, &from, slope, span[0], dt);
        Ok(Self { from, step })
    }

    /// Adds `weight` times the gradients of the estimate with respect to the parameters; the state
    /// and the length of the step are constants. If `differentiate_first_stage` is off, so is the
    /// first slope, as in the authors' code; the gradient is then another one altogether.
    pub fn pull_back<const D: usize, F>(
        &self,
        estimate: Estimate,
        field: &F,
        tolerance: Tolerance,
        weight: f64,
        differentiate_first_stage: bool,
        sum: &mut F::Sum,
    ) where
        F: Adjoint<D, Place = P, Slope = S>,
    {
        let (from, step) = (&self.from, &self.step);
        let cotangents = estimate.cotangents(field, from, step, tolerance, weight);
        let stages = Stages {
            from,
            t: step.t,
            dt: step.dt,
            slopes: &step.slopes,
        };
        let first = usize::from(!differentiate_first_stage);
        if !cotangents.is_empty() {
            let _ = field.pull_back(&stages, &cotangents, first, sum);
        }
    }
}
