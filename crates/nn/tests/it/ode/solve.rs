use super::{apart, device, largest, state};
use burn::tensor::{DType, Tensor};
use menagerie_nn::ode::{
    Field, Function, Keep, Request, Step, Tolerance, Tsit5, combine, plain, rms, scaled_rms,
    tanh_slope, tanh_sum,
};

/// `du/dt = -3 u + t`, of which `u = c e^(-3t) + t/3 - 1/9`.
fn linear() -> Function<impl Fn(Tensor<2>, f64) -> Tensor<2>> {
    Function(|u: Tensor<2>, t: f64| u * -3.0 + t)
}

fn solution(u: Tensor<2>, t: f64) -> Tensor<2> {
    (u + 1.0 / 9.0) * (-3.0 * t).exp() + (t / 3.0 - 1.0 / 9.0)
}

#[test]
fn closed_forms_are_met_within_the_tolerance() {
    let u = state(4, 3, &device());
    for tolerance in [1e-4, 1e-7, 1e-10] {
        let solver = Tsit5::with_both(tolerance);
        let request = Request {
            save_at: &[0.0, 0.3, 1.1, 2.0],
            ..Request::default()
        };
        let found = solver
            .solve(&linear(), u.clone(), [0.0, 2.0], request)
            .unwrap();
        for (time, place) in request.save_at.iter().zip(&found.saved) {
            let error = largest(place.clone() - solution(u.clone(), *time));
            assert!(error < 20.0 * tolerance, "{tolerance} at {time}: {error}");
        }
        assert_eq!(apart(found.saved[3].clone(), found.end.clone()), 0.0);
        assert_eq!(found.evaluations(), 3 + 6 * found.attempts.len());
        // Saved times do not change the steps.
        let plain = solver.solve(&linear(), u.clone(), [0.0, 2.0], Request::default());
        assert_eq!(plain.unwrap().attempts, found.attempts);
    }
}

#[test]
fn the_method_is_of_fifth_order_and_its_dense_output_of_fourth() {
    // u' = u cos t, u = e^(sin t): not linear in time.
    let field = Function(|u: Tensor<2>, t: f64| u * t.cos());
    let u = Tensor::ones([1, 1], (&device(), DType::F64));
    let run = |steps: usize| {
        let dt = 1.0 / steps as f64;
        let mut place = u.clone();
        let mut between: f64 = 0.0;
        for at in 0..steps {
            let t = at as f64 * dt;
            let slope = field.slope(&place, &[], t);
            let step = Step::take(&field, &place, slope, t, dt);
            let weights = menagerie_nn::ode::tableau::dense(0.6);
            let terms: Vec<_> = weights
                .iter()
                .zip(&step.slopes)
                .map(|(weight, slope)| (weight * dt, slope))
                .collect();
            let half = field.moved(&place, &terms);
            let exact = (t + 0.6 * dt).sin().exp();
            between = between.max(largest(half - exact));
            place = step.to;
        }
        (largest(place - 1f64.sin().exp()), between)
    };
    let errors = [4, 8, 16, 32].map(run);
    for pair in errors.windows(2) {
        let order = (pair[0].0 / pair[1].0).log2();
        assert!((order - 5.0).abs() < 0.5, "{order} of {errors:?}");
        let order = (pair[0].1 / pair[1].1).log2();
        assert!(order > 3.8, "dense {order} of {errors:?}");
    }
}

#[test]
fn tighter_tolerances_take_more_steps_and_stiffness_is_seen() {
    let u = state(2, 2, &device());
    let count = |tolerance: f64, rate: f64| {
        let field = Function(move |u: Tensor<2>, t: f64| u * -rate + t.sin());
        let request = Request {
            stiffness: true,
            ..Request::default()
        };
        let solver = Tsit5::with_both(tolerance);
        let found = solver
            .solve(&field, u.clone(), [0.0, 3.0], request)
            .unwrap();
        let stiff = found.accepted().filter_map(|step| step.stiffness);
        (found.evaluations(), stiff.fold(0.0, f64::max))
    };
    assert!(count(1e-9, 1.0).0 > count(1e-4, 1.0).0);
    // A decay of 1000 is solved at the stability limit.
    let (evaluations, stiffness) = count(1e-4, 1e3);
    assert!(evaluations > 10 * count(1e-4, 1.0).0);
    assert!(stiffness > 50.0, "{stiffness}");
}

#[test]
fn a_batch_shares_its_steps() {
    let u = state(5, 3, &device());
    let solver = Tsit5::with_both(1e-6);
    let field = Function(|u: Tensor<2>, _: f64| u.clone() * (u.square() * -1.0 + 1.0));
    let solve = |u: Tensor<2>| {
        solver
            .solve(&field, u, [0.0, 5.0], Request::default())
            .unwrap()
    };
    let all = solve(u.clone());
    // Every element is a closed form of its own: u = c e^t / √(1 + c² (e^2t - 1)).
    let growth = 5f64.exp();
    let root = (u.clone().square() * (growth * growth - 1.0) + 1.0).sqrt();
    assert!(largest(all.end - u.clone() * growth / root) < 1e-4);
    // The same rows twice change nothing; half of the elements at rest does.
    assert_eq!(
        solve(Tensor::cat(vec![u.clone(), u.clone()], 0))
            .attempts
            .len(),
        all.attempts.len()
    );
}

#[test]
fn states_of_higher_rank_and_single_precision_are_solved() {
    let device = device();
    let u = crate::tensor::<4>(2, [2, 3, 4, 4], &device, DType::F32);
    let field = Function(|u: Tensor<4>, _: f64| u * -1.0);
    let solver = Tsit5::with_both(1e-5);
    let found = solver
        .solve(&field, u.clone(), [0.0, 1.0], Request::default())
        .unwrap();
    assert_eq!(found.end.dtype(), DType::F32);
    assert!(largest(found.end - u * (-1f64).exp()) < 1e-4);
}

#[test]
fn kept_slopes_give_every_time() {
    let u = state(2, 2, &device());
    let solver = Tsit5::with_both(1e-8);
    let request = Request {
        keep: Keep::Slopes,
        ..Request::default()
    };
    let found = solver
        .solve(&linear(), u.clone(), [0.0, 2.0], request)
        .unwrap();
    for time in [0.0, 1e-9, 0.77, 1.3, 2.0] {
        let place = found.at(&linear(), time).unwrap();
        assert!(largest(place - solution(u.clone(), time)) < 1e-6, "{time}");
    }
}

#[test]
fn one_pass_is_the_plain_form() {
    let device = device();
    for dtype in [DType::F32, DType::F64] {
        let near = if dtype == DType::F32 { 1e-5 } else { 1e-12 };
        let terms: Vec<Tensor<2>> = (1..6)
            .map(|seed| crate::tensor(seed, [37, 700], &device, dtype))
            .collect();
        let all: Vec<&Tensor<2>> = terms.iter().collect();
        let scales = [1.0, -0.3, 0.0, 2.5, 0.125];
        let pairs: Vec<_> = scales.iter().copied().zip(all.iter().copied()).collect();
        let sum = plain(&scales, &all);
        assert!(apart(combine(&pairs), sum.clone()) < near);

        let tolerance = Tolerance::new(0.1, 0.5);
        let largest = terms[0].clone().abs().max_pair(terms[1].clone().abs());
        let expected = sum.clone() / (largest * 0.5 + 0.1);
        let root = |x: Tensor<2>| crate::values(x.square().mean().sqrt())[0];
        let found = scaled_rms(&pairs, [&terms[0], &terms[1]], tolerance);
        assert!((found / root(expected) - 1.0).abs() < near);
        assert!((rms(&pairs) / root(sum.clone()) - 1.0).abs() < near);

        let row = crate::tensor::<2>(8, [1, 700], &device, dtype);
        let y = tanh_sum(&pairs, &row, &[1.0, 0.25]);
        assert_eq!(y.dims(), [37, 702]);
        let expected = (sum.clone() + row).tanh();
        let inner = y.clone().slice([0..37, 0..700]);
        assert!(apart(inner, expected.clone()) < near);
        let extra = y.clone().slice([0..37, 700..702]);
        assert_eq!(crate::values(extra)[..4], [1.0, 0.25, 1.0, 0.25]);
        let slope = tanh_slope(&pairs, &y);
        let expected = sum * (expected.square() * -1.0 + 1.0);
        assert!(apart(slope, expected) < near);
        // Views are read as what they show.
        let turned = [terms[0].clone().transpose(), terms[1].clone().transpose()];
        let found = combine(&[(1.0, &turned[0]), (2.0, &turned[1])]);
        let expected = (terms[0].clone() + terms[1].clone() * 2.0).transpose();
        assert!(apart(found, expected) < near);
    }
}
