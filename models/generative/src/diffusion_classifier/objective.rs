//! What is minimised: the error of the noise, and the cross-entropy of classes.

use super::features::Features;
use super::heads::Head;
use super::model::Denoiser;
use super::probe::{check_labels, label_tensor};
use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Result, Seed};
use menagerie_nn::diffusion::{Losses, draw_timesteps};
use menagerie_nn::noise::draw_normal;
use menagerie_nn::transformer::cross_entropy;

/// Images with everything that is drawn for a step of [`Denoiser`].
#[derive(Clone, Debug)]
pub struct NoisyImages {
    /// `[batch, channels, height, width]`, in −1..1.
    pub images: Tensor<4>,
    /// Standard normal, in the shape of the images.
    pub noise: Tensor<4>,
    /// A step of the process for each image.
    pub timesteps: Vec<usize>,
}

impl Denoiser {
    /// Noise and timesteps for `images`, `[batch, channels, height, width]` in −1..1, decided by the
    /// seed.
    ///
    /// # Errors
    /// None in practice: a process has steps to choose from.
    pub fn draw(&self, images: Tensor<4>, seed: Seed) -> Result<NoisyImages> {
        let (shape, device) = (images.dims(), images.device());
        let steps = self.diffusion().steps();
        Ok(NoisyImages {
            noise: draw_normal(shape, seed.stream("noise"), &device),
            timesteps: draw_timesteps(shape[0], steps, seed.stream("timesteps"))?,
            images,
        })
    }

    /// The losses of each image, `[batch]`: the mean squared error of the noise and, with learned
    /// variances, the variational bound.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if shapes do not fit or a timestep does not exist.
    pub fn loss(&self, batch: NoisyImages) -> Result<Losses> {
        let NoisyImages {
            images,
            noise,
            timesteps: t,
        } = batch;
        let diffusion = self.diffusion();
        let x_t = diffusion.q_sample(images.clone(), &t, noise.clone())?;
        let names: Vec<usize> = t.iter().map(|&step| diffusion.timesteps()[step]).collect();
        let output = self.unet.forward(x_t.clone(), &names)?;
        self.objective()
            .losses(diffusion, output, images, x_t, noise, &t)
    }
}

/// Features of a frozen network with their classes.
#[derive(Clone, Debug)]
pub struct LabelledFeatures {
    /// What the head takes.
    pub features: Features,
    /// `[batch]`.
    pub labels: Tensor<1, Int>,
}

impl LabelledFeatures {
    /// Features with the class of each image, below `classes`, for a head on `device`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if there are not as many labels as images, or a label is no class.
    pub fn new(
        features: Features,
        labels: &[usize],
        classes: usize,
        device: &Device,
    ) -> Result<Self> {
        check_labels(labels, features.batch(), classes)?;
        Ok(Self {
            // A head that is trained wants features with autodiff too.
            features: match device.is_autodiff() {
                true => features.autodiff(),
                false => features,
            },
            labels: label_tensor(labels, device),
        })
    }
}

/// The mean cross-entropy in nats and the share of right classes, `[1]` each, of scores `[batch,
/// classes]`.
pub fn classification(logits: Tensor<2>, labels: Tensor<1, Int>) -> (Tensor<1>, Tensor<1>) {
    let scores = logits.clone().without_autodiff();
    let right = scores.argmax(1).squeeze_dim::<1>(1).equal(labels.clone());
    (cross_entropy(logits, labels).mean(), right.float().mean())
}

impl Head {
    /// The mean cross-entropy of a batch in nats and the share of right classes, `[1]` each.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn loss(&self, batch: LabelledFeatures) -> Result<(Tensor<1>, Tensor<1>)> {
        let logits = self.forward(&batch.features)?;
        Ok(classification(logits, batch.labels))
    }
}
