//! Activations that are sparse sums of known directions.

use crate::draw::unit_rows;
use burn::{
    config::Config,
    tensor::{Device, Tensor, TensorData},
};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

/// Features and how often each is active.
#[derive(Config, Debug, PartialEq)]
pub struct DictionaryConfig {
    /// Width d of an activation.
    #[config(default = 32)]
    pub d: usize,
    /// Number of features, more than dimensions.
    #[config(default = 96)]
    pub features: usize,
    /// Mean number of active features in a row.
    #[config(default = 4.0)]
    pub active: f64,
    /// Feature i is active with a probability in proportion to (i + 1)^-exponent.
    #[config(default = 1.0)]
    pub exponent: f64,
}

/// The features that activations are made of.
#[derive(Clone, Debug)]
pub struct Dictionary {
    /// Unit vectors `[features, d]`.
    pub features: Tensor<2>,
    frequencies: Vec<f64>,
}

impl DictionaryConfig {
    const NAME: &str = "DictionaryConfig";

    /// The probability with which each feature is active in a row.
    pub fn frequencies(&self) -> Vec<f64> {
        let weight = |feature: usize| ((feature + 1) as f64).powf(-self.exponent);
        let sum: f64 = (0..self.features).map(weight).sum();
        (0..self.features)
            .map(|feature| weight(feature) * self.active / sum)
            .collect()
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, value: &dyn std::fmt::Debug, rule: String| {
            Err(Error::config(Self::NAME, field, value, rule))
        };
        for (field, value) in [("d", self.d), ("features", self.features)] {
            if value == 0 {
                return refuse(field, &value, "must be at least 1".into());
            }
        }
        if !self.exponent.is_finite() {
            return refuse("exponent", &self.exponent, "must be finite".into());
        }
        if !(self.active.is_finite() && self.active > 0.0) {
            return refuse("active", &self.active, "must be finite and above 0".into());
        }
        let most = self.frequencies().into_iter().fold(0.0, f64::max);
        if most > 1.0 {
            let rule = format!(
                "makes the most frequent feature active with probability {most:.2}: must keep it \
                 at most 1"
            );
            return refuse("active", &self.active, rule);
        }
        Ok(())
    }

    /// Draws the features.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, seed: Seed, device: &Device) -> Result<Dictionary> {
        self.validate()?;
        let rows = unit_rows(self.features, self.d, &mut seed.stream("features").rng());
        let rows: Vec<f32> = rows.into_iter().map(|value| value as f32).collect();
        Ok(Dictionary {
            features: Tensor::from_data(TensorData::new(rows, [self.features, self.d]), device),
            frequencies: self.frequencies(),
        })
    }
}

impl Dictionary {
    /// Activations `[rows, d]`: every feature is active or not on its own, with a strength uniform
    /// between 1/2 and 3/2.
    pub fn sample(&self, rows: usize, seed: Seed) -> Tensor<2> {
        let mut rng = seed.stream("rows").rng();
        let features = self.frequencies.len();
        let mut strengths = Vec::with_capacity(rows * features);
        for _ in 0..rows {
            strengths.extend(self.frequencies.iter().map(|&frequency| {
                match rng.random::<f64>() < frequency {
                    true => 0.5 + rng.random::<f32>(),
                    false => 0.0,
                }
            }));
        }
        let strengths = TensorData::new(strengths, [rows, features]);
        Tensor::<2>::from_data(strengths, &self.features.device()).matmul(self.features.clone())
    }
}
