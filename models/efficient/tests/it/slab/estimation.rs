//! The re-estimation of statistics, and what has none.

use super::{cswin, deit, norm, pvt, trained};
use crate::{device, images};
use burn::tensor::{Device, Int, Tensor};
use menagerie_efficient::slab::{
    Classifier, DeitConfig, LlamaConfig, Mode, NormKind, estimate, reestimate,
};

#[test]
fn estimation_moves_statistics_alone() {
    let device = device();
    let model = trained(
        deit(NormKind::Progressive).init(&device).unwrap(),
        24,
        &device,
    );
    let before = menagerie_hub::values(&model);
    estimate(&model, images(4, 24, &device) * 3.0).unwrap();
    let after = menagerie_hub::values(&model);
    for (path, value) in &before {
        let moved = after[path] != *value;
        let is_statistic = path.contains(".bn.running_") || path.ends_with("num_batches_tracked");
        let is_statistic = is_statistic || path.starts_with("norm.bn.running_");
        assert_eq!(moved, is_statistic, "{path}");
    }
}

#[test]
fn the_statistics_of_the_best_pass_are_kept() {
    let device = device();
    let config = deit(NormKind::Progressive);
    let model = trained(config.init(&device).unwrap(), 24, &device);
    // What the statistics were after each pass, on images of growing contrast.
    let mut seen = Vec::new();
    let worth = [0.2, 0.9, f64::NAN, 0.9, 0.4];
    let batches = |pass: usize| {
        let contrast = pass as f64 + 1.0;
        Ok((0..2).map({
            let device = device.clone();
            move |_| Ok(images(4, 24, &device) * contrast)
        }))
    };
    let found = reestimate(&model, worth.len(), batches, |model| {
        seen.push(menagerie_hub::values(model));
        Ok(worth[seen.len() - 1])
    })
    .unwrap();
    assert_eq!((found.best, found.values.len()), (1, 5));
    let after = menagerie_hub::values(&model);
    assert_eq!(after, seen[1]);
    assert!(seen[0] != seen[1] && seen[1] != seen[4]);
    let none = reestimate(&model, 0, |_| Ok(Vec::new()), |_| Ok(0.0));
    assert_eq!(
        none.unwrap_err().to_string(),
        "passes is 0: must be at least 1"
    );
}

/// The number of norms of a network, and of those with statistics below its module.
fn counted<M: Classifier>(model: &M) -> (usize, usize) {
    let values = menagerie_hub::values(model);
    let held = values.keys().filter(|path| path.ends_with(".running_mean"));
    (model.norms().len(), held.count())
}

#[test]
fn every_norm_is_counted_once() {
    let device = device();
    let kind = NormKind::Batch;
    let (listed, held) = counted(&deit(kind).init(&device).unwrap());
    assert_eq!((listed, held), (5, 5));
    let (listed, held) = counted(&super::swin(kind).init(&device).unwrap());
    assert_eq!(listed, held);
    let (listed, held) = counted(&pvt(kind).init(&device).unwrap());
    assert_eq!(listed, held);
    let (listed, held) = counted(&cswin(kind).init(&device).unwrap());
    assert_eq!(listed, held);
}

#[test]
fn one_token_in_all_has_no_variance() {
    let device = device();
    let refused = |kind: NormKind, mode: Mode| {
        let config = DeitConfig::new(4, 4, 8, 1, 2, norm(kind)).with_classes(3);
        let model = config.init(&device).unwrap();
        model.run(images(1, 4, &device), mode, &[]).err()
    };
    for mode in [Mode::Train, Mode::Estimate] {
        assert_eq!(
            refused(NormKind::Progressive, mode).unwrap().to_string(),
            "a batch in training is [1, 3, 4, 4]: must give every batch normalisation more than one \
             token, whose variance it is to take in"
        );
    }
    assert!(refused(NormKind::Progressive, Mode::Evaluate).is_none());
    assert!(refused(NormKind::Layer, Mode::Train).is_none());
    // A reduction leaves one token of four.
    let mut config = pvt(NormKind::Batch);
    (config.image, config.stages[1].reduction) = (8, 1);
    let model = config.init(&device).unwrap();
    let error = model.run(images(1, 8, &device), Mode::Train, &[]);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("a batch in training is [1, 3, 8, 8]")
    );
    let model = LlamaConfig::new(11, 16, 32, 1, 2).init(&device).unwrap();
    let word = Tensor::<2, Int>::zeros([1, 1], &device);
    let error = model
        .run(word.clone(), Mode::Train)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("a batch in training is [1, 1]: must give"),
        "{error}"
    );
    model.run(word, Mode::Evaluate).unwrap();
}

#[test]
fn momentum_and_epsilon_are_those_of_the_configuration() {
    let device = Device::default();
    let norms = |momentum: f64, epsilon: f64| {
        let norm = norm(NormKind::Batch)
            .with_momentum(momentum)
            .with_batch_epsilon(epsilon);
        let config = DeitConfig {
            norm,
            ..deit(NormKind::Batch)
        };
        let norm = config.init(&device).unwrap().norm;
        let tokens = Tensor::<1, Int>::arange(0..48, &device)
            .float()
            .reshape([1, 2, 24]);
        norm.forward(tokens, Mode::Train);
        let bn = norm.bn.as_ref().unwrap().running_mean.value_sync();
        let (scale, _) = norm.affine().unwrap();
        let first = |x: Tensor<1>| x.narrow(0, 0, 1).into_scalar::<f32>();
        (first(bn), first(scale))
    };
    // The mean of 0 and 24; the variance, unbiased, is 288.
    let (mean, scale) = norms(0.5, 1.0);
    assert_eq!(mean, 6.0);
    assert!(
        (scale - (0.5f32 + 144.0 + 1.0).sqrt().recip()).abs() < 1e-5,
        "{scale}"
    );
    let (mean, scale) = norms(1.0, 100.0);
    assert_eq!(mean, 12.0);
    assert!(
        (scale - (288.0f32 + 100.0).sqrt().recip()).abs() < 1e-5,
        "{scale}"
    );
}
