//! Sizes of the autoencoders and how they are trained.

use burn::config::Config;
use menagerie_core::{Error, Result};

/// A fully connected autoencoder: SELU on every layer but the last, which is a sigmoid.
#[derive(Config, Debug, PartialEq)]
pub struct AutoencoderConfig {
    /// Values of an input.
    pub inputs: usize,
    /// Units of the encoder's layers, the code last; the decoder mirrors them.
    pub widths: Vec<usize>,
}

impl AutoencoderConfig {
    const NAME: &str = "AutoencoderConfig";

    /// The ordinary ("canonical") autoencoder of the comparison: D → 6 → 4 → 2 → 4 → 6 → D.
    pub fn canonical(bands: usize) -> Self {
        Self::new(bands, vec![6, 4, 2])
    }

    /// Length of the code.
    pub fn code(&self) -> usize {
        self.widths.last().copied().unwrap_or(self.inputs)
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.inputs < 2 {
            let rule = "must be at least 2: there is nothing to compress in one band";
            return Err(Error::config(Self::NAME, "inputs", self.inputs, rule));
        }
        if self.widths.is_empty() || self.widths.contains(&0) {
            let rule = "needs at least one layer, each with at least one unit";
            return Err(Error::config(Self::NAME, "widths", &self.widths, rule));
        }
        Ok(())
    }
}

/// Three autoencoders, each on what the ones before it leave.
#[derive(Config, Debug, PartialEq)]
pub struct StackConfig {
    /// Bands D of a scene.
    pub bands: usize,
    /// Encoder widths of the first, on the D bands; it passes on its reconstruction.
    #[config(default = "vec![6, 4, 2]")]
    pub first: Vec<usize>,
    /// Encoder widths of the second, on reconstruction and bands, 2 D values; it passes on its
    /// **second** encoder layer, not the code, as the published maps have it.
    #[config(default = "vec![10, 5, 2]")]
    pub second: Vec<usize>,
    /// Encoder widths of the third, on that layer and the second's inputs; its code is what is
    /// clustered.
    #[config(default = "vec![15, 10, 5, 2]")]
    pub third: Vec<usize>,
}

/// The encoder layer that the second autoencoder passes on, from 0.
pub(super) const PASSED_ON: usize = 1;

impl StackConfig {
    /// Landsat 8: 7 bands (not verified by the paper), 1 694 parameters.
    pub fn landsat8() -> Self {
        Self::new(7)
    }

    /// ASTER: 9 bands (not verified by the paper), 1 928 parameters.
    pub fn aster() -> Self {
        Self::new(9)
    }

    /// Sentinel-2: 10 bands (not verified by the paper), 2 045 parameters.
    pub fn sentinel2() -> Self {
        Self::new(10)
    }

    /// The three autoencoders.
    pub fn stages(&self) -> [AutoencoderConfig; 3] {
        let passed = self.second.get(PASSED_ON).copied().unwrap_or_default();
        [
            AutoencoderConfig::new(self.bands, self.first.clone()),
            AutoencoderConfig::new(2 * self.bands, self.second.clone()),
            AutoencoderConfig::new(2 * self.bands + passed, self.third.clone()),
        ]
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.second.len() <= PASSED_ON {
            let rule = "needs at least two layers: the second is passed on";
            return Err(Error::config("StackConfig", "second", &self.second, rule));
        }
        self.stages()
            .iter()
            .try_for_each(AutoencoderConfig::validate)
    }
}

/// How an autoencoder is trained: Adam without schedule, on all pixels, without validation.
#[derive(Config, Debug, PartialEq)]
pub struct StageConfig {
    /// Passes over the pixels.
    pub epochs: usize,
    /// Pixels per batch; the last batch of a pass is the rest.
    pub batch: usize,
    /// Learning rate of Adam (β 0.9 and 0.999, ε 1e-7).
    #[config(default = 1e-3)]
    pub learning_rate: f64,
    /// Weight of the sum of all absolute activations of a pixel.
    #[config(default = 1e-4)]
    pub penalty: f64,
    /// Further attempts from other weights while the code collapses
    /// ([`CodeVariance`](super::CodeVariance)); if it still does after the last one, training ends with
    /// an error. 0, as the paper has it, takes whatever comes; how the code varies is told all the same.
    #[config(default = 0)]
    pub restarts: usize,
}

impl StageConfig {
    /// The canonical autoencoder and the first of the stack: 10 passes, batches of 64.
    pub fn first() -> Self {
        Self::new(10, 64)
    }

    /// The second of the stack: 5 passes, batches of 32.
    pub fn second() -> Self {
        Self::new(5, 32)
    }

    /// The third of the stack: 5 passes, batches of 16.
    pub fn third() -> Self {
        Self::new(5, 16)
    }

    /// The three stages as published.
    pub fn stack() -> [Self; 3] {
        [Self::first(), Self::second(), Self::third()]
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        const NAME: &str = "StageConfig";
        for (field, value) in [("epochs", self.epochs), ("batch", self.batch)] {
            if value == 0 {
                return Err(Error::config(NAME, field, 0, "must be at least 1"));
            }
        }
        if !self.learning_rate.is_finite() || self.learning_rate <= 0.0 {
            let rule = "must be finite and above 0";
            return Err(Error::config(
                NAME,
                "learning_rate",
                self.learning_rate,
                rule,
            ));
        }
        if !self.penalty.is_finite() || self.penalty < 0.0 {
            let rule = "must be finite and not negative";
            return Err(Error::config(NAME, "penalty", self.penalty, rule));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_the_stages_add_up() {
        let inputs = |config: StackConfig| config.stages().map(|stage| stage.inputs);
        assert_eq!(inputs(StackConfig::landsat8()), [7, 14, 19]);
        assert_eq!(inputs(StackConfig::sentinel2()), [10, 20, 25]);
        StackConfig::aster().validate().unwrap();
    }

    #[test]
    fn configurations_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stack.toml");
        let config = StackConfig::aster();
        menagerie_core::config::save(&config, &path).unwrap();
        let back: StackConfig = menagerie_core::config::load(&path).unwrap();
        assert_eq!(back, config);
    }
}
