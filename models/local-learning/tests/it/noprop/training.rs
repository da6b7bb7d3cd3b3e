//! Steps, turns, resumption.

use super::*;
use menagerie_local_learning::noprop::{
    AdjointConfig, BackpropConfig, Learner, NoPropDt, Training, TrainingConfig,
};
use menagerie_train::{FitConfig, Metrics, Procedure, Progress, Run};

pub(super) fn settings() -> TrainingConfig {
    TrainingConfig::new().with_batch(12)
}

fn training<M: Learner>(model: M, pass: usize) -> Training<'static, M> {
    let batches = |step: usize, device: &Device| Ok(batch(12, step as u64, device));
    let settings = settings().with_rate(1e-2);
    Training::new(model, &settings, pass, Seed(3), batches).unwrap()
}

#[test]
fn an_epoch_is_a_pass_for_each_block() {
    // 50 000 images are 390 full batches of 128.
    for (config, turns, steps) in [
        (TrainingConfig::new(), 10, 100 * 10 * 390),
        (TrainingConfig::cifar(), 10, 150 * 10 * 390),
        (TrainingConfig::continuous_cifar10(), 1, 500 * 390),
        (TrainingConfig::continuous_cifar100(), 1, 1_000 * 390),
        (TrainingConfig::adjoint_mnist(), 1, 2 * 390),
        (TrainingConfig::adjoint_cifar(), 1, 4 * 390),
    ] {
        assert_eq!(config.steps(50_000, turns), steps);
    }
}

/// The share of classes that a model finds.
fn right<M: Learner>(model: &M) -> f64 {
    let batch = batch(60, 999, &device());
    let found = model.classify(batch.images, Seed(0)).unwrap();
    let found: Vec<i64> = found.into_data().iter().collect();
    let pairs = found.iter().zip(&batch.labels);
    pairs.filter(|(a, b)| **a == **b as i64).count() as f64 / 60.0
}

/// Trains a model and says how often it is right before and after.
fn learns<M: Learner>(mut training: Training<'_, M>, steps: usize) -> [f64; 2] {
    let before = right(&training.trained().unwrap());
    for step in 0..steps {
        let loss = training.step(step).unwrap().read().unwrap();
        assert!(loss.get("loss").unwrap().is_finite());
    }
    [before, right(&training.trained().unwrap())]
}

/// For blocks without normalisation, for which eight features are too few: from some weights the first
/// updates leave all but one of them at 0 for every image. The adjoint method then stops at two of
/// three classes, and so does back-propagation through its solver's steps.
fn wide() -> NetworkConfig {
    tiny(Embedding::OneHot).with_fc(32)
}

#[test]
fn every_method_learns() {
    let tracked = device().autodiff();
    let network = tiny(Embedding::OneHot);
    let dt = DtConfig::new(network.clone()).with_steps(3);
    let back = BackpropConfig::new(network).with_steps(3);
    let ct = CtConfig::new(wide()).with_inference_steps(20);
    let fm = FmConfig::new(wide()).with_inference_steps(20);
    let seed = Seed(11);
    let dt = initialise(&tracked, seed, || dt.init(&tracked)).unwrap();
    let ct = initialise(&tracked, seed, || ct.init(&tracked)).unwrap();
    let fm = initialise(&tracked, seed, || fm.init(&tracked)).unwrap();
    let back = initialise(&tracked, seed, || back.init(&tracked)).unwrap();
    let outcomes = [
        ("dt", learns(training(dt, 5), 120)),
        ("ct", learns(training(ct, 5), 150)),
        ("fm", learns(training(fm, 5), 600)),
        ("back-propagation", learns(training(back, 5), 40)),
    ];
    for (name, [before, after]) in outcomes {
        assert!(after > 0.8 && after > before, "{name}: {before} to {after}");
    }
}

#[test]
fn the_adjoint_method_learns() {
    let tracked = device().autodiff();
    let config = AdjointConfig::new(wide()).with_steps(8);
    for seed in [11, 12, 13] {
        let model = initialise(&tracked, Seed(seed), || config.init(&tracked)).unwrap();
        let [before, after] = learns(training(model, 5), 150);
        assert!(after > 0.8 && after > before, "{seed}: {before} to {after}");
    }
}

#[test]
fn embeddings_of_every_kind_train() {
    let tracked = device().autodiff();
    for embedding in EMBEDDINGS {
        let config = DtConfig::new(tiny(embedding)).with_steps(2);
        let mut model = initialise(&tracked, Seed(5), || config.init(&tracked)).unwrap();
        if embedding == Embedding::Prototype {
            let batch = batch(30, 5, &device());
            let prototypes = prototypes(batch.images, &batch.labels, 3).unwrap();
            model.readout_mut().set_embeddings(prototypes).unwrap();
        }
        let started = values(model.readout.embeddings());
        let mut training = training(model, 2);
        for step in 0..8 {
            training.step(step).unwrap();
        }
        let ended = values(training.trained().unwrap().readout.embeddings());
        assert_eq!(started == ended, embedding == Embedding::OneHot);
    }
}

#[test]
fn blocks_take_turns() {
    let tracked = device().autodiff();
    let config = DtConfig::new(tiny(Embedding::OneHot)).with_steps(3);
    let model = config.init(&tracked).unwrap();
    let mut training = training(model, 2);
    let turns: Vec<f64> = (0..8)
        .map(|step| {
            let scalars = training.step(step).unwrap().read().unwrap();
            scalars.get("block").unwrap()
        })
        .collect();
    assert_eq!(turns, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 1.0, 1.0]);
}

#[test]
fn blocks_that_were_trained_apart_make_a_model() {
    let tracked = device().autodiff();
    let config = DtConfig::new(tiny(Embedding::OneHot)).with_steps(3);
    let model = initialise(&tracked, Seed(5), || config.init(&tracked)).unwrap();
    let mut whole: Option<NoPropDt> = None;
    for block in 0..3 {
        let mut worker = training(model.clone(), 5).train_block(block).unwrap();
        for step in 0..40 {
            worker.step(step).unwrap();
        }
        let trained = worker.trained().unwrap();
        match &mut whole {
            None => whole = Some(trained),
            Some(whole) => whole.adopt(block, &trained).unwrap(),
        }
    }
    let right = right(&whole.unwrap());
    assert!(right > 0.8, "{right}");
    let refused = training(model.clone(), 5).train_block(3);
    let error = refused.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the block is 3: must be below the number of blocks, 3"
    );
    let mut wide = DtConfig::new(tiny(Embedding::OneHot)).with_steps(4);
    wide.eta = 0.2;
    let other = wide.init(&tracked).unwrap();
    let error = text(model.clone().adopt(0, &other));
    assert!(
        error.ends_with("must be that of the model that takes the block"),
        "{error}"
    );
}

#[test]
fn a_block_that_was_taken_over_is_its_own() {
    let tracked = device().autodiff();
    let config = DtConfig::new(tiny(Embedding::OneHot)).with_steps(2);
    let init = |seed| initialise(&tracked, Seed(seed), || config.init(&tracked)).unwrap();
    let (mut model, mut worker) = (init(1), training(init(2), 5).train_block(1).unwrap());
    worker.step(0).unwrap();
    // From a model without autodiff to one with, which it can go on to train in.
    model.adopt(1, &worker.trained().unwrap()).unwrap();
    let state = |model: &NoPropDt| format!("{:?}", menagerie_hub::values(&model.blocks[1]));
    let taken = state(&model);
    assert_eq!(taken, state(&worker.trained().unwrap()));
    worker.step(1).unwrap();
    assert_ne!(taken, state(&worker.trained().unwrap()));
    assert_eq!(taken, state(&model));
    let mut training = training(model, 1).train_block(1).unwrap();
    training.step(0).unwrap();
    assert_ne!(taken, state(&training.trained().unwrap()));
}

#[test]
fn a_resumed_run_is_the_same_run() {
    let dir = tempfile::tempdir().unwrap();
    let tracked = device().autodiff();
    let mut network = tiny(Embedding::Learned);
    network.dropout = 0.2;
    let config = DtConfig::new(network).with_steps(2);
    let fit = |name: &str, steps: usize, resume: bool| {
        let model = initialise(&tracked, Seed(1), || config.init(&tracked)).unwrap();
        let mut training = training(model, 3)
            .evaluating(|model: &NoPropDt, _| Ok(Metrics::new().with("right", right(model))));
        let run = Run::create(&dir.path().join(name), &config, resume).unwrap();
        let fit = FitConfig {
            log_every: 1,
            checkpoint_every: 3,
            evaluate_every: 3,
            ..FitConfig::new(steps)
        };
        run.fit(&mut training, &fit, &Progress::silent()).unwrap();
        (run.history().unwrap(), training.trained().unwrap())
    };
    let (whole, straight) = fit("whole", 9, false);
    fit("parts", 6, false);
    let (parts, resumed) = fit("parts", 9, true);
    assert_eq!(whole.last(), parts.last());
    let weights = |model: &NoPropDt| {
        let norm = model.blocks[1].bn1.running_var.value_sync();
        (values(model.blocks[1].fuse1.weight.val()), values(norm))
    };
    assert_eq!(weights(&straight), weights(&resumed));
}
