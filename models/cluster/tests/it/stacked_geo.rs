//! stacked-geo: counts, behaviour, training, maps, weights and refusals.

mod refusals;
mod scenes;

use burn::{
    module::Module,
    tensor::{Distribution, Tensor},
};
use menagerie_cluster::stacked_geo::{
    AutoencoderConfig, AutoencoderTraining, ClassMap, Features, Fit, MinMax, NO_CLASS, Pca,
    ScenePixels, Stack, StackConfig, StageConfig, collect, label, sample, selu, weights,
};
use menagerie_core::Seed;
use menagerie_data_image::geotiff::{GeoTags, Samples, Scene, write_bands};
use menagerie_hub::{HubOptions, Source, StateDict};
use menagerie_nn::clustering::{Contingency, KMeansConfig, Quality, Rows};
use menagerie_train::{Procedure, Progress, Run};
use rand::RngExt;
use std::path::Path;

use crate::device;

/// A scene of 40×30 pixels of four bands in three fields with a noise of a few units, and its fields.
/// The last two columns have no data.
fn fields() -> (Vec<u8>, Vec<usize>) {
    let spectra = [[40, 90, 60, 120], [90, 40, 130, 60], [60, 130, 40, 90]];
    let mut rng = Seed(3).stream("fields").rng();
    let mut values = Vec::new();
    let mut labels = Vec::new();
    for row in 0..40 {
        for column in 0..30 {
            let field = if row < 14 {
                0
            } else {
                1 + usize::from(column > 16)
            };
            labels.push(field);
            for band in 0..4 {
                let noise: i32 = rng.random_range(-6..=6);
                let value = if column < 28 {
                    spectra[field][band] + noise
                } else {
                    255
                };
                values.push(value as u8);
            }
        }
    }
    (values, labels)
}

fn scene(dir: &Path) -> (Scene, Vec<usize>) {
    let (values, labels) = fields();
    let path = dir.join("scene.tif");
    let geo = GeoTags::north_up([500_000.0, 6_500_000.0], [30.0, 30.0]).with_epsg(32_754);
    write_bands(&path, Samples::U8(&values), 4, [40, 30], &geo, Some(255.0)).unwrap();
    (Scene::open(&[path]).unwrap(), labels)
}

fn drawn(config: &StackConfig, seed: u64) -> Stack {
    let device = device();
    menagerie_train::initialise(&device, Seed(seed), || config.init(&device)).unwrap()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

#[test]
fn published_configurations_have_the_published_number_of_parameters() {
    let device = device();
    for (config, single, stack) in [
        (StackConfig::landsat8(), 177, 1_694),
        (StackConfig::aster(), 203, 1_928),
        (StackConfig::sentinel2(), 216, 2_045),
    ] {
        let canonical = AutoencoderConfig::canonical(config.bands);
        assert_eq!(canonical.init(&device).unwrap().num_params(), single);
        assert_eq!(config.init(&device).unwrap().num_params(), stack);
    }
}

#[test]
fn weights_start_as_keras_draws_them() {
    let values = menagerie_hub::values(&drawn(&StackConfig::landsat8(), 0));
    for (path, data) in &values {
        let values: Vec<f32> = data.iter().collect();
        if path.ends_with("bias") {
            assert!(values.iter().all(|value| *value == 0.0), "{path}");
            continue;
        }
        let limit = (6.0 / data.shape().iter().sum::<usize>() as f32).sqrt();
        assert!(
            values.iter().all(|value| value.abs() <= limit * 1.0001),
            "{path}"
        );
        let most = values
            .iter()
            .fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(most > 0.5 * limit, "{path}: {most} of {limit}");
    }
}

#[test]
fn selu_has_no_undefined_gradient() {
    let device = device().autodiff();
    let x = Tensor::<1>::from_floats([-200.0, -1.0, 0.0, 2.0, 200.0], &device).require_grad();
    let y = selu(x.clone());
    let grads = y.clone().sum().backward();
    let found = values(y);
    let scale = 1.050_701_f32;
    let floor = -scale * 1.673_263_2;
    for (found, expected) in found.iter().zip([
        floor,
        floor * (1.0 - (-1.0_f32).exp()),
        0.0,
        2.0 * scale,
        200.0 * scale,
    ]) {
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    }
    let gradient = values(x.grad(&grads).unwrap());
    assert!(
        gradient.iter().all(|value| value.is_finite()),
        "{gradient:?}"
    );
    assert!((gradient[4] - scale).abs() < 1e-5 && gradient[0].abs() < 1e-6);
}

#[test]
fn a_stack_is_its_stages_one_after_the_other() {
    let device = device();
    let stack = drawn(&StackConfig::landsat8(), 1);
    let x = Tensor::random([5, 7], Distribution::Default, &device);
    let pass = stack.forward(x.clone()).unwrap();
    assert_eq!(pass.second_input.dims(), [5, 14]);
    assert_eq!(pass.third_input.dims(), [5, 19]);
    assert_eq!(pass.third.code().dims(), [5, 2]);
    // New before old: the first's reconstruction stands in front of the bands.
    assert_eq!(
        values(pass.second_input.clone().narrow(1, 7, 7)),
        values(x.clone())
    );
    assert_eq!(
        values(pass.third_input.clone().narrow(1, 0, 5)),
        values(stack.ae2.encoder_layer(pass.second_input, 1).unwrap())
    );
    assert_eq!(values(stack.encode(x).unwrap()), values(pass.third.code()));
}

/// Few and quick passes for a few hundred pixels.
fn stage(epochs: usize) -> StageConfig {
    StageConfig::new(epochs, 32).with_learning_rate(5e-3)
}

fn fit<'a>(
    folder: &'a Path,
    progress: &'a Progress,
    device: &'a burn::tensor::Device,
    resume: bool,
) -> Fit<'a> {
    Fit {
        seed: Seed(4),
        folder,
        resume,
        progress,
        device,
    }
}

#[test]
fn fields_are_mapped_with_every_kind_of_features() {
    let dir = tempfile::tempdir().unwrap();
    let device = device();
    let progress = Progress::silent();
    let (scene, labels) = scene(dir.path());
    let scaling = MinMax::fit(&ScenePixels::raw(&scene)).unwrap();
    let points = ScenePixels::scaled(&scene, &scaling).unwrap();
    let pixels = collect(&points).unwrap();
    assert_eq!(
        pixels.len(),
        40 * 28 * 4,
        "pixels without data are left out"
    );
    assert!(pixels.iter().all(|value| (0.0..=1.0).contains(value)));

    let fit = fit(dir.path(), &progress, &device, false);
    let single = fit
        .autoencoder(
            "canonical",
            &AutoencoderConfig::canonical(4),
            &stage(20),
            &pixels,
        )
        .unwrap();
    let stages = [stage(20), stage(10), stage(10)];
    let config = StackConfig::new(4);
    let stack = fit.stack(&config, &stages, &pixels).unwrap();
    assert_eq!((single.errors.len(), stack.errors.len()), (1, 3));
    let mean = pixels.iter().sum::<f32>() / pixels.len() as f32;
    let variance: f32 = pixels.iter().map(|value| (value - mean).powi(2)).sum();
    let variance = f64::from(variance / pixels.len() as f32);
    assert!(
        single.errors[0] < 0.3 * variance,
        "{:?} of {variance}",
        single.errors
    );

    for features in [
        Features::Bands(4),
        Features::principal(Pca::fit(&points).unwrap(), 0.9),
        Features::Autoencoder(single.model, device.clone()),
        Features::Stack(stack.model.clone(), device.clone()),
    ] {
        let mapped = features.points(&points).unwrap();
        let centres = KMeansConfig::new(3).fit(&mapped, Seed(0)).unwrap();
        let map = label(&scene, &scaling, &features, &centres).unwrap();
        assert_eq!(map.size(), [40, 30]);
        let cleaned = map.majority(7).unwrap();
        let valid: Vec<usize> = (0..1_200).filter(|index| index % 30 < 28).collect();
        let class = |map: &ClassMap, index: usize| usize::from(map.classes()[index]);
        assert!(valid.iter().all(|&index| class(&map, index) < 3));
        assert!((0..40).all(|row| class(&cleaned, row * 30 + 29) == usize::from(NO_CLASS)));
        let of = |map: &ClassMap| -> Vec<usize> {
            valid.iter().map(|&index| class(map, index)).collect()
        };
        let truth: Vec<usize> = valid.iter().map(|&index| labels[index]).collect();
        let accuracy = Contingency::new(&truth, &of(&cleaned)).unwrap().accuracy();
        assert!(
            accuracy > 0.9,
            "{accuracy} with {} features",
            features.dim()
        );
        // What the map says is what the centres say of the points.
        assert_eq!(centres.assign(&mapped).unwrap(), of(&map));
        let quality = Quality::of(&mapped, &of(&map)).unwrap();
        assert!(quality.calinski_harabasz > 100.0 && quality.davies_bouldin < 1.5);
    }

    // A finished run is taken as it is.
    let resumed = Fit {
        resume: true,
        ..fit
    };
    let again = resumed.stack(&config, &stages, &pixels).unwrap();
    assert_eq!(
        menagerie_hub::values(&again.model),
        menagerie_hub::values(&stack.model)
    );
    let error = fit
        .stack(&config, &stages, &pixels)
        .unwrap_err()
        .to_string();
    assert!(error.contains("already holds a run"), "{error}");
}

#[test]
fn a_finished_run_of_other_pixels_is_not_taken_for_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let device = device();
    let progress = Progress::silent();
    let mut rng = Seed(1).rng();
    let pixels: Vec<f32> = (0..60 * 4).map(|_| rng.random()).collect();
    let mut others = pixels.clone();
    others[171] = 1.0 - others[171];
    let fit = fit(dir.path(), &progress, &device, true);
    let stages = [stage(2), stage(2), stage(2)];
    let stack = |pixels: &[f32]| fit.stack(&StackConfig::new(4), &stages, pixels);
    let first = stack(&pixels).unwrap();
    let again = stack(&pixels).unwrap();
    assert_eq!(
        menagerie_hub::values(&again.model),
        menagerie_hub::values(&first.model)
    );
    let single = |pixels: &[f32]| {
        let config = AutoencoderConfig::canonical(4);
        fit.autoencoder("canonical", &config, &stage(2), pixels)
    };
    single(&pixels).unwrap();
    for error in [stack(&others).unwrap_err(), single(&others).unwrap_err()] {
        let text = error.to_string();
        assert!(
            text.contains("config.json: the run was started with pixels.hash = "),
            "{text}"
        );
        assert!(text.contains(", but pixels.hash = "), "{text}");
        let end = "resume with the same configuration or choose another folder";
        assert!(text.ends_with(end), "{text}");
    }
}

#[test]
fn collapsed_codes_are_told_and_refused_if_restarts_cannot_help() {
    let dir = tempfile::tempdir().unwrap();
    let device = device();
    let progress = Progress::silent();
    let mut rng = Seed(1).rng();
    let pixels: Vec<f32> = (0..200 * 4).map(|_| rng.random()).collect();
    let fit = fit(dir.path(), &progress, &device, true);
    let train = |name: &str, stage: &StageConfig| {
        fit.autoencoder(name, &AutoencoderConfig::canonical(4), stage, &pixels)
    };
    // A few passes change little of a fresh network, whose code varies in two directions.
    let alive = train("alive", &stage(3).with_restarts(2)).unwrap();
    assert_eq!((alive.codes[0].rank(), alive.collapsed()), (2, false));
    assert!(!dir.path().join("alive-again-1").exists());
    // A penalty that nothing stands up to: every unit says the same of every pixel.
    let heavy = StageConfig::new(150, 32)
        .with_learning_rate(2e-2)
        .with_penalty(10.0);
    let dead = train("dead", &heavy).unwrap();
    assert!(dead.collapsed(), "{:?}", dead.codes);
    // The same run, only now it matters.
    let error = train("dead", &heavy.with_restarts(1)).unwrap_err();
    let rank = dead.codes[0].rank();
    let text = error.to_string();
    assert!(
        rank < 2 && text.starts_with("the rank of the codes of dead is "),
        "{text}"
    );
    assert!(
        text.ends_with(
            "must be 2, its units: 2 attempts from different weights have collapsed; lower the \
             penalty or allow more restarts"
        ),
        "{text}"
    );
    assert!(dir.path().join("dead-again-1").is_dir());
}

#[test]
fn a_resumed_stage_equals_an_uninterrupted_one() {
    let dir = tempfile::tempdir().unwrap();
    let device = device();
    let mut rng = Seed(1).rng();
    // 50 pixels in batches of 32: the second batch of a pass is the rest.
    let pixels: Vec<f32> = (0..50 * 4).map(|_| rng.random()).collect();
    let config = AutoencoderConfig::canonical(4);
    let model = menagerie_train::initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let train = |name: &str, steps: usize, resume: bool| {
        let mut training = AutoencoderTraining::new(&model, &pixels, &stage(10), Seed(2)).unwrap();
        assert_eq!(training.steps_per_epoch(), 2);
        let mut fit = training.fit_config();
        (fit.steps, fit.checkpoint_every) = (steps, 3);
        let run = Run::create(&dir.path().join(name), &"stage", resume).unwrap();
        run.fit(&mut training, &fit, &Progress::silent()).unwrap();
        menagerie_hub::values(&training.trained().unwrap())
    };
    let whole = train("whole", 13, false);
    train("parts", 5, false);
    assert_eq!(train("parts", 13, true), whole);
    // Every pixel is visited once in a pass, the rest included.
    let mut training = AutoencoderTraining::new(&model, &pixels, &stage(1), Seed(2)).unwrap();
    for step in 0..2 {
        let metrics = training.step(step).unwrap().read().unwrap();
        let parts = metrics.get("error").unwrap() + metrics.get("activity").unwrap();
        assert!((metrics.get("loss").unwrap() - parts).abs() < 1e-6);
    }
}

#[test]
fn maps_keep_where_the_scene_lies() {
    let dir = tempfile::tempdir().unwrap();
    let (scene, _) = scene(dir.path());
    let classes = (0..1_200).map(|at| {
        if at % 30 < 28 {
            (at % 3) as u8
        } else {
            NO_CLASS
        }
    });
    let map = ClassMap::new(classes.collect(), [40, 30]).unwrap();
    let path = dir.path().join("map.tif");
    map.write(&path, scene.geo()).unwrap();
    let back = Scene::open(&[&path]).unwrap();
    assert_eq!(back.geo(), scene.geo());
    let mut values = Vec::new();
    back.read_rows(0..40, &mut values).unwrap();
    for (value, class) in values.iter().zip(map.classes()) {
        match *class {
            NO_CLASS => assert!(value.is_nan()),
            class => assert_eq!(*value, f32::from(class)),
        }
    }
    map.write_png(&dir.path().join("map.png")).unwrap();
    assert_eq!(map.colours().len(), 3 * 1_200);
    assert_eq!(map.counts(), [400, 360, 360]);
    let names = [(0, 2), (1, 1), (2, 0)].into_iter().collect();
    let renamed = map.renamed(&names, 3).unwrap();
    assert_eq!(renamed.counts(), [360, 360, 400]);
}

#[test]
fn weights_round_trip_and_other_numbers_of_bands_are_refused() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stack.safetensors");
    let config = StackConfig::landsat8();
    let stack = drawn(&config, 7);
    weights::save_stack(&stack, &path).unwrap();
    let back = weights::load_stack(&config, &path, &device).unwrap();
    assert_eq!(menagerie_hub::values(&stack), menagerie_hub::values(&back));
    let source = Source::parse(path.to_str().unwrap()).unwrap();
    let options = HubOptions::new(dir.path());
    let back = weights::load_stack_from(&config, &source, &options, &device).unwrap();
    assert_eq!(menagerie_hub::values(&stack), menagerie_hub::values(&back));
    let stored = StateDict::open(&path).unwrap();
    assert_eq!(
        stored.get("ae1.enc.0.weight").unwrap().shape().to_vec(),
        [6, 7]
    );

    let error = weights::load_stack(&StackConfig::aster(), &path, &device).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("does not fit Stack"), "{text}");
    assert!(text.contains("`ae1.enc.0.weight`"), "{text}");

    let single = dir.path().join("single.safetensors");
    let canonical = AutoencoderConfig::canonical(7);
    weights::save(&stack.ae1, &single).unwrap();
    let back = weights::load(&canonical, &single, &device).unwrap();
    assert_eq!(
        menagerie_hub::values(&back),
        menagerie_hub::values(&stack.ae1)
    );
    let error = weights::load(&AutoencoderConfig::canonical(6), &single, &device).unwrap_err();
    assert!(error.to_string().contains("`dec.2.bias`"), "{error}");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = weights::load_stack(&config, &path, &device).unwrap_err();
    assert!(error.to_string().contains("stack.safetensors"), "{error}");
}
