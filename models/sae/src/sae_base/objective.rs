//! What is minimised: reconstruction, sparsity, and the terms that revive dead latents.
//!
//! Libraries disagree in reductions, weights and details; every convention of theirs is a value of
//! [`ObjectiveConfig`], and nothing is chosen silently. In the formulas x' is the reconstruction, n
//! the rows of the batch, sg a constant for back-propagation.

use super::{
    auxk::{AuxK, Convention},
    config::{Activation, Normalization},
    dead::DeadLatents,
    model::{SaeOutput, SparseAutoencoder, check_width},
    terms::Terms,
};
use burn::{
    config::Config,
    tensor::{Tensor, TensorData},
};
use menagerie_core::{Error, Result};
use menagerie_nn::sparse::Pattern;
use serde::{Deserialize, Serialize};

/// The terms of the objective.
#[derive(Config, Debug, PartialEq)]
pub struct ObjectiveConfig {
    /// How far the reconstruction is from the target.
    #[config(default = "Reconstruction::SquaredError")]
    pub reconstruction: Reconstruction,
    /// What keeps the latents sparse, where the activation does not.
    #[config(default = "Sparsity::None")]
    pub sparsity: Sparsity,
    /// What dead latents are given to do.
    #[config(default = "None")]
    pub auxiliary: Option<AuxK>,
    /// Nested dictionaries (Matryoshka).
    #[config(default = "None")]
    pub prefixes: Option<Prefixes>,
    /// Weight of the FVU of a second decoding with 4 k latents (sparsify's MultiTopK, 1/8 there);
    /// TopK only.
    #[config(default = "None")]
    pub multi_topk: Option<f64>,
}

/// How far the reconstruction is from the target y.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reconstruction {
    /// ‖x' - y‖², mean over rows.
    SquaredError,
    /// Fraction of variance unexplained, Σ ‖x' - y‖² / Σ ‖y - mean y‖².
    Fvu,
    /// The mean over rows and dimensions of (x' - y)², times this scale: 1 / variance of a
    /// calibration sample (OpenAI).
    ScaledMean(f64),
}

/// What keeps the latents sparse. Every coefficient λ multiplies a mean over rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sparsity {
    /// Nothing: the activation selects.
    None,
    /// λ (Σ (z_i w_i)^p)^(1/p), with w_i the norm of dictionary vector i or 1.
    Lp {
        /// λ.
        coefficient: f64,
        /// Whether latents are weighted by the norms (the April update), rather than the norms
        /// held at 1.
        weighted: bool,
        /// The exponent.
        p: f64,
        /// Whether the root is left out (Lp^p of p-anneal).
        power: bool,
    },
    /// λ Σ 1\[h_i > θ_i\], the count of active latents, for JumpReLU.
    Step {
        /// λ.
        coefficient: f64,
    },
    /// λ Σ tanh(c z_i ‖W_dec,i‖) for JumpReLU, and μ Σ over dead latents of
    /// max(θ - h, 0) ‖W_dec,i‖.
    Tanh {
        /// λ.
        coefficient: f64,
        /// c, 4 in SAELens.
        scale: f64,
        /// μ, 3e-6 in SAELens; `None` leaves the second term out.
        pre_activation: Option<f64>,
    },
    /// λ (L0 / target - 1)² for JumpReLU, with the estimator on the latents after the jump
    /// (dictionary_learning).
    TargetL0 {
        /// λ.
        coefficient: f64,
        /// The wanted number of active latents.
        target: f64,
    },
    /// λ Σ max(π_i, 0) w_i and the squared error of the reconstruction from max(π, 0), for Gated.
    Gate {
        /// λ.
        coefficient: f64,
        /// Whether gates are weighted by the dictionary's norms (SAELens).
        weighted: bool,
        /// Whether the second reconstruction leaves the decoder alone (the paper and
        /// dictionary_learning; not SAELens).
        detached: bool,
    },
}

/// Nested dictionaries: every prefix of the latents must reconstruct on its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prefixes {
    /// Width of each prefix, ascending; the last is d_sae.
    pub widths: Vec<usize>,
    /// Weight of each prefix' error.
    pub weights: Vec<f64>,
}

impl Prefixes {
    /// SAELens: the error of every width counts 1.
    pub fn summed(widths: Vec<usize>) -> Self {
        let weights = vec![1.0; widths.len()];
        Self { widths, weights }
    }

    /// dictionary_learning: the mean over groups of weight times error, so that the default weights
    /// 1/G enter with 1/G².
    pub fn averaged(group_sizes: &[usize], group_weights: &[f64]) -> Self {
        let mut end = 0;
        let widths = group_sizes.iter().map(|size| {
            end += size;
            end
        });
        let count = group_weights.len() as f64;
        Self {
            widths: widths.collect(),
            weights: group_weights.iter().map(|weight| weight / count).collect(),
        }
    }

    /// Refuses widths that do not ascend to `d_sae`.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self, d_sae: usize) -> Result<()> {
        let ascending = self.widths.windows(2).all(|pair| pair[0] < pair[1]);
        if self.widths.first().is_none_or(|&first| first == 0)
            || !ascending
            || self.widths.last() != Some(&d_sae)
        {
            return Err(Error::config(
                "Prefixes",
                "widths",
                &self.widths,
                format!("must ascend and end with d_sae, {d_sae}"),
            ));
        }
        if self.weights.len() != self.widths.len()
            || self.weights.iter().any(|weight| !weight.is_finite())
        {
            return Err(Error::config(
                "Prefixes",
                "weights",
                &self.weights,
                format!("needs a finite one per width, {}", self.widths.len()),
            ));
        }
        Ok(())
    }
}

/// The value of every term, each with its weight.
#[derive(Clone, Debug)]
pub struct SaeLoss {
    /// The sum of all terms `[1]`.
    pub total: Tensor<1>,
    /// The reconstruction term; the weighted sum over prefixes where there are some `[1]`.
    pub reconstruction: Tensor<1>,
    /// The unweighted reconstruction term of every prefix `[1]` each.
    pub prefixes: Vec<Tensor<1>>,
    /// The sparsity term with its coefficient `[1]`.
    pub sparsity: Option<Tensor<1>>,
    /// The second reconstruction of a gated autoencoder, or the pre-activation term `[1]`.
    pub second: Option<Tensor<1>>,
    /// The auxiliary term before its coefficient `[1]`; `None` where no latent is dead.
    pub auxiliary: Option<Tensor<1>>,
    /// The FVU of the decoding with 4 k latents `[1]`.
    pub multi_topk: Option<Tensor<1>>,
}

/// What the objective is told besides the batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Situation<'a> {
    /// Which latents count as dead; none where it is `None`.
    pub dead: Option<&'a [bool]>,
    /// How long latents have been silent before this batch, and what the batch adds: the AuxK of
    /// OpenAI and of dictionary_learning takes those that are dead after it, in place of `dead`.
    pub silent: Option<(&'a DeadLatents, u64)>,
    /// The factor of the sparsity coefficient during warm-up, in 0..=1; 1 where it is `None`.
    pub sparsity_scale: Option<f64>,
}

impl ObjectiveConfig {
    /// Refuses terms that the variant does not have and impossible coefficients.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self, sae: &super::SaeConfig) -> Result<()> {
        const NAME: &str = "ObjectiveConfig";
        let fits = match self.sparsity {
            Sparsity::None => true,
            Sparsity::Lp { .. } => matches!(sae.activation, Activation::Relu),
            Sparsity::Step { .. } | Sparsity::Tanh { .. } | Sparsity::TargetL0 { .. } => {
                matches!(sae.activation, Activation::JumpRelu { .. })
            }
            Sparsity::Gate { .. } => matches!(sae.activation, Activation::Gated),
        };
        if !fits {
            let rule = format!("does not fit the activation {:?}", sae.activation);
            return Err(Error::config(NAME, "sparsity", self.sparsity, rule));
        }
        let numbers = match self.sparsity {
            Sparsity::None => vec![],
            Sparsity::Lp { coefficient, p, .. } => vec![coefficient, p],
            Sparsity::Step { coefficient } | Sparsity::Gate { coefficient, .. } => {
                vec![coefficient]
            }
            Sparsity::Tanh {
                coefficient,
                scale,
                pre_activation,
            } => vec![coefficient, scale, pre_activation.unwrap_or(0.0)],
            Sparsity::TargetL0 {
                coefficient,
                target,
            } => vec![coefficient, target],
        };
        if numbers
            .iter()
            .any(|number| !number.is_finite() || *number < 0.0)
            || matches!(self.sparsity, Sparsity::TargetL0 { target, .. } if target == 0.0)
            || matches!(self.sparsity, Sparsity::Lp { p, .. } if p == 0.0)
        {
            let rule = "needs finite numbers of at least 0, exponent and target above 0";
            return Err(Error::config(NAME, "sparsity", self.sparsity, rule));
        }
        if let Reconstruction::ScaledMean(scale) = self.reconstruction
            && !(scale.is_finite() && scale > 0.0)
        {
            let rule = "must be finite and above 0";
            return Err(Error::config(NAME, "reconstruction", scale, rule));
        }
        if let Some(prefixes) = &self.prefixes {
            prefixes.validate(sae.d_sae)?;
            let selects = sae.activation.k().is_some();
            if !selects {
                let rule = "needs a selecting activation: TopK, BatchTopK or GroupMax";
                return Err(Error::config(NAME, "prefixes", &prefixes.widths, rule));
            }
        }
        if let Some(weight) = self.multi_topk {
            let topk = matches!(sae.activation, Activation::TopK { .. });
            if !topk || !weight.is_finite() {
                let rule = "needs a finite weight and a TopK";
                return Err(Error::config(NAME, "multi_topk", weight, rule));
            }
        }
        if let Some(auxiliary) = &self.auxiliary {
            auxiliary.validate()?;
            if sae.activation.k().is_none() {
                let rule = "needs a selecting activation: TopK, BatchTopK or GroupMax";
                return Err(Error::config(NAME, "auxiliary", auxiliary, rule));
            }
            let normalizes = matches!(
                auxiliary.convention,
                Convention::OpenAi | Convention::SaeLens
            );
            if !normalizes && sae.normalization != Normalization::None {
                let rule =
                    "belongs to code that does not normalise its input; take OpenAi or SaeLens";
                return Err(Error::config(NAME, "auxiliary", auxiliary, rule));
            }
        }
        Ok(())
    }
}

impl SparseAutoencoder {
    /// The objective for inputs `x` `[rows, d_in]` and targets `y` `[rows, d_out]`, which are the
    /// inputs for an autoencoder (`None`), with what was computed on the way.
    ///
    /// # Errors
    /// Shapes that do not fit, a dead mask of another length, terms that the variant does not
    /// have.
    pub fn loss(
        &self,
        x: Tensor<2>,
        y: Option<Tensor<2>>,
        objective: &ObjectiveConfig,
        situation: Situation,
    ) -> Result<(SaeLoss, SaeOutput)> {
        self.loss_selected(x, y, objective, situation, &|sae, scores| {
            sae.select(scores)
        })
    }

    /// [`loss`](Self::loss) with another selection of the kept latents by the pre-activations of
    /// all of them.
    pub(crate) fn loss_selected(
        &self,
        x: Tensor<2>,
        y: Option<Tensor<2>>,
        objective: &ObjectiveConfig,
        situation: Situation,
        select: &dyn Fn(&Self, &Tensor<2>) -> Pattern,
    ) -> Result<(SaeLoss, SaeOutput)> {
        objective.validate(self.config())?;
        if y.is_none() && self.config().d_out.is_some() {
            return Err(Error::input(
                "targets",
                "missing",
                "a transcoder needs them",
            ));
        }
        let target = y.unwrap_or_else(|| x.clone());
        check_width("the targets", &target, self.config().output())?;
        let width = self.config().d_sae;
        if let Some(dead) = situation.dead
            && dead.len() != width
        {
            return Err(Error::input(
                "length of the dead mask",
                dead.len(),
                format!("must be d_sae, {width}"),
            ));
        }
        Terms {
            sae: self,
            objective,
            situation,
            target,
            select,
        }
        .evaluate(x)
    }
}

/// ‖x' - y‖², mean over rows `[1]`, of `[rows, d]` each.
pub fn squared_error(reconstruction: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let rows = target.dims()[0] as f64;
    (reconstruction - target).square().sum() / rows
}

/// Σ ‖x' - y‖² / Σ ‖y - mean y‖² `[1]`, of `[rows, d]` each.
pub fn fvu(reconstruction: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let variance = total_variance(target.clone());
    (reconstruction - target).square().sum() / variance
}

/// Σ ‖y - mean y‖² `[1]` of `[rows, d]`.
pub(crate) fn total_variance(y: Tensor<2>) -> Tensor<1> {
    let centred = y.clone() - y.mean_dim(0);
    centred.square().sum()
}

/// Σ z^p of every row `[rows]` for z ≥ 0 `[rows, latents]`. A latent of 0 has no gradient: that of
/// z^p with p < 1 would be infinite.
pub fn lp_sum(z: Tensor<2>, p: f64) -> Tensor<1> {
    if p == 1.0 {
        return z.sum_dim(1).squeeze_dim(1);
    }
    let off = z.clone().lower_equal_elem(0.0);
    let power = z.mask_fill(off.clone(), 1.0).powf_scalar(p);
    power.mask_fill(off, 0.0).sum_dim(1).squeeze_dim(1)
}

/// The root of sums that may be 0, where it has no gradient.
pub(super) fn root(sum: Tensor<1>, exponent: f64) -> Tensor<1> {
    let off = sum.clone().lower_equal_elem(0.0);
    let root = sum.mask_fill(off.clone(), 1.0).powf_scalar(exponent);
    root.mask_fill(off, 0.0)
}

/// `values` at `entries`, which may be none.
pub(crate) fn take(values: Tensor<1>, entries: &[u32]) -> Tensor<1> {
    let device = values.device();
    let indices: Vec<i64> = entries.iter().map(|&entry| entry.into()).collect();
    let count = indices.len();
    let indices = Tensor::from_data(
        TensorData::new(indices, [count]),
        &device.without_autodiff(),
    );
    values.select(0, indices)
}

/// 1 where `dead`, `[latents]`.
pub(crate) fn mask<const D: usize>(dead: &[bool], like: &Tensor<D>) -> Tensor<1> {
    let values: Vec<f32> = dead.iter().map(|&dead| f32::from(u8::from(dead))).collect();
    let count = values.len();
    let device = like.device().without_autodiff();
    Tensor::from_data(TensorData::new(values, [count]), &device)
}
