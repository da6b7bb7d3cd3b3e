//! InfoWGAN-GP (Chen et al. 2016, Gulrajani et al. 2017) and its quantised version, which draws
//! the generator's latents from the codebooks and quantises the critic head's estimate of them.

use super::super::{
    blocks::SMALL,
    config::{BackboneConfig, QlaeConfig, weight},
    decoder::Decoder,
    encoder::Encoder,
    model::LatentModel,
    objective::{commitment, latent_recovery, quantization},
    quantizer::{Quantized, ScalarQuantizer},
};
use burn::{
    config::Config,
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, TensorData, activation::sigmoid},
};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

/// Weights of the adversarial objectives.
#[derive(Config, Debug, Copy, PartialEq)]
pub struct GanWeights {
    /// Of the critic's value.
    #[config(default = 1.0)]
    pub value: f64,
    /// Of the gradient penalty.
    #[config(default = 10.0)]
    pub gradient: f64,
    /// Of the recovery of the latents.
    #[config(default = 200.0)]
    pub latent: f64,
    /// λ_q; only the quantised model has the term.
    #[config(default = 0.01)]
    pub quantization: f64,
    /// λ_c; only the quantised model has the term.
    #[config(default = 0.01)]
    pub commitment: f64,
}

/// An information-maximising Wasserstein model with gradient penalty.
#[derive(Config, Debug, PartialEq)]
pub struct InfoGanConfig {
    /// Image size, the critic's trunk (the encoder) and the generator (the decoder).
    pub backbone: BackboneConfig,
    /// Number of latents.
    pub latents: usize,
    /// Sizes of the codebooks, one per latent; `None` for latents uniform in 0..1.
    pub values: Option<Vec<usize>>,
    /// Weights of the objectives.
    #[config(default = "GanWeights::new()")]
    pub weights: GanWeights,
    /// Critic steps per generator step.
    #[config(default = 5)]
    pub generator_every: usize,
}

impl InfoGanConfig {
    const NAME: &str = "InfoGanConfig";

    /// InfoWGAN-GP with the backbone and the number of latents of `config`.
    pub fn matching(config: &QlaeConfig) -> Self {
        Self::new(config.backbone.clone(), config.latents)
    }

    /// QLInfoWGAN-GP with the backbone and the codebook sizes of `config`.
    pub fn quantized(config: &QlaeConfig) -> Self {
        Self::matching(config).with_values(Some(config.values.clone()))
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.backbone.validate(Self::NAME)?;
        for (field, value) in [
            ("latents", self.latents),
            ("generator_every", self.generator_every),
        ] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        if let Some(values) = &self.values
            && (values.len() != self.latents || values.contains(&0))
        {
            let rule = format!(
                "needs {} sizes, one per latent, each at least 1",
                self.latents
            );
            return Err(Error::config(Self::NAME, "values", values, rule));
        }
        let weights = &self.weights;
        for (field, value) in [
            ("weights.value", weights.value),
            ("weights.gradient", weights.gradient),
            ("weights.latent", weights.latent),
            ("weights.quantization", weights.quantization),
            ("weights.commitment", weights.commitment),
        ] {
            weight(Self::NAME, field, value)?;
        }
        Ok(())
    }

    /// A model of this configuration on `device`, drawn from the device's random generator.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<InfoGan> {
        self.validate()?;
        let base = Encoder::init(&self.backbone, self.latents, device)?;
        let features = base.head.weight.dims()[0];
        let quantizer =
            |values: &Vec<usize>| ScalarQuantizer::init(self.latents, values, true, device);
        Ok(InfoGan {
            encoder: Critic {
                base,
                critic: LinearConfig::new(features, 1).init(device),
            },
            latent: self.values.as_ref().map(quantizer),
            generator: Decoder::init(&self.backbone, self.latents, device)?,
            weights: self.weights,
        })
    }
}

/// The critic's trunk with two heads: the latents and the value.
#[derive(Module, Debug)]
pub struct Critic {
    /// Trunk and latent head.
    pub base: Encoder,
    /// From the features to the critic's value.
    pub critic: Linear,
}

/// Generator and critic.
#[derive(Module, Debug)]
pub struct InfoGan {
    /// The critic.
    pub encoder: Critic,
    /// The codebooks, if the latents are quantised.
    pub latent: Option<ScalarQuantizer>,
    /// Latents to logits.
    pub generator: Decoder,
    #[module(skip)]
    weights: GanWeights,
}

/// The random draws of one step.
#[derive(Clone, Debug)]
pub struct GanDraws {
    /// Uniform draws in 0..1 `[batch, latents]`: the latents themselves, or which value of each
    /// codebook to take.
    pub latents: Tensor<2>,
    /// Uniform draws in 0..1 `[batch, 1, 1, 1]`: the share of the real image in the interpolation
    /// at which the gradient is penalised.
    pub mix: Tensor<4>,
}

impl GanDraws {
    /// The draws of step `step` for a batch of `batch` images.
    pub fn draw(batch: usize, latents: usize, device: &Device, seed: Seed, step: usize) -> Self {
        let mut rng = seed.at(step as u64).rng();
        let mut uniform = |count: usize| (0..count).map(|_| rng.random()).collect::<Vec<f32>>();
        let codes = TensorData::new(uniform(batch * latents), [batch, latents]);
        let mix = TensorData::new(uniform(batch), [batch, 1, 1, 1]);
        Self {
            latents: Tensor::from_data(codes, device),
            mix: Tensor::from_data(mix, device),
        }
    }
}

/// The terms of the generator's objective, each `[batch]`.
#[derive(Clone, Debug)]
pub struct GeneratorLoss {
    /// The critic's value of the generated images.
    pub value: Tensor<1>,
    /// How far the critic's estimate of the latents is off.
    pub latent: Tensor<1>,
    /// The weighted sum, with minus the value.
    pub total: Tensor<1>,
}

/// The terms of the critic's objective, each `[batch]`.
#[derive(Clone, Debug)]
pub struct CriticLoss {
    /// Value of generated minus value of real images.
    pub value: Tensor<1>,
    /// `(‖∇ₓD‖ - 1)²` at the interpolations.
    pub gradient: Tensor<1>,
    /// How far the estimate of the latents is off.
    pub latent: Tensor<1>,
    /// The weighted sum.
    pub total: Tensor<1>,
}

/// What the critic says of a batch.
struct Judged {
    value: Tensor<1>,
    continuous: Tensor<2>,
    quantized: Option<Quantized>,
}

impl Judged {
    fn latents(&self) -> Tensor<2> {
        match &self.quantized {
            Some(quantized) => quantized.straight_through.clone(),
            None => self.continuous.clone(),
        }
    }
}

impl InfoGan {
    /// The latents that `uniform` draws `[batch, latents]` in 0..1 stand for: themselves, or each
    /// latent's codebook value at `⌊u · n_v⌋`.
    pub fn latents(&self, uniform: Tensor<2>) -> Tensor<2> {
        let Some(quantizer) = &self.latent else {
            return uniform;
        };
        let sizes: Vec<f32> = quantizer.sizes().iter().map(|&size| size as f32).collect();
        let sizes = Tensor::<1>::from_floats(sizes.as_slice(), &uniform.device()).unsqueeze();
        // A draw just below 1 can round up to the size itself.
        let indices = (uniform * sizes.clone()).floor().min_pair(sizes - 1.0);
        quantizer.lookup(indices.int())
    }

    /// Images in 0..1 `[batch, channels, height, width]` of latents `[batch, latents]`.
    pub fn generate(&self, latents: Tensor<2>) -> Tensor<4> {
        sigmoid(self.generator.forward(latents))
    }

    /// The generator's objective.
    pub fn generator_loss(&self, draws: &GanDraws) -> GeneratorLoss {
        let latents = self.latents(draws.latents.clone());
        let judged = self.judge(self.generate(latents.clone()));
        let latent = latent_recovery(judged.latents(), latents);
        let total =
            latent.clone() * self.weights.latent - judged.value.clone() * self.weights.value;
        GeneratorLoss {
            total: self.add_quantization(total, &judged),
            value: judged.value,
            latent,
        }
    }

    /// The critic's objective for real `images`; the generator is a constant in it.
    pub fn critic_loss(&self, images: Tensor<4>, draws: &GanDraws) -> CriticLoss {
        let latents = self.latents(draws.latents.clone()).detach();
        let generated = self.generate(latents.clone()).detach();
        let mix = draws.mix.clone();
        let between = images.clone() * mix.clone() + generated.clone() * (mix.neg() + 1.0);
        let gradient = self.gradient_penalty(between);
        let judged = self.judge(generated);
        let value = judged.value.clone() - self.judge(images).value;
        let latent = latent_recovery(judged.latents(), latents);
        let total = value.clone() * self.weights.value
            + gradient.clone() * self.weights.gradient
            + latent.clone() * self.weights.latent;
        CriticLoss {
            total: self.add_quantization(total, &judged),
            value,
            gradient,
            latent,
        }
    }

    /// `(‖∇ₓD(x)‖ - 1)²` per image `[batch]`, with the exact gradient by the critic's parameters.
    ///
    /// With g = ∇ₓD(x), that gradient is `2(‖g‖ - 1)/‖g‖ · ∂⟨g, ·⟩`: the parameter gradient of D's
    /// derivative along the constant direction v = 2(‖g‖ - 1)/‖g‖ · g. So one reverse pass finds
    /// g, one forward-mode pass carries v through the critic, and the caller's reverse pass
    /// differentiates that.
    pub fn gradient_penalty(&self, images: Tensor<4>) -> Tensor<1> {
        let [batch, _, _, _] = images.dims();
        let images = images.without_autodiff();
        let point = images.clone().autodiff().require_grad();
        let frozen = self.encoder.clone().train().no_grad();
        let features = frozen.base.features(point.clone());
        let gradients = frozen.critic.forward(features).sum().backward();
        let gradient = point
            .grad(&gradients)
            .unwrap_or_else(|| images.zeros_like());
        let squares = gradient.clone().square().flatten::<2>(1, 3).sum_dim(1);
        let norm = squares.sqrt();
        let penalty = (norm.clone() - 1.0).square().reshape([batch]);
        let factor = (norm.clone() - 1.0) * 2.0 / norm.clamp_min(SMALL);
        let direction = gradient * factor.reshape([batch, 1, 1, 1]);
        let slope = self
            .encoder
            .base
            .directional_derivative(&self.encoder.critic, images, direction)
            .reshape([batch]);
        slope.clone() - slope.without_autodiff() + penalty
    }

    fn judge(&self, images: Tensor<4>) -> Judged {
        let encoded = self.encoder.base.forward(images);
        let value = self.encoder.critic.forward(encoded.features);
        Judged {
            value: value.squeeze_dim(1),
            quantized: self
                .latent
                .as_ref()
                .map(|quantizer| quantizer.forward(encoded.latents.clone())),
            continuous: encoded.latents,
        }
    }

    fn add_quantization(&self, total: Tensor<1>, judged: &Judged) -> Tensor<1> {
        let Some(quantized) = &judged.quantized else {
            return total;
        };
        let (z, q) = (&judged.continuous, &quantized.values);
        total
            + quantization(z.clone(), q.clone()) * self.weights.quantization
            + commitment(z.clone(), q.clone()) * self.weights.commitment
    }
}

impl LatentModel for InfoGan {
    fn codes(&self, images: Tensor<4>) -> Tensor<2> {
        self.judge(images).latents()
    }

    fn is_discrete(&self) -> bool {
        self.latent.is_some()
    }

    fn reconstruction(&self, images: Tensor<4>) -> Tensor<4> {
        self.generate(self.codes(images))
    }
}
