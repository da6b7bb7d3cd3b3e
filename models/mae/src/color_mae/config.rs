//! Colors, noise and sizes.

use crate::mae_base::{ClassifierConfig, MaeConfig, VitConfig};
use burn::config::Config;
use menagerie_core::{Error, Result};
use menagerie_nn::vit::position::First;
use std::path::PathBuf;

/// The color of noise: which spatial frequencies it has (project page, "Method"). W is white noise,
/// G_σ a Gaussian blur.
#[derive(Config, Debug, PartialEq, Eq, Copy, Hash)]
pub enum Color {
    /// W: all frequencies, MAE's random masking.
    White,
    /// G_σ * W: low ones, large connected areas.
    Red,
    /// W − G_σ * W: high ones, evenly spread.
    Blue,
    /// G_σ1 * W − G_σ2 * W with σ1 < σ2: a band in the middle; the paper's choice.
    Green,
    /// W − (G_σ1 * W − G_σ2 * W): all but that band.
    Purple,
}

impl Color {
    /// All colors, from the most to the least connected masks, purple last.
    pub const ALL: [Self; 5] = [
        Self::Red,
        Self::Green,
        Self::White,
        Self::Blue,
        Self::Purple,
    ];

    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::White => "white",
            Self::Red => "red",
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Purple => "purple",
        }
    }
}

/// How the white noise is distributed.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Distribution {
    /// N(0, 1).
    Normal,
    /// U[0, 1).
    Uniform,
}

/// What a blur sees beyond the border of a tile.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Boundary {
    /// The tile again: every place has the same spectrum.
    Wrap,
    /// The tile mirrored, its border twice.
    Reflect,
    /// The border.
    Nearest,
}

/// How noise is made. The paper's own settings are not public; the defaults are the card's.
#[derive(Config, Debug, PartialEq)]
pub struct NoiseConfig {
    /// The color.
    pub color: Color,
    /// Independent tiles.
    #[config(default = 3072)]
    pub slices: usize,
    /// Side of a tile, in patches.
    #[config(default = 64)]
    pub size: usize,
    /// σ of red and blue, in patches.
    #[config(default = 1.0)]
    pub sigma: f64,
    /// σ1 and σ2 of green and purple, in patches; σ1 < σ2.
    #[config(default = "[0.5, 2.0]")]
    pub sigmas: [f64; 2],
    /// Where the Gaussian ends, in σ.
    #[config(default = 4.0)]
    pub truncate: f64,
    /// What the blur sees beyond the border.
    #[config(default = "Boundary::Wrap")]
    pub boundary: Boundary,
    /// How the white noise is distributed.
    #[config(default = "Distribution::Normal")]
    pub distribution: Distribution,
}

impl NoiseConfig {
    const NAME: &str = "NoiseConfig";

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("slices", self.slices), ("size", self.size)] {
            if !(1..=1 << 16).contains(&value) {
                let rule = "must lie in 1..=65536";
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(self.sigma) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "sigma", self.sigma, rule));
        }
        let [narrow, wide] = self.sigmas;
        if !positive(narrow) || !positive(wide) || narrow >= wide {
            let rule = "must be finite and above 0, the first below the second";
            return Err(Error::config(Self::NAME, "sigmas", self.sigmas, rule));
        }
        let reach = self.truncate * self.sigma.max(wide);
        if !positive(self.truncate) || reach > 65_536.0 {
            let rule = "must be above 0, and the blur reach no further than 65536 patches";
            return Err(Error::config(Self::NAME, "truncate", self.truncate, rule));
        }
        Ok(())
    }
}

/// Which part of the noise becomes the mask of which image.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Sampling {
    /// The official rule: image b takes slice b, and all images of a group (as many as there are
    /// slices) share one crop and its mirroring.
    Grouped,
    /// Slice, crop and mirroring are drawn for each image.
    PerImage,
}

/// Where noise comes from.
#[derive(Config, Debug, PartialEq)]
pub enum NoiseSource {
    /// It is drawn and filtered.
    Drawn(NoiseConfig),
    /// It is read, as by [`NoiseBank::open`](super::NoiseBank::open): the official `.npz` files.
    File(PathBuf),
}

/// Noise from an epoch of the run on.
#[derive(Config, Debug, PartialEq)]
pub struct NoiseChange {
    /// The first epoch, counted from 0.
    pub epoch: usize,
    /// What masks come from since then.
    pub source: NoiseSource,
}

/// The noise of a run: the official `begin` and `epoch_<k>`.
#[derive(Config, Debug, PartialEq)]
pub struct NoiseSchedule {
    /// What masks come from at the start.
    pub begin: NoiseSource,
    /// What replaces it, by ascending epoch.
    #[config(default = "Vec::new()")]
    pub changes: Vec<NoiseChange>,
}

impl NoiseSchedule {
    /// The same noise over the whole run.
    pub fn constant(noise: NoiseConfig) -> Self {
        Self::new(NoiseSource::Drawn(noise))
    }

    /// The same, with `source` from `epoch` on.
    pub fn then(mut self, epoch: usize, source: NoiseSource) -> Self {
        self.changes.push(NoiseChange { epoch, source });
        self
    }

    /// Which of [`sources`](Self::sources) counts in an epoch.
    pub fn at(&self, epoch: usize) -> usize {
        let begun = |change: &&NoiseChange| change.epoch <= epoch;
        self.changes.iter().take_while(begun).count()
    }

    /// All sources in the order in which they count.
    pub fn sources(&self) -> impl Iterator<Item = &NoiseSource> {
        let changes = self.changes.iter().map(|change| &change.source);
        std::iter::once(&self.begin).chain(changes)
    }

    /// Refuses impossible noise, and changes that are not in order.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let epochs: Vec<usize> = self.changes.iter().map(|change| change.epoch).collect();
        if epochs.first() == Some(&0) || !epochs.is_sorted_by(|a, b| a < b) {
            let rule = "must name ascending epochs from 1 on";
            return Err(Error::config("NoiseSchedule", "changes", epochs, rule));
        }
        self.sources().try_for_each(|source| match source {
            NoiseSource::Drawn(noise) => noise.validate(),
            NoiseSource::File(_) => Ok(()),
        })
    }
}

/// A masked autoencoder whose masks come from colored noise.
#[derive(Config, Debug, PartialEq)]
pub struct ColorMaeConfig {
    /// The network and its objective, MAE's.
    pub mae: MaeConfig,
    /// The noise.
    pub noise: NoiseSchedule,
    /// How masks are taken from the noise.
    #[config(default = "Sampling::Grouped")]
    pub sampling: Sampling,
}

impl ColorMaeConfig {
    /// `colormae_vit-base-p16`: ViT-B/16 with green noise; 111 907 840 parameters, fixed positions
    /// included.
    pub fn base() -> Self {
        Self::of(MaeConfig::base(), Color::Green)
    }

    /// The paper's ViT-L/16 with green noise; 329 541 888 parameters.
    pub fn large() -> Self {
        Self::of(MaeConfig::large(), Color::Green)
    }

    /// That network with noise of that color. Positions have the row in their first half, as in
    /// mmpretrain.
    pub fn of(mut mae: MaeConfig, color: Color) -> Self {
        mae.encoder = rows_first(mae.encoder);
        Self::new(mae, NoiseSchedule::constant(NoiseConfig::new(color)))
    }

    /// The fine-tuned ViT-B/16: 1000 classes, stochastic depth 0.1; 86 567 656 parameters.
    pub fn classifier() -> ClassifierConfig {
        ClassifierConfig::imagenet(rows_first(VitConfig::base()))
    }

    /// Refuses impossible sizes, and tiles that are smaller than the grid of patches.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        self.mae.validate()?;
        self.noise.validate()?;
        let grid = self.mae.encoder.grid();
        for source in self.noise.sources() {
            if let NoiseSource::Drawn(noise) = source
                && noise.size < grid
            {
                let rule = format!("must be at least {grid}, the patches along a side");
                return Err(Error::config(NoiseConfig::NAME, "size", noise.size, rule));
            }
        }
        Ok(())
    }
}

fn rows_first(encoder: VitConfig) -> VitConfig {
    encoder.with_positions(First::Row)
}
