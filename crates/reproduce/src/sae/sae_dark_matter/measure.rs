//! What is measured on a trained autoencoder, and on activations whose parts are known.

use super::data::{Data, unit_mean_square};
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result, Seed};
use menagerie_sae::{
    activations::ActivationSource,
    host::{HookPoint, LanguageModel},
    sae::{Codes, SparseAutoencoder, metrics::QualityMeter},
    sae_dark_matter::{
        Baseline, Baselines, CrossComponent, CrossWidth, Decomposition, Disturbance, InjectionLoss,
        LeastSquaresConfig, NormTarget, ProceduralConfig, PursuitConfig, Split, alignment,
        correlation, cross_component, cross_width, decompose, draw_noise, error_norm_baselines,
        gradient_pursuit, inject, least_squares, norm_predictability, row_norms, squared_row_norms,
        synthetic,
    },
};

/// Rows that are encoded at a time.
const BATCH: usize = 4_096;

/// One autoencoder on all rows.
pub(super) struct Analysed {
    pub parts: Decomposition,
    pub norms: Vec<(NormTarget, f64)>,
    pub loss: InjectionLoss,
    /// Active latents of each row.
    pub l0: Tensor<2>,
    /// The same rows encoded by gradient pursuit.
    pub pursuit: Option<Pursued>,
}

/// An encoder replaced by an optimisation at the same L0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pursued {
    pub fvu: f64,
    pub fvu_nonlinear: f64,
    pub l0: f64,
}

impl Analysed {
    pub fn norm(&self, wanted: NormTarget) -> f64 {
        let found = self.norms.iter().find(|(target, _)| *target == wanted);
        found.map_or(f64::NAN, |(_, r2)| *r2)
    }
}

/// Codes and reconstructions of all rows.
pub(super) fn encode(sae: &SparseAutoencoder, x: &Tensor<2>) -> Result<(Tensor<2>, Tensor<2>)> {
    let [rows, _] = x.dims();
    let (mut reconstructions, mut l0) = (Vec::new(), Vec::new());
    for start in (0..rows).step_by(BATCH) {
        let part = x.clone().slice_dim(0, start..(start + BATCH).min(rows));
        let output = sae.forward(part)?;
        let active = output.codes.to_dense().greater_scalar(0.0).float();
        l0.push(active.sum_dim(1));
        reconstructions.push(output.reconstruction);
    }
    Ok((Tensor::cat(reconstructions, 0), Tensor::cat(l0, 0)))
}

/// Everything that concerns one autoencoder at the analysed site.
pub(super) fn analyse(
    sae: &SparseAutoencoder,
    data: &Data,
    host: &LanguageModel,
    hook: &HookPoint,
    split: &Split,
    skip: usize,
    with_pursuit: bool,
) -> Result<Analysed> {
    let config = LeastSquaresConfig::new();
    let (reconstruction, l0) = encode(sae, &data.x)?;
    let parts = decompose(data.x.clone(), reconstruction, split, &config)?;
    let norms = norm_predictability(&data.x, &parts, split, &config)?;
    let losses = data
        .unseen
        .iter()
        .map(|tokens| {
            // The autoencoder reads scaled activations; the linear map does not mind the scale.
            let reconstruct = |x: Tensor<3>| {
                let [batch, length, width] = x.dims();
                let rows = x.reshape([batch * length, width]) / data.scale;
                let output = sae.forward(rows)?.reconstruction * data.scale;
                Ok(output.reshape([batch, length, width]))
            };
            inject(host, tokens, hook, reconstruct, &parts.probe, skip)
        })
        .collect::<Result<Vec<_>>>()?;
    let loss = InjectionLoss::mean(&losses)
        .ok_or_else(|| Error::input("batches for injection", 0, "must be at least 1"))?;
    let pursuit = match with_pursuit {
        true => Some(pursue(sae, data, &l0, split)?),
        false => None,
    };
    Ok(Analysed {
        parts,
        norms,
        loss,
        l0,
        pursuit,
    })
}

fn pursue(sae: &SparseAutoencoder, data: &Data, l0: &Tensor<2>, split: &Split) -> Result<Pursued> {
    let targets: Vec<usize> = values(l0.clone())?.iter().map(|&k| k as usize).collect();
    let bias = sae.b_dec.val().unsqueeze::<2>();
    let found = gradient_pursuit(
        sae.decoder.val(),
        data.x.clone() - bias.clone(),
        &targets,
        &PursuitConfig::new(),
    )?;
    let active: usize = found.l0().iter().sum();
    let reconstruction = found.reconstruction + bias;
    let config = LeastSquaresConfig::new();
    let parts = decompose(data.x.clone(), reconstruction, split, &config)?;
    Ok(Pursued {
        fvu: parts.fvu,
        fvu_nonlinear: parts.fvu_nonlinear,
        l0: active as f64 / targets.len() as f64,
    })
}

/// R² of the linear prediction of an error that has nothing to do with x.
pub(super) fn control(x: &Tensor<2>, split: &Split, seed: Seed) -> Result<f64> {
    let error = draw_noise(x, seed.stream("control")).activation;
    let reconstruction = x.clone() - error;
    let config = LeastSquaresConfig::new();
    Ok(decompose(x.clone(), reconstruction, split, &config)?.r2)
}

pub(super) fn between(small: &Analysed, large: &Analysed, split: &Split) -> Result<CrossWidth> {
    let (small, large) = (&small.parts, &large.parts);
    cross_width(&small.error, &small.nonlinear, &large.error, split)
}

/// How well `‖SaeError‖` is told by what else is known of the token.
pub(super) fn baselines(
    analysed: &Analysed,
    data: &Data,
    split: &Split,
) -> Result<Vec<(Baseline, f64)>> {
    let baselines = Baselines {
        activation: data.x.clone(),
        token_ids: Some(&data.tokens),
        token_loss: Some(data.losses.clone()),
        l0: Some(analysed.l0.clone()),
    };
    // An L0 that is the same for every token predicts nothing and has no slope.
    error_norm_baselines(&analysed.parts.error, &baselines, split)
}

/// The error told by the reconstructions at another site.
pub(super) fn elsewhere(
    sae: &SparseAutoencoder,
    site: &Tensor<2>,
    analysed: &Analysed,
    split: &Split,
) -> Result<CrossComponent> {
    let (reconstruction, _) = encode(sae, site)?;
    let config = LeastSquaresConfig::new();
    cross_component(reconstruction, &analysed.parts, split, &config)
}

/// Fraction of variance of `rows` that an autoencoder trained on them leaves unexplained.
pub(super) fn unexplained(sae: &SparseAutoencoder, rows: &Tensor<2>) -> Result<f64> {
    let (reconstruction, _) = encode(sae, rows)?;
    menagerie_sae::sae_dark_matter::Score::of(rows, &reconstruction)?.fvu()
}

/// The same of a stream, whose parts are pooled.
pub(super) fn unexplained_of(
    sae: &SparseAutoencoder,
    source: &mut dyn ActivationSource,
) -> Result<f64> {
    let device = sae.decoder.device();
    let mut meter = QualityMeter::default();
    while let Some(rows) = source.next()? {
        if rows.is_empty() {
            continue;
        }
        let x = rows.into_batch(&device).x;
        let output = sae.forward(x.clone())?;
        meter.add(x, &output.codes, output.reconstruction)?;
    }
    Ok(meter.quality()?.fvu)
}

/// Correlation of the norm predictor's products with dictionary vectors and their activations.
pub(super) fn aligned(sae: &SparseAutoencoder, data: &Data, split: &Split) -> Result<f64> {
    let (reconstruction, _) = encode(sae, &data.x)?;
    let norms = squared_row_norms(reconstruction.clone());
    let centred = reconstruction - sae.b_dec.val().unsqueeze();
    let predictor = least_squares(centred, norms, split, &LeastSquaresConfig::new())?;
    let (mut sums, mut counts) = (Vec::new(), Vec::new());
    let [rows, _] = data.x.dims();
    for start in (0..rows).step_by(BATCH) {
        let part = data.x.clone();
        let part = part.slice_dim(0, start..(start + BATCH).min(rows));
        let z = sae.encode(part)?.to_dense();
        counts.push(z.clone().greater_scalar(0.0).float().sum_dim(0));
        sums.push(z.sum_dim(0));
    }
    let sums = Tensor::cat(sums, 0).sum_dim(0).squeeze_dim::<1>(0);
    let counts = Tensor::cat(counts, 0).sum_dim(0).squeeze_dim::<1>(0);
    let means = sums / counts.clamp_min(1.0);
    Ok(alignment(&predictor, sae.decoder.val(), means)?.correlation)
}

/// One row of the noise experiment: R² of the reconstruction, and with the linear prediction.
pub(super) fn disturbed(
    sae: &SparseAutoencoder,
    data: &Data,
    disturbance: &Disturbance,
    split: &Split,
    seed: Seed,
) -> Result<(f64, f64)> {
    let (x, _) = encode(sae, &data.x)?;
    let [rows, _] = x.dims();
    let mut latents = Vec::new();
    for start in (0..rows).step_by(BATCH) {
        let part = x.clone().slice_dim(0, start..(start + BATCH).min(rows));
        latents.push(sae.encode(part)?.to_dense());
    }
    let latents = Tensor::cat(latents, 0);
    // Scales are shares of the size of a value of x.
    let [_, width] = x.dims();
    let size = unit_mean_square(x.clone())?.1 / (width as f64).sqrt();
    let disturbance = Disturbance {
        activation: disturbance.activation * size,
        reconstruction: disturbance.reconstruction * size,
        ..*disturbance
    };
    let noise = draw_noise(&x, seed.stream("disturbance"));
    let decode = |z: Tensor<2>| sae.decode(&Codes::dense(z));
    let found = synthetic(x, latents, decode, &noise, &disturbance, split)?;
    Ok((found.reconstruction_r2, found.linear_r2))
}

/// How the sizes of the parts follow those of what was put in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Correlation of `‖linear error‖` with `‖absent features + dense part‖`.
    pub linear: f64,
    /// Correlation of `‖nonlinear error‖` with `‖introduced error‖`.
    pub nonlinear: f64,
    /// The two crossed: linear with introduced, nonlinear with absent and dense.
    pub crossed: [f64; 2],
}

/// Decomposes activations whose parts are known.
pub(super) fn known(config: &ProceduralConfig, seed: Seed, device: &Device) -> Result<Known> {
    let known = config.draw(seed.stream("procedural"), device)?;
    let training = config.rows * 3 / 5;
    let split = Split::draw(config.rows, training, config.rows - training, seed)?;
    let config = LeastSquaresConfig::new();
    let parts = decompose(known.x, known.reconstruction, &split, &config)?;
    let put_in = values(row_norms(known.absent + known.dense))?;
    let introduced = values(row_norms(known.introduced))?;
    let linear = values(row_norms(parts.linear))?;
    let nonlinear = values(row_norms(parts.nonlinear))?;
    let related = |a: &[f64], b: &[f64]| {
        correlation(a, b).ok_or_else(|| Error::input("norms", "equal", "must vary over the rows"))
    };
    Ok(Known {
        linear: related(&linear, &put_in)?,
        nonlinear: related(&nonlinear, &introduced)?,
        crossed: [
            related(&linear, &introduced)?,
            related(&nonlinear, &put_in)?,
        ],
    })
}

/// The values of a tensor, row by row.
pub(super) fn values(tensor: Tensor<2>) -> Result<Vec<f64>> {
    let data = tensor.into_data().convert::<f64>();
    data.try_to_vec()
        .map_err(|error| Error::other("reading a tensor", format!("{error:?}")))
}
