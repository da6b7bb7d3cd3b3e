//! Gradient pursuit: sparse non-negative codes by optimisation instead of an encoder.
//!
//! Each step of a row finds the dictionary vector with the largest inner product with the
//! residual, which costs a product with the whole dictionary, and then moves the few weights of
//! its support. The product runs on the tensors' device for all rows that still have steps to go;
//! the supports are short lists on the host. Rows are sorted by their number of steps first, so
//! that a batch shrinks as its short rows finish. No Gram matrix of the dictionary is kept: at
//! 16,384 vectors it takes a gigabyte, and reading its rows costs as much as the product.

use super::rows::{gather, host};
use crate::sae::Codes;
use burn::{
    config::Config,
    tensor::{Int, Tensor, TensorData},
};
use menagerie_core::{Error, Result};
use menagerie_nn::sparse::Pattern;
use rayon::prelude::*;

/// How gradient pursuit goes through its rows.
#[derive(Config, Debug, PartialEq)]
pub struct PursuitConfig {
    /// Rows that are pursued at a time.
    #[config(default = 256)]
    pub batch: usize,
}

impl PursuitConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.batch == 0 {
            let rule = "must be at least 1";
            return Err(Error::config("PursuitConfig", "batch", 0, rule));
        }
        Ok(())
    }
}

/// The outcome of a pursuit.
#[derive(Clone, Debug)]
pub struct Pursuit {
    /// The support of each row and its weights, all above 0, in the order they were found. A
    /// weight that was clipped at 0 has left, so a support may be smaller than its target.
    pub supports: Vec<Vec<(usize, f32)>>,
    /// The weighted sums of dictionary vectors `[rows, width]`.
    pub reconstruction: Tensor<2>,
    /// `‖signal - reconstruction‖` `[rows]`.
    pub residual_norms: Tensor<1>,
    features: usize,
}

impl Pursuit {
    /// The weights as an autoencoder's codes, for its decoder.
    pub fn codes(&self) -> Codes {
        let mut starts = vec![0];
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for support in &self.supports {
            for &(feature, weight) in support {
                columns.push(feature as u32);
                values.push(weight);
            }
            starts.push(columns.len());
        }
        let shape = [values.len()];
        let values = Tensor::from_data(
            TensorData::new(values, shape),
            &self.reconstruction.device(),
        );
        Codes::sparse(values, Pattern::new(self.features, starts, columns))
    }

    /// The weights `[rows, features]`, zeros included.
    pub fn weights(&self) -> Tensor<2> {
        self.codes().to_dense()
    }

    /// How many weights each row has.
    pub fn l0(&self) -> Vec<usize> {
        self.supports.iter().map(Vec::len).collect()
    }
}

/// Pursues each row of `signal` `[rows, width]` for `target_l0` steps of its own with the vectors
/// of `dictionary` `[features, width]` (in the experiment: `x - b_dec` with the autoencoder's
/// decoder, for as many steps as the autoencoder had active latents).
///
/// One step, from weights w and residual `r = s - w W`: the support is that of w plus the vector
/// of the largest (signed) inner product with r; along `g = r Wᵀ` on the support the exact line
/// search `⟨c, r⟩ / ⟨c, c⟩` with `c = g W` is taken, and negative weights are set to 0.
///
/// # Errors
/// [`Error::Input`] if shapes do not fit, a target exceeds the number of features, or a value is
/// not finite, and what [`PursuitConfig::validate`] refuses.
pub fn gradient_pursuit(
    dictionary: Tensor<2>,
    signal: Tensor<2>,
    target_l0: &[usize],
    config: &PursuitConfig,
) -> Result<Pursuit> {
    config.validate()?;
    let ([features, width], [rows, signal_width]) = (dictionary.dims(), signal.dims());
    if signal_width != width || features == 0 {
        return Err(Error::input(
            "the dictionary",
            format!("of shape {:?}", [features, width]),
            format!("needs at least one vector of {signal_width}, the width of the signal"),
        ));
    }
    if target_l0.len() != rows {
        return Err(Error::input(
            "the number of target L0s",
            target_l0.len(),
            format!("there are {rows} rows"),
        ));
    }
    if let Some((row, &target)) = target_l0.iter().enumerate().find(|(_, k)| **k > features) {
        let rule = format!("there are {features} dictionary vectors");
        return Err(Error::input(
            format!("the target L0 of row {row}"),
            target,
            rule,
        ));
    }
    let device = signal.device();
    let (dictionary, signal) = (dictionary.without_autodiff(), signal.without_autodiff());
    let vectors = host(dictionary.clone(), "a dictionary vector")?;
    let transposed = dictionary.transpose();

    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(target_l0[row]));
    let mut supports = vec![Vec::new(); rows];
    let mut residuals = vec![0.0_f32; rows * width];
    for batch in order.chunks(config.batch) {
        let signals = host(gather(signal.clone(), batch), "the signal")?;
        let mut pursued: Vec<Row> = batch
            .iter()
            .zip(signals.chunks_exact(width.max(1)))
            .map(|(&row, signal)| Row::new(signal, target_l0[row]))
            .collect();
        pursue(&mut pursued, &vectors, &transposed)?;
        for (&row, pursued) in batch.iter().zip(pursued) {
            residuals[row * width..][..width].copy_from_slice(&pursued.residual);
            supports[row] = pursued.support;
        }
    }
    let residuals = Tensor::from_data(TensorData::new(residuals, [rows, width]), &device);
    let residual_norms = super::rows::row_norms(residuals.clone()).squeeze_dim(1);
    Ok(Pursuit {
        supports,
        reconstruction: signal - residuals,
        residual_norms,
        features,
    })
}

/// Takes every step of a batch. `transposed` is the dictionary as `[width, features]`.
fn pursue(batch: &mut [Row], vectors: &[f32], transposed: &Tensor<2>) -> Result<()> {
    let [width, _] = transposed.dims();
    let device = transposed.device();
    loop {
        let mut active: Vec<&mut Row> = batch.iter_mut().filter(|row| row.steps > 0).collect();
        if active.is_empty() {
            return Ok(());
        }
        let mut residuals = Vec::with_capacity(active.len() * width);
        for row in &active {
            residuals.extend_from_slice(&row.residual);
        }
        let shape = [active.len(), width];
        let residuals = Tensor::<2>::from_data(TensorData::new(residuals, shape), &device);
        let best = indices(residuals.matmul(transposed.clone()).argmax(1))?;
        active
            .par_iter_mut()
            .zip(best)
            .for_each(|(row, feature)| row.step(feature, vectors));
    }
}

fn indices(tensor: Tensor<2, Int>) -> Result<Vec<usize>> {
    let indices: Vec<i64> = tensor
        .into_data()
        .convert::<i64>()
        .try_to_vec()
        .map_err(|error| Error::other("reading indices", format!("{error:?}")))?;
    Ok(indices.into_iter().map(|index| index as usize).collect())
}

/// A row in pursuit.
struct Row {
    signal: Vec<f32>,
    residual: Vec<f32>,
    support: Vec<(usize, f32)>,
    /// Steps to go.
    steps: usize,
}

impl Row {
    fn new(signal: &[f32], steps: usize) -> Self {
        Self {
            signal: signal.to_vec(),
            residual: signal.to_vec(),
            support: Vec::new(),
            steps,
        }
    }

    fn step(&mut self, best: usize, vectors: &[f32]) {
        let width = self.residual.len();
        let vector = |feature: usize| &vectors[feature * width..][..width];
        self.steps -= 1;
        if self.support.iter().all(|&(feature, _)| feature != best) {
            self.support.push((best, 0.0));
        }
        let gradient: Vec<f32> = self
            .support
            .iter()
            .map(|&(feature, _)| dot(&self.residual, vector(feature)))
            .collect();
        let mut direction = vec![0.0; width];
        for (&(feature, _), &slope) in self.support.iter().zip(&gradient) {
            add(&mut direction, slope, vector(feature));
        }
        let along = dot(&direction, &self.residual);
        let length = along / dot(&direction, &direction);
        // A residual that is orthogonal to the support, or zero: no step can change anything.
        let length = if length.is_finite() { length } else { 0.0 };

        let mut moved = false;
        let mut clipped = false;
        for ((_, weight), slope) in self.support.iter_mut().zip(&gradient) {
            let goal = *weight + length * slope;
            clipped |= goal < 0.0;
            moved |= goal.max(0.0) != *weight;
            *weight = goal.max(0.0);
        }
        self.support.retain(|&(_, weight)| weight > 0.0);
        if !moved {
            // The same residual would choose the same vector again.
            self.steps = 0;
        } else if clipped {
            self.residual.copy_from_slice(&self.signal);
            for &(feature, weight) in &self.support {
                add(&mut self.residual, -weight, vector(feature));
            }
        } else {
            add(&mut self.residual, -length, &direction);
        }
    }
}

/// Lanes of the inner products, so that they use the whole width of a vector register.
const LANES: usize = 16;

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn add(target: &mut [f32], factor: f32, row: &[f32]) {
    for (target, value) in target.iter_mut().zip(row) {
        *target += factor * value;
    }
}
