//! Training from samples: on a device, and as the theory has it, with resume; files of weights.

use crate::{device, text};
use burn::optim::SgdConfig;
use menagerie_core::Seed;
use menagerie_theory::jepa_linear::{
    Chain, Descent, Direction, Feature, JepaLinearConfig, Kind, Method, Pairs, Source,
    TrainingConfig, draw_pairs, fit_covariances, train, weights,
};
use menagerie_train::{FitConfig, Progress, Run, Supervised};

fn sources() -> Vec<Source> {
    [(1.0, 0.9), (0.8, 0.4)]
        .map(|(lambda, rho)| Source::of(Feature::new(lambda, rho).unwrap()).unwrap())
        .to_vec()
}

#[test]
fn steps_on_the_device_are_those_of_the_host() {
    let device = device().autodiff();
    let [x, y] = draw_pairs(&sources(), 400, None, Seed(2)).unwrap();
    let (x, y) = (x.tensor(&device), y.tensor(&device));
    let covariances = fit_covariances(x.clone(), y.clone()).unwrap();
    for kind in [Kind::Jepa, Kind::Mae] {
        let config = JepaLinearConfig::square(kind, 2, 2);
        let mut chain = Chain::balanced(&config, 0.3, Seed(1)).unwrap();
        let model = chain.network(&config, &device).unwrap();
        let pairs = Pairs {
            x: x.clone(),
            y: y.clone(),
        };
        let batches = |_: usize, _: &burn::tensor::Device| Ok(pairs.clone());
        let optimiser = SgdConfig::new().init();
        let mut training = Supervised::new(model, optimiser, 0.05, batches);
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path(), &config, false).unwrap();
        run.fit(&mut training, &FitConfig::new(50), &Progress::silent())
            .unwrap();
        for _ in 0..50 {
            chain = chain.stepped(&covariances, Method::Descent, 0.05);
        }
        let found = training.trained().unwrap().chain().unwrap().encoder();
        let expected = chain.encoder();
        for (a, b) in found.values().iter().zip(expected.values()) {
            assert!((a - b).abs() < 1e-4, "{kind:?}: {a} {b}");
        }
    }
}

fn descent(steps: usize) -> (Descent, TrainingConfig) {
    let device = device();
    let [x, y] = draw_pairs(&sources(), 400, None, Seed(2)).unwrap();
    let covariances = fit_covariances(x.tensor(&device), y.tensor(&device)).unwrap();
    let training = TrainingConfig::new(30.0)
        .with_steps(steps)
        .with_epsilon(0.1);
    let features = covariances.features().unwrap();
    let config = JepaLinearConfig::square(Kind::Jepa, 2, 2);
    (
        Descent::new(&config, &training, covariances, features).unwrap(),
        training,
    )
}

#[test]
fn a_resumed_descent_is_an_uninterrupted_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut whole, config) = descent(1_000);
    let fit = FitConfig::new(1_000);
    let run = Run::create(&dir.path().join("whole"), &config, false).unwrap();
    run.fit(&mut whole, &fit, &Progress::silent()).unwrap();

    let (mut first, _) = descent(1_000);
    let folder = dir.path().join("parts");
    let run = Run::create(&folder, &config, false).unwrap();
    run.fit(
        &mut first,
        &FitConfig {
            steps: 400,
            ..fit.clone()
        },
        &Progress::silent(),
    )
    .unwrap();
    let (mut second, _) = descent(1_000);
    let run = Run::create(&folder, &config, true).unwrap();
    run.fit(&mut second, &fit, &Progress::silent()).unwrap();
    assert_eq!(whole.chain(), second.chain());
    assert_ne!(first.chain(), second.chain());
    let history = run.history().unwrap();
    let last = &history.last().unwrap().metrics;
    assert!(last.get("feature 0").unwrap() > last.get("feature 1").unwrap());
}

#[test]
fn the_encoder_learns_the_clean_feature_from_samples() {
    let device = device();
    let [x, y] = draw_pairs(&sources(), 5_000, None, Seed(4)).unwrap();
    let (x, y) = (x.tensor(&device), y.tensor(&device));
    let features = fit_covariances(x.clone(), y.clone())
        .unwrap()
        .features()
        .unwrap();
    let training = TrainingConfig::new(40.0).with_epsilon(0.1);
    let config = JepaLinearConfig::square(Kind::Jepa, 2, 2);
    let history = train(&config, x, y, &training, 100).unwrap();
    let amplitudes = history.amplitudes(&features).unwrap();
    let end: Vec<f64> = amplitudes
        .iter()
        .filter_map(|values| values.last().copied())
        .collect();
    // ρ².
    assert!(
        (end[0] - 0.81).abs() < 0.04 && (end[1] - 0.16).abs() < 0.04,
        "{end:?}"
    );
    assert_eq!(history.times.len(), 101);
}

#[test]
fn files_round_trip_and_wrong_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let device = device();
    for kind in [Kind::Jepa, Kind::Mae] {
        let config = JepaLinearConfig::new(kind, 5, 3, 2);
        let path = dir.path().join("network.safetensors");
        let model = config.init(&device).unwrap();
        weights::save(&model, &path).unwrap();
        let back = weights::load(&config, &path, &device).unwrap();
        assert_eq!(back.chain().unwrap(), model.chain().unwrap());
        // In double precision, without loss.
        let mut chain = model.chain().unwrap();
        chain = chain.stepped(&covariances(5), Method::Descent, 1e-9);
        weights::save_chain(&chain, &path).unwrap();
        assert_eq!(weights::load_chain(&config, &path).unwrap(), chain);
    }
    let jepa = JepaLinearConfig::new(Kind::Jepa, 5, 3, 2);
    let path = dir.path().join("network.safetensors");
    let error = text(weights::load(&jepa, &path, &device));
    assert!(
        error.contains("predictor.weight") && error.contains("decoder.weight"),
        "{error}"
    );
    let error = text(weights::load_chain(&jepa, &path));
    assert!(
        error.ends_with(
            "does not fit DeepLinear: missing predictor.weight; unexpected decoder.weight"
        ),
        "{error}"
    );
    let wide = JepaLinearConfig::new(Kind::Mae, 5, 4, 2);
    let error = text(weights::load_chain(&wide, &path));
    assert!(
        error.contains("encoder.0.weight has the shape [3, 5], not [4, 5]"),
        "{error}"
    );
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = text(weights::load(&jepa, &path, &device));
    assert!(error.contains("network.safetensors"), "{error}");
}

fn covariances(size: usize) -> menagerie_theory::jepa_linear::Covariances {
    let features = vec![Feature::new(1.0, 0.5).unwrap(); size];
    assert_eq!(Direction::axes(&features).len(), size);
    menagerie_theory::jepa_linear::Covariances::diagonal(&features)
}
