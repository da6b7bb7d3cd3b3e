use super::{init, tiny};
use crate::device;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_series::local_reg_nde::{
    Adjoint, ConvNodeConfig, Fit, Labelled, LabelledRows, LatentOdeConfig, NodeConfig, NsdeConfig,
    Optimizer, RegularizerConfig, Sampling, SignalsConfig, SolverConfig, Trainable, TrainingConfig,
};
use menagerie_train::{FitConfig, Progress, Run, Sampler, initialise};
use std::path::Path;

/// Rows whose largest value of the first three is their class.
fn rows() -> LabelledRows {
    let labels: Vec<usize> = (0..60).map(|at| at % 3).collect();
    let values = labels.iter().enumerate().flat_map(|(at, label)| {
        (0..7).map(move |p| {
            let bright = if p == *label { 1.0 } else { 0.0 };
            bright + ((p * 31 + at * 17) % 13) as f32 / 20.0
        })
    });
    LabelledRows::new(values.collect(), 7, labels).unwrap()
}

/// Trains in one go and in two parts; the losses of the first and the last step, and whether both
/// ways end at the same weights.
fn both_ways<M: Trainable>(
    dir: &Path,
    training: &TrainingConfig,
    model: impl Fn() -> M,
    mut batch: impl FnMut(usize, &Device) -> M::Batch,
) -> [f64; 2] {
    let mut run = |folder: &str, steps: usize, resume: bool| {
        let batches = |step: usize, to: &Device| Ok(batch(step, to));
        let mut fit = Fit::new(model(), training, batches).unwrap();
        let run = Run::create(&dir.join(folder), training, resume).unwrap();
        let config = FitConfig::new(steps);
        run.fit(&mut fit, &config, &Progress::silent()).unwrap();
        let history = run.history().unwrap();
        let losses: Vec<f64> = history
            .iter()
            .filter_map(|line| line.metrics.get("loss"))
            .collect();
        (fit.trained().unwrap(), losses)
    };
    let (whole, losses) = run("whole", training.steps, false);
    run("parts", training.steps / 2, false);
    let (parts, _) = run("parts", training.steps, true);
    let (whole, parts) = (menagerie_hub::values(&whole), menagerie_hub::values(&parts));
    assert_eq!(whole.len(), parts.len());
    for (name, whole) in whole {
        let [whole, parts] =
            [&whole, &parts[&name]].map(|data| data.iter::<f64>().collect::<Vec<_>>());
        assert_eq!(whole, parts, "{name}");
    }
    [losses[0], *losses.last().unwrap()]
}

#[test]
fn classifiers_train_and_resume_exactly() {
    let tracked = device().autodiff();
    let set = rows();
    let dir = tempfile::tempdir().unwrap();
    let local = RegularizerConfig::new().with_weight([100.0, 50.0]);
    let arms = [
        ("vanilla", RegularizerConfig::vanilla()),
        ("local", local),
        ("biased", local.with_sampling(Sampling::Biased)),
        ("global", RegularizerConfig::global_error()),
    ];
    for (name, regularizer) in arms {
        let training = TrainingConfig::new(20, 20, 2e-2, regularizer);
        let mut sampler = Sampler::shuffled(set.len(), 20, Seed(1)).unwrap();
        let [before, after] = both_ways(
            &dir.path().join(name),
            &training,
            || init(&tiny(1), &tracked),
            |step, to| set.batch(&sampler.indices(step), to),
        );
        assert!(after < 0.8 * before, "{name}: {before} to {after}");
    }
    // The other optimiser, with the other adjoint.
    let training = TrainingConfig::new(10, 20, 2e-2, local)
        .with_optimizer(Optimizer::AdaMax)
        .with_adjoint(Adjoint::Continuous);
    let [before, after] = both_ways(
        &dir.path().join("adamax"),
        &training,
        || init(&tiny(1), &tracked),
        |_, to| set.all(to),
    );
    assert!(after < 0.9 * before, "{before} to {after}");
}

#[test]
fn an_sde_trains_and_resumes_exactly() {
    let tracked = device().autodiff();
    let set = rows();
    let dir = tempfile::tempdir().unwrap();
    let config = NsdeConfig::new(7, 4, 6, SolverConfig::new(0.05)).with_classes(3);
    let training = TrainingConfig::new(30, 60, 3e-2, RegularizerConfig::new());
    let [before, after] = both_ways(
        dir.path(),
        &training,
        || initialise(&tracked, Seed(3), || config.init(&tracked)).unwrap(),
        |_, to| set.all(to),
    );
    assert!(after < 0.8 * before, "{before} to {after}");
}

#[test]
fn a_latent_ode_trains_and_resumes_exactly() {
    let tracked = device().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let signals = SignalsConfig::new().with_times(6).draw(Seed(1)).unwrap();
    let config = LatentOdeConfig::new(4, 5, 8, 4, SolverConfig::new(1e-4))
        .with_layers(2)
        .with_sigma(0.5);
    let training = TrainingConfig::new(20, 16, 2e-2, RegularizerConfig::new());
    let numbers: Vec<usize> = (0..16).collect();
    let [before, after] = both_ways(
        dir.path(),
        &training,
        || initialise(&tracked, Seed(3), || config.init(&tracked)).unwrap(),
        |_, to| signals.series(&numbers, Seed(2), to),
    );
    assert!(after < before, "{before} to {after}");
}

#[test]
fn convolutions_train_and_resume_exactly_with_their_statistics() {
    let tracked = device().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let config = ConvNodeConfig::new(6, SolverConfig::new(1e-2))
        .with_state(4)
        .with_hidden(4)
        .with_classes(2);
    let labels: Vec<i64> = (0..8).map(|at| at % 2).collect();
    let pixels: Vec<f32> = (0..8 * 108)
        .map(|at| (at / 108 % 2) as f32 + (at * 37 % 11) as f32 / 20.0)
        .collect();
    let batch = |to: &Device| Labelled {
        images: Tensor::from_data(TensorData::new(pixels.clone(), [8, 3, 6, 6]), to),
        labels: Tensor::from_data(TensorData::new(labels.clone(), [8]), to),
    };
    let training = TrainingConfig::new(8, 8, 1e-2, RegularizerConfig::new());
    let init = || initialise(&tracked, Seed(3), || config.init(&tracked)).unwrap();
    let [before, after] = both_ways(dir.path(), &training, init, |_, to| batch(to));
    assert!(after < before, "{before} to {after}");
    // Running statistics have moved.
    let model = init();
    let mean = |model: &menagerie_series::local_reg_nde::ConvNeuralOde| {
        super::largest(model.dynamics.first_norm.mean.value())
    };
    assert_eq!(mean(&model), 0.0);
    let learning = super::learning(RegularizerConfig::vanilla());
    model.learn(&batch(&device()), &learning).unwrap();
    assert!(mean(&model) > 0.0);
    let prediction = model.valid().forward(batch(&device()).images).unwrap();
    assert_eq!(prediction.logits.dims(), [8, 2]);
}

#[test]
fn local_regularisation_lowers_what_it_measures() {
    let tracked = device().autodiff();
    let set = rows();
    let config = NodeConfig {
        solver: SolverConfig::new(1e-5),
        ..tiny(1)
    };
    let end = |regularizer: RegularizerConfig| {
        let training = TrainingConfig::new(60, 60, 3e-2, regularizer);
        let batches = |_: usize, to: &Device| Ok(set.all(to));
        let mut fit = Fit::new(init(&config, &tracked), &training, batches).unwrap();
        for step in 0..60 {
            menagerie_train::Procedure::step(&mut fit, step).unwrap();
        }
        let model = fit.trained().unwrap();
        model
            .forward(set.all(&device()).images)
            .unwrap()
            .evaluations
    };
    let vanilla = end(RegularizerConfig::vanilla());
    let local = end(RegularizerConfig::new().with_weight([3e4, 3e4]));
    assert!(local < vanilla, "{local} beside {vanilla}");
}
