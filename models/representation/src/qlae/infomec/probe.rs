//! InfoE: how much of each source a linear probe reads off all latents.

use super::{Latents, Sources, lbfgs, same_rows, variables::Classes};
use menagerie_core::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How far the logistic probes are fitted.
///
/// A probe has no regularisation, so a source that the latents separate perfectly has no finite
/// optimum: its cross-entropy falls with every further iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// No probes: InfoM and InfoC alone.
    Skip,
    /// As published (100 iterations): at most that many, fewer once no gradient element exceeds
    /// 1e-4.
    Iterations(usize),
    /// To a gradient of 1e-8, at most 10,000 iterations.
    Converged,
}

/// InfoE and the cross-entropies behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explicitness {
    /// `mean_i (marginal_i − conditional_i) / marginal_i`: 0 for nothing, 1 for everything.
    pub infoe: f64,
    /// Cross-entropy of each source given the latents, in nats: the plain mean over the rows.
    pub conditional_ce: Vec<f64>,
    /// The same given nothing. The classes are balanced, so the best constant prediction is
    /// uniform and this is the logarithm of the number of classes, not the source's entropy.
    pub marginal_ce: Vec<f64>,
    /// Iterations that each probe took.
    pub iterations: Vec<usize>,
}

/// Fits one multinomial logistic regression per source on **all** latents, inactive ones included:
/// one-hot for discrete latents, standardised for continuous ones; classes weighted to balance, no
/// regularisation (section 4; scored on the rows it was fitted on, as published).
///
/// # Errors
/// [`Error::Input`] if the row counts differ, or if `probe` fits nothing.
pub fn explicitness(sources: &Sources, latents: &Latents, probe: Probe) -> Result<Explicitness> {
    same_rows(sources, latents)?;
    let limits = match probe {
        Probe::Skip | Probe::Iterations(0) => {
            return Err(Error::input(
                "the probe",
                probe,
                "must fit for at least one iteration",
            ));
        }
        Probe::Iterations(iterations) => lbfgs::Limits {
            iterations,
            gradient: 1e-4,
        },
        Probe::Converged => lbfgs::Limits {
            iterations: 10_000,
            gradient: 1e-8,
        },
    };
    let features = Features::of(latents);
    let fits: Vec<(f64, f64, usize)> = sources
        .classes()
        .par_iter()
        .map(|source| {
            let (conditional, iterations) = fit(&features, source, limits);
            (conditional, (source.sizes.len() as f64).ln(), iterations)
        })
        .collect();
    let explained = fits.iter().map(|(given, free, _)| (free - given) / free);
    Ok(Explicitness {
        infoe: explained.sum::<f64>() / fits.len() as f64,
        conditional_ce: fits.iter().map(|fit| fit.0).collect(),
        marginal_ce: fits.iter().map(|fit| fit.1).collect(),
        iterations: fits.iter().map(|fit| fit.2).collect(),
    })
}

/// The inputs of the probes.
enum Features {
    /// `[rows, width]`, row-major.
    Dense { width: usize, values: Vec<f64> },
    /// `[rows, latents]` positions of the ones among `width` features.
    OneHot {
        width: usize,
        latents: usize,
        ones: Vec<usize>,
    },
}

impl Features {
    fn of(latents: &Latents) -> Self {
        let (rows, columns) = (latents.rows(), latents.columns());
        if latents.is_discrete() {
            let mut width = 0;
            let mut ones = vec![0; rows * columns];
            for column in 0..columns {
                let classes = latents.classes(column);
                for (row, label) in classes.labels.iter().enumerate() {
                    ones[row * columns + column] = width + label;
                }
                width += classes.sizes.len();
            }
            return Self::OneHot {
                width,
                latents: columns,
                ones,
            };
        }
        let mut values = vec![0.0; rows * columns];
        for column in 0..columns {
            for (row, value) in latents.standardised(column).into_iter().enumerate() {
                values[row * columns + column] = value;
            }
        }
        Self::Dense {
            width: columns,
            values,
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Dense { width, .. } | Self::OneHot { width, .. } => *width,
        }
    }

    /// `logits[c] = Σ_f x_f · weights[f, c]`, on top of what `logits` holds.
    fn apply(&self, row: usize, weights: &[f64], logits: &mut [f64]) {
        self.each(row, |feature, x| {
            let weights = &weights[feature * logits.len()..][..logits.len()];
            for (logit, weight) in logits.iter_mut().zip(weights) {
                *logit += x * weight;
            }
        });
    }

    /// `gradient[f, c] += x_f · residual[c]`.
    fn accumulate(&self, row: usize, residual: &[f64], gradient: &mut [f64]) {
        self.each(row, |feature, x| {
            let gradient = &mut gradient[feature * residual.len()..][..residual.len()];
            for (gradient, residual) in gradient.iter_mut().zip(residual) {
                *gradient += x * residual;
            }
        });
    }

    /// The features of a row that are not zero.
    #[inline]
    fn each(&self, row: usize, mut visit: impl FnMut(usize, f64)) {
        match self {
            Self::Dense { width, values } => {
                for (feature, &x) in values[row * width..][..*width].iter().enumerate() {
                    visit(feature, x);
                }
            }
            Self::OneHot { latents, ones, .. } => {
                for &feature in &ones[row * latents..][..*latents] {
                    visit(feature, 1.0);
                }
            }
        }
    }
}

/// Rows that are summed before the partial sums are added in order: the result does not depend on
/// the number of threads.
const CHUNK: usize = 1024;

/// The unweighted cross-entropy of the fitted probe, and the iterations it took.
fn fit(features: &Features, source: &Classes, limits: lbfgs::Limits) -> (f64, usize) {
    let classes = source.sizes.len();
    let rows = source.labels.len() as f64;
    let balance: Vec<f64> = source
        .sizes
        .iter()
        .map(|&size| 1.0 / (classes as f64 * size as f64))
        .collect();
    // One row of weights per feature, then the intercepts.
    let start = vec![0.0; (features.width() + 1) * classes];
    let found = lbfgs::minimise(start, limits, |weights, gradient| {
        let parts: Vec<(f64, Vec<f64>)> = source
            .labels
            .par_chunks(CHUNK)
            .enumerate()
            .map(|(chunk, labels)| {
                let mut partial = vec![0.0; weights.len()];
                let mut residual = vec![0.0; classes];
                let mut value = 0.0;
                for (offset, &label) in labels.iter().enumerate() {
                    let row = chunk * CHUNK + offset;
                    value +=
                        balance[label] * log_loss(features, row, label, weights, &mut residual);
                    // The derivative of the loss by the logits: probability minus target.
                    residual[label] -= 1.0;
                    residual.iter_mut().for_each(|r| *r *= balance[label]);
                    features.accumulate(row, &residual, &mut partial);
                    let intercepts = &mut partial[features.width() * classes..];
                    for (gradient, residual) in intercepts.iter_mut().zip(&residual) {
                        *gradient += residual;
                    }
                }
                (value, partial)
            })
            .collect();
        let mut value = 0.0;
        for (part, partial) in parts {
            value += part;
            for (gradient, partial) in gradient.iter_mut().zip(partial) {
                *gradient += partial;
            }
        }
        value
    });
    let mut probabilities = vec![0.0; classes];
    let total: f64 = source
        .labels
        .iter()
        .enumerate()
        .map(|(row, &label)| log_loss(features, row, label, &found.point, &mut probabilities))
        .sum();
    (total / rows, found.iterations)
}

/// `−ln p(label)` of one row; leaves the probabilities of all classes in `probabilities`.
fn log_loss(
    features: &Features,
    row: usize,
    label: usize,
    weights: &[f64],
    probabilities: &mut [f64],
) -> f64 {
    probabilities.copy_from_slice(&weights[features.width() * probabilities.len()..]);
    features.apply(row, weights, probabilities);
    let largest = probabilities
        .iter()
        .copied()
        .fold(f64::NEG_INFINITY, f64::max);
    let own = probabilities[label] - largest;
    let mut total = 0.0;
    for logit in probabilities.iter_mut() {
        *logit = (*logit - largest).exp();
        total += *logit;
    }
    probabilities.iter_mut().for_each(|p| *p /= total);
    total.ln() - own
}
