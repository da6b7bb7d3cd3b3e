//! Steps of Tsit5 from one time to another.

use super::combine::{Term, scaled_rms};
use super::control::{Controller, Tolerance, first_guess, second_guess};
use super::field::{Field, weighted};
use super::tableau::{ERROR, NODES, STABILITY, STAGES, WEIGHTS, dense};
use burn::config::Config;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// An explicit Runge–Kutta method of order 5(4) with seven stages, of which the last is the first of
/// the next step, whose steps a PI controller sizes. The error is the root mean square over all
/// elements of the batch: its states share their steps.
#[derive(Config, Copy, Debug, PartialEq)]
pub struct Tsit5 {
    /// How large the error of a step may be.
    pub tolerance: Tolerance,
    /// Steps that are attempted at most.
    #[config(default = 100_000)]
    pub max_steps: usize,
}

/// What is kept of the steps of a solve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    #[default]
    End,
    /// Where every step started: what is needed to take gradients back, slopes being computed again.
    States,
    /// Slopes as well: for dense output, and for gradients without computing them again.
    Slopes,
}

/// What is asked of a solve besides the state at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Request<'a> {
    /// Times, ascending, at which the state is wanted; they do not change the steps.
    pub save_at: &'a [f64],
    /// What is kept of the steps.
    pub keep: Keep,
    /// Whether the stiffness of every step is measured.
    pub stiffness: bool,
}

/// A step that was attempted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempt {
    /// When it started.
    pub t: f64,
    /// How long it was.
    pub dt: f64,
    /// Its error beside the tolerance; accepted up to 1.
    pub error: f64,
    /// Whether it was accepted.
    pub accepted: bool,
    /// `‖k₇ - k₆‖ / ‖u⁺ - g₆‖` beside the stability limit, if it was asked for.
    pub stiffness: Option<f64>,
}

/// A step that was accepted, as far as it was kept.
#[derive(Clone, Debug)]
pub struct Taken<P, S> {
    /// Where it started.
    pub from: P,
    /// When.
    pub t: f64,
    /// How long it was.
    pub dt: f64,
    /// Slopes of all stages, if they were kept.
    pub slopes: Vec<S>,
}

/// What a solve found.
#[derive(Clone, Debug)]
pub struct Solution<P, S> {
    /// The place at the end.
    pub end: P,
    /// States at the times that were asked for.
    pub saved: Vec<P>,
    /// In which of the accepted steps those times lie, and at which share of it.
    pub saved_in: Vec<(usize, f64)>,
    /// Every step that was attempted.
    pub attempts: Vec<Attempt>,
    /// Accepted steps, if they were kept.
    pub taken: Vec<Taken<P, S>>,
    /// The size of the first attempt.
    pub first_step: f64,
    /// From when to when.
    pub span: [f64; 2],
}

impl<P, S> Solution<P, S> {
    /// Evaluations of the field, as the reference counts them: two to find a first step, one for its
    /// first stage, six for every attempt. (Here the first two share one.)
    pub fn evaluations(&self) -> usize {
        3 + (STAGES - 1) * self.attempts.len()
    }

    /// Accepted steps.
    pub fn accepted(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| attempt.accepted)
    }

    /// `Σ error · dt` over accepted steps.
    pub fn error_sum(&self) -> f64 {
        self.accepted().map(|step| step.error * step.dt).sum()
    }
}

/// A step of Tsit5: all of its slopes, and where it ends.
#[derive(Clone, Debug)]
pub struct Step<P, S> {
    /// When it started.
    pub t: f64,
    /// How long it is.
    pub dt: f64,
    /// Where it ends.
    pub to: P,
    /// Slopes of its stages.
    pub slopes: Vec<S>,
}

impl<P, S> Step<P, S> {
    /// From a place at `t` whose slope is known.
    pub fn take<const D: usize, F>(field: &F, from: &P, slope: S, t: f64, dt: f64) -> Self
    where
        F: Field<D, Place = P, Slope = S>,
    {
        let mut slopes = Vec::with_capacity(STAGES);
        slopes.push(slope);
        for at in 1..STAGES - 1 {
            let terms = weighted(&WEIGHTS[at], dt, &slopes);
            slopes.push(field.slope(from, &terms, t + NODES[at] * dt));
        }
        let to = field.moved(from, &weighted(&WEIGHTS[STAGES - 1], dt, &slopes));
        slopes.push(field.slope(&to, &[], t + dt));
        Self { t, dt, to, slopes }
    }

    /// The difference of the solutions of both orders, as slopes with weights.
    pub fn error_terms(&self) -> Vec<Term<'_, S>> {
        weighted(&ERROR, self.dt, &self.slopes)
    }

    /// The error beside the tolerance.
    pub fn error<const D: usize, F>(&self, field: &F, from: &P, tolerance: Tolerance) -> f64
    where
        F: Field<D, Place = P, Slope = S>,
    {
        field.scaled(&self.error_terms(), [from, &self.to], tolerance)
    }

    /// `k₇ - k₆` and `u⁺ - g₆`.
    pub fn stiff_parts<const D: usize, F>(&self, field: &F) -> [Tensor<D>; 2]
    where
        F: Field<D, Place = P, Slope = S>,
    {
        let [slopes, states] = stiff_weights(self.dt);
        [slopes, states].map(|weights| field.sum(&weighted(&weights, 1.0, &self.slopes)))
    }

    /// How stiff the field is along the step.
    pub fn stiffness<const D: usize, F>(&self, field: &F) -> f64
    where
        F: Field<D, Place = P, Slope = S>,
    {
        let [slopes, states] = self.stiff_parts(field);
        let norm = |x: &Tensor<D>| super::rms(&[(1.0, x)]);
        stiffness(norm(&slopes), norm(&states), 0.0)
    }
}

/// The weights of slopes in `k₇ - k₆` and in `u⁺ - g₆` of a step of length `dt`.
pub(super) fn stiff_weights(dt: f64) -> [[f64; STAGES]; 2] {
    let mut slopes = [0.0; STAGES];
    slopes[STAGES - 2] = -1.0;
    slopes[STAGES - 1] = 1.0;
    let mut states = WEIGHTS[STAGES - 1];
    for (weight, sixth) in states.iter_mut().zip(WEIGHTS[STAGES - 2]) {
        *weight = dt * (*weight - sixth);
    }
    [slopes, states]
}

/// The quotient of both norms beside the stability limit; 0 if there is nothing to divide by.
pub(super) fn stiffness(slopes: f64, states: f64, floor: f64) -> f64 {
    if states == 0.0 {
        return 0.0;
    }
    slopes / (states + floor) / STABILITY
}

impl Tsit5 {
    const NAME: &str = "Tsit5";

    /// With absolute and relative tolerance of one size.
    pub fn with_both(tolerance: f64) -> Self {
        Self::new(Tolerance::both(tolerance))
    }

    /// Refuses tolerances that are not above 0, and no steps.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.tolerance.validate()?;
        if self.max_steps == 0 {
            let rule = "must be at least 1";
            return Err(Error::config(Self::NAME, "max_steps", 0, rule));
        }
        Ok(())
    }

    /// The size of a first step from `from` at the start of `span`, whose slope is known (Hairer's
    /// rule); one evaluation.
    ///
    /// # Errors
    /// [`Error::Input`] if `span` does not end after it starts, or state or slope are not finite.
    pub fn first_step<const D: usize, F: Field<D>>(
        &self,
        field: &F,
        from: &F::Place,
        slope: &F::Slope,
        span: [f64; 2],
    ) -> Result<f64> {
        let length = length(span)?;
        let u = field.state(from);
        let state = scaled_rms(&[(1.0, u)], [u, u], self.tolerance);
        let ends = [from, from];
        let first = field.scaled(&[(1.0, slope)], ends, self.tolerance);
        finite("the state, beside the tolerance", span[0], state)?;
        finite("the slope, beside the tolerance", span[0], first)?;
        let guess = first_guess(state, first, length);
        let next = field.slope(from, &[(guess, slope)], span[0] + guess);
        let change = [(1.0, &next), (-1.0, slope)];
        let change = field.scaled(&change, ends, self.tolerance) / guess;
        finite("the change of the slope", span[0], change)?;
        if change == 0.0 {
            return Ok((100.0 * guess).min(length));
        }
        Ok(second_guess(guess, first, change, 5.0, length))
    }

    /// Solves from `u`, at the start of `span`, to its end.
    ///
    /// # Errors
    /// Invalid settings; [`Error::Input`] if `span` does not end after it starts, a time to save at
    /// lies outside of it or before the one ahead of it, a state or slope is not finite, or more
    /// steps are needed than are allowed.
    pub fn solve<const D: usize, F: Field<D>>(
        &self,
        field: &F,
        u: Tensor<D>,
        span: [f64; 2],
        request: Request<'_>,
    ) -> Result<Solution<F::Place, F::Slope>> {
        self.validate()?;
        length(span)?;
        check_times(request.save_at, span)?;
        let [mut t, end] = span;
        let mut place = field.place(u);
        let mut slope = field.slope(&place, &[], t);
        let first_step = self.first_step(field, &place, &slope, span)?;
        let mut control = Controller::ODE.start();
        let mut dt = first_step;
        let mut solution = Solution {
            end: place.clone(),
            saved: Vec::with_capacity(request.save_at.len()),
            saved_in: Vec::with_capacity(request.save_at.len()),
            attempts: Vec::new(),
            taken: Vec::new(),
            first_step,
            span,
        };
        let mut due = request.save_at.iter().copied().peekable();
        while due.next_if(|time| *time <= t).is_some() {
            solution.saved.push(place.clone());
            solution.saved_in.push((0, 0.0));
        }
        let mut accepted = 0;
        while t < end {
            if solution.attempts.len() == self.max_steps {
                let rule = format!("is not enough to get from {} to {end}", span[0]);
                return Err(Error::input(
                    format!("the number of steps up to t = {t}"),
                    self.max_steps,
                    rule,
                ));
            }
            let mut next = t + dt.min(end - t);
            // Rounding must not leave a step of a few units in the last place.
            if (end - next).abs() < 100.0 * f64::EPSILON * end.abs().max(next.abs()) {
                next = end;
            }
            dt = dt.min(end - t);
            if next <= t {
                let rule = "is too small to move on";
                return Err(Error::input(format!("the step from t = {t}"), dt, rule));
            }
            let step = Step::take(field, &place, slope.clone(), t, dt);
            let error = step.error(field, &place, self.tolerance);
            finite("the error of the step", t, error)?;
            let (accept, proposed) = control.judge(error, dt);
            solution.attempts.push(Attempt {
                t,
                dt,
                error,
                accepted: accept,
                stiffness: request.stiffness.then(|| step.stiffness(field)),
            });
            if accept {
                while let Some(time) = due.next_if(|time| *time <= next) {
                    let theta = ((time - t) / dt).min(1.0);
                    solution.saved.push(between(field, &place, &step, theta));
                    solution.saved_in.push((accepted, theta));
                }
                accepted += 1;
                let Step { to, mut slopes, .. } = step;
                // There are always seven.
                slope = slopes.last().cloned().unwrap_or(slope);
                let from = std::mem::replace(&mut place, to);
                if request.keep != Keep::End {
                    if request.keep == Keep::States {
                        slopes = Vec::new();
                    }
                    solution.taken.push(Taken {
                        from,
                        t,
                        dt,
                        slopes,
                    });
                }
                t = next;
            }
            dt = proposed;
        }
        solution.end = place;
        Ok(solution)
    }
}

/// The place at a share of a step.
fn between<const D: usize, F: Field<D>>(
    field: &F,
    from: &F::Place,
    step: &Step<F::Place, F::Slope>,
    theta: f64,
) -> F::Place {
    if theta == 1.0 {
        return step.to.clone();
    }
    field.moved(from, &weighted(&dense(theta), step.dt, &step.slopes))
}

impl<P: Clone, S: Clone> Solution<P, S> {
    /// The place at any time of the span, from kept slopes.
    ///
    /// # Errors
    /// [`Error::Input`] if the time lies outside of the span, or slopes were not kept.
    pub fn at<const D: usize, F>(&self, field: &F, time: f64) -> Result<P>
    where
        F: Field<D, Place = P, Slope = S>,
    {
        check_times(&[time], self.span)?;
        let after = self.taken.partition_point(|step| step.t <= time);
        let kept = self.taken.get(after.saturating_sub(1));
        let Some(step) = kept.filter(|step| step.slopes.len() == STAGES) else {
            let rule = "must be kept for dense output: solve with `Keep::Slopes`";
            return Err(Error::input("the slopes of steps", "nothing", rule));
        };
        let theta = ((time - step.t) / step.dt).clamp(0.0, 1.0);
        if theta == 0.0 {
            return Ok(step.from.clone());
        }
        Ok(field.moved(&step.from, &weighted(&dense(theta), step.dt, &step.slopes)))
    }
}

/// How long a span is.
pub(super) fn length([start, end]: [f64; 2]) -> Result<f64> {
    if !(start.is_finite() && end.is_finite() && start < end) {
        let rule = "must be finite and end after it starts";
        return Err(Error::input("the time span", [start, end], rule));
    }
    Ok(end - start)
}

/// Refuses times outside of the span or out of order.
pub(super) fn check_times(times: &[f64], [start, end]: [f64; 2]) -> Result<()> {
    if let Some(time) = times.iter().find(|time| !(start..=end).contains(*time)) {
        let rule = format!("must lie between {start} and {end}");
        return Err(Error::input("a time to save at", time, rule));
    }
    if !times.is_sorted() {
        return Err(Error::input(
            "the times to save at",
            times,
            "must be in ascending order",
        ));
    }
    Ok(())
}

/// Refuses what is not finite.
pub(super) fn finite(what: &str, t: f64, value: f64) -> Result<()> {
    if value.is_finite() {
        return Ok(());
    }
    let rule = "must be finite: the state or the field's value is not, or has grown beyond bounds";
    Err(Error::input(format!("{what} at t = {t}"), value, rule))
}
