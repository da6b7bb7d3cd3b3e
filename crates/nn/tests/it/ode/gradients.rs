use super::{Swirl, apart, device, state};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};
use menagerie_nn::ode::{
    Adjoint, Cotangent, Estimate, Field, Function, Keep, ModuleField, Outputs, Probe, Request,
    Stages, Step, Tsit5, combine, continuous, discrete, tableau,
};

fn number(x: Tensor<1>) -> f64 {
    crate::values(x)[0]
}

/// Gradients of weight and bias.
fn both(gradients: &GradientsParams, swirl: &Swirl) -> (Tensor<2>, Tensor<1>) {
    (
        gradients.get::<2>(swirl.weight.id).unwrap(),
        gradients.get::<1>(swirl.bias.id).unwrap(),
    )
}

const TIMES: [f64; 3] = [0.2, 0.55, 1.0];

/// A number of what a solve gives: of the end, and of states on the way.
fn number_of(end: Tensor<2>, saved: &[Tensor<2>]) -> Tensor<1> {
    let saved = saved.iter().enumerate();
    let terms = saved.map(|(at, u)| u.clone().sin().sum() * (at as f64 + 0.5));
    terms.fold(end.square().sum(), |sum, term| sum + term)
}

#[test]
fn a_sum_has_the_gradients_of_its_terms() {
    let device = device().autodiff();
    for dtype in [DType::F32, DType::F64] {
        let leaf = |seed| crate::tensor::<2>(seed, [3, 5], &device, dtype).require_grad();
        let terms: Vec<_> = (0..8).map(leaf).collect();
        let scales = [1.0, 0.5, -2.0, 0.25, 3.0, 1.5, -0.5, 0.0];
        let pairs: Vec<_> = scales.iter().copied().zip(&terms).collect();
        let gradients = combine(&pairs).square().sum().backward();
        let sum = combine(&pairs).inner();
        for (scale, term) in &pairs[..7] {
            let found = term.grad(&gradients).unwrap();
            assert!(apart(found, sum.clone() * 2.0 * *scale) < 1e-6);
        }
        assert!(terms[7].grad(&gradients).is_none());
        // One of them without autodiff.
        let constant = terms[1].clone().inner();
        let found = combine(&[(2.0, &terms[0]), (1.0, &constant)])
            .sum()
            .backward();
        let expected = Tensor::ones_like(&constant) * 2.0;
        assert_eq!(apart(terms[0].grad(&found).unwrap(), expected), 0.0);
    }
}

#[test]
fn the_discrete_adjoint_is_backpropagation_through_the_steps() {
    let device = device().autodiff();
    let swirl = Swirl::new(3, &device);
    let u = state(4, 3, &device);
    let solver = Tsit5::with_both(1e-5);
    let request = |keep| Request {
        save_at: &TIMES,
        keep,
        ..Request::default()
    };

    // Everything recorded.
    let leaf = u.clone().require_grad();
    let field = Function(|u, t| swirl.forward(u, t));
    let whole = solver
        .solve(&field, leaf.clone(), [0.0, 1.0], request(Keep::End))
        .unwrap();
    let mut gradients = number_of(whole.end.clone(), &whole.saved).backward();
    let by_start = leaf.grad_remove(&mut gradients).unwrap();
    let expected = both(&GradientsParams::from_grads(gradients, &swirl), &swirl);

    let field = ModuleField::new(&swirl, |swirl: &Swirl, u, t| swirl.forward(u, t));
    for keep in [Keep::States, Keep::Slopes] {
        let solution = solver
            .solve(&field, u.clone(), [0.0, 1.0], request(keep))
            .unwrap();
        assert_eq!(solution.attempts.len(), whole.attempts.len());
        assert!(solution.attempts.len() > 3);
        let mut sum = Adjoint::<2>::zero(&field);
        let first = discrete(
            &field,
            &solution,
            outputs(&solution.end, &solution.saved),
            None,
            &mut sum,
        );
        assert!(apart(first.unwrap(), by_start.clone()) < 1e-10);
        let found = both(&Adjoint::<2>::gradients(&field, sum), &swirl);
        assert!(apart(found.0, expected.0.clone()) < 1e-10);
        assert!(apart(found.1, expected.1.clone()) < 1e-10);
    }

    // The equation's own gradients are those of the steps up to the tolerance.
    let tight = Tsit5::with_both(1e-9);
    let solution = tight
        .solve(&field, u.clone(), [0.0, 1.0], request(Keep::Slopes))
        .unwrap();
    let outputs = outputs(&solution.end, &solution.saved);
    let (first, gradients, evaluations) = continuous(&tight, &field, &solution, outputs).unwrap();
    assert!(evaluations > 20);
    assert!(apart(first, by_start) < 1e-4);
    let found = both(&gradients, &swirl);
    assert!(apart(found.0, expected.0) < 1e-4);
    assert!(apart(found.1, expected.1) < 1e-4);
}

/// The gradients of [`number_of`].
fn outputs(end: &Tensor<2>, saved: &[Tensor<2>]) -> Outputs<2> {
    let saved = saved.iter().enumerate();
    Outputs {
        end: Some(end.clone() * 2.0),
        saved: saved
            .map(|(at, u)| u.clone().cos() * (at as f64 + 0.5))
            .collect(),
    }
}

#[test]
fn a_step_takes_gradients_of_every_sum_back() {
    let device = device().autodiff();
    let swirl = Swirl::new(3, &device);
    let u = state(2, 3, &device);
    let weights: [f64; 7] = std::array::from_fn(|at| 0.3 - 0.1 * at as f64);
    let run = Function(|u, t| swirl.forward(u, t));
    let leaf = u.clone().require_grad();
    let slope = swirl.forward(leaf.clone(), 0.1);
    let step = Step::take(&run, &leaf, slope, 0.1, 0.4);
    let terms: Vec<_> = weights.iter().copied().zip(&step.slopes).collect();
    let value = (combine(&terms) + leaf.clone() * 0.7).sin().sum();
    let at = combine(&terms).inner() + leaf.clone().inner() * 0.7;
    let mut gradients = value.backward();
    let expected = leaf.grad_remove(&mut gradients).unwrap();
    let parameters = both(&GradientsParams::from_grads(gradients, &swirl), &swirl);

    let field = ModuleField::new(&swirl, |swirl: &Swirl, u, t| swirl.forward(u, t));
    let slopes: Vec<_> = step
        .slopes
        .iter()
        .map(|slope| slope.clone().inner())
        .collect();
    let from = u.inner();
    let stages = Stages {
        from: &from,
        t: 0.1,
        dt: 0.4,
        slopes: &slopes,
    };
    let cotangent = Cotangent {
        value: at.cos(),
        state: 0.7,
        slopes: weights,
    };
    let mut sum = Adjoint::<2>::zero(&field);
    let found = field.pull_back(&stages, &[cotangent], 0, &mut sum);
    assert!(apart(found, expected) < 1e-12);
    let found = both(&Adjoint::<2>::gradients(&field, sum), &swirl);
    assert!(apart(found.0, parameters.0) < 1e-12);
    assert!(apart(found.1, parameters.1) < 1e-12);
}

/// The estimates written on recorded operations, of one step with a given first slope.
fn recorded(
    estimate: Estimate,
    swirl: &Swirl,
    u: &Tensor<2>,
    first: Tensor<2>,
    [t, dt]: [f64; 2],
    solver: &Tsit5,
) -> Tensor<1> {
    let field = Function(|u, t| swirl.forward(u, t));
    let step = Step::take(&field, u, first, t, dt);
    let norm = |x: Tensor<2>| x.square().mean().sqrt();
    match estimate {
        Estimate::Error => {
            let error = combine(&step.error_terms());
            let tolerance = solver.tolerance;
            let largest = u.clone().abs().max_pair(step.to.abs());
            norm(error / (largest * tolerance.relative + tolerance.absolute)) * dt
        }
        Estimate::Stiffness { floor } => {
            let [slopes, states] = step.stiff_parts(&field);
            // A product: Burn's gradient of a quotient by a number is in single precision.
            norm(slopes) / (norm(states) + floor) * (1.0 / tableau::STABILITY)
        }
    }
}

#[test]
fn estimates_have_the_gradients_of_their_formulas() {
    let device = device().autodiff();
    let swirl = Swirl::new(3, &device);
    let u = state(4, 3, &device);
    let solver = Tsit5::with_both(1e-3);
    let field = ModuleField::new(&swirl, |swirl: &Swirl, u, t| swirl.forward(u, t));
    let from = u.clone().inner();
    let automatic = Probe::take(&solver, &field, from.clone(), [0.2, 1.0]).unwrap();
    let (slope, dt) = (field.slope(&from, &[], 0.2), automatic.step.dt);
    let first = solver
        .first_step(&field, &from, &slope, [0.2, 1.0])
        .unwrap();
    assert_eq!(dt, first);
    // The automatic step is short: sums of slopes lose half of their digits. A long one does not.
    let probe = Probe {
        step: Step::take(&field, &from, slope, 0.2, 0.5),
        from,
    };
    let step = [probe.step.t, probe.step.dt];
    let stiffness = |floor| Estimate::Stiffness { floor };
    for estimate in [Estimate::Error, stiffness(0.0), stiffness(1e-3)] {
        let value = estimate.of(&field, &probe.from, &probe.step, solver.tolerance);
        let mut norms = Vec::new();
        for whole in [true, false] {
            let first = swirl.forward(u.clone(), 0.2);
            let first = if whole { first } else { first.detach() };
            let expected = recorded(estimate, &swirl, &u, first, step, &solver);
            assert!((number(expected.clone()) / value - 1.0).abs() < 1e-9);
            let expected = GradientsParams::from_grads((expected * 3.0).backward(), &swirl);
            let expected = both(&expected, &swirl);
            let mut sum = Adjoint::<2>::zero(&field);
            probe.pull_back(estimate, &field, solver.tolerance, 3.0, whole, &mut sum);
            let found = both(&Adjoint::<2>::gradients(&field, sum), &swirl);
            let off = apart(found.0.clone(), expected.0).max(apart(found.1, expected.1));
            assert!(off < 1e-10, "{estimate:?}, {whole}: {off}");
            norms.push(crate::values(found.0.square().sum())[0].sqrt());
        }
        // A constant first stage makes another gradient, for the error a far larger one.
        let ratio = norms[1] / norms[0];
        assert!((ratio - 1.0).abs() > 0.05, "{ratio}");
        if estimate == Estimate::Error {
            // The shorter the step, the more of the gradient cancels.
            let norm = |whole: bool| {
                let mut sum = Adjoint::<2>::zero(&field);
                automatic.pull_back(estimate, &field, solver.tolerance, 3.0, whole, &mut sum);
                let found = both(&Adjoint::<2>::gradients(&field, sum), &swirl);
                crate::values(found.0.square().sum())[0].sqrt()
            };
            let short = norm(false) / norm(true);
            assert!(ratio > 2.0 && short > 2.0 * ratio, "{ratio}, {short}");
        }
    }
}

#[test]
fn a_global_error_is_differentiated_through_all_steps() {
    let device = device().autodiff();
    let swirl = Swirl::new(3, &device);
    let u = state(4, 3, &device);
    let solver = Tsit5::with_both(1e-4);
    let field = ModuleField::new(&swirl, |swirl: &Swirl, u, t| swirl.forward(u, t));
    let request = Request {
        keep: Keep::States,
        ..Request::default()
    };
    let solution = solver
        .solve(&field, u.clone(), [0.0, 1.0], request)
        .unwrap();
    let extra = |_: usize, step: &Step<_, _>, from: &Tensor<2>| -> Vec<Cotangent<2>> {
        Estimate::Error.cotangents(&field, from, step, solver.tolerance, 2.0)
    };
    let mut sum = Adjoint::<2>::zero(&field);
    let outputs = Outputs::saved(Vec::new());
    discrete(&field, &solution, outputs, Some(&extra), &mut sum).unwrap();
    let found = both(&Adjoint::<2>::gradients(&field, sum), &swirl);

    let mut place = u.clone();
    let mut total: Option<Tensor<1>> = None;
    let run = Function(|u, t| swirl.forward(u, t));
    for taken in &solution.taken {
        let first = swirl.forward(place.clone(), taken.t);
        let value = recorded(
            Estimate::Error,
            &swirl,
            &place,
            first.clone(),
            [taken.t, taken.dt],
            &solver,
        );
        total = Some(total.map_or(value.clone(), |total| total + value));
        place = Step::take(&run, &place, first, taken.t, taken.dt).to;
    }
    let total = total.unwrap();
    assert!((number(total.clone()) / solution.error_sum() - 1.0).abs() < 1e-9);
    let expected = GradientsParams::from_grads((total * 2.0).backward(), &swirl);
    let expected = both(&expected, &swirl);
    assert!(apart(found.0, expected.0) < 1e-8);
    assert!(apart(found.1, expected.1) < 1e-8);
    assert_eq!(swirl.num_params(), 12);
}
