//! Speeds, distances, sounds.

use super::{Experiment, data::Speech};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use menagerie_codec::rave::objective::{SpectralDistance, spectral_distance};
use menagerie_codec::rave::{
    Alignment, Direction, LatentAnalysis, Rave, RaveConfig, Version, draw_normal,
};
use menagerie_core::{Error, Result, Seed};
use menagerie_train::initialise;
use std::time::Instant;

/// Fidelities at which the latent is cut.
pub(super) const FIDELITIES: [f64; 4] = [0.8, 0.9, 0.95, 0.99];

/// Seconds that networks take.
pub(super) struct Speeds {
    /// Bands, and seconds of a decoding: of the waveform first.
    pub bands: Vec<(usize, f64)>,
    /// Seconds of audio that they decode.
    pub timed: f64,
    /// The published model decodes `headline.0` seconds of audio in `headline.1`.
    pub headline: (f64, f64),
    /// Seconds of audio in a block, of the median one and of the worst, through encoder and decoder.
    pub blocks: [f64; 3],
}

/// The shortest of a few passes after the first.
fn best(passes: usize, mut pass: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for repeat in 0..=passes {
        let began = Instant::now();
        pass()?;
        if repeat > 0 {
            best = best.min(began.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}

fn folded(config: &RaveConfig, seed: Seed, device: &Device) -> Result<Rave> {
    Ok(initialise(device, seed.stream("timed"), || config.init(device))?.fold())
}

/// Seconds to decode about `seconds` of audio, and how long that is.
fn decoding(config: &RaveConfig, seconds: f64, seed: Seed, device: &Device) -> Result<[f64; 2]> {
    let model = folded(config, seed, device)?;
    let frames = ((seconds * config.frame_rate()).ceil() as usize).max(1);
    let latent: Tensor<3> = draw_normal([1, config.latent, frames], seed, device);
    let taken = best(5, || {
        drop(model.decode(latent.clone(), None)?.into_data());
        Ok(())
    })?;
    Ok([frames as f64 / config.frame_rate(), taken])
}

pub(super) fn speeds(experiment: &Experiment, device: &Device, seed: Seed) -> Result<Speeds> {
    let (capacity, seconds) = experiment.timed;
    let mut bands = Vec::new();
    let mut timed = seconds;
    for count in [1, 8, 16] {
        let config = experiment
            .config
            .clone()
            .with_capacity(capacity)
            .with_noise(None)
            .with_bands(count);
        let [length, taken] = decoding(&config, seconds, seed, device)?;
        // Lengths differ by less than a hop.
        bands.push((count, taken * seconds / length));
        timed = seconds;
    }
    let [length, taken] = decoding(&experiment.headline, experiment.seconds, seed, device)?;
    let model = folded(&experiment.headline, seed, device)?;
    let mut stream = model.stream(Direction::Both, Alignment::Exact)?;
    let hop = experiment.headline.hop();
    let block: Vec<f32> = (0..hop).map(|t| (0.05 * t as f32).sin()).collect();
    let mut times = Vec::new();
    for index in 0..60 {
        let began = Instant::now();
        stream.push(&block)?;
        if index >= 10 {
            times.push(began.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
    Ok(Speeds {
        bands,
        timed,
        headline: (length, taken),
        blocks: [
            1.0 / experiment.headline.frame_rate(),
            at(times.len() / 2),
            at(times.len() - 1),
        ],
    })
}

/// What becomes of held-out sound when directions of the latent are left out.
pub(super) struct Compaction {
    /// Fidelity, directions kept, spectral distance; all directions last, at a fidelity of 1.
    pub cuts: Vec<(f64, usize, f64)>,
}

/// The posterior means of crops, a few at a time.
pub(super) fn means(model: &Rave, crops: &Tensor<3>) -> Result<Tensor<3>> {
    let parts: Result<Vec<_>> = parts(crops).map(|part| model.encode(part)).collect();
    Ok(Tensor::cat(parts?, 0))
}

fn parts(crops: &Tensor<3>) -> impl Iterator<Item = Tensor<3>> {
    const PART: usize = 8;
    let count = crops.dims()[0];
    (0..count)
        .step_by(PART)
        .map(move |start| crops.clone().narrow(0, start, PART.min(count - start)))
}

/// The spectral distance of reconstructions from means, without noise.
pub(super) fn distance(model: &Rave, crops: &Tensor<3>, scales: &[usize]) -> Result<f64> {
    cut_distance(model, crops, scales, Ok)
}

fn cut_distance(
    model: &Rave,
    crops: &Tensor<3>,
    scales: &[usize],
    cut: impl Fn(Tensor<3>) -> Result<Tensor<3>>,
) -> Result<f64> {
    let mut sum = 0.0;
    let mut rows = 0;
    for part in parts(crops) {
        let subbands = model.pqmf().analysis(part.clone());
        let latent = cut(model.encode(part)?)?;
        let output = model.decoder.forward(latent, None);
        // Both through the same synthesis, as in training.
        let [x, y] = [subbands, output].map(|bands| model.pqmf().synthesis(bands));
        let count = x.dims()[0];
        let found: SpectralDistance = spectral_distance(x, y, scales, Version::V1)?;
        let value: f64 = found
            .total()
            .try_into_scalar()
            .map_err(|error| Error::other("reading a distance", error))?;
        sum += value * count as f64;
        rows += count;
    }
    Ok(sum / rows as f64)
}

pub(super) fn compaction(
    model: &Rave,
    analysis: &LatentAnalysis,
    crops: &Tensor<3>,
    scales: &[usize],
) -> Result<Compaction> {
    let mut cuts = Vec::new();
    for fidelity in FIDELITIES {
        let kept = analysis.kept(fidelity)?;
        let distance = cut_distance(model, crops, scales, |latent| {
            analysis.expand(analysis.compact(latent, kept)?, None)
        })?;
        cuts.push((fidelity, kept, distance));
    }
    cuts.push((1.0, analysis.size(), distance(model, crops, scales)?));
    Ok(Compaction { cuts })
}

/// Seconds to listen to.
const LISTENED: f64 = 3.0;

/// A held-out signal through the model.
pub(super) fn reconstructed(
    model: &Rave,
    speech: &Speech,
    noise: Option<Seed>,
) -> Result<Vec<f32>> {
    through(model, speech, noise, Ok)
}

fn through(
    model: &Rave,
    speech: &Speech,
    noise: Option<Seed>,
    cut: impl Fn(Tensor<3>) -> Result<Tensor<3>>,
) -> Result<Vec<f32>> {
    let devices = model.devices();
    let device = devices
        .first()
        .ok_or_else(|| Error::other("a reconstruction", "the model has no weights"))?;
    let samples = speech.sample(LISTENED);
    let audio = model.audio(samples, 1, speech.rate() as usize, device)?;
    let latent = cut(model.encode(audio)?)?;
    let noise = noise.and_then(|seed| model.draw_noise(1, latent.dims()[2], seed, device));
    let output = model.decode(latent, noise)?;
    let output: Vec<f32> = output
        .try_into_vec_as()
        .map_err(|error| Error::other("reading a reconstruction", error))?;
    // The synthesis is one sub-band sample late.
    let late = match model.pqmf().bands() {
        1 => 0,
        bands => bands,
    };
    Ok(output.get(late..).unwrap_or_default().to_vec())
}

/// The original, and reconstructions from all directions of the latent and from few.
pub(super) fn sounds(
    model: &Rave,
    analysis: &LatentAnalysis,
    speech: &Speech,
    _seed: Seed,
) -> Result<Vec<(String, Vec<f32>)>> {
    let mut sounds = vec![
        ("original".to_owned(), speech.sample(LISTENED).to_vec()),
        (
            "after the first stage".to_owned(),
            reconstructed(model, speech, None)?,
        ),
    ];
    for fidelity in [0.99, 0.8] {
        let kept = analysis.kept(fidelity)?;
        let sound = through(model, speech, None, |latent| {
            analysis.expand(analysis.compact(latent, kept)?, None)
        })?;
        sounds.push((
            format!("{kept} directions, a fidelity of {fidelity}"),
            sound,
        ));
    }
    Ok(sounds)
}
