//! Pre-training, sampling, heads, fine-tuning.

use crate::{device, drawn, largest, normal, process, tiny, values};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_core::Seed;
use menagerie_generative::diffusion_classifier::{
    Denoiser, DiffusionClassifier, FeatureExtractor, FeaturePoints, Features, Head,
    HeadTrainingConfig, Heads, LabelledFeatures, LabelledImages, LinearHeadConfig, UNetConfig,
};
use menagerie_nn::diffusion::{Objective, Reverse, Sampler, Variance};
use menagerie_train::{AdamW, FitConfig, Procedure, Progress, Run, Supervised};
use std::path::Path;

/// Grey images of 8×8.
fn grey() -> UNetConfig {
    UNetConfig::new(8, 1, 1, 8, 1, vec![1, 2])
        .with_heads(Heads::Count(1))
        .with_norm_groups(4)
}

/// Bright bars on dark ground: class 0 across, class 1 down.
fn bars(labels: &[usize], seed: u64, device: &Device) -> Tensor<4> {
    use menagerie_nn::noise::draw_normal;
    let places: Tensor<1> = draw_normal([labels.len()], Seed(seed), &Device::default());
    let places: Vec<f32> = places.into_data().iter().collect();
    let mut pixels = Vec::new();
    for (label, place) in labels.iter().zip(places) {
        let bar = ((place + 4.0) as usize).min(6);
        for y in 0..8 {
            for x in 0..8 {
                let at = if *label == 0 { y } else { x };
                pixels.push(if at == bar || at == bar + 1 {
                    0.8
                } else {
                    -0.8
                });
            }
        }
    }
    let shape = [labels.len(), 1, 8, 8];
    Tensor::from_data(burn::tensor::TensorData::new(pixels, shape), device)
}

fn labels(count: usize) -> Vec<usize> {
    (0..count).map(|index| index % 2).collect()
}

fn denoiser(seed: u64) -> Denoiser {
    let unet = drawn(&grey(), seed, &device().autodiff());
    Denoiser::new(unet, process(), Objective::new()).unwrap()
}

fn train(model: Denoiser, folder: &Path, steps: usize, resume: bool) -> Denoiser {
    let drawing = model.clone();
    let batch = |step: usize, device: &Device| {
        let images = bars(&labels(16), step as u64, device);
        drawing.draw(images, Seed(step as u64))
    };
    let optimiser = AdamW::new().grouped(&model, |_, rank| rank > 1).unwrap();
    let mut procedure = Supervised::new(model, optimiser, 3e-3, batch);
    let fit = FitConfig {
        checkpoint_every: 10,
        ..FitConfig::new(steps)
    };
    let run = Run::create(folder, &steps.min(1), resume).unwrap();
    run.fit(&mut procedure, &fit, &Progress::silent()).unwrap();
    procedure.trained().unwrap()
}

#[test]
fn a_denoiser_learns_bars_and_samples_them() {
    let dir = tempfile::tempdir().unwrap();
    let trained = train(denoiser(1), dir.path(), 250, false);
    let images = bars(&labels(32), 1_000_000, &device());
    let batch = trained.draw(images, Seed(77)).unwrap();
    let loss = values(trained.loss(batch).unwrap().total.mean())[0];
    // Without knowledge of bars the error of ε is 1.
    assert!(loss < 0.35, "{loss}");
    let sampler = Sampler::ddim(Reverse::new());
    let noise = normal([8, 1, 8, 8], 5);
    let samples = trained
        .sample(noise.clone(), &sampler, 20, Seed(0))
        .unwrap();
    assert_eq!(samples.dims(), [8, 1, 8, 8]);
    // Pixels of bars are ±0.8; noise has as many near 0 as anywhere.
    let near = |x: Tensor<4>| values((x.abs() - 0.8).abs().lower_elem(0.3).float().mean())[0];
    let (before, after) = (near(noise.clone()), near(samples.clone()));
    assert!(after > before + 0.2, "{before} then {after}");
    let again = trained.sample(noise, &sampler, 20, Seed(1)).unwrap();
    assert_eq!(largest(again - samples), 0.0);
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let dir = tempfile::tempdir().unwrap();
    let model = denoiser(2);
    let folder = |name: &str| dir.path().join(name);
    let whole = train(model.clone(), &folder("whole"), 25, false);
    train(model.clone(), &folder("parts"), 10, false);
    let resumed = train(model, &folder("parts"), 25, true);
    assert_eq!(
        menagerie_hub::values(&whole),
        menagerie_hub::values(&resumed)
    );
}

#[test]
fn draws_repeat_by_seed_and_cover_the_process() {
    let model = denoiser(3);
    let images = bars(&labels(400), 1, &device());
    let draw = |seed| model.draw(images.clone(), Seed(seed)).unwrap();
    let (one, same, other) = (draw(1), draw(1), draw(2));
    assert_eq!(one.timesteps, same.timesteps);
    assert_eq!(values(one.noise.clone()), values(same.noise));
    assert_ne!(one.timesteps, other.timesteps);
    assert!(one.timesteps.iter().any(|t| *t < 10) && one.timesteps.iter().any(|t| *t >= 90));
    assert!(one.timesteps.iter().all(|t| *t < 100));
}

#[test]
fn learned_variances_have_a_bound() {
    let learned = Objective::new().with_reverse(Reverse::new().with_variance(Variance::Learned));
    let model = Denoiser::new(drawn(&tiny(), 1, &device()), process(), learned).unwrap();
    let batch = model.draw(normal([3, 2, 8, 8], 1), Seed(1)).unwrap();
    let losses = model.loss(batch).unwrap();
    assert_eq!(losses.bound.unwrap().dims(), [3]);
    let noise = normal([2, 2, 8, 8], 1);
    let sampler = Sampler::ddpm(learned.reverse);
    let samples = model.sample(noise, &sampler, 3, Seed(1)).unwrap();
    assert_eq!(samples.dims(), [2, 2, 8, 8]);
    assert!(values(samples).iter().all(|value| value.is_finite()));
}

#[test]
fn a_head_learns_what_features_show() {
    let unet = drawn(&grey(), 4, &device());
    let points = FeaturePoints::one(0, 3);
    let extractor = FeatureExtractor::new(unet, process(), points).unwrap();
    let labels = labels(64);
    let features = |seed| -> Features {
        let images = bars(&labels, seed, &device());
        let noise = extractor.draw_noise(images.dims(), Seed(seed), &device());
        extractor.features(images, noise).unwrap()
    };
    let training = HeadTrainingConfig::linear().with_batch(64).with_epochs(200);
    let tracked = device().autodiff();
    let config = LinearHeadConfig::new(8, 4, 2).with_hidden(vec![16]);
    let head = menagerie_train::initialise(&tracked, Seed(1), || {
        Ok(Head::Linear(config.init(&tracked)?))
    });
    let (train, test) = (features(1), features(2));
    let batch = |_: usize, device: &Device| {
        // Features are made without autodiff; the head's weights have it.
        LabelledFeatures::new(train.clone(), &labels, 2, device)
    };
    let rates = HeadTrainingConfig::new(0.2)
        .with_epochs(200)
        .with_drop_every(150);
    let rates = rates.schedule(1).unwrap();
    let optimiser = training.optimizer().unwrap();
    let mut procedure = Supervised::new(head.unwrap(), optimiser, rates, batch);
    for step in 0..200 {
        procedure.step(step).unwrap();
    }
    let head = procedure.trained().unwrap();
    let test = LabelledFeatures::new(test, &labels, 2, &device()).unwrap();
    let (_, accuracy) = head.loss(test).unwrap();
    let accuracy = values(accuracy)[0];
    assert!(accuracy > 0.9, "{accuracy}");
}

#[test]
fn fine_tuning_trains_the_network_up_to_the_block() {
    let tracked = device().autodiff();
    let unet = drawn(&grey(), 4, &tracked);
    let points = FeaturePoints::one(0, 4);
    let extractor = FeatureExtractor::new(unet, process(), points).unwrap();
    let head = LinearHeadConfig::new(16, 2, 2).init(&tracked).unwrap();
    let model = DiffusionClassifier {
        extractor,
        head: Head::Linear(head),
    };
    let classes = labels(8);
    let batch = |step: usize, device: &Device| {
        let images = bars(&classes, step as u64, device);
        let noise = vec![images.zeros_like()];
        let labels = [0, 1, 0, 1, 0, 1, 0, 1];
        Ok(LabelledImages {
            images,
            noise,
            labels: Tensor::from_ints(labels, device),
        })
    };
    let before = menagerie_hub::values(&model);
    let training = HeadTrainingConfig::fine_tuning();
    let mut procedure = Supervised::new(model, training.optimizer().unwrap(), 1e-2, batch);
    for step in 0..3 {
        procedure.step(step).unwrap();
    }
    let after = menagerie_hub::values(&procedure.trained().unwrap());
    let changed = |key: &str| before[key] != after[key];
    assert!(changed("head.Linear.fcs.0.weight"));
    assert!(changed(
        "extractor.unet.input_blocks.0.layers.0.Conv.weight"
    ));
    // What lies behind the last block that is used stays.
    assert!(!changed(
        "extractor.unet.output_blocks.0.layers.0.Residual.in_conv.weight"
    ));
}

#[test]
fn rates_drop_every_few_epochs() {
    let schedule = HeadTrainingConfig::attention().schedule(10).unwrap();
    for (step, rate) in [
        (0, 5e-2),
        (69, 5e-2),
        (70, 5e-3),
        (139, 5e-3),
        (140, 5e-4),
        (279, 5e-5),
    ] {
        assert!((schedule.at(step) / rate - 1.0).abs() < 1e-9, "{step}");
    }
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let unet = drawn(&tiny(), 1, &device());
    let error = Denoiser::new(unet.clone(), process(), Objective::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "UNetConfig.out_channels = 4: must be 2 for this objective"
    );
    let error = HeadTrainingConfig::new(0.0).validate().unwrap_err();
    assert_eq!(
        error.to_string(),
        "HeadTrainingConfig.rate = 0.0: must be finite and above 0"
    );
    let error = HeadTrainingConfig::linear().with_drop_every(0).schedule(3);
    assert_eq!(
        error.unwrap_err().to_string(),
        "HeadTrainingConfig.drop_every = 0: must be at least 1"
    );
    let features = Features::one(normal([2, 4, 2, 2], 1));
    let error = LabelledFeatures::new(features.clone(), &[0, 3], 3, &device()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a label is 3: must be below the number of classes, 3"
    );
    let error = LabelledFeatures::new(features, &[0], 3, &device()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of labels is 1: must be 2, one for each example, and at least 1"
    );
    let learned = Objective::new().with_reverse(Reverse::new().with_variance(Variance::Learned));
    let model = Denoiser::new(unet, process(), learned).unwrap();
    let noise = normal([1, 2, 8, 8], 1);
    let sampler = Sampler::ddim(learned.reverse);
    let error = model.sample(noise, &sampler, 101, Seed(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of visited steps is 101: must be at least 1 and at most 100"
    );
    assert!(model.num_params() > 0);
}
