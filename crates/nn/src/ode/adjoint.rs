//! Gradients through a solve: of the steps that were taken (discrete), or of the equation
//! (continuous).

use super::combine::combine;
use super::field::{Adjoint, Cotangent, Function, Stages, weighted};
use super::solve::{Request, Solution, Step, Taken, Tsit5};
use super::tableau::{NODES, STAGES, WEIGHTS, dense};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result};

/// The gradients of a number with respect to what a solve gave.
#[derive(Clone, Debug)]
pub struct Outputs<const D: usize> {
    /// With respect to the state at the end, if the number depends on it.
    pub end: Option<Tensor<D>>,
    /// With respect to the states that were saved, one for each or none at all.
    pub saved: Vec<Tensor<D>>,
}

impl<const D: usize> Outputs<D> {
    /// With respect to the end alone.
    pub fn end(gradient: Tensor<D>) -> Self {
        Self {
            end: Some(gradient),
            saved: Vec::new(),
        }
    }

    /// With respect to saved states alone.
    pub fn saved(gradients: Vec<Tensor<D>>) -> Self {
        Self {
            end: None,
            saved: gradients,
        }
    }

    fn check<P, S>(&self, solution: &Solution<P, S>) -> Result<()> {
        let wanted = solution.saved.len();
        if !self.saved.is_empty() && self.saved.len() != wanted {
            let rule = format!("must be one for each of {wanted} states");
            let what = "the number of gradients of saved states";
            return Err(Error::input(what, self.saved.len(), rule));
        }
        if solution.taken.is_empty() {
            let rule = "must be kept to take gradients back: solve with `Keep::States`";
            return Err(Error::input("the steps of the solve", "nothing", rule));
        }
        Ok(())
    }
}

/// Something that gives a step further gradients: its place in the list, the step, and where it
/// started.
pub type Extra<'a, const D: usize, F> = &'a dyn Fn(
    usize,
    &Step<<F as super::Field<D>>::Place, <F as super::Field<D>>::Slope>,
    &<F as super::Field<D>>::Place,
) -> Vec<Cotangent<D>>;

/// The discrete adjoint: exact gradients of the steps that were taken, their lengths constants, one
/// step at a time; slopes that were not kept are computed again. Gives the gradient with respect to
/// the first state, and adds those of the parameters to `sum`.
///
/// `extra` may add gradients of every step, e.g. of its error; all slopes are then computed.
///
/// # Errors
/// [`Error::Input`] if steps were not kept or gradients do not fit saved states.
pub fn discrete<const D: usize, F: Adjoint<D>>(
    field: &F,
    solution: &Solution<F::Place, F::Slope>,
    outputs: Outputs<D>,
    extra: Option<Extra<'_, D, F>>,
    sum: &mut F::Sum,
) -> Result<Tensor<D>> {
    outputs.check(solution)?;
    let mut gradient = outputs.end;
    let mut saved = outputs
        .saved
        .into_iter()
        .zip(&solution.saved_in)
        .rev()
        .peekable();
    let mut after = &solution.end;
    for (at, taken) in solution.taken.iter().enumerate().rev() {
        let mut cotangents: Vec<Cotangent<D>> = gradient
            .take()
            .map(|gradient| Cotangent::after(gradient, taken.dt))
            .into_iter()
            .collect();
        while let Some((value, (_, theta))) = saved.next_if(|(_, (step, _))| *step == at) {
            cotangents.push(if *theta == 1.0 {
                Cotangent::after(value, taken.dt)
            } else {
                Cotangent {
                    value,
                    state: 1.0,
                    slopes: dense(*theta).map(|weight| weight * taken.dt),
                }
            });
        }
        // The last stage counts for dense output and estimates only.
        let last = cotangents.iter().any(|c| c.slopes[STAGES - 1] != 0.0);
        let last = last || extra.is_some();
        let mut slopes = again(field, taken, if last { Some(after) } else { None });
        if let Some(extra) = extra {
            let step = Step {
                t: taken.t,
                dt: taken.dt,
                to: after.clone(),
                slopes,
            };
            cotangents.extend(extra(at, &step, &taken.from));
            slopes = step.slopes;
        }
        if !cotangents.is_empty() {
            let stages = Stages {
                from: &taken.from,
                t: taken.t,
                dt: taken.dt,
                slopes: &slopes,
            };
            gradient = Some(field.pull_back(&stages, &cotangents, 0, sum));
        }
        after = &taken.from;
    }
    let start = || field.state(&solution.taken[0].from).clone().inner();
    Ok(gradient.unwrap_or_else(|| start().zeros_like()))
}

/// The slopes of a step; the last only if where it ends is given.
fn again<const D: usize, F: Adjoint<D>>(
    field: &F,
    taken: &Taken<F::Place, F::Slope>,
    after: Option<&F::Place>,
) -> Vec<F::Slope> {
    let mut slopes = taken.slopes.clone();
    for at in slopes.len()..STAGES - 1 {
        let terms = weighted(&WEIGHTS[at], taken.dt, &slopes);
        let slope = field.slope(&taken.from, &terms, taken.t + NODES[at] * taken.dt);
        slopes.push(slope);
    }
    match after {
        Some(after) if slopes.len() < STAGES => {
            slopes.push(field.slope(after, &[], taken.t + taken.dt));
        }
        Some(_) => {}
        None => slopes.truncate(STAGES - 1),
    }
    slopes
}

/// The continuous adjoint: `da/dt = -aᵀ ∂f/∂u` and the integral of `aᵀ ∂f/∂θ`, solved from the end
/// of the span to its start, with the states of the dense output. Gives the gradient with respect to
/// the first state, those of the parameters, and evaluations of the adjoint's field.
///
/// # Errors
/// [`Error::Input`] if slopes were not kept or gradients do not fit saved states, and what
/// [`Tsit5::solve`] reports.
pub fn continuous<const D: usize, F: Adjoint<D>>(
    solver: &Tsit5,
    field: &F,
    solution: &Solution<F::Place, F::Slope>,
    outputs: Outputs<D>,
) -> Result<(Tensor<D>, GradientsParams, usize)> {
    outputs.check(solution)?;
    let [start, end] = solution.span;
    let state = field.state(&solution.end).clone().inner();
    let shape = state.dims();
    let states = state.shape().num_elements();
    let mut parameters = Flatten::new(None);
    field.module().visit(&mut parameters);
    let total = states + parameters.count;
    let zero = || Tensor::<1>::zeros([total], (&state.device(), state.dtype()));
    let padded = |gradient: Tensor<D>| {
        let rest = Tensor::zeros([parameters.count], (&state.device(), state.dtype()));
        Tensor::cat(vec![gradient.reshape([states]), rest], 0)
    };
    let mut now = outputs.end.map_or_else(zero, padded);
    // Where the solution jumps, the last first.
    let times: Vec<f64> = (solution.saved_in.iter())
        .map(|(step, theta)| solution.taken[*step].t + theta * solution.taken[*step].dt)
        .collect();
    let mut jumps = outputs.saved.into_iter().zip(times).rev().peekable();
    let (mut t, mut evaluations) = (end, 0);
    let problem = std::cell::RefCell::new(None);
    loop {
        while let Some((gradient, _)) = jumps.next_if(|(_, time)| *time >= t) {
            now = combine(&[(1.0, &now), (1.0, &padded(gradient))]);
        }
        if t <= start {
            break;
        }
        let next = jumps.peek().map_or(start, |(_, time)| time.max(start));
        let from = t;
        let backward = Function(|y: Tensor<1>, elapsed: f64| {
            let time = (from - elapsed).clamp(start, end);
            let place = match solution.at(field, time) {
                Ok(place) => place,
                Err(error) => {
                    problem.borrow_mut().get_or_insert(error);
                    return y.zeros_like();
                }
            };
            let slope = field.slope(&place, &[], time);
            let stage = Stages {
                from: &place,
                t: time,
                dt: 0.0,
                slopes: std::slice::from_ref(&slope),
            };
            let mut sum = field.zero();
            let adjoint = y.narrow(0, 0, states).reshape(shape);
            let cotangent = [Cotangent::slope(adjoint)];
            let by_state = field.pull_back(&stage, &cotangent, 0, &mut sum);
            let mut flat = Flatten::new(Some(field.gradients(sum)));
            field.module().visit(&mut flat);
            let mut parts = vec![by_state.reshape([states])];
            parts.extend(flat.parts);
            Tensor::cat(parts, 0)
        });
        let solved = solver.solve(&backward, now, [0.0, from - next], Request::default());
        if let Some(error) = problem.borrow_mut().take() {
            return Err(error);
        }
        let solved = solved?;
        evaluations += solved.evaluations();
        now = solved.end;
        t = next;
    }
    let first = now.clone().narrow(0, 0, states).reshape(shape);
    let mut unflatten = Unflatten {
        flat: now.narrow(0, states, total - states),
        at: 0,
        gradients: GradientsParams::new(),
    };
    field.module().visit(&mut unflatten);
    Ok((first, unflatten.gradients, evaluations))
}

/// Gradients of all parameters in a row, zeros where there is none.
struct Flatten {
    gradients: Option<GradientsParams>,
    parts: Vec<Tensor<1>>,
    count: usize,
}

impl Flatten {
    fn new(gradients: Option<GradientsParams>) -> Self {
        Self {
            gradients,
            parts: Vec::new(),
            count: 0,
        }
    }
}

impl ModuleVisitor for Flatten {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let len = param.lazy_shape().num_elements();
        self.count += len;
        if let Some(gradients) = &mut self.gradients {
            let part = match gradients.remove::<D>(param.id) {
                Some(gradient) => gradient.inner().reshape([len]),
                None => param.val().inner().zeros_like().reshape([len]),
            };
            self.parts.push(part);
        }
    }
}

struct Unflatten {
    flat: Tensor<1>,
    at: usize,
    gradients: GradientsParams,
}

impl ModuleVisitor for Unflatten {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape();
        let len = shape.num_elements();
        let part = self.flat.clone().narrow(0, self.at, len);
        self.gradients.register::<D>(param.id, part.reshape(shape));
        self.at += len;
    }
}
