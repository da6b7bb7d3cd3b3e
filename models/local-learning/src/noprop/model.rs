//! NoProp in discrete time (section 3.1).

use super::block::DtBlock;
use super::config::DtConfig;
use super::layers::Mode;
use super::objective::{DtLoss, classification, divergence, noised, squared_rows};
use super::readout::{Labelled, Readout};
use super::schedule::CosineSchedule;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::noise::draw_normal;

/// T blocks, each of which learns alone.
#[derive(Module, Debug)]
pub struct NoPropDt {
    /// In the order of inference.
    pub blocks: Vec<DtBlock>,
    /// Embeddings and head.
    pub readout: Readout,
    #[module(skip)]
    schedule: CosineSchedule,
    #[module(skip)]
    config: DtConfig,
}

/// What an inference went through.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// z after each step, `[batch, dim]` each.
    pub z: Vec<Tensor<2>>,
    /// Scores of the linear layer at the last one, `[batch, classes]`.
    pub logits: Tensor<2>,
}

/// The noise of a training step, two independent draws.
#[derive(Clone, Debug)]
pub struct DtNoise {
    /// Of the last z, which the head learns from, `[batch, dim]`.
    pub last: Tensor<2>,
    /// Of the z before the block, `[batch, dim]`.
    pub before: Tensor<2>,
}

impl DtNoise {
    /// Draws for `[batch, dim]`.
    pub fn draw(shape: [usize; 2], seed: Seed, device: &Device) -> Self {
        Self {
            last: draw_normal(shape, seed.stream("last"), device),
            before: draw_normal(shape, seed.stream("before"), device),
        }
    }
}

impl DtConfig {
    /// A model of this configuration on `device`. Parameters are drawn from the device's random
    /// generator; call it inside [`menagerie_train::initialise`] for a reproducible model.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<NoPropDt> {
        self.validate()?;
        let blocks = 0..self.steps;
        Ok(NoPropDt {
            blocks: blocks
                .map(|_| DtBlock::new(&self.network, device))
                .collect(),
            readout: Readout::new(&self.network, device),
            schedule: CosineSchedule::new(self.steps, self.clip)?,
            config: self.clone(),
        })
    }
}

impl NoPropDt {
    /// What it was built from.
    pub fn config(&self) -> &DtConfig {
        &self.config
    }

    /// The noise schedule.
    pub fn schedule(&self) -> &CosineSchedule {
        &self.schedule
    }

    /// The chain z_t = a_t û_t(z_{t-1}, x) + b_t z_{t-1} + √c_t ε_t from `start [batch, dim]` with the
    /// noise of every step, `[steps, batch, dim]`, for images `[batch, channels, height, width]`.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn chain(&self, images: Tensor<4>, start: Tensor<2>, noise: Tensor<3>) -> Trajectory {
        let mut z = start;
        let mut all = Vec::with_capacity(self.blocks.len());
        let steps = self.blocks.iter().zip(self.schedule.posteriors());
        for (step, (block, posterior)) in steps.enumerate() {
            let logits = block.forward(images.clone(), z.clone(), Mode::Evaluate);
            let noise = noise.clone().narrow(0, step, 1).squeeze_dim::<2>(0);
            z = self.readout.expected(logits) * posterior.a
                + z * posterior.b
                + noise * posterior.c.sqrt();
            all.push(z.clone());
        }
        Trajectory {
            logits: self.readout.logits(z),
            z: all,
        }
    }

    /// An inference of images `[batch, channels, height, width]` with draws from `seed`.
    ///
    /// # Errors
    /// [`Error::Input`] if the images are of another size.
    pub fn trajectory(&self, images: Tensor<4>, seed: Seed) -> Result<Trajectory> {
        self.readout.check_images(&images)?;
        let ([batch, ..], dim) = (images.dims(), self.config.network.dim);
        let device = images.device();
        let start = draw_normal([batch, dim], seed.stream("start"), &device);
        let shape = [self.blocks.len(), batch, dim];
        let noise = draw_normal(shape, seed.stream("noise"), &device);
        Ok(self.chain(images, start, noise))
    }

    /// The classes `[batch]` of images, as [`trajectory`](Self::trajectory) finds them.
    ///
    /// # Errors
    /// What [`trajectory`](Self::trajectory) reports.
    pub fn predict(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>> {
        let found = self.trajectory(images, seed)?;
        let last = found.z.last().cloned();
        let last = last.ok_or_else(|| Error::other("an inference", "there is no block"))?;
        Ok(self.readout.scores(last).argmax(1).squeeze_dim(1))
    }

    /// The objective of block `block`, counted from 0, for a batch with given noise. No other block
    /// takes part: gradients reach this one, the head, and the embeddings where they are trained.
    ///
    /// # Errors
    /// [`Error::Input`] for a block that there is not, or a batch that does not fit.
    ///
    /// # Panics
    /// If the noise is not `[batch, dim]`.
    pub fn loss(
        &self,
        block: usize,
        batch: &Labelled,
        noise: DtNoise,
        mode: Mode,
    ) -> Result<DtLoss> {
        let network = self.block(block)?;
        self.readout
            .check(batch, if mode == Mode::Evaluate { 1 } else { 2 })?;
        let device = batch.images.device();
        let labels = self.readout.labels(&batch.labels, &device)?;
        let u = self.readout.rows(labels.clone());
        let alpha_bar = self.schedule.alpha_bar();
        let (first, end) = (alpha_bar[0], alpha_bar[self.schedule.steps()]);
        let last = noised(u.clone(), end, noise.last);
        // Block t, counted from 1, reads z of step t - 1.
        let before = noised(u.clone(), alpha_bar[block], noise.before);
        let logits = network.forward(batch.images.clone(), before.clone(), mode);
        let estimate = self.readout.expected(logits);
        let rise = self.schedule.snr_rise()[block];
        let weight = 0.5 * self.config.steps as f64 * self.config.eta * rise;
        let denoising = squared_rows(estimate.clone() - u.clone()).mean() * weight;
        let one = |value: f64| Tensor::<1>::from_floats([value as f32], &device);
        let divergence = divergence(u, one(first), one((1.0 - first).ln()));
        let classification = classification(&self.readout, last.clone(), labels);
        Ok(DtLoss {
            total: classification.clone() + divergence.clone() + denoising.clone(),
            classification,
            divergence,
            denoising,
            last,
            before,
            estimate,
        })
    }

    /// Takes block `block`, counted from 0, from `other`, where it was trained: blocks need nothing of
    /// each other, so that each worker may train one. The readout stays this model's.
    ///
    /// # Errors
    /// [`Error::Input`] for a block that there is not, or another configuration.
    pub fn adopt(&mut self, block: usize, other: &Self) -> Result<()> {
        if self.config != other.config {
            let rule = "must be that of the model that takes the block";
            return Err(Error::input("the configuration", &other.config, rule));
        }
        // A clone would share its running statistics, which the other model may go on to train.
        let theirs = other.block(block)?.valid();
        let tracked = self.block(block)?.fuse1.weight.val().is_autodiff();
        let theirs = if tracked { theirs.train() } else { theirs };
        self.blocks[block] = theirs;
        Ok(())
    }

    /// Block `block`, counted from 0.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none.
    pub fn block(&self, block: usize) -> Result<&DtBlock> {
        self.blocks.get(block).ok_or_else(|| {
            let rule = format!("must be below the number of blocks, {}", self.blocks.len());
            Error::input("the block", block, rule)
        })
    }
}
