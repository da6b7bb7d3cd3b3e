//! The official training: Adam, clipping, a rate that falls when the validation stalls, and the best model
//! kept; with gradients of looked-up rows alone.

use super::click::{ClickModel, embedding_ids};
use super::data::Impressions;
use super::mlp::Mode;
use super::objective::cross_entropy;
use burn::config::Config;
use burn::module::{ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result, Seed, config};
use menagerie_nn::adam::AdamUpdate;
use menagerie_nn::embedding::{Penalty, PenaltySums, RowGradients, adam_rows};
use menagerie_train::{
    Adam, AdamConfig, EarlyStop, FitConfig, Metrics, Procedure, Progress, Run, Scalars, Summary,
    load_module, non_finite, save_module, scale,
};
use rand::seq::SliceRandom;
use std::collections::HashMap;
use std::path::Path;

/// Adam at a rate that falls when the validation's AUC stalls.
#[derive(Config, Debug, PartialEq)]
pub struct TrainingConfig {
    /// The first learning rate.
    #[config(default = 1e-3)]
    pub rate: f64,
    /// Rows of a batch; the last batch of an epoch takes what is left.
    #[config(default = 4096)]
    pub batch: usize,
    /// Passes over the training rows, at most.
    #[config(default = 100)]
    pub epochs: usize,
    /// The common norm to which gradients are clipped.
    #[config(default = 10.0)]
    pub clip: f64,
    /// By how much an epoch must beat the best AUC; if it does not, that is a strike.
    #[config(default = 1e-6)]
    pub min_delta: f64,
    /// What the rate is multiplied by at a strike.
    #[config(default = 0.1)]
    pub factor: f64,
    /// What the rate does not fall below.
    #[config(default = 1e-6)]
    pub floor: f64,
    /// Strikes in a row that end the training.
    #[config(default = 2)]
    pub patience: usize,
}

impl TrainingConfig {
    const NAME: &str = "TrainingConfig";

    /// The published runs on Frappe and MovieLens.
    pub fn published() -> Self {
        Self::new()
    }

    /// The defaults of the official template, for Criteo and Avazu: batches of 10 000.
    pub fn template() -> Self {
        Self::new().with_batch(10_000)
    }

    /// The small trial of the reproduction: rate 2e-3, batches of 1000, 14 epochs.
    pub fn small() -> Self {
        Self::new()
            .with_rate(2e-3)
            .with_batch(1_000)
            .with_epochs(14)
    }

    /// Refuses sizes of 0, rates and norms that are not above 0, and factors outside of (0, 1].
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("batch", self.batch),
            ("epochs", self.epochs),
            ("patience", self.patience),
        ];
        if let Some((field, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(Error::config(Self::NAME, *field, 0, "must be at least 1"));
        }
        for (field, value) in [
            ("rate", self.rate),
            ("clip", self.clip),
            ("floor", self.floor),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::config(
                    Self::NAME,
                    field,
                    value,
                    "must be finite and above 0",
                ));
            }
        }
        if !(self.factor > 0.0 && self.factor <= 1.0) {
            let rule = "must be above 0 and at most 1";
            return Err(Error::config(Self::NAME, "factor", self.factor, rule));
        }
        if !(self.min_delta.is_finite() && self.min_delta >= 0.0) {
            let rule = "must be finite and not negative";
            return Err(Error::config(Self::NAME, "min_delta", self.min_delta, rule));
        }
        Ok(())
    }
}

/// The order in which rows are visited: each epoch all of them once, the last batch shorter.
#[derive(Clone, Debug)]
pub struct Epochs {
    len: usize,
    batch: usize,
    seed: Seed,
    cache: Option<(usize, Vec<usize>)>,
}

impl Epochs {
    /// Batches of `batch` out of `len` rows, in an order decided by `seed`.
    ///
    /// # Errors
    /// [`Error::Input`] for no rows or a batch of 0.
    pub fn new(len: usize, batch: usize, seed: Seed) -> Result<Self> {
        if len == 0 || batch == 0 {
            let rule = format!("must be at least 1, of {len} rows, and so must they");
            return Err(Error::input("the batch size", batch, rule));
        }
        Ok(Self {
            len,
            batch,
            seed,
            cache: None,
        })
    }

    /// How many batches make up one pass.
    pub fn steps(&self) -> usize {
        self.len.div_ceil(self.batch)
    }

    /// Rows of the last batch of a pass.
    pub fn last(&self) -> usize {
        self.len - (self.steps() - 1) * self.batch
    }

    /// The rows of step `step`, counted from 0 over all passes.
    pub fn rows(&mut self, step: usize) -> Vec<usize> {
        let (epoch, at) = (step / self.steps(), step % self.steps() * self.batch);
        if self.cache.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let mut order: Vec<usize> = (0..self.len).collect();
            order.shuffle(&mut self.seed.at(epoch as u64).rng());
            self.cache = Some((epoch, order));
        }
        let order = self.cache.as_ref().map_or(&[][..], |(_, order)| order);
        order[at..self.len.min(at + self.batch)].to_vec()
    }
}

/// The training of one model.
pub struct Fit<'a, M: ClickModel> {
    model: Option<M>,
    config: TrainingConfig,
    adam: Adam,
    epochs: Epochs,
    train: &'a Impressions,
    valid: Option<&'a Impressions>,
    draws: Seed,
    device: Device,
    rate: f64,
    strikes: usize,
    /// The best validation AUC so far and the model that had it.
    best: Option<(f64, M)>,
}

impl<'a, M: ClickModel> Fit<'a, M> {
    /// A model with autodiff and its rows; without validation rows the rate stays as it is.
    ///
    /// # Errors
    /// For an invalid configuration; [`Error::Input`] if the last batch of an epoch would be of one row and
    /// layers normalise by the batch.
    pub fn new(
        model: M,
        config: &TrainingConfig,
        train: &'a Impressions,
        valid: Option<&'a Impressions>,
        seed: Seed,
    ) -> Result<Self> {
        config.validate()?;
        let epochs = Epochs::new(train.len(), config.batch, seed.stream("order"))?;
        if model.normalises() && epochs.last() < 2 {
            let rule = "must be at least 2: batch normalisation divides by a deviation; change the \
                        batch size";
            return Err(Error::input(
                "the last batch of an epoch",
                epochs.last(),
                rule,
            ));
        }
        let device = model.devices().into_iter().next();
        let device =
            device.ok_or_else(|| Error::other("training", "the model has no parameter"))?;
        Ok(Self {
            model: Some(model),
            rate: config.rate,
            config: config.clone(),
            adam: Adam::new(AdamConfig::default())?,
            epochs,
            train,
            valid,
            draws: seed.stream("dropout"),
            device: device.autodiff(),
            strikes: 0,
            best: None,
        })
    }

    /// Batches of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.epochs.steps()
    }

    /// The present learning rate.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// The model as it is, with autodiff.
    ///
    /// # Errors
    /// If a step failed half-way.
    pub fn model(&self) -> Result<&M> {
        self.model.as_ref().ok_or_else(lost)
    }

    /// The model with the best validation AUC, or the present one if none was evaluated; without autodiff.
    ///
    /// # Errors
    /// If a step failed half-way.
    pub fn best(&self) -> Result<M> {
        match &self.best {
            Some((_, model)) => Ok(model.clone()),
            None => Ok(self.model()?.valid()),
        }
    }

    /// Takes in an evaluation: a better one is kept, another is a strike.
    fn judge(&mut self, auc: f64) -> Result<()> {
        let better = |best: &(f64, M)| auc > best.0 + self.config.min_delta;
        if self.best.as_ref().is_none_or(better) {
            self.best = Some((auc, self.model()?.valid()));
            self.strikes = 0;
        } else {
            self.strikes += 1;
            self.rate = (self.rate * self.config.factor).max(self.config.floor);
        }
        Ok(())
    }
}

impl<M: ClickModel> Procedure for Fit<'_, M> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        let rows = self.epochs.rows(step);
        let draw = self.draws.at(step as u64);
        let batch = self.train.batch(&rows, &self.device, Some(draw));
        let mode = Mode::Train(batch.draw);
        let model = self.model.take().ok_or_else(lost)?;
        model.check(&batch, mode)?;

        // The looked-up rows are leaves: no gradient of a table's size is made.
        let embeddings = model.embeddings();
        let found = embeddings.iter().filter_map(|embedding| {
            let table = embedding.table.as_ref()?;
            Some((
                table.id,
                table.val().without_autodiff(),
                embedding.lookup(&batch)?,
            ))
        });
        let found: Vec<_> = found.collect();
        let leaf = |table: &Tensor<2>, lookup: &menagerie_nn::embedding::Lookup| {
            lookup.select(table.clone()).autodiff().require_grad()
        };
        let leaves: Vec<Tensor<2>> = found
            .iter()
            .map(|(_, table, lookup)| leaf(table, lookup))
            .collect();
        let mut rest = leaves.iter();
        let looked_up = embeddings.iter().map(|embedding| {
            let has_table = embedding.table.is_some();
            has_table.then(|| rest.next().cloned()).flatten()
        });
        let logits = model.pass(looked_up.collect(), &batch, mode);
        let loss = cross_entropy(logits, batch.labels.clone());
        let mut gradients = loss.backward();

        let [embedding_penalty, net] = model.penalties();
        let mut tables = HashMap::new();
        let (mut penalty, mut square) = (0.0, 0.0);
        for ((id, table, lookup), leaf) in found.into_iter().zip(&leaves) {
            let Some(gradient) = leaf.grad_remove(&mut gradients) else {
                return Err(Error::other("back-propagation", "a table has no gradient"));
            };
            let sums = match embedding_penalty == Penalty::default() {
                true => PenaltySums::default(),
                false => PenaltySums::of(&table),
            };
            let gradient = lookup.sums(gradient);
            penalty += embedding_penalty.value(&sums);
            square += gradient.square_norm(&table, &embedding_penalty, &sums);
            tables.insert(id, gradient);
        }
        let mut dense = Dense {
            gradients: GradientsParams::from_grads(gradients, &model),
            embeddings: embedding_ids(&model),
            penalties: [embedding_penalty, net],
            penalty: 0.0,
            square: None,
        };
        model.visit(&mut dense);
        penalty += dense.penalty;
        if let Some(sum) = dense.square {
            square += sum.into_scalar::<f64>();
        }
        let factor = (self.config.clip / (square.sqrt() + 1e-6)).min(1.0);
        let mut gradients = dense.gradients;
        if factor < 1.0 {
            let device = self.device.clone().without_autodiff();
            let factor = Tensor::from_floats([factor as f32], &device);
            gradients = scale(&model, gradients, &factor);
        }
        drop(embeddings);
        let model = self.adam.step(self.rate, model, gradients);
        self.model = Some(model.map(&mut Tables {
            gradients: tables,
            penalty: embedding_penalty,
            factor,
            rate: self.rate,
            adam: &mut self.adam,
        }));
        let loss = loss.without_autodiff();
        Ok(Scalars::new()
            .with("loss", loss.clone() + penalty)
            .with("cross-entropy", loss)
            .with_value("gradient norm", square.sqrt())
            .with_value("rate", self.rate))
    }

    fn evaluate(&mut self, _: usize) -> Result<Metrics> {
        let Some(valid) = self.valid else {
            return Ok(Metrics::new());
        };
        let metrics = self.model()?.evaluate(valid, self.config.batch)?;
        self.judge(metrics.get("auc").unwrap_or(f64::NAN))?;
        Ok(metrics)
    }

    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        non_finite(self.model()?)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        save_module(self.model()?, &folder.join("model.bpk"))?;
        self.adam.save(&folder.join("adam.safetensors"))?;
        let best = self.best.as_ref().map(|(auc, _)| *auc);
        config::save(
            &(self.rate, self.strikes, best),
            &folder.join("plateau.json"),
        )?;
        match &self.best {
            Some((_, model)) => save_module(model, &folder.join("best.bpk")),
            None => Ok(()),
        }
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let model = self.model.take().ok_or_else(lost)?;
        let (rate, strikes, best): (f64, usize, Option<f64>) =
            config::load(&folder.join("plateau.json"))?;
        self.best = match best {
            Some(auc) => Some((auc, load_module(model.valid(), &folder.join("best.bpk"))?)),
            None => None,
        };
        self.adam
            .load(&folder.join("adam.safetensors"), &self.device)?;
        self.model = Some(load_module(model, &folder.join("model.bpk"))?);
        (self.rate, self.strikes) = (rate, strikes);
        Ok(())
    }
}

/// Adds the penalties' gradients to those of all parameters that are not tables, and up their squares.
struct Dense {
    gradients: GradientsParams,
    embeddings: Vec<ParamId>,
    penalties: [Penalty; 2],
    penalty: f64,
    square: Option<Tensor<1>>,
}

impl ModuleVisitor for Dense {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(mut gradient) = self.gradients.remove::<D>(param.id) else {
            return;
        };
        let [embedding, net] = self.penalties;
        let penalty = match self.embeddings.contains(&param.id) {
            true => embedding,
            false => net,
        };
        if penalty != Penalty::default() {
            let value = param.val().without_autodiff();
            self.penalty += penalty.value(&PenaltySums::of(&value));
            gradient = gradient + penalty.gradient(value);
        }
        let square = gradient.clone().square().sum();
        self.square = Some(match self.square.take() {
            Some(sum) => sum + square,
            None => square,
        });
        self.gradients.register(param.id, gradient);
    }
}

/// Updates tables whose gradients are those of a few rows.
struct Tables<'a> {
    gradients: HashMap<ParamId, RowGradients>,
    penalty: Penalty,
    factor: f64,
    rate: f64,
    /// After the step of all other parameters: its time is that of this one.
    adam: &'a mut Adam,
}

impl ModuleMapper for Tables<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove(&param.id) else {
            return param;
        };
        let AdamConfig {
            beta_1,
            beta_2,
            epsilon,
        } = AdamConfig::default();
        let update = AdamUpdate {
            rate: self.rate,
            beta_1,
            beta_2,
            epsilon,
            time: self.adam.time(),
        };
        let (id, table, mapper) = param.consume();
        let shape = table.shape();
        let strategy = table.gradient_checkpointing_strategy();
        let dim = gradient.sums().dims()[1];
        let rows = shape.num_elements() / dim.max(1);
        let table = table.without_autodiff().reshape([rows, dim]);
        let zeros = || {
            let zeros = Tensor::zeros([rows * dim], &table.device());
            [zeros.clone(), zeros]
        };
        let moments = self.adam.moments(id).cloned().unwrap_or_else(zeros);
        let (table, moments) = adam_rows(
            &update,
            table,
            &gradient,
            &self.penalty,
            self.factor,
            moments,
        );
        self.adam.set_moments(id, moments);
        let table: Tensor<D> = table.reshape(shape);
        let table = match strategy {
            Some(strategy) => table
                .autodiff()
                .with_gradient_checkpointing_strategy(strategy)
                .require_grad(),
            None => table,
        };
        Param::from_mapped_value(id, table, mapper)
    }
}

fn lost() -> Error {
    Error::other(
        "training",
        "an earlier step failed half-way: start again from the last checkpoint",
    )
}

/// Trains `model`, with autodiff, in the folder of `run`, and returns the one with the best validation
/// AUC, without autodiff.
///
/// # Errors
/// As [`Fit::new`] and [`Run::fit`].
pub fn fit<M: ClickModel>(
    model: M,
    train: &Impressions,
    valid: &Impressions,
    config: &TrainingConfig,
    seed: Seed,
    run: &Run,
    progress: &Progress,
) -> Result<(M, Summary)> {
    let mut fit = Fit::new(model, config, train, Some(valid), seed)?;
    let epoch = fit.steps_per_epoch();
    let loop_of = FitConfig {
        evaluate_every: epoch,
        checkpoint_every: epoch,
        keep_checkpoints: 1,
        early_stop: Some(EarlyStop {
            metric: "auc".into(),
            maximise: true,
            min_delta: config.min_delta,
            patience: config.patience,
        }),
        ..FitConfig::new(epoch * config.epochs)
    };
    let summary = run.fit(&mut fit, &loop_of, progress)?;
    Ok((fit.best()?, summary))
}
