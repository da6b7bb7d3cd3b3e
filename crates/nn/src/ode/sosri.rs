//! SOSRI: a stochastic Runge–Kutta method of strong order 1.5 for diagonal noise.
//!
//! Rackauckas and Nie, *Stability-optimized high order methods and stiffness detection for pathwise
//! stiff stochastic differential equations*, HPEC 2020. Coefficients as in StochasticDiffEq.jl.

use super::adjoint::Outputs;
use super::combine::{Term, combine, number, scaled_rms};
use super::control::{Controller, Tolerance, first_guess, second_guess};
use super::noise::{Brownian, Increment};
use super::solve::{Attempt, Keep, check_times, finite, length};
use super::tableau::sosri::{A0, A1, ALPHA, B0, B1, BETA, C0, C1, STAGES};
use burn::config::Config;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use menagerie_core::{Error, Result, Seed};

/// `du = f(u, t) dt + g(u, t) dW` with a motion of its own for every element, in steps that a PI
/// controller sizes.
#[derive(Config, Copy, Debug, PartialEq)]
pub struct Sosri {
    /// How large the error of a step may be.
    pub tolerance: Tolerance,
    /// Steps that are attempted at most.
    #[config(default = 100_000)]
    pub max_steps: usize,
    /// The share of the drift's part in the error, δ.
    #[config(default = 1.0)]
    pub drift_share: f64,
}

/// A step.
#[derive(Clone, Debug)]
pub struct SdeStep<const D: usize> {
    /// Where it ends.
    pub to: Tensor<D>,
    /// How long it is.
    pub dt: f64,
    /// The noise's part of the error, `E₂ = χ₂ Σ β₃ g + χ₃ Σ β₄ g`.
    pub noise_error: Tensor<D>,
    /// Drift at every stage.
    pub drifts: Vec<Tensor<D>>,
}

impl<const D: usize> SdeStep<D> {
    /// The drift's part of the error, `E₁ = dt Σ k`.
    pub fn drift_error(&self) -> Tensor<D> {
        weighted(&[1.0; STAGES], self.dt, &self.drifts)
    }

    /// The error beside the tolerance of a step from `u`, shape `[1]`; differentiable if the step is.
    pub fn error(&self, solver: &Sosri, u: &Tensor<D>) -> Tensor<1> {
        let drift_error = self.drift_error();
        let parts = [(solver.drift_share, &drift_error), (1.0, &self.noise_error)];
        let Tolerance { absolute, relative } = solver.tolerance;
        let largest = u.clone().abs().max_pair(self.to.clone().abs());
        let scaled = combine(&parts) / (largest * relative + absolute);
        scaled.square().mean().sqrt()
    }
}

/// A step that was accepted.
#[derive(Clone, Debug)]
pub struct SdeTaken<const D: usize> {
    /// Where it started.
    pub from: Tensor<D>,
    /// When.
    pub t: f64,
    /// How long it was, and what the noise did meanwhile.
    pub increment: Increment<D>,
}

/// What a solve found.
#[derive(Clone, Debug)]
pub struct SdeSolution<const D: usize> {
    /// The state at the end.
    pub end: Tensor<D>,
    /// States at the times that were asked for, on lines between the ends of steps.
    pub saved: Vec<Tensor<D>>,
    /// In which of the accepted steps those times lie, and at which share of it.
    pub saved_in: Vec<(usize, f64)>,
    /// Every step that was attempted.
    pub attempts: Vec<Attempt>,
    /// Accepted steps, if they were kept.
    pub taken: Vec<SdeTaken<D>>,
    /// The size of the first attempt.
    pub first_step: f64,
}

impl<const D: usize> SdeSolution<D> {
    /// Evaluations of the drift, and as many of the diffusion: two to find a first step and four for
    /// every attempt.
    pub fn evaluations(&self) -> usize {
        2 + STAGES * self.attempts.len()
    }
}

/// `Σ c x` of terms with tensors for factors: `Σ_i y_i Σ_j c_ij g_j`.
fn products<const D: usize>(parts: &[(&Tensor<D>, &[f64; STAGES])], g: &[Tensor<D>]) -> Tensor<D> {
    let terms: Vec<Tensor<D>> = parts
        .iter()
        .map(|(factor, weights)| (*factor).clone() * weighted(weights, 1.0, g))
        .collect();
    let terms: Vec<Term<'_, Tensor<D>>> = terms.iter().map(|term| (1.0, term)).collect();
    combine(&terms)
}

/// `scale Σ c x`, at least one x.
fn weighted<const D: usize>(weights: &[f64; STAGES], scale: f64, x: &[Tensor<D>]) -> Tensor<D> {
    let terms: Vec<_> = weights.iter().zip(x).map(|(c, x)| (scale * c, x)).collect();
    combine(&terms)
}

impl Sosri {
    const NAME: &str = "Sosri";

    /// With absolute and relative tolerance of one size.
    pub fn with_both(tolerance: f64) -> Self {
        Self::new(Tolerance::both(tolerance))
    }

    /// Refuses tolerances that are not above 0, a negative share, and no steps.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.tolerance.validate()?;
        if self.max_steps == 0 {
            let rule = "must be at least 1";
            return Err(Error::config(Self::NAME, "max_steps", 0, rule));
        }
        if !(self.drift_share.is_finite() && self.drift_share >= 0.0) {
            let rule = "must be finite and not negative";
            let (field, value) = ("drift_share", self.drift_share);
            return Err(Error::config(Self::NAME, field, value, rule));
        }
        Ok(())
    }

    /// One step from `u` at `t` over an increment of the noise; with autodiff it is recorded.
    pub fn step<const D: usize>(
        &self,
        drift: impl Fn(Tensor<D>, f64) -> Tensor<D>,
        diffusion: impl Fn(Tensor<D>, f64) -> Tensor<D>,
        u: &Tensor<D>,
        t: f64,
        increment: &Increment<D>,
    ) -> SdeStep<D> {
        let dt = increment.dt;
        let (root, dw) = (dt.sqrt(), &increment.dw);
        let square = dw.clone().square();
        let chi_1 = (square.clone() - dt) / (2.0 * root);
        let chi_2 = combine(&[(0.5, dw), (0.5 / 3f64.sqrt(), &increment.dz)]);
        let chi_3 = (square - 3.0 * dt) * dw.clone() / (6.0 * dt);
        let mut k = vec![drift(u.clone(), t)];
        let mut g = vec![diffusion(u.clone(), t + C1[0] * dt)];
        for at in 1..STAGES {
            let noisy = chi_2.clone() * weighted(&B0[at], 1.0, &g);
            let mut terms = vec![(1.0, u), (1.0, &noisy)];
            terms.extend(k.iter().zip(A0[at]).map(|(k, a)| (dt * a, k)));
            let drifted = combine(&terms);
            let mut terms = vec![(1.0, u)];
            terms.extend(k.iter().zip(A1[at]).map(|(k, a)| (dt * a, k)));
            terms.extend(g.iter().zip(B1[at]).map(|(g, b)| (root * b, g)));
            let diffused = combine(&terms);
            k.push(drift(drifted, t + C0[at] * dt));
            g.push(diffusion(diffused, t + C1[at] * dt));
        }
        let noise_error = products(&[(&chi_2, &BETA[2]), (&chi_3, &BETA[3])], &g);
        let noise = products(&[(dw, &BETA[0]), (&chi_1, &BETA[1])], &g);
        let mut terms = vec![(1.0, u), (1.0, &noise_error), (1.0, &noise)];
        terms.extend(k.iter().zip(ALPHA).map(|(k, a)| (dt * a, k)));
        SdeStep {
            to: combine(&terms),
            dt,
            noise_error,
            drifts: k,
        }
    }

    /// The size of a first step from `u` at the start of `span`: Hairer's rule with the drift give or
    /// take three times the diffusion.
    ///
    /// # Errors
    /// [`Error::Input`] if `span` does not end after it starts, or a value is not finite.
    pub fn first_step<const D: usize>(
        &self,
        drift: impl Fn(Tensor<D>, f64) -> Tensor<D>,
        diffusion: impl Fn(Tensor<D>, f64) -> Tensor<D>,
        u: &Tensor<D>,
        span: [f64; 2],
    ) -> Result<f64> {
        let span_length = length(span)?;
        let size = |x: &Tensor<D>| scaled_rms(&[(1.0, x)], [u, u], self.tolerance);
        let rates = |u: &Tensor<D>, t: f64| (drift(u.clone(), t), diffusion(u.clone(), t) * 3.0);
        let (f, g) = rates(u, span[0]);
        let first = size(&(f.clone().abs() + g.clone().abs()));
        let state = size(u);
        finite("the state, beside the tolerance", span[0], state)?;
        finite("drift or diffusion, beside the tolerance", span[0], first)?;
        let guess = first_guess(state, first, span_length);
        let next = combine(&[(1.0, u), (guess, &f)]);
        let (next_f, next_g) = rates(&next, span[0] + guess);
        // max(|Δg|, |g + g'|) and max(|Δf ± that|) = |Δf| + it.
        let spread = g.abs() + next_g.abs();
        let change = size(&((next_f - f).abs() + spread)) / guess;
        finite("the change of drift or diffusion", span[0], change)?;
        Ok(second_guess(guess, first, change, 2.0, span_length))
    }

    /// Solves from `u`, at the start of `span`, to its end, along the path of the seed. No graph is
    /// recorded.
    ///
    /// # Errors
    /// Invalid settings; [`Error::Input`] if `span` does not end after it starts, a time to save at
    /// lies outside of it or before the one ahead of it, a state is not finite, or more steps are
    /// needed than are allowed.
    #[expect(
        clippy::too_many_arguments,
        reason = "an equation, a start and what is wanted"
    )]
    pub fn solve<const D: usize>(
        &self,
        drift: impl Fn(Tensor<D>, f64) -> Tensor<D>,
        diffusion: impl Fn(Tensor<D>, f64) -> Tensor<D>,
        u: Tensor<D>,
        span: [f64; 2],
        save_at: &[f64],
        keep: Keep,
        seed: Seed,
    ) -> Result<SdeSolution<D>> {
        self.validate()?;
        length(span)?;
        check_times(save_at, span)?;
        let [mut t, end] = span;
        let mut u = u.inner();
        let first_step = self.first_step(&drift, &diffusion, &u, span)?;
        let mut control = Controller::SDE.start();
        let mut noise = Brownian::new(&u, seed);
        let mut dt = first_step;
        let mut solution = SdeSolution {
            end: u.clone(),
            saved: Vec::with_capacity(save_at.len()),
            saved_in: Vec::with_capacity(save_at.len()),
            attempts: Vec::new(),
            taken: Vec::new(),
            first_step,
        };
        let mut due = save_at.iter().copied().peekable();
        while due.next_if(|time| *time <= t).is_some() {
            solution.saved.push(u.clone());
            solution.saved_in.push((0, 0.0));
        }
        let mut accepted = 0;
        while t < end {
            if solution.attempts.len() == self.max_steps {
                let rule = format!("is not enough to get from {} to {end}", span[0]);
                let what = format!("the number of steps up to t = {t}");
                return Err(Error::input(what, self.max_steps, rule));
            }
            dt = dt.min(end - t);
            let mut next = t + dt;
            if (end - next).abs() < 100.0 * f64::EPSILON * end.abs().max(next.abs()) {
                next = end;
            }
            if next <= t {
                let rule = "is too small to move on";
                return Err(Error::input(format!("the step from t = {t}"), dt, rule));
            }
            let increment = noise.next(dt);
            let step = self.step(&drift, &diffusion, &u, t, &increment);
            let error = number(step.error(self, &u));
            finite("the error of the step", t, error)?;
            let (accept, proposed) = control.judge(error, dt);
            solution.attempts.push(Attempt {
                t,
                dt,
                error,
                accepted: accept,
                stiffness: None,
            });
            if accept {
                while let Some(time) = due.next_if(|time| *time <= next) {
                    let theta = ((time - t) / dt).min(1.0);
                    let place = combine(&[(1.0 - theta, &u), (theta, &step.to)]);
                    solution.saved.push(place);
                    solution.saved_in.push((accepted, theta));
                }
                accepted += 1;
                let from = std::mem::replace(&mut u, step.to);
                if keep != Keep::End {
                    solution.taken.push(SdeTaken { from, t, increment });
                }
                t = next;
            } else {
                noise.take_back(increment);
            }
            dt = proposed;
        }
        solution.end = u;
        Ok(solution)
    }

    /// Gradients of the steps that were taken, one step at a time, their lengths and the noise being
    /// constants: with respect to the first state, and to the parameters, added to `sum`.
    ///
    /// # Errors
    /// [`Error::Input`] if steps were not kept or gradients do not fit saved states.
    pub fn pull_back<const D: usize, M: Module>(
        &self,
        module: &M,
        drift: impl Fn(&M, Tensor<D>, f64) -> Tensor<D>,
        diffusion: impl Fn(&M, Tensor<D>, f64) -> Tensor<D>,
        solution: &SdeSolution<D>,
        outputs: Outputs<D>,
        sum: &mut GradientsAccumulator<M>,
    ) -> Result<Tensor<D>> {
        let (wanted, found) = (solution.saved.len(), outputs.saved.len());
        if found != 0 && found != wanted {
            let rule = format!("must be one for each of {wanted} states");
            let what = "the number of gradients of saved states";
            return Err(Error::input(what, found, rule));
        }
        let Some(first) = solution.taken.first() else {
            let rule = "must be kept to take gradients back: solve with `Keep::States`";
            return Err(Error::input("the steps of the solve", "nothing", rule));
        };
        let saved = outputs.saved.into_iter().zip(&solution.saved_in).rev();
        let mut saved = saved.peekable();
        let mut gradient = outputs.end;
        for (at, taken) in solution.taken.iter().enumerate().rev() {
            let mut before: Option<Tensor<D>> = None;
            let add = |sum: Option<Tensor<D>>, term: Tensor<D>| match sum {
                Some(sum) => Some(sum + term),
                None => Some(term),
            };
            while let Some((value, (_, theta))) = saved.next_if(|(_, (step, _))| *step == at) {
                gradient = add(gradient, value.clone() * *theta);
                before = add(before, value * (1.0 - theta));
            }
            if let Some(after) = gradient.take() {
                let u = taken.from.clone().autodiff().require_grad();
                let drift = |u, t| drift(module, u, t);
                let diffusion = |u, t| diffusion(module, u, t);
                let step = self.step(drift, diffusion, &u, taken.t, &taken.increment);
                let mut found = (step.to * after.autodiff()).sum().backward();
                if let Some(by_state) = u.grad_remove(&mut found) {
                    before = add(before, by_state);
                }
                sum.accumulate(module, GradientsParams::from_grads(found, module));
            }
            gradient = before;
        }
        Ok(gradient.unwrap_or_else(|| first.from.zeros_like()))
    }
}
