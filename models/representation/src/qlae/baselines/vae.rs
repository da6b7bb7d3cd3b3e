//! β-VAE (Higgins et al. 2017) and β-TCVAE (Chen et al. 2018).

use super::super::{
    config::{BackboneConfig, QlaeConfig, weight},
    decoder::Decoder,
    encoder::Encoder,
    model::{LatentModel, check_images},
    objective::{binary_cross_entropy, kl_divergence, total_correlation_terms},
    training::{mean, mean_squared_error},
};
use burn::{
    config::Config,
    module::Module,
    tensor::{
        Device, Tensor, TensorData,
        activation::{sigmoid, softplus},
    },
    train::{InferenceStep, TrainOutput, TrainStep},
};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::Scalars;
use rand::RngExt;

/// What is added to the reconstruction loss.
#[derive(Config, Debug, PartialEq)]
pub enum VaeObjective {
    /// β times the divergence from the prior.
    Beta {
        /// β; the published values per data set lie between 0.1 and 10.
        kl: f64,
    },
    /// The divergence in three parts with a weight each.
    TotalCorrelation {
        /// Weight of the index-code mutual information, 1 in the paper.
        mutual_information: f64,
        /// Weight β of the total correlation; 3 on Shapes3D and Falcor3D, 1 on Isaac3D, 0.3 on
        /// MPI3D.
        total_correlation: f64,
        /// Weight of the dimension-wise divergence, 1 in the paper.
        dimension_wise_kl: f64,
        /// Number of training images, which the estimator of ln q(z) needs.
        data_set: usize,
    },
}

/// A variational autoencoder with a Gaussian posterior and prior.
#[derive(Config, Debug, PartialEq)]
pub struct VaeConfig {
    /// Image size, encoder and decoder.
    pub backbone: BackboneConfig,
    /// Number of latents; the encoder's head has a mean and a scale for each.
    pub latents: usize,
    /// What is added to the reconstruction loss.
    pub objective: VaeObjective,
    /// Over how many steps β (or the weight of the total correlation) grows linearly from 0; 0 for
    /// the full weight from the start, as published.
    #[config(default = 0)]
    pub anneal: usize,
}

impl VaeConfig {
    const NAME: &str = "VaeConfig";

    /// β-VAE with the backbone and the number of latents of `config`.
    pub fn beta(config: &QlaeConfig, kl: f64) -> Self {
        let objective = VaeObjective::Beta { kl };
        Self::new(config.backbone.clone(), config.latents, objective)
    }

    /// β-TCVAE with the backbone and the number of latents of `config`, for `data_set` images.
    pub fn total_correlation(config: &QlaeConfig, beta: f64, data_set: usize) -> Self {
        let objective = VaeObjective::TotalCorrelation {
            mutual_information: 1.0,
            total_correlation: beta,
            dimension_wise_kl: 1.0,
            data_set,
        };
        Self::new(config.backbone.clone(), config.latents, objective)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.backbone.validate(Self::NAME)?;
        if self.latents == 0 {
            return Err(Error::config(
                Self::NAME,
                "latents",
                0,
                "must be at least 1",
            ));
        }
        match &self.objective {
            VaeObjective::Beta { kl } => weight(Self::NAME, "objective.kl", *kl),
            VaeObjective::TotalCorrelation {
                mutual_information,
                total_correlation,
                dimension_wise_kl,
                data_set,
            } => {
                if *data_set == 0 {
                    let rule = "must be the number of training images, at least 1";
                    return Err(Error::config(Self::NAME, "objective.data_set", 0, rule));
                }
                for (field, value) in [
                    ("objective.mutual_information", mutual_information),
                    ("objective.total_correlation", total_correlation),
                    ("objective.dimension_wise_kl", dimension_wise_kl),
                ] {
                    weight(Self::NAME, field, *value)?;
                }
                Ok(())
            }
        }
    }

    /// A model of this configuration on `device`, drawn from the device's random generator.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Vae> {
        self.validate()?;
        Ok(Vae {
            encoder: Encoder::init(&self.backbone, 2 * self.latents, device)?,
            decoder: Decoder::init(&self.backbone, self.latents, device)?,
            image: self.backbone.image,
            latents: self.latents,
            objective: self.objective.clone(),
            anneal: self.anneal,
        })
    }
}

/// Images with the draws that a variational step needs.
#[derive(Clone, Debug)]
pub struct VaeBatch {
    /// Images `[batch, channels, height, width]` in 0..1.
    pub images: Tensor<4>,
    /// Standard normal draws `[batch, latents]`.
    pub noise: Tensor<2>,
    /// The step, for annealing.
    pub step: usize,
}

impl VaeBatch {
    /// Draws the noise of step `step` for `images` from `seed`.
    pub fn draw(images: Tensor<4>, latents: usize, seed: Seed, step: usize) -> Self {
        let batch = images.dims()[0];
        let mut rng = seed.at(step as u64).rng();
        // Box-Muller on 1 - u, which is never 0.
        let noise: Vec<f32> = (0..batch * latents)
            .map(|_| {
                let (radius, angle): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
                let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
                normal as f32
            })
            .collect();
        let noise = Tensor::from_data(TensorData::new(noise, [batch, latents]), &images.device());
        Self {
            images,
            noise,
            step,
        }
    }
}

/// Encoder to a Gaussian posterior, and decoder.
#[derive(Module, Debug)]
pub struct Vae {
    /// Image to posterior means and scales.
    pub encoder: Encoder,
    /// Latents to logits.
    pub decoder: Decoder,
    image: [usize; 3],
    latents: usize,
    #[module(skip)]
    objective: VaeObjective,
    anneal: usize,
}

/// What a pass through [`Vae`] computes.
#[derive(Clone, Debug)]
pub struct VaePass {
    /// Posterior means µ `[batch, latents]`.
    pub mean: Tensor<2>,
    /// Posterior deviations σ = softplus(s) `[batch, latents]`.
    pub deviation: Tensor<2>,
    /// µ + σ · noise `[batch, latents]`.
    pub sample: Tensor<2>,
    /// Bernoulli logits of the sample `[batch, channels, height, width]`.
    pub logits: Tensor<4>,
}

/// The terms of [`Vae`]'s objective, each `[batch]`.
#[derive(Clone, Debug)]
pub struct VaeLoss {
    /// Binary cross-entropy, the mean over pixels.
    pub reconstruction: Tensor<1>,
    /// The weighted regulariser in nats, before the division by the number of pixels.
    pub regulariser: Tensor<1>,
    /// `reconstruction + regulariser / pixels`.
    pub total: Tensor<1>,
}

impl Vae {
    /// Encodes, samples with `noise` `[batch, latents]` and decodes.
    ///
    /// # Panics
    /// If the images do not have the configured size.
    pub fn forward(&self, images: Tensor<4>, noise: Tensor<2>) -> VaePass {
        let (mean, deviation) = self.posterior(images);
        let sample = mean.clone() + deviation.clone() * noise;
        VaePass {
            logits: self.decoder.forward(sample.clone()),
            mean,
            deviation,
            sample,
        }
    }

    /// Posterior means and deviations, each `[batch, latents]`.
    fn posterior(&self, images: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let head = self.encoder.forward(images).latents;
        let mean = head.clone().narrow(1, 0, self.latents);
        let scale = head.narrow(1, self.latents, self.latents);
        (mean, softplus(scale, 1.0))
    }

    /// Posterior means `[batch, latents]` of `images` `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images do not have the configured size.
    pub fn encode(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        check_images(self.image, &images)?;
        Ok(self.posterior(images).0)
    }

    /// The terms of the objective and the pass.
    pub fn loss(&self, batch: VaeBatch) -> (VaeLoss, VaePass) {
        let pass = self.forward(batch.images.clone(), batch.noise);
        let annealed = match self.anneal {
            0 => 1.0,
            duration => (batch.step as f64 / duration as f64).min(1.0),
        };
        let (mean, deviation) = (pass.mean.clone(), pass.deviation.clone());
        let regulariser = match &self.objective {
            VaeObjective::Beta { kl } => {
                kl_divergence(mean, deviation) * (self.latents as f64 * kl * annealed)
            }
            VaeObjective::TotalCorrelation {
                mutual_information,
                total_correlation,
                dimension_wise_kl,
                data_set,
            } => {
                let sample = pass.sample.clone();
                let terms = total_correlation_terms(sample, mean, deviation, *data_set);
                terms.mutual_information * *mutual_information
                    + terms.total_correlation * (total_correlation * annealed)
                    + terms.dimension_wise_kl * *dimension_wise_kl
            }
        };
        let pixels: usize = self.image.iter().product();
        let reconstruction = binary_cross_entropy(pass.logits.clone(), batch.images);
        let loss = VaeLoss {
            total: reconstruction.clone() + regulariser.clone() / pixels as f64,
            reconstruction,
            regulariser,
        };
        (loss, pass)
    }
}

impl LatentModel for Vae {
    fn codes(&self, images: Tensor<4>) -> Tensor<2> {
        self.posterior(images).0
    }

    fn is_discrete(&self) -> bool {
        false
    }

    fn reconstruction(&self, images: Tensor<4>) -> Tensor<4> {
        sigmoid(self.decoder.forward(self.codes(images)))
    }
}

fn scalars(loss: &VaeLoss) -> Scalars {
    Scalars::new()
        .with("loss", mean(&loss.total))
        .with("bce", mean(&loss.reconstruction))
        .with("regulariser", mean(&loss.regulariser))
}

impl TrainStep for Vae {
    type Input = VaeBatch;
    type Output = Scalars;

    fn step(&self, batch: VaeBatch) -> TrainOutput<Scalars> {
        let (loss, _) = self.loss(batch);
        let scalars = scalars(&loss);
        TrainOutput::new(self, loss.total.mean().backward(), scalars)
    }
}

impl InferenceStep for Vae {
    type Input = VaeBatch;
    type Output = Scalars;

    fn step(&self, batch: VaeBatch) -> Scalars {
        let images = batch.images.clone();
        let (loss, pass) = self.loss(batch);
        scalars(&loss).with("mse", mean_squared_error(pass.logits, images))
    }
}
