//! Masks from noise. The objective itself is MAE's: [`Mae::loss`](crate::mae_base::Mae::loss).

use super::{
    bank::{NoiseBank, Window},
    config::Sampling,
};
use burn::tensor::Device;
use menagerie_core::{Error, Result, Seed};
use menagerie_nn::vit::{Masking, Order, len_keep};

/// Masks of one color for batches of images: any model of masked tokens can use them.
#[derive(Clone, Debug, PartialEq)]
pub struct ColorMasks {
    bank: NoiseBank,
    sampling: Sampling,
    grid: usize,
    keep: usize,
}

impl ColorMasks {
    /// Masks of `grid` × `grid` patches that hide the share `ratio` of them.
    ///
    /// # Errors
    /// [`Error::Input`] where the grid does not fit into the bank, or the ratio hides all patches or
    /// none.
    pub fn new(bank: NoiseBank, sampling: Sampling, grid: usize, ratio: f64) -> Result<Self> {
        bank.check_grid(grid)?;
        let tokens = grid * grid;
        let keep = len_keep(tokens, ratio);
        if !(0.0..1.0).contains(&ratio) || !(1..tokens).contains(&keep) {
            let rule = format!("must hide at least one of {tokens} patches and leave one visible");
            return Err(Error::input("the mask ratio", ratio, rule));
        }
        Ok(Self {
            bank,
            sampling,
            grid,
            keep,
        })
    }

    /// The noise.
    pub fn bank(&self) -> &NoiseBank {
        &self.bank
    }

    /// The masks of a batch of images.
    ///
    /// # Errors
    /// [`Error::Input`] for an empty batch.
    pub fn draw(&self, batch: usize, seed: Seed, device: &Device) -> Result<Masking> {
        let windows = self
            .bank
            .draw_windows(self.sampling, batch, self.grid, seed)?;
        self.of(&windows, device)
    }

    /// The masks of given windows: the patches with the most noise stay visible.
    ///
    /// # Errors
    /// As [`NoiseBank::cut`]; [`Error::Input`] for no windows.
    pub fn of(&self, windows: &[Window], device: &Device) -> Result<Masking> {
        let noise = self.bank.cut(windows, self.grid)?;
        masking(&noise, self.grid * self.grid, self.keep, device)
    }
}

/// The masks of window noise `[batch, tokens]`: the `keep` patches with the most noise stay visible,
/// the greatest first; equal ones in the order of the patches (official `random_masking`).
///
/// # Errors
/// [`Error::Input`] where the noise is not a whole number of images, or `keep` is not between 1 and
/// the tokens.
pub fn masking(noise: &[f32], tokens: usize, keep: usize, device: &Device) -> Result<Masking> {
    let shape = [noise.len() / tokens.max(1), tokens];
    Masking::from_noise(noise, shape, keep, Order::Descending, device)
}
