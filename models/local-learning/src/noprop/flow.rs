//! NoProp by flow matching (section 3.3): one block that predicts the way from noise to label.

use super::block::ContinuousBlock;
use super::config::{FmConfig, Solver};
use super::layers::Mode;
use super::objective::{FmLoss, classification, squared_rows};
use super::readout::{Labelled, Readout};
use super::schedule::draw_times;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Result, Seed};
use menagerie_nn::noise::draw_normal;

/// One block for all times.
#[derive(Module, Debug)]
pub struct NoPropFm {
    /// The network.
    pub block: ContinuousBlock,
    /// Embeddings and head; the head is used in training alone, where embeddings are trained.
    pub readout: Readout,
    #[module(skip)]
    config: FmConfig,
}

/// The draws of a training step.
#[derive(Clone, Debug)]
pub struct FmDraws {
    /// Times in 0..1, `[batch]`.
    pub times: Tensor<1>,
    /// Where lines start, `[batch, dim]`.
    pub start: Tensor<2>,
    /// Noise around the lines, `[batch, dim]`.
    pub noise: Tensor<2>,
}

impl FmDraws {
    /// Draws for `[batch, dim]`.
    pub fn draw(shape: [usize; 2], seed: Seed, device: &Device) -> Self {
        Self {
            times: draw_times(shape[0], seed.stream("times"), device),
            start: draw_normal(shape, seed.stream("start"), device),
            noise: draw_normal(shape, seed.stream("noise"), device),
        }
    }
}

impl FmConfig {
    /// A model of this configuration on `device`. Parameters are drawn from the device's random
    /// generator; call it inside [`menagerie_train::initialise`] for a reproducible model.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<NoPropFm> {
        self.validate()?;
        Ok(NoPropFm {
            block: ContinuousBlock::new(&self.network, self.time_dim, device),
            readout: Readout::new(&self.network, device),
            config: self.clone(),
        })
    }
}

impl NoPropFm {
    /// What it was built from.
    pub fn config(&self) -> &FmConfig {
        &self.config
    }

    /// The objective of a batch with given draws (equation 11), with the anchor of equation 13 where
    /// embeddings are trained, which keeps them from collapsing.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] for a batch that does not fit.
    ///
    /// # Panics
    /// If the draws are not of the batch's shape.
    pub fn loss(&self, batch: &Labelled, draws: FmDraws, mode: Mode) -> Result<FmLoss> {
        self.readout.check(batch, 1)?;
        let device = batch.images.device();
        let labels = self.readout.labels(&batch.labels, &device)?;
        let end = self.readout.rows(labels.clone());
        let t = draws.times.clone().unsqueeze_dim::<2>(1);
        let rest = -t.clone() + 1.0;
        let drawn =
            end.clone() * t + draws.start.clone() * rest.clone() + draws.noise * self.config.sigma;
        let images = batch.images.clone();
        let scores = self.block.forward(images, drawn.clone(), draws.times, mode);
        let velocity = self.readout.combined(scores);
        let flow = squared_rows(velocity.clone() - (end - draws.start)).mean();
        let anchor = self.readout.is_trained().then(|| {
            let reached = drawn.clone() + velocity.clone() * rest;
            classification(&self.readout, reached, labels)
        });
        Ok(FmLoss {
            total: match &anchor {
                Some(anchor) => flow.clone() + anchor.clone(),
                None => flow.clone(),
            },
            flow,
            anchor,
            drawn,
            velocity,
        })
    }

    /// z at time 1 `[batch, dim]` from `start [batch, dim]` in `steps` steps of the configured
    /// solver.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn integrate(&self, images: Tensor<4>, start: Tensor<2>, steps: usize) -> Tensor<2> {
        let field = (&self.block, &self.readout);
        integrate(field, self.config.solver, images, start, steps)
    }

    /// The classes `[batch]` of images `[batch, channels, height, width]` from a start that is drawn
    /// from `seed`: those whose embedding is nearest to the end.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are of another size.
    pub fn predict(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>> {
        self.readout.check_images(&images)?;
        let shape = [images.dims()[0], self.config.network.dim];
        let start = draw_normal(shape, seed.stream("start"), &images.device());
        let z = self.integrate(images, start, self.config.inference_steps);
        Ok(self.readout.nearest(z))
    }
}

/// `dz/dt = scores W_embed` from time 0 to 1.
pub(super) fn integrate(
    (block, readout): (&ContinuousBlock, &Readout),
    solver: Solver,
    images: Tensor<4>,
    start: Tensor<2>,
    steps: usize,
) -> Tensor<2> {
    let ([batch, ..], device) = (images.dims(), images.device());
    let features = block.features(images, Mode::Evaluate);
    let velocity = |z: Tensor<2>, step: usize| {
        let times = Tensor::full([batch], (step as f64 / steps as f64) as f32, &device);
        readout.combined(block.scores(features.clone(), z, times, Mode::Evaluate))
    };
    let size = 1.0 / steps as f64;
    (0..steps).fold(start, |z, step| {
        let first = velocity(z.clone(), step);
        match solver {
            Solver::Euler => z + first * size,
            Solver::Heun => {
                let second = velocity(z.clone() + first.clone() * size, step + 1);
                z + (first + second) * (0.5 * size)
            }
        }
    })
}
