use super::{Swirl, device, state, text};
use burn::tensor::Tensor;
use menagerie_core::Seed;
use menagerie_nn::ode::{
    Adjoint, Function, Keep, ModuleField, Outputs, Request, Sosri, Tolerance, Tsit5, continuous,
    discrete,
};

fn solve(solver: Tsit5, span: [f64; 2], save_at: &[f64]) -> String {
    let field = Function(|u: Tensor<2>, _: f64| u * -1.0);
    let request = Request {
        save_at,
        ..Request::default()
    };
    text(solver.solve(&field, state(2, 2, &device()), span, request))
}

#[test]
fn impossible_solves_are_refused() {
    let fine = Tsit5::with_both(1e-6);
    assert_eq!(
        solve(Tsit5::with_both(0.0), [0.0, 1.0], &[]),
        "Tolerance.absolute = 0.0: must be finite and above 0"
    );
    assert_eq!(
        solve(Tsit5::new(Tolerance::new(1e-6, -1.0)), [0.0, 1.0], &[]),
        "Tolerance.relative = -1.0: must be finite and above 0"
    );
    assert_eq!(
        solve(fine, [0.5, 0.5], &[]),
        "the time span is [0.5, 0.5]: must be finite and end after it starts"
    );
    assert_eq!(
        solve(fine, [1.0, f64::NAN], &[]),
        "the time span is [1.0, NaN]: must be finite and end after it starts"
    );
    assert_eq!(
        solve(fine, [0.0, 1.0], &[1.5]),
        "a time to save at is 1.5: must lie between 0 and 1"
    );
    assert_eq!(
        solve(fine, [0.0, 1.0], &[0.5, 0.2]),
        "the times to save at is [0.5, 0.2]: must be in ascending order"
    );
    assert_eq!(
        solve(fine.with_max_steps(0), [0.0, 1.0], &[]),
        "Tsit5.max_steps = 0: must be at least 1"
    );
    let error = solve(fine.with_max_steps(3), [0.0, 10.0], &[]);
    assert!(
        error.starts_with("the number of steps up to t = "),
        "{error}"
    );
    assert!(
        error.ends_with("is 3: is not enough to get from 0 to 10"),
        "{error}"
    );
}

#[test]
fn what_is_not_finite_is_refused() {
    let device = device();
    let solver = Tsit5::with_both(1e-6);
    let u = state(2, 2, &device);
    let run = |field: &dyn Fn(Tensor<2>, f64) -> Tensor<2>, u: Tensor<2>| {
        let field = Function(field);
        text(solver.solve(&field, u, [0.0, 2.0], Request::default()))
    };
    let error = run(&|u, _| u, u.clone() / 0.0);
    assert!(
        error.starts_with("the state, beside the tolerance at t = 0 is"),
        "{error}"
    );
    let error = run(&|u, _| u / 0.0, u.clone());
    assert!(
        error.starts_with("the slope, beside the tolerance at t = 0 is"),
        "{error}"
    );
    let error = run(&|u, t| u * if t > 0.5 { f64::NAN } else { 1.0 }, u.clone());
    assert!(
        error.starts_with("the error of the step at t = "),
        "{error}"
    );
    assert!(error.contains("must be finite"), "{error}");
    // u' = u² has grown beyond bounds at t = 1 / u.
    let error = run(&|u, _| u.clone() * u, u.abs() + 1.0);
    assert!(
        error.contains("is too small to move on") || error.contains("must be finite"),
        "{error}"
    );
}

#[test]
fn adjoints_need_what_they_need() {
    let device = device().autodiff();
    let swirl = Swirl::new(2, &device);
    let field = ModuleField::new(&swirl, |swirl: &Swirl, u, t| swirl.forward(u, t));
    let solver = Tsit5::with_both(1e-4);
    let u = state(2, 2, &device);
    let run = |keep| {
        let request = Request {
            save_at: &[0.5],
            keep,
            ..Request::default()
        };
        solver
            .solve(&field, u.clone(), [0.0, 1.0], request)
            .unwrap()
    };
    let mut sum = Adjoint::<2>::zero(&field);
    let solution = run(Keep::End);
    let outputs = Outputs::end(solution.end.clone());
    assert_eq!(
        text(discrete(&field, &solution, outputs.clone(), None, &mut sum)),
        "the steps of the solve is \"nothing\": must be kept to take gradients back: solve with \
         `Keep::States`"
    );
    let solution = run(Keep::States);
    assert_eq!(
        text(continuous(&solver, &field, &solution, outputs)),
        "the slopes of steps is \"nothing\": must be kept for dense output: solve with \
         `Keep::Slopes`"
    );
    let two = Outputs::saved(vec![solution.end.clone(), solution.end.clone()]);
    assert_eq!(
        text(discrete(&field, &solution, two, None, &mut sum)),
        "the number of gradients of saved states is 2: must be one for each of 1 states"
    );
}

#[test]
fn impossible_stochastic_solves_are_refused() {
    let u = state(2, 2, &device());
    let run = |solver: Sosri, span: [f64; 2], drift: f64| {
        text(solver.solve(
            |u, _| u * drift,
            |u, _| u * 0.1,
            u.clone(),
            span,
            &[],
            Keep::End,
            Seed(0),
        ))
    };
    let fine = Sosri::with_both(1e-3);
    assert_eq!(
        run(Sosri::with_both(-1.0), [0.0, 1.0], 1.0),
        "Tolerance.absolute = -1.0: must be finite and above 0"
    );
    assert_eq!(
        run(fine.with_drift_share(-1.0), [0.0, 1.0], 1.0),
        "Sosri.drift_share = -1.0: must be finite and not negative"
    );
    assert_eq!(
        run(fine, [1.0, 1.0], 1.0),
        "the time span is [1.0, 1.0]: must be finite and end after it starts"
    );
    let error = run(fine.with_max_steps(2), [0.0, 9.0], 1.0);
    assert!(
        error.ends_with("is 2: is not enough to get from 0 to 9"),
        "{error}"
    );
    let error = run(fine, [0.0, 1.0], f64::NAN);
    assert!(
        error.starts_with("drift or diffusion, beside the tolerance at t = 0"),
        "{error}"
    );
}
