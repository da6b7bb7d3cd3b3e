//! How well the size of an error can be told from the activation.

use super::{
    model::Decomposition,
    objective::Score,
    regression::{LeastSquaresConfig, least_squares},
    rows::{Split, host, matching, squared_row_norms},
};
use burn::tensor::{Tensor, TensorData};
use menagerie_core::{Error, Result};
use std::collections::HashMap;

/// A vector whose squared norm is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormTarget {
    /// x.
    Activation,
    /// `Sae(x)`.
    Reconstruction,
    /// `x - Sae(x)`.
    Error,
    /// The linear part of the error.
    Linear,
    /// The nonlinear part of the error.
    Nonlinear,
    /// `Sae(x)` plus the nonlinear part of the error.
    ReconstructionAndNonlinear,
}

impl NormTarget {
    /// Every target, in the paper's order.
    pub const ALL: [Self; 6] = [
        Self::Activation,
        Self::Reconstruction,
        Self::Error,
        Self::Linear,
        Self::Nonlinear,
        Self::ReconstructionAndNonlinear,
    ];

    /// A short name, e.g. for a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Activation => "x",
            Self::Reconstruction => "Sae(x)",
            Self::Error => "error",
            Self::Linear => "linear error",
            Self::Nonlinear => "nonlinear error",
            Self::ReconstructionAndNonlinear => "Sae(x) + nonlinear error",
        }
    }

    /// The vector of a decomposition of `x`, `[rows, width]`.
    pub fn vector(self, x: &Tensor<2>, parts: &Decomposition) -> Tensor<2> {
        match self {
            Self::Activation => x.clone(),
            Self::Reconstruction => x.clone() - parts.error.clone(),
            Self::Error => parts.error.clone(),
            Self::Linear => parts.linear.clone(),
            Self::Nonlinear => parts.nonlinear.clone(),
            // x = Sae(x) + linear + nonlinear.
            Self::ReconstructionAndNonlinear => x.clone() - parts.linear.clone(),
        }
    }
}

/// R² of the squared norm of every [`NormTarget`] from x, on the held-out rows.
///
/// The paper's predictor `a*` has no constant: [`LeastSquaresConfig::new`]. One pass over `x`
/// `[rows, width]` serves all targets.
///
/// # Errors
/// [`Error::Input`] if `x` does not fit `split`, has too few training rows, or a norm is the same
/// in all held-out rows.
pub fn norm_predictability(
    x: &Tensor<2>,
    parts: &Decomposition,
    split: &Split,
    config: &LeastSquaresConfig,
) -> Result<Vec<(NormTarget, f64)>> {
    let x = x.clone().without_autodiff();
    let norms = NormTarget::ALL.map(|target| squared_row_norms(target.vector(&x, parts)));
    let norms = Tensor::cat(norms.to_vec(), 1);
    let fit = least_squares(x.clone(), norms.clone(), split, config)?;
    let prediction = fit.predict(x)?;
    let score = Score::of_rows(&norms, &prediction, |row| split.is_held_out(row))?;
    let r2 = score.r2_per_dimension()?;
    Ok(NormTarget::ALL.into_iter().zip(r2).collect())
}

/// What else is known of a token whose `‖SaeError‖` is to be predicted.
#[derive(Clone, Debug)]
pub struct Baselines<'a> {
    /// x `[rows, width]`.
    pub activation: Tensor<2>,
    /// Vocabulary ids, one per row.
    pub token_ids: Option<&'a [i64]>,
    /// The model's loss on the token `[rows, 1]`.
    pub token_loss: Option<Tensor<2>>,
    /// How many latents were active `[rows, 1]`.
    pub l0: Option<Tensor<2>>,
}

/// A predictor of `‖SaeError‖`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Baseline {
    /// The whole activation.
    Activation,
    /// The mean of the training rows with the same token; of all training rows for a token that
    /// they do not have.
    TokenMean,
    /// The model's loss on the token.
    TokenLoss,
    /// How many latents were active.
    L0,
    /// `‖x‖`.
    ActivationNorm,
}

impl Baseline {
    /// A short name, e.g. for a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::TokenMean => "token mean",
            Self::TokenLoss => "loss on the token",
            Self::L0 => "L0",
            Self::ActivationNorm => "activation norm",
        }
    }
}

/// R² of the norm of `error` `[rows, width]` (not squared) from each baseline that is given, on
/// the held-out rows; the regressions have a constant.
///
/// # Errors
/// [`Error::Input`] if row counts differ, there are too few training rows or the norms do not
/// vary.
pub fn error_norm_baselines(
    error: &Tensor<2>,
    baselines: &Baselines,
    split: &Split,
) -> Result<Vec<(Baseline, f64)>> {
    let norms = super::rows::row_norms(error.clone().without_autodiff());
    let x = baselines.activation.clone().without_autodiff();
    matching("the error", error, &x)?;
    let mut inputs = vec![(Baseline::Activation, x.clone())];
    let given = [
        (Baseline::TokenLoss, baselines.token_loss.clone()),
        (Baseline::L0, baselines.l0.clone()),
    ];
    inputs.extend(given.into_iter().filter_map(|(name, x)| Some((name, x?))));
    inputs.push((Baseline::ActivationNorm, super::rows::row_norms(x)));

    let mut found = Vec::new();
    for (name, x) in inputs {
        found.push((name, regressed(x, &norms, split)?));
    }
    if let Some(ids) = baselines.token_ids {
        let prediction = token_means(ids, &norms, split)?;
        let score = Score::of_rows(&norms, &prediction, |row| split.is_held_out(row))?;
        found.insert(1, (Baseline::TokenMean, score.r2()?));
    }
    Ok(found)
}

/// Held-out R² of `y` `[rows, 1]` from `x` and a constant.
pub(super) fn regressed(x: Tensor<2>, y: &Tensor<2>, split: &Split) -> Result<f64> {
    let fit = least_squares(
        x.clone(),
        y.clone(),
        split,
        &LeastSquaresConfig::with_constant(),
    )?;
    let prediction = fit.predict(x)?;
    Score::of_rows(y, &prediction, |row| split.is_held_out(row))?.r2()
}

fn token_means(ids: &[i64], norms: &Tensor<2>, split: &Split) -> Result<Tensor<2>> {
    let [rows, _] = norms.dims();
    if ids.len() != rows {
        return Err(Error::input(
            "the number of token ids",
            ids.len(),
            format!("there are {rows} rows"),
        ));
    }
    let values = host(norms.clone(), "an error norm")?;
    let mut sums: HashMap<i64, (f64, f64)> = HashMap::new();
    let mut all = (0.0, 0.0);
    for &row in split.training() {
        let norm = f64::from(values[row]);
        let token = sums.entry(ids[row]).or_default();
        *token = (token.0 + norm, token.1 + 1.0);
        all = (all.0 + norm, all.1 + 1.0);
    }
    let means: Vec<f32> = ids
        .iter()
        .map(|id| sums.get(id).unwrap_or(&all))
        .map(|(sum, count)| (sum / count) as f32)
        .collect();
    Ok(Tensor::from_data(
        TensorData::new(means, [rows, 1]),
        &norms.device(),
    ))
}
