//! Sizes: networks, the three methods, the two baselines.

use burn::config::Config;
use menagerie_core::{Error, Result};

/// What the labels are turned into (section 4, *initialisation of W_embed*).
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Embedding {
    /// The identity, fixed: as wide as there are classes.
    OneHot,
    /// Trained from orthogonal rows where the width allows it, else from random ones.
    Learned,
    /// Trained from one image of each class, see [`prototypes`](super::prototypes): as wide as an image.
    Prototype,
}

/// How class probabilities come from the last z (appendix, *class probabilities*).
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Head {
    /// Softmax of a linear layer.
    Softmax,
    /// By the distance of the expected embedding to each class's one.
    Radial,
}

/// How an inference integrates a velocity.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Solver {
    /// Euler's method, the paper's: one evaluation a step.
    Euler,
    /// Heun's method, of second order: two evaluations a step, and far fewer steps for the same
    /// accuracy.
    Heun,
}

/// The network of a block (figure 6) and the embedding of labels.
#[derive(Config, Debug, PartialEq)]
pub struct NetworkConfig {
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// The embedding of labels.
    pub embedding: Embedding,
    /// Its width d.
    pub dim: usize,
    /// Filters of the three convolutions.
    #[config(default = "[32, 64, 128]")]
    pub convs: [usize; 3],
    /// Width of each path, and of the first layer on both.
    #[config(default = 256)]
    pub fc: usize,
    /// Width of the last layer but one.
    #[config(default = 128)]
    pub fc2: usize,
    /// Share of the image path's numbers that is dropped in training.
    #[config(default = 0.2)]
    pub dropout: f64,
    /// How class probabilities come from the last z.
    #[config(default = "Head::Softmax")]
    pub head: Head,
    /// σ of the radial head; the paper does not state it.
    #[config(default = 1.0)]
    pub sigma: f64,
}

/// Width of the paper's learned embedding.
const LEARNED: usize = 20;

impl NetworkConfig {
    const NAME: &str = "NetworkConfig";

    /// The paper's network for images of that size.
    pub fn published(image: [usize; 3], classes: usize, embedding: Embedding) -> Self {
        let dim = match embedding {
            Embedding::OneHot => classes,
            Embedding::Learned => LEARNED,
            Embedding::Prototype => image.iter().product(),
        };
        Self::new(image, classes, embedding, dim)
    }

    /// MNIST: 28×28 grey pixels, ten classes.
    pub fn mnist(embedding: Embedding) -> Self {
        Self::published([1, 28, 28], 10, embedding)
    }

    /// CIFAR-10: 32×32 colour pixels, ten classes.
    pub fn cifar10(embedding: Embedding) -> Self {
        Self::published([3, 32, 32], 10, embedding)
    }

    /// CIFAR-100: 32×32 colour pixels, a hundred classes.
    pub fn cifar100(embedding: Embedding) -> Self {
        Self::published([3, 32, 32], 100, embedding)
    }

    /// A narrow network for 28×28 grey pixels, for two cores.
    pub fn small(embedding: Embedding) -> Self {
        Self::mnist(embedding)
            .with_convs([8, 16, 32])
            .with_fc(64)
            .with_fc2(32)
            .with_dropout(0.1)
    }

    /// Numbers that the image path is left with before its linear layer.
    pub fn flattened(&self) -> usize {
        let [_, height, width] = self.image;
        self.convs[2] * (height / 4) * (width / 4)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: String, rule: String| {
            Err(Error::Config {
                config: Self::NAME,
                field: field.into(),
                value,
                rule,
            })
        };
        let [channels, height, width] = self.image;
        if channels == 0 || height == 0 || width == 0 || height % 4 != 0 || width % 4 != 0 {
            let rule = "needs channels, and sides that are divisible by 4";
            return refuse("image", format!("{:?}", self.image), rule.into());
        }
        if self.classes < 2 {
            return refuse(
                "classes",
                self.classes.to_string(),
                "must be at least 2".into(),
            );
        }
        let pixels = channels * height * width;
        let (wanted, rule) = match self.embedding {
            Embedding::OneHot => (
                self.classes,
                "the number of classes, for one-hot embeddings",
            ),
            Embedding::Prototype => (pixels, "the numbers of an image, for prototypes"),
            Embedding::Learned => (self.dim.max(1), "at least 1"),
        };
        if self.dim != wanted {
            let rule = match self.embedding {
                Embedding::Learned => format!("must be {rule}"),
                _ => format!("must be {wanted}, {rule}"),
            };
            return refuse("dim", self.dim.to_string(), rule);
        }
        let convs = self.convs.map(|width| ("convs", width));
        for (field, width) in convs
            .into_iter()
            .chain([("fc", self.fc), ("fc2", self.fc2)])
        {
            if width == 0 {
                return refuse(field, "0".into(), "must be at least 1".into());
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let rule = "must be at least 0 and below 1";
            return refuse("dropout", format!("{:?}", self.dropout), rule.into());
        }
        if !(self.sigma.is_finite() && self.sigma > 0.0) {
            let rule = "must be finite and above 0";
            return refuse("sigma", format!("{:?}", self.sigma), rule.into());
        }
        Ok(())
    }
}

/// Refuses a count of 0.
fn positive(config: &'static str, field: &str, value: usize) -> Result<()> {
    match value {
        0 => Err(Error::config(config, field, 0, "must be at least 1")),
        _ => Ok(()),
    }
}

/// Refuses a weight that is negative or not finite.
fn weight(config: &'static str, field: &str, value: f64) -> Result<()> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(()),
        false => Err(Error::config(
            config,
            field,
            value,
            "must be finite and at least 0",
        )),
    }
}

/// Refuses a time embedding that cannot be half sines and half cosines.
fn paired(config: &'static str, value: usize) -> Result<()> {
    match value > 0 && value.is_multiple_of(2) {
        true => Ok(()),
        false => Err(Error::config(
            config,
            "time_dim",
            value,
            "must be even and at least 2",
        )),
    }
}

/// NoProp in discrete time (section 3.1): T blocks, each with a network of its own.
#[derive(Config, Debug, PartialEq)]
pub struct DtConfig {
    /// The network of each block.
    pub network: NetworkConfig,
    /// The number of blocks T.
    #[config(default = 10)]
    pub steps: usize,
    /// The weight η of the denoising error.
    #[config(default = 0.1)]
    pub eta: f64,
    /// ᾱ is kept this far from 0 and from 1. The paper does not say how it keeps the signal-to-noise
    /// ratio of the last step finite; the weight of the last block is about the inverse of this.
    #[config(default = 1e-4)]
    pub clip: f64,
}

impl DtConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.network.validate()?;
        positive("DtConfig", "steps", self.steps)?;
        weight("DtConfig", "eta", self.eta)?;
        check_clip("DtConfig", self.clip)
    }
}

/// Refuses a bound of ᾱ that leaves nothing between it and its mirror image.
pub(super) fn check_clip(config: &'static str, clip: f64) -> Result<()> {
    match clip > 0.0 && clip < 0.5 {
        true => Ok(()),
        false => Err(Error::config(
            config,
            "clip",
            clip,
            "must be above 0 and below 0.5",
        )),
    }
}

/// NoProp in continuous time (section 3.2): one block for all times, a trained noise schedule.
#[derive(Config, Debug, PartialEq)]
pub struct CtConfig {
    /// The network of the block.
    pub network: NetworkConfig,
    /// Width of the embedding of time.
    #[config(default = 64)]
    pub time_dim: usize,
    /// Hidden width of the schedule's network; the paper does not state it.
    #[config(default = 64)]
    pub gamma_hidden: usize,
    /// γ₀ and γ₁ to start from; the paper does not state them.
    #[config(default = "[-5.0, 5.0]")]
    pub gamma: [f64; 2],
    /// The weight η of the denoising error.
    #[config(default = 1.0)]
    pub eta: f64,
    /// Steps of an inference.
    #[config(default = 1_000)]
    pub inference_steps: usize,
}

impl CtConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        const NAME: &str = "CtConfig";
        self.network.validate()?;
        paired(NAME, self.time_dim)?;
        positive(NAME, "gamma_hidden", self.gamma_hidden)?;
        let [first, last] = self.gamma;
        if !(first.is_finite() && last.is_finite() && first < last) {
            let rule = "must be finite and ascending, so that the signal grows with time";
            return Err(Error::config(NAME, "gamma", self.gamma, rule));
        }
        weight(NAME, "eta", self.eta)?;
        positive(NAME, "inference_steps", self.inference_steps)
    }
}

/// NoProp by flow matching (section 3.3): one block that predicts a velocity.
#[derive(Config, Debug, PartialEq)]
pub struct FmConfig {
    /// The network of the block.
    pub network: NetworkConfig,
    /// Width of the embedding of time.
    #[config(default = 64)]
    pub time_dim: usize,
    /// Deviation σ of the noise around the straight line; the paper does not state it.
    #[config(default = 0.1)]
    pub sigma: f64,
    /// Steps of an inference.
    #[config(default = 1_000)]
    pub inference_steps: usize,
    /// How an inference integrates the velocity.
    #[config(default = "Solver::Euler")]
    pub solver: Solver,
}

impl FmConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        const NAME: &str = "FmConfig";
        self.network.validate()?;
        paired(NAME, self.time_dim)?;
        weight(NAME, "sigma", self.sigma)?;
        positive(NAME, "inference_steps", self.inference_steps)
    }
}

/// The blocks of [`DtConfig`] trained from end to end (equations 17-19).
#[derive(Config, Debug, PartialEq)]
pub struct BackpropConfig {
    /// The network of each block.
    pub network: NetworkConfig,
    /// The number of blocks T.
    #[config(default = 10)]
    pub steps: usize,
    /// w of α = tanh(w) to start from; the paper does not state it.
    #[config(default = 1.0)]
    pub start: f64,
}

impl BackpropConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        const NAME: &str = "BackpropConfig";
        self.network.validate()?;
        positive(NAME, "steps", self.steps)?;
        match self.start.is_finite() {
            true => Ok(()),
            false => Err(Error::config(NAME, "start", self.start, "must be finite")),
        }
    }
}

/// A neural ordinary differential equation, trained by adjoint sensitivity.
#[derive(Config, Debug, PartialEq)]
pub struct AdjointConfig {
    /// The network of the velocity.
    pub network: NetworkConfig,
    /// Width of the embedding of time.
    #[config(default = 64)]
    pub time_dim: usize,
    /// Euler steps, in training as in inference.
    #[config(default = 1_000)]
    pub steps: usize,
}

impl AdjointConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.network.validate()?;
        paired("AdjointConfig", self.time_dim)?;
        positive("AdjointConfig", "steps", self.steps)
    }
}
