//! depict: counts, behaviour, training, weights and refusals.

mod refusals;

use burn::{
    module::Module,
    tensor::{Device, Distribution, Tensor, TensorData},
};
use menagerie_cluster::depict::{
    Budget, DepictConfig, DepictTraining, Division, Dropout, Fit, Images, InitialClustering,
    LossWeights, Masks, PathIntegralConfig, Refresh, TargetRule, TrainingConfig, assignments,
    draw_masks, embeddings, targets, weights,
};
use menagerie_core::Seed;
use menagerie_hub::{HubOptions, Source, StateDict};
use menagerie_nn::clustering::Contingency;
use menagerie_train::{Procedure, Progress, Run};
use rand::RngExt;
use std::path::Path;

use crate::device;

/// Bars at one of four positions with noise, on 16×16.
fn bars(count: usize) -> (Images, Vec<usize>) {
    let mut rng = Seed(11).stream("bars").rng();
    let labels: Vec<usize> = (0..count).map(|index| index % 4).collect();
    let mut values = Vec::with_capacity(count * 256);
    for label in &labels {
        for row in 0..16 {
            for _ in 0..16 {
                let noise: f32 = rng.random_range(0.0..0.4);
                values.push(if row / 4 == *label {
                    0.9 - noise
                } else {
                    noise - 0.9
                });
            }
        }
    }
    (Images::new(values, [1, 16, 16]).unwrap(), labels)
}

fn small() -> DepictConfig {
    DepictConfig::new([1, 16, 16], 4).with_maps([6, 5])
}

fn drawn(config: &DepictConfig, seed: u64, device: &Device) -> menagerie_cluster::depict::Depict {
    menagerie_train::initialise(device, Seed(seed), || config.init(device)).unwrap()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

#[test]
fn published_configurations_have_the_published_number_of_parameters() {
    let device = device();
    let count = |config: &DepictConfig| {
        let model = config.init(&device).unwrap();
        let head = model.cluster.num_params();
        (model.num_params() - head, head)
    };
    assert_eq!(count(&DepictConfig::mnist()), (178_211, 110));
    assert_eq!(count(&DepictConfig::usps()), (143_561, 110));
    // The others were not counted by anyone: what their layers add up to.
    for config in [
        DepictConfig::cmu_pie(),
        DepictConfig::frgc(),
        DepictConfig::ytf(),
    ] {
        let [channels, ..] = config.image;
        let [k1, k2] = config.kernels;
        let flat: usize = config.latent().iter().product();
        let k = config.clusters;
        let convolutions = 2 * (50 * channels * k1 * k1 + 50 * 50 * k2 * k2) + 150 + channels;
        let dense = 2 * flat * k + flat + k;
        assert_eq!(count(&config), (convolutions + dense, k * k + k));
    }
}

#[test]
fn weights_start_glorot_uniform_and_biases_at_zero() {
    let values = menagerie_hub::values(&drawn(&DepictConfig::mnist(), 0, &device()));
    for (path, data) in &values {
        let values: Vec<f32> = data.iter().collect();
        if path.ends_with("bias") {
            assert!(values.iter().all(|value| *value == 0.0), "{path}");
            continue;
        }
        let shape = data.shape().to_vec();
        let field: usize = shape[2..].iter().product();
        let limit = (6.0 / ((shape[0] + shape[1]) * field) as f32).sqrt();
        let most = values
            .iter()
            .fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(
            most <= limit * 1.0001 && most > 0.9 * limit,
            "{path}: {most} of {limit}"
        );
    }
}

#[test]
fn the_noisy_path_alone_is_noisy() {
    let device = device();
    let config = small().with_dropout(Dropout::new().with_second(0.3));
    let model = drawn(&config, 1, &device);
    let images = Tensor::random([3, 1, 16, 16], Distribution::Uniform(-1.0, 1.0), &device);
    let masks = draw_masks(&config, 3, Seed(1), &device);
    let clean = model.encoding(images.clone(), None);
    let noisy = model.encoding(images.clone(), Some(&masks));
    assert_ne!(values(clean.embedding.clone()), values(noisy.embedding));
    // Without masks, or with masks of ones, nothing is noisy.
    let ones = |mask: Option<Tensor<4>>| mask.map(|mask| mask.ones_like());
    let masks = Masks {
        input: ones(masks.input),
        first: ones(masks.first),
        second: ones(masks.second),
    };
    let same = model.encoding(images.clone(), Some(&masks));
    assert_eq!(values(clean.embedding.clone()), values(same.embedding));
    assert_eq!(
        values(model.reconstruct(images.clone()).unwrap()),
        values(model.decode(clean.embedding).unwrap())
    );
    let p = values(model.probabilities(images.clone()).unwrap());
    let logs = values(model.log_probabilities(images.clone()).unwrap());
    for (p, log) in p.iter().zip(&logs) {
        assert!((p - log.exp()).abs() < 1e-6);
    }
    let assigned = model.assign(images).unwrap();
    for (row, cluster) in p.chunks(4).zip(assigned) {
        assert!(row.iter().all(|value| *value <= row[cluster]));
    }
}

#[test]
fn weights_of_terms_decide_what_trains() {
    let device = device().autodiff();
    let model = drawn(&small(), 2, &device);
    let (images, _) = bars(8);
    let batch = images.batch(&[0, 1, 2, 3], &device).unwrap();
    let masks = draw_masks(&small(), 4, Seed(1), &device);
    let targets = Tensor::<2>::from_data(TensorData::from([[1f32, 0., 0., 0.]; 4]), &device);
    let gradients = |weights: LossWeights| {
        let targets = Some(targets.clone());
        let loss = model.loss(batch.clone(), &masks, targets, &weights);
        let grads = loss.total.backward();
        let sum = |gradient: Tensor<2>| values(gradient.abs().sum())[0];
        let decoder = model.fc_dec.weight.val().grad(&grads).map_or(0.0, sum);
        let head = model.cluster.weight.val().grad(&grads).map_or(0.0, sum);
        (decoder, head)
    };
    let (decoder, head) = gradients(LossWeights::without_reconstruction());
    assert!(decoder == 0.0 && head > 0.0, "{decoder} {head}");
    let (decoder, head) = gradients(LossWeights::new().with_clustering(0.0));
    assert!(decoder > 0.0 && head == 0.0, "{decoder} {head}");
    // Targets of the hidden layers are not detached: without dropout and decoder, the encoder's second
    // convolution still has a gradient from them.
    let loss = model.loss(batch, &Masks::default(), None, &LossWeights::new());
    let grads = loss.reconstruction.second.backward();
    assert!(model.conv2.weight.val().grad(&grads).is_some());
}

fn settings() -> TrainingConfig {
    let initial = InitialClustering::KMeans {
        restarts: 5,
        iterations: 50,
    };
    TrainingConfig::short(12, 3, 6)
        .with_batch(20)
        .with_initial(initial)
}

fn fit<'a>(
    images: &'a Images,
    training: &'a TrainingConfig,
    folder: &'a Path,
    progress: &'a Progress,
) -> Fit<'a> {
    Fit {
        images,
        training,
        strata: None,
        seed: Seed(5),
        folder,
        resume: false,
        progress,
    }
}

#[test]
fn bars_are_clustered_and_a_finished_run_is_taken_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (images, labels) = bars(210);
    let (training, progress) = (settings(), Progress::silent());
    let fit = fit(&images, &training, dir.path(), &progress);
    let found = fit.run(&small(), &device()).unwrap();
    let scores = Contingency::new(&labels, &found.labels).unwrap();
    assert!(scores.accuracy() > 0.95, "{}", scores.accuracy());
    // The decoder is of use: it reconstructs better than nothing.
    let batch = images.batch(&[0, 1, 2, 3], &device()).unwrap();
    let error = values(
        (found.model.reconstruct(batch.clone()).unwrap() - batch.clone())
            .square()
            .mean(),
    );
    let zero = values(batch.square().mean());
    assert!(error[0] < 0.5 * zero[0], "{} of {}", error[0], zero[0]);
    let again = Fit {
        resume: true,
        ..fit
    }
    .run(&small(), &device())
    .unwrap();
    assert_eq!(again.labels, found.labels);
    assert_eq!(
        menagerie_hub::values(&again.model),
        menagerie_hub::values(&found.model)
    );
    let error = fit.run(&small(), &device()).unwrap_err().to_string();
    assert!(error.contains("already holds a run"), "{error}");
}

#[test]
fn a_finished_run_of_other_data_is_not_taken_for_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let (images, labels) = bars(60);
    let mut pixels = images.values().to_vec();
    pixels[5_000] = -pixels[5_000];
    let others = Images::new(pixels, [1, 16, 16]).unwrap();
    let training = TrainingConfig::short(1, 1, 1)
        .with_batch(20)
        .with_validation(0.2);
    let progress = Progress::silent();
    let first = Fit {
        strata: Some(&labels),
        resume: true,
        ..fit(&images, &training, dir.path(), &progress)
    };
    let found = first.run(&small(), &device()).unwrap();
    let refusal = |fit: Fit| fit.run(&small(), &device()).unwrap_err().to_string();
    let starts = |text: &str, key: &str| {
        let expected = format!("config.json: the run was started with {key} = ");
        assert!(text.contains(&expected), "{text}");
        let end = "resume with the same configuration or choose another folder";
        assert!(text.ends_with(end), "{text}");
    };
    let other_images = Fit {
        images: &others,
        ..first
    };
    starts(&refusal(other_images), "data.images");
    let mut moved = labels.clone();
    moved.swap(0, 1);
    let other_strata = Fit {
        strata: Some(&moved),
        ..first
    };
    starts(&refusal(other_strata), "data.strata");
    starts(
        &refusal(Fit {
            strata: None,
            ..first
        }),
        "data.strata",
    );
    // The warm-up learns the clusters that it is given.
    let mut clusters = found.initial.clone();
    let other = clusters.iter().position(|cluster| *cluster != clusters[0]);
    clusters.swap(0, other.unwrap());
    let error = first.warm_up(&found.autoencoder, &clusters).unwrap_err();
    starts(&error.to_string(), "data.labels");
    let error = other_images
        .joint("joint", &found.model, small().weights, &training)
        .unwrap_err();
    starts(&error.to_string(), "data.images");
    // The same data are the same run.
    assert_eq!(first.run(&small(), &device()).unwrap().labels, found.labels);
}

/// A stage of `epochs` passes in `folder`, its targets and its parameters.
fn stage(
    mut training: DepictTraining,
    folder: &Path,
    epochs: usize,
    resume: bool,
) -> (Vec<f32>, std::collections::BTreeMap<String, TensorData>) {
    let mut fit = training.fit_config();
    fit.steps = epochs * training.steps_per_epoch();
    // In the middle of a pass, too.
    fit.checkpoint_every = 3;
    let run = Run::create(folder, &"stage", resume).unwrap();
    run.fit(&mut training, &fit, &Progress::silent()).unwrap();
    let model = training.trained().unwrap();
    (training.targets().to_vec(), menagerie_hub::values(&model))
}

#[test]
fn resumed_stages_equal_uninterrupted_ones() {
    let dir = tempfile::tempdir().unwrap();
    let device = device();
    let (images, labels) = bars(90);
    let model = drawn(&small(), 5, &device);
    let division = Division {
        train: (0..70).collect(),
        validation: (70..90).collect(),
    };
    for refresh in [Refresh::EachStep, Refresh::EachEpoch] {
        let config = settings().with_validation(0.2);
        let joint = config.joint.with_refresh(refresh);
        let config = config.with_joint(joint);
        let make = |kind: &str| match kind {
            "autoencoder" => {
                DepictTraining::autoencoder(&model, &images, &division, &config, Seed(5))
            }
            "warm-up" => {
                DepictTraining::warm_up(&model, &images, &division, &labels, &config, Seed(5))
            }
            _ => DepictTraining::joint(&model, &images, LossWeights::new(), &config, Seed(5)),
        };
        for kind in ["autoencoder", "warm-up", "joint"] {
            let folder = |name: &str| dir.path().join(format!("{kind}-{refresh:?}-{name}"));
            let whole = stage(make(kind).unwrap(), &folder("whole"), 5, false);
            stage(make(kind).unwrap(), &folder("parts"), 2, false);
            let resumed = stage(make(kind).unwrap(), &folder("parts"), 5, true);
            assert_eq!(whole, resumed, "{kind} {refresh:?}");
        }
    }
}

#[test]
fn every_image_has_the_assignments_of_the_present_network_at_the_end_of_a_pass() {
    let device = device();
    let (images, _) = bars(47);
    let model = drawn(&small(), 6, &device);
    // Two batches of 20, and seven images that no batch of the pass holds.
    for (refresh, fresh) in [(Refresh::EachEpoch, 47), (Refresh::EachStep, 27)] {
        let config = settings();
        let joint = config.joint.with_refresh(refresh);
        let config = config.with_joint(joint);
        let mut training =
            DepictTraining::joint(&model, &images, LossWeights::new(), &config, Seed(1)).unwrap();
        assert_eq!(training.steps_per_epoch(), 2);
        let before = training.targets().to_vec();
        training.step(0).unwrap();
        assert_eq!(
            training.targets(),
            before,
            "targets are those of the last E-step"
        );
        training.step(1).unwrap();
        let all: Vec<usize> = (0..47).collect();
        let p = assignments(&training.trained().unwrap(), &images, &all).unwrap();
        let near = |(a, b): (&[f32], &[f32])| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        // Those of the first batch are from before the second step, if each step computes its own.
        let pairs = training.assignments().chunks(4).zip(p.chunks(4));
        assert_eq!(
            pairs.filter(|pair| near(*pair)).count(),
            fresh,
            "{refresh:?}"
        );
        let q = targets(training.assignments(), 4, TargetRule::Squared).unwrap();
        assert_eq!(training.targets(), q);
        let metrics = training.evaluate(2).unwrap();
        assert_eq!(metrics.get("moving epochs"), Some(1.0));
        assert!(metrics.get("target change").unwrap() > 0.0);
    }
}

#[test]
fn the_joint_stage_ends_when_targets_stand_still() {
    let dir = tempfile::tempdir().unwrap();
    let (images, _) = bars(60);
    let model = drawn(&small(), 7, &device());
    let config = settings();
    let joint = config.joint.with_tolerance(10.0).with_epochs(50);
    let config = config.with_joint(joint);
    let mut training =
        DepictTraining::joint(&model, &images, LossWeights::new(), &config, Seed(1)).unwrap();
    let run = Run::create(dir.path(), &"stage", false).unwrap();
    let fit = training.fit_config();
    let summary = run.fit(&mut training, &fit, &Progress::silent()).unwrap();
    assert!(summary.stopped_early);
    assert!(summary.step <= 2 * training.steps_per_epoch());
}

#[test]
fn the_best_network_on_the_validation_images_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let device = device();
    let (images, _) = bars(80);
    let model = drawn(&small(), 8, &device);
    let division = Division {
        train: (0..60).collect(),
        validation: (60..80).collect(),
    };
    // A rate at which the network gets worse again.
    let config = settings()
        .with_learning_rate(0.3)
        .with_autoencoder(Budget::new(30, 3));
    let mut training =
        DepictTraining::autoencoder(&model, &images, &division, &config, Seed(1)).unwrap();
    let run = Run::create(dir.path(), &"stage", false).unwrap();
    let fit = training.fit_config();
    let summary = run.fit(&mut training, &fit, &Progress::silent()).unwrap();
    let scores: Vec<f64> = run
        .history()
        .unwrap()
        .iter()
        .filter_map(|record| {
            record
                .metrics
                .get("reconstruction")
                .filter(|_| record.split == menagerie_train::Split::Evaluation)
        })
        .collect();
    let best = scores.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(summary.stopped_early && scores[scores.len() - 1] > best);
    let batch = images.batch(&division.validation, &device).unwrap();
    let kept = training.trained().unwrap().clean_reconstruction_loss(batch);
    let kept = f64::from(values(kept.total)[0]);
    assert!((kept - best).abs() < 1e-5, "{kept} and {best}");
}

#[test]
fn both_initial_clusterings_give_labels_below_the_number_of_clusters() {
    let dir = tempfile::tempdir().unwrap();
    let (images, labels) = bars(100);
    let model = drawn(&small(), 9, &device());
    let progress = Progress::silent();
    let path_integral = InitialClustering::PathIntegral(PathIntegralConfig::new());
    for initial in [InitialClustering::published(), path_integral] {
        let training = settings().with_initial(initial);
        let fit = fit(&images, &training, dir.path(), &progress);
        let found = fit.initial_clusters(&model).unwrap();
        assert_eq!(found.iter().max(), Some(&3));
        let scores = Contingency::new(&labels, &found).unwrap();
        assert!(scores.accuracy() > 0.5, "{}", scores.accuracy());
        let head = fit.with_head(&model, &found).unwrap();
        let weight = values(head.cluster.weight.val());
        for cluster in 0..4 {
            let norm: f32 = (0..4).map(|axis| weight[4 * axis + cluster].powi(2)).sum();
            assert!((norm - 1.0).abs() < 1e-5);
        }
        assert_eq!(values(head.cluster.bias.unwrap().val()), [0.0; 4]);
    }
    let all: Vec<usize> = (0..100).collect();
    let z = embeddings(&model, &images, &all).unwrap();
    assert!(z.len() == 400 && z.iter().all(|value| value.abs() <= 1.0));
}

#[test]
fn weights_round_trip_through_their_official_names() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.safetensors");
    let model = drawn(&small(), 7, &device);
    weights::save(&model, &path).unwrap();
    let back = weights::load(&small(), &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&back));
    let source = Source::parse(path.to_str().unwrap()).unwrap();
    let options = HubOptions::new(dir.path());
    let back = weights::load_from(&small(), &source, &options, &device).unwrap();
    assert_eq!(menagerie_hub::values(&model), menagerie_hub::values(&back));
    let stored = StateDict::open(&path).unwrap();
    assert_eq!(
        stored.get("fc_enc.weight").unwrap().shape().to_vec(),
        [4, 80]
    );

    let wider = small().with_maps([6, 7]);
    let error = weights::load(&wider, &path, &device)
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not fit Depict"), "{error}");
    assert!(error.contains("`conv2.weight`"), "{error}");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = weights::load(&small(), &path, &device)
        .unwrap_err()
        .to_string();
    assert!(error.contains("net.safetensors"), "{error}");
}

#[test]
fn released_arrays_are_flipped_into_place() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let model = drawn(&small(), 3, &device);
    let own = menagerie_hub::values(&model);
    // As the released code lays them out: convolutions flipped, dense layers as they are.
    let flipped = |path: &str| {
        Tensor::<4>::from_data(own[path].clone(), &device)
            .flip([2, 3])
            .into_data()
    };
    let layers = ["conv1", "conv2", "fc_enc", "fc_dec", "deconv1", "deconv0"];
    for prefix in ["", "arr_"] {
        let arrays = layers.iter().enumerate().flat_map(|(at, layer)| {
            let weight = format!("{layer}.weight");
            let data = match layer.starts_with("fc") {
                true => own[&weight].clone(),
                false => flipped(&weight),
            };
            let bias = own[&format!("{layer}.bias")].clone();
            [
                (format!("{prefix}{}", 2 * at), data),
                (format!("{prefix}{}", 2 * at + 1), bias),
            ]
        });
        let path = dir.path().join("released.safetensors");
        StateDict::from_tensors("arrays", arrays)
            .save_safetensors(&path)
            .unwrap();
        let loaded = weights::load_released(&small(), &path, &device).unwrap();
        let loaded = menagerie_hub::values(&loaded);
        for layer in layers {
            for part in ["weight", "bias"] {
                let key = format!("{layer}.{part}");
                assert_eq!(loaded[&key], own[&key], "{key}");
            }
        }
    }
    // Arrays of another network.
    let path = dir.path().join("released.safetensors");
    let error = weights::load_released(&DepictConfig::mnist(), &path, &device).unwrap_err();
    assert!(error.to_string().contains("does not fit Depict"), "{error}");
}

/// Runs where `MENAGERIE_RELEASED` names a folder with the file of the released code, which states no
/// licence and so is not part of this repository, and `MENAGERIE_DATA` one with MNIST.
#[test]
fn the_released_autoencoder_reconstructs_and_clusters_mnist() {
    let Some(folder) = std::env::var_os("MENAGERIE_RELEASED") else {
        return;
    };
    let path = Path::new(&folder).join("params_MNIST-test_values_best.pickle");
    let device = device();
    let model = weights::load_released(&DepictConfig::mnist(), &path, &device).unwrap();
    let set = menagerie_data_image::mnist(menagerie_data_image::Split::Test).unwrap();
    let images = Images::from_bytes(set.pixels(), set.image_shape()).unwrap();
    let all: Vec<usize> = (0..images.len()).collect();
    let mut error = 0.0;
    for part in all.chunks(500) {
        let batch = images.batch(part, &device).unwrap();
        let rebuilt = model.reconstruct(batch.clone()).unwrap();
        error += f64::from(values((rebuilt - batch).square().mean())[0]) / 20.0;
    }
    assert!((error - 0.040).abs() < 0.001, "{error}");
    let z = embeddings(&model, &images, &all).unwrap();
    let found = PathIntegralConfig::new().fit(&z, 10, 10).unwrap();
    let scores = Contingency::new(set.labels(), &found).unwrap();
    // The released labels score 0.933.
    let accuracy = scores.accuracy();
    assert!((accuracy - 0.933).abs() < 0.01, "{accuracy}");
}
