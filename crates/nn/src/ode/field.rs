//! Right-hand sides, as solvers and adjoints see them.

use super::combine::{Term, combine, scaled_rms};
use super::control::Tolerance;
use super::tableau::{NODES, STAGES, WEIGHTS};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;

/// A right-hand side f of `du/dt = f(u, t)` for a batch of states `Tensor<D>` that are solved with
/// common steps.
///
/// A field may keep something with a state, and keep slopes in a form of its own, if that makes sums
/// of them cheaper: a field that ends in a linear layer of few inputs need not multiply each slope out.
pub trait Field<const D: usize> {
    /// A state, and what the field keeps with it.
    type Place: Clone;
    /// `f(u, t)` in the form that the field keeps it in.
    type Slope: Clone;

    /// The place of a state.
    fn place(&self, u: Tensor<D>) -> Self::Place;

    /// The state of a place.
    fn state<'a>(&self, place: &'a Self::Place) -> &'a Tensor<D>;

    /// `f(u + Σ c k, t)`.
    fn slope(&self, from: &Self::Place, terms: &[Term<'_, Self::Slope>], t: f64) -> Self::Slope;

    /// `u + Σ c k`, for at least one term.
    fn moved(&self, from: &Self::Place, terms: &[Term<'_, Self::Slope>]) -> Self::Place;

    /// `Σ c k`, for at least one term.
    fn sum(&self, terms: &[Term<'_, Self::Slope>]) -> Tensor<D>;

    /// The root mean square of `Σ c k` beside the tolerance at two places, for at least one term.
    fn scaled(
        &self,
        terms: &[Term<'_, Self::Slope>],
        ends: [&Self::Place; 2],
        tolerance: Tolerance,
    ) -> f64 {
        let sum = self.sum(terms);
        let ends = ends.map(|end| self.state(end));
        scaled_rms(&[(1.0, &sum)], ends, tolerance)
    }
}

/// A function of state and time as a [`Field`]; with tensors that carry autodiff a solve records
/// everything that it does.
#[derive(Clone, Copy, Debug)]
pub struct Function<F>(pub F);

/// `u + Σ c k` in one pass.
fn argument<const D: usize>(u: &Tensor<D>, terms: &[Term<'_, Tensor<D>>]) -> Tensor<D> {
    if terms.is_empty() {
        return u.clone();
    }
    let mut all = Vec::with_capacity(terms.len() + 1);
    all.push((1.0, u));
    all.extend_from_slice(terms);
    combine(&all)
}

/// What fields have in common that keep states and slopes as they are.
macro_rules! as_they_are {
    () => {
        type Place = Tensor<D>;
        type Slope = Tensor<D>;

        fn place(&self, u: Tensor<D>) -> Tensor<D> {
            u
        }

        fn state<'a>(&self, place: &'a Tensor<D>) -> &'a Tensor<D> {
            place
        }

        fn slope(&self, from: &Tensor<D>, terms: &[Term<'_, Tensor<D>>], t: f64) -> Tensor<D> {
            self.value(argument(from, terms), t)
        }

        fn moved(&self, from: &Tensor<D>, terms: &[Term<'_, Tensor<D>>]) -> Tensor<D> {
            argument(from, terms)
        }

        fn sum(&self, terms: &[Term<'_, Tensor<D>>]) -> Tensor<D> {
            combine(terms)
        }

        fn scaled(
            &self,
            terms: &[Term<'_, Tensor<D>>],
            ends: [&Tensor<D>; 2],
            tolerance: Tolerance,
        ) -> f64 {
            scaled_rms(terms, ends, tolerance)
        }
    };
}

impl<F> Function<F> {
    fn value<const D: usize>(&self, u: Tensor<D>, t: f64) -> Tensor<D>
    where
        F: Fn(Tensor<D>, f64) -> Tensor<D>,
    {
        (self.0)(u, t)
    }
}

impl<const D: usize, F: Fn(Tensor<D>, f64) -> Tensor<D>> Field<D> for Function<F> {
    as_they_are!();
}

/// What a step went through.
#[derive(Debug)]
pub struct Stages<'a, P, S> {
    /// Where it started.
    pub from: &'a P,
    /// When.
    pub t: f64,
    /// How long it was.
    pub dt: f64,
    /// Slopes of its first stages, as many as are looked at.
    pub slopes: &'a [S],
}

impl<P, S> Stages<'_, P, S> {
    /// The time of stage `at`.
    pub fn time(&self, at: usize) -> f64 {
        self.t + NODES[at] * self.dt
    }

    /// The slopes in the argument of stage `at`, with their weights.
    pub fn terms(&self, at: usize) -> Vec<Term<'_, S>> {
        weighted(&WEIGHTS[at], self.dt, &self.slopes[..at])
    }
}

/// Slopes with `scale` times their weights, without those of weight 0.
pub(super) fn weighted<'a, S>(weights: &[f64], scale: f64, slopes: &'a [S]) -> Vec<Term<'a, S>> {
    let terms = weights.iter().zip(slopes);
    let terms = terms.map(|(weight, slope)| (scale * weight, slope));
    terms.filter(|(weight, _)| *weight != 0.0).collect()
}

/// The gradient of a number with respect to `share · u + Σ c k`, of a step's state and slopes.
#[derive(Clone, Debug)]
pub struct Cotangent<const D: usize> {
    /// The gradient, without autodiff.
    pub value: Tensor<D>,
    /// The share of the state.
    pub state: f64,
    /// The weight of every slope.
    pub slopes: [f64; STAGES],
}

impl<const D: usize> Cotangent<D> {
    /// Of the state after a step of length `dt`.
    pub fn after(value: Tensor<D>, dt: f64) -> Self {
        Self {
            value,
            state: 1.0,
            slopes: WEIGHTS[STAGES - 1].map(|weight| weight * dt),
        }
    }

    /// Of the first slope alone.
    pub fn slope(value: Tensor<D>) -> Self {
        let mut slopes = [0.0; STAGES];
        slopes[0] = 1.0;
        Self {
            value,
            state: 0.0,
            slopes,
        }
    }
}

/// A field whose gradients are known.
pub trait Adjoint<const D: usize>: Field<D> {
    /// What holds the parameters.
    type Module: Module;
    /// Gradients of parameters that add up.
    type Sum;

    /// The module with the parameters.
    fn module(&self) -> &Self::Module;

    /// No gradient yet.
    fn zero(&self) -> Self::Sum;

    /// Takes gradients back through the stages of a step, to the state that it started from (the
    /// result) and to the parameters (added to `sum`). Stages before `first` are constants: with 0
    /// nothing is, with 1 the first slope is.
    fn pull_back(
        &self,
        step: &Stages<'_, Self::Place, Self::Slope>,
        cotangents: &[Cotangent<D>],
        first: usize,
        sum: &mut Self::Sum,
    ) -> Tensor<D>;

    /// The gradients that have added up.
    fn gradients(&self, sum: Self::Sum) -> GradientsParams;
}

/// A module and how it makes slopes, `forward(module, u, t)`: solved without autodiff, differentiated
/// one evaluation at a time, so that a graph never holds more than one.
#[derive(Debug)]
pub struct ModuleField<'a, M, F> {
    tracked: &'a M,
    plain: M,
    forward: F,
}

impl<'a, M: Module, F> ModuleField<'a, M, F> {
    /// A module with autodiff if gradients are asked for.
    pub fn new(module: &'a M, forward: F) -> Self {
        Self {
            tracked: module,
            plain: module.valid(),
            forward,
        }
    }

    fn value<const D: usize>(&self, u: Tensor<D>, t: f64) -> Tensor<D>
    where
        F: Fn(&M, Tensor<D>, f64) -> Tensor<D>,
    {
        (self.forward)(&self.plain, u.inner(), t)
    }
}

impl<const D: usize, M, F> Field<D> for ModuleField<'_, M, F>
where
    M: Module,
    F: Fn(&M, Tensor<D>, f64) -> Tensor<D>,
{
    as_they_are!();
}

impl<const D: usize, M, F> Adjoint<D> for ModuleField<'_, M, F>
where
    M: Module,
    F: Fn(&M, Tensor<D>, f64) -> Tensor<D>,
{
    type Module = M;
    type Sum = GradientsAccumulator<M>;

    fn module(&self) -> &M {
        self.tracked
    }

    fn zero(&self) -> Self::Sum {
        GradientsAccumulator::new()
    }

    fn pull_back(
        &self,
        step: &Stages<'_, Tensor<D>, Tensor<D>>,
        cotangents: &[Cotangent<D>],
        first: usize,
        sum: &mut Self::Sum,
    ) -> Tensor<D> {
        let count = step.slopes.len();
        // Gradients before every stage that has any.
        let mut before: Vec<Option<Tensor<D>>> = vec![None; count];
        for at in (first..count).rev() {
            let outer = cotangents.iter().map(|c| (c.slopes[at], &c.value));
            let later = before.iter().enumerate().skip(at + 1);
            let later = later.filter_map(|(stage, gradient)| {
                Some((step.dt * WEIGHTS[stage][at], gradient.as_ref()?))
            });
            let terms: Vec<_> = outer.chain(later).filter(|(c, _)| *c != 0.0).collect();
            if terms.is_empty() {
                continue;
            }
            let gradient = combine(&terms);
            let u = argument(step.from, &step.terms(at)).inner();
            let u = u.autodiff().require_grad();
            let slope = (self.forward)(self.tracked, u.clone(), step.time(at));
            let product = (slope * gradient.autodiff()).sum();
            let mut found = product.backward();
            before[at] = u.grad_remove(&mut found);
            let found = GradientsParams::from_grads(found, self.tracked);
            sum.accumulate(self.tracked, found);
        }
        let states = cotangents.iter().map(|c| (c.state, &c.value));
        let stages = before.iter().flatten().map(|gradient| (1.0, gradient));
        let terms: Vec<_> = states.chain(stages).filter(|(c, _)| *c != 0.0).collect();
        if terms.is_empty() {
            return step.from.zeros_like();
        }
        combine(&terms)
    }

    fn gradients(&self, mut sum: Self::Sum) -> GradientsParams {
        sum.grads()
    }
}
