//! What an input is rewritten as.

use burn::tensor::{Int, Tensor};
use menagerie_nn::sparse::Pattern;

/// Latent activations z of a batch `[rows, d_sae]`.
#[derive(Clone, Debug)]
pub struct Codes {
    /// The activations.
    pub latents: Latents,
    /// How the input was normalised, for the decoder to undo.
    pub(crate) scaling: Option<Scaling>,
}

/// Latent activations, in full or those that were kept.
#[derive(Clone, Debug)]
pub enum Latents {
    /// Every latent of every row `[rows, d_sae]`.
    Dense(Tensor<2>),
    /// The kept ones; a kept one may be 0.
    Sparse {
        /// Their activations `[entries]`.
        values: Tensor<1>,
        /// Their places.
        pattern: Pattern,
    },
}

/// x was (x - mean) / scale.
#[derive(Clone, Debug)]
pub(crate) struct Scaling {
    /// `[rows, 1]`.
    pub mean: Option<Tensor<2>>,
    /// `[rows, 1]`.
    pub scale: Tensor<2>,
}

impl Codes {
    /// Given activations of all latents `[rows, d_sae]`, of an input that was not normalised.
    pub fn dense(latents: Tensor<2>) -> Self {
        Self {
            latents: Latents::Dense(latents),
            scaling: None,
        }
    }

    /// Given activations `[entries]` at the places of `pattern`, of an input that was not
    /// normalised.
    ///
    /// # Panics
    /// If there is not one value per entry.
    pub fn sparse(values: Tensor<1>, pattern: Pattern) -> Self {
        assert_eq!(values.dims(), [pattern.len()]);
        Self {
            latents: Latents::Sparse { values, pattern },
            scaling: None,
        }
    }

    /// The activations of all latents `[rows, d_sae]`.
    pub fn to_dense(&self) -> Tensor<2> {
        match &self.latents {
            Latents::Dense(latents) => latents.clone(),
            Latents::Sparse { values, pattern } => pattern.scatter(values.clone()),
        }
    }

    /// Activations and latents of the kept entries, `[rows, k]` each, where every row keeps the
    /// same number k: largest first for TopK.
    pub fn to_sparse(&self) -> Option<(Tensor<2>, Tensor<2, Int>)> {
        let Latents::Sparse { values, pattern } = &self.latents else {
            return None;
        };
        let rows = pattern.rows();
        let k = pattern.len().checked_div(rows)?;
        let uniform = (0..=rows).all(|row| pattern.starts()[row] == row * k);
        if k == 0 || !uniform {
            return None;
        }
        let indices = pattern.column_indices(&values.device());
        Some((
            values.clone().reshape([rows, k]),
            indices.reshape([rows, k]),
        ))
    }

    /// The same with every activation replaced by `change` of all of them `[rows, d_sae]`, e.g. to
    /// ablate or clamp a latent.
    pub fn map(self, change: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Self {
        Self {
            latents: Latents::Dense(change(self.to_dense())),
            scaling: self.scaling,
        }
    }

    /// How many latents are active (above 0) in each row on average.
    pub fn l0(&self) -> Tensor<1> {
        let (values, rows) = match &self.latents {
            Latents::Dense(latents) => {
                let [rows, width] = latents.dims();
                (latents.clone().reshape([rows * width]), rows)
            }
            Latents::Sparse { values, pattern } => (values.clone(), pattern.rows()),
        };
        let values = values.without_autodiff();
        values.greater_elem(0.0).float().sum() / rows as f64
    }

    /// The sum of all activations; reads one number from the device.
    pub fn sum(&self) -> f64 {
        let sum = match &self.latents {
            Latents::Dense(latents) => latents.clone().without_autodiff().sum(),
            Latents::Sparse { values, .. } => values.clone().without_autodiff().sum(),
        };
        let sum = sum.into_data().convert::<f64>();
        sum.as_slice::<f64>()
            .ok()
            .and_then(|sum| sum.first().copied())
            .unwrap_or(f64::NAN)
    }

    /// In how many rows each latent is active (above 0): `d_sae` numbers.
    pub fn firing_counts(&self) -> Vec<u32> {
        match &self.latents {
            Latents::Dense(latents) => {
                let active = latents.clone().without_autodiff().greater_elem(0.0);
                let counts = active.int().sum_dim(0).into_data().convert::<i64>();
                let counts = counts.as_slice::<i64>().unwrap_or_default();
                counts.iter().map(|&count| count as u32).collect()
            }
            Latents::Sparse { values, pattern } => {
                let mut counts = vec![0; pattern.width()];
                let values = values
                    .clone()
                    .without_autodiff()
                    .into_data()
                    .convert::<f32>();
                let values = values.as_slice::<f32>().unwrap_or_default();
                for (&value, &column) in values.iter().zip(pattern.columns()) {
                    counts[column as usize] += u32::from(value > 0.0);
                }
                counts
            }
        }
    }
}
