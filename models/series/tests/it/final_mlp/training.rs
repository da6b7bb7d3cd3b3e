//! Training: gradients of looked-up rows against dense ones, the plateau, resume, learning.

use super::{config, fields, loud, rows};
use crate::device;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use menagerie_core::Seed;
use menagerie_series::final_mlp::{
    BaselineConfig, BaselineKind, ClickModel, DualMlpConfig, Epochs, FinalMlp, FinalMlpConfig, Fit,
    Impressions, Regulariser, StreamConfig, TrainingConfig, fit, log_loss,
};
use menagerie_train::{
    Adam, AdamConfig, FitConfig, Procedure, Progress, Run, Supervised, clip_global_norm, initialise,
};

/// Every kind of regulariser at work, and gradients above the norm.
fn regularised() -> FinalMlpConfig {
    let heavy = Regulariser { l1: 0.01, l2: 0.5 };
    config()
        .with_embedding_regulariser(heavy)
        .with_net_regulariser(Regulariser::l2(0.1))
}

fn training() -> TrainingConfig {
    TrainingConfig::new()
        .with_batch(16)
        .with_rate(0.01)
        .with_epochs(3)
        .with_clip(1.0)
}

#[test]
fn looked_up_rows_train_like_dense_tables() {
    let device = device();
    let tracked = device.clone().autodiff();
    let rows = rows(48, 1);
    let seed = Seed(7);
    let start = loud(&regularised(), &tracked);
    let mut sparse = Fit::new(start.clone(), &training(), &rows, None, seed).unwrap();
    let mut epochs = Epochs::new(rows.len(), 16, seed.stream("order")).unwrap();
    let mut adam = Adam::new(AdamConfig::default()).unwrap();
    let mut dense = start.fork(&tracked);
    for step in 0..5 {
        let scalars = sparse.step(step).unwrap().read().unwrap();
        let draw = seed.stream("dropout").at(step as u64);
        let batch = rows.batch(&epochs.rows(step), &tracked, Some(draw));
        let loss = dense.loss(&batch).unwrap();
        let total = loss.total.clone().without_autodiff().into_scalar::<f32>();
        let found = scalars.get("loss").unwrap() as f32;
        assert!((found - total).abs() < 1e-4 * total, "{found} {total}");
        let gradients = GradientsParams::from_grads(loss.total.backward(), &dense);
        assert!(
            scalars.get("gradient norm").unwrap() > 1.0,
            "clipping is at work"
        );
        let gradients = clip_global_norm(&dense, gradients, 1.0);
        dense = adam.step(0.01, dense, gradients);
    }
    let ours = menagerie_hub::values(sparse.model().unwrap());
    for (name, theirs) in menagerie_hub::values(&dense) {
        let pairs = ours[&name].iter::<f32>().zip(theirs.iter::<f32>());
        for (a, b) in pairs {
            assert!((a - b).abs() < 2e-4 * b.abs().max(1.0), "{name}: {a} {b}");
        }
    }
}

#[test]
fn rows_that_are_not_looked_up_keep_their_values_and_padding_stays() {
    let device = device();
    let tracked = device.clone().autodiff();
    // Only users 1 and 2, without regulariser: nothing pulls at the others.
    let ids = vec![1, 1, 0, 0, 3, 2, 1, 0, 0, 3];
    let rows = Impressions::new(fields(), ids, vec![0.1, 0.2], vec![true, false]).unwrap();
    let config = FinalMlpConfig::new(
        fields(),
        4,
        StreamConfig::new(vec![6]),
        StreamConfig::new(vec![6]),
    );
    let model = initialise(&tracked, Seed(1), || config.init(&tracked)).unwrap();
    let table = |model: &FinalMlp| {
        model
            .embedding
            .table
            .as_ref()
            .unwrap()
            .val()
            .without_autodiff()
    };
    let before = table(&model);
    let mut fit = Fit::new(model, &training().with_batch(2), &rows, None, Seed(0)).unwrap();
    for step in 0..3 {
        fit.step(step).unwrap();
    }
    let moved = (table(fit.model().unwrap()) - before).abs().sum_dim(1);
    let moved: Vec<f32> = moved.into_data().iter().collect();
    let changed: Vec<usize> = (0..27).filter(|row| moved[*row] > 0.0).collect();
    // User 1 and 2; tag 1 in rows 9..15; item 3 in rows 15..27.
    assert_eq!(changed, [1, 2, 10, 18]);
}

#[test]
fn an_epoch_visits_every_row_and_ends_with_the_rest() {
    let mut epochs = Epochs::new(10, 4, Seed(1)).unwrap();
    assert_eq!([epochs.steps(), epochs.last()], [3, 2]);
    let mut all: Vec<usize> = (0..3).flat_map(|step| epochs.rows(step)).collect();
    let next: Vec<usize> = (3..6).flat_map(|step| epochs.rows(step)).collect();
    assert_ne!(all, next);
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    assert_eq!(Epochs::new(10, 4, Seed(1)).unwrap().rows(5), epochs.rows(5));
}

fn run(
    folder: &std::path::Path,
    epochs: usize,
    resume: bool,
    device: &Device,
) -> (FinalMlp, FinalMlp, f64, Vec<f64>) {
    let (train, valid) = (rows(200, 1), rows(100, 2));
    let config = config().with_embedding_regulariser(Regulariser::l2(1e-3));
    let model = initialise(device, Seed(3), || config.init(device)).unwrap();
    let training = training()
        .with_batch(33)
        .with_min_delta(0.02)
        .with_patience(3);
    let mut fit = Fit::new(model, &training, &train, Some(&valid), Seed(4)).unwrap();
    let epoch = fit.steps_per_epoch();
    let run = Run::create(folder, &training, resume).unwrap();
    let loop_of = FitConfig {
        evaluate_every: epoch,
        checkpoint_every: epoch,
        log_every: 1,
        ..FitConfig::new(epochs * epoch)
    };
    run.fit(&mut fit, &loop_of, &Progress::silent()).unwrap();
    let history = run.history().unwrap();
    let values = history
        .iter()
        .filter_map(|line| line.metrics.get("auc").or(line.metrics.get("loss")));
    let values = values.collect();
    (
        fit.model().unwrap().clone(),
        fit.best().unwrap(),
        fit.rate(),
        values,
    )
}

#[test]
fn a_resumed_training_is_the_same() {
    let device = device().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let (whole, best, rate, history) = run(&dir.path().join("whole"), 6, false, &device);
    run(&dir.path().join("parts"), 3, false, &device);
    let parts = run(&dir.path().join("parts"), 6, true, &device);
    assert_eq!(
        menagerie_hub::values(&whole),
        menagerie_hub::values(&parts.0)
    );
    assert_eq!(
        menagerie_hub::values(&best),
        menagerie_hub::values(&parts.1)
    );
    assert_eq!((rate, &history), (parts.2, &parts.3));
    // With such a margin some epoch was a strike.
    assert!(rate < 0.01, "{rate}");
}

#[test]
fn the_rate_falls_at_strikes_and_the_best_model_is_kept() {
    let device = device().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let (train, valid) = (rows(64, 1), rows(100, 2));
    let model = initialise(&device, Seed(3), || config().init(&device)).unwrap();
    // Nothing beats the first epoch by one.
    let training = training()
        .with_epochs(9)
        .with_min_delta(1.0)
        .with_floor(5e-4);
    let run = Run::create(dir.path(), &training, false).unwrap();
    let progress = Progress::silent();
    let (best, summary) = fit(model, &train, &valid, &training, Seed(1), &run, &progress).unwrap();
    assert!(summary.stopped_early);
    assert_eq!((summary.step, summary.best_step), (3 * 4, Some(4)));
    let history = run.history().unwrap();
    let evaluations: Vec<f64> = history
        .iter()
        .filter_map(|line| line.metrics.get("auc"))
        .collect();
    assert_eq!(evaluations.len(), 3);
    let again = best.evaluate(&valid, 7).unwrap();
    assert!((again.get("auc").unwrap() - evaluations[0]).abs() < 1e-3);
    let rates: Vec<f64> = history
        .iter()
        .filter_map(|line| line.metrics.get("rate"))
        .collect();
    assert_eq!([rates[0], rates[7], rates[11]], [0.01, 0.01, 0.001]);
}

/// What rows with the right probabilities lose.
fn bayes(rows: &Impressions) -> f64 {
    // The law of `rows`: 3 (same parity) - 1.5.
    let p = 1.0 / (1.0 + (-1.5f64).exp());
    log_loss(&vec![p; rows.len()], &vec![true; rows.len()]).unwrap() * p
        + log_loss(&vec![1.0 - p; rows.len()], &vec![true; rows.len()]).unwrap() * (1.0 - p)
}

fn learns<M: ClickModel>(model: M) -> f64 {
    let (train, test) = (rows(2_000, 1), rows(1_000, 2));
    let training = TrainingConfig::new().with_batch(100).with_rate(0.02);
    let mut fit = Fit::new(model, &training, &train, None, Seed(4)).unwrap();
    for step in 0..8 * fit.steps_per_epoch() {
        fit.step(step).unwrap();
    }
    fit.model()
        .unwrap()
        .evaluate(&test, 1_000)
        .unwrap()
        .get("log loss")
        .unwrap()
}

#[test]
fn every_model_learns_what_user_and_item_say_together() {
    let device = device().autodiff();
    let stream = || StreamConfig::new(vec![16, 8]).with_batch_norm(true);
    let small =
        |config: FinalMlpConfig| initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let dual = DualMlpConfig::new(fields(), 4, stream(), stream());
    let baseline = |kind| {
        let config = BaselineConfig::new(kind, fields(), 4, stream());
        learns(initialise(&device, Seed(1), || config.init(&device)).unwrap())
    };
    let losses = [
        learns(small(config())),
        learns(initialise(&device, Seed(1), || dual.init(&device)).unwrap()),
        baseline(BaselineKind::Mlp),
        baseline(BaselineKind::DeepFm),
        baseline(BaselineKind::DcnV2 { layers: 2 }),
    ];
    let least = bayes(&rows(10, 1));
    for loss in losses {
        // A constant loses 0.69, the law itself 0.47.
        assert!(
            loss > least - 0.05 && loss < 0.6,
            "{losses:?}, the law {least}"
        );
    }
}

#[test]
fn dense_steps_go_through_burns_own_learner() {
    let device = device().autodiff();
    let rows = rows(64, 1);
    let model = initialise(&device, Seed(1), || config().init(&device)).unwrap();
    let batches = |step: usize, to: &Device| {
        let places: Vec<usize> = (0..64).collect();
        Ok(rows.batch(&places, to, Some(Seed(step as u64))))
    };
    let optimizer = burn::optim::AdamConfig::new().init();
    let mut fit = Supervised::new(model, optimizer, 0.01, batches)
        .clipping(10.0)
        .unwrap();
    let losses: Vec<f64> = (0..30)
        .map(|step| fit.step(step).unwrap().read().unwrap().get("loss").unwrap())
        .collect();
    assert!(losses[29] < 0.9 * losses[0], "{losses:?}");
}
