//! Training in two stages: representation, then adversarial fine-tuning of the decoder.

use super::bottleneck::{BottleneckDraw, Quantisation};
use super::config::Version;
use super::discriminator::Discriminator;
use super::layers::Statistics;
use super::loss::{
    GeneratorLoss, LossWeights, discriminator_loss, feature_weight, representation_loss,
    weighted_adversarial_loss,
};
use super::model::Rave;
use super::objective::SCALES;
use burn::config::Config;
use burn::module::Module as _;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::{
    Adam, AdamConfig, Metrics, Procedure, Scalars, Schedule, load_module, non_finite, save_module,
};
use std::path::Path;

/// The weight β of the divergence as a function of the step.
#[derive(Config, Debug, PartialEq, Copy)]
pub enum Beta {
    /// The same throughout.
    Constant(f64),
    /// From `from` to `to` over `steps` steps, straight in the logarithm, then `to`.
    WarmUp {
        /// At step 0.
        from: f64,
        /// At the end.
        to: f64,
        /// How long it takes.
        steps: usize,
    },
    /// Each `cycle` steps from `least` to `most` over the first half, straight in the logarithm, then
    /// `most` over the second.
    Cyclic {
        /// At the start of a cycle.
        least: f64,
        /// In its second half.
        most: f64,
        /// Steps of a cycle.
        cycle: usize,
    },
}

impl Beta {
    /// The weight at step `step`.
    pub fn at(self, step: usize) -> f64 {
        let ramp = |from: f64, to: f64, step: usize, steps: usize| {
            if step >= steps {
                return to;
            }
            let done = step as f64 / steps as f64;
            libm::exp(libm::log(from) * (1.0 - done) + libm::log(to) * done)
        };
        match self {
            Self::Constant(beta) => beta,
            Self::WarmUp { from, to, steps } => ramp(from, to, step, steps),
            Self::Cyclic { least, most, cycle } => ramp(least, most, step % cycle, cycle / 2),
        }
    }

    fn validate(self) -> Result<()> {
        let (low, high, steps) = match self {
            Self::Constant(beta) => {
                let fine = beta.is_finite() && beta >= 0.0;
                let rule = "must be finite and not negative";
                return match fine {
                    true => Ok(()),
                    false => Err(Error::config(RaveTrainingConfig::NAME, "beta", beta, rule)),
                };
            }
            Self::WarmUp { from, to, steps } => (from, to, steps),
            Self::Cyclic { least, most, cycle } => (least, most, cycle / 2),
        };
        if low > 0.0 && high >= low && high.is_finite() && steps > 0 {
            return Ok(());
        }
        let rule = "must grow from a positive number over at least one step";
        Err(Error::config(RaveTrainingConfig::NAME, "beta", self, rule))
    }
}

/// What is trained in the second stage.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum SecondStage {
    /// The decoder alone: the encoder's weights and statistics are frozen, as published.
    Decoder,
    /// Encoder and decoder, the ablation that the paper warns of.
    Both,
}

/// How to train.
#[derive(Config, Debug, PartialEq)]
pub struct RaveTrainingConfig {
    /// Steps in all.
    #[config(default = 3_000_000)]
    pub steps: usize,
    /// Steps of the first stage.
    #[config(default = 1_000_000)]
    pub warmup: usize,
    /// Signals per step.
    #[config(default = 8)]
    pub batch: usize,
    /// Samples per signal, a multiple of the hop.
    #[config(default = 65_536)]
    pub crop: usize,
    /// Learning rate of encoder and decoder.
    pub rate: Schedule,
    /// Learning rate of the discriminators.
    #[config(default = 1e-4)]
    pub discriminator_rate: f64,
    /// Decay of Adam's first moment.
    #[config(default = 0.5)]
    pub beta_1: f64,
    /// Decay of Adam's second moment.
    #[config(default = 0.9)]
    pub beta_2: f64,
    /// The weight of the divergence.
    #[config(default = "Beta::Constant(0.1)")]
    pub beta: Beta,
    /// Window lengths of the spectral distance.
    #[config(default = "SCALES.to_vec()")]
    pub scales: Vec<usize>,
    /// The weight of the features' distance.
    #[config(default = 10.0)]
    pub feature_matching: f64,
    /// In the second stage the last of so many steps is one of the discriminators, the others are of
    /// the generator.
    #[config(default = 2)]
    pub discriminator_every: usize,
    /// What is trained in the second stage.
    #[config(default = "SecondStage::Decoder")]
    pub second_stage: SecondStage,
    /// Weights of the losses' parts.
    #[config(default = "LossWeights::new()")]
    pub weights: LossWeights,
    /// The first step with codes in a discrete bottleneck (`warmup_quantize`).
    #[config(default = 0)]
    pub quantise_from: usize,
}

impl RaveTrainingConfig {
    const NAME: &str = "RaveTrainingConfig";

    /// The published training of V1: a million steps, then two million with discriminators.
    pub fn v1() -> Self {
        Self::new(Schedule::constant(1e-4))
    }

    /// The same for [`RaveConfig::v1_large`](super::RaveConfig::v1_large): three million of six.
    pub fn v1_large() -> Self {
        Self::v1().with_steps(6_000_000).with_warmup(3_000_000)
    }

    /// That of V2: a rate that falls from 1e-3 to 1e-4 over the first stage, a β that grows, and a
    /// step of the discriminators in every four.
    pub fn v2() -> Self {
        let warmup = 1_000_000;
        let rate = Schedule {
            decay: menagerie_train::Decay::Linear {
                steps: warmup,
                floor: 1e-4,
            },
            ..Schedule::constant(1e-3)
        };
        Self::new(rate)
            .with_beta(Beta::WarmUp {
                from: 1e-6,
                to: 5e-2,
                steps: 20_000,
            })
            .with_feature_matching(feature_weight(Version::V2))
            .with_discriminator_every(4)
    }

    /// That of [`RaveConfig::wasserstein`](super::RaveConfig::wasserstein): a weight of 100 for the
    /// discrepancy, and twice the weight of the distances. The released code applies the weight 2 of
    /// the discriminators' verdict twice, as it does that of the features' distance.
    pub fn wasserstein() -> Self {
        let mut config = Self::v2_short().with_beta(Beta::Constant(100.0));
        config.weights = LossWeights::new()
            .with_multiband(2.0)
            .with_fullband(2.0)
            .with_adversarial(4.0);
        config
    }

    /// That of [`RaveConfig::discrete`](super::RaveConfig::discrete): the encoder learns on in the
    /// second stage, as do its codebooks; all features are compared.
    pub fn discrete() -> Self {
        let mut config = Self::v2_short()
            .with_beta(Beta::Constant(0.1))
            .with_second_stage(SecondStage::Both);
        config.weights = LossWeights::new()
            .with_log_floor(1.0)
            .with_skipped_features(Some(0));
        config
    }

    /// V2 with a first stage of 200 000 steps.
    fn v2_short() -> Self {
        let warmup = 200_000;
        let mut config = Self::v2().with_warmup(warmup);
        config.rate.decay = menagerie_train::Decay::Linear {
            steps: warmup,
            floor: 1e-4,
        };
        config
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value, least) in [
            ("steps", self.steps, 1),
            ("batch", self.batch, 1),
            ("crop", self.crop, 1),
            ("discriminator_every", self.discriminator_every, 2),
        ] {
            if value < least {
                let rule = format!("must be at least {least}");
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        for (field, value) in [
            ("discriminator_rate", self.discriminator_rate),
            ("feature_matching", self.feature_matching),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                let rule = "must be finite and not negative";
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        if self.scales.is_empty() {
            let rule = "must name at least one window length";
            return Err(Error::config(Self::NAME, "scales", &self.scales, rule));
        }
        self.weights.validate()?;
        self.beta.validate()?;
        self.rate.validate()?;
        self.adam().validate()
    }

    fn adam(&self) -> AdamConfig {
        AdamConfig {
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            ..AdamConfig::default()
        }
    }
}

/// The batch of a step, `[batch, 1, time]`, on the given device.
type Batch<'a> = Box<dyn FnMut(usize, &Device) -> Result<Tensor<3>> + 'a>;
/// What an evaluation measures of the model without autodiff.
type Evaluate<'a> = Box<dyn FnMut(&Rave, usize) -> Result<Metrics> + 'a>;

/// A model in training, with its discriminators.
pub struct RaveTraining<'a> {
    model: Option<Rave>,
    discriminator: Option<Discriminator>,
    generator_adam: Adam,
    discriminator_adam: Adam,
    config: RaveTrainingConfig,
    seed: Seed,
    device: Device,
    batch: Batch<'a>,
    evaluate: Option<Evaluate<'a>>,
}

impl<'a> RaveTraining<'a> {
    /// Before the first step. Model and discriminators lie on `device`, which has autodiff; `batch`
    /// gives the audio of a step, and must depend on nothing but its number.
    ///
    /// # Errors
    /// What [`validate`](RaveTrainingConfig::validate) reports; [`Error::Input`] for a device
    /// without autodiff; [`Error::Config`] for a crop that is no multiple of the hop.
    pub fn new(
        model: Rave,
        discriminator: Discriminator,
        config: RaveTrainingConfig,
        seed: Seed,
        device: &Device,
        batch: impl FnMut(usize, &Device) -> Result<Tensor<3>> + 'a,
    ) -> Result<Self> {
        config.validate()?;
        if !device.is_autodiff() {
            let rule = "must have autodiff: `device.autodiff()`";
            return Err(Error::input("the device of a training", device, rule));
        }
        let hop = model.config().hop();
        if !config.crop.is_multiple_of(hop) {
            let rule = format!("must be a multiple of the model's hop, {hop}");
            let name = RaveTrainingConfig::NAME;
            return Err(Error::config(name, "crop", config.crop, rule));
        }
        Ok(Self {
            model: Some(model),
            discriminator: Some(discriminator),
            generator_adam: Adam::new(config.adam())?,
            discriminator_adam: Adam::new(config.adam())?,
            config,
            seed,
            device: device.clone(),
            batch: Box::new(batch),
            evaluate: None,
        })
    }

    /// Measures the model with `evaluate` where the run asks for it.
    pub fn evaluating(
        mut self,
        evaluate: impl FnMut(&Rave, usize) -> Result<Metrics> + 'a,
    ) -> Self {
        self.evaluate = Some(Box::new(evaluate));
        self
    }

    /// The model as it stands.
    ///
    /// # Errors
    /// If a step failed half-way and left none.
    pub fn model(&self) -> Result<&Rave> {
        self.model.as_ref().ok_or_else(lost)
    }

    /// The discriminators as they stand.
    ///
    /// # Errors
    /// If a step failed half-way and left none.
    pub fn discriminator(&self) -> Result<&Discriminator> {
        self.discriminator.as_ref().ok_or_else(lost)
    }

    /// The model to use, without autodiff.
    ///
    /// # Errors
    /// If a step failed half-way and left none.
    pub fn trained(&self) -> Result<Rave> {
        Ok(self.model()?.valid())
    }

    /// The random numbers of the bottleneck in step `step`, for an encoder's output of this shape.
    fn draw(
        &self,
        step: usize,
        [batch, _, frames]: [usize; 3],
        device: &Device,
    ) -> Result<BottleneckDraw> {
        let config = self.model()?.config();
        Ok(BottleneckDraw::new(
            config,
            [batch, frames],
            self.seed,
            step,
            device,
        ))
    }

    /// Whether step `step` leaves the encoder as it is.
    fn is_frozen(&self, step: usize) -> bool {
        step >= self.config.warmup && self.config.second_stage == SecondStage::Decoder
    }

    fn quantisation(&self, step: usize) -> Quantisation {
        match step {
            step if step < self.config.quantise_from => Quantisation::Off,
            step if self.is_frozen(step) => Quantisation::Fixed,
            _ => Quantisation::Learning,
        }
    }

    fn generator_loss(&self, step: usize, audio: Tensor<3>) -> Result<GeneratorLoss> {
        let model = self.model()?;
        let second = step >= self.config.warmup;
        let frozen = self.is_frozen(step);
        let subbands = model.pqmf().analysis(audio);
        let statistics = match frozen {
            true => Statistics::Running,
            false => Statistics::Batch,
        };
        let output = model.encoder.output(subbands.clone(), statistics);
        let shape = output.dims();
        let draw = self.draw(step, shape, &self.device)?;
        let found = model
            .encoder
            .regularise(output, &draw, self.quantisation(step));
        let (mut kl, mut latent) = (found.term, found.latent);
        if frozen {
            (kl, latent) = (kl.detach(), latent.detach());
        }
        let noise = match second {
            true => {
                let seed = self.seed.stream("noise").at(step as u64);
                model.draw_noise(shape[0], shape[2], seed, &self.device)
            }
            false => None,
        };
        let output = model.decoder.forward(latent, noise);
        let (scales, weights) = (&self.config.scales, &self.config.weights);
        let distance = model.weighted_distance(subbands, output, scales, weights)?;
        let beta = self.config.beta.at(step);
        Ok(match second {
            false => representation_loss(distance, kl, beta),
            true => {
                let nets = self.discriminator()?;
                let matching = self.config.feature_matching;
                weighted_adversarial_loss(distance, kl, beta, nets, matching, weights)
            }
        })
    }

    fn generator_step(&mut self, step: usize, audio: Tensor<3>) -> Result<Scalars> {
        let loss = self.generator_loss(step, audio)?;
        let mut scalars = Scalars::new()
            .with("loss", loss.total.clone())
            .with("multiband", loss.distance.multiband)
            .with("fullband", loss.distance.fullband)
            .with(self.model()?.config().bottleneck.term(), loss.kl);
        for (name, value) in [
            ("loudness", loss.distance.loudness),
            ("feature_matching", loss.feature_matching),
            ("adversarial", loss.adversarial.map(|both| both.generator)),
        ] {
            if let Some(value) = value {
                scalars = scalars.with(name, value);
            }
        }
        let model = self.model.take().ok_or_else(lost)?;
        let gradients = GradientsParams::from_grads(loss.total.backward(), &model);
        let rate = self.config.rate.at(step);
        self.model = Some(self.generator_adam.step(rate, model, gradients));
        Ok(scalars)
    }

    /// A step of the discriminators, for which the generator needs no gradient.
    fn discriminator_step(&mut self, step: usize, audio: Tensor<3>) -> Result<Scalars> {
        let model = self.trained()?;
        let audio = audio.without_autodiff();
        let device = self.device.clone().without_autodiff();
        let subbands = model.pqmf().analysis(audio);
        let output = model.encoder.output(subbands.clone(), Statistics::Running);
        let shape = output.dims();
        let draw = self.draw(step, shape, &device)?;
        // The model itself, whose codebooks learn in every step.
        let encoder = &self.model()?.encoder;
        let found = encoder.regularise(output, &draw, self.quantisation(step));
        let latent = found.latent;
        let seed = self.seed.stream("noise").at(step as u64);
        let noise = model.draw_noise(shape[0], shape[2], seed, &device);
        let output = model.decoder.forward(latent, noise);
        let [real, fake] = [subbands, output].map(|x| model.pqmf().synthesis(x).autodiff());
        let nets = self.discriminator.take().ok_or_else(lost)?;
        let loss = discriminator_loss(&nets, real, fake);
        let scalars = Scalars::new().with("discriminator", loss.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &nets);
        let rate = self.config.discriminator_rate;
        self.discriminator = Some(self.discriminator_adam.step(rate, nets, gradients));
        Ok(scalars)
    }
}

impl Procedure for RaveTraining<'_> {
    fn step(&mut self, step: usize) -> Result<Scalars> {
        let audio = (self.batch)(step, &self.device)?;
        let shape @ [_, channels, time] = audio.dims();
        if channels != 1 || time != self.config.crop {
            let rule = format!("must be [batch, 1, {}]", self.config.crop);
            return Err(Error::input("the shape of a batch", shape, rule));
        }
        let every = self.config.discriminator_every;
        if step >= self.config.warmup && step % every == every - 1 {
            self.discriminator_step(step, audio)
        } else {
            self.generator_step(step, audio)
        }
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
        match non_finite(self.model()?)? {
            Some(found) => Ok(Some(found)),
            None => non_finite(self.discriminator()?),
        }
    }

    fn save(&self, folder: &Path) -> Result<()> {
        save_module(self.model()?, &folder.join("model.bpk"))?;
        save_module(self.discriminator()?, &folder.join("discriminator.bpk"))?;
        self.generator_adam
            .save(&folder.join("generator-adam.safetensors"))?;
        self.discriminator_adam
            .save(&folder.join("discriminator-adam.safetensors"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let model = self.model.take().ok_or_else(lost)?;
        self.model = Some(load_module(model, &folder.join("model.bpk"))?);
        let nets = self.discriminator.take().ok_or_else(lost)?;
        self.discriminator = Some(load_module(nets, &folder.join("discriminator.bpk"))?);
        let device = &self.device;
        self.generator_adam
            .load(&folder.join("generator-adam.safetensors"), device)?;
        self.discriminator_adam
            .load(&folder.join("discriminator-adam.safetensors"), device)
    }
}

fn lost() -> Error {
    Error::other(
        "training",
        "an earlier step failed half-way: start again from the last checkpoint",
    )
}
