//! Training of a character model: learns, resumes exactly, is loaded when it is finished.

use burn::tensor::Device;
use menagerie_core::Seed;
use menagerie_sae::host::{CharTrainingConfig, LanguageModel, LanguageModelConfig, train_on};
use std::path::Path;

fn device() -> Device {
    menagerie_core::device::parse(&std::env::var("MENAGERIE_DEVICE").unwrap_or("flex".into()))
        .unwrap()
}

fn config() -> LanguageModelConfig {
    LanguageModelConfig::gpt2(5, 12, 16, 2, 2)
}

fn training(steps: usize) -> CharTrainingConfig {
    CharTrainingConfig::new()
        .with_batch(8)
        .with_steps(steps)
        .with_learning_rate(1e-2)
        .with_evaluation_windows(8)
}

/// A stream in which every token follows from the one before.
fn tokens() -> Vec<u32> {
    (0..400).map(|at| [0, 3, 1, 4, 2][at % 5]).collect()
}

fn train(folder: &Path, steps: usize, resume: bool) -> menagerie_core::Result<LanguageModel> {
    let (model, training) = (config(), training(steps));
    train_on(
        &model,
        &training,
        &tokens(),
        folder,
        Seed(4),
        &device(),
        resume,
    )
}

/// The last loss on held-out text.
fn evaluation(folder: &Path) -> f64 {
    let log = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let line = log
        .lines()
        .rfind(|line| line.contains("evaluation"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["metrics"]["loss"].as_f64().unwrap()
}

#[test]
fn a_model_learns_and_a_finished_one_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("host");
    let model = train(&folder, 60, false).unwrap();
    // From ln 5 = 1.61.
    let loss = evaluation(&folder);
    assert!(loss < 0.2, "{loss}");

    // Without another step, also where no run is to be resumed.
    std::fs::remove_dir_all(folder.join("checkpoints")).unwrap();
    let again = train(&folder, 60, false).unwrap();
    assert_eq!(menagerie_hub::values(&again), menagerie_hub::values(&model));

    let error = train(&folder, 61, true).unwrap_err().to_string();
    assert!(error.contains("training.steps = 60"), "{error}");
}

#[test]
fn an_interrupted_run_goes_on_as_if_nothing_had_happened() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("host");
    let model = train(&folder, 20, false).unwrap();

    // As if it had been stopped after step 18.
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    std::fs::remove_dir_all(folder.join("checkpoints/step-20")).unwrap();
    let error = train(&folder, 20, false).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");
    let resumed = train(&folder, 20, true).unwrap();
    assert_eq!(
        menagerie_hub::values(&resumed),
        menagerie_hub::values(&model)
    );
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let attempt = |training: CharTrainingConfig, tokens: &[u32]| {
        let folder = dir.path().join("host");
        train_on(
            &config(),
            &training,
            tokens,
            &folder,
            Seed(4),
            &device(),
            true,
        )
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        attempt(training(0), &tokens()),
        "CharTrainingConfig.steps = 0: must be at least 1"
    );
    assert_eq!(
        attempt(training(1).with_learning_rate(f64::NAN), &tokens()),
        "CharTrainingConfig.learning_rate = NaN: must be finite and above 0"
    );
    assert_eq!(
        attempt(training(1), &[1, 5]),
        "a token is 5: must be below the vocabulary's 5"
    );
    assert!(attempt(training(1), &tokens()[..40]).contains("number of tokens"));
}
