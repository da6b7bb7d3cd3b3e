//! What is measured on a trained model.

use super::arms::Experiment;
use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_representation::qlae::{
    LatentModel, Qlae,
    infomec::{
        Infomec, InfomecConfig, Latents, Probe, Sources, explicitness, infomec, quantile_bins,
    },
};
use menagerie_train::{Metrics, Record, Split};

/// A run's results.
pub(super) struct Outcome {
    /// The last evaluation, see [`evaluate`].
    pub metrics: Metrics,
    /// InfoM (common estimator) after so many steps.
    pub curve: Vec<(f64, f64)>,
    /// Scores by the estimator that all arms share.
    pub scores: Infomec,
    /// Scores by the estimator that suits the code.
    pub own: Infomec,
    /// Reconstructions of [`Experiment::examples`].
    pub reconstructions: Vec<f32>,
    /// For quantised latents.
    pub traversal: Option<Traversal>,
}

/// Images with one latent changed at a time.
pub(super) struct Traversal {
    /// `[latent][value]`, in ascending order of the codebook's values.
    pub tiles: Vec<Vec<Vec<f32>>>,
}

/// An evaluation.
pub(super) struct Evaluation {
    pub metrics: Metrics,
    pub common: Infomec,
    pub own: Infomec,
}

/// Images that are encoded at a time.
const BATCH: usize = 256;

/// Reconstruction and InfoMEC on the experiment's sample. `*_common` bins continuous latents into
/// as many equal parts as a quantised latent has values and scores every code as a discrete one;
/// the plain names take the estimator of the code's own kind. InfoE, the slow one, only if asked
/// for.
pub(super) fn evaluate<M: LatentModel>(
    model: &M,
    experiment: &Experiment,
    device: &Device,
    with_infoe: bool,
) -> Result<Evaluation> {
    let mut squared_error = 0.0;
    let mut codes = Vec::new();
    for indices in experiment.sample.chunks(BATCH) {
        let images = experiment.images(indices, device)?;
        let error = (model.reconstruction(images.clone()) - images.clone()).square();
        let error = error.mean().try_into_scalar::<f64>();
        squared_error += error.map_err(reading)? * indices.len() as f64;
        codes.extend(floats(model.codes(images))?);
    }
    let rows = experiment.sample.len();
    let width = codes.len() / rows.max(1);
    let latents = if model.is_discrete() {
        Latents::discrete(rows, width, &codes)?
    } else {
        Latents::continuous(rows, width, &codes)?
    };
    let values = experiment.model.values.iter().copied().max().unwrap_or(2);
    let config = InfomecConfig {
        probe: if with_infoe {
            Probe::Iterations(100)
        } else {
            Probe::Skip
        },
        ..InfomecConfig::default()
    };
    let own = scores(&experiment.sources, &latents, &config)?;
    let binned = quantile_bins(&latents, values)?;
    let common = scores(&experiment.sources, &binned, &config)?;
    let mut metrics = Metrics::new()
        .with("psnr", -10.0 * (squared_error / rows as f64).log10())
        .with("infom", own.infom)
        .with("infoc", own.infoc)
        .with("infom_common", common.infom)
        .with("infoc_common", common.infoc)
        .with("active", own.active_latents() as f64);
    if let (Some(own), Some(common)) = (own.infoe(), common.infoe()) {
        metrics.insert("infoe", own);
        metrics.insert("infoe_common", common);
    }
    Ok(Evaluation {
        metrics,
        common,
        own,
    })
}

/// InfoMEC, or zeros for a code that has collapsed to a constant, as some are early in training.
fn scores(sources: &Sources, latents: &Latents, config: &InfomecConfig) -> Result<Infomec> {
    let active = latents.active(config.active_share);
    if active.contains(&true) {
        return infomec(sources, latents, config);
    }
    let explicitness = match config.probe {
        Probe::Skip => None,
        probe => Some(explicitness(sources, latents, probe)?),
    };
    Ok(Infomec {
        infom: 0.0,
        infoc: 0.0,
        explicitness,
        infom_gap: 0.0,
        infoc_gap: 0.0,
        nmi: vec![vec![0.0; active.len()]; sources.columns()],
        active,
        source_entropy: sources.entropies(),
    })
}

/// Each latent of the code of `image` `[channels, height, width]` set to each of its values.
pub(super) fn traversal(model: &Qlae, image: &Tensor<3>) -> Result<Traversal> {
    let size: usize = image.dims().iter().product();
    let mut tiles = Vec::with_capacity(model.latent.latents());
    for latent in 0..model.latent.latents() {
        let images = floats(model.traverse(image.clone(), latent)?)?;
        tiles.push(images.chunks(size).map(<[f32]>::to_vec).collect());
    }
    Ok(Traversal { tiles })
}

/// InfoM over training.
pub(super) fn curve(history: &[Record]) -> Vec<(f64, f64)> {
    history
        .iter()
        .filter(|record| record.split == Split::Evaluation)
        .filter_map(|record| Some((record.step as f64, record.metrics.get("infom_common")?)))
        .collect()
}

/// The values of a tensor, row by row.
pub(super) fn floats<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.into_data().convert::<f32>();
    let values = data.try_to_vec();
    values.map_err(|error| Error::other("reading a tensor", error))
}

fn reading(error: impl std::fmt::Display) -> Error {
    Error::other("reading the reconstruction error", error)
}
