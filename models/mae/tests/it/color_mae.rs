//! color-mae: counts, schedules, training and weights.

use crate::{
    color_noise::{npz, small},
    device, num_params,
};
use burn::tensor::{Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_hub::StateDict;
use menagerie_mae::{
    color_mae::{
        Color, ColorMaeConfig, ColorPretrainingConfig, NoiseSchedule, NoiseSource, decays, weights,
    },
    mae_base::{Classifier, ClassifierConfig, DecoderConfig, Mae, MaeConfig, VitConfig},
};
use menagerie_train::{FitConfig, Progress, Run, Sampler, Supervised, initialise, parameters};
use std::path::Path;

pub(crate) fn tiny(color: Color) -> ColorMaeConfig {
    let encoder = VitConfig::new(16, 2, 16, 2, 2).with_channels(1);
    let mae = MaeConfig::new(encoder, DecoderConfig::new(8, 1, 2));
    let mut config = ColorMaeConfig::of(mae, color);
    config.noise = NoiseSchedule::constant(small(color));
    config
}

#[test]
fn published_configurations_have_the_published_number_of_parameters() {
    let device = device();
    for (config, parameters) in [
        (ColorMaeConfig::base(), 111_907_840),
        (ColorMaeConfig::large(), 329_541_888),
    ] {
        assert_eq!(num_params(&config.init(&device).unwrap()), parameters);
    }
    let classifier = ColorMaeConfig::classifier().init(&device).unwrap();
    assert_eq!(num_params(&classifier), 86_567_656);
}

#[test]
fn colors_change_with_the_epoch() {
    let mut config = tiny(Color::Green);
    config.noise = config
        .noise
        .then(200, NoiseSource::Drawn(small(Color::Blue)))
        .then(250, NoiseSource::Drawn(small(Color::Red)));
    let epochs = [0, 199, 200, 249, 250, 1_000];
    assert_eq!(
        epochs.map(|epoch| config.noise.at(epoch)),
        [0, 0, 1, 1, 2, 2]
    );
    let masks = config.masks(Seed(0)).unwrap();
    assert_eq!(masks.at(0), masks.at(199));
    assert_ne!(masks.at(199).bank(), masks.at(200).bank());

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("noise.npz");
    let values: Vec<f32> = (0..200).map(|value| (value * 37 % 101) as f32).collect();
    npz(&path, &[("arr_0", &[2, 10, 10], &values)]);
    let mut config = tiny(Color::Green);
    config.noise = NoiseSchedule::new(NoiseSource::File(path.clone()));
    assert_eq!(
        config.masks(Seed(0)).unwrap().at(0).bank().shape(),
        [2, 10, 10]
    );
    config.mae.encoder.image = 24;
    let text = config.masks(Seed(0)).unwrap_err().to_string();
    assert!(text.starts_with("the grid of patches is 12: "), "{text}");
}

#[test]
fn the_published_recipe_is_mmpretrains() {
    let published = ColorPretrainingConfig::published(300);
    let schedule = published.schedule(100).unwrap();
    let near = |step: usize, expected: f64| {
        let rate = schedule.at(step);
        assert!(
            (rate - expected).abs() < 1e-9,
            "step {step}: {rate}, not {expected}"
        );
    };
    near(0, 2.4e-7);
    near(2_000, 2.4e-3 * (1e-4 + 0.5 * (1.0 - 1e-4)));
    near(4_000, 2.4e-3);
    near(17_000, 1.2e-3);
    near(30_000, 0.0);
    let error = published.with_start_factor(2.0).schedule(100).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ColorPretrainingConfig.start_factor = 2.0: must lie in 0..=1"
    );
    let model = tiny(Color::Green).init(&device()).unwrap();
    let decaying: Vec<String> = parameters(&model)
        .into_iter()
        .filter(|(path, rank)| decays(path, *rank))
        .map(|(path, _)| path)
        .collect();
    assert!(
        decaying
            .iter()
            .all(|path| path.ends_with("weight") && !path.contains("norm"))
    );
    // Patch embedding, decoder_embed and decoder_pred, four matrices in each of three blocks.
    assert_eq!(decaying.len(), 3 + 4 * 3);
}

#[test]
fn training_learns_and_resumes_exactly() {
    let device = device();
    let mut config = tiny(Color::Green);
    config.noise = config.noise.then(1, NoiseSource::Drawn(small(Color::Blue)));
    let masks = config.masks(Seed(0)).unwrap();
    // Gradients of a brightness: easy to fill in.
    let images = Tensor::<1, burn::tensor::Int>::arange(0..32 * 256, &device)
        .float()
        .reshape([32, 1, 16, 16])
        .mul_scalar(0.11)
        .sin();
    let trainer = || {
        // Reproducible also while other tests draw their weights.
        let tracked = device.clone().autodiff();
        let model = initialise(&tracked, Seed(1), || config.init(&tracked)).unwrap();
        let pretraining = ColorPretrainingConfig::published(8);
        let mae = pretraining
            .mae
            .clone()
            .with_warmup(1.0)
            .with_base_rate(2e-2);
        let pretraining = pretraining.with_mae(mae.with_batch(64));
        let optimiser = pretraining.optimizer(&model).unwrap();
        let schedule = pretraining.schedule(4).unwrap();
        let mut sampler = Sampler::shuffled(32, 8, Seed(2)).unwrap();
        let (images, masks) = (images.clone(), masks.clone());
        Supervised::new(model, optimiser, schedule, move |step, device| {
            let indices: Vec<i64> = sampler.indices(step).iter().map(|&at| at as i64).collect();
            let indices = Tensor::from_data(indices.as_slice(), &images.device());
            let batch = images.clone().select(0, indices);
            masks.mask(
                Tensor::from_data(batch.into_data(), device),
                step,
                4,
                Seed(3),
            )
        })
    };
    let dir = tempfile::tempdir().unwrap();
    let fit = |name: &str, steps: usize, resume: bool| {
        let run = Run::create(&dir.path().join(name), &config, resume).unwrap();
        let mut fit = FitConfig::new(steps);
        fit.log_every = 1;
        fit.checkpoint_every = 5;
        let mut trainer = trainer();
        run.fit(&mut trainer, &fit, &Progress::silent()).unwrap();
        let losses = run.history().unwrap();
        losses
            .iter()
            .filter_map(|record| record.metrics.get("loss"))
            .collect::<Vec<f64>>()
    };
    let whole = fit("whole", 32, false);
    assert!(
        whole[28..].iter().sum::<f64>() < 0.8 * whole[..4].iter().sum::<f64>(),
        "{whole:?}"
    );
    fit("killed", 15, false);
    assert_eq!(fit("killed", 32, true), whole);
}

#[test]
fn checkpoints_of_mmengine_load_and_wrong_ones_are_named() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let config = tiny(Color::Green);
    let model = config.init(&device).unwrap();
    let path = dir.path().join("model.safetensors");
    weights::save(&model, &path).unwrap();
    let images = Tensor::<4>::ones([1, 1, 16, 16], &device);
    let features =
        |model: &Mae| -> TensorData { model.encode(images.clone()).unwrap().into_data() };
    let loaded = weights::load(&config, &path, &device).unwrap();
    assert_eq!(features(&loaded), features(&model));
    let file = StateDict::open(&path).unwrap();
    for key in [
        "backbone.patch_embed.projection.weight",
        "backbone.layers.1.ffn.layers.0.0.bias",
        "backbone.ln1.weight",
        "neck.decoder_blocks.0.attn.qkv.weight",
        "neck.ln1.bias",
    ] {
        assert!(file.get(key).is_some(), "{key}");
    }
    // Below `state_dict`, beside the state of the optimiser, as mmengine writes it.
    let mut nested = StateDict::from_tensors("a checkpoint", []);
    for (key, data) in file.iter() {
        nested.insert(format!("state_dict.{key}"), data.clone());
    }
    nested.insert("optimizer.state.0.exp_avg", TensorData::from([0.0f32]));
    let loaded = weights::from_state_dict(&config, nested, &device).unwrap();
    assert_eq!(features(&loaded), features(&model));
    let encoder = weights::load_encoder(&config.mae.encoder, &path, &device).unwrap();
    let encoded = encoder.forward(images.clone(), None, &[]).unwrap();
    assert_eq!(encoded.into_data(), features(&model));

    let mut broken = file.clone();
    broken.remove("neck.mask_token");
    broken.insert("backbone.extra", TensorData::from([0.0f32]));
    broken.insert("neck.ln1.bias", TensorData::from([0.0f32; 3]));
    let error = weights::from_state_dict(&config, broken, &device)
        .unwrap_err()
        .to_string();
    for part in ["neck.mask_token", "backbone.extra", "neck.ln1.bias"] {
        assert!(error.contains(part), "{error}");
    }

    let config = ClassifierConfig::new(config.mae.encoder, 5);
    let classifier = config.init(&device).unwrap();
    weights::save_classifier(&classifier, &path).unwrap();
    let file = StateDict::open(&path).unwrap();
    assert!(file.get("backbone.ln2.weight").is_some() && file.get("head.fc.bias").is_some());
    assert!(file.get("backbone.ln1.weight").is_none());
    let loaded = weights::load_classifier(&config, &path, &device).unwrap();
    let scores = |model: &Classifier| model.forward(images.clone(), &[]).unwrap().into_data();
    assert_eq!(scores(&loaded), scores(&classifier));
    // An autoencoder is not a classifier.
    let text = weights::load(&tiny(Color::Green), &path, &device)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("neck.decoder_blocks.0.attn.proj.bias") && text.contains("head.fc.weight"),
        "{text}"
    );
}

#[test]
fn fine_tuning_starts_from_a_checkpoint_at_another_size() {
    let device = device();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let config = tiny(Color::Green);
    let model = config.init(&device).unwrap();
    weights::save(&model, &path).unwrap();
    let official = menagerie_mae::mae_base::weights::state_dict(&model).unwrap();
    for image in [16, 24] {
        let mut encoder = config.mae.encoder.clone();
        encoder.image = image;
        let config = ClassifierConfig::new(encoder, 3);
        let (loaded, report) = weights::load_pretrained(&config, &path, &device).unwrap();
        let (expected, _) =
            menagerie_mae::mae_base::weights::pretrained_from(&config, official.clone(), &device)
                .unwrap();
        let images = Tensor::<4>::ones([1, 1, image, image], &device);
        let tokens = |model: &Classifier| {
            let tokens = model.encoder.forward(images.clone(), None, &[]);
            tokens.unwrap().into_data()
        };
        assert_eq!(tokens(&loaded), tokens(&expected));
        assert!(report.unexpected.is_empty(), "{report}");
    }
    // A classifier's head and norm are taken over.
    let config = ClassifierConfig::new(config.mae.encoder, 3);
    let classifier = config.init(&device).unwrap();
    weights::save_classifier(&classifier, &path).unwrap();
    let (loaded, report) = weights::load_pretrained(&config, &path, &device).unwrap();
    assert!(report.missing.is_empty(), "{report}");
    assert_eq!(
        menagerie_hub::values(&loaded),
        menagerie_hub::values(&classifier)
    );
    let mut other = config.clone();
    other.encoder.depth = 3;
    let text = weights::load_pretrained(&other, &path, &device)
        .unwrap_err()
        .to_string();
    assert!(text.contains("blocks.2.attn.qkv.weight"), "{text}");
}

#[test]
fn a_pickled_checkpoint_of_mmengine_loads() {
    // With meta data, logged scalars and the state of an optimiser beside the weights.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mmengine.pth");
    let mae = MaeConfig::new(VitConfig::new(8, 4, 8, 1, 2), DecoderConfig::new(8, 1, 2));
    let config = ColorMaeConfig::of(mae, Color::Green);
    let model = weights::load(&config, &path, &device()).unwrap();
    let token: Vec<f32> = model.decoder.mask_token.val().into_data().iter().collect();
    assert_eq!(token, [0.5; 8]);
    let token: Vec<f32> = model.encoder.cls_token.val().into_data().iter().collect();
    assert_eq!(token, [0.25; 8]);
}
