//! Training: gradients of a batch, taken apart at the solve, and the loop's procedure.

use super::config::TrainingConfig;
use super::conv::{ConvDynamics, ConvNeuralOde, Statistics};
use super::latent::{LatentOde, Series};
use super::model::NeuralOde;
use super::moments::Moments;
use super::objective::{self, Learning, accuracy, cross_entropy, draw_time, number};
use super::sde::NeuralSde;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::noise::draw_normal;
use menagerie_nn::ode::{ModuleField, Outputs};
use menagerie_train::{Metrics, Procedure, Scalars, load_module, non_finite, save_module};
use std::path::Path;

/// Gradients of a batch, and its numbers.
#[derive(Debug)]
pub struct Learned {
    /// Of the loss and the weighted regulariser, with respect to all parameters.
    pub gradients: GradientsParams,
    /// `loss`, of which the weighted `regularizer` is a part, `evaluations` of the field by the solve,
    /// and what the model reports.
    pub numbers: Numbers,
}

/// Numbers by name, in the order in which they are reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers(Vec<(&'static str, f64)>);

impl Numbers {
    fn with(mut self, name: &'static str, value: f64) -> Self {
        self.0.push((name, value));
        self
    }

    /// The number of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

/// A model that is trained by the gradients of batches. A solve is no part of a graph: gradients are
/// taken back to its end, through it by an adjoint, and on from its start.
pub trait Trainable: Module {
    /// Examples.
    type Batch;

    /// Loss and gradients of a batch; the model must have autodiff.
    ///
    /// # Errors
    /// If the batch does not fit or the solve fails.
    fn learn(&self, batch: &Self::Batch, learning: &Learning) -> Result<Learned>;
}

/// Rows with classes.
#[derive(Clone, Debug)]
pub struct Labelled<const D: usize> {
    /// Images: `[batch, inputs]`, or `[batch, channels, side, side]`.
    pub images: Tensor<D>,
    /// Classes, `[batch]`.
    pub labels: Tensor<1, Int>,
}

/// Gradients of a loss of the state at the end: of the loss, of that state, and of parameters.
struct Head<const D: usize> {
    loss: f64,
    numbers: Numbers,
    end: Tensor<D>,
    gradients: GradientsParams,
}

/// The cross-entropy of what `classify` makes of states at the end.
fn head<const D: usize, M: Module>(
    module: &M,
    end: Tensor<D>,
    labels: &Tensor<1, Int>,
    classify: impl Fn(Tensor<D>) -> Tensor<2>,
) -> Head<D> {
    let end = end.inner().autodiff().require_grad();
    let logits = classify(end.clone());
    let loss = cross_entropy(logits.clone(), labels.clone());
    let entropy = number(loss.clone());
    let numbers = Numbers::default()
        .with("cross-entropy", entropy)
        .with("accuracy", accuracy(logits, labels.clone().inner()));
    let mut found = loss.backward();
    let gradient = end.grad_remove(&mut found);
    Head {
        loss: entropy,
        numbers,
        end: gradient.unwrap_or_else(|| end.inner().zeros_like()),
        gradients: GradientsParams::from_grads(found, module),
    }
}

/// Puts the numbers of a solve in front of those of its head.
fn numbers(head: Numbers, loss: f64, [value, weight]: [f64; 2], evaluations: usize) -> Numbers {
    let mut all = Numbers::default()
        .with("loss", loss + weight * value)
        .with("regularizer", value)
        .with("evaluations", evaluations as f64);
    all.0.extend(head.0);
    all
}

/// Adds up gradients of parts of a module.
fn together<M: Module>(module: &M, parts: Vec<GradientsParams>) -> GradientsParams {
    let mut sum = GradientsAccumulator::new();
    for part in parts {
        sum.accumulate(module, part);
    }
    sum.grads()
}

impl Trainable for NeuralOde {
    type Batch = Labelled<2>;

    fn learn(&self, batch: &Labelled<2>, learning: &Learning) -> Result<Learned> {
        let (field, solver) = (self.dynamics.field(), self.config().solver.tsit5());
        let forward = self.forward_train(batch.images.clone(), learning)?;
        let end = forward.solution.end.state().clone();
        let head = head(self, end, &batch.labels, |end| self.classify(end));
        let outputs = Outputs::end(head.end);
        let (_, mut parts, backward) = forward.backward(&solver, &field, outputs, learning)?;
        parts.push(head.gradients);
        let evaluations = forward.solution.evaluations();
        let found = numbers(
            head.numbers,
            head.loss,
            [forward.value, learning.weight],
            evaluations,
        );
        Ok(Learned {
            gradients: together(self, parts),
            numbers: found.with("evaluations of the adjoint", backward as f64),
        })
    }
}

impl Trainable for NeuralSde {
    type Batch = Labelled<2>;

    fn learn(&self, batch: &Labelled<2>, learning: &Learning) -> Result<Learned> {
        let first = self.states(batch.images.clone())?;
        let forward = self.forward_train(first.clone().inner(), learning)?;
        let end = forward.solution.end.clone();
        let head = head(self, end, &batch.labels, |end| self.classifier.forward(end));
        let (by_first, dynamics) = self.backward(&forward.solution, head.end)?;
        let encoder = (first * by_first.autodiff()).sum().backward();
        let mut parts = vec![
            head.gradients,
            dynamics,
            GradientsParams::from_grads(encoder, self),
        ];
        parts.extend(forward.gradients);
        let evaluations = forward.solution.evaluations();
        Ok(Learned {
            gradients: together(self, parts),
            numbers: numbers(
                head.numbers,
                head.loss,
                [forward.value, learning.weight],
                evaluations,
            ),
        })
    }
}

impl Trainable for ConvNeuralOde {
    type Batch = Labelled<4>;

    fn learn(&self, batch: &Labelled<4>, learning: &Learning) -> Result<Learned> {
        let first = self.states(batch.images.clone(), true)?;
        let forward = self.forward_train(first.clone(), learning)?;
        self.note(&forward);
        let forward = forward.regularized;
        let field = ModuleField::new(&self.dynamics, |dynamics: &ConvDynamics, u, t| {
            dynamics.forward(u, t, Statistics::Batch(None))
        });
        let solver = self.config().solver.tsit5();
        let end = forward.solution.end.clone();
        let head = head(self, end, &batch.labels, |end| self.classify(end));
        let outputs = Outputs::end(head.end);
        let (by_first, mut parts, _) = forward.backward(&solver, &field, outputs, learning)?;
        let augment = (first * by_first.autodiff()).sum().backward();
        parts.push(GradientsParams::from_grads(augment, self));
        parts.push(head.gradients);
        let evaluations = forward.solution.evaluations();
        Ok(Learned {
            gradients: together(self, parts),
            numbers: numbers(
                head.numbers,
                head.loss,
                [forward.value, learning.weight],
                evaluations,
            ),
        })
    }
}

impl LatentOde {
    /// Loss and gradients with given standard normal draws `[batch, node]` and a given weight of the
    /// divergence.
    ///
    /// # Errors
    /// If the series do not fit or the solve fails.
    pub fn learn_with(
        &self,
        series: &Series,
        draws: Tensor<2>,
        weight: f64,
        learning: &Learning,
    ) -> Result<Learned> {
        let encoding = self.encode(series)?;
        let first = Self::sample(&encoding, draws.inner().autodiff());
        let forward = self.forward_train(first.clone(), series, learning)?;
        let (field, solver) = (self.field(), self.config().solver.tsit5());
        let latents = Tensor::stack::<3>(forward.solution.saved.clone(), 1);
        let latents = latents.autodiff().require_grad();
        let predicted = self.decode(latents.clone());
        // The divergence does not depend on the states: it is differentiated with the encoder.
        let fixed = super::Encoding {
            states: Vec::new(),
            mu: encoding.mu.clone().inner(),
            logvar: encoding.logvar.clone().inner(),
        };
        let elbo = self.elbo(series, &fixed, predicted.clone(), weight);
        let loss = number(elbo.loss.clone());
        let dtype = predicted.dtype();
        let [data, mask] = [&series.data, &series.mask].map(|x| x.clone().inner().cast(dtype));
        let error = objective::masked_error(predicted.clone().inner(), data, mask);
        let mut found = elbo.loss.backward();
        let by_latents = latents.grad_remove(&mut found);
        let by_latents = by_latents.unwrap_or_else(|| latents.inner().zeros_like());
        let decoder = GradientsParams::from_grads(found, self);

        let [batch, times, node] = by_latents.dims();
        let at = |time: usize| {
            let part = by_latents.clone();
            let part = part.slice([0..batch, time..time + 1, 0..node]);
            part.reshape([batch, node])
        };
        let outputs = Outputs::saved((0..times).map(at).collect());
        let (by_first, mut parts, _) = forward.backward(&solver, &field, outputs, learning)?;
        let divergence = objective::divergence(encoding.mu, encoding.logvar);
        let encoder = (first * by_first.autodiff()).sum() + divergence.mean() * weight;
        parts.push(GradientsParams::from_grads(encoder.backward(), self));
        parts.push(decoder);
        let found = Numbers::default()
            .with("log-likelihood", number(elbo.likelihood.inner().mean()))
            .with("divergence", number(elbo.divergence.inner().mean()))
            .with("squared error", number(error));
        Ok(Learned {
            gradients: together(self, parts),
            numbers: numbers(
                found,
                loss,
                [forward.value, learning.weight],
                forward.solution.evaluations(),
            ),
        })
    }
}

impl Trainable for LatentOde {
    type Batch = Series;

    fn learn(&self, series: &Series, learning: &Learning) -> Result<Learned> {
        let [batch, ..] = series.data.dims();
        let shape = [batch, self.config().node];
        let device = series.data.device().without_autodiff();
        let draws = draw_normal(shape, learning.seed.stream("state"), &device);
        let weight = objective::divergence_weight(learning.step);
        self.learn_with(series, draws, weight, learning)
    }
}

/// What an evaluation computes from the model without autodiff.
type Evaluate<'a, M> = Box<dyn FnMut(&M, usize) -> Result<Metrics> + 'a>;
/// The batch of a step.
type Batches<'a, M> = Box<dyn FnMut(usize, &Device) -> Result<<M as Trainable>::Batch> + 'a>;

/// Trains a model step by step; a failed solve ends the training with its error.
pub struct Fit<'a, M: Trainable> {
    model: Option<M>,
    config: TrainingConfig,
    updates: Moments,
    batches: Batches<'a, M>,
    evaluate: Option<Evaluate<'a, M>>,
    device: Device,
}

impl<'a, M: Trainable> Fit<'a, M> {
    /// A model with autodiff, how it is trained, and the batch of every step.
    ///
    /// # Errors
    /// As [`TrainingConfig::validate`], and [`Error::Input`] for a model without parameters.
    pub fn new(
        model: M,
        config: &TrainingConfig,
        batches: impl FnMut(usize, &Device) -> Result<M::Batch> + 'a,
    ) -> Result<Self> {
        config.validate()?;
        let Some(device) = model.devices().into_iter().next() else {
            return Err(Error::input("the model", "empty", "must have parameters"));
        };
        Ok(Self {
            model: Some(model),
            config: config.clone(),
            updates: Moments::new(config.optimizer),
            batches: Box::new(batches),
            evaluate: None,
            device: device.without_autodiff(),
        })
    }

    /// Measures the model, without autodiff, during training.
    #[must_use]
    pub fn evaluating(mut self, evaluate: impl FnMut(&M, usize) -> Result<Metrics> + 'a) -> Self {
        self.evaluate = Some(Box::new(evaluate));
        self
    }

    fn model(&self) -> Result<&M> {
        self.model.as_ref().ok_or_else(lost)
    }

    /// The model as it is, without autodiff.
    ///
    /// # Errors
    /// If a step failed half-way and left no model.
    pub fn trained(&self) -> Result<M> {
        Ok(self.model()?.valid())
    }
}

fn lost() -> Error {
    Error::other("training", "an earlier step failed and left no model")
}

impl<M: Trainable> Procedure for Fit<'_, M> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        let batch = (self.batches)(step, &self.device)?;
        let seed = Seed(self.config.seed).stream("learning").at(step as u64);
        let regularizer = self.config.regularizer;
        let learning = Learning {
            weight: regularizer.weight_at(step, self.config.steps),
            adjoint: self.config.adjoint,
            time: draw_time(seed),
            regularizer,
            step,
            seed,
        };
        let learned = self.model()?.learn(&batch, &learning)?;
        let rate = self.config.rate_at(step);
        let model = self.model.take().ok_or_else(lost)?;
        self.model = Some(self.updates.step(rate, model, learned.gradients));
        let numbers = learned.numbers.0.into_iter();
        Ok(numbers.fold(Scalars::new(), |all, (name, value)| {
            all.with_value(name, value)
        }))
    }

    fn evaluate(&mut self, step: usize) -> Result<Metrics> {
        match self.evaluate.take() {
            None => Ok(Metrics::new()),
            Some(mut evaluate) => {
                let metrics = evaluate(&self.trained()?, step);
                self.evaluate = Some(evaluate);
                metrics
            }
        }
    }

    fn non_finite(&self) -> Result<Option<(String, f64)>> {
        non_finite(self.model()?)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        save_module(self.model()?, &folder.join("model.bpk"))?;
        self.updates.save(&folder.join("optimiser.safetensors"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let model = self.model.take().ok_or_else(lost)?;
        self.model = Some(load_module(model, &folder.join("model.bpk"))?);
        let path = folder.join("optimiser.safetensors");
        self.updates.load(&path, &self.device)
    }
}

/// Flat labelled images in memory.
#[derive(Clone, Debug)]
pub struct LabelledRows {
    values: Vec<f32>,
    width: usize,
    labels: Vec<usize>,
}

impl LabelledRows {
    /// Rows of `width` values one after the other, and their classes.
    ///
    /// # Errors
    /// [`Error::Input`] if the values are not those of as many rows as there are labels, or there are
    /// none.
    pub fn new(values: Vec<f32>, width: usize, labels: Vec<usize>) -> Result<Self> {
        if labels.is_empty() || values.len() != width * labels.len() {
            let rule = format!("must be {width} for each of {} labels", labels.len());
            return Err(Error::input("the number of values", values.len(), rule));
        }
        Ok(Self {
            values,
            width,
            labels,
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never: at least one row is there.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The rows at these places on a device.
    ///
    /// # Panics
    /// If a place lies beyond the last row.
    pub fn batch(&self, places: &[usize], device: &Device) -> Labelled<2> {
        let mut values = Vec::with_capacity(self.width * places.len());
        for at in places {
            values.extend_from_slice(&self.values[at * self.width..(at + 1) * self.width]);
        }
        let labels: Vec<i64> = places.iter().map(|at| self.labels[*at] as i64).collect();
        let count = places.len();
        Labelled {
            images: Tensor::from_data(TensorData::new(values, [count, self.width]), device),
            labels: Tensor::from_data(TensorData::new(labels, [count]), device),
        }
    }

    /// All rows.
    pub fn all(&self, device: &Device) -> Labelled<2> {
        let places: Vec<usize> = (0..self.len()).collect();
        self.batch(&places, device)
    }
}
