//! final-mlp: FuxiCTR's FinalMLP and DualMLP, and the metrics that it calls.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_hub::{KeyMap, StateDict};
use menagerie_parity::{Case, Check, Fixture};
use menagerie_series::final_mlp::{
    Activation, Batch, ClickModel, DualMlpConfig, Embedding, Field, FinalMlpConfig, GateConfig,
    Impressions, Mode, Regulariser, StreamConfig, auc, log_loss, weights,
};
use menagerie_train::global_norm;
use serde::Deserialize;

pub const CASES: &[Case] = &[
    Case {
        slug: "final-mlp",
        case: "forward",
        run: forward,
    },
    Case {
        slug: "final-mlp",
        case: "train_loss",
        run: train_loss,
    },
    Case {
        slug: "final-mlp",
        case: "train_loss_bias_context",
        run: train_loss,
    },
    Case {
        slug: "final-mlp",
        case: "dual_mlp",
        run: dual_mlp,
    },
    Case {
        slug: "final-mlp",
        case: "metrics",
        run: metrics,
    },
];

#[derive(Deserialize)]
struct Setting {
    fields: Vec<(String, Spec)>,
    model: Sizes,
}

#[derive(Deserialize)]
struct Spec {
    r#type: String,
    vocab_size: Option<usize>,
    max_len: Option<usize>,
    feature_encoder: Option<String>,
}

/// One value for all layers, or one for each.
#[derive(Deserialize)]
#[serde(untagged)]
enum Weight {
    Number(f64),
    Text(String),
}

impl Weight {
    fn regulariser(&self) -> Result<Regulariser> {
        match self {
            Self::Number(l2) => Ok(Regulariser::l2(*l2)),
            Self::Text(text) => Regulariser::parse(text),
        }
    }
}

#[derive(Deserialize)]
struct Sizes {
    embedding_dim: usize,
    mlp1_hidden_units: Vec<usize>,
    mlp1_hidden_activations: String,
    mlp1_dropout: f64,
    mlp1_batch_norm: bool,
    mlp2_hidden_units: Vec<usize>,
    mlp2_hidden_activations: String,
    mlp2_dropout: f64,
    mlp2_batch_norm: bool,
    #[serde(default)]
    use_fs: bool,
    #[serde(default)]
    fs_hidden_units: Vec<usize>,
    #[serde(default)]
    fs1_context: Vec<String>,
    #[serde(default)]
    fs2_context: Vec<String>,
    num_heads: Option<usize>,
    embedding_regularizer: Option<Weight>,
    net_regularizer: Option<Weight>,
}

fn activation(name: &str) -> Result<Activation> {
    match name.to_lowercase().as_str() {
        "relu" => Ok(Activation::Relu),
        "sigmoid" => Ok(Activation::Sigmoid),
        "tanh" => Ok(Activation::Tanh),
        other => Err(Error::unknown(
            "activation",
            other,
            ["relu", "sigmoid", "tanh"],
        )),
    }
}

impl Setting {
    fn fields(&self) -> Result<Vec<Field>> {
        let field = |(name, spec): &(String, Spec)| {
            let missing = |what: &str| Error::input(what, name, "must be given for the field");
            let vocabulary = || spec.vocab_size.ok_or_else(|| missing("vocab_size"));
            match spec.r#type.as_str() {
                "categorical" => Ok(Field::category(name, vocabulary()?)),
                "numeric" => Ok(Field::number(name)),
                "sequence" => {
                    let known = "layers.MaskedAveragePooling()";
                    let encoder = spec.feature_encoder.as_deref().unwrap_or(known);
                    if encoder != known {
                        return Err(Error::unknown("sequence encoder", encoder, [known]));
                    }
                    let length = spec.max_len.ok_or_else(|| missing("max_len"))?;
                    Ok(Field::sequence(name, vocabulary()?, length))
                }
                other => {
                    let known = ["categorical", "numeric", "sequence"];
                    Err(Error::unknown("kind of a field", other, known))
                }
            }
        };
        self.fields.iter().map(field).collect()
    }

    fn streams(&self) -> Result<[StreamConfig; 2]> {
        let model = &self.model;
        let first = StreamConfig::new(model.mlp1_hidden_units.clone())
            .with_dropout(model.mlp1_dropout)
            .with_batch_norm(model.mlp1_batch_norm)
            .with_activation(activation(&model.mlp1_hidden_activations)?);
        let second = StreamConfig::new(model.mlp2_hidden_units.clone())
            .with_dropout(model.mlp2_dropout)
            .with_batch_norm(model.mlp2_batch_norm)
            .with_activation(activation(&model.mlp2_hidden_activations)?);
        Ok([first, second])
    }

    fn regularisers(&self) -> Result<[Regulariser; 2]> {
        let read = |weight: &Option<Weight>| match weight {
            Some(weight) => weight.regulariser(),
            None => Ok(Regulariser::new()),
        };
        Ok([
            read(&self.model.embedding_regularizer)?,
            read(&self.model.net_regularizer)?,
        ])
    }

    fn final_mlp(&self) -> Result<FinalMlpConfig> {
        let [first, second] = self.streams()?;
        let [embedding, net] = self.regularisers()?;
        let gate = |context: &Vec<String>| {
            let hidden = self.model.fs_hidden_units.clone();
            self.model
                .use_fs
                .then(|| GateConfig::new(hidden, context.clone()))
        };
        Ok(
            FinalMlpConfig::new(self.fields()?, self.model.embedding_dim, first, second)
                .with_gate1(gate(&self.model.fs1_context))
                .with_gate2(gate(&self.model.fs2_context))
                .with_heads(self.model.num_heads.unwrap_or(1))
                .with_embedding_regulariser(embedding)
                .with_net_regulariser(net),
        )
    }

    fn dual_mlp(&self) -> Result<DualMlpConfig> {
        let [first, second] = self.streams()?;
        let [embedding, net] = self.regularisers()?;
        Ok(
            DualMlpConfig::new(self.fields()?, self.model.embedding_dim, first, second)
                .with_embedding_regulariser(embedding)
                .with_net_regulariser(net),
        )
    }
}

/// The fixture's rows, in the order of the fields.
fn rows(fixture: &Fixture, fields: Vec<Field>) -> Result<Impressions> {
    let labels: Vec<f32> = fixture.input_data("label")?.iter::<f32>().collect();
    let columns: Vec<(usize, Vec<f64>)> = fields
        .iter()
        .map(|field| {
            let values = fixture.input_data(&field.name)?.iter::<f64>().collect();
            Ok((field.slots(), values))
        })
        .collect::<Result<_>>()?;
    let (mut ids, mut numbers) = (Vec::new(), Vec::new());
    for row in 0..labels.len() {
        for (slots, values) in &columns {
            match slots {
                0 => numbers.push(values[row] as f32),
                slots => ids.extend(values[row * slots..][..*slots].iter().map(|id| *id as u32)),
            }
        }
    }
    Impressions::new(fields, ids, numbers, Impressions::labels_of(&labels)?)
}

fn whole(rows: &Impressions, device: &Device) -> Batch {
    let places: Vec<usize> = (0..rows.len()).collect();
    rows.batch(&places, device, None)
}

fn column(logits: Tensor<1>) -> Tensor<2> {
    logits.unsqueeze_dim::<2>(1)
}

/// Looked-up rows through autodiff.
fn looked_up<M: ClickModel>(model: &M, batch: &Batch) -> Vec<Option<Tensor<2>>> {
    let embeddings = model.embeddings().into_iter();
    embeddings
        .map(|embedding: &Embedding| embedding.looked_up(batch))
        .collect()
}

fn forward(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let config = fixture.config::<Setting>()?.final_mlp()?;
    let model = weights::from_state_dict(&config, &fixture.weights(), device)?;
    let rows = rows(fixture, config.fields)?;
    let batch = whole(&rows, device);
    let trace = model.trace(looked_up(&model, &batch), &batch, Mode::Evaluate);
    check.output("flat_emb", trace.flat)?;
    let [first, second] = trace.features;
    check.output("feature1", first)?;
    check.output("feature2", second)?;
    let [first, second] = trace.streams;
    check.output("stream1", first)?;
    check.output("stream2", second)?;
    check.output("logit", column(trace.logits))?;
    let probabilities = model.predict_proba(&rows, rows.len())?;
    let shape = [probabilities.len(), 1];
    check.output_data("y_pred", TensorData::new(probabilities, shape))
}

fn train_loss(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = &device.clone().autodiff();
    let config = fixture.config::<Setting>()?.final_mlp()?;
    let map = weights::key_map(&config);
    let model = weights::from_state_dict(&config, &fixture.weights(), device)?;
    let batch = whole(&rows(fixture, config.fields)?, device);
    let trace = model.trace(looked_up(&model, &batch), &batch, Mode::Train(None));
    check.output("flat_emb", trace.flat)?;
    let [first, second] = trace.features;
    check.output("feature1", first)?;
    check.output("feature2", second)?;
    let [first, second] = trace.streams;
    check.output("stream1", first)?;
    check.output("stream2", second)?;
    check.output("logit", column(trace.logits.clone()))?;
    losses(check, &model, &batch, &map)
}

/// Losses, probabilities and gradients.
fn losses<M: ClickModel>(check: &mut Check, model: &M, batch: &Batch, map: &KeyMap) -> Result<()> {
    let loss = model.loss(batch)?;
    let probabilities = burn::tensor::activation::sigmoid(column(loss.logits.clone()));
    check.output("y_pred", probabilities)?;
    check.output("loss_bce", loss.cross_entropy.clone())?;
    check.output("loss_total", loss.total.clone())?;
    let grads = loss.total.backward();
    check.gradients(model, &grads, map)?;
    let all = burn::optim::GradientsParams::from_grads(grads, model);
    match global_norm(model, &all) {
        Some(norm) => check.output("grad_norm", norm),
        None => Err(Error::other("back-propagation", "there is no gradient")),
    }
}

fn dual_mlp(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let device = &device.clone().autodiff();
    let config = fixture.config::<Setting>()?.dual_mlp()?;
    let map = weights::dual_key_map(&config);
    let weights: StateDict = fixture.weights();
    let model = menagerie_hub::load(config.init(device)?, &weights, &map)?;
    let batch = whole(&rows(fixture, config.fields)?, device);
    let logits = model.logits(looked_up(&model, &batch), &batch, Mode::Train(None));
    let [first, second] = logits;
    check.output("logit1", first)?;
    check.output("logit2", second)?;
    losses(check, &model, &batch, &map)
}

fn metrics(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let _ = device;
    let labels: Vec<f32> = fixture.input_data("y_true")?.iter::<f32>().collect();
    let labels = Impressions::labels_of(&labels)?;
    let scores: Vec<f64> = fixture.input_data("y_pred")?.iter::<f64>().collect();
    check.output_data("auc", TensorData::from([auc(&scores, &labels)?]))?;
    check.output_data("logloss", TensorData::from([log_loss(&scores, &labels)?]))
}
