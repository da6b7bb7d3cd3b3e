//! Which latents are dead, what to do with them, and thresholds that are estimated on the way.

use super::{
    codes::{Codes, Latents},
    fold::edit,
    model::{SparseAutoencoder, row_norms},
    objective::mask,
};
use burn::tensor::{Int, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::Adam;
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// For every latent, how long ago it was last active: tokens or steps, as the caller counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLatents {
    counters: Vec<u64>,
    limit: u64,
    fired_above: f32,
}

impl DeadLatents {
    /// All latents active just now. A latent is dead once its counter reaches `limit`; only
    /// activations above `fired_above` count as active (0, or 1e-3 in OpenAI's code).
    pub fn new(latents: usize, limit: u64, fired_above: f32) -> Self {
        Self::from_counters(vec![0; latents], limit, fired_above)
    }

    /// With given counters.
    pub fn from_counters(counters: Vec<u64>, limit: u64, fired_above: f32) -> Self {
        Self {
            counters,
            limit,
            fired_above,
        }
    }

    /// Adds `amount` (the rows of the batch, or 1 step) to every counter and sets those of the
    /// latents that `codes` activates to 0.
    pub fn update(&mut self, codes: &Codes, amount: u64) {
        for counter in &mut self.counters {
            *counter = counter.saturating_add(amount);
        }
        let floats = |data: TensorData| data.convert::<f32>();
        match &codes.latents {
            Latents::Dense(z) => {
                let most = z.clone().without_autodiff().max_dim(0).into_data();
                let most = floats(most);
                let most = most.as_slice::<f32>().unwrap_or_default();
                for (counter, &most) in self.counters.iter_mut().zip(most) {
                    if most > self.fired_above {
                        *counter = 0;
                    }
                }
            }
            Latents::Sparse { values, pattern } => {
                let values = floats(values.clone().without_autodiff().into_data());
                let values = values.as_slice::<f32>().unwrap_or_default();
                for (&value, &column) in values.iter().zip(pattern.columns()) {
                    if value > self.fired_above {
                        self.counters[column as usize] = 0;
                    }
                }
            }
        }
    }

    /// Time since every latent was active.
    pub fn counters(&self) -> &[u64] {
        &self.counters
    }

    /// Which latents are dead.
    pub fn mask(&self) -> Vec<bool> {
        self.counters.iter().map(|&age| age >= self.limit).collect()
    }

    /// How many are dead.
    pub fn count(&self) -> usize {
        self.counters
            .iter()
            .filter(|&&age| age >= self.limit)
            .count()
    }
}

/// How the threshold that stands in for a selection at inference follows the batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ThresholdRule {
    /// SAELens' BatchTopK: (1 - rate) · threshold + rate · smallest positive activation of the
    /// batch, from 0.
    Average {
        /// The rate, 0.01.
        rate: f64,
    },
    /// dictionary_learning's BatchTopK: set to the smallest positive activation of the batch first,
    /// then averaged with decay `beta`, after step `start`.
    SetThenAverage {
        /// The decay, 0.999.
        beta: f64,
        /// The last step that does not count, 1000.
        start: usize,
    },
    /// dictionary_learning's TopK: as [`SetThenAverage`](Self::SetThenAverage) with the mean over
    /// rows of each row's smallest positive activation.
    RowsSetThenAverage {
        /// The decay, 0.999.
        beta: f64,
        /// The last step that does not count, 1000.
        start: usize,
    },
}

impl ThresholdRule {
    /// The threshold after a batch with `codes` at step `step`.
    pub fn update(&self, before: Option<f32>, codes: &Codes, step: usize) -> Option<f32> {
        let averaged = |beta: f64, start: usize, new: f64| match before {
            before if step <= start => before,
            None => Some(new as f32),
            Some(old) => Some((beta * f64::from(old) + (1.0 - beta) * new) as f32),
        };
        match *self {
            Self::Average { rate } => {
                let new = smallest(codes, false)?;
                let old = f64::from(before.unwrap_or(0.0));
                Some(((1.0 - rate) * old + rate * new) as f32)
            }
            Self::SetThenAverage { beta, start } => {
                averaged(beta, start, smallest(codes, false).unwrap_or(0.0))
            }
            Self::RowsSetThenAverage { beta, start } => match smallest(codes, true) {
                Some(new) => averaged(beta, start, new),
                None => before,
            },
        }
    }
}

/// The smallest positive activation of the batch, or the mean of those of the rows that have one.
fn smallest(codes: &Codes, by_row: bool) -> Option<f64> {
    let (values, starts): (TensorData, Vec<usize>) = match &codes.latents {
        Latents::Dense(z) => {
            let [rows, width] = z.dims();
            let data = z.clone().without_autodiff().into_data();
            (data, (0..=rows).map(|row| row * width).collect())
        }
        Latents::Sparse { values, pattern } => {
            let data = values.clone().without_autodiff().into_data();
            (data, pattern.starts().to_vec())
        }
    };
    let values = values.convert::<f32>();
    let values = values.as_slice::<f32>().unwrap_or_default();
    let least = |row: &[f32]| {
        let positive = row.iter().copied().filter(|&value| value > 0.0);
        positive.min_by(f32::total_cmp).map(f64::from)
    };
    if !by_row {
        return least(values);
    }
    let rows = starts
        .windows(2)
        .filter_map(|ends| least(&values[ends[0]..ends[1]]));
    let (sum, count) = rows.fold((0.0, 0), |(sum, count), least| (sum + least, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// How inputs are drawn to take the place of dead latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResampleBy {
    /// With probability proportional to the squared loss of the input, ‖x - x'‖⁴ (Bricken et al.).
    SquaredLoss,
    /// Proportional to ‖x - x'‖ (dictionary_learning).
    ErrorNorm,
}

/// ‖x - x'‖ of every row `[rows]` as in training: what [`draw_inputs`] weighs.
///
/// # Errors
/// As [`SparseAutoencoder::encode_training`]; a transcoder.
pub fn error_norms(sae: &SparseAutoencoder, x: Tensor<2>) -> Result<Tensor<1>> {
    sae.refuse_transcoder()?;
    let codes = sae.encode_training(x.clone())?;
    let reconstruction = sae.decode(&codes)?;
    Ok(row_norms((x - reconstruction).without_autodiff()))
}

/// `count` different row numbers, drawn by the error norms `[rows]`; fewer where fewer rows have an
/// error. Two latents that start from one input would stay the same for ever.
///
/// # Errors
/// Error norms that are not finite or all 0.
pub fn draw_inputs(norms: &[f32], count: usize, by: ResampleBy, seed: Seed) -> Result<Vec<usize>> {
    let weight = |norm: f32| {
        let norm = f64::from(norm);
        match by {
            ResampleBy::SquaredLoss => norm.powi(4),
            ResampleBy::ErrorNorm => norm,
        }
    };
    let weights: Vec<f64> = norms.iter().map(|&norm| weight(norm)).collect();
    let total: f64 = weights.iter().sum();
    if !(total.is_finite() && total > 0.0) {
        return Err(Error::input(
            "sum of the error weights",
            total,
            "must be finite and above 0 to resample dead latents",
        ));
    }
    // Each row arrives after an exponential time of its rate; the first ones are the sample.
    let mut rng = seed.rng();
    let arrivals = weights.iter().enumerate().filter_map(|(row, &weight)| {
        let time = -(1.0 - rng.random::<f64>()).ln();
        (weight > 0.0).then_some((time / weight, row))
    });
    let mut arrivals: Vec<(f64, usize)> = arrivals.collect();
    arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(arrivals
        .into_iter()
        .take(count)
        .map(|(_, row)| row)
        .collect())
}

impl SparseAutoencoder {
    /// Gives every dead latent a new direction: its encoder row becomes input `drawn[i]` times
    /// `scale` (0.2) times the mean norm of the living encoder rows, its dictionary vector the unit
    /// vector of that input, its bias 0; Adam forgets its moments.
    ///
    /// `x` `[rows, d_in]` are the inputs; `drawn` holds a row number for every dead latent, the
    /// latents in ascending order. With fewer draws the last ones stay as they are.
    ///
    /// # Errors
    /// A mask of another length, more draws than dead latents, draws out of range, a transcoder, no
    /// living latent.
    pub fn resample(
        mut self,
        adam: &mut Adam,
        x: Tensor<2>,
        dead: &[bool],
        drawn: &[usize],
        scale: f64,
    ) -> Result<Self> {
        let count = dead.iter().filter(|&&dead| dead).count();
        let [rows, width] = x.dims();
        let d = self.config().d_in;
        if dead.len() != self.config().d_sae {
            let rule = format!("must be d_sae, {}", self.config().d_sae);
            return Err(Error::input("length of the dead mask", dead.len(), rule));
        }
        if drawn.len() > count {
            let rule = format!("must be at most one per dead latent, {count}");
            return Err(Error::input("number of drawn inputs", drawn.len(), rule));
        }
        if let Some(&beyond) = drawn.iter().find(|&&row| row >= rows) {
            let rule = format!("must be below the number of inputs, {rows}");
            return Err(Error::input("drawn input", beyond, rule));
        }
        if width != d || self.config().output() != d {
            let rule = format!("must be d_in, {d}, and the width of the output");
            return Err(Error::input("width of x", width, rule));
        }
        if drawn.is_empty() {
            return Ok(self);
        }
        if count == dead.len() {
            let rule = "must leave a living latent, whose norms the new ones take";
            return Err(Error::input("dead latents", count, rule));
        }
        // Those that a draw is left for.
        let mut left = drawn.len();
        let renewed: Vec<bool> = dead
            .iter()
            .map(|&dead| {
                let renewed = dead && left > 0;
                left -= usize::from(renewed);
                renewed
            })
            .collect();
        let device = self.decoder.device().without_autodiff();
        // Which of the drawn inputs each latent takes; living latents take any and ignore it.
        let mut next = 0;
        let taken: Vec<i64> = renewed
            .iter()
            .map(|&dead| {
                let row = drawn.get(next).copied().unwrap_or_default();
                next += usize::from(dead);
                if dead { row as i64 } else { 0 }
            })
            .collect();
        let taken = Tensor::<1, Int>::from_data(taken.as_slice(), &device);
        let inputs = x.without_autodiff().select(0, taken);
        let encoder = self.encoder.val().without_autodiff();
        let alive: Tensor<1> = mask(dead, &encoder).neg() + 1.0;
        let living = row_norms(encoder.clone()) * alive;
        let column = mask(&renewed, &encoder)
            .greater_elem(0.5)
            .unsqueeze_dim::<2>(1);
        let mean_norm = living.sum() / (dead.len() - count) as f64;
        let norms = row_norms(inputs.clone()).unsqueeze_dim::<2>(1);
        let rows_of = |rows: Tensor<2>| {
            let column = column.clone();
            move |old: Tensor<2>| {
                let [_, width] = old.dims();
                let dead = column.expand([rows.dims()[0], width]);
                old.mask_where(dead, rows)
            }
        };
        let entries = |old: Tensor<1>| old.mask_fill(column.clone().squeeze_dim::<1>(1), 0.0);
        let new_encoder = inputs.clone() * (mean_norm * scale).unsqueeze();
        self.encoder = edit(self.encoder, rows_of(new_encoder));
        self.decoder = edit(self.decoder, rows_of(inputs / norms));
        let shape = [dead.len(), d];
        let zeros = || Tensor::zeros(shape, &device);
        for id in [self.encoder.id, self.decoder.id] {
            adam.edit(id, shape, |moment| rows_of(zeros())(moment));
        }
        if let Some(bias) = self.b_enc.take() {
            adam.edit(bias.id, [dead.len()], entries);
            self.b_enc = Some(edit(bias, entries));
        }
        Ok(self)
    }
}
