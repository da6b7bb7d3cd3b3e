//! Training: the U-Net as a denoiser, heads on frozen features, both together.

use super::heads::Head;
use super::model::{Denoiser, DiffusionClassifier};
use super::objective::{LabelledFeatures, NoisyImages, classification};
use burn::config::Config;
use burn::optim::{ModuleOptimizer, SgdConfig};
use burn::tensor::{Int, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use menagerie_core::{Error, Result};
use menagerie_nn::diffusion::Losses;
use menagerie_train::{Decay, Scalars, Schedule};

impl Denoiser {
    fn scalars(losses: &Losses) -> (Tensor<1>, Scalars) {
        let total = losses.total.clone().mean();
        let scalars = Scalars::new()
            .with("loss", total.clone())
            .with("mse", losses.mse.clone().mean());
        let scalars = match &losses.bound {
            Some(bound) => scalars.with("bound", bound.clone().mean()),
            None => scalars,
        };
        (total, scalars)
    }

    fn step_losses(&self, batch: NoisyImages) -> Losses {
        match self.loss(batch) {
            Ok(losses) => losses,
            Err(error) => panic!("{error}"),
        }
    }
}

impl TrainStep for Denoiser {
    type Input = NoisyImages;
    type Output = Scalars;

    /// # Panics
    /// If the batch does not fit; see [`Denoiser::loss`].
    fn step(&self, batch: NoisyImages) -> TrainOutput<Scalars> {
        let (total, scalars) = Self::scalars(&self.step_losses(batch));
        TrainOutput::new(self, total.backward(), scalars)
    }
}

impl InferenceStep for Denoiser {
    type Input = NoisyImages;
    type Output = Scalars;

    /// # Panics
    /// If the batch does not fit; see [`Denoiser::loss`].
    fn step(&self, batch: NoisyImages) -> Scalars {
        Self::scalars(&self.step_losses(batch)).1
    }
}

/// How heads are trained: stochastic gradient descent without momentum or decay.
#[derive(Config, Debug, PartialEq)]
pub struct HeadTrainingConfig {
    /// The learning rate of the first epochs.
    pub rate: f64,
    /// Passes over the images.
    #[config(default = 28)]
    pub epochs: usize,
    /// Images of a step, over all devices.
    #[config(default = 128)]
    pub batch: usize,
    /// Epochs after which the rate is divided by 10, again and again.
    #[config(default = 7)]
    pub drop_every: usize,
}

impl HeadTrainingConfig {
    const NAME: &str = "HeadTrainingConfig";

    /// The linear head: 0.01.
    pub fn linear() -> Self {
        Self::new(1e-2)
    }

    /// The attention head: 0.05.
    pub fn attention() -> Self {
        Self::new(5e-2)
    }

    /// Head and network together: 0.001.
    pub fn fine_tuning() -> Self {
        Self::new(1e-3)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !self.rate.is_finite() || self.rate <= 0.0 {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "rate", self.rate, rule));
        }
        for (field, value) in [
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("drop_every", self.drop_every),
        ] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        Ok(())
    }

    /// The rate over the steps of a run with `epoch` steps per epoch.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn schedule(&self, epoch: usize) -> Result<Schedule> {
        self.validate()?;
        let drops = (1..).map(|drop| drop * self.drop_every);
        let drops = drops.take_while(|drop| *drop < self.epochs);
        Ok(Schedule {
            decay: Decay::Steps {
                milestones: drops.map(|drop| drop * epoch).collect(),
                factor: 0.1,
            },
            ..Schedule::constant(self.rate)
        })
    }

    /// The optimiser.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn optimizer(&self) -> Result<ModuleOptimizer> {
        self.validate()?;
        Ok(SgdConfig::new().init())
    }
}

/// A loss with what is logged of it.
fn logged((loss, accuracy): (Tensor<1>, Tensor<1>)) -> (Tensor<1>, Scalars) {
    let scalars = Scalars::new()
        .with("loss", loss.clone())
        .with("accuracy", accuracy);
    (loss, scalars)
}

impl Head {
    fn step_loss(&self, batch: LabelledFeatures) -> (Tensor<1>, Scalars) {
        match self.loss(batch) {
            Ok(loss) => logged(loss),
            Err(error) => panic!("{error}"),
        }
    }
}

impl TrainStep for Head {
    type Input = LabelledFeatures;
    type Output = Scalars;

    /// # Panics
    /// If the features are not those that the head was made for.
    fn step(&self, batch: LabelledFeatures) -> TrainOutput<Scalars> {
        let (loss, scalars) = self.step_loss(batch);
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for Head {
    type Input = LabelledFeatures;
    type Output = Scalars;

    /// # Panics
    /// If the features are not those that the head was made for.
    fn step(&self, batch: LabelledFeatures) -> Scalars {
        self.step_loss(batch).1
    }
}

/// Images with their classes, and the noise of each timestep.
#[derive(Clone, Debug)]
pub struct LabelledImages {
    /// `[batch, channels, height, width]`, in −1..1.
    pub images: Tensor<4>,
    /// Standard normal, in the shape of the images, one for each timestep.
    pub noise: Vec<Tensor<4>>,
    /// `[batch]`.
    pub labels: Tensor<1, Int>,
}

impl DiffusionClassifier {
    fn step_loss(&self, batch: LabelledImages) -> (Tensor<1>, Scalars) {
        match self.forward(batch.images, batch.noise) {
            Ok(logits) => logged(classification(logits, batch.labels)),
            Err(error) => panic!("{error}"),
        }
    }
}

impl TrainStep for DiffusionClassifier {
    type Input = LabelledImages;
    type Output = Scalars;

    /// # Panics
    /// If shapes do not fit.
    fn step(&self, batch: LabelledImages) -> TrainOutput<Scalars> {
        let (loss, scalars) = self.step_loss(batch);
        TrainOutput::new(self, loss.backward(), scalars)
    }
}

impl InferenceStep for DiffusionClassifier {
    type Input = LabelledImages;
    type Output = Scalars;

    /// # Panics
    /// If shapes do not fit.
    fn step(&self, batch: LabelledImages) -> Scalars {
        self.step_loss(batch).1
    }
}
