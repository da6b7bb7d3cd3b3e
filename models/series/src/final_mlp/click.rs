//! What all models of clicks have in common.

use super::config::{Field, FieldKind};
use super::data::{Batch, Impressions};
use super::embedding::Embedding;
use super::metrics::{auc, log_loss};
use super::mlp::Mode;
use super::objective::{cross_entropy, regularisation};
use burn::module::ParamId;
use burn::tensor::{Tensor, activation};
use burn::train::LearnerModel;
use menagerie_core::{Error, Result};
use menagerie_hub::KeyMap;
use menagerie_nn::embedding::Penalty;
use menagerie_train::{Metrics, Scalars};

/// Loss of a batch, `[1]` each, and its logits.
#[derive(Clone, Debug)]
pub struct ClickLoss {
    /// The mean cross-entropy.
    pub cross_entropy: Tensor<1>,
    /// With the regularisation of all parameters.
    pub total: Tensor<1>,
    /// `[rows]`.
    pub logits: Tensor<1>,
}

/// A model from looked-up rows of embedding tables to the logit of a click.
pub trait ClickModel: LearnerModel {
    /// The columns of its data.
    fn fields(&self) -> &[Field];

    /// All embeddings, in the order in which [`pass`](Self::pass) takes their rows.
    fn embeddings(&self) -> Vec<&Embedding>;

    /// Logits `[rows]` of a batch, given the rows that each of the embeddings looks up (`None` for one
    /// without a table). What is looked up may be a leaf of its own.
    fn pass(&self, looked_up: Vec<Option<Tensor<2>>>, batch: &Batch, mode: Mode) -> Tensor<1>;

    /// What is added to the loss: of embeddings, and of all other parameters.
    fn penalties(&self) -> [Penalty; 2];

    /// Whether a layer normalises by the batch.
    fn normalises(&self) -> bool;

    /// The names of its parameters in files.
    fn key_map(&self) -> KeyMap {
        KeyMap::identity()
    }

    /// Refuses batches of other fields, and one row where layers normalise by the batch.
    ///
    /// # Errors
    /// [`Error::Input`].
    fn check(&self, batch: &Batch, mode: Mode) -> Result<()> {
        if *batch.fields != *self.fields() {
            let describe = |fields: &[Field]| -> Vec<String> {
                let fields = fields.iter().map(|field| match &field.kind {
                    FieldKind::Number => field.name.clone(),
                    _ => format!("{} ({})", field.name, field.vocabulary()),
                });
                fields.collect()
            };
            let rule = format!(
                "must be the model's: {}",
                describe(self.fields()).join(", ")
            );
            return Err(Error::input(
                "fields",
                describe(&batch.fields).join(", "),
                rule,
            ));
        }
        if matches!(mode, Mode::Train(_)) && self.normalises() && batch.rows() < 2 {
            let rule = "must be at least 2 to train: batch normalisation divides by a deviation";
            return Err(Error::input("the number of rows", batch.rows(), rule));
        }
        Ok(())
    }

    /// Logits `[rows]`, as for prediction: running moments, no dropout.
    ///
    /// # Errors
    /// [`Error::Input`] for a batch of other fields.
    fn forward(&self, batch: &Batch) -> Result<Tensor<1>> {
        self.check(batch, Mode::Evaluate)?;
        Ok(self.pass(looked_up(self, batch), batch, Mode::Evaluate))
    }

    /// The loss of a batch in training: moments of the batch, dropout by its draw, regularisation. All
    /// through autodiff, so that gradients of tables are dense; [`Fit`](super::Fit) has the same without.
    ///
    /// # Errors
    /// [`Error::Input`] for a batch of other fields, or one row where layers normalise by the batch.
    fn loss(&self, batch: &Batch) -> Result<ClickLoss> {
        let mode = Mode::Train(batch.draw);
        self.check(batch, mode)?;
        let logits = self.pass(looked_up(self, batch), batch, mode);
        let cross_entropy = cross_entropy(logits.clone(), batch.labels.clone());
        let ids = embedding_ids(self);
        let total = match regularisation(self, &ids, self.penalties()) {
            Some(term) => cross_entropy.clone() + term,
            None => cross_entropy.clone(),
        };
        Ok(ClickLoss {
            cross_entropy,
            total,
            logits,
        })
    }

    /// The probability of a click for every row, `size` rows at a time.
    ///
    /// # Errors
    /// [`Error::Input`] for rows of other fields or a size of 0; whatever the device reports.
    fn predict_proba(&self, rows: &Impressions, size: usize) -> Result<Vec<f64>> {
        if size == 0 {
            return Err(Error::input("the batch size", 0, "must be at least 1"));
        }
        let Some(device) = self.devices().into_iter().next() else {
            return Err(Error::other("predicting", "the model has no parameter"));
        };
        let device = device.without_autodiff();
        let model = self.valid();
        let mut all = Vec::with_capacity(rows.len());
        for batch in rows.batches(size, &device) {
            let probabilities = activation::sigmoid(model.forward(&batch)?);
            let read = probabilities.try_into_vec_as::<f32>();
            let read = read.map_err(|error| Error::other("reading probabilities", error))?;
            all.extend(read.into_iter().map(f64::from));
        }
        Ok(all)
    }

    /// `auc` and `log loss` of all rows.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba), [`auc`] and [`log_loss`].
    fn evaluate(&self, rows: &Impressions, size: usize) -> Result<Metrics> {
        let found = self.predict_proba(rows, size)?;
        Ok(Metrics::new()
            .with("auc", auc(&found, rows.labels())?)
            .with("log loss", log_loss(&found, rows.labels())?))
    }
}

/// The rows of every embedding, through autodiff.
fn looked_up<M: ClickModel>(model: &M, batch: &Batch) -> Vec<Option<Tensor<2>>> {
    let embeddings = model.embeddings().into_iter();
    embeddings
        .map(|embedding| embedding.looked_up(batch))
        .collect()
}

/// The parameters on which the embeddings' penalty acts.
pub(crate) fn embedding_ids<M: ClickModel>(model: &M) -> Vec<ParamId> {
    let embeddings = model.embeddings().into_iter();
    let ids = embeddings.flat_map(|embedding| {
        let table = embedding.table.as_ref().map(|table| table.id);
        table
            .into_iter()
            .chain(embedding.numbers.as_ref().map(|numbers| numbers.id))
    });
    ids.collect()
}

pub(crate) fn scalars(loss: &ClickLoss) -> Scalars {
    Scalars::new()
        .with("loss", loss.total.clone())
        .with("cross-entropy", loss.cross_entropy.clone())
}

/// Burn's training and inference steps of a model. A batch that [`ClickModel::check`] refuses panics there:
/// these steps cannot report.
macro_rules! steps {
    ($($model:ty),*) => {$(
        impl burn::train::TrainStep for $model {
            type Input = $crate::final_mlp::Batch;
            type Output = menagerie_train::Scalars;

            fn step(&self, batch: Self::Input) -> burn::train::TrainOutput<Self::Output> {
                match $crate::final_mlp::ClickModel::loss(self, &batch) {
                    Ok(loss) => {
                        let scalars = $crate::final_mlp::click::scalars(&loss);
                        burn::train::TrainOutput::new(self, loss.total.backward(), scalars)
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }

        impl burn::train::InferenceStep for $model {
            type Input = $crate::final_mlp::Batch;
            type Output = menagerie_train::Scalars;

            fn step(&self, batch: Self::Input) -> Self::Output {
                match $crate::final_mlp::ClickModel::forward(self, &batch) {
                    Ok(logits) => {
                        let labels = batch.labels.clone();
                        let loss = $crate::final_mlp::objective::cross_entropy(logits, labels);
                        menagerie_train::Scalars::new().with("cross-entropy", loss)
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    )*};
}
pub(crate) use steps;
