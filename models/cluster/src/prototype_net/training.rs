//! Training: labelled batches, the step, and the paper's procedure.
//!
//! One step deforms the batch, encodes it, takes the distances both ways, computes the four losses
//! and updates encoder, decoder, prototypes and classifier together with Adam. There are no
//! phases and no projection of prototypes onto images.

use super::{
    elastic::{Elastic, ElasticConfig, Fields},
    model::PrototypeNet,
    objective::{PrototypeLoss, accuracy, cross_entropy, objective},
    plain::PlainNet,
};
use burn::{
    config::Config,
    optim::{AdamConfig, ModuleOptimizer},
    tensor::{Device, Int, Tensor, TensorData},
    train::{InferenceStep, TrainOutput, TrainStep},
};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::{Metrics, Sampler, Scalars};

/// How the paper trains: Adam without decay, schedule or clipping.
#[derive(Config, Debug, PartialEq)]
pub struct TrainingConfig {
    /// Learning rate of Adam (β 0.9 and 0.999, ε 1e-8).
    #[config(default = 2e-3)]
    pub learning_rate: f64,
    /// Images per batch. R1 pulls prototypes towards whatever is in the batch: keep it several
    /// times the number of prototypes.
    #[config(default = 250)]
    pub batch: usize,
    /// Passes over the training images.
    #[config(default = 1_500)]
    pub epochs: usize,
    /// The deformation of every training batch, fresh for each image; none at test time.
    #[config(default = "Some(ElasticConfig::new())")]
    pub elastic: Option<ElasticConfig>,
}

impl TrainingConfig {
    const NAME: &str = "TrainingConfig";

    /// The official run on 55 000 images of MNIST.
    pub fn published() -> Self {
        Self::new()
    }

    /// A run of `epochs` without deformation, which costs little accuracy on a few thousand
    /// images.
    pub fn short(epochs: usize) -> Self {
        Self::new().with_epochs(epochs).with_elastic(None)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !self.learning_rate.is_finite() || self.learning_rate <= 0.0 {
            let rule = "must be finite and above 0";
            return Err(Error::config(
                Self::NAME,
                "learning_rate",
                self.learning_rate,
                rule,
            ));
        }
        for (field, value) in [("batch", self.batch), ("epochs", self.epochs)] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        self.elastic
            .as_ref()
            .map_or(Ok(()), ElasticConfig::validate)
    }

    /// Adam with TensorFlow's defaults.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn optimizer(&self) -> Result<ModuleOptimizer> {
        self.validate()?;
        Ok(AdamConfig::new().with_epsilon(1e-8).init())
    }
}

/// Images with their classes.
#[derive(Clone, Debug)]
pub struct LabelledImages {
    /// `[batch, channels, height, width]`.
    pub images: Tensor<4>,
    /// `[batch]`.
    pub labels: Tensor<1, Int>,
}

/// A set of images with their classes, in host memory.
#[derive(Clone, Debug)]
pub struct Examples {
    images: Vec<f32>,
    labels: Vec<usize>,
    shape: [usize; 3],
}

impl Examples {
    /// Images in 0..1, `[n, channels, height, width]` one after the other, and the class of each,
    /// below `classes`.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no image, if the numbers of images and labels differ, or if a
    /// label is not below `classes`.
    pub fn new(
        images: Vec<f32>,
        labels: Vec<usize>,
        shape: [usize; 3],
        classes: usize,
    ) -> Result<Self> {
        let size = shape.iter().product::<usize>();
        if labels.is_empty() || Some(images.len()) != labels.len().checked_mul(size) {
            let [channels, height, width] = shape;
            let rule = format!(
                "must be one or more images of {channels} x {height} x {width} values for the {} \
                 labels",
                labels.len()
            );
            return Err(Error::input("the number of pixels", images.len(), rule));
        }
        if let Some(label) = labels.iter().find(|label| **label >= classes) {
            let rule = format!("must be below the number of classes, {classes}");
            return Err(Error::input("a label", label, rule));
        }
        Ok(Self {
            images,
            labels,
            shape,
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image; never, as [`new`](Self::new) refuses that.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The class of every image.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The pixels of one image, `[channels, height, width]`.
    pub fn image(&self, index: usize) -> Option<&[f32]> {
        let size = self.shape.iter().product::<usize>();
        self.images.get(index.checked_mul(size)?..)?.get(..size)
    }

    /// All images, `[n, channels, height, width]`.
    pub fn images(&self, device: &Device) -> Tensor<4> {
        self.tensor(self.images.clone(), device)
    }

    /// The examples `indices` in that order.
    ///
    /// # Errors
    /// [`Error::Input`] for an index that is not below [`len`](Self::len).
    pub fn batch(&self, indices: &[usize], device: &Device) -> Result<LabelledImages> {
        let images = self.pixels(indices)?;
        Ok(self.labelled(images, indices, device))
    }

    fn pixels(&self, indices: &[usize]) -> Result<Vec<f32>> {
        let mut pixels = Vec::with_capacity(indices.len() * self.shape.iter().product::<usize>());
        for &index in indices {
            let image = self.image(index).ok_or_else(|| {
                Error::input("an index", index, format!("must be below {}", self.len()))
            })?;
            pixels.extend_from_slice(image);
        }
        Ok(pixels)
    }

    fn labelled(&self, pixels: Vec<f32>, indices: &[usize], device: &Device) -> LabelledImages {
        let labels: Vec<i64> = indices
            .iter()
            .map(|&index| self.labels[index] as i64)
            .collect();
        let count = labels.len();
        LabelledImages {
            images: self.tensor(pixels, device),
            labels: Tensor::from_data(TensorData::new(labels, [count]), device),
        }
    }

    fn tensor(&self, pixels: Vec<f32>, device: &Device) -> Tensor<4> {
        let [channels, height, width] = self.shape;
        let count = pixels.len() / (channels * height * width).max(1);
        let shape = [count, channels, height, width];
        Tensor::from_data(TensorData::new(pixels, shape), device)
    }
}

/// The training batches of a run as a function of the step.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    examples: &'a Examples,
    sampler: Sampler,
    elastic: Option<Elastic>,
    noise: Seed,
}

impl<'a> Batches<'a> {
    /// Shuffled batches of `config`, deformed if it says so.
    ///
    /// # Errors
    /// If the configuration is invalid or the batch is larger than the set.
    pub fn new(examples: &'a Examples, config: &TrainingConfig, seed: Seed) -> Result<Self> {
        config.validate()?;
        let order = seed.stream("batches");
        Ok(Self {
            examples,
            sampler: Sampler::shuffled(examples.len(), config.batch, order)?,
            elastic: config
                .elastic
                .as_ref()
                .map(ElasticConfig::init)
                .transpose()?,
            noise: seed.stream("elastic"),
        })
    }

    /// How many batches make up one pass over the images.
    pub fn steps_per_epoch(&self) -> usize {
        self.sampler.steps_per_epoch()
    }

    /// The batch of step `step`.
    ///
    /// # Errors
    /// None in practice: images and noise are of one size.
    pub fn batch(&mut self, step: usize, device: &Device) -> Result<LabelledImages> {
        let indices = self.sampler.indices(step);
        let mut pixels = self.examples.pixels(&indices)?;
        if let Some(elastic) = &self.elastic {
            let shape = self.examples.shape;
            let [_, height, width] = shape;
            let noise = Fields::draw(indices.len(), [height, width], self.noise.at(step as u64));
            pixels = elastic.deform(&pixels, shape, &noise)?;
        }
        Ok(self.examples.labelled(pixels, &indices, device))
    }
}

/// The scalars of `model` over all `examples`, in batches of `batch`.
///
/// # Errors
/// [`Error::Input`] if `batch` is 0; whatever the device reports.
pub fn evaluate<M>(model: &M, examples: &Examples, batch: usize, device: &Device) -> Result<Metrics>
where
    M: InferenceStep<Input = LabelledImages, Output = Scalars>,
{
    if batch == 0 {
        return Err(Error::input("the batch size", batch, "must be at least 1"));
    }
    let indices: Vec<usize> = (0..examples.len()).collect();
    let mut all = Vec::new();
    for chunk in indices.chunks(batch) {
        let scalars = InferenceStep::step(model, examples.batch(chunk, device)?);
        all.push((scalars.read()?, chunk.len() as f64));
    }
    Ok(Metrics::weighted_mean(all))
}

impl PrototypeNet {
    /// The objective of a batch and its accuracy, both of shape `[1]`.
    ///
    /// # Panics
    /// If the images are not of the configured shape; see [`forward`](PrototypeNet::forward).
    pub fn loss(&self, batch: LabelledImages) -> (PrototypeLoss, Tensor<1>) {
        let LabelledImages { images, labels } = batch;
        let pass = self.pass(images.clone());
        let scores = pass.logits.clone().without_autodiff();
        let accuracy = accuracy(scores, labels.clone());
        let loss = objective(pass, images, labels, &self.config().weights);
        (loss, accuracy)
    }
}

fn prototype_scalars(loss: &PrototypeLoss, accuracy: Tensor<1>) -> Scalars {
    Scalars::new()
        .with("loss", loss.total.clone())
        .with("accuracy", accuracy)
        .with("classification", loss.classification.clone())
        .with("reconstruction", loss.reconstruction.clone())
        .with("r1", loss.r1.clone())
        .with("r2", loss.r2.clone())
}

impl TrainStep for PrototypeNet {
    type Input = LabelledImages;
    type Output = Scalars;

    fn step(&self, batch: LabelledImages) -> TrainOutput<Scalars> {
        let (loss, accuracy) = self.loss(batch);
        let scalars = prototype_scalars(&loss, accuracy);
        TrainOutput::new(self, loss.total.backward(), scalars)
    }
}

impl InferenceStep for PrototypeNet {
    type Input = LabelledImages;
    type Output = Scalars;

    fn step(&self, batch: LabelledImages) -> Scalars {
        let (loss, accuracy) = self.loss(batch);
        prototype_scalars(&loss, accuracy)
    }
}

impl PlainNet {
    /// The cross-entropy of a batch and its accuracy, both of shape `[1]`.
    fn loss(&self, batch: LabelledImages) -> (Tensor<1>, Tensor<1>) {
        let logits = self.pass(batch.images);
        let accuracy = accuracy(logits.clone().without_autodiff(), batch.labels.clone());
        (cross_entropy(logits, batch.labels), accuracy)
    }
}

fn plain_scalars(loss: &Tensor<1>, accuracy: Tensor<1>) -> Scalars {
    Scalars::new()
        .with("loss", loss.clone())
        .with("accuracy", accuracy)
}

impl TrainStep for PlainNet {
    type Input = LabelledImages;
    type Output = Scalars;

    fn step(&self, batch: LabelledImages) -> TrainOutput<Scalars> {
        let (loss, accuracy) = self.loss(batch);
        let scalars = plain_scalars(&loss, accuracy);
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for PlainNet {
    type Input = LabelledImages;
    type Output = Scalars;

    fn step(&self, batch: LabelledImages) -> Scalars {
        let (loss, accuracy) = self.loss(batch);
        plain_scalars(&loss, accuracy)
    }
}
