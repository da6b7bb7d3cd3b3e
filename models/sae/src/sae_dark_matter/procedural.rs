//! Activations whose every part is known, to see where each lands in a decomposition.

use crate::draw::{normal, unit_rows};
use burn::{
    config::Config,
    tensor::{Device, Tensor, TensorData},
};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;

/// Activations that are a sum of sparse features, a dense part of low rank and noise, read by an
/// autoencoder that knows only some of the features and adds errors of its own.
#[derive(Config, Debug, PartialEq)]
pub struct ProceduralConfig {
    /// Rows.
    #[config(default = 20_000)]
    pub rows: usize,
    /// Width d of an activation.
    #[config(default = 64)]
    pub width: usize,
    /// Sparse features, each a random direction of unit length.
    #[config(default = 96)]
    pub features: usize,
    /// Those of them that the autoencoder has learned; the others are absent.
    #[config(default = 72)]
    pub learned: usize,
    /// Mean number of features that are active in a row, each with an exponential strength of mean
    /// 1.
    #[config(default = 4.0)]
    pub active: f64,
    /// Directions of the dense part.
    #[config(default = 3)]
    pub dense_rank: usize,
    /// Standard deviation along each of them, in a row of ordinary size.
    #[config(default = 1.0)]
    pub dense_scale: f64,
    /// Standard deviation of the noise on each dimension of the activation.
    #[config(default = 0.02)]
    pub noise: f64,
    /// Standard deviation of the error that the autoencoder introduces on each dimension, in a row
    /// of ordinary size.
    #[config(default = 0.2)]
    pub introduced_scale: f64,
}

/// The activations with their parts, all `[rows, width]`.
///
/// `x = learned features + absent + dense + noise` and `Sae(x) = learned features + introduced`.
#[derive(Clone, Debug)]
pub struct Procedural {
    /// The activations.
    pub x: Tensor<2>,
    /// What the autoencoder makes of them.
    pub reconstruction: Tensor<2>,
    /// The features that it does not know.
    pub absent: Tensor<2>,
    /// The dense part.
    pub dense: Tensor<2>,
    /// What it adds of its own.
    pub introduced: Tensor<2>,
}

impl ProceduralConfig {
    const NAME: &str = "ProceduralConfig";

    /// Draws activations. In each row the dense part and the introduced error have a size of their
    /// own, uniform between 0 and twice the ordinary one.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn draw(&self, seed: Seed, device: &Device) -> Result<Procedural> {
        self.validate()?;
        let width = self.width;
        let mut rng = seed.stream("directions").rng();
        let features = unit_rows(self.features, width, &mut rng);
        let directions = unit_rows(self.dense_rank, width, &mut rng);
        let chance = self.active / self.features as f64;
        let mut rng = seed.stream("rows").rng();
        let mut parts: [Vec<f32>; 5] =
            std::array::from_fn(|_| Vec::with_capacity(self.rows * width));
        for _ in 0..self.rows {
            let (mut learned, mut absent) = (vec![0.0; width], vec![0.0; width]);
            for feature in 0..self.features {
                if rng.random::<f64>() < chance {
                    let strength = -(1.0 - rng.random::<f64>()).ln();
                    let part = match feature < self.learned {
                        true => &mut learned,
                        false => &mut absent,
                    };
                    add(part, strength, &features[feature * width..][..width]);
                }
            }
            let mut dense = vec![0.0; width];
            let size = 2.0 * rng.random::<f64>() * self.dense_scale;
            let along = normal(self.dense_rank, &mut rng);
            for (along, direction) in along.iter().zip(directions.chunks_exact(width)) {
                add(&mut dense, size * along, direction);
            }
            let noise = normal(width, &mut rng);
            let size = 2.0 * rng.random::<f64>() * self.introduced_scale;
            let introduced: Vec<f64> = normal(width, &mut rng)
                .into_iter()
                .map(|value| size * value)
                .collect();
            for dim in 0..width {
                let x = learned[dim] + absent[dim] + dense[dim] + self.noise * noise[dim];
                let reconstruction = learned[dim] + introduced[dim];
                let row = [x, reconstruction, absent[dim], dense[dim], introduced[dim]];
                for (part, value) in parts.iter_mut().zip(row) {
                    part.push(value as f32);
                }
            }
        }
        let shape = [self.rows, width];
        let [x, reconstruction, absent, dense, introduced] =
            parts.map(|values| Tensor::from_data(TensorData::new(values, shape), device));
        Ok(Procedural {
            x,
            reconstruction,
            absent,
            dense,
            introduced,
        })
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("rows", self.rows),
            ("width", self.width),
            ("features", self.features),
        ] {
            if value == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        if self.learned > self.features {
            let rule = format!("must be at most the number of features, {}", self.features);
            return Err(Error::config(Self::NAME, "learned", self.learned, rule));
        }
        if !(0.0..=self.features as f64).contains(&self.active) {
            let rule = format!(
                "must lie between 0 and the number of features, {}",
                self.features
            );
            return Err(Error::config(Self::NAME, "active", self.active, rule));
        }
        for (field, value) in [
            ("dense_scale", self.dense_scale),
            ("noise", self.noise),
            ("introduced_scale", self.introduced_scale),
        ] {
            if !value.is_finite() || value < 0.0 {
                let rule = "must be finite and at least 0";
                return Err(Error::config(Self::NAME, field, value, rule));
            }
        }
        Ok(())
    }
}

fn add(target: &mut [f64], factor: f64, row: &[f64]) {
    for (target, value) in target.iter_mut().zip(row) {
        *target += factor * value;
    }
}
