//! What the recipes of masked autoencoders share: garments at 32×32, pre-training, probing and
//! fine-tuning with few labels.

use crate::Context;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::{LearnerModel, TrainStep};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_image::{ImageSet, augment::Augmentation};
use menagerie_mae::mae_base::{
    Classifier, Encoder, EpochSchedule, FinetuningConfig, LabelledFeatures, Lars, ProbeHead,
    Probing, ProbingConfig, probed,
};
use menagerie_train::{
    FitConfig, Procedure, Progress, Rates, Run, Sampler, Scalars, Schedule, Split, Supervised,
};
use serde::Serialize;
use std::sync::Arc;

/// Images per batch of an evaluation.
const EVALUATION_BATCH: usize = 250;
/// The peak rate of a probe, the published one.
const PROBE_RATE: f64 = 6.4;

/// Mean and deviation of Fashion-MNIST's pixels in 0..1.
const MEAN: f32 = 0.286;
const DEVIATION: f32 = 0.353;

/// Images as a network takes them.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    set: Arc<ImageSet>,
    view: View,
}

/// How stored images come to a network.
#[derive(Clone, Debug)]
enum View {
    /// Grey images in the middle of a black square of this side, three channels alike.
    Padded(usize),
    /// Colour images, augmented.
    Augmented(Box<Augmentation>),
}

impl Images {
    /// Grey images of `set`, padded to `side`.
    pub(crate) fn padded(set: ImageSet, side: usize) -> Result<Self> {
        let [channels, height, width] = set.image_shape();
        if channels != 1 || height.max(width) > side {
            let rule = format!("must be grey and at most {side} on a side");
            return Err(Error::input("images", set.image_shape(), rule));
        }
        Ok(Self {
            set: Arc::new(set),
            view: View::Padded(side),
        })
    }

    /// Colour images, augmented by a draw of their own whenever they are used.
    pub(crate) fn augmented(set: ImageSet, augmentation: Augmentation) -> Result<Self> {
        Self::seen(Arc::new(set), augmentation)
    }

    fn seen(set: Arc<ImageSet>, augmentation: Augmentation) -> Result<Self> {
        augmentation.validate()?;
        let view = View::Augmented(Box::new(augmentation));
        Ok(Self { set, view })
    }

    /// The same images seen in another way.
    pub(crate) fn with_augmentation(&self, augmentation: Augmentation) -> Result<Self> {
        match &self.view {
            View::Padded(_) => Ok(self.clone()),
            View::Augmented(_) => Self::seen(self.set.clone(), augmentation),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }

    pub(crate) fn labels(&self) -> &[usize] {
        self.set.labels()
    }

    pub(crate) fn class_names(&self) -> &[String] {
        self.set.class_names()
    }

    /// A random subset with every class at its share.
    pub(crate) fn stratified(&self, count: usize, seed: Seed) -> Result<Self> {
        // All of them need no copy.
        let set = match count == self.set.len() {
            true => self.set.clone(),
            false => Arc::new(self.set.stratified(count, seed)?),
        };
        let view = self.view.clone();
        Ok(Self { set, view })
    }

    /// The images `indices`, normalised, `[indices, 3, side, side]`.
    pub(crate) fn batch(
        &self,
        indices: &[usize],
        seed: Seed,
        device: &Device,
    ) -> Result<Tensor<4>> {
        match &self.view {
            View::Padded(side) => {
                let side = *side;
                let [_, height, width] = self.set.image_shape();
                let stored = self.set.to_f32(indices.iter().copied())?;
                let mut padded = vec![0.0; indices.len() * side * side];
                let (top, left) = ((side - height) / 2, (side - width) / 2);
                for (image, pixels) in stored.chunks(height * width).enumerate() {
                    for (row, pixels) in pixels.chunks(width).enumerate() {
                        let at = image * side * side + (top + row) * side + left;
                        padded[at..at + width].copy_from_slice(pixels);
                    }
                }
                for pixel in &mut padded {
                    *pixel = (*pixel - MEAN) / DEVIATION;
                }
                let shape = [indices.len(), 1, side, side];
                let grey = Tensor::<4>::from_data(TensorData::new(padded, shape), device);
                Ok(grey.repeat_dim(1, 3))
            }
            View::Augmented(augmentation) => {
                let [height, width] = augmentation.framing.size();
                let shape = [indices.len(), 3, height, width];
                let values = augmentation.batch(&self.set, indices, seed)?;
                Ok(Tensor::from_data(TensorData::new(values, shape), device))
            }
        }
    }

    /// Normalised images `[batch, 3, side, side]` back in 0..1, one by one, in one channel where the
    /// three are alike.
    pub(crate) fn tiles(&self, images: Tensor<4>) -> Result<Vec<Vec<f32>>> {
        let images = match &self.view {
            View::Padded(_) => images.mean_dim(1) * DEVIATION + MEAN,
            View::Augmented(_) => menagerie_mae::mae_base::objective::IMAGENET.undo(images),
        };
        let size = images.dims()[1..].iter().product();
        let values = images
            .clamp(0.0, 1.0)
            .try_into_vec_as::<f32>()
            .map_err(|error| Error::other("reading images", error))?;
        Ok(values.chunks(size).map(<[f32]>::to_vec).collect())
    }

    /// Channels, height and width of a tile.
    pub(crate) fn tile_shape(&self) -> [usize; 3] {
        match &self.view {
            View::Padded(side) => [1, *side, *side],
            View::Augmented(augmentation) => {
                let [height, width] = augmentation.framing.size();
                [3, height, width]
            }
        }
    }
}

/// The batches of a run: indices, images, a seed for other draws of the step.
pub(crate) struct Batches {
    images: Images,
    sampler: Sampler,
    seed: Seed,
}

impl Batches {
    pub(crate) fn new(images: Images, batch: usize, seed: Seed) -> Result<Self> {
        Ok(Self {
            sampler: Sampler::shuffled(images.len(), batch, seed.stream("batches"))?,
            images,
            seed,
        })
    }

    /// Images and labels of step `step`, and a seed for its other draws.
    pub(crate) fn at(
        &mut self,
        step: usize,
        device: &Device,
    ) -> Result<(Tensor<4>, Vec<usize>, Seed)> {
        let indices = self.sampler.indices(step);
        let seed = self.seed.stream("step").at(step as u64);
        let images = self
            .images
            .batch(&indices, seed.stream("augmentation"), device)?;
        let labels = self.images.labels();
        let labels = indices
            .iter()
            .filter_map(|index| labels.get(*index).copied());
        Ok((images, labels.collect(), seed))
    }
}

/// How long and how fast a model is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Length {
    /// Updates.
    pub steps: usize,
    /// Images per update.
    pub batch: usize,
    /// The learning rate.
    pub schedule: Schedule,
}

impl Length {
    /// Up to `rate` over 5 % of the steps, then half a cosine to 0.
    pub(crate) fn new(steps: usize, batch: usize, rate: f64) -> Self {
        Self {
            steps,
            batch,
            schedule: Schedule::cosine(rate, steps / 20, steps).starting_at(0.0),
        }
    }

    /// The published epochs over `images`, at published rates.
    pub(crate) fn published(rates: &EpochSchedule, images: usize, batch: usize) -> Result<Self> {
        let epoch = images / batch.max(1);
        Ok(Self {
            steps: (rates.epochs * epoch as f64).round() as usize,
            batch,
            schedule: rates.steps(epoch)?,
        })
    }

    /// Logs about 100 lines, writes few checkpoints.
    pub(crate) fn fit(&self) -> FitConfig {
        FitConfig {
            log_every: (self.steps / 100).max(1),
            evaluate_every: 0,
            checkpoint_every: (self.steps / 4).max(1),
            keep_checkpoints: 1,
            ..FitConfig::new(self.steps)
        }
    }
}

/// How a linear layer is probed with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) enum Protocol {
    /// So many steps, each on all labelled images, which are encoded once.
    Whole(usize),
    /// The published run: batches that are cropped and mirrored anew at every step.
    Published(ProbingConfig),
}

/// A metric of every logged step.
pub(crate) type Curve = Vec<(f64, f64)>;

/// Trains a model in the folder `name` of the run; the model without autodiff, and its loss by
/// step.
pub(crate) fn fit<M>(
    context: &Context,
    name: &str,
    setup: &impl Serialize,
    procedure: Supervised<'_, M>,
    fit: &FitConfig,
    progress: &Progress,
) -> Result<(M, Curve)>
where
    M: LearnerModel + TrainStep<Output = Scalars>,
{
    let mut procedure = procedure;
    let curve = follow(context, name, setup, &mut procedure, fit, progress)?;
    Ok((procedure.trained()?, curve))
}

fn follow(
    context: &Context,
    name: &str,
    setup: &impl Serialize,
    procedure: &mut impl Procedure,
    fit: &FitConfig,
    progress: &Progress,
) -> Result<Curve> {
    let run = Run::create(&context.out.join(name), setup, context.resume)?;
    run.fit(procedure, fit, &progress.labelled(name))?;
    let history = run.history()?;
    Ok(history
        .iter()
        .filter(|record| record.split == Split::Train)
        .filter_map(|record| Some((record.step as f64, record.metrics.get("loss")?)))
        .collect())
}

/// The features that a probe looks at, of all `images`, `[images, dim]`.
fn features(encoder: &Encoder, images: &Images, device: &Device) -> Result<Tensor<2>> {
    let indices: Vec<usize> = (0..images.len()).collect();
    let parts: Result<Vec<_>> = indices
        .chunks(EVALUATION_BATCH)
        .map(|chunk| probed(encoder, images.batch(chunk, Seed(0), device)?))
        .collect();
    Ok(Tensor::cat(parts?, 0))
}

/// The share, in percent, of `test` that a linear probe of `encoder` (without autodiff), trained on
/// all of `labelled`, gets right.
pub(crate) fn probe(
    context: &Context,
    name: &str,
    encoder: &Encoder,
    [labelled, test]: [&Images; 2],
    protocol: &Protocol,
    seed: Seed,
    progress: &Progress,
) -> Result<f64> {
    let device = &context.device;
    let classes = labelled.class_names().len();
    let tracked = device.clone().autodiff();
    let (dim, side) = (encoder.config().dim, encoder.config().image);
    let head = menagerie_train::initialise(&tracked, seed.stream("probe"), || {
        ProbeHead::new(dim, classes, &tracked)
    })?;
    let (steps, mut probing) = match protocol {
        Protocol::Whole(steps) => {
            let all = LabelledFeatures {
                features: features(encoder, labelled, device)?,
                labels: ints(labelled.labels(), device),
            };
            let batch = move |_: usize, _: &Device| Ok(all.clone());
            let schedule = Schedule::cosine(PROBE_RATE, steps / 10, *steps).starting_at(0.0);
            let probing = Probing::new(head, Lars::new(), schedule, batch)?;
            (*steps, probing)
        }
        Protocol::Published(config) => {
            let cropped = labelled.with_augmentation(Augmentation::linear_probe(side))?;
            let length = Length::published(&config.schedule(), cropped.len(), config.batch)?;
            let encoder = encoder.clone();
            let mut batches = Batches::new(cropped, length.batch, seed.stream("probing"))?;
            let batch = move |step: usize, device: &Device| {
                let (images, labels, _) = batches.at(step, device)?;
                Ok(LabelledFeatures {
                    features: probed(&encoder, images)?,
                    labels: ints(&labels, device),
                })
            };
            let probing = Probing::new(head, config.lars, length.schedule, batch)?;
            (length.steps, probing)
        }
    };
    let setup = (seed, labelled.len(), dim, protocol);
    let fit = FitConfig {
        checkpoint_every: 0,
        evaluate_every: 0,
        log_every: (steps / 100).max(1),
        ..FitConfig::new(steps)
    };
    follow(context, name, &setup, &mut probing, &fit, progress)?;
    let scores = probing.trained()?.forward(features(encoder, test, device)?);
    percent(scores, test.labels(), device)
}

/// The share, in percent, of `test` that `model` gets right after training on `labelled`.
pub(crate) fn fine_tune(
    context: &Context,
    name: &str,
    model: Classifier,
    [labelled, test]: [&Images; 2],
    (config, length): (&FinetuningConfig, &Length),
    seed: Seed,
    progress: &Progress,
) -> Result<f64> {
    let classifier = model.config().clone();
    let mut batches = Batches::new(labelled.clone(), length.batch, seed.stream("fine-tuning"))?;
    let batch = |step: usize, device: &Device| {
        let (images, labels, seed) = batches.at(step, device)?;
        config.prepare(&classifier, images, &labels, seed)
    };
    let optimiser = config.optimizer(&model)?;
    let rates: Rates = config.rates(&model, length.schedule.clone())?;
    let setup = (seed, length, config, &classifier, labelled.len());
    let procedure = Supervised::new(model, optimiser, rates, batch);
    let (model, _) = fit(context, name, &setup, procedure, &length.fit(), progress)?;
    let device = &context.device;
    let indices: Vec<usize> = (0..test.len()).collect();
    let scores: Result<Vec<_>> = indices
        .chunks(EVALUATION_BATCH)
        .map(|chunk| model.forward(test.batch(chunk, Seed(0), device)?, &[]))
        .collect();
    percent(Tensor::cat(scores?, 0), test.labels(), device)
}

/// The share, in percent, of rows of scores whose largest is at the label.
fn percent(scores: Tensor<2>, labels: &[usize], device: &Device) -> Result<f64> {
    let predicted = scores.argmax(1).squeeze_dim::<1>(1);
    let right = predicted.equal(ints(labels, device)).float().mean();
    let share = right
        .try_into_scalar::<f64>()
        .map_err(|error| Error::other("reading an accuracy", error))?;
    Ok(100.0 * share)
}

fn ints(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.iter().map(|value| *value as i64).collect();
    Tensor::from_data(values.as_slice(), device)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Stripes of two kinds with noise, as grey images of 28×28.
    pub(crate) fn stripes(count: usize) -> ImageSet {
        use rand::RngExt;
        let mut rng = Seed(1).rng();
        let labels: Vec<usize> = (0..count).map(|index| index % 2).collect();
        let mut pixels = Vec::new();
        for label in &labels {
            for at in 0..784usize {
                let line = [at / 28, at % 28][*label];
                let bright = line / 4 % 2 == 0;
                pixels.push(if bright { 200 } else { 20 } + rng.random_range(0..40u8));
            }
        }
        let names = ["rows", "columns"].map(String::from).to_vec();
        ImageSet::new(pixels, [1, 28, 28], labels, names).unwrap()
    }

    #[test]
    fn padding_puts_an_image_in_the_middle() {
        let device = Device::default();
        let images = Images::padded(stripes(2), 32).unwrap();
        let batch = images.batch(&[1], Seed(0), &device).unwrap();
        assert_eq!(batch.dims(), [1, 3, 32, 32]);
        let tile = &images.tiles(batch).unwrap()[0];
        assert!(tile[..64].iter().all(|pixel| pixel.abs() < 1e-6));
        let stored = f32::from(images.set.image(1).unwrap()[0]) / 255.0;
        assert!((tile[2 * 32 + 2] - stored).abs() < 1e-5);
        assert!(Images::padded(stripes(2), 20).is_err());
    }
}
