//! The baseline in continuous time: a neural ordinary differential equation with a linear classifier,
//! trained by adjoint sensitivity (Chen et al., arXiv:1806.07366).
//!
//! `dz/dt = scores W_embed`, the field of flow matching: the paper does not give its own.

use super::block::ContinuousBlock;
use super::config::{AdjointConfig, Solver};
use super::flow::integrate;
use super::layers::Mode;
use super::objective::classification;
use super::readout::{Labelled, Readout};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::noise::draw_normal;

/// One block for all times, whose solution ends in a linear classifier.
#[derive(Module, Debug)]
pub struct Adjoint {
    /// The network of the velocity.
    pub block: ContinuousBlock,
    /// Embeddings and head.
    pub readout: Readout,
    #[module(skip)]
    config: AdjointConfig,
}

impl AdjointConfig {
    /// A model of this configuration on `device`. Parameters are drawn from the device's random
    /// generator; call it inside [`menagerie_train::initialise`] for a reproducible model.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Adjoint> {
        self.validate()?;
        Ok(Adjoint {
            block: ContinuousBlock::new(&self.network, self.time_dim, device),
            readout: Readout::new(&self.network, device),
            config: self.clone(),
        })
    }
}

/// A tensor that a gradient is asked for.
fn leaf(x: &Tensor<2>) -> Tensor<2> {
    Tensor::from_inner(x.clone()).require_grad()
}

impl Adjoint {
    /// What it was built from.
    pub fn config(&self) -> &AdjointConfig {
        &self.config
    }

    /// The velocity `[batch, dim]` of `z [batch, dim]` at a time, next to images whose features are
    /// `[batch, fc]`.
    fn velocity(&self, features: Tensor<2>, z: Tensor<2>, time: f64, mode: Mode) -> Tensor<2> {
        let times = Tensor::full([z.dims()[0]], time as f32, &z.device());
        self.readout
            .combined(self.block.scores(features, z, times, mode))
    }

    /// z at time 1 `[batch, dim]`.
    fn solve(&self, features: Tensor<2>, start: Tensor<2>, mode: Mode) -> Tensor<2> {
        let steps = self.config.steps;
        (0..steps).fold(start, |z, step| {
            let time = step as f64 / steps as f64;
            let velocity = self.velocity(features.clone(), z.clone(), time, mode);
            z + velocity / steps as f64
        })
    }

    /// The cross-entropy `[1]` of a batch that starts at `start [batch, dim]`, with every step on the
    /// autodiff graph: what the adjoint method does without.
    ///
    /// # Errors
    /// [`Error::Input`] for a batch that does not fit.
    pub fn loss(&self, batch: &Labelled, start: Tensor<2>, mode: Mode) -> Result<Tensor<1>> {
        self.readout.check(batch, 1)?;
        let labels = self.readout.labels(&batch.labels, &batch.images.device())?;
        let features = self.block.features(batch.images.clone(), mode);
        let z = self.solve(features, start, mode);
        Ok(classification(&self.readout, z, labels))
    }

    /// The cross-entropy `[1]` of a batch and its gradients by the adjoint equation, which is solved
    /// backwards together with z: memory does not grow with the steps.
    ///
    /// The features of the images are the same at all times. Their gradients are summed over the
    /// steps, and go back through the image path once.
    ///
    /// # Errors
    /// [`Error::Input`] for a batch that does not fit, or a model without autodiff.
    pub fn gradients(
        &self,
        batch: &Labelled,
        start: Tensor<2>,
        mode: Mode,
    ) -> Result<(Tensor<1>, GradientsParams)> {
        self.readout.check(batch, 1)?;
        let device = batch.images.device();
        if !device.is_autodiff() {
            let rule = "must have autodiff, for a step of training";
            return Err(Error::input("the device of images", &device, rule));
        }
        let labels = self.readout.labels(&batch.labels, &device)?;
        let steps = self.config.steps;
        let tracked = self.block.features(batch.images.clone(), mode);
        let features = tracked.clone().without_autodiff();
        let mut z = self
            .valid()
            .solve(features.clone(), start.without_autodiff(), mode);
        let end = leaf(&z);
        let loss = classification(&self.readout, end.clone(), labels);
        let value = loss.clone().without_autodiff();
        let mut accumulator = GradientsAccumulator::new();
        let grads = loss.backward();
        let missing = || Error::other("the adjoint equation", "z has no gradient");
        let mut adjoint = end.grad(&grads).ok_or_else(missing)?;
        accumulator.accumulate(self, GradientsParams::from_grads(grads, self));
        let mut of_features = features.zeros_like();
        for step in (1..=steps).rev() {
            let (at, beside) = (leaf(&z), leaf(&features));
            let time = step as f64 / steps as f64;
            let velocity = self.velocity(beside.clone(), at.clone(), time, mode);
            z = z - velocity.clone().without_autodiff() / steps as f64;
            let product = velocity * Tensor::from_inner(adjoint.clone());
            let grads = (product.sum() / steps as f64).backward();
            adjoint = adjoint + at.grad(&grads).ok_or_else(missing)?;
            of_features = of_features + beside.grad(&grads).ok_or_else(missing)?;
            accumulator.accumulate(self, GradientsParams::from_grads(grads, self));
        }
        let product = tracked * Tensor::from_inner(of_features);
        accumulator.accumulate(
            self,
            GradientsParams::from_grads(product.sum().backward(), self),
        );
        Ok((value, accumulator.grads()))
    }

    /// The classes `[batch]` of images `[batch, channels, height, width]` from a start that is drawn
    /// from `seed`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are of another size.
    pub fn predict(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>> {
        self.readout.check_images(&images)?;
        let shape = [images.dims()[0], self.config.network.dim];
        let start = draw_normal(shape, seed.stream("start"), &images.device());
        let field = (&self.block, &self.readout);
        let z = integrate(field, Solver::Euler, images, start, self.config.steps);
        Ok(self.readout.scores(z).argmax(1).squeeze_dim(1))
    }
}
