//! What is minimised: reconstruction, sparsity, and the terms that revive dead latents.
//!
//! Libraries disagree in reductions, weights and details; every convention of theirs is a value of
//! [`ObjectiveConfig`], and nothing is chosen silently. In the formulas x' is the reconstruction, n
//! the rows of the batch, sg a constant for back-propagation.

use super::{
    auxk::{AuxK, auxiliary_loss},
    codes::{Codes, Latents},
    config::Activation,
    model::{Encoded, SaeOutput, SparseAutoencoder, check_width},
    straight_through,
};
use burn::{
    config::Config,
    tensor::{Tensor, TensorData, activation::relu},
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

struct Terms<'a> {
    sae: &'a SparseAutoencoder,
    objective: &'a ObjectiveConfig,
    situation: Situation<'a>,
    target: Tensor<2>,
    select: &'a dyn Fn(&SparseAutoencoder, &Tensor<2>) -> Pattern,
}

impl Terms<'_> {
    fn evaluate(&self, x: Tensor<2>) -> Result<(SaeLoss, SaeOutput)> {
        let encoded = self.sae.prepare(x.clone())?;
        let Encoded { input, scaling } = encoded;
        let activation = self.sae.config().activation;
        // Selecting variants keep the scores of all latents as constants, the others have them
        // with a gradient.
        let (latents, sparsity, second, scores) = match activation {
            Activation::Relu => {
                let z = relu(self.sae.linear(input.clone()));
                let sparsity = self.lp(&z);
                (Latents::Dense(z), sparsity, None, None)
            }
            Activation::JumpRelu { bandwidth, .. } => {
                let (z, sparsity, second) = self.jump(input.clone(), bandwidth);
                (Latents::Dense(z), sparsity, second, None)
            }
            Activation::Gated => {
                let (z, sparsity, second) = self.gated(input.clone());
                (Latents::Dense(z), sparsity, second, None)
            }
            _ => {
                let scores = self.sae.scores(&input);
                let pattern = (self.select)(self.sae, &scores);
                let latents = self.sae.kept(input.clone(), pattern);
                (latents, None, None, Some(scores))
            }
        };
        let codes = Codes { latents, scaling };
        let reconstruction = self.sae.decode_unchecked(&codes, Some(x.clone()));
        let (term, prefixes) = self.reconstruction(&codes, &reconstruction, &x);
        let mut total = term.clone();
        for extra in [&sparsity, &second].into_iter().flatten() {
            total = total + extra.clone();
        }
        let mut auxiliary = None;
        if let (Some(config), Some(scores), Some(dead)) =
            (&self.objective.auxiliary, &scores, self.situation.dead)
        {
            auxiliary = auxiliary_loss(
                self.sae,
                config,
                &input,
                scores,
                dead,
                &reconstruction,
                &self.target,
            );
            if let Some(loss) = &auxiliary {
                total = total + loss.clone() * config.coefficient;
            }
        }
        let mut multi_topk = None;
        if let (Some(weight), Some(scores)) = (self.objective.multi_topk, &scores) {
            let fvu = self.multi_topk(input, scores, &codes, x);
            total = total + fvu.clone() * weight;
            multi_topk = Some(fvu);
        }
        let loss = SaeLoss {
            total,
            reconstruction: term,
            prefixes,
            sparsity,
            second,
            auxiliary,
            multi_topk,
        };
        let output = SaeOutput {
            codes,
            reconstruction,
        };
        Ok((loss, output))
    }

    fn scale(&self) -> f64 {
        self.situation.sparsity_scale.unwrap_or(1.0)
    }

    fn norms(&self) -> Tensor<2> {
        self.sae.decoder_norms().unsqueeze()
    }

    fn lp(&self, z: &Tensor<2>) -> Option<Tensor<1>> {
        let Sparsity::Lp {
            coefficient,
            weighted,
            p,
            power,
        } = self.objective.sparsity
        else {
            return None;
        };
        let z = match weighted {
            true => z.clone() * self.norms(),
            false => z.clone(),
        };
        let sum = lp_sum(z, p);
        let sum = match power || p == 1.0 {
            true => sum,
            false => root(sum, 1.0 / p),
        };
        Some(sum.mean() * (coefficient * self.scale()))
    }

    fn jump(
        &self,
        input: Tensor<2>,
        bandwidth: f64,
    ) -> (Tensor<2>, Option<Tensor<1>>, Option<Tensor<1>>) {
        let h = self.sae.linear(input);
        let Some(theta) = self.sae.thresholds() else {
            return (relu(h), None, None);
        };
        let z = straight_through::jump(h.clone(), theta.clone(), bandwidth);
        let count = |h: Tensor<2>| straight_through::step(h, theta.clone(), bandwidth);
        let rows = z.dims()[0] as f64;
        let scale = self.scale();
        let mut second = None;
        let sparsity = match self.objective.sparsity {
            Sparsity::Step { coefficient } => Some(count(h).sum() * (coefficient * scale / rows)),
            Sparsity::Tanh {
                coefficient,
                scale: steepness,
                pre_activation,
            } => {
                let soft = (z.clone() * self.norms() * steepness).tanh();
                if let (Some(weight), Some(dead)) = (pre_activation, self.situation.dead) {
                    let missing = relu(theta.clone().unsqueeze::<2>() - h);
                    let dead = mask(dead, &z).unsqueeze::<2>();
                    let sum = (missing * dead * self.norms()).sum();
                    second = Some(sum * (weight / rows));
                }
                Some(soft.sum() * (coefficient * scale / rows))
            }
            Sparsity::TargetL0 {
                coefficient,
                target,
            } => {
                let l0 = count(z.clone()).sum() / rows;
                Some((l0 / target - 1.0).square() * (coefficient * scale))
            }
            _ => None,
        };
        (z, sparsity, second)
    }

    fn gated(&self, input: Tensor<2>) -> (Tensor<2>, Option<Tensor<1>>, Option<Tensor<1>>) {
        let (z, gate) = self.sae.gated(input);
        let Sparsity::Gate {
            coefficient,
            weighted,
            detached,
        } = self.objective.sparsity
        else {
            return (z, None, None);
        };
        let rows = z.dims()[0] as f64;
        let sum = match weighted {
            true => gate.clone() * self.norms(),
            false => gate.clone(),
        };
        let sparsity = sum.sum() * (coefficient * self.scale() / rows);
        let (decoder, bias) = (self.sae.decoder.val(), self.sae.b_dec.val());
        let (decoder, bias) = match detached {
            true => (decoder.detach(), bias.detach()),
            false => (decoder, bias),
        };
        let from_gate = gate.matmul(decoder) + bias.unsqueeze();
        let second = squared_error(from_gate, self.target.clone());
        (z, Some(sparsity), Some(second))
    }

    /// The reconstruction term and, where there are prefixes, that of each.
    fn reconstruction(
        &self,
        codes: &Codes,
        full: &Tensor<2>,
        x: &Tensor<2>,
    ) -> (Tensor<1>, Vec<Tensor<1>>) {
        let error = |reconstruction: Tensor<2>| {
            let target = self.target.clone();
            match self.objective.reconstruction {
                Reconstruction::SquaredError => squared_error(reconstruction, target),
                Reconstruction::Fvu => fvu(reconstruction, target),
                Reconstruction::ScaledMean(scale) => {
                    (reconstruction - target).square().mean() * scale
                }
            }
        };
        let Some(Prefixes { widths, weights }) = &self.objective.prefixes else {
            return (error(full.clone()), vec![]);
        };
        let mut terms = vec![];
        let mut total: Option<Tensor<1>> = None;
        for (&width, &weight) in widths.iter().zip(weights) {
            let prefix = match &codes.latents {
                _ if width == self.sae.config().d_sae => error(full.clone()),
                Latents::Sparse { values, pattern } => {
                    let (pattern, entries) = pattern.filter(|_, column| column < width);
                    let codes = Codes {
                        latents: Latents::Sparse {
                            values: take(values.clone(), &entries),
                            pattern,
                        },
                        scaling: codes.scaling.clone(),
                    };
                    error(self.sae.decode_unchecked(&codes, Some(x.clone())))
                }
                // `validate` asks for a selecting activation.
                Latents::Dense(_) => continue,
            };
            terms.push(prefix.clone());
            let weighted = prefix * weight;
            total = Some(match total {
                Some(total) => total + weighted,
                None => weighted,
            });
        }
        (total.unwrap_or_else(|| error(full.clone())), terms)
    }

    /// The FVU with 4 k latents, which moves the decoder alone.
    fn multi_topk(
        &self,
        input: Tensor<2>,
        scores: &Tensor<2>,
        codes: &Codes,
        x: Tensor<2>,
    ) -> Tensor<1> {
        let width = self.sae.config().d_sae;
        let k = (4 * self.sae.config().activation.k().unwrap_or(width)).min(width);
        let pattern = Pattern::topk(scores, k);
        let latents = match self.sae.kept(input, pattern) {
            Latents::Sparse { values, pattern } => Latents::Sparse {
                values: values.detach(),
                pattern,
            },
            dense => dense,
        };
        let codes = Codes {
            latents,
            scaling: codes.scaling.clone(),
        };
        let reconstruction = self.sae.decode_unchecked(&codes, Some(x));
        fvu(reconstruction, self.target.clone())
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
fn root(sum: Tensor<1>, exponent: f64) -> Tensor<1> {
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
