use super::{clips, floats, near, text, tiny};
use crate::device;
use burn::module::ParamId;
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainStep};
use menagerie_core::Seed;
use menagerie_mae::videomae_v2::{Classifier, ClassifierConfig, FinetuningConfig, Mix, MixConfig};
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
fn mixtures_keep_their_shares() {
    let device = device();
    let input = clips(2, &tiny().clip, 1, &device);
    let targets = Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0]], &device);
    let (first, second) = {
        let all = floats(input.clone());
        let (a, b) = all.split_at(768);
        (a.to_vec(), b.to_vec())
    };
    let blend = Mix::Blend(0.75);
    let expected: Vec<f32> = first
        .iter()
        .zip(&second)
        .map(|(a, b)| 0.75 * a + 0.25 * b)
        .collect();
    near(&floats(blend.clips(input.clone()))[..768], &expected, 1e-6);
    near(
        &floats(blend.targets(targets.clone())),
        &[0.75, 0.25, 0.25, 0.75],
        1e-6,
    );
    let paste = Mix::Paste {
        rows: [2, 6],
        columns: [0, 4],
        size: 8,
    };
    assert_eq!(paste.share(), 0.75);
    let mixed = floats(paste.clips(input.clone()));
    for at in 0..768 {
        let (x, y) = (at % 8, at / 8 % 8);
        let inside = (2..6).contains(&y) && x < 4;
        assert_eq!(mixed[at], if inside { second[at] } else { first[at] });
    }
    near(
        &floats(paste.targets(targets.clone())),
        &[0.75, 0.25, 0.25, 0.75],
        1e-6,
    );
    assert_eq!(floats(Mix::None.clips(input)), [first, second].concat());

    let draws: Vec<Mix> = (0..400)
        .map(|i| MixConfig::new().draw(8, Seed(1).at(i)))
        .collect();
    let blends = draws
        .iter()
        .filter(|mix| matches!(mix, Mix::Blend(_)))
        .count();
    assert!((140..260).contains(&blends), "{blends}");
    assert!(draws.iter().all(|mix| (0.0..=1.0).contains(&mix.share())));
    // The mean of Beta(0.8, 0.8) is a half.
    let shares: Vec<f64> = draws
        .iter()
        .filter(|mix| matches!(mix, Mix::Blend(_)))
        .map(Mix::share)
        .collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!((mean - 0.5).abs() < 0.1, "{mean}");
    assert_eq!(MixConfig::none().draw(8, Seed(0)), Mix::None);
    let only = MixConfig::none().with_cutmix(1.0).draw(8, Seed(0));
    assert!(matches!(only, Mix::Paste { .. }));
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
