//! NoProp in continuous time (section 3.2): one block, a trained schedule.

use super::block::ContinuousBlock;
use super::config::CtConfig;
use super::layers::Mode;
use super::objective::{CtLoss, classification, divergence, squared_rows};
use super::readout::{Labelled, Readout};
use super::schedule::{GammaSchedule, Posterior, draw_times};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Result, Seed};
use menagerie_nn::noise::draw_normal;

/// One block for all times and the schedule of its noise.
#[derive(Module, Debug)]
pub struct NoPropCt {
    /// The network.
    pub block: ContinuousBlock,
    /// Embeddings and head.
    pub readout: Readout,
    /// The noise schedule, trained with them.
    pub schedule: GammaSchedule,
    #[module(skip)]
    config: CtConfig,
}

/// The draws of a training step.
#[derive(Clone, Debug)]
pub struct CtDraws {
    /// Times in 0..1, `[batch]`.
    pub times: Tensor<1>,
    /// Noise of z at these times, `[batch, dim]`.
    pub noise: Tensor<2>,
    /// Noise of z at time 1, which the head learns from, `[batch, dim]`.
    pub last: Tensor<2>,
}

impl CtDraws {
    /// Draws for `[batch, dim]`.
    pub fn draw(shape: [usize; 2], seed: Seed, device: &Device) -> Self {
        Self {
            times: draw_times(shape[0], seed.stream("times"), device),
            noise: draw_normal(shape, seed.stream("noise"), device),
            last: draw_normal(shape, seed.stream("last"), device),
        }
    }
}

impl CtConfig {
    /// A model of this configuration on `device`. Parameters are drawn from the device's random
    /// generator; call it inside [`menagerie_train::initialise`] for a reproducible model.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<NoPropCt> {
        self.validate()?;
        Ok(NoPropCt {
            block: ContinuousBlock::new(&self.network, self.time_dim, device),
            readout: Readout::new(&self.network, device),
            schedule: GammaSchedule::new(self.gamma_hidden, self.gamma, device),
            config: self.clone(),
        })
    }
}

/// `√ᾱ u + √(1 - ᾱ) ε` with one ᾱ for each row.
fn noised(u: Tensor<2>, signal: Tensor<1>, noise: Tensor<1>, draw: Tensor<2>) -> Tensor<2> {
    u * signal.sqrt().unsqueeze_dim(1) + draw * noise.sqrt().unsqueeze_dim(1)
}

impl NoPropCt {
    /// What it was built from.
    pub fn config(&self) -> &CtConfig {
        &self.config
    }

    /// The objective of a batch with given draws; gradients reach everything, the schedule's through
    /// the derivative of its signal-to-noise ratio as well.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] for a batch that does not fit.
    ///
    /// # Panics
    /// If the draws are not of the batch's shape.
    pub fn loss(&self, batch: &Labelled, draws: CtDraws, mode: Mode) -> Result<CtLoss> {
        self.readout.check(batch, 1)?;
        let device = batch.images.device();
        let labels = self.readout.labels(&batch.labels, &device)?;
        let u = self.readout.rows(labels.clone());
        let ends = self.schedule.at(Tensor::from_floats([0.0, 1.0], &device));
        let level = self.schedule.at(draws.times.clone());
        let end = |values: Tensor<1>, at: usize| values.narrow(0, at, 1);
        let last = noised(
            u.clone(),
            end(ends.alpha_bar(), 1),
            end(ends.noise(), 1),
            draws.last,
        );
        let drawn = noised(u.clone(), level.alpha_bar(), level.noise(), draws.noise);
        let images = batch.images.clone();
        let logits = self.block.forward(images, drawn.clone(), draws.times, mode);
        let estimate = self.readout.expected(logits);
        let errors = squared_rows(estimate.clone() - u.clone());
        let denoising = (level.snr_rate.clone() * errors).mean() * (0.5 * self.config.eta);
        let divergence = divergence(u, end(ends.alpha_bar(), 0), end(ends.log_noise(), 0));
        let classification = classification(&self.readout, last, labels);
        Ok(CtLoss {
            total: classification.clone() + divergence.clone() + denoising.clone(),
            classification,
            divergence,
            denoising,
            alpha_bar: level.alpha_bar(),
            snr_rate: level.snr_rate,
            drawn,
            estimate,
        })
    }

    /// z at time 1 `[batch, dim]` from `start [batch, dim]` in as many steps of equal length as
    /// `noise` gives draws `[batch, dim]` for: those of discrete time, with the trained schedule. The
    /// paper does not give its discretisation.
    ///
    /// # Errors
    /// If the schedule cannot be read.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn simulate(
        &self,
        images: Tensor<4>,
        start: Tensor<2>,
        steps: usize,
        noise: impl Fn(usize) -> Tensor<2>,
    ) -> Result<Tensor<2>> {
        let ([batch, ..], device) = (images.dims(), images.device());
        let levels = self.schedule.grid(steps)?;
        let features = self.block.features(images, Mode::Evaluate);
        let mut z = start;
        for step in 0..steps {
            let posterior = Posterior::between(levels[step], levels[step + 1]);
            let time = (step as f64 / steps as f64) as f32;
            let times = Tensor::full([batch], time, &device);
            let scores = self
                .block
                .scores(features.clone(), z.clone(), times, Mode::Evaluate);
            z = self.readout.expected(scores) * posterior.a
                + z * posterior.b
                + noise(step) * posterior.c.sqrt();
        }
        Ok(z)
    }

    /// The classes `[batch]` of images `[batch, channels, height, width]`, with draws from `seed`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are of another size.
    pub fn predict(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>> {
        self.readout.check_images(&images)?;
        let (shape, device) = ([images.dims()[0], self.config.network.dim], images.device());
        let start = draw_normal(shape, seed.stream("start"), &device);
        let noise = seed.stream("noise");
        let noise = |step: usize| draw_normal(shape, noise.at(step as u64), &device);
        let z = self.simulate(images, start, self.config.inference_steps, noise)?;
        Ok(self.readout.scores(z).argmax(1).squeeze_dim(1))
    }
}
