//! Fields, streams, gates, and the settings of the published runs.

use burn::config::Config;
use menagerie_core::{Error, Result};
use menagerie_nn::embedding::Penalty;

/// What a field holds.
#[derive(Config, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// One number below `vocabulary`: 0 is padding, the last one stands for names that are not known.
    Category {
        /// All numbers, with padding and that of unknown names.
        vocabulary: usize,
    },
    /// A number as it is.
    Number,
    /// `length` numbers below `vocabulary`, padded with 0; their embeddings are averaged.
    Sequence {
        /// All numbers, with padding and that of unknown names.
        vocabulary: usize,
        /// How many a row has.
        length: usize,
    },
}

/// A column of the data.
#[derive(Config, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, also in files of weights.
    pub name: String,
    /// What it holds.
    pub kind: FieldKind,
}

impl Field {
    /// A category of `vocabulary` numbers.
    pub fn category(name: impl Into<String>, vocabulary: usize) -> Self {
        Self::new(name.into(), FieldKind::Category { vocabulary })
    }

    /// A number.
    pub fn number(name: impl Into<String>) -> Self {
        Self::new(name.into(), FieldKind::Number)
    }

    /// A sequence of `length` out of `vocabulary` numbers.
    pub fn sequence(name: impl Into<String>, vocabulary: usize, length: usize) -> Self {
        Self::new(name.into(), FieldKind::Sequence { vocabulary, length })
    }

    /// How many rows of an embedding table it looks up.
    pub fn slots(&self) -> usize {
        match self.kind {
            FieldKind::Category { .. } => 1,
            FieldKind::Number => 0,
            FieldKind::Sequence { length, .. } => length,
        }
    }

    /// Rows of its embedding table.
    pub fn vocabulary(&self) -> usize {
        match self.kind {
            FieldKind::Category { vocabulary } | FieldKind::Sequence { vocabulary, .. } => {
                vocabulary
            }
            FieldKind::Number => 0,
        }
    }
}

/// Refuses lists without a field, with two of one name, a name that a file of weights cannot hold, or an
/// empty vocabulary.
pub(crate) fn validate_fields(config: &'static str, fields: &[Field]) -> Result<()> {
    if fields.is_empty() {
        let none: [&str; 0] = [];
        return Err(Error::config(
            config,
            "fields",
            none,
            "must name at least one field",
        ));
    }
    for (at, field) in fields.iter().enumerate() {
        let refuse = |part: &str, value: &dyn std::fmt::Debug, rule: &str| {
            Err(Error::config(
                config,
                format!("fields[{at}].{part}"),
                value,
                rule,
            ))
        };
        if field.name.is_empty() || field.name.contains(['.', '{', '}', '*']) {
            return refuse(
                "name",
                &field.name,
                "must be a word without dots, braces and stars",
            );
        }
        if fields[..at].iter().any(|other| other.name == field.name) {
            return refuse("name", &field.name, "must not be that of another field");
        }
        if field.kind != FieldKind::Number && field.vocabulary() < 2 {
            let rule = "must be at least 2: padding, and one more";
            return refuse("vocabulary", &field.vocabulary(), rule);
        }
        if let FieldKind::Sequence { length: 0, .. } = field.kind {
            return refuse("length", &0, "must be at least 1");
        }
    }
    Ok(())
}

/// What is added to the loss: `l1 Σ|p| + l2 / 2 Σp²`.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct Regulariser {
    /// Of the absolute values.
    #[config(default = 0.0)]
    pub l1: f64,
    /// Of half the squares.
    #[config(default = 0.0)]
    pub l2: f64,
}

impl Regulariser {
    /// Half the squares alone.
    pub fn l2(l2: f64) -> Self {
        Self { l1: 0.0, l2 }
    }

    /// FuxiCTR's way to write it: a number (of half the squares), `l1(a)`, `l2(a)` or `l1_l2(a, b)`; an
    /// empty text or 0 for none.
    ///
    /// # Errors
    /// [`Error::Input`] for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            let rule = "must be a number, l1(a), l2(a) or l1_l2(a, b)";
            Error::input("a regulariser", text, rule)
        };
        let text_of = text.trim().trim_end_matches(')');
        let (name, numbers) = text_of.split_once('(').unwrap_or(("l2", text_of));
        if numbers.trim().is_empty() && name == "l2" {
            return Ok(Self::l2(0.0));
        }
        let numbers = numbers
            .split(',')
            .map(|number| number.trim().parse::<f64>());
        let numbers: Vec<f64> = numbers.collect::<Result<_, _>>().map_err(|_| wrong())?;
        let found = match (name.trim(), numbers.as_slice()) {
            ("l1", [l1]) => Self { l1: *l1, l2: 0.0 },
            ("l2", [l2]) => Self::l2(*l2),
            ("l1_l2", [l1, l2]) => Self { l1: *l1, l2: *l2 },
            _ => return Err(wrong()),
        };
        match found.is_valid() {
            true => Ok(found),
            false => Err(wrong()),
        }
    }

    fn is_valid(&self) -> bool {
        [self.l1, self.l2]
            .iter()
            .all(|weight| weight.is_finite() && *weight >= 0.0)
    }

    pub(crate) fn penalty(&self) -> Penalty {
        Penalty {
            l1: self.l1,
            l2: self.l2,
        }
    }

    pub(crate) fn validate(&self, config: &'static str, field: &str) -> Result<()> {
        match self.is_valid() {
            true => Ok(()),
            false => Err(Error::config(
                config,
                field,
                self,
                "must be finite and not negative",
            )),
        }
    }
}

/// What follows a layer.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + e^{-x})`.
    Sigmoid,
    /// `tanh x`.
    Tanh,
}

/// The hidden layers of a stream: linear, batch normalisation, activation, dropout, in this order.
#[derive(Config, Debug, PartialEq)]
pub struct StreamConfig {
    /// Their widths.
    pub hidden: Vec<usize>,
    /// The probability with which a value is dropped.
    #[config(default = 0.0)]
    pub dropout: f64,
    /// Whether there is a batch normalisation (ε = 1e-5, momentum 0.1).
    #[config(default = false)]
    pub batch_norm: bool,
    /// What follows a layer.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
}

impl StreamConfig {
    /// The width of the last layer.
    pub fn width(&self) -> usize {
        self.hidden.last().copied().unwrap_or(0)
    }

    pub(crate) fn validate(&self, config: &'static str, field: &str) -> Result<()> {
        validate_widths(config, &format!("{field}.hidden"), &self.hidden)?;
        if !(0.0..1.0).contains(&self.dropout) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(
                config,
                format!("{field}.dropout"),
                self.dropout,
                rule,
            ));
        }
        Ok(())
    }
}

pub(crate) fn validate_widths(config: &'static str, field: &str, widths: &[usize]) -> Result<()> {
    if widths.is_empty() || widths.contains(&0) {
        let rule = "must name at least one layer, each at least 1 wide";
        return Err(Error::config(config, field, widths, rule));
    }
    Ok(())
}

/// A gate on the features of a stream.
#[derive(Config, Debug, PartialEq, Eq)]
pub struct GateConfig {
    /// Widths of its hidden layers (ReLU).
    pub hidden: Vec<usize>,
    /// Fields whose embeddings, from a table of the gate's own, decide; none for a learned vector, which
    /// makes the gate the same for every row.
    pub context: Vec<String>,
}

/// Two streams, their gates, and the fusion.
#[derive(Config, Debug, PartialEq)]
pub struct FinalMlpConfig {
    /// The columns, in the order in which embeddings are laid side by side.
    pub fields: Vec<Field>,
    /// Width of an embedding, D.
    pub embedding: usize,
    /// The first stream.
    pub stream1: StreamConfig,
    /// The second stream.
    pub stream2: StreamConfig,
    /// The gate of the first stream.
    #[config(default = "None")]
    pub gate1: Option<GateConfig>,
    /// The gate of the second stream.
    #[config(default = "None")]
    pub gate2: Option<GateConfig>,
    /// Heads of the bilinear fusion, k; they divide both streams' last widths.
    #[config(default = 1)]
    pub heads: usize,
    /// On all embedding tables, every row at every step.
    #[config(default = "Regulariser::new()")]
    pub embedding_regulariser: Regulariser,
    /// On all other parameters, biases and norms too.
    #[config(default = "Regulariser::new()")]
    pub net_regulariser: Regulariser,
}

/// Vocabularies of Frappe_x1, with padding and unknown names.
pub const FRAPPE: [(&str, usize); 10] = [
    ("user", 956),
    ("item", 4084),
    ("daytime", 9),
    ("weekday", 9),
    ("isweekend", 4),
    ("homework", 5),
    ("cost", 4),
    ("weather", 11),
    ("country", 82),
    ("city", 235),
];

/// Vocabularies of MovieLensLatest_x1, with padding and unknown names.
pub const MOVIELENS: [(&str, usize); 3] =
    [("user_id", 16_977), ("item_id", 23_606), ("tag_id", 49_659)];

fn categories(fields: &[(&str, usize)]) -> Vec<Field> {
    let fields = fields.iter();
    fields
        .map(|(name, size)| Field::category(*name, *size))
        .collect()
}

impl FinalMlpConfig {
    const NAME: &str = "FinalMlpConfig";

    /// The published run on Frappe_x1: 253 392 parameters with the vocabularies [`FRAPPE`].
    pub fn frappe() -> Self {
        Self::frappe_with(categories(&FRAPPE))
    }

    /// [`frappe`](Self::frappe) with the vocabularies at hand; fields are called as in [`FRAPPE`].
    pub fn frappe_with(fields: Vec<Field>) -> Self {
        let stream = |width| {
            StreamConfig::new(vec![width])
                .with_dropout(0.4)
                .with_batch_norm(true)
        };
        let gate = |field: &str| Some(GateConfig::new(vec![400], vec![field.into()]));
        Self::new(fields, 10, stream(400), stream(100))
            .with_gate1(gate("user"))
            .with_gate2(gate("item"))
            .with_heads(5)
            .with_embedding_regulariser(Regulariser::l2(0.05))
    }

    /// The published run on MovieLensLatest_x1: 1 040 902 parameters with the vocabularies
    /// [`MOVIELENS`].
    pub fn movielens() -> Self {
        Self::movielens_with(categories(&MOVIELENS))
    }

    /// [`movielens`](Self::movielens) with the vocabularies at hand.
    pub fn movielens_with(fields: Vec<Field>) -> Self {
        let stream = |width, dropout| {
            StreamConfig::new(vec![width])
                .with_dropout(dropout)
                .with_batch_norm(true)
        };
        let gate = Some(GateConfig::new(vec![800], Vec::new()));
        Self::new(fields, 10, stream(400, 0.4), stream(800, 0.2))
            .with_gate1(gate.clone())
            .with_gate2(gate)
            .with_heads(10)
            .with_embedding_regulariser(Regulariser::l2(0.01))
    }

    /// The defaults of the official template, for Criteo, Avazu and data of one's own: the settings of the
    /// published runs on Criteo and Avazu were not at hand. Gates without context, no dropout, no
    /// batch normalisation, no regulariser.
    pub fn template(fields: Vec<Field>) -> Self {
        let gate = Some(GateConfig::new(vec![1024, 512], Vec::new()));
        let (stream1, stream2) = (vec![1024, 512], vec![1024, 512, 256]);
        Self::new(
            fields,
            16,
            StreamConfig::new(stream1),
            StreamConfig::new(stream2),
        )
        .with_gate1(gate.clone())
        .with_gate2(gate)
        .with_heads(2)
    }

    /// The small trial of the reproduction: streams of 64, 64 with dropout 0.1, gates of 32 by the
    /// `contexts` (or no gates), four heads, embeddings of 8.
    pub fn small(fields: Vec<Field>, contexts: Option<[&str; 2]>) -> Self {
        let stream = || StreamConfig::new(vec![64, 64]).with_dropout(0.1);
        let gate = |name: &str| GateConfig::new(vec![32], vec![name.into()]);
        Self::new(fields, 8, stream(), stream())
            .with_gate1(contexts.map(|[name, _]| gate(name)))
            .with_gate2(contexts.map(|[_, name]| gate(name)))
            .with_heads(4)
            .with_embedding_regulariser(Regulariser::l2(1e-4))
    }

    /// Numbers of the flat embedding: fields times width.
    pub fn flat(&self) -> usize {
        self.fields.len() * self.embedding
    }

    /// Refuses empty or doubled fields, empty layers, dropout outside of [0, 1), context fields that are not
    /// there, heads that do not divide the widths, and negative regularisers.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule; [`Error::Unknown`] for a context field.
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
        let streams = [("stream1", &self.stream1), ("stream2", &self.stream2)];
        for (name, stream) in streams {
            stream.validate(Self::NAME, name)?;
        }
        for (name, gate) in [("gate1", &self.gate1), ("gate2", &self.gate2)] {
            let Some(gate) = gate else { continue };
            validate_widths(Self::NAME, &format!("{name}.hidden"), &gate.hidden)?;
            for field in &gate.context {
                let known = || self.fields.iter().map(|field| field.name.as_str());
                if !known().any(|name| name == field) {
                    return Err(Error::unknown("context field", field, known()));
                }
            }
        }
        for (name, stream) in streams {
            if self.heads == 0 || !stream.width().is_multiple_of(self.heads) {
                let rule = format!("must divide the last width of {name}, {}", stream.width());
                return Err(Error::config(Self::NAME, "heads", self.heads, rule));
            }
        }
        self.embedding_regulariser
            .validate(Self::NAME, "embedding_regulariser")?;
        self.net_regulariser.validate(Self::NAME, "net_regulariser")
    }
}

/// Two streams whose outputs are added: the baseline that FinalMLP starts from.
#[derive(Config, Debug, PartialEq)]
pub struct DualMlpConfig {
    /// The columns.
    pub fields: Vec<Field>,
    /// Width of an embedding, D.
    pub embedding: usize,
    /// The first stream, before its output unit.
    pub stream1: StreamConfig,
    /// The second stream, before its output unit.
    pub stream2: StreamConfig,
    /// On all embedding tables, every row at every step.
    #[config(default = "Regulariser::new()")]
    pub embedding_regulariser: Regulariser,
    /// On all other parameters, biases and norms too.
    #[config(default = "Regulariser::new()")]
    pub net_regulariser: Regulariser,
}

impl DualMlpConfig {
    const NAME: &str = "DualMlpConfig";

    /// The small trial of the reproduction: twice 64, 64 with dropout 0.1, embeddings of 8.
    pub fn small(fields: Vec<Field>) -> Self {
        let stream = || StreamConfig::new(vec![64, 64]).with_dropout(0.1);
        Self::new(fields, 8, stream(), stream()).with_embedding_regulariser(Regulariser::l2(1e-4))
    }

    /// Refuses what [`FinalMlpConfig::validate`] refuses of fields, streams and regularisers.
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
        self.stream1.validate(Self::NAME, "stream1")?;
        self.stream2.validate(Self::NAME, "stream2")?;
        self.embedding_regulariser
            .validate(Self::NAME, "embedding_regulariser")?;
        self.net_regulariser.validate(Self::NAME, "net_regulariser")
    }
}
