//! Training a host, and the character model that the small reproductions share.

use super::{config::LanguageModelConfig, hook::Hooks, model::LanguageModel, next_token_loss};
use burn::{
    config::Config,
    optim::AdamConfig,
    tensor::{Device, Int, Tensor, TensorData},
    train::{InferenceStep, TrainOutput, TrainStep},
};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_text::{Batch, CharVocabulary, Windows, split, tiny_shakespeare};
use menagerie_hub::StateDict;
use menagerie_train::{FitConfig, Metrics, Progress, Run, Scalars, Supervised, initialise};
use std::path::Path;

/// Tokens and those that follow them, both `[batch, tokens]`, the tokens in the model's vocabulary.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    /// What the model reads.
    pub inputs: Tensor<2, Int>,
    /// What it should predict.
    pub targets: Tensor<2, Int>,
}

impl TokenBatch {
    /// The windows of `batch` on `device`.
    pub fn new(batch: Batch, device: &Device) -> Self {
        let shape = [batch.rows, batch.length];
        let tensor = |tokens| Tensor::from_data(TensorData::new(tokens, shape), device);
        Self {
            inputs: tensor(batch.inputs),
            targets: tensor(batch.targets),
        }
    }
}

impl LanguageModel {
    /// Mean cross-entropy in nats `[1]`. Tokens outside of the vocabulary or the context are not
    /// looked for.
    fn loss(&self, batch: TokenBatch) -> Tensor<1> {
        match self.pass(batch.inputs, &mut Hooks::new()) {
            Ok(logits) => next_token_loss(logits, batch.targets).mean(),
            // Only a hook can interrupt a pass.
            Err(_) => Tensor::from_floats([f32::NAN], &self.embedding.val().device()),
        }
    }
}

impl TrainStep for LanguageModel {
    type Input = TokenBatch;
    type Output = Scalars;

    fn step(&self, batch: TokenBatch) -> TrainOutput<Scalars> {
        let loss = self.loss(batch);
        let scalars = Scalars::new().with("loss", loss.clone().without_autodiff());
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for LanguageModel {
    type Input = TokenBatch;
    type Output = Scalars;

    fn step(&self, batch: TokenBatch) -> Scalars {
        Scalars::new().with("loss", self.loss(batch))
    }
}

/// How a character model is trained: Adam at a constant rate on random windows.
#[derive(Config, Debug, PartialEq)]
pub struct CharTrainingConfig {
    /// Adam's learning rate.
    #[config(default = 1e-3)]
    pub learning_rate: f64,
    /// Windows per step.
    #[config(default = 32)]
    pub batch: usize,
    /// Number of steps.
    #[config(default = 2_000)]
    pub steps: usize,
    /// Share of the text, at its end, that is kept for evaluation.
    #[config(default = 0.1)]
    pub validation: f64,
    /// Windows in an evaluation.
    #[config(default = 128)]
    pub evaluation_windows: usize,
}

impl CharTrainingConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let name = "CharTrainingConfig";
        if !self.learning_rate.is_finite() || self.learning_rate <= 0.0 {
            let rule = "must be finite and above 0";
            return Err(Error::config(
                name,
                "learning_rate",
                self.learning_rate,
                rule,
            ));
        }
        for (field, value) in [
            ("batch", self.batch),
            ("steps", self.steps),
            ("evaluation_windows", self.evaluation_windows),
        ] {
            if value == 0 {
                return Err(Error::config(name, field, 0, "must be at least 1"));
            }
        }
        Ok(())
    }
}

/// Everything that decides a run; compared when one is taken up.
#[derive(Config, Debug)]
struct CharRun {
    model: LanguageModelConfig,
    training: CharTrainingConfig,
    seed: Seed,
}

/// The weights of a finished run, under their official names.
const FINISHED: &str = "model.safetensors";

/// The character model of the small reproductions ([`LanguageModelConfig::char_gpt`] on
/// tiny-shakespeare) without autodiff, and its vocabulary.
///
/// A run folder that holds a finished model of the same seed and number of steps is loaded; so
/// several recipes can share one. Otherwise it is trained there: from the last checkpoint with
/// `resume`, else from the start.
///
/// # Errors
/// If the text cannot be had, the folder holds another or (without `resume`) an unfinished run, a
/// file cannot be read or written, or training fails.
pub fn char_host(
    run_folder: &Path,
    seed: Seed,
    device: &Device,
    steps: usize,
    resume: bool,
) -> Result<(LanguageModel, CharVocabulary)> {
    let text = tiny_shakespeare()?;
    let vocabulary = CharVocabulary::of(&text)?;
    let tokens = vocabulary.encode(&text)?;
    let model = LanguageModelConfig::char_gpt(vocabulary.len());
    let training = CharTrainingConfig::new().with_steps(steps);
    let model = train_on(&model, &training, &tokens, run_folder, seed, device, resume)?;
    Ok((model, vocabulary))
}

/// Trains a model of `config` on `tokens` in `run_folder`, or loads the one that was trained there
/// with the same configuration and seed. Without autodiff.
///
/// # Errors
/// As [`char_host`]; [`Error::Input`] for a token outside of the vocabulary or too few tokens.
pub fn train_on(
    config: &LanguageModelConfig,
    training: &CharTrainingConfig,
    tokens: &[u32],
    run_folder: &Path,
    seed: Seed,
    device: &Device,
    resume: bool,
) -> Result<LanguageModel> {
    config.validate()?;
    training.validate()?;
    if let Some(token) = tokens.iter().find(|t| **t as usize >= config.vocabulary) {
        let rule = format!("must be below the vocabulary's {}", config.vocabulary);
        return Err(Error::input("a token", token, rule));
    }
    let finished = run_folder.join(FINISHED);
    let settings = CharRun::new(config.clone(), training.clone(), seed);
    let run = Run::create(run_folder, &settings, resume || finished.is_file())?;
    let plain = device.clone().without_autodiff();
    if finished.is_file() {
        return LanguageModel::load(config, &StateDict::open(&finished)?, &plain);
    }

    let (train, validation) = split(tokens, training.validation)?;
    let train = Windows::new(train, config.context)?;
    let validation = Windows::new(validation, config.context)?;
    let autodiff = plain.clone().autodiff();
    let model = initialise(&autodiff, seed.stream("weights"), || config.init(&autodiff))?;
    let draws = seed.stream("batches");
    let held_out = seed.stream("evaluation");
    let mut procedure = Supervised::new(
        model,
        AdamConfig::new().with_epsilon(1e-8).build(),
        training.learning_rate,
        |step, device| {
            let batch = train.random(training.batch, draws.at(step as u64));
            Ok(TokenBatch::new(batch, device))
        },
    )
    .evaluating(|model, _| {
        // The same windows every time, a training batch at once.
        let batches = training.evaluation_windows.div_ceil(training.batch);
        let measured = (0..batches).map(|batch| {
            let windows = validation.random(training.batch, held_out.at(batch as u64));
            let scalars = InferenceStep::step(model, TokenBatch::new(windows, &plain));
            Ok((scalars.read()?, 1.0))
        });
        Ok(Metrics::weighted_mean(
            measured.collect::<Result<Vec<_>>>()?,
        ))
    });
    let progress = Progress::auto().labelled("character model");
    let fit = FitConfig {
        log_every: (training.steps / 40).max(1),
        ..FitConfig::new(training.steps)
    };
    run.fit(&mut procedure, &fit, &progress)?;
    let model = procedure.trained()?;
    model.save(&finished)?;
    Ok(model)
}
