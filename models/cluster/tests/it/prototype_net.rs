//! prototype-net: counts, behaviour, training, weights and refusals.

use burn::{
    module::Module,
    tensor::{Device, Distribution, Int, Tensor, TensorData},
    train::TrainStep,
};
use menagerie_cluster::prototype_net::{
    Batches, Examples, Initialisation, LabelledImages, LossWeights, PlainNetConfig, PrototypeNet,
    PrototypeNetConfig, TrainingConfig, evaluate, measures, weights,
};
use menagerie_core::{Error, Seed};
use menagerie_hub::{HubOptions, KeyMap, Source, StateDict};
use menagerie_train::{FitConfig, Procedure, Progress, Run, Supervised};
use std::path::Path;

use crate::device;

const CLASSES: usize = 3;

/// Bars at one of three positions with a little noise: easy to tell apart and to reconstruct.
fn bars(count: usize) -> Examples {
    use rand::RngExt;
    let mut rng = Seed(11).stream("bars").rng();
    let labels: Vec<usize> = (0..count).map(|index| index % CLASSES).collect();
    let mut images = Vec::with_capacity(count * 256);
    for label in &labels {
        for row in 0..16 {
            for _ in 0..16 {
                let bar = row / 5 == *label;
                let noise: f32 = rng.random_range(0.0..0.1);
                images.push(if bar { 0.9 + noise } else { noise });
            }
        }
    }
    Examples::new(images, labels, [1, 16, 16], CLASSES).unwrap()
}

fn small() -> PrototypeNetConfig {
    PrototypeNetConfig::new([1, 16, 16], vec![8, 8, 4], 5, CLASSES)
        .with_initialisation(Initialisation::He)
}

fn drawn(config: &PrototypeNetConfig, seed: u64, device: &Device) -> PrototypeNet {
    menagerie_train::initialise(device, Seed(seed), || config.init(device)).unwrap()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

fn refusal(config: PrototypeNetConfig) -> String {
    let error = config.init(&device()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn published_configurations_have_the_published_number_of_parameters() {
    let device = device();
    for config in [
        PrototypeNetConfig::mnist(),
        PrototypeNetConfig::fashion_mnist(),
    ] {
        assert_eq!(config.init(&device).unwrap().num_params(), 44_153);
    }
    let cars = PrototypeNetConfig::cars().init(&device).unwrap();
    assert_eq!(cars.weight_matrix().unwrap().len(), 11);
    assert_eq!(cars.weight_matrix().unwrap()[0].len(), 11);
    assert_eq!(cars.decode_prototypes().dims(), [11, 3, 64, 64]);
    // Encoder and head alone: 21 706 + 41 * 10 by the layer table.
    let plain = PlainNetConfig::matching(&PrototypeNetConfig::mnist());
    assert_eq!(plain.init(&device).unwrap().num_params(), 21_706 + 410);
}

#[test]
fn filters_and_prototypes_start_as_published() {
    let device = device();
    let config = PrototypeNetConfig::mnist();
    let spread = |config: &PrototypeNetConfig| {
        let values = menagerie_hub::values(&drawn(config, 0, &device));
        let filter: Vec<f32> = values["encoder.convs.1.weight"].iter().collect();
        let square: f32 = filter.iter().map(|value| value * value).sum();
        assert!(
            values["encoder.convs.1.bias"]
                .iter::<f32>()
                .all(|value| value == 0.0)
        );
        for key in ["prototypes", "classifier"] {
            let drawn: Vec<f32> = values[key].iter().collect();
            assert!(
                drawn.iter().all(|value| (0.0..1.0).contains(value)),
                "{key}"
            );
            let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
            assert!((mean - 0.5).abs() < 0.1, "{key}: {mean}");
        }
        (square / filter.len() as f32).sqrt()
    };
    assert!((spread(&config) - 0.01).abs() < 5e-4);
    let he = (2.0_f32 / 288.0).sqrt();
    let found = spread(&config.with_initialisation(Initialisation::He));
    assert!((found / he - 1.0).abs() < 0.05, "{found} against {he}");
}

#[test]
fn any_image_size_comes_back_in_its_size() {
    let device = device();
    for (channels, height, width) in [(1, 28, 28), (3, 17, 23), (2, 16, 31), (1, 40, 19)] {
        let config = PrototypeNetConfig::new([channels, height, width], vec![3, 4, 2, 5], 6, 4);
        let model = config.init(&device).unwrap();
        let images = Tensor::random([2, channels, height, width], Distribution::Default, &device);
        let pass = model.forward(images.clone()).unwrap();
        assert_eq!(pass.features.dims(), [2, config.features()]);
        assert_eq!(pass.distances.dims(), [2, 6]);
        assert_eq!(pass.logits.dims(), [2, 4]);
        assert_eq!(pass.reconstruction.dims(), [2, channels, height, width]);
        assert_eq!(
            values(model.decode(pass.features).unwrap()),
            values(model.reconstruct(images).unwrap()),
        );
    }
}

#[test]
fn an_explanation_accounts_for_the_prediction() {
    let device = device();
    let model = drawn(&small(), 1, &device);
    let images = bars(4).images(&device);
    let probabilities = values(model.predict(images.clone()).unwrap());
    let explanations = model.explain(images.clone()).unwrap();
    let features = values(model.encode(images).unwrap());
    let prototypes = values(model.prototypes.val());
    let length = model.config().features();
    assert_eq!(explanations.len(), 4);
    for (image, why) in explanations.iter().enumerate() {
        for class in 0..CLASSES {
            let sum: f32 = why.contributions.iter().map(|row| row[class]).sum();
            assert!((sum - why.logits[class]).abs() < 1e-4 * (1.0 + sum.abs()));
            let probability = probabilities[image * CLASSES + class];
            assert!((why.probabilities[class] - probability).abs() < 1e-5);
            assert!(why.logits[class] <= why.logits[why.class]);
        }
        let latent = &features[image * length..][..length];
        for (distance, prototype) in why.distances.iter().zip(prototypes.chunks(length)) {
            let exact: f32 = latent
                .iter()
                .zip(prototype)
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            assert!((distance - exact).abs() < 1e-4 * (1.0 + exact));
        }
        assert!(
            why.nearest
                .is_sorted_by_key(|&prototype| why.distances[prototype])
        );
    }
}

#[test]
fn the_nearest_image_is_found_in_any_batch() {
    let device = device();
    let model = drawn(&small(), 2, &device);
    let images = bars(601).images(&device);
    let nearest = model.nearest_training_images(images.clone()).unwrap();
    let distances = values(model.distances(model.encode(images).unwrap()));
    assert_eq!(nearest.len(), 5);
    for (prototype, found) in nearest.iter().enumerate() {
        let of = |image: usize| distances[image * 5 + prototype];
        let least = (0..601).map(of).fold(f32::INFINITY, f32::min);
        assert!((of(found.index) - least).abs() <= 1e-4 * (1.0 + least));
        assert!((found.distance - least.max(0.0)).abs() <= 1e-4 * (1.0 + least));
    }
}

/// Trains `config` for `steps` steps in `folder`.
fn train(
    config: &PrototypeNetConfig,
    examples: &Examples,
    folder: &Path,
    steps: usize,
) -> PrototypeNet {
    let model = drawn(config, 5, &device().autodiff());
    train_from(model, examples, folder, steps, false)
}

fn train_from(
    model: PrototypeNet,
    examples: &Examples,
    folder: &Path,
    steps: usize,
    resume: bool,
) -> PrototypeNet {
    let training = TrainingConfig::published().with_batch(60).with_epochs(60);
    let mut batches = Batches::new(examples, &training, Seed(5)).unwrap();
    let batch = |step: usize, device: &Device| batches.batch(step, device);
    let optimiser = training.optimizer().unwrap();
    let mut procedure = Supervised::new(model, optimiser, training.learning_rate, batch);
    let fit = FitConfig {
        checkpoint_every: 10,
        ..FitConfig::new(steps)
    };
    let run = Run::create(folder, &training, resume).unwrap();
    run.fit(&mut procedure, &fit, &Progress::silent()).unwrap();
    procedure.trained().unwrap()
}

#[test]
fn it_learns_bars_and_ties_prototypes_to_them() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let (training, held_out) = (bars(240), bars(90));
    let full = train(&small(), &training, &dir.path().join("full"), 240);
    let before = evaluate(&drawn(&small(), 5, &device), &held_out, 40, &device).unwrap();
    let after = evaluate(&full, &held_out, 40, &device).unwrap();
    let get = |metrics: &menagerie_train::Metrics, name| metrics.get(name).unwrap();
    assert!(get(&after, "accuracy") > 0.95, "{after}");
    assert!(
        get(&after, "loss") < 0.5 * get(&before, "loss"),
        "{before} then {after}"
    );
    assert!(get(&after, "reconstruction") < get(&before, "reconstruction"));

    let ablated = small().with_weights(LossWeights::without_prototype_terms());
    let ablated = train(&ablated, &training, &dir.path().join("ablated"), 240);
    let realism = |model: &PrototypeNet| {
        let features = model.encode(training.images(&device)).unwrap();
        measures::realism_ratio(model.prototypes.val(), features).unwrap()
    };
    let (with, without) = (realism(&full), realism(&ablated));
    assert!(with < without, "{with} with R1 and R2, {without} without");
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let dir = tempfile::tempdir().unwrap();
    let examples = bars(120);
    // One draw for all: the other tests draw from the same generator meanwhile.
    let model = drawn(&small(), 5, &device().autodiff());
    let train = |folder: &str, steps, resume| {
        let folder = dir.path().join(folder);
        train_from(model.clone(), &examples, &folder, steps, resume)
    };
    let whole = train("whole", 25, false);
    train("parts", 10, false);
    let resumed = train("parts", 25, true);
    assert_eq!(
        menagerie_hub::values(&whole),
        menagerie_hub::values(&resumed)
    );
}

#[test]
fn without_weights_a_term_has_no_gradient() {
    let device = device().autodiff();
    let silent = LossWeights {
        classification: 0.0,
        reconstruction: 0.0,
        r1: 0.0,
        r2: 1.0,
    };
    let model = drawn(&small().with_weights(silent), 3, &device);
    let batch = bars(6).batch(&[0, 1, 2, 3, 4, 5], &device).unwrap();
    let output = TrainStep::step(&model, batch);
    let get = |param: &burn::module::Param<Tensor<2>>| output.grads.get::<2>(param.id);
    let sum = |gradient: Tensor<2>| values(gradient.abs().sum())[0];
    assert_eq!(get(&model.classifier).map(sum).unwrap_or(0.0), 0.0);
    assert!(sum(get(&model.prototypes).unwrap()) > 0.0);
}

#[test]
fn the_baseline_learns_bars() {
    let device = device();
    let examples = bars(120);
    let training = TrainingConfig::short(60).with_batch(60);
    let mut batches = Batches::new(&examples, &training, Seed(5)).unwrap();
    assert_eq!(batches.steps_per_epoch(), 2);
    let config = PlainNetConfig::matching(&small());
    let autodiff = device.clone().autodiff();
    let model = menagerie_train::initialise(&autodiff, Seed(0), || config.init(&autodiff));
    let batch = |step: usize, device: &Device| batches.batch(step, device);
    let optimiser = training.optimizer().unwrap();
    let mut procedure = Supervised::new(model.unwrap(), optimiser, 2e-3, batch);
    for step in 0..120 {
        procedure.step(step).unwrap();
    }
    let model = procedure.trained().unwrap();
    let metrics = evaluate(&model, &bars(90), 45, &device).unwrap();
    assert!(metrics.get("accuracy").unwrap() > 0.95, "{metrics}");
    assert_eq!(
        model.predict(examples.images(&device)).unwrap().dims(),
        [120, 3]
    );
}

#[test]
fn deformed_batches_differ_by_step_and_repeat_by_seed() {
    let device = device();
    let examples = bars(30);
    let training = TrainingConfig::published().with_batch(30);
    let batch = |seed, step| {
        let mut batches = Batches::new(&examples, &training, Seed(seed)).unwrap();
        values(batches.batch(step, &device).unwrap().images)
    };
    assert_eq!(batch(1, 4), batch(1, 4));
    assert_ne!(batch(1, 4), batch(2, 4));
    let plain = TrainingConfig::short(1).with_batch(30);
    let mut plain = Batches::new(&examples, &plain, Seed(1)).unwrap();
    let plain = values(plain.batch(4, &device).unwrap().images);
    assert_ne!(batch(1, 4), plain);
    assert!(batch(1, 4).iter().all(|value| (0.0..=1.0).contains(value)));
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
        stored.get("encoder_f1").unwrap().shape().to_vec(),
        [8, 1, 3, 3]
    );
    assert_eq!(
        stored.get("decoder_f3").unwrap().shape().to_vec(),
        [4, 8, 3, 3]
    );

    let wider = PrototypeNetConfig::new([1, 16, 16], vec![8, 9, 4], 5, CLASSES);
    let error = weights::load(&wider, &path, &device)
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not fit PrototypeNet"), "{error}");
    assert!(error.contains("`encoder_f2`"), "{error}");
    let deeper = PrototypeNetConfig::new([1, 16, 16], vec![8, 8, 4, 4], 5, CLASSES);
    let error = weights::load(&deeper, &path, &device)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("encoder_f4") && error.contains("missing"),
        "{error}"
    );

    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = weights::load(&small(), &path, &device)
        .unwrap_err()
        .to_string();
    assert!(error.contains("net.safetensors"), "{error}");
}

#[test]
fn tensorflow_variables_give_the_same_network() {
    let device = device();
    let config = small();
    let model = drawn(&config, 9, &device);
    let mut official = weights::key_map()
        .to_official(&menagerie_hub::values(&model))
        .unwrap();
    // As TensorFlow lays them out: filters [3, 3, in, out], prototypes flattened channels last.
    for layer in 1..=3 {
        for side in ["encoder", "decoder"] {
            let key = format!("{side}_f{layer}");
            let filter = Tensor::<4>::from_data(official[&key].clone(), &device);
            official.insert(key, filter.permute([2, 3, 1, 0]).into_data());
        }
    }
    let [channels, height, width] = config.latent();
    let prototypes = model
        .prototypes
        .val()
        .reshape([5, channels, height, width])
        .permute([0, 2, 3, 1])
        .reshape([5, config.features()]);
    official.insert("prototype_feature_vectors".into(), prototypes.into_data());
    let variables = StateDict::from_tensors("a TensorFlow export", official.clone());
    let imported = weights::from_tensorflow(&config, variables, &device).unwrap();
    assert_eq!(
        menagerie_hub::values(&model),
        menagerie_hub::values(&imported)
    );

    official.insert(
        "prototype_feature_vectors".into(),
        TensorData::from([[1f32, 2.0]]),
    );
    let variables = StateDict::from_tensors("a TensorFlow export", official);
    let error = weights::from_tensorflow(&config, variables, &device).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`prototype_feature_vectors`"), "{text}");
}

#[test]
fn a_foreign_state_dict_lists_what_does_not_fit() {
    let device = device();
    let foreign = StateDict::from_tensors(
        "another model",
        [("conv1.weight".to_string(), TensorData::from([1f32]))],
    );
    let model = small().init(&device).unwrap();
    let error = menagerie_hub::load(model, &foreign, &weights::key_map()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("another model does not fit PrototypeNet"),
        "{text}"
    );
    assert!(
        text.contains("`conv1.weight`") && text.contains("last_layer_w"),
        "{text}"
    );
    // The map itself is needed: under module paths nothing fits.
    let model = small().init(&device).unwrap();
    let official = weights::key_map()
        .to_official(&menagerie_hub::values(&model))
        .unwrap();
    let official = StateDict::from_tensors("official", official);
    assert!(menagerie_hub::load(model, &official, &KeyMap::identity()).is_err());
}

#[test]
fn impossible_configurations_are_refused() {
    let mnist = PrototypeNetConfig::mnist;
    assert_eq!(
        refusal(PrototypeNetConfig {
            prototypes: 0,
            ..mnist()
        }),
        "PrototypeNetConfig.prototypes = 0: must be at least 1"
    );
    assert_eq!(
        refusal(PrototypeNetConfig {
            classes: 1,
            ..mnist()
        }),
        "PrototypeNetConfig.classes = 1: must be at least 2"
    );
    assert_eq!(
        refusal(PrototypeNetConfig {
            image: [1, 15, 28],
            ..mnist()
        }),
        "PrototypeNetConfig.image = [1, 15, 28]: 4 layers with stride 2 need sides of at least \
         16, unless single_position is set"
    );
    let tiny = PrototypeNetConfig {
        image: [1, 9, 8],
        single_position: true,
        ..mnist()
    };
    let tiny = tiny.init(&device()).unwrap();
    assert_eq!(tiny.decode_prototypes().dims(), [15, 1, 9, 8]);
    assert_eq!(
        refusal(PrototypeNetConfig {
            image: [0, 28, 28],
            ..mnist()
        }),
        "PrototypeNetConfig.image = [0, 28, 28]: channels, height and width must be at least 1"
    );
    assert_eq!(
        refusal(PrototypeNetConfig {
            maps: vec![32, 0],
            ..mnist()
        }),
        "PrototypeNetConfig.maps = [32, 0]: needs at least one layer, each with at least one map"
    );
    for (weights, text) in [
        (
            LossWeights::new().with_r1(-0.5),
            "LossWeights.r1 = -0.5: must be finite and not negative",
        ),
        (
            LossWeights::new().with_classification(f64::NAN),
            "LossWeights.classification = NaN: must be finite and not negative",
        ),
    ] {
        assert_eq!(refusal(mnist().with_weights(weights)), text);
    }
    let error = PlainNetConfig::new([1, 28, 28], vec![4], 1)
        .init(&device())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("classes = 1: must be at least 2")
    );
}

#[test]
fn images_and_labels_that_do_not_fit_are_refused() {
    let device = device();
    let model = PrototypeNetConfig::mnist().init(&device).unwrap();
    let grey = |batch| Tensor::<4>::zeros([batch, 1, 28, 28], &device);
    let rule = "must be [batch, 1, 28, 28] with at least one image";
    let colour = Tensor::<4>::zeros([2, 3, 28, 28], &device);
    for error in [
        model.encode(colour.clone()).unwrap_err(),
        model.predict(colour.clone()).unwrap_err(),
        model.explain(colour.clone()).unwrap_err(),
        model.reconstruct(colour.clone()).unwrap_err(),
        model.nearest_training_images(colour.clone()).unwrap_err(),
        model.forward(colour).unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            format!("images is [2, 3, 28, 28]: {rule}")
        );
    }
    let error = model.encode_in_batches(grey(2), 0).unwrap_err();
    assert_eq!(error.to_string(), "the batch size is 0: must be at least 1");
    let error = model.decode(Tensor::zeros([2, 41], &device)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "features is [2, 41]: must be [batch, 40]"
    );

    let refused = |pixels: usize, labels: Vec<usize>| -> Error {
        Examples::new(vec![0.0; pixels], labels, [1, 2, 2], 10).unwrap_err()
    };
    assert_eq!(
        refused(8, vec![0, 10]).to_string(),
        "a label is 10: must be below the number of classes, 10"
    );
    assert_eq!(
        refused(7, vec![0, 1]).to_string(),
        "the number of pixels is 7: must be one or more images of 1 x 2 x 2 values for the 2 labels"
    );
    assert!(
        refused(0, vec![])
            .to_string()
            .contains("one or more images")
    );
    let examples = bars(6);
    let error = examples.batch(&[6], &device).unwrap_err();
    assert_eq!(error.to_string(), "an index is 6: must be below 6");
    let error = Batches::new(&examples, &TrainingConfig::new(), Seed(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the batch size is 250: must be at least 1 and at most the 6 examples there are"
    );
    for (config, text) in [
        (
            TrainingConfig::new().with_learning_rate(0.0),
            "TrainingConfig.learning_rate = 0.0: must be finite and above 0",
        ),
        (
            TrainingConfig::new().with_batch(0),
            "TrainingConfig.batch = 0: must be at least 1",
        ),
        (
            TrainingConfig::new().with_epochs(0),
            "TrainingConfig.epochs = 0: must be at least 1",
        ),
    ] {
        assert_eq!(config.optimizer().err().unwrap().to_string(), text);
        assert_eq!(config.validate().unwrap_err().to_string(), text);
    }
}

#[test]
fn labels_reach_the_loss_in_the_order_of_the_images() {
    let device = device();
    let model = drawn(&small(), 4, &device);
    let examples = bars(6);
    let (loss, _) = model.loss(examples.batch(&[0, 1, 5], &device).unwrap());
    let direct = LabelledImages {
        images: examples
            .images(&device)
            .select(0, Tensor::<1, Int>::from_ints([0, 1, 5], &device)),
        labels: Tensor::from_ints([0, 1, 2], &device),
    };
    let (direct, _) = model.loss(direct);
    assert_eq!(values(loss.total), values(direct.total));
}
