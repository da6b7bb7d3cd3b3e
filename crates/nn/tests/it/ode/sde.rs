use super::{Swirl, apart, device, largest, state};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{DType, Tensor};
use menagerie_core::Seed;
use menagerie_nn::ode::{Brownian, Increment, Keep, Outputs, Sosri};

const DRIFT: f64 = 0.6;
const NOISE: f64 = 0.8;

fn ones(count: usize) -> Tensor<2> {
    Tensor::ones([count, 1], (&device(), DType::F64))
}

/// Geometric Brownian motion at time 1, `exp(μ - σ²/2 + σ W)`, in steps of equal size along one fine
/// path: the strong error.
fn strong_error(steps: usize, fine: &[Increment<2>]) -> f64 {
    let solver = Sosri::with_both(1e-3);
    let per = fine.len() / steps;
    let count = fine[0].dw.dims()[0];
    let (mut u, mut w) = (ones(count), ones(count) * 0.0);
    for (at, parts) in fine.chunks(per).enumerate() {
        let sum = |of: fn(&Increment<2>) -> &Tensor<2>| {
            let parts = parts.iter().map(|part| of(part).clone());
            parts.reduce(|a, b| a + b).unwrap()
        };
        let dt: f64 = parts.iter().map(|part| part.dt).sum();
        // The auxiliary motion of a long step: √3 (2/dt ∫ W - W) of the short steps' own.
        let dw = sum(|part| &part.dw);
        let mut area = ones(count) * 0.0;
        let mut so_far = ones(count) * 0.0;
        for part in parts {
            let own = (part.dw.clone() + part.dz.clone() / 3f64.sqrt()) * (part.dt / 2.0);
            area = area + so_far.clone() * part.dt + own;
            so_far = so_far + part.dw.clone();
        }
        let dz = (area * (2.0 / dt) - dw.clone()) * 3f64.sqrt();
        let increment = Increment {
            dt,
            dw: dw.clone(),
            dz,
        };
        let t = at as f64 * dt;
        let drift = |u: Tensor<2>, _: f64| u * DRIFT;
        let diffusion = |u: Tensor<2>, _: f64| u * NOISE;
        u = solver.step(drift, diffusion, &u, t, &increment).to;
        w = w + dw;
    }
    let exact = (w * NOISE + (DRIFT - NOISE * NOISE / 2.0)).exp();
    crate::values((u - exact).square().mean().sqrt())[0]
}

#[test]
fn sosri_is_of_strong_order_one_and_a_half() {
    let paths = ones(400);
    let mut noise = Brownian::new(&paths, Seed(1));
    let fine: Vec<_> = (0..64).map(|_| noise.next(1.0 / 64.0)).collect();
    let errors = [4, 8, 16, 32].map(|steps| strong_error(steps, &fine));
    let order = (errors[0] / errors[3]).log2() / 3.0;
    assert!(order > 1.3, "{order} of {errors:?}");
}

#[test]
fn moments_of_a_geometric_brownian_motion_are_met() {
    let solver = Sosri::with_both(1e-3);
    let found = solver
        .solve(
            |u: Tensor<2>, _| u * DRIFT,
            |u: Tensor<2>, _| u * NOISE,
            ones(20_000),
            [0.0, 1.0],
            &[0.5],
            Keep::End,
            Seed(2),
        )
        .unwrap();
    assert_eq!(found.evaluations(), 2 + 4 * found.attempts.len());
    let mean = |x: Tensor<2>| crate::values(x.mean())[0];
    // E u = e^μt, within four standard deviations of the mean.
    for (u, t) in [(found.saved[0].clone(), 0.5), (found.end, 1.0)] {
        let expected = (DRIFT * t).exp();
        let deviation = expected * ((NOISE * NOISE * t).exp() - 1.0).sqrt() / 20_000f64.sqrt();
        assert!((mean(u.clone()) - expected).abs() < 4.0 * deviation);
        let logarithm = mean(u.log());
        let expected = (DRIFT - NOISE * NOISE / 2.0) * t;
        assert!((logarithm - expected).abs() < 4.0 * NOISE * (t / 20_000.0).sqrt());
    }
}

#[test]
fn rejected_steps_do_not_change_the_law() {
    // Noise that sets in between two steps of a size that suited what was before.
    let size = |t: f64| if t < 0.6 { 0.01 } else { 1.5 };
    let solver = Sosri::with_both(1e-2);
    let found = solver
        .solve(
            |u: Tensor<2>, _| u * DRIFT,
            |u: Tensor<2>, t| u * size(t),
            ones(5_000),
            [0.0, 1.0],
            &[],
            Keep::States,
            Seed(6),
        )
        .unwrap();
    assert!(found.attempts.iter().any(|attempt| !attempt.accepted));
    let whole: f64 = found.taken.iter().map(|taken| taken.increment.dt).sum();
    assert!((whole - 1.0).abs() < 1e-9);
    // ∫ σ dW over the path that was taken, whose variance is ∫ σ².
    let logarithm = found.end.log();
    let mean = crate::values(logarithm.clone().mean())[0];
    let variance = 0.6 * 0.01f64.powi(2) + 0.4 * 1.5f64.powi(2);
    let expected = DRIFT - variance / 2.0;
    assert!((mean - expected).abs() < 0.08, "{mean}, not {expected}");
    let found = crate::values((logarithm - mean).square().mean())[0];
    assert!(
        (found / variance - 1.0).abs() < 0.12,
        "{found}, not {variance}"
    );
}

#[test]
fn a_path_is_the_same_however_it_is_cut() {
    let paths = ones(4_000);
    let mut noise = Brownian::new(&paths, Seed(5));
    let whole = noise.next(1.0);
    noise.take_back(whole.clone());
    let parts = [0.25, 0.5, 0.125, 0.125].map(|dt| noise.next(dt));
    let sum = parts
        .iter()
        .map(|part| part.dw.clone())
        .reduce(|a, b| a + b);
    assert!(apart(sum.unwrap(), whole.dw) < 1e-12);
    let variance = |x: &Tensor<2>| crate::values(x.clone().square().mean())[0];
    for part in &parts {
        for x in [&part.dw, &part.dz] {
            assert!((variance(x) / part.dt - 1.0).abs() < 0.12);
        }
    }
    let product = crate::values((parts[0].dw.clone() * parts[1].dw.clone()).mean())[0];
    assert!(product.abs() < 0.03);
    // What was not taken back is new.
    let next = noise.next(0.5);
    assert!((variance(&next.dw) / 0.5 - 1.0).abs() < 0.12);
    let again = Brownian::new(&paths, Seed(5)).next(1.0);
    let first = Brownian::new(&paths, Seed(5)).next(1.0);
    assert_eq!(largest(again.dw - first.dw), 0.0);
}

#[test]
fn gradients_go_back_through_the_steps() {
    let device = device().autodiff();
    let drift = Swirl::new(3, &device);
    let u = state(4, 3, &device);
    let solver = Sosri::with_both(1e-2);
    let diffusion = |drift: &Swirl, u: Tensor<2>| u * drift.bias.val().unsqueeze() * 0.5;
    let plain = burn::module::Module::valid(&drift);
    let solution = solver
        .solve(
            |u, t| plain.forward(u, t),
            |u, _| diffusion(&plain, u),
            u.clone(),
            [0.0, 1.0],
            &[0.3],
            Keep::States,
            Seed(3),
        )
        .unwrap();
    let mut sum = GradientsAccumulator::new();
    let outputs = Outputs {
        end: Some(solution.end.clone() * 2.0),
        saved: vec![solution.saved[0].clone() * 2.0],
    };
    let first = solver.pull_back(
        &drift,
        |drift: &Swirl, u, t| drift.forward(u, t),
        |drift: &Swirl, u, _| diffusion(drift, u),
        &solution,
        outputs,
        &mut sum,
    );
    let found = sum.grads();

    let leaf = u.require_grad();
    let mut place = leaf.clone();
    let mut saved = None;
    for (at, taken) in solution.taken.iter().enumerate() {
        let step = solver.step(
            |u, t| drift.forward(u, t),
            |u, _| diffusion(&drift, u),
            &place,
            taken.t,
            &taken.increment,
        );
        let (step_of, theta) = solution.saved_in[0];
        if step_of == at {
            saved = Some(place.clone() * (1.0 - theta) + step.to.clone() * theta);
        }
        place = step.to;
    }
    assert_eq!(apart(place.clone(), solution.end), 0.0);
    let number = place.square().sum() + saved.unwrap().square().sum();
    let mut gradients = number.backward();
    let expected = leaf.grad_remove(&mut gradients).unwrap();
    assert!(apart(first.unwrap(), expected) < 1e-10);
    let expected = GradientsParams::from_grads(gradients, &drift);
    let id = drift.weight.id;
    let weights = (found.get::<2>(id).unwrap(), expected.get::<2>(id).unwrap());
    assert!(apart(weights.0, weights.1) < 1e-10);
    let id = drift.bias.id;
    let (found, expected) = (found.get::<1>(id).unwrap(), expected.get::<1>(id).unwrap());
    assert!(apart(found, expected) < 1e-10);
}
