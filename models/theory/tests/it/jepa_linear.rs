//! jepa-linear: counts, the closed form, simulations, orders, sources, weights, refusals.

mod refusals;
mod training;

use crate::device;
use burn::module::Module;
use menagerie_core::Seed;
use menagerie_theory::jepa_linear::{
    Chain, Covariances, Direction, DynamicsConfig, Feature, JepaLinearConfig, Kind, Method, Source,
    amplitude_at, critical_time, draw_pairs, draw_rotation, fixed_point, integrate, leading_time,
    learning_order, simulate, trajectory, velocity,
};

const KINDS: [Kind; 2] = [Kind::Jepa, Kind::Mae];

fn feature(lambda: f64, rho: f64) -> Feature {
    Feature::new(lambda, rho).unwrap()
}

/// The card's features A to D.
fn features() -> [Feature; 4] {
    [(1.0, 0.9), (1.0, 0.5), (0.6, 0.9), (1.2, 0.6)].map(|(lambda, rho)| feature(lambda, rho))
}

#[test]
fn networks_have_the_parameters_of_their_sizes() {
    let device = device();
    // L layers and a head of 4 · 4.
    for (layers, expected) in [(1, 32), (2, 48), (3, 64), (5, 96)] {
        for kind in KINDS {
            let model = JepaLinearConfig::square(kind, 4, layers)
                .init(&device)
                .unwrap();
            assert_eq!(model.num_params(), expected);
        }
    }
    let count = |kind| {
        let config = JepaLinearConfig::new(kind, 6, 4, 3);
        config.init(&device).unwrap().num_params()
    };
    assert_eq!(
        (count(Kind::Jepa), count(Kind::Mae)),
        (24 + 32 + 16, 24 + 32 + 24)
    );
}

#[test]
fn half_times_are_those_that_were_published_with_the_card() {
    let half = |law: &DynamicsConfig| features().map(|f| critical_time(law, f, 0.5).unwrap());
    let near = |found: [f64; 4], expected: [f64; 4]| {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 5e-3, "{found} {expected}");
        }
    };
    near(
        half(&DynamicsConfig::deep(Kind::Jepa)),
        [620.0, 881.0, 1034.0, 647.0],
    );
    near(
        half(&DynamicsConfig::deep(Kind::Mae)),
        [10.3, 10.1, 17.2, 8.49],
    );
    let [a, b, ..] = half(&DynamicsConfig::single(Kind::Jepa));
    near([a, b, 1.0, 1.0], [10.09, 8.77, 1.0, 1.0]);
}

#[test]
fn the_closed_form_is_the_integral_of_the_equation() {
    for kind in KINDS {
        for layers in [1, 2, 3, 5] {
            for rho in [0.4, 0.9, 1.3] {
                let law = DynamicsConfig::new(kind, layers, 1e-3);
                let feature = feature(0.7, rho);
                let end = fixed_point(&law, feature);
                // Simpson's rule on the logarithm of the amplitude, which the flow starts low in.
                let (from, to) = (1e-3_f64.ln(), (0.95 * end).ln());
                let count = 4_000;
                let h = (to - from) / count as f64;
                let sum: f64 = (0..=count)
                    .map(|at| {
                        let weight = match at {
                            0 => 1.0,
                            at if at == count => 1.0,
                            at if at % 2 == 1 => 4.0,
                            _ => 2.0,
                        };
                        let amplitude = (from + h * at as f64).exp();
                        weight * amplitude / velocity(&law, feature, amplitude)
                    })
                    .sum();
                let (found, expected) =
                    (critical_time(&law, feature, 0.95).unwrap(), sum * h / 3.0);
                assert!(
                    (found / expected - 1.0).abs() < 1e-7,
                    "{kind:?} {layers} {rho}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn amplitudes_invert_times_and_approach_fixed_points_from_both_sides() {
    for kind in KINDS {
        for layers in [1, 3] {
            let law = DynamicsConfig::new(kind, layers, 0.02);
            let feature = feature(1.1, 0.7);
            let end = fixed_point(&law, feature);
            assert!((amplitude_at(&law, feature, 0.0).unwrap() - 0.02).abs() < 1e-12);
            for p in [0.3, 0.5, 0.99] {
                let time = critical_time(&law, feature, p).unwrap();
                assert!((amplitude_at(&law, feature, time).unwrap() / end - p).abs() < 1e-9);
            }
            assert!(velocity(&law, feature, end).abs() < 1e-12);
            let above = DynamicsConfig::new(kind, layers, 0.95);
            let path = trajectory(&above, feature, &[0.0, 1.0, 5.0, 500.0]).unwrap();
            assert!(path.windows(2).all(|pair| pair[1] < pair[0]), "{path:?}");
            let same = integrate(&above, feature, &[0.0, 1.0, 5.0, 500.0], 0.01).unwrap();
            for (a, b) in path.iter().zip(same) {
                assert!((a - b).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn leading_terms_hold_for_small_starts() {
    let off = |law: &DynamicsConfig| {
        let time = critical_time(law, feature(1.0, 0.8), 0.5).unwrap();
        (leading_time(law, feature(1.0, 0.8)) / time - 1.0).abs()
    };
    for kind in KINDS {
        for layers in [1, 2, 3] {
            let law = |epsilon| DynamicsConfig::new(kind, layers, epsilon);
            assert!(off(&law(1e-8)) < off(&law(1e-4)), "{kind:?} {layers}");
        }
    }
    // The ratio of two features of equal λ: 1 + (2L−1)/(2L−2) (1/ρ − 1/ρ') ε^{1/L}.
    let law = DynamicsConfig::new(Kind::Jepa, 3, 1e-12);
    let time = |rho| critical_time(&law, feature(1.0, rho), 0.5).unwrap();
    let expected = 1.0 + 5.0 / 4.0 * (2.0 - 1.0 / 0.9) * 1e-4;
    assert!((time(0.5) / time(0.9) - expected).abs() < 1e-7);
}

#[test]
fn matrices_follow_the_closed_form() {
    for (law, span) in [
        (DynamicsConfig::single(Kind::Jepa), 60.0),
        (DynamicsConfig::single(Kind::Mae), 16.0),
        (DynamicsConfig::deep(Kind::Jepa), 1_500.0),
        (DynamicsConfig::deep(Kind::Mae), 40.0),
    ] {
        let config = JepaLinearConfig::square(law.kind, 4, law.layers);
        let chain = Chain::balanced(&config, law.epsilon, Seed(3)).unwrap();
        let times: Vec<f64> = (0..=10).map(|at| span * f64::from(at) / 10.0).collect();
        let covariances = Covariances::diagonal(&features());
        let method = Method::RungeKutta;
        let history = simulate(&chain, &covariances, &times, method, span / 4_000.0).unwrap();
        let amplitudes = history.amplitudes(&Direction::axes(&features())).unwrap();
        for (values, feature) in amplitudes.iter().zip(features()) {
            let expected = trajectory(&law, feature, &times).unwrap();
            for (a, b) in values.iter().zip(expected) {
                assert!((a - b).abs() < 1e-7, "{law:?} {a} {b}");
            }
        }
    }
}

#[test]
fn without_stop_gradient_the_encoder_collapses() {
    // The loss from covariances with its own Σyy falls below what the fixed point leaves over only
    // where the target may shrink: the gradient that is used must not be that of the whole loss.
    let config = JepaLinearConfig::square(Kind::Jepa, 2, 1);
    let chain = Chain::balanced(&config, 0.5, Seed(0)).unwrap();
    let covariances = Covariances::diagonal(&[feature(1.0, 0.9), feature(1.0, 0.5)]);
    let ours = covariances.gradients(&chain).layers[0].clone();
    let whole = |h: f64| {
        let mut moved = chain.clone();
        let mut values = moved.layers[0].values().to_vec();
        values[0] += h;
        moved.layers[0] = menagerie_theory::jepa_linear::Matrix::new(2, 2, values).unwrap();
        covariances.loss(&moved)
    };
    let numeric = (whole(1e-5) - whole(-1e-5)) / 2e-5;
    // T = W̄ as well: the whole gradient has Σyy and V Σxy more, the stopped one has not.
    let (v, w, sigma) = (0.5, 0.5, 1.0 / 0.9);
    assert!((numeric - (v * v * w * sigma - 2.0 * v * w + w * sigma)).abs() < 1e-6);
    assert!((ours.at(0, 0) - (v * v * w * sigma - v * w)).abs() < 1e-12);
}

#[test]
fn jepa_learns_by_regression_and_mae_by_covariance() {
    let order = |kind, span: f64| {
        let law = DynamicsConfig::deep(kind);
        let config = JepaLinearConfig::square(kind, 4, 3);
        let chain = Chain::balanced(&config, law.epsilon, Seed(1)).unwrap();
        let times: Vec<f64> = (0..=400).map(|at| span * f64::from(at) / 400.0).collect();
        let covariances = Covariances::diagonal(&features());
        let step = span / 2_000.0;
        let history = simulate(&chain, &covariances, &times, Method::RungeKutta, step).unwrap();
        let targets = features().map(|feature| 0.5 * fixed_point(&law, feature));
        learning_order(&history, &Direction::axes(&features()), &targets).unwrap()
    };
    assert_eq!(order(Kind::Jepa, 1_200.0), [0, 3, 1, 2]);
    assert_eq!(order(Kind::Mae, 30.0), [3, 1, 0, 2]);
    // What is not learned is left out.
    assert_eq!(order(Kind::Jepa, 700.0), [0, 3]);
}

#[test]
fn sources_have_the_features_that_they_say() {
    let sources = [
        Source::Static {
            signal: 1.2,
            noise: 0.8,
        },
        Source::Dynamic {
            signal: 1.5,
            persistence: 0.6,
            noise: 0.3,
        },
        Source::of(feature(1.0, 0.9)).unwrap(),
    ];
    let rotation = draw_rotation(3, Seed(5));
    let unit = rotation.times(&rotation.transpose());
    for row in 0..3 {
        for column in 0..3 {
            let expected = f64::from(u8::from(row == column));
            assert!((unit.at(row, column) - expected).abs() < 1e-12);
        }
    }
    let device = device();
    let [x, y] = draw_pairs(&sources, 40_000, Some(&rotation), Seed(9)).unwrap();
    let (x, y) = (x.tensor(&device), y.tensor(&device));
    let covariances = menagerie_theory::jepa_linear::fit_covariances(x, y).unwrap();
    let found = covariances.features().unwrap();
    // The largest ρ first: 0.9, 0.6, 0.5.
    for (found, at) in found.iter().zip([2, 0, 1]) {
        let expected = sources[at].feature().unwrap();
        assert!(
            (found.rho - expected.rho()).abs() < 0.03,
            "{found:?} {expected:?}"
        );
        assert!(
            (found.lambda / expected.lambda() - 1.0).abs() < 0.05,
            "{found:?} {expected:?}"
        );
        let along: f64 = (0..3)
            .map(|k| found.direction[k] * rotation.at(k, at))
            .sum();
        assert!(along.abs() > 0.98, "{along}");
    }
}
