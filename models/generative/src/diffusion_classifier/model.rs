//! What the network is used for: to denoise and sample, and to classify.

use super::features::FeatureExtractor;
use super::heads::Head;
use super::unet::UNet;
use burn::module::Module;
use burn::tensor::Tensor;
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::diffusion::{Diffusion, Objective, Sampler, Variance};

/// A U-Net with the process that it reverses: what is pre-trained, and what samples.
#[derive(Module, Debug)]
pub struct Denoiser {
    /// The network.
    pub unet: UNet,
    #[module(skip)]
    diffusion: Diffusion,
    #[module(skip)]
    objective: Objective,
}

impl Denoiser {
    /// A network with its process and objective.
    ///
    /// # Errors
    /// [`Error::Config`] if the network's output channels are not as many as the objective reads:
    /// the image's, or twice as many with learned variances.
    pub fn new(unet: UNet, diffusion: Diffusion, objective: Objective) -> Result<Self> {
        let config = unet.config();
        let needed = match objective.reverse.variance {
            Variance::Learned => 2 * config.in_channels,
            _ => config.in_channels,
        };
        if config.out_channels != needed {
            let rule = format!("must be {needed} for this objective");
            let found = config.out_channels;
            return Err(Error::config("UNetConfig", "out_channels", found, rule));
        }
        Ok(Self {
            unet,
            diffusion,
            objective,
        })
    }

    /// The process.
    pub fn diffusion(&self) -> &Diffusion {
        &self.diffusion
    }

    /// What the network is trained on.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Images from standard normal `noise` `[n, channels, height, width]`, in its shape and about
    /// −1..1. `steps` of the process are visited, evenly; `seed` draws what the sampler adds.
    ///
    /// # Errors
    /// [`Error::Input`] if the noise does not have the shape of images, or there are not so many
    /// steps.
    pub fn sample(
        &self,
        noise: Tensor<4>,
        sampler: &Sampler,
        steps: usize,
        seed: Seed,
    ) -> Result<Tensor<4>> {
        let visited = self.diffusion.even_steps(steps)?;
        let few = self.diffusion.spaced(&visited)?;
        sampler.sample(&few, noise, seed, |x_t, t| self.unet.forward(x_t, t))
    }
}

/// A feature extractor and a head: classifies images, and is fine-tuned as a whole.
#[derive(Module, Debug)]
pub struct DiffusionClassifier {
    /// The network up to the last block that is used.
    pub extractor: FeatureExtractor,
    /// The head.
    pub head: Head,
}

impl DiffusionClassifier {
    /// Class scores `[batch, classes]` of `images`, `[batch, channels, height, width]` in −1..1,
    /// with one tensor of `noise` for each timestep.
    ///
    /// # Errors
    /// [`Error::Input`] if shapes do not fit.
    pub fn forward(&self, images: Tensor<4>, noise: Vec<Tensor<4>>) -> Result<Tensor<2>> {
        self.head.forward(&self.extractor.features(images, noise)?)
    }
}
