//! A killed run goes on as if nothing had happened.

use crate::{Data, Regression};
use burn::optim::AdamConfig;
use burn::tensor::Device;
use menagerie_core::{Error, Result};
use menagerie_train::{
    EarlyStop, FitConfig, Metrics, Procedure, Progress, Run, Scalars, Schedule, Supervised,
};
use std::path::Path;

fn trainer(data: &Data) -> Supervised<'_, Regression> {
    trainer_of(data, 60)
}

fn trainer_of(data: &Data, steps: usize) -> Supervised<'_, Regression> {
    let device = Device::flex().autodiff();
    let model = Regression::new(&device);
    let mut sampler = data.sampler(8);
    Supervised::new(
        model,
        AdamConfig::new().init(),
        Schedule::cosine(0.1, 5, steps),
        move |index, device| Ok(data.pairs(&sampler.indices(index), device)),
    )
    .evaluating(|model, _| {
        let all: Vec<usize> = (0..64).collect();
        let device = Device::flex();
        burn::train::InferenceStep::step(model, data.pairs(&all, &device)).read()
    })
    .averaging(0.9)
    .unwrap()
}

/// Passes everything on and fails once, before step `at`, like a kill would.
struct Killed<P> {
    inner: P,
    at: usize,
}

impl<P: Procedure> Procedure for Killed<P> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        if step == self.at {
            return Err(Error::other("test", "killed"));
        }
        self.inner.step(step)
    }
    fn evaluate(&mut self, step: usize) -> Result<Metrics> {
        self.inner.evaluate(step)
    }
    fn save(&self, folder: &Path) -> Result<()> {
        self.inner.save(folder)
    }
    fn load(&mut self, folder: &Path) -> Result<()> {
        self.inner.load(folder)
    }
}

fn config() -> FitConfig {
    FitConfig {
        steps: 60,
        log_every: 1,
        evaluate_every: 7,
        checkpoint_every: 10,
        keep_checkpoints: 2,
        early_stop: None,
    }
}

#[test]
fn a_killed_run_gives_the_same_metrics_and_weights() {
    let data = Data::new();
    let dir = tempfile::tempdir().unwrap();
    let straight = Run::create(&dir.path().join("straight"), &1, false).unwrap();
    let mut whole = trainer(&data);
    let summary = straight
        .fit(&mut whole, &config(), &Progress::silent())
        .unwrap();
    assert_eq!(summary.step, 60);

    let folder = dir.path().join("killed");
    let run = Run::create(&folder, &1, false).unwrap();
    let mut first = Killed {
        inner: trainer(&data),
        at: 37,
    };
    let error = run
        .fit(&mut first, &config(), &Progress::silent())
        .unwrap_err();
    assert_eq!(error.to_string(), "test: killed");

    let run = Run::create(&folder, &1, true).unwrap();
    let mut second = trainer(&data);
    let resumed = run
        .fit(&mut second, &config(), &Progress::silent())
        .unwrap();
    assert_eq!(resumed, summary);
    assert_eq!(run.history().unwrap(), straight.history().unwrap());
    assert_eq!(
        std::fs::read(folder.join("metrics.jsonl")).unwrap(),
        std::fs::read(dir.path().join("straight/metrics.jsonl")).unwrap()
    );
    assert_eq!(
        second.model().unwrap().weights(),
        whole.model().unwrap().weights()
    );
    assert_eq!(
        second.trained().unwrap().weights(),
        whole.trained().unwrap().weights()
    );

    let kept: Vec<_> = std::fs::read_dir(folder.join("checkpoints"))
        .unwrap()
        .collect();
    assert_eq!(kept.len(), 2);

    // A finished run is not run again.
    let run = Run::create(&folder, &1, true).unwrap();
    let mut third = Killed {
        inner: trainer(&data),
        at: 0,
    };
    let again = run.fit(&mut third, &config(), &Progress::silent()).unwrap();
    assert_eq!(again, summary);
    assert_eq!(
        third.inner.model().unwrap().weights(),
        whole.model().unwrap().weights()
    );
}

#[test]
fn training_finds_the_solution() {
    let data = Data::new();
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(dir.path(), &1, false).unwrap();
    let mut trainer = trainer_of(&data, 400);
    let config = FitConfig {
        steps: 400,
        ..config()
    };
    let summary = run.fit(&mut trainer, &config, &Progress::silent()).unwrap();
    assert!(summary.train.get("loss").unwrap() < 0.01, "{summary:?}");
    assert!(
        summary.evaluation.get("loss").unwrap() < 0.01,
        "{summary:?}"
    );
    let first = &run.history().unwrap()[0];
    assert!(first.metrics.get("loss").unwrap() > 5.0);
}

/// Loss 1 at first, NaN from step `nan` on; the evaluation improves until step `plateau`.
struct Scripted {
    nan: usize,
    plateau: usize,
}

impl Procedure for Scripted {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        let loss = if step >= self.nan { f64::NAN } else { 1.0 };
        Ok(Scalars::new().with_value("loss", loss))
    }
    fn evaluate(&mut self, step: usize) -> Result<Metrics> {
        Ok(Metrics::new().with("accuracy", step.min(self.plateau) as f64))
    }
    fn save(&self, folder: &Path) -> Result<()> {
        menagerie_core::fs::write(&folder.join("nothing"), "")
    }
    fn load(&mut self, _: &Path) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_nan_stops_the_run_and_names_the_last_good_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(dir.path(), &1, false).unwrap();
    let mut procedure = Scripted {
        nan: 25,
        plateau: 100,
    };
    let error = run
        .fit(&mut procedure, &config(), &Progress::silent())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("step 26: loss is NaN; the last good checkpoint is "),
        "{error}"
    );
    assert!(error.ends_with("checkpoints/step-20"), "{error}");
    assert!(dir.path().join("checkpoints/step-20/state.json").is_file());
}

/// Finite losses, but weights that are not finite from step `bad` on.
struct Overflowing {
    bad: usize,
    done: usize,
}

impl Procedure for Overflowing {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        self.done = step + 1;
        Ok(Scalars::new().with_value("loss", 1.0))
    }
    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        Ok((self.done >= self.bad).then(|| ("layer.weight".into(), f64::INFINITY)))
    }
    fn save(&self, folder: &Path) -> Result<()> {
        menagerie_core::fs::write(&folder.join("nothing"), "")
    }
    fn load(&mut self, _: &Path) -> Result<()> {
        Ok(())
    }
}

#[test]
fn weights_that_are_not_finite_are_never_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(dir.path(), &1, false).unwrap();
    let mut procedure = Overflowing { bad: 25, done: 0 };
    let config = FitConfig {
        keep_checkpoints: 1,
        ..config()
    };
    let error = run
        .fit(&mut procedure, &config, &Progress::silent())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("step 30: layer.weight is inf; the last good checkpoint is "),
        "{error}"
    );
    assert!(dir.path().join("checkpoints/step-20/state.json").is_file());
    assert!(!dir.path().join("checkpoints/step-30").exists());
}

#[test]
fn a_diverging_model_is_found_by_its_weights() {
    let data = Data::new();
    let device = Device::flex().autodiff();
    let mut trainer = Supervised::new(
        Regression::new(&device),
        burn::optim::SgdConfig::new().init(),
        f64::from(f32::MAX),
        |_, device: &Device| Ok(data.pairs(&[0, 1, 2, 3], device)),
    );
    assert_eq!(trainer.non_finite().unwrap(), None);
    for step in 0..3 {
        trainer.step(step).unwrap();
    }
    let (name, value) = trainer.non_finite().unwrap().unwrap();
    assert_eq!(name, "linear.weight");
    assert!(!value.is_finite());
}

/// An evaluation that is NaN from the start.
struct Undefined;

impl Procedure for Undefined {
    fn step(&mut self, _: usize) -> Result<Scalars> {
        Ok(Scalars::new().with_value("loss", 1.0))
    }
    fn evaluate(&mut self, _: usize) -> Result<Metrics> {
        Ok(Metrics::new().with("accuracy", f64::NAN))
    }
    fn save(&self, _: &Path) -> Result<()> {
        Ok(())
    }
    fn load(&mut self, _: &Path) -> Result<()> {
        Ok(())
    }
}

#[test]
fn early_stopping_refuses_a_nan() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(dir.path(), &1, false).unwrap();
    let mut config = FitConfig {
        early_stop: Some(EarlyStop {
            metric: "accuracy".into(),
            maximise: true,
            min_delta: 0.0,
            patience: 2,
        }),
        ..config()
    };
    let error = run
        .fit(&mut Undefined, &config, &Progress::silent())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "step 7: accuracy is NaN; the last good checkpoint is none"
    );
    if let Some(stop) = &mut config.early_stop {
        stop.min_delta = f64::NAN;
    }
    let error = run
        .fit(&mut Undefined, &config, &Progress::silent())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "FitConfig.early_stop.min_delta = NaN: must be finite and not negative"
    );
}

#[test]
fn early_stopping_stops_and_survives_a_resume() {
    let dir = tempfile::tempdir().unwrap();
    let config = FitConfig {
        early_stop: Some(EarlyStop {
            metric: "accuracy".into(),
            maximise: true,
            min_delta: 0.0,
            patience: 2,
        }),
        ..config()
    };
    let mut procedure = Scripted {
        nan: 1000,
        plateau: 14,
    };
    let run = Run::create(dir.path(), &1, false).unwrap();
    let summary = run
        .fit(&mut procedure, &config, &Progress::silent())
        .unwrap();
    assert_eq!((summary.step, summary.best_step), (28, Some(14)));
    assert!(summary.stopped_early);
    let run = Run::create(dir.path(), &1, true).unwrap();
    assert_eq!(
        run.fit(&mut procedure, &config, &Progress::silent())
            .unwrap(),
        summary
    );

    let mut wrong = config.clone();
    wrong.early_stop.as_mut().unwrap().metric = "acuracy".into();
    let run = Run::create(&dir.path().join("wrong"), &1, false).unwrap();
    let error = run
        .fit(&mut procedure, &wrong, &Progress::silent())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "unknown early-stop metric `acuracy`; did you mean `accuracy`?"
    );
}

#[test]
fn impossible_fits_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(dir.path(), &1, false).unwrap();
    let mut procedure = Scripted { nan: 9, plateau: 9 };
    let config = FitConfig::new(0);
    let error = run
        .fit(&mut procedure, &config, &Progress::silent())
        .unwrap_err();
    assert_eq!(error.to_string(), "FitConfig.steps = 0: must be at least 1");
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let data = Data::new();
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(dir.path(), &1, false).unwrap();
    run.fit(&mut trainer(&data), &config(), &Progress::silent())
        .unwrap();
    // An optimiser's state that belongs to other parameters.
    let folder = dir.path().join("checkpoints/step-60");
    let optimiser = folder.join("optimiser.bpk");
    let kept = std::fs::read(&optimiser).unwrap();
    std::fs::copy(folder.join("model.bpk"), &optimiser).unwrap();
    let run = Run::create(dir.path(), &1, true).unwrap();
    let error = run
        .fit(&mut trainer(&data), &config(), &Progress::silent())
        .unwrap_err()
        .to_string();
    assert!(error.contains("step-60/optimiser.bpk: "), "{error}");
    std::fs::write(&optimiser, kept).unwrap();

    let path = folder.join("model.bpk");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let run = Run::create(dir.path(), &1, true).unwrap();
    let error = run
        .fit(&mut trainer(&data), &config(), &Progress::silent())
        .unwrap_err();
    assert!(error.to_string().contains("step-60/model.bpk: "), "{error}");
}
