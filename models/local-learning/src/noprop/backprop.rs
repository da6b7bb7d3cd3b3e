//! The baseline of the paper: the same blocks, trained from end to end (equations 17-19).

use super::block::DtBlock;
use super::config::BackpropConfig;
use super::layers::Mode;
use super::objective::classification;
use super::readout::{Labelled, Readout};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Int, Tensor};
use menagerie_core::{Result, Seed};
use menagerie_nn::noise::draw_normal;

/// Blocks between which gradients flow.
#[derive(Module, Debug)]
pub struct Backprop {
    /// In the order of a pass.
    pub blocks: Vec<DtBlock>,
    /// Embeddings and head.
    pub readout: Readout,
    /// How far each block moves z: α = tanh(w), `[steps]`.
    pub w: Param<Tensor<1>>,
    #[module(skip)]
    config: BackpropConfig,
}

impl BackpropConfig {
    /// A model of this configuration on `device`. Parameters are drawn from the device's random
    /// generator; call it inside [`menagerie_train::initialise`] for a reproducible model.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Backprop> {
        self.validate()?;
        let blocks = 0..self.steps;
        let start = Initializer::Constant { value: self.start };
        Ok(Backprop {
            blocks: blocks
                .map(|_| DtBlock::new(&self.network, device))
                .collect(),
            readout: Readout::new(&self.network, device),
            w: start.init([self.steps], device),
            config: self.clone(),
        })
    }
}

impl Backprop {
    /// What it was built from.
    pub fn config(&self) -> &BackpropConfig {
        &self.config
    }

    /// z_t = (1 - α_t) z_{t-1} + α_t û_t(z_{t-1}, x) through all blocks, from `start [batch, dim]`:
    /// the last z, `[batch, dim]`.
    ///
    /// # Panics
    /// If the shapes do not fit the network.
    pub fn forward(&self, images: Tensor<4>, start: Tensor<2>, mode: Mode) -> Tensor<2> {
        let shares = self.w.val().tanh().unsqueeze_dim::<2>(1);
        let mut z = start;
        for (at, block) in self.blocks.iter().enumerate() {
            let mode = match mode {
                Mode::Train(seed) => Mode::Train(seed.at(at as u64)),
                Mode::Evaluate => mode,
            };
            let estimate = self
                .readout
                .expected(block.forward(images.clone(), z.clone(), mode));
            let share = shares.clone().narrow(0, at, 1);
            z = z.clone() + (estimate - z) * share;
        }
        z
    }

    /// The cross-entropy `[1]` of a batch that starts at `start [batch, dim]`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] for a batch that does not fit.
    ///
    /// # Panics
    /// If the start is not `[batch, dim]`.
    pub fn loss(&self, batch: &Labelled, start: Tensor<2>, mode: Mode) -> Result<Tensor<1>> {
        self.readout
            .check(batch, if mode == Mode::Evaluate { 1 } else { 2 })?;
        let labels = self.readout.labels(&batch.labels, &batch.images.device())?;
        let z = self.forward(batch.images.clone(), start, mode);
        Ok(classification(&self.readout, z, labels))
    }

    /// The classes `[batch]` of images `[batch, channels, height, width]` from a start that is drawn
    /// from `seed`.
    ///
    /// # Errors
    /// [`menagerie_core::Error::Input`] if the images are of another size.
    pub fn predict(&self, images: Tensor<4>, seed: Seed) -> Result<Tensor<1, Int>> {
        self.readout.check_images(&images)?;
        let shape = [images.dims()[0], self.config.network.dim];
        let start = draw_normal(shape, seed.stream("start"), &images.device());
        let z = self.forward(images, start, Mode::Evaluate);
        Ok(self.readout.scores(z).argmax(1).squeeze_dim(1))
    }
}
