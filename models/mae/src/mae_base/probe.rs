//! Linear probing: a linear layer on the class token of a frozen encoder.

use super::classifier::class_token;
use super::config::VitConfig;
use super::encoder::{Encoder, Start};
use super::lars::Lars;
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, activation::softmax};
use menagerie_core::{Error, Result};
use menagerie_nn::transformer::cross_entropy;
use menagerie_nn::vit::{Linear, LinearConfig};
use menagerie_train::{
    Metrics, Procedure, Scalars, Schedule, load_module, load_optimiser, save_module, save_optimiser,
};
use std::path::Path;

/// Added to the variance of a feature.
const EPSILON: f64 = 1e-6;
/// The share of a batch in the running moments.
const MOMENTUM: f64 = 0.1;

/// How a linear layer is probed with.
#[derive(Config, Debug, PartialEq)]
pub struct ProbingConfig {
    /// Learning rate for 256 images; the peak is that times `batch / 256`.
    #[config(default = 0.1)]
    pub base_rate: f64,
    /// Images per update.
    #[config(default = 16384)]
    pub batch: usize,
    /// Passes over the images.
    #[config(default = 90.0)]
    pub epochs: f64,
    /// Passes of linear warm-up.
    #[config(default = 10.0)]
    pub warmup: f64,
    /// LARS.
    #[config(default = "Lars::new()")]
    pub lars: Lars,
}

impl ProbingConfig {
    /// The rate over epochs.
    pub fn schedule(&self) -> super::EpochSchedule {
        let peak = self.base_rate * self.batch as f64 / 256.0;
        super::EpochSchedule::new(peak, self.epochs, self.warmup)
    }
}

/// Features standardised over the batch (batch normalisation without gain and bias), then a linear
/// layer.
#[derive(Module, Debug)]
pub struct ProbeHead {
    /// Running mean of the features, `[dim]`.
    pub running_mean: Param<Tensor<1>>,
    /// Running unbiased variance of the features, `[dim]`.
    pub running_var: Param<Tensor<1>>,
    /// To class scores.
    pub linear: Linear,
}

impl ProbeHead {
    /// Running moments 0 and 1, weights from N(0, 0.01²).
    ///
    /// # Errors
    /// [`Error::Input`] for no features or fewer than two classes.
    pub fn new(dim: usize, classes: usize, device: &Device) -> Result<Self> {
        if dim == 0 || classes < 2 {
            let rule = "needs at least one feature and two classes";
            return Err(Error::input("a probe", [dim, classes], rule));
        }
        let initializer = Initializer::Normal {
            mean: 0.0,
            std: 0.01,
        };
        let frozen = |start: Initializer| start.init::<1, _>([dim], device).set_require_grad(false);
        Ok(Self {
            running_mean: frozen(Initializer::Zeros),
            running_var: frozen(Initializer::Ones),
            linear: LinearConfig {
                initializer,
                ..LinearConfig::new(dim, classes)
            }
            .init(device),
        })
    }

    /// Class scores `[batch, classes]` of features `[batch, dim]` by the running moments.
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let mean = self.running_mean.val().unsqueeze::<2>();
        let variance = self.running_var.val().unsqueeze::<2>();
        self.linear
            .forward((features - mean) / (variance + EPSILON).sqrt())
    }

    /// Class scores `[batch, classes]` of features `[batch, dim]` by the moments of the batch, as in
    /// training.
    pub fn forward_batch(&self, features: Tensor<2>) -> Tensor<2> {
        let (variance, mean) = features.clone().var_mean_bias(0);
        self.linear
            .forward((features - mean) / (variance + EPSILON).sqrt())
    }

    /// The head after its running moments took in a batch of features `[batch, dim]`.
    pub fn observed(mut self, features: Tensor<2>) -> Self {
        let (variance, mean) = features.without_autodiff().var_mean(0);
        let mix = |running: Param<Tensor<1>>, new: Tensor<2>| {
            running.map(|running| {
                let device = running.device();
                let new = new.squeeze_dim::<1>(0).to_device(&device);
                running * (1.0 - MOMENTUM) + new * MOMENTUM
            })
        };
        self.running_mean = mix(self.running_mean, mean);
        self.running_var = mix(self.running_var, variance);
        self
    }
}

/// A frozen encoder with a probe.
#[derive(Module, Debug)]
pub struct LinearProbe {
    /// The encoder with its last norm.
    pub encoder: Encoder,
    /// The probe.
    pub head: ProbeHead,
}

impl LinearProbe {
    /// An encoder of `config` with freshly drawn weights, to load others into, and a new probe.
    ///
    /// # Errors
    /// What [`VitConfig::validate`] and [`ProbeHead::new`] report.
    pub fn new(config: &VitConfig, classes: usize, device: &Device) -> Result<Self> {
        Ok(Self {
            encoder: config.init(Start::Pretraining, true, device)?,
            head: ProbeHead::new(config.dim, classes, device)?,
        })
    }

    /// What is probed of images `[batch, channels, height, width]`: the class token after the last
    /// norm, `[batch, dim]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured size.
    pub fn features(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        probed(&self.encoder, images)
    }

    /// Class probabilities `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are not of the configured size.
    pub fn classify(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        Ok(softmax(self.head.forward(self.features(images)?), 1))
    }
}

/// The class token that `encoder` makes of images `[batch, channels, height, width]`: `[batch,
/// dim]`.
///
/// # Errors
/// [`Error::Input`] if the images are not of the configured size.
pub fn probed(encoder: &Encoder, images: Tensor<4>) -> Result<Tensor<2>> {
    Ok(class_token(encoder.forward(images, None, &[])?))
}

/// Features with their classes.
#[derive(Clone, Debug)]
pub struct LabelledFeatures {
    /// `[batch, dim]`.
    pub features: Tensor<2>,
    /// `[batch]`.
    pub labels: Tensor<1, Int>,
}

/// The features of a step, on the given device.
type Batch<'a> = Box<dyn FnMut(usize, &Device) -> Result<LabelledFeatures> + 'a>;
/// What is measured of a head during training.
type Evaluate<'a> = Box<dyn FnMut(&ProbeHead, usize) -> Result<Metrics> + 'a>;

/// Trains a probe on features with LARS; the encoder that made them is not touched.
pub struct Probing<'a> {
    head: Option<ProbeHead>,
    optimiser: ModuleOptimizer,
    schedule: Schedule,
    device: Device,
    batch: Batch<'a>,
    evaluate: Option<Evaluate<'a>>,
}

impl<'a> Probing<'a> {
    /// A head on a device with autodiff, its optimiser and rates, and the features of each step.
    ///
    /// # Errors
    /// What [`Lars::validate`] and [`Schedule::validate`] report.
    pub fn new(
        head: ProbeHead,
        lars: Lars,
        schedule: impl Into<Schedule>,
        batch: impl FnMut(usize, &Device) -> Result<LabelledFeatures> + 'a,
    ) -> Result<Self> {
        lars.validate()?;
        let schedule = schedule.into();
        schedule.validate()?;
        Ok(Self {
            device: head.linear.weight.lazy_device().without_autodiff(),
            head: Some(head),
            optimiser: lars.into(),
            schedule,
            batch: Box::new(batch),
            evaluate: None,
        })
    }

    /// Measures the head, without autodiff, during training.
    pub fn evaluating(
        mut self,
        evaluate: impl FnMut(&ProbeHead, usize) -> Result<Metrics> + 'a,
    ) -> Self {
        self.evaluate = Some(Box::new(evaluate));
        self
    }

    /// The head in its present state, without autodiff.
    ///
    /// # Errors
    /// If a step failed half-way and left no head.
    pub fn trained(&self) -> Result<ProbeHead> {
        Ok(self.head()?.valid())
    }

    fn head(&self) -> Result<&ProbeHead> {
        self.head.as_ref().ok_or_else(lost)
    }
}

impl Procedure for Probing<'_> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        let LabelledFeatures { features, labels } = (self.batch)(step, &self.device)?;
        let dim = self.head()?.running_mean.lazy_shape().dims::<1>()[0];
        check(&features, &labels, dim)?;
        let head = self.head.take().ok_or_else(lost)?;
        let logits = head.forward_batch(features.clone().autodiff());
        let loss = cross_entropy(logits, labels).mean();
        let scalars = Scalars::new().with("loss", loss.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &head);
        let head = self.optimiser.step(self.schedule.at(step), head, gradients);
        self.head = Some(head.observed(features));
        Ok(scalars)
    }

    fn evaluate(&mut self, step: usize) -> Result<Metrics> {
        let head = self.trained()?;
        match &mut self.evaluate {
            Some(evaluate) => evaluate(&head, step),
            None => Ok(Metrics::new()),
        }
    }

    fn save(&self, folder: &Path) -> Result<()> {
        save_module(self.head()?, &folder.join("head.bpk"))?;
        save_optimiser(&self.optimiser, &folder.join("optimiser.bpk"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let head = self.head.take().ok_or_else(lost)?;
        self.head = Some(load_module(head, &folder.join("head.bpk"))?);
        self.optimiser = load_optimiser(self.optimiser.clone(), &folder.join("optimiser.bpk"))?;
        Ok(())
    }
}

/// Refuses a batch that has no variance, or whose sizes do not fit.
fn check(features: &Tensor<2>, labels: &Tensor<1, Int>, dim: usize) -> Result<()> {
    let shape @ [batch, found] = features.dims();
    if found != dim || batch < 2 {
        let rule = format!("must be [batch, {dim}] with at least two images, for their variance");
        return Err(Error::input("features", shape, rule));
    }
    let labels = labels.dims()[0];
    if labels != batch {
        let rule = format!("must be one for each of {batch} images");
        return Err(Error::input("the number of labels", labels, rule));
    }
    Ok(())
}

fn lost() -> Error {
    Error::other(
        "probing",
        "an earlier step failed half-way: start again from the last checkpoint",
    )
}
