use super::{clips, floats, near, text, tiny};
use crate::device;
use burn::module::ParamId;
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainStep};
use menagerie_core::Seed;
use menagerie_mae::mae_base::MixConfig;
use menagerie_mae::videomae_v2::{Classifier, ClassifierConfig, FinetuningConfig};
use menagerie_train::Schedule;

#[test]
fn rates_fall_towards_the_clip() {
    let model = ClassifierConfig::of(&tiny(), Some(4))
        .init(&device())
        .unwrap();
    let config = FinetuningConfig::new().with_layer_decay(0.5);
    let rates = config.rates(&model, Schedule::constant(1.0)).unwrap().at(0);
    let rate = |path| rates.lr_from_param(ParamId::new(), Some(path));
    for (path, expected) in [
        ("patch_embed.weight", 0.125),
        ("blocks.0.attn.q_bias", 0.25),
        ("blocks.1.mlp.fc2.weight", 0.5),
        ("fc_norm.weight", 1.0),
        ("head.weight", 1.0),
    ] {
        assert_eq!(rate(path), expected, "{path}");
    }
}

#[test]
fn clips_are_mixed_alike_in_all_frames() {
    let device = device();
    let model = ClassifierConfig::of(&tiny(), Some(2))
        .init(&device)
        .unwrap();
    let input = clips(2, &tiny().clip, 1, &device);
    let all = floats(input.clone());
    let (first, second) = all.split_at(768);
    let config = FinetuningConfig::new()
        .with_smoothing(0.0)
        .with_mix(MixConfig::none().with_cutmix(1.0));
    let mut pasted = 0;
    for seed in 0..8 {
        let batch = config
            .prepare(&model, input.clone(), &[0, 1], Seed(seed))
            .unwrap();
        let share = floats(batch.targets)[0];
        let mixed = floats(batch.clips);
        // Which pixels of the first clip come from the second: the same in every frame and channel.
        let from_other: Vec<bool> = (0..768).map(|at| mixed[at] != first[at]).collect();
        assert!(
            from_other
                .chunks(64)
                .all(|frame| frame == &from_other[..64])
        );
        assert!((0..768).all(|at| !from_other[at] || mixed[at] == second[at]));
        let count = from_other[..64].iter().filter(|other| **other).count();
        assert!((share - (1.0 - count as f32 / 64.0)).abs() < 1e-6);
        pasted += count;
    }
    assert!(pasted > 0);
}

#[test]
fn a_prepared_batch_trains() {
    let device = device().autodiff();
    let config = FinetuningConfig::new()
        .with_drop_path(0.5)
        .with_head_dropout(0.5);
    let mut model = ClassifierConfig::of(&tiny(), Some(4))
        .init(&device)
        .unwrap();
    let input = clips(4, &tiny().clip, 1, &device);
    let labels = [0, 1, 2, 3];
    let batch = config
        .prepare(&model, input.clone(), &labels, Seed(2))
        .unwrap();
    let sums = floats(batch.targets.clone().sum_dim(1));
    near(&sums, &[1.0; 4], 1e-5);
    assert!(batch.keep[0].is_none() && batch.keep[1].is_some());
    let dropout = floats(batch.dropout.clone().unwrap());
    assert!(dropout.contains(&0.0) && dropout.contains(&2.0));

    let plain = FinetuningConfig::new()
        .with_mix(MixConfig::none())
        .with_drop_path(0.0);
    let batch = plain
        .prepare(&model, input.clone(), &labels, Seed(2))
        .unwrap();
    assert!(batch.dropout.is_none());
    let mut optimiser = plain.optimizer(&model).unwrap();
    let loss = |model: &Classifier| {
        let scalars = InferenceStep::step(model, batch.clone());
        scalars.read().unwrap().get("loss").unwrap()
    };
    let before = loss(&model);
    for _ in 0..20 {
        let output = TrainStep::step(&model, batch.clone());
        model = optimiser.step(3e-3, model, output.grads);
    }
    let after = loss(&model);
    assert!(after < before - 0.1, "{before} to {after}");

    // Distillation: a teacher's probabilities are the targets.
    let teacher = model.classify(input).unwrap().detach();
    let distil = menagerie_mae::videomae_v2::SoftLabelledClips {
        targets: teacher,
        ..batch
    };
    assert!(floats(model.loss(distil).unwrap().0)[0] > 0.0);
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let device = device();
    let config = FinetuningConfig::new();
    let model = ClassifierConfig::of(&tiny(), Some(4))
        .init(&device)
        .unwrap();
    let input = clips(2, &tiny().clip, 1, &device);
    let refused = |labels: &[usize]| text(config.prepare(&model, input.clone(), labels, Seed(0)));
    assert_eq!(
        refused(&[0]),
        "the number of labels is 1: must be one for each of 2 clips"
    );
    assert_eq!(
        refused(&[0, 4]),
        "a label is 4: must be below the number of classes, 4"
    );
    let mut batch = config
        .prepare(&model, input.clone(), &[0, 1], Seed(0))
        .unwrap();
    batch.targets = Tensor::zeros([2, 5], &device);
    assert_eq!(text(model.loss(batch)), "targets is [2, 5]: must be [2, 4]");
    let extractor = ClassifierConfig::of(&tiny(), None).init(&device).unwrap();
    assert!(text(config.prepare(&extractor, input, &[0, 1], Seed(0))).contains("has no head"));
}
