//! How well codes describe activations, and what a host loses when it reads the reconstruction.
//!
//! Three conventions of "explained variance" are in use; each has its name here:
//! [`explained_variance`](Quality::explained_variance) (1 - pooled FVU),
//! [`explained_variance_per_token`](Quality::explained_variance_per_token) and
//! [`explained_variance_of_residual`](Quality::explained_variance_of_residual).

use super::{codes::Codes, model::SparseAutoencoder};
use crate::host::{HookPoint, LanguageModel, cross_entropy};
use burn::tensor::{Int, Tensor, activation::log_softmax};
use menagerie_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Reconstruction and sparsity over all rows that were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Rows measured.
    pub rows: usize,
    /// Mean number of active latents (above 0).
    pub l0: f64,
    /// Mean sum of activations.
    pub l1: f64,
    /// Mean of ‖x - x'‖².
    pub squared_error: f64,
    /// Σ ‖x - x'‖² / Σ ‖x - mean x‖².
    pub fvu: f64,
    /// 1 - [`fvu`](Self::fvu).
    pub explained_variance: f64,
    /// Mean over rows of 1 - ‖x - x'‖² / ‖x - mean x‖² (older SAELens).
    pub explained_variance_per_token: f64,
    /// 1 - Σ_d var(x - x') / Σ_d var(x): a constant error does not count (dictionary_learning).
    pub explained_variance_of_residual: f64,
    /// Mean over rows of ‖x - x'‖² / ‖x‖² (OpenAI).
    pub normalized_error: f64,
    /// Mean cosine of x and x'.
    pub cosine: f64,
    /// Mean of ‖x'‖ / ‖x‖.
    pub norm_ratio: f64,
    /// Mean ‖x'‖² / mean x · x': below 1 where reconstructions shrink.
    pub relative_bias: f64,
    /// How often each latent is active, as a fraction of rows.
    pub density: Vec<f64>,
}

impl Quality {
    /// Latents that were never active.
    pub fn dead(&self) -> usize {
        self.density
            .iter()
            .filter(|&&density| density == 0.0)
            .count()
    }

    /// log₁₀ (density + 1e-10) of every latent.
    pub fn log10_density(&self) -> Vec<f64> {
        let log = |density: &f64| (density + 1e-10).log10();
        self.density.iter().map(log).collect()
    }

    /// Counts of log₁₀ density in `bins` equal bins from -10 to 0, and the dead ones in the first.
    pub fn density_histogram(&self, bins: usize) -> Vec<usize> {
        let mut counts = vec![0; bins];
        for log in self.log10_density() {
            let place = ((log + 10.0) / 10.0 * bins as f64) as usize;
            if let Some(count) = counts.get_mut(place.min(bins.saturating_sub(1))) {
                *count += 1;
            }
        }
        counts
    }

    /// The fraction of latents that are active in more than `fraction` of rows.
    pub fn denser_than(&self, fraction: f64) -> f64 {
        let count = self
            .density
            .iter()
            .filter(|&&density| density > fraction)
            .count();
        count as f64 / self.density.len().max(1) as f64
    }
}

/// [`Quality`] of batches, one after the other.
///
/// Two batches give what their concatenation gives, except for
/// [`Quality::explained_variance_per_token`], whose mean of x is that of each batch.
#[derive(Clone, Debug, Default)]
pub struct QualityMeter {
    rows: usize,
    counts: Vec<u64>,
    sums: Sums,
    x_sum: Vec<f64>,
    x_square: f64,
    error_sum: Vec<f64>,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    l1: f64,
    error: f64,
    per_token: f64,
    normalized: f64,
    cosine: f64,
    norm_ratio: f64,
    norm: f64,
    product: f64,
    /// Rows that differ from their batch's mean, and rows that are not 0.
    spread_rows: f64,
    nonzero_rows: f64,
}

impl QualityMeter {
    /// Adds targets `x` `[rows, d]`, their codes and reconstructions `[rows, d]`.
    ///
    /// # Errors
    /// Shapes that do not fit each other.
    pub fn add(&mut self, x: Tensor<2>, codes: &Codes, reconstruction: Tensor<2>) -> Result<()> {
        let [rows, d] = x.dims();
        if reconstruction.dims() != [rows, d] {
            return Err(Error::input(
                "shape of the reconstruction",
                reconstruction.dims(),
                format!("must be that of the target, {:?}", [rows, d]),
            ));
        }
        let (x, y) = (x.without_autodiff(), reconstruction.without_autodiff());
        let row_sum = |t: Tensor<2>| t.sum_dim(1);
        let error = x.clone() - y.clone();
        let centred = x.clone() - x.clone().mean_dim(0);
        let errors = row_sum(error.clone().square());
        let x_squares = row_sum(x.clone().square());
        let y_squares = row_sum(y.clone().square());
        let products = row_sum(x.clone() * y);
        let norms = x_squares.clone().sqrt() * y_squares.clone().sqrt();
        let table = Tensor::cat(
            vec![
                errors,
                row_sum(centred.square()),
                x_squares,
                y_squares,
                products,
                norms,
            ],
            1,
        );
        let table = numbers(table);
        for row in table.chunks_exact(6) {
            let &[error, spread, x_square, y_square, product, norms] = row else {
                continue;
            };
            self.x_square += x_square;
            let sums = &mut self.sums;
            sums.error += error;
            // A row that is its batch's mean, as in a batch of one, has no spread to explain.
            if spread > 0.0 {
                sums.per_token += 1.0 - error / spread;
                sums.spread_rows += 1.0;
            }
            if x_square > 0.0 {
                sums.normalized += error / x_square;
                sums.norm_ratio += (y_square / x_square).sqrt();
                sums.nonzero_rows += 1.0;
            }
            // PyTorch's cosine guards the norms the same way.
            sums.cosine += product / norms.max(1e-8);
            sums.norm += y_square;
            sums.product += product;
        }
        add_to(&mut self.x_sum, &numbers(x.sum_dim(0)));
        add_to(&mut self.error_sum, &numbers(error.sum_dim(0)));
        let counts = codes.firing_counts();
        self.counts.resize(counts.len(), 0);
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += u64::from(count);
        }
        self.sums.l1 += codes.sum();
        self.rows += rows;
        Ok(())
    }

    /// What was measured so far.
    ///
    /// # Errors
    /// Without a row.
    pub fn quality(&self) -> Result<Quality> {
        if self.rows == 0 {
            return Err(Error::input("rows measured", 0, "must be at least 1"));
        }
        let n = self.rows as f64;
        let square = |sum: &[f64]| sum.iter().map(|sum| sum * sum).sum::<f64>() / n;
        let x_variance = self.x_square - square(&self.x_sum);
        let residual = self.sums.error - square(&self.error_sum);
        let fvu = self.sums.error / x_variance;
        let active: u64 = self.counts.iter().sum();
        Ok(Quality {
            rows: self.rows,
            l0: active as f64 / n,
            l1: self.sums.l1 / n,
            squared_error: self.sums.error / n,
            fvu,
            explained_variance: 1.0 - fvu,
            explained_variance_per_token: self.sums.per_token / self.sums.spread_rows,
            explained_variance_of_residual: 1.0 - residual / x_variance,
            normalized_error: self.sums.normalized / self.sums.nonzero_rows,
            cosine: self.sums.cosine / n,
            norm_ratio: self.sums.norm_ratio / self.sums.nonzero_rows,
            relative_bias: self.sums.norm / self.sums.product,
            density: self.counts.iter().map(|&count| count as f64 / n).collect(),
        })
    }
}

fn add_to(sums: &mut Vec<f64>, values: &[f64]) {
    sums.resize(values.len(), 0.0);
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    let data = tensor.into_data().convert::<f64>();
    data.as_slice::<f64>()
        .map(<[f64]>::to_vec)
        .unwrap_or_default()
}

fn number(tensor: Tensor<1>) -> f64 {
    numbers(tensor).first().copied().unwrap_or(f64::NAN)
}

/// [`Quality`] of one batch: targets `x` `[rows, d]`, codes and reconstructions `[rows, d]`.
///
/// # Errors
/// Shapes that do not fit each other, no row.
pub fn quality_of(x: Tensor<2>, codes: &Codes, reconstruction: Tensor<2>) -> Result<Quality> {
    let mut meter = QualityMeter::default();
    meter.add(x, codes, reconstruction)?;
    meter.quality()
}

/// [`Quality`] of `sae` on rows `x` `[rows, d_in]`, `batch` rows at a time.
///
/// # Errors
/// As [`SparseAutoencoder::forward`]; a transcoder.
pub fn quality(sae: &SparseAutoencoder, x: Tensor<2>, batch: usize) -> Result<Quality> {
    sae.refuse_transcoder()?;
    let mut meter = QualityMeter::default();
    for x in x.split(batch.max(1), 0) {
        let output = sae.forward(x.clone())?;
        meter.add(x, &output.codes, output.reconstruction)?;
    }
    meter.quality()
}

/// For every row of `truth` `[features, d]` the largest cosine with a row of `learned`
/// `[latents, d]`.
///
/// # Errors
/// Widths that differ, no row.
pub fn max_cosines(truth: Tensor<2>, learned: Tensor<2>) -> Result<Vec<f64>> {
    let ([features, width], [latents, learned_width]) = (truth.dims(), learned.dims());
    if width != learned_width || features == 0 || latents == 0 {
        return Err(Error::input(
            "shapes of the two dictionaries",
            [truth.dims(), learned.dims()],
            "must be rows, at least one each, of the same width",
        ));
    }
    let unit = |rows: Tensor<2>| {
        let rows = rows.without_autodiff();
        let norms = rows.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        rows / norms
    };
    let cosines = unit(truth).matmul(unit(learned).transpose());
    Ok(numbers(cosines.max_dim(1)))
}

/// MMCS: the mean over the rows of `truth` of [`max_cosines`], 1 where every true direction was
/// learned.
///
/// # Errors
/// As [`max_cosines`].
pub fn mean_max_cosine(truth: Tensor<2>, learned: Tensor<2>) -> Result<f64> {
    let all = max_cosines(truth, learned)?;
    Ok(all.iter().sum::<f64>() / all.len() as f64)
}

/// What a host loses when it reads something else at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Splice {
    /// Cross-entropy per predicted token, in nats, of the unchanged host.
    pub clean: f64,
    /// With the reconstruction.
    pub spliced: f64,
    /// With zeros.
    pub zero: f64,
    /// With the mean activation of the batch at every token.
    pub mean: f64,
    /// KL divergence of the spliced from the clean next-token distributions, mean over all tokens.
    pub kl_spliced: f64,
    /// The same with zeros.
    pub kl_zero: f64,
}

impl Splice {
    /// How much the loss grows, in nats.
    pub fn increase(&self) -> f64 {
        self.spliced - self.clean
    }

    /// (CE_zero - CE_spliced) / (CE_zero - CE_clean): 1 where nothing is lost, 0 where the
    /// reconstruction is worth as much as zeros.
    pub fn recovered_from_zero(&self) -> f64 {
        (self.zero - self.spliced) / (self.zero - self.clean)
    }

    /// The same with the mean ablation.
    pub fn recovered_from_mean(&self) -> f64 {
        (self.mean - self.spliced) / (self.mean - self.clean)
    }

    /// (KL_zero - KL_spliced) / KL_zero.
    pub fn kl_score(&self) -> f64 {
        (self.kl_zero - self.kl_spliced) / self.kl_zero
    }
}

/// Runs `tokens` `[batch, tokens]` through `host` with the activation at `hook` as it is, replaced
/// by what `replace` makes of it (`[batch, tokens, width]` each), by zeros, and by its mean.
///
/// # Errors
/// Those of the host and of `replace`; fewer than two tokens.
pub fn splice(
    host: &LanguageModel,
    hook: &HookPoint,
    tokens: Tensor<2, Int>,
    replace: impl FnOnce(Tensor<3>) -> Result<Tensor<3>>,
) -> Result<Splice> {
    let [_, length] = tokens.dims();
    if length < 2 {
        let rule = "must be at least 2 for a next token to predict";
        return Err(Error::input("number of tokens", length, rule));
    }
    let run = |replace: &mut dyn FnMut(Tensor<3>) -> Result<Tensor<3>>| {
        host.forward_with(tokens.clone(), hook, replace)
    };
    let mut replace = Some(replace);
    let clean = host.forward(tokens.clone())?;
    let spliced = run(&mut |x| match replace.take() {
        Some(replace) => replace(x),
        None => Ok(x),
    })?;
    let zero = run(&mut |x| Ok(x.zeros_like()))?;
    let mean = run(&mut |x| {
        let [batch, length, width] = x.dims();
        let rows = x.reshape([batch * length, width]);
        Ok(rows
            .mean_dim(0)
            .expand([batch * length, width])
            .reshape([batch, length, width]))
    })?;
    let loss = |logits: &Tensor<3>| number(cross_entropy(logits.clone(), tokens.clone()).mean());
    Ok(Splice {
        clean: loss(&clean),
        spliced: loss(&spliced),
        zero: loss(&zero),
        mean: loss(&mean),
        kl_spliced: divergence(clean.clone(), spliced),
        kl_zero: divergence(clean, zero),
    })
}

/// [`splice`] with the reconstruction of `sae`.
///
/// # Errors
/// As [`splice`] and [`SparseAutoencoder::reconstruct`].
pub fn splice_sae(
    host: &LanguageModel,
    hook: &HookPoint,
    tokens: Tensor<2, Int>,
    sae: &SparseAutoencoder,
) -> Result<Splice> {
    splice(host, hook, tokens, |x| sae.reconstruct(x))
}

/// Mean over all tokens of KL(p ‖ q) in nats, of logits `[batch, tokens, vocabulary]`.
pub fn divergence(p: Tensor<3>, q: Tensor<3>) -> f64 {
    let (p, q) = (log_softmax(p, 2), log_softmax(q, 2));
    let sum: Tensor<3> = (p.clone().exp() * (p - q)).sum_dim(2);
    number(sum.mean())
}
