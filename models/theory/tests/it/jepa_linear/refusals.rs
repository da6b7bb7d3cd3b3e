//! What is refused, and in which words.

use super::feature;
use crate::{device, text};
use burn::tensor::Tensor;
use menagerie_core::Seed;
use menagerie_theory::jepa_linear::{
    Chain, Covariances, Descent, DynamicsConfig, Feature, JepaLinearConfig, Kind, Matrix, Method,
    Source, TrainingConfig, amplitude_at, critical_time, draw_pairs, fit_covariances, integrate,
    simulate,
};

#[test]
fn impossible_features_and_laws_are_refused() {
    assert_eq!(
        text(Feature::new(0.0, 0.9)),
        "lambda is 0.0: must be finite and above 0: such a feature is never learned"
    );
    assert_eq!(
        text(Feature::new(1.0, -0.1)),
        "rho is -0.1: must be finite and above 0: such a feature is never learned"
    );
    assert_eq!(
        text(DynamicsConfig::new(Kind::Jepa, 0, 0.1).validate()),
        "DynamicsConfig.layers = 0: must be at least 1"
    );
    assert_eq!(
        text(DynamicsConfig::new(Kind::Mae, 2, 1.0).validate()),
        "DynamicsConfig.epsilon = 1.0: must lie between 0 and 1"
    );
    let law = DynamicsConfig::new(Kind::Jepa, 3, 0.1);
    assert_eq!(
        text(critical_time(&law, feature(1.0, 0.5), 0.5)),
        "epsilon is 0.1: must be below p times the fixed point, which is 6.25e-2"
    );
    assert_eq!(
        text(critical_time(&law, feature(1.0, 0.5), 1.0)),
        "the share p is 1.0: must lie between 0 and 1"
    );
    assert_eq!(
        text(amplitude_at(&law, feature(1.0, 0.5), f64::NAN)),
        "a time is NaN: must be finite and not negative"
    );
    assert_eq!(
        text(integrate(&law, feature(1.0, 0.5), &[2.0, 1.0], 0.1)),
        "a time is 1.0: must be finite and not before 2"
    );
    assert_eq!(
        text(integrate(&law, feature(1.0, 0.5), &[2.0], 0.0)),
        "the step is 0.0: must be finite and above 0"
    );
}

#[test]
fn impossible_networks_and_trainings_are_refused() {
    assert_eq!(
        text(JepaLinearConfig::new(Kind::Mae, 4, 0, 2).init(&device())),
        "JepaLinearConfig.width = 0: must be at least 1"
    );
    let config = JepaLinearConfig::new(Kind::Mae, 4, 3, 2);
    assert_eq!(
        text(Chain::balanced(&config, 0.1, Seed(0))),
        "JepaLinearConfig.width = 3: must be inputs, 4, for W̄ = ε I"
    );
    let square = JepaLinearConfig::square(Kind::Jepa, 2, 1);
    let layers = vec![Matrix::zeros(2, 2)];
    assert_eq!(
        text(Chain::new(&square, layers, Matrix::zeros(3, 2))),
        "the shape of the head is [3, 2]: must be [2, 2]"
    );
    assert_eq!(
        text(TrainingConfig::new(0.0).validate()),
        "TrainingConfig.span = 0.0: must be finite and above 0"
    );
    assert_eq!(
        text(TrainingConfig::new(9.0).with_steps(500).validate()),
        "TrainingConfig.steps = 500: must be at least 1000, for steps of a thousandth of the span"
    );
    let training = TrainingConfig::new(9.0);
    let covariances = Covariances::diagonal(&[feature(1.0, 0.5); 3]);
    assert_eq!(
        text(Descent::new(
            &square,
            &training,
            covariances.clone(),
            Vec::new()
        )),
        "JepaLinearConfig.inputs = 2: must be that of the covariances, 3"
    );
    let chain = Chain::balanced(&JepaLinearConfig::square(Kind::Mae, 3, 1), 0.1, Seed(0)).unwrap();
    let error = text(simulate(
        &chain,
        &covariances,
        &[4_000.0],
        Method::Descent,
        40.0,
    ));
    assert!(
        error.starts_with("simulating: ") && error.ends_with("take shorter steps"),
        "{error}"
    );
}

#[test]
fn impossible_observations_and_sources_are_refused() {
    let device = device();
    let zeros = |rows, columns| Tensor::<2>::zeros([rows, columns], &device);
    let model = JepaLinearConfig::square(Kind::Jepa, 4, 1)
        .init(&device)
        .unwrap();
    assert_eq!(
        text(model.encode(zeros(2, 3))),
        "observations is [2, 3]: must be [batch, 4] with at least one row"
    );
    assert_eq!(
        text(model.loss(zeros(2, 4), zeros(3, 4))),
        "the sizes of y is [3, 4]: must be those of x, [2, 4]"
    );
    assert_eq!(
        text(fit_covariances(zeros(2, 4), zeros(2, 3))),
        "the sizes of y is [2, 3]: must be those of x, [2, 4], none of them 0"
    );
    assert_eq!(
        text(fit_covariances(zeros(2, 2) / 0.0, zeros(2, 2))),
        "a value of a matrix is NaN: must be finite"
    );
    let flat = fit_covariances(zeros(9, 2), zeros(9, 2)).unwrap();
    assert_eq!(
        text(flat.features()),
        "the covariance of x is \"singular\": must vary in every direction: drop dependent \
         coordinates first"
    );
    assert_eq!(
        text(Source::of(feature(1.0, 1.5))),
        "Source.noise = -0.33333333333333337: must be a variance: finite and not negative"
    );
    let fading = Source::Dynamic {
        signal: 1.0,
        persistence: 1.5,
        noise: 0.0,
    };
    assert_eq!(
        text(fading.feature()),
        "Source.persistence = 1.5: must lie between -1 and 1"
    );
    assert_eq!(
        text(draw_pairs(&[], 3, None, Seed(0))),
        "pairs and sources is [3, 0]: must both be at least 1"
    );
    let source = Source::of(feature(1.0, 0.5)).unwrap();
    assert_eq!(
        text(draw_pairs(
            &[source],
            3,
            Some(&Matrix::zeros(2, 2)),
            Seed(0)
        )),
        "the shape of the rotation is [2, 2]: must be 1 · 1"
    );
}
