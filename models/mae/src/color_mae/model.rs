//! The network, which is MAE's, and the masks of a run.

use super::{
    bank::NoiseBank,
    config::{ColorMaeConfig, NoiseSchedule, NoiseSource},
    objective::ColorMasks,
};
use crate::mae_base::Mae;
use burn::tensor::Device;
use menagerie_core::{Result, Seed};

impl ColorMaeConfig {
    /// The network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Mae> {
        self.validate()?;
        self.mae.init(device)
    }

    /// The masks of a run, whose noise is drawn or read once. Of the same `seed` every source draws
    /// its own noise.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) and [`NoiseBank::open`] report;
    /// [`Error::Input`](menagerie_core::Error::Input) where the grid does not fit into a file's noise.
    pub fn masks(&self, seed: Seed) -> Result<RunMasks> {
        self.validate()?;
        let (grid, ratio) = (self.mae.encoder.grid(), self.mae.mask_ratio);
        let stream = seed.stream("noise");
        let sources = self.noise.sources().zip(0..);
        let masks = sources.map(|(source, index)| {
            let bank = match source {
                NoiseSource::Drawn(noise) => noise.init(stream.at(index))?,
                NoiseSource::File(path) => NoiseBank::open(path)?,
            };
            ColorMasks::new(bank, self.sampling, grid, ratio)
        });
        Ok(RunMasks {
            masks: masks.collect::<Result<_>>()?,
            schedule: self.noise.clone(),
        })
    }
}

/// Masks of every color of a run.
#[derive(Clone, Debug)]
pub struct RunMasks {
    /// One for each source of the schedule.
    masks: Vec<ColorMasks>,
    schedule: NoiseSchedule,
}

impl RunMasks {
    /// The masks that count in an epoch, counted from 0.
    pub fn at(&self, epoch: usize) -> &ColorMasks {
        &self.masks[self.schedule.at(epoch)]
    }
}
