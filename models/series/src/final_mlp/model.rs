//! FinalMLP and DualMLP.

use super::click::{ClickModel, steps};
use super::config::{DualMlpConfig, Field, FinalMlpConfig, GateConfig, StreamConfig};
use super::data::{Batch, Impressions};
use super::embedding::Embedding;
use super::mlp::{Affine, Mlp, Mode};
use super::weights;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor, activation};
use menagerie_core::Result;
use menagerie_hub::KeyMap;
use menagerie_nn::bilinear::bilinear;
use menagerie_nn::embedding::Penalty;

/// Twice a sigmoid for every number of the flat embedding.
#[derive(Module, Debug)]
pub struct Gate {
    /// Embeddings of the context fields, apart from the model's.
    pub context: Option<Embedding>,
    /// What stands for them where there are none, `[1, D]`.
    pub bias: Option<Param<Tensor<2>>>,
    /// From the context to the flat embedding's width.
    pub mlp: Mlp,
}

impl Gate {
    fn init(config: &FinalMlpConfig, gate: &GateConfig, device: &Device) -> Result<Self> {
        let names: Vec<&str> = gate.context.iter().map(String::as_str).collect();
        let dim = config.embedding;
        let (context, bias) = match names.is_empty() {
            true => (None, Some(Initializer::Zeros.init([1, dim], device))),
            false => (
                Some(Embedding::init(&config.fields, &names, dim, device)?),
                None,
            ),
        };
        let hidden = StreamConfig::new(gate.hidden.clone());
        let inputs = dim * names.len().max(1);
        Ok(Self {
            context,
            bias,
            mlp: Mlp::init(inputs, &hidden, Some(config.flat()), device),
        })
    }

    /// `[rows, fields · D]`, or one row where there is no context; 1 is neutral.
    fn forward(&self, looked_up: Option<Tensor<2>>, batch: &Batch) -> Tensor<2> {
        let context = match (&self.context, &self.bias) {
            (Some(context), _) => context.assemble(looked_up, batch),
            (None, Some(bias)) => bias.val(),
            // `init` makes one of them.
            (None, None) => Tensor::ones([1, 1], &batch.labels.device()),
        };
        activation::sigmoid(self.mlp.forward(context, Mode::Evaluate)) * 2.0
    }
}

/// Linear terms of both streams, and bilinear ones of aligned slices.
#[derive(Module, Debug)]
pub struct Fusion {
    /// Of the first stream.
    pub left: Affine,
    /// Of the second stream.
    pub right: Affine,
    /// `[k · d₁/k · d₂/k, 1]`: the heads' matrices one after the other, row by row.
    pub bilinear: Param<Tensor<2>>,
    #[module(skip)]
    heads: usize,
}

impl Fusion {
    fn init([left, right]: [usize; 2], heads: usize, device: &Device) -> Self {
        let glorot = Initializer::XavierNormal { gain: 1.0 };
        let len = left * (right / heads);
        Self {
            left: Affine::init(left, 1, device),
            right: Affine::init(right, 1, device),
            bilinear: glorot.init_with([len, 1], Some(1), Some(len), device),
            heads,
        }
    }

    /// `b₁ + w₁ o₁ + b₂ + w₂ o₂ + Σ_j o₁ⱼᵀ W_j o₂ⱼ`, `[rows]`.
    fn forward(&self, left: Tensor<2>, right: Tensor<2>) -> Tensor<1> {
        let ([_, a], [_, b]) = (left.dims(), right.dims());
        let matrices = self.bilinear.val().reshape([a, b / self.heads]);
        let linear = [
            self.left.weight.val().reshape([a]),
            self.right.weight.val().reshape([b]),
        ];
        let biases = self.left.bias.val() + self.right.bias.val();
        bilinear(left, right, matrices, linear, self.heads) + biases
    }
}

/// Two streams with gates and a bilinear fusion (Mao et al., 2023).
#[derive(Module, Debug)]
pub struct FinalMlp {
    /// Of all fields.
    pub embedding: Embedding,
    /// On the features of the first stream.
    pub gate1: Option<Gate>,
    /// On the features of the second stream.
    pub gate2: Option<Gate>,
    /// The first stream.
    pub stream1: Mlp,
    /// The second stream.
    pub stream2: Mlp,
    /// What makes a logit of both.
    pub fusion: Fusion,
    #[module(skip)]
    config: FinalMlpConfig,
}

impl FinalMlpConfig {
    /// A model with the official initial weights: Glorot's normal ones for all linear layers and the flat
    /// bilinear weight, normal embeddings with deviation 1e-4, no biases.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<FinalMlp> {
        self.validate()?;
        let gate = |gate: &Option<GateConfig>| {
            let gate = gate.as_ref();
            gate.map(|gate| Gate::init(self, gate, device)).transpose()
        };
        let flat = self.flat();
        let widths = [self.stream1.width(), self.stream2.width()];
        Ok(FinalMlp {
            embedding: Embedding::of_all(&self.fields, self.embedding, device)?,
            gate1: gate(&self.gate1)?,
            gate2: gate(&self.gate2)?,
            stream1: Mlp::init(flat, &self.stream1, None, device),
            stream2: Mlp::init(flat, &self.stream2, None, device),
            fusion: Fusion::init(widths, self.heads, device),
            config: self.clone(),
        })
    }
}

/// What a batch becomes on its way to a logit.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The flat embedding, `[rows, fields · D]`.
    pub flat: Tensor<2>,
    /// The features of both streams, `[rows, fields · D]`.
    pub features: [Tensor<2>; 2],
    /// What both streams make of them, `[rows, d]`.
    pub streams: [Tensor<2>; 2],
    /// `[rows]`.
    pub logits: Tensor<1>,
}

impl FinalMlp {
    /// What the model was built from.
    pub fn config(&self) -> &FinalMlpConfig {
        &self.config
    }

    fn gates(&self) -> [Option<&Gate>; 2] {
        [self.gate1.as_ref(), self.gate2.as_ref()]
    }

    /// All steps of a batch; `looked_up` as [`ClickModel::pass`] takes it.
    pub fn trace(&self, looked_up: Vec<Option<Tensor<2>>>, batch: &Batch, mode: Mode) -> Trace {
        let mut looked_up = looked_up.into_iter();
        let mut next = || looked_up.next().flatten();
        let flat = self.embedding.assemble(next(), batch);
        let features = self.gates().map(|gate| match gate {
            Some(gate) => {
                let rows = gate.context.as_ref().and_then(|_| next());
                flat.clone() * gate.forward(rows, batch)
            }
            None => flat.clone(),
        });
        let [first, second] = features.clone();
        let streams = [
            self.stream1.forward(first, mode.part("stream1")),
            self.stream2.forward(second, mode.part("stream2")),
        ];
        let [left, right] = streams.clone();
        Trace {
            flat,
            features,
            streams,
            logits: self.fusion.forward(left, right),
        }
    }

    /// How much of each field reaches the streams: the mean of the gate over the field's numbers, `[rows,
    /// fields]` for each stream; 1 is neutral, and what a stream without a gate has.
    ///
    /// # Errors
    /// As [`ClickModel::forward`].
    pub fn field_gates(&self, rows: &Impressions, places: &[usize]) -> Result<[Tensor<2>; 2]> {
        let device = self.fusion.bilinear.val().device().without_autodiff();
        let batch = rows.batch(places, &device, None);
        self.check(&batch, Mode::Evaluate)?;
        let model = self.valid();
        let (count, fields) = (places.len(), self.config.fields.len());
        Ok(model.gates().map(|gate| match gate {
            None => Tensor::ones([count, fields], &device),
            Some(gate) => {
                let looked_up = gate
                    .context
                    .as_ref()
                    .and_then(|context| context.looked_up(&batch));
                let gate = gate.forward(looked_up, &batch);
                let gate = gate.expand([count, fields * self.config.embedding]);
                let each = gate.reshape([count, fields, self.config.embedding]);
                each.mean_dim(2).squeeze_dim::<2>(2)
            }
        }))
    }

    /// The same function for serving: gates without context are the same for every row, and go into their
    /// stream's first layer. Gates with context stay.
    #[must_use]
    pub fn folded(&self) -> Self {
        let mut folded = self.valid();
        let parts = [
            (
                &mut folded.gate1,
                &mut folded.stream1,
                &mut folded.config.gate1,
            ),
            (
                &mut folded.gate2,
                &mut folded.stream2,
                &mut folded.config.gate2,
            ),
        ];
        for (gate, stream, config) in parts {
            let Some(bias) = gate.as_ref().and_then(|gate| gate.bias.as_ref()) else {
                continue;
            };
            let (Some(open), Some(first)) = (gate.as_ref(), stream.layers.first_mut()) else {
                continue;
            };
            let factors = open.mlp.forward(bias.val(), Mode::Evaluate);
            // One factor for each input, the rows of the weight.
            let factors = (activation::sigmoid(factors) * 2.0).transpose();
            first.linear.weight = first.linear.weight.clone().map(|weight| weight * factors);
            (*gate, *config) = (None, None);
        }
        folded
    }
}

impl ClickModel for FinalMlp {
    fn fields(&self) -> &[Field] {
        &self.config.fields
    }

    fn embeddings(&self) -> Vec<&Embedding> {
        let contexts = self
            .gates()
            .into_iter()
            .flatten()
            .filter_map(|gate| gate.context.as_ref());
        std::iter::once(&self.embedding).chain(contexts).collect()
    }

    fn pass(&self, looked_up: Vec<Option<Tensor<2>>>, batch: &Batch, mode: Mode) -> Tensor<1> {
        self.trace(looked_up, batch, mode).logits
    }

    fn penalties(&self) -> [Penalty; 2] {
        let config = &self.config;
        [
            config.embedding_regulariser.penalty(),
            config.net_regulariser.penalty(),
        ]
    }

    fn normalises(&self) -> bool {
        self.config.stream1.batch_norm || self.config.stream2.batch_norm
    }

    fn key_map(&self) -> KeyMap {
        weights::key_map(&self.config)
    }
}

/// Two streams, each with an output unit, whose logits are added.
#[derive(Module, Debug)]
pub struct DualMlp {
    /// Of all fields.
    pub embedding: Embedding,
    /// The first stream.
    pub stream1: Mlp,
    /// The second stream.
    pub stream2: Mlp,
    #[module(skip)]
    config: DualMlpConfig,
}

impl DualMlpConfig {
    /// A model with the official initial weights; see [`FinalMlpConfig::init`].
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<DualMlp> {
        self.validate()?;
        let flat = self.fields.len() * self.embedding;
        Ok(DualMlp {
            embedding: Embedding::of_all(&self.fields, self.embedding, device)?,
            stream1: Mlp::init(flat, &self.stream1, Some(1), device),
            stream2: Mlp::init(flat, &self.stream2, Some(1), device),
            config: self.clone(),
        })
    }
}

impl DualMlp {
    /// What the model was built from.
    pub fn config(&self) -> &DualMlpConfig {
        &self.config
    }

    /// The logits of both streams, `[rows, 1]` each; `looked_up` as [`ClickModel::pass`] takes it.
    pub fn logits(
        &self,
        looked_up: Vec<Option<Tensor<2>>>,
        batch: &Batch,
        mode: Mode,
    ) -> [Tensor<2>; 2] {
        let rows = looked_up.into_iter().next().flatten();
        let flat = self.embedding.assemble(rows, batch);
        [
            self.stream1.forward(flat.clone(), mode.part("stream1")),
            self.stream2.forward(flat, mode.part("stream2")),
        ]
    }
}

impl ClickModel for DualMlp {
    fn fields(&self) -> &[Field] {
        &self.config.fields
    }

    fn embeddings(&self) -> Vec<&Embedding> {
        vec![&self.embedding]
    }

    fn pass(&self, looked_up: Vec<Option<Tensor<2>>>, batch: &Batch, mode: Mode) -> Tensor<1> {
        let [left, right] = self.logits(looked_up, batch, mode);
        (left + right).squeeze_dim::<1>(1)
    }

    fn penalties(&self) -> [Penalty; 2] {
        let config = &self.config;
        [
            config.embedding_regulariser.penalty(),
            config.net_regulariser.penalty(),
        ]
    }

    fn normalises(&self) -> bool {
        self.config.stream1.batch_norm || self.config.stream2.batch_norm
    }

    fn key_map(&self) -> KeyMap {
        weights::dual_key_map(&self.config)
    }
}

steps!(FinalMlp, DualMlp);
