//! What FinalMLP is compared with besides DualMLP: a single perceptron, DeepFM and DCNv2 on embeddings of
//! the same size.

use super::click::{ClickModel, steps};
use super::config::{Field, Regulariser, StreamConfig, validate_fields};
use super::data::Batch;
use super::embedding::Embedding;
use super::mlp::{Affine, Mlp, Mode};
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_nn::embedding::Penalty;

/// Which model.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum BaselineKind {
    /// A single perceptron.
    Mlp,
    /// A perceptron, a factorisation machine on the same embeddings, and a linear model (Guo et al.,
    /// arXiv:1703.04247).
    DeepFm,
    /// A perceptron beside cross layers `x ← x₀ ∘ (W x + b) + x` (Wang et al., arXiv:2008.13535).
    DcnV2 {
        /// How many cross layers.
        layers: usize,
    },
}

/// A model to compare with.
#[derive(Config, Debug, PartialEq)]
pub struct BaselineConfig {
    /// Which.
    pub kind: BaselineKind,
    /// The columns.
    pub fields: Vec<Field>,
    /// Width of an embedding, D.
    pub embedding: usize,
    /// The perceptron.
    pub stream: StreamConfig,
    /// On all embedding tables, every row at every step.
    #[config(default = "Regulariser::new()")]
    pub embedding_regulariser: Regulariser,
}

impl BaselineConfig {
    const NAME: &str = "BaselineConfig";

    /// The small trial of the reproduction: a perceptron of 128, 64 with dropout 0.1, embeddings of 8.
    pub fn small(kind: BaselineKind, fields: Vec<Field>) -> Self {
        let stream = StreamConfig::new(vec![128, 64]).with_dropout(0.1);
        Self::new(kind, fields, 8, stream).with_embedding_regulariser(Regulariser::l2(1e-4))
    }

    /// Refuses what [`FinalMlpConfig::validate`](super::FinalMlpConfig::validate) refuses, and no cross
    /// layer.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        validate_fields(Self::NAME, &self.fields)?;
        if self.embedding == 0 {
            return Err(Error::config(
                Self::NAME,
                "embedding",
                0,
                "must be at least 1",
            ));
        }
        if let BaselineKind::DcnV2 { layers: 0 } = self.kind {
            return Err(Error::config(
                Self::NAME,
                "kind.layers",
                0,
                "must be at least 1",
            ));
        }
        self.stream.validate(Self::NAME, "stream")?;
        self.embedding_regulariser
            .validate(Self::NAME, "embedding_regulariser")
    }

    /// A model of random weights, drawn as those of FinalMLP.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<Baseline> {
        self.validate()?;
        let flat = self.fields.len() * self.embedding;
        let (crosses, output) = match self.kind {
            BaselineKind::DcnV2 { layers } => (layers, None),
            _ => (0, Some(1)),
        };
        let deep_fm = self.kind == BaselineKind::DeepFm;
        let linear = || Embedding::of_all(&self.fields, 1, device);
        Ok(Baseline {
            embedding: Embedding::of_all(&self.fields, self.embedding, device)?,
            linear: deep_fm.then(linear).transpose()?,
            bias: deep_fm.then(|| Initializer::Zeros.init([1], device)),
            cross: (0..crosses)
                .map(|_| Affine::init(flat, flat, device))
                .collect(),
            stream: Mlp::init(flat, &self.stream, output, device),
            head: (crosses > 0).then(|| Affine::init(flat + self.stream.width(), 1, device)),
            config: self.clone(),
        })
    }
}

/// A model to compare with; parts that its kind has no use for are empty.
#[derive(Module, Debug)]
pub struct Baseline {
    /// Of all fields.
    pub embedding: Embedding,
    /// A number for each row of the tables: DeepFM's linear model.
    pub linear: Option<Embedding>,
    /// Of the linear model, `[1]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// DCNv2's cross layers.
    pub cross: Vec<Affine>,
    /// The perceptron.
    pub stream: Mlp,
    /// From cross layers and perceptron to the logit.
    pub head: Option<Affine>,
    #[module(skip)]
    config: BaselineConfig,
}

impl Baseline {
    /// What the model was built from.
    pub fn config(&self) -> &BaselineConfig {
        &self.config
    }

    /// `½ Σ_d ((Σ_f e_fd)² - Σ_f e_fd²)`, `[rows, 1]`, of `[rows, fields · D]`.
    fn pairs(&self, flat: Tensor<2>) -> Tensor<2> {
        let rows = flat.dims()[0];
        let fields = self.config.fields.len();
        let each = flat.reshape([rows, fields, self.config.embedding]);
        let squares = each.clone().square().sum_dim(1);
        let pairs = each.sum_dim(1).square() - squares;
        pairs.sum_dim(2).reshape([rows, 1]) * 0.5
    }
}

impl ClickModel for Baseline {
    fn fields(&self) -> &[Field] {
        &self.config.fields
    }

    fn embeddings(&self) -> Vec<&Embedding> {
        std::iter::once(&self.embedding)
            .chain(&self.linear)
            .collect()
    }

    fn pass(&self, looked_up: Vec<Option<Tensor<2>>>, batch: &Batch, mode: Mode) -> Tensor<1> {
        let mut looked_up = looked_up.into_iter();
        let mut next = || looked_up.next().flatten();
        let flat = self.embedding.assemble(next(), batch);
        let deep = self.stream.forward(flat.clone(), mode.part("stream1"));
        let mut logits = match &self.head {
            Some(head) => {
                let cross = self.cross.iter();
                let cross = cross.fold(flat.clone(), |x, layer| {
                    flat.clone() * layer.forward(x.clone()) + x
                });
                head.forward(Tensor::cat(vec![cross, deep], 1))
            }
            None => deep,
        };
        if let (Some(linear), Some(bias)) = (&self.linear, &self.bias) {
            let sum = linear.assemble(next(), batch).sum_dim(1);
            logits = logits + self.pairs(flat) + sum + bias.val().unsqueeze::<2>();
        }
        logits.squeeze_dim::<1>(1)
    }

    fn penalties(&self) -> [Penalty; 2] {
        [
            self.config.embedding_regulariser.penalty(),
            Penalty::default(),
        ]
    }

    fn normalises(&self) -> bool {
        self.config.stream.batch_norm
    }
}

steps!(Baseline);
