//! Networks and training settings.

use burn::config::Config;
use menagerie_core::{Error, Result};
use menagerie_train::{Decay, Schedule};

/// LeNet for images of 28²: two convolutions of 5×5, three linear layers; 44 426 parameters, 66 274
/// as factors of full rank.
#[derive(Config, Debug, PartialEq)]
pub struct LeNetConfig {
    /// Channels of the images.
    #[config(default = 1)]
    pub channels: usize,
    /// Filters of the two convolutions.
    #[config(default = "[6, 16]")]
    pub filters: [usize; 2],
    /// Widths of the two hidden layers.
    #[config(default = "[120, 84]")]
    pub hidden: [usize; 2],
    /// Classes.
    #[config(default = 10)]
    pub classes: usize,
}

impl LeNetConfig {
    /// Refuses sizes of 0.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let [first, second] = self.filters;
        let [third, fourth] = self.hidden;
        positive(
            "LeNetConfig",
            &[
                ("channels", self.channels),
                ("filters", first.min(second)),
                ("hidden", third.min(fourth)),
                ("classes", self.classes),
            ],
        )
    }
}

/// Linear layers with ReLU between them, on images as rows.
#[derive(Config, Debug, PartialEq)]
pub struct MlpConfig {
    /// Widths from input to output.
    pub widths: Vec<usize>,
    /// Whether the layers have biases.
    #[config(default = true)]
    pub bias: bool,
}

impl MlpConfig {
    /// Refuses fewer than two widths, or widths of 0.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.widths.len() < 2 || self.widths.contains(&0) {
            let rule = "must be at least two, none of them 0";
            return Err(Error::config("MlpConfig", "widths", &self.widths, rule));
        }
        Ok(())
    }
}

/// What normalises channels.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum NormKind {
    /// Batch normalisation.
    Batch,
    /// Normalisation of every image, in groups of channels.
    Group,
}

/// How a [`ChannelNorm`](super::ChannelNorm) is built.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub struct NormConfig {
    /// What normalises.
    pub kind: NormKind,
}

/// A residual network: four stages of blocks, each of half the side and twice the width of the one
/// before.
#[derive(Config, Debug, PartialEq)]
pub struct ResNetConfig {
    /// Side of the images.
    pub image: usize,
    /// Blocks of the four stages.
    pub blocks: [usize; 4],
    /// Classes.
    pub classes: usize,
    /// Whether a block is 1×1, 3×3, 1×1, four times as wide outside as inside; else it is two
    /// convolutions of 3×3.
    #[config(default = false)]
    pub bottleneck: bool,
    /// Whether images are made small first, by a convolution of 7×7 and the largest of 3×3 pixels,
    /// each of stride 2; else the first convolution is of 3×3 and nothing is lost.
    #[config(default = true)]
    pub stem: bool,
    /// Width of the first stage.
    #[config(default = 64)]
    pub width: usize,
    /// Channels of the images.
    #[config(default = 3)]
    pub channels: usize,
    /// All norms.
    #[config(default = "NormConfig::new(NormKind::Batch)")]
    pub norm: NormConfig,
}

impl ResNetConfig {
    const NAME: &str = "ResNetConfig";

    /// ResNet-18 as in the official repository, for ImageNet: 11 689 512 parameters, 13 434 408 as
    /// factors of full rank.
    pub fn resnet18() -> Self {
        Self::new(224, [2, 2, 2, 2], 1_000)
    }

    /// ResNet-18 for CIFAR-10, of which the paper's figures are: 11 173 962 parameters, 0.56 billion
    /// multiplications.
    pub fn resnet18_cifar() -> Self {
        Self::new(32, [2, 2, 2, 2], 10).with_stem(false)
    }

    /// ResNet-50 for ImageNet.
    pub fn resnet50() -> Self {
        Self::new(224, [3, 4, 6, 3], 1_000).with_bottleneck(true)
    }

    /// Refuses sizes of 0, and images that are gone before the last stage.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let [first, second, third, fourth] = self.blocks;
        let blocks = first.min(second).min(third).min(fourth);
        let sizes = [
            ("image", self.image),
            ("blocks", blocks),
            ("classes", self.classes),
            ("width", self.width),
            ("channels", self.channels),
        ];
        positive(Self::NAME, &sizes)
    }
}

/// VGG-19 for images of 32²: sixteen convolutions of 3×3, five times halved, one linear layer.
#[derive(Config, Debug, PartialEq)]
pub struct VggConfig {
    /// Widths of the convolutions of each of the five sizes.
    #[config(
        default = "vec![vec![64; 2], vec![128; 2], vec![256; 4], vec![512; 4], vec![512; 4]]"
    )]
    pub widths: Vec<Vec<usize>>,
    /// Classes.
    #[config(default = 10)]
    pub classes: usize,
    /// Channels of the images.
    #[config(default = 3)]
    pub channels: usize,
    /// All norms.
    #[config(default = "NormConfig::new(NormKind::Batch)")]
    pub norm: NormConfig,
}

impl VggConfig {
    const NAME: &str = "VggConfig";

    /// VGG-19 with norms: 20 040 522 parameters, 22 437 511 as factors of full rank.
    pub fn vgg19() -> Self {
        Self::new()
    }

    /// Side of the images: a pixel is left after the last size.
    pub fn image(&self) -> usize {
        1 << self.widths.len()
    }

    /// Refuses sizes of 0, and more than ten halvings.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let empty = |widths: &Vec<usize>| widths.is_empty() || widths.contains(&0);
        if !(1..=10).contains(&self.widths.len()) || self.widths.iter().any(empty) {
            let rule = "must be one to ten lists, none of them empty or with a 0";
            return Err(Error::config(Self::NAME, "widths", &self.widths, rule));
        }
        let sizes = [("classes", self.classes), ("channels", self.channels)];
        positive(Self::NAME, &sizes)
    }
}

/// A transformer of encoder and decoder, on tokens that were embedded.
#[derive(Config, Debug, PartialEq)]
pub struct TransformerConfig {
    /// Width of a token; divisible by `heads`.
    #[config(default = 512)]
    pub dim: usize,
    /// Attention heads.
    #[config(default = 8)]
    pub heads: usize,
    /// Layers of the encoder and of the decoder.
    #[config(default = "[6, 6]")]
    pub layers: [usize; 2],
    /// Width of the hidden layer of the perceptrons.
    #[config(default = 2048)]
    pub hidden: usize,
    /// Whether norms come before attention and perceptron, not after the sum.
    #[config(default = false)]
    pub norm_first: bool,
    /// The ε of all layer norms.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// The share of the numbers that training drops.
    #[config(default = 0.1)]
    pub dropout: f64,
}

impl TransformerConfig {
    const NAME: &str = "TransformerConfig";

    /// Refuses sizes of 0, and heads that do not divide the width.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let [encoder, decoder] = self.layers;
        let sizes = [
            ("dim", self.dim),
            ("heads", self.heads),
            ("layers", encoder.min(decoder)),
            ("hidden", self.hidden),
        ];
        positive(Self::NAME, &sizes)?;
        if !self.dim.is_multiple_of(self.heads) {
            let rule = format!("must divide dim, which is {}", self.dim);
            return Err(Error::config(Self::NAME, "heads", self.heads, rule));
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "epsilon", self.epsilon, rule));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(Self::NAME, "dropout", self.dropout, rule));
        }
        Ok(())
    }
}

/// A transformer that translates: words in, scores of words out.
#[derive(Config, Debug, PartialEq)]
pub struct TranslatorConfig {
    /// Words of the source and of the target language, padding among them.
    pub words: [usize; 2],
    /// Encoder and decoder.
    #[config(default = "TransformerConfig::new()")]
    pub transformer: TransformerConfig,
    /// The number of the word that fills sentences up, in both languages.
    #[config(default = 0)]
    pub padding: usize,
}

impl TranslatorConfig {
    /// Refuses what [`TransformerConfig::validate`] does, fewer than two words, and padding that is no
    /// word.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        const NAME: &str = "TranslatorConfig";
        self.transformer.validate()?;
        if !self.transformer.dim.is_multiple_of(2) {
            let (dim, rule) = (
                self.transformer.dim,
                "must be even, a sine and a cosine each",
            );
            return Err(Error::config(NAME, "transformer.dim", dim, rule));
        }
        let [sources, targets] = self.words;
        let fewest = sources.min(targets);
        if fewest < 2 {
            return Err(Error::config(
                NAME,
                "words",
                self.words,
                "must be at least 2",
            ));
        }
        if self.padding >= fewest {
            let rule = format!("must be below the words of both languages, {fewest}");
            return Err(Error::config(NAME, "padding", self.padding, rule));
        }
        Ok(())
    }
}

/// Layers that stay as they are when a network is decomposed.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub struct Skip {
    /// How many of the first; 43 in the paper's partly factored ResNet-50.
    #[config(default = 0)]
    pub first: usize,
    /// Whether the last one too.
    #[config(default = false)]
    pub last: bool,
}

/// Which ranks a step truncates.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum Sampling {
    /// One layer to one of its ranks, every pair once before any comes again; the paper's.
    PerLayer,
    /// Every layer to a rank of its own, uniformly.
    Uniform,
    /// Every layer to the same share of its ranks, rounded up.
    Fixed(f64),
}

/// How a factored network is trained.
#[derive(Config, Debug, PartialEq)]
pub struct MaestroConfig {
    /// The learning rate.
    #[config(default = 0.01)]
    pub rate: f64,
    /// Momentum of the gradients.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Weight decay of all parameters, or of all but vectors.
    #[config(default = 1e-4)]
    pub weight_decay: f64,
    /// Whether biases, gains and offsets decay too, as in the official runs on small images.
    #[config(default = true)]
    pub decay_vectors: bool,
    /// Weight λ of the group lasso, which is a sum over all ranks of all layers.
    #[config(default = 1e-6)]
    pub lambda: f64,
    /// Whether the lasso and the importances are hierarchical.
    #[config(default = true)]
    pub hierarchical: bool,
    /// Ranks below this importance ε are masked after every epoch.
    #[config(default = 1e-5)]
    pub threshold: f64,
    /// Whether every step also runs the whole network, from whose probabilities the truncated one
    /// learns.
    #[config(default = false)]
    pub full_pass: bool,
    /// Which ranks a step truncates.
    #[config(default = "Sampling::PerLayer")]
    pub sampling: Sampling,
    /// Epochs at the start in which the network is dense and trained as usual; then its layers become
    /// factors.
    #[config(default = 0)]
    pub full_epochs: usize,
    /// The layers that stay dense then.
    #[config(default = "Skip::new()")]
    pub skip: Skip,
}

impl MaestroConfig {
    const NAME: &str = "MaestroConfig";

    /// The published settings for CIFAR-10: a rate of 0.1, and λ = 16·10⁻⁶.
    pub fn cifar() -> Self {
        Self::new().with_rate(0.1).with_lambda(16e-6)
    }

    /// The published settings for ImageNet's ResNet-50: a rate of 0.1, one epoch at full rank, then
    /// factors in all but the first 43 layers and the last one, no decay of vectors. The batch is
    /// [`IMAGENET_BATCH`](Self::IMAGENET_BATCH), the run has
    /// [`IMAGENET_EPOCHS`](Self::IMAGENET_EPOCHS), and the rate falls as
    /// [`falling_at`](Self::falling_at) says for
    /// [`IMAGENET_MILESTONES`](Self::IMAGENET_MILESTONES).
    pub fn imagenet() -> Self {
        Self::new()
            .with_rate(0.1)
            .with_decay_vectors(false)
            .with_full_epochs(1)
            .with_skip(Skip::new().with_first(43).with_last(true))
    }

    /// Images per update on ImageNet.
    pub const IMAGENET_BATCH: usize = 256;
    /// Epochs of the run on ImageNet.
    pub const IMAGENET_EPOCHS: usize = 90;
    /// The epochs after which the rate falls on ImageNet.
    pub const IMAGENET_MILESTONES: [usize; 3] = [30, 60, 80];

    /// The rate over a run whose epochs have `steps_per_epoch`: a tenth after each of the epochs
    /// `milestones`, ascending.
    pub fn falling_at(&self, milestones: &[usize], steps_per_epoch: usize) -> Schedule {
        let steps = milestones.iter().map(|epochs| epochs * steps_per_epoch);
        Schedule {
            decay: Decay::Steps {
                milestones: steps.collect(),
                factor: 0.1,
            },
            ..Schedule::constant(self.rate)
        }
    }

    /// The rate over a run of `steps`: a tenth after half of them, a hundredth after three quarters,
    /// as published for CIFAR-10. LeNet's stays.
    pub fn falling(&self, steps: usize) -> Schedule {
        Schedule {
            decay: Decay::Steps {
                milestones: vec![steps / 2, steps / 4 * 3],
                factor: 0.1,
            },
            ..Schedule::constant(self.rate)
        }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("rate", self.rate),
            ("weight_decay", self.weight_decay),
            ("lambda", self.lambda),
            ("threshold", self.threshold),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                let rule = "must be finite and not negative";
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        if !(0.0..1.0).contains(&self.momentum) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::config(Self::NAME, "momentum", self.momentum, rule));
        }
        if let Sampling::Fixed(share) = self.sampling
            && !(share > 0.0 && share <= 1.0)
        {
            let rule = "must be a share above 0 and at most 1";
            return Err(Error::config(Self::NAME, "sampling", share, rule));
        }
        Ok(())
    }
}

fn positive(config: &'static str, sizes: &[(&str, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        None => Ok(()),
        Some((field, _)) => Err(Error::config(config, *field, 0, "must be at least 1")),
    }
}
