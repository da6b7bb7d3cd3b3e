//! Training by RMSprop, with either loss.

use super::config::{Objective, ShallowConfig, TrainingConfig};
use super::model::ResidualStack;
use super::objective::{accuracy, cross_entropy, squared_error};
use burn::module::Module;
use burn::optim::{ModuleOptimizer, RmsPropConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::{Error, Result};
use menagerie_train::{Metrics, Scalars};

/// Images `[batch, channels, H, H]`, labels `[batch]`, and what is made small of them.
#[derive(Clone, Debug)]
pub struct Examples {
    /// Images.
    pub images: Tensor<4>,
    /// Classes.
    pub labels: Tensor<1, Int>,
    /// The loss.
    pub objective: Objective,
}

impl TrainingConfig {
    /// RMSprop with Keras' constants: a running mean of squares with 0.9, ε = 1e-7, no momentum.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn optimizer(&self) -> Result<ModuleOptimizer> {
        self.validate()?;
        let config = RmsPropConfig::new()
            .with_alpha(0.9)
            .with_momentum(0.0)
            .with_centered(false)
            .with_epsilon(1e-7);
        Ok(config.init())
    }
}

/// Labelled images in memory, of one shape.
#[derive(Clone, Debug)]
pub struct LabelledImages {
    pixels: Vec<f32>,
    shape: [usize; 3],
    labels: Vec<usize>,
}

impl LabelledImages {
    /// Images of `shape` `[channels, height, width]` one after the other.
    ///
    /// # Errors
    /// [`Error::Input`] if pixels are not those of as many images as there are labels, or there are
    /// none.
    pub fn new(pixels: Vec<f32>, shape: [usize; 3], labels: Vec<usize>) -> Result<Self> {
        let size: usize = shape.iter().product();
        if labels.is_empty() || pixels.len() != size * labels.len() {
            let rule = format!("must be {size} for each of {} labels", labels.len());
            return Err(Error::input("the number of pixels", pixels.len(), rule));
        }
        Ok(Self {
            pixels,
            shape,
            labels,
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never: at least one image is there.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Refuses a stack for images of another shape, or with too few classes for the labels.
    ///
    /// # Errors
    /// [`Error::Input`] with the shape, or with the place and the value of the label.
    pub fn fits(&self, config: &ShallowConfig) -> Result<()> {
        let expected = [config.channels, config.image, config.image];
        if self.shape != expected {
            let rule = format!("must be {expected:?} for this stack");
            return Err(Error::input("the images' shape", self.shape, rule));
        }
        let classes = config.classes;
        match self.labels.iter().position(|label| *label >= classes) {
            Some(at) => {
                let rule = format!("must be below {classes}, the number of classes");
                Err(Error::input(format!("label {at}"), self.labels[at], rule))
            }
            None => Ok(()),
        }
    }

    /// The images at these places on a device.
    ///
    /// # Panics
    /// If a place lies beyond the last image.
    pub fn batch(&self, indices: &[usize], objective: Objective, device: &Device) -> Examples {
        let [channels, height, width] = self.shape;
        let size = channels * height * width;
        let mut pixels = Vec::with_capacity(size * indices.len());
        for at in indices {
            pixels.extend_from_slice(&self.pixels[at * size..(at + 1) * size]);
        }
        let labels: Vec<i64> = indices.iter().map(|at| self.labels[*at] as i64).collect();
        let count = indices.len();
        Examples {
            images: Tensor::from_data(
                TensorData::new(pixels, [count, channels, height, width]),
                device,
            ),
            labels: Tensor::from_data(TensorData::new(labels, [count]), device),
            objective,
        }
    }
}

fn scalars(model: &ResidualStack, examples: Examples) -> (Tensor<1>, Scalars) {
    let logits = model.forward_unchecked(examples.images);
    let labels = examples.labels;
    let entropy = cross_entropy(logits.clone(), labels.clone());
    let squares = squared_error(logits.clone(), labels.clone());
    let loss = match examples.objective {
        Objective::CrossEntropy => entropy.clone(),
        Objective::SquaredError => squares.clone(),
    };
    let scalars = Scalars::new()
        .with("loss", loss.clone())
        .with("cross-entropy", entropy)
        .with("squared error", squares)
        .with("accuracy", accuracy(logits, labels));
    (loss, scalars)
}

impl TrainStep for ResidualStack {
    type Input = Examples;
    type Output = Scalars;

    fn step(&self, examples: Examples) -> TrainOutput<Scalars> {
        let (loss, scalars) = scalars(self, examples);
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for ResidualStack {
    type Input = Examples;
    type Output = Scalars;

    fn step(&self, examples: Examples) -> Scalars {
        scalars(self, examples).1
    }
}

/// Means of loss, cross-entropy, squared error and accuracy over all images, 250 at a time, on the
/// model's device and without autodiff.
///
/// # Errors
/// As [`LabelledImages::fits`], and if the device fails.
pub fn evaluate(
    model: &ResidualStack,
    images: &LabelledImages,
    objective: Objective,
) -> Result<Metrics> {
    images.fits(model.config())?;
    let model = model.valid();
    let device = model.stem.bias.val().device();
    let places: Vec<usize> = (0..images.len()).collect();
    let parts = places.chunks(250).map(|chunk| {
        let examples = images.batch(chunk, objective, &device);
        Ok((scalars(&model, examples).1.read()?, chunk.len() as f64))
    });
    Ok(Metrics::weighted_mean(parts.collect::<Result<Vec<_>>>()?))
}
