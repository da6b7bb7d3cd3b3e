//! Training goes down, resumes exactly, and leaves alone what is fixed.

use super::{drawn, images, small, values, vit};
use crate::device;
use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor};
use menagerie_core::{Result, Seed};
use menagerie_mae::mae_base::{
    Classifier, ClassifierConfig, FinetuningConfig, LabelledFeatures, Lars, Mae, MaskedImages,
    MixConfig, PretrainingConfig, ProbeHead, Probing, SoftLabelled, layer_of, layer_scales,
};
use menagerie_train::{FitConfig, Progress, Run, Schedule, Supervised, parameters};
use std::path::Path;

/// Eight pictures, the same ones at every step.
fn masked(images: &Tensor<4>, step: usize, device: &Device) -> Result<MaskedImages> {
    let batch = images.dims()[0];
    Ok(MaskedImages {
        images: images.clone(),
        masking: small().draw_masking(batch, Seed(9).at(step as u64), device)?,
    })
}

fn pretrain(folder: &Path, steps: usize, resume: bool) -> (Mae, Vec<f64>) {
    let device = device().autodiff();
    let model = drawn(&small(), 1, &device);
    let optimiser = PretrainingConfig::new().optimizer(&model).unwrap();
    let grid = Tensor::<1, Int>::arange(0..32, &device).float();
    let images = grid.clone().reshape([1, 1, 1, 32]) * 0.3 + grid.reshape([1, 1, 32, 1]) * 0.2;
    let images = images.sin().expand([8, 3, 32, 32]);
    let batch = |step: usize, device: &Device| masked(&images, step, device);
    let schedule = Schedule::cosine(1e-2, 4, 60).starting_at(0.0);
    let mut procedure = Supervised::new(model, optimiser, schedule, batch);
    let fit = FitConfig {
        log_every: 1,
        checkpoint_every: 10,
        ..FitConfig::new(steps)
    };
    let run = Run::create(folder, &"pre-training", resume).unwrap();
    run.fit(&mut procedure, &fit, &Progress::silent()).unwrap();
    let losses = run.history().unwrap();
    let losses = losses.iter().filter_map(|line| line.metrics.get("loss"));
    (procedure.trained().unwrap(), losses.collect())
}

#[test]
fn pre_training_goes_down_and_resumes_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let (full, losses) = pretrain(&dir.path().join("full"), 60, false);
    assert!(losses[59] < 0.85 * losses[0], "{losses:?}");
    let cut = dir.path().join("cut");
    pretrain(&cut, 30, false);
    let (resumed, again) = pretrain(&cut, 60, true);
    assert_eq!(losses, again);
    assert_eq!(
        menagerie_hub::values(&full),
        menagerie_hub::values(&resumed)
    );
    // Positions are fixed, tokens are not.
    let start = drawn(&small(), 1, &device());
    for (before, after) in [
        (&start.encoder.pos_embed, &full.encoder.pos_embed),
        (&start.decoder.pos_embed, &full.decoder.pos_embed),
    ] {
        assert_eq!(values(before.val()), values(after.val()));
    }
    assert_ne!(
        values(start.encoder.cls_token.val()),
        values(full.encoder.cls_token.val())
    );
    assert_ne!(
        values(start.decoder.mask_token.val()),
        values(full.decoder.mask_token.val())
    );
}

fn finetune(folder: &Path, steps: usize, resume: bool) -> (Classifier, Vec<f64>) {
    let device = device().autodiff();
    let config = ClassifierConfig::new(vit(), 2).with_drop_path(0.2);
    let model = menagerie_train::initialise(&device, Seed(2), || config.init(&device)).unwrap();
    let training = FinetuningConfig::new().with_layer_decay(0.8);
    let optimiser = training.optimizer(&model).unwrap();
    let rates = training.rates(&model, Schedule::constant(3e-3)).unwrap();
    let labels: Vec<usize> = (0..8).map(|index| index % 2).collect();
    let sign = Tensor::<1, Int>::arange(0..8, &device)
        .remainder_scalar(2)
        .float();
    let images = images(8, &device) * 0.1 + sign.reshape([8, 1, 1, 1]);
    let batch = |step: usize, _: &Device| {
        training.prepare(&config, images.clone(), &labels, Seed(4).at(step as u64))
    };
    let mut procedure = Supervised::new(model, optimiser, rates, batch);
    let fit = FitConfig {
        log_every: 1,
        checkpoint_every: 10,
        ..FitConfig::new(steps)
    };
    let run = Run::create(folder, &"fine-tuning", resume).unwrap();
    run.fit(&mut procedure, &fit, &Progress::silent()).unwrap();
    let losses = run.history().unwrap();
    let losses = losses.iter().filter_map(|line| line.metrics.get("loss"));
    (procedure.trained().unwrap(), losses.collect())
}

#[test]
fn fine_tuning_resumes_exactly_and_trains_positions() {
    let dir = tempfile::tempdir().unwrap();
    device().seed(3);
    let (full, losses) = finetune(&dir.path().join("full"), 20, false);
    let cut = dir.path().join("cut");
    device().seed(3);
    finetune(&cut, 10, false);
    device().seed(3);
    let (resumed, again) = finetune(&cut, 20, true);
    assert_eq!(losses, again);
    assert_eq!(
        menagerie_hub::values(&full),
        menagerie_hub::values(&resumed)
    );
    let config = ClassifierConfig::new(vit(), 2);
    let device = device();
    let start = menagerie_train::initialise(&device, Seed(2), || config.init(&device)).unwrap();
    let positions = |model: &Classifier| values(model.encoder.pos_embed.val());
    assert_ne!(positions(&start), positions(&full));
}

#[test]
fn a_layer_near_the_image_moves_less() {
    let device = device().autodiff();
    let config = ClassifierConfig::new(vit(), 2);
    let model = menagerie_train::initialise(&device, Seed(5), || config.init(&device)).unwrap();
    let training = FinetuningConfig::new()
        .with_layer_decay(0.5)
        .with_mix(MixConfig::none());
    let optimiser = training.optimizer(&model).unwrap();
    let rates = training.rates(&model, Schedule::constant(1e-3)).unwrap();
    let images = images(4, &device);
    let batch = |_: usize, _: &Device| -> Result<SoftLabelled> {
        training.prepare(&config, images.clone(), &[0, 1, 1, 0], Seed(0))
    };
    let mut procedure = Supervised::new(model.clone(), optimiser, rates, batch);
    menagerie_train::Procedure::step(&mut procedure, 0).unwrap();
    let moved = procedure.trained().unwrap();
    // Adam's first step is the learning rate, whatever the gradient.
    let (before, after) = (
        menagerie_hub::values(&model.valid()),
        menagerie_hub::values(&moved),
    );
    let scales = layer_scales(2, 0.5);
    assert_eq!(scales, [0.125, 0.25, 0.5, 1.0]);
    for (path, _) in parameters(&model) {
        let steps = before[&path].iter::<f32>().zip(after[&path].iter::<f32>());
        let largest = steps.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let expected = 1e-3 * scales[layer_of(&path, 2)] as f32;
        let ratio = largest / expected;
        assert!(
            (0.5..1.2).contains(&ratio),
            "{path}: {largest} against {expected}"
        );
    }
}

fn probe(folder: &Path, steps: usize, resume: bool) -> ProbeHead {
    let device = device().autodiff();
    let head = menagerie_train::initialise(&device, Seed(3), || ProbeHead::new(6, 2, &device));
    let plain = device.clone().without_autodiff();
    let labels: Vec<i64> = (0..40).map(|index| index % 2).collect();
    let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &plain);
    plain.seed(8);
    let noise = Tensor::<2>::random([40, 6], Distribution::Normal(0.0, 1.0), &plain);
    let features = noise * 2.0 + labels.clone().float().unsqueeze_dim::<2>(1) * 4.0 + 1.0;
    let batch = |_: usize, _: &Device| {
        Ok(LabelledFeatures {
            features: features.clone(),
            labels: labels.clone(),
        })
    };
    // LARS leaves the bias its whole gradient, which is stable up to a rate of about 5.
    let mut probing = Probing::new(head.unwrap(), Lars::new(), 3.0, batch).unwrap();
    let fit = FitConfig {
        checkpoint_every: 10,
        ..FitConfig::new(steps)
    };
    let run = Run::create(folder, &"probe", resume).unwrap();
    run.fit(&mut probing, &fit, &Progress::silent()).unwrap();
    let head = probing.trained().unwrap();
    if steps == 60 {
        let right = head.forward(features.clone()).argmax(1).squeeze_dim::<1>(1);
        let share = right
            .equal(labels.clone())
            .float()
            .mean()
            .into_scalar::<f32>();
        assert!(share > 0.9, "{share}");
    }
    head
}

#[test]
fn a_probe_learns_and_resumes_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let full = probe(&dir.path().join("full"), 60, false);
    let cut = dir.path().join("cut");
    probe(&cut, 30, false);
    let resumed = probe(&cut, 60, true);
    assert_eq!(
        menagerie_hub::values(&full),
        menagerie_hub::values(&resumed)
    );
}

#[test]
fn a_probe_refuses_batches_without_variance_or_with_other_labels() {
    let refusal = |shape: [usize; 2], labels: usize| {
        let device = device().autodiff();
        let plain = device.clone().without_autodiff();
        let head = ProbeHead::new(6, 2, &device).unwrap();
        let batch = |_: usize, _: &Device| {
            Ok(LabelledFeatures {
                features: Tensor::zeros(shape, &plain),
                labels: Tensor::zeros([labels], &plain),
            })
        };
        let mut probing = Probing::new(head, Lars::new(), 1.0, batch).unwrap();
        let error = menagerie_train::Procedure::step(&mut probing, 0).unwrap_err();
        // Nothing was lost: the head is still there.
        assert!(probing.trained().is_ok());
        error.to_string()
    };
    let rule = "must be [batch, 6] with at least two images, for their variance";
    assert_eq!(refusal([1, 6], 1), format!("features is [1, 6]: {rule}"));
    assert_eq!(refusal([4, 5], 4), format!("features is [4, 5]: {rule}"));
    assert_eq!(
        refusal([4, 6], 3),
        "the number of labels is 3: must be one for each of 4 images"
    );
}
