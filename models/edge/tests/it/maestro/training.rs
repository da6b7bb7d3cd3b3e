//! Training: layers that lose every rank, epochs before there are factors, decay, rates; names.

use super::lenet;
use crate::{device, distance, images};
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Result, Seed};
use menagerie_edge::maestro::{
    Factored, Labelled, LeNet, LeNetConfig, MaestroConfig, MlpConfig, Network, Ranks, ResNetConfig,
    Skip, Training, VggConfig, descent, weights,
};
use menagerie_hub::StateDict;
use menagerie_train::{FitConfig, Progress, Run, initialise};
use std::collections::BTreeMap;
use std::path::Path;

/// Eight digits that are none.
fn batch(step: usize, device: &Device) -> Result<Labelled> {
    let pixels: Vec<f32> = (0..8 * 784)
        .map(|at| (at * 7919 % 1000) as f32 / 500.0 - 1.0)
        .collect();
    let labels: Vec<i64> = (0..8).map(|at| (at + step as i64) % 10).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [8]), device);
    let pixels = TensorData::new(pixels, [8, 1, 28, 28]);
    Ok((Tensor::from_data(pixels, device), labels))
}

/// Trains in epochs of three steps, evaluating after each.
fn train(
    network: LeNet,
    config: &MaestroConfig,
    folder: &Path,
    steps: usize,
    resume: bool,
) -> (LeNet, Vec<String>, Vec<f64>) {
    let mut training = Training::new(network, config.clone(), 3, Seed(2), batch).unwrap();
    let run = Run::create(folder, &0, resume).unwrap();
    let fit = FitConfig {
        checkpoint_every: 1,
        evaluate_every: 3,
        ..FitConfig::new(steps)
    };
    run.fit(&mut training, &fit, &Progress::silent()).unwrap();
    let history = run.history().unwrap();
    let bare = history
        .iter()
        .filter_map(|record| record.metrics.get("bare"));
    (
        training.trained().unwrap(),
        training.bare().unwrap(),
        bare.collect(),
    )
}

#[test]
fn a_layer_may_lose_every_rank_and_training_goes_on() {
    let device = device().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let mut network = lenet(&device);
    // The last layer counts for little: a threshold above all of its ranks, below the others'.
    let factor = network.fc3.factors.u.as_ref().unwrap().val() * 1e-4;
    network.fc3.factors.u = Some(Param::from_tensor(factor.detach()));
    let importances = network.importances(true).unwrap();
    let threshold = importances[4][0] * 1.1;
    assert!(
        importances[..4]
            .iter()
            .all(|ranks| ranks[0] > 10.0 * threshold)
    );
    let config = MaestroConfig::new()
        .with_threshold(threshold)
        .with_rate(1e-4);
    let whole = dir.path().join("whole");
    let (trained, bare, counted) = train(network.clone(), &config, &whole, 6, false);
    assert_eq!(bare, ["fc3"]);
    assert_eq!(counted, [1.0, 1.0]);
    assert_eq!(trained.ranks()[4], 0);
    let parts = dir.path().join("parts");
    train(network.clone(), &config, &parts, 4, false);
    let (resumed, ..) = train(network, &config, &parts, 6, true);
    assert_eq!(
        menagerie_hub::values(&trained),
        menagerie_hub::values(&resumed)
    );
    assert_eq!(trained.ranks(), resumed.ranks());

    // The bias alone is left, in memory and on disk.
    let x = images(2, &device.without_autodiff());
    let found = trained.forward(x.clone(), &Ranks::Full).unwrap();
    let bias = trained.fc3.factors.bias.as_ref().unwrap().val();
    assert_eq!(
        distance(found.clone(), bias.unsqueeze::<2>().expand([2, 10])),
        0.0
    );
    let path = dir.path().join("bare.safetensors");
    weights::save_lenet(&trained, &path).unwrap();
    let back = weights::load_lenet(&LeNetConfig::new(), &path, &x.device()).unwrap();
    assert_eq!(distance(back.forward(x, &Ranks::Full).unwrap(), found), 0.0);
    let share = trained.share(0.5).unwrap();
    trained.truncate(&share, true).unwrap();
    let text = trained
        .truncate(&Ranks::Cut { layer: 4, rank: 1 }, true)
        .unwrap_err();
    assert_eq!(
        text.to_string(),
        "the rank of layer `fc3` is 1: must lie between 1 and 0"
    );
}

#[test]
fn the_first_epochs_are_dense() {
    let device = device().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let config = LeNetConfig::new();
    let dense = initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let config = MaestroConfig::new()
        .with_lambda(1e-3)
        .with_full_epochs(1)
        .with_skip(Skip::new().with_first(1).with_last(true));
    let run = |name: &str, config: &MaestroConfig, steps: usize, resume: bool| {
        train(dense.clone(), config, &dir.path().join(name), steps, resume).0
    };
    let three = run("parts", &config, 3, false);
    assert_eq!(three.ranks(), [0; 5]);
    // As without factors and lasso.
    let plain = MaestroConfig::new();
    let ordinary = run("plain", &plain, 3, false);
    assert_eq!(
        menagerie_hub::values(&three),
        menagerie_hub::values(&ordinary)
    );
    let whole = run("whole", &config, 6, false);
    assert_eq!(whole.ranks(), [0, 16, 120, 84, 0]);
    for steps in [5, 6] {
        let resumed = run("parts", &config, steps, true);
        assert_eq!(resumed.ranks(), [0, 16, 120, 84, 0]);
        if steps == 6 {
            assert_eq!(
                menagerie_hub::values(&resumed),
                menagerie_hub::values(&whole)
            );
        }
    }
}

#[test]
fn vectors_decay_or_do_not() {
    let device = device().autodiff();
    for decay_vectors in [true, false] {
        let config = MaestroConfig::new()
            .with_weight_decay(0.5)
            .with_decay_vectors(decay_vectors);
        let mut network = MlpConfig::new(vec![3, 2]).init(&device).unwrap();
        let ones = Tensor::<1>::ones([2], &device);
        network.linears[0].factors.bias = Some(Param::from_tensor(ones));
        let before = menagerie_hub::values(&network);
        let mut optimiser = descent(&config, &network);
        // No slope at all.
        let x = Tensor::<2>::zeros([1, 3], &device);
        let loss = network.forward_rows(x, &Ranks::Full).unwrap().sum() * 0.0;
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        let network = optimiser.step(1.0, network, gradients);
        let after = menagerie_hub::values(&network.valid());
        let ratio = |name: &str| {
            let first = |values: &TensorData| values.iter::<f32>().next().unwrap();
            first(&after[name]) / first(&before[name])
        };
        let expected = if decay_vectors { 0.5 } else { 1.0 };
        assert!((ratio("linears.0.factors.bias") - expected).abs() < 1e-6);
        assert!((ratio("linears.0.factors.weight") - 0.5).abs() < 1e-6);
    }
}

#[test]
fn the_settings_for_imagenet_are_the_official_ones() {
    let config = MaestroConfig::imagenet();
    assert_eq!((config.full_epochs, config.decay_vectors), (1, false));
    assert_eq!(
        (
            MaestroConfig::IMAGENET_BATCH,
            MaestroConfig::IMAGENET_EPOCHS
        ),
        (256, 90)
    );
    let schedule = config.falling_at(&MaestroConfig::IMAGENET_MILESTONES, 10);
    let rates = [0, 299, 300, 599, 600, 800].map(|step| schedule.at(step));
    for (found, expected) in rates.iter().zip([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-4]) {
        assert!((found - expected).abs() < 1e-12, "{rates:?}");
    }
}

#[test]
fn a_budget_of_numbers_takes_the_least_important_ranks() {
    let device = device();
    let network = lenet(&device);
    let ranks = network.fit_numbers(15_000).unwrap();
    let small = network.extract(&ranks, true);
    assert_eq!(small.numbers(), network.numbers_at(&ranks));
    assert!(
        (14_000..=15_000).contains(&small.numbers()),
        "{}",
        small.numbers()
    );
    assert_eq!(network.numbers_at(&Ranks::Full), 44_426);
    let error = network.fit_numbers(100).unwrap_err().to_string();
    assert!(
        error.starts_with("the budget of numbers is 100: must be at least "),
        "{error}"
    );
}

/// Names and shapes of the state dicts of the official networks, as the official code makes them.
fn official(name: &str) -> BTreeMap<String, Vec<usize>> {
    let keys = include_str!("../../../fixtures/maestro/keys.json");
    let mut all: BTreeMap<String, BTreeMap<String, Vec<usize>>> =
        serde_json::from_str(keys).unwrap();
    all.remove(name).unwrap()
}

fn check(name: &str, found: &StateDict) {
    let mut expected = official(name);
    // Counters that nothing reads.
    expected.retain(|key, _| !key.ends_with("num_batches_tracked"));
    let found: BTreeMap<String, Vec<usize>> = found
        .iter()
        .map(|(key, data)| (key.to_owned(), data.shape().to_vec()))
        .collect();
    let missing = expected
        .iter()
        .filter(|(key, shape)| found.get(*key) != Some(*shape));
    let missing: Vec<_> = missing.take(8).collect();
    let others = found.keys().filter(|key| !expected.contains_key(*key));
    let others: Vec<_> = others.take(8).collect();
    assert!(
        missing.is_empty() && others.is_empty(),
        "{name}: {missing:?} but {others:?}"
    );
}

#[test]
fn names_and_shapes_are_the_official_ones() {
    let device = device();
    let vgg = VggConfig::vgg19().init(&device).unwrap();
    check("vgg19_dense", &weights::state_dict(&vgg).unwrap());
    check("vgg19", &weights::state_dict(&vgg.redraw()).unwrap());
    let resnet = ResNetConfig::resnet18().init(&device).unwrap();
    check("resnet18_dense", &weights::state_dict(&resnet).unwrap());
    check("resnet18", &weights::state_dict(&resnet.redraw()).unwrap());
}

#[test]
fn the_layers_that_stay_dense_are_the_official_ones() {
    // Which of the 54 layers of ResNet-50 the official code has factored, by its names.
    let partly = official("resnet50_partly");
    let device = device();
    let resnet = ResNetConfig::resnet50().init(&device).unwrap();
    let layers = resnet.layers();
    let is_factored = |name: &str| {
        let factors = ["conv_u", "in_network"].map(|part| format!("{name}.{part}.weight"));
        factors.iter().any(|key| partly.contains_key(key))
    };
    let factored: Vec<usize> = (0..layers.len())
        .filter(|at| is_factored(&layers[*at].0))
        .collect();
    let skip = MaestroConfig::imagenet().skip;
    let expected: Vec<usize> = (skip.first..layers.len() - 1).collect();
    assert_eq!(factored, expected);
}
