//! Distances between signals, and the adversarial losses: pure functions.

use super::config::Version;
use super::discriminator::Features;
use super::stft::magnitudes;
use burn::tensor::{Tensor, TensorData, activation};
use menagerie_core::{Error, Result};

/// Added to a magnitude before its logarithm.
pub const FLOOR: f64 = 1e-7;

/// The scales of the published distance.
pub const SCALES: [usize; 5] = [2048, 1024, 512, 256, 128];

/// Magnitudes of `signals` `[signals, time]` under a periodic Hann window of `size` samples, with a
/// hop of a quarter of it, centred with reflected borders and divided by `√size`: `[signals, size /
/// 2 + 1, 1 + time / hop]`.
///
/// # Errors
/// [`Error::Input`] for a window that is no multiple of 4, or is twice as long as the signal or
/// longer.
pub fn spectrum(signals: Tensor<2>, size: usize) -> Result<Tensor<3>> {
    Ok(magnitudes(signals, size)? / (size as f64).sqrt())
}

/// The multi-scale spectral distance, scale by scale.
#[derive(Clone, Debug)]
pub struct SpectralDistance {
    /// The relative error of the magnitudes, `[1]` each.
    pub linear: Vec<Tensor<1>>,
    /// The mean absolute difference of their logarithms, `[1]` each.
    pub log: Vec<Tensor<1>>,
}

impl SpectralDistance {
    /// The sum of all terms, `[1]`.
    pub fn total(&self) -> Tensor<1> {
        let terms: Vec<Tensor<1>> = self.linear.iter().chain(&self.log).cloned().collect();
        Tensor::cat(terms, 0).sum()
    }
}

/// The spectral distance of `y` from `x`, both `[batch, channels, time]` (channels count as further
/// signals), at the window lengths `scales`.
///
/// With `X`, `Y` the magnitudes at a scale `n`, over the whole batch, V1 adds
/// `‖X − Y‖ / ‖X‖ + mean |ln X − ln Y|` of magnitudes divided by `√n`; V2 adds
/// `Σ(X − Y)² / ΣX² + mean |ln X − ln Y|` of magnitudes as they are. (The paper prints the second
/// term as the logarithm of a norm; the released code has the mean.)
///
/// # Errors
/// [`Error::Input`] for other shapes, no scale, or a scale that is no multiple of 4 or more than
/// twice as long as the signal, whose borders are reflected.
pub fn spectral_distance(
    x: Tensor<3>,
    y: Tensor<3>,
    scales: &[usize],
    version: Version,
) -> Result<SpectralDistance> {
    spectral_distance_above(x, y, scales, version, FLOOR)
}

/// [`spectral_distance`] with `floor` instead of [`FLOOR`] added to magnitudes before their logarithm
/// (`core.AudioDistanceV1.log_epsilon`).
///
/// # Errors
/// As [`spectral_distance`].
pub fn spectral_distance_above(
    x: Tensor<3>,
    y: Tensor<3>,
    scales: &[usize],
    version: Version,
    floor: f64,
) -> Result<SpectralDistance> {
    let shape @ [batch, channels, time] = x.dims();
    if y.dims() != shape {
        let rule = format!("must be that of the signal it is compared with, {shape:?}");
        return Err(Error::input("the shape of a signal", y.dims(), rule));
    }
    if scales.is_empty() {
        let rule = "must name at least one window length";
        return Err(Error::input("the scales", scales, rule));
    }
    let (mut linear, mut log) = (Vec::new(), Vec::new());
    for &scale in scales {
        let scaled = |signals: Tensor<3>| {
            let spectrum = magnitudes(signals.reshape([batch * channels, time]), scale)?;
            Ok::<_, Error>(match version {
                Version::V1 => spectrum / (scale as f64).sqrt(),
                Version::V2 => spectrum,
            })
        };
        let (x, y) = (scaled(x.clone())?, scaled(y.clone())?);
        let error = (x.clone() - y.clone()).square().sum();
        let power = x.clone().square().sum();
        linear.push(match version {
            // Equal signals have the slope zero, not an infinite one.
            Version::V1 => error.clamp_min(1e-30).sqrt() / power.sqrt(),
            Version::V2 => error / power,
        });
        log.push(((x + floor).log() - (y + floor).log()).abs().mean());
    }
    Ok(SpectralDistance { linear, log })
}

/// Window length of [`loudness`].
const LOUDNESS_WINDOW: usize = 2048;

/// The loudness of `audio` `[batch, 1, time]`: the mean over frequencies of the logarithmic
/// magnitude plus A-weighting, in a window of 2048 with a hop of 512; `[batch, 1, frames]`.
///
/// # Errors
/// [`Error::Input`] for audio of 1024 samples or less, or of several channels.
pub fn loudness(audio: Tensor<3>, sample_rate: usize) -> Result<Tensor<3>> {
    let shape @ [batch, channels, time] = audio.dims();
    if channels != 1 {
        let rule = "must be [batch, 1, time]";
        return Err(Error::input("the shape of the audio", shape, rule));
    }
    let spectrum = magnitudes(audio.reshape([batch, time]), LOUDNESS_WINDOW)?;
    let [_, bins, frames] = spectrum.dims();
    let weights: Vec<f32> = (0..bins)
        .map(|bin| {
            let nyquist = sample_rate as f64 / 2.0;
            a_weighting(nyquist * bin as f64 / (bins - 1) as f64 + 1e-7) as f32
        })
        .collect();
    let data = TensorData::new(weights, [1, bins, 1]);
    let weights = Tensor::<3>::from_data(data, &spectrum.device());
    Ok(((spectrum + FLOOR).log() + weights)
        .mean_dim(1)
        .reshape([batch, 1, frames]))
}

/// The A-weighting of `frequency` in Hz, in dB, not below −80 (IEC 61672).
fn a_weighting(frequency: f64) -> f64 {
    let square = frequency * frequency;
    let [a, b, c, d] = [12_194.217_f64, 20.598_997, 107.652_65, 737.862_23].map(|pole| pole * pole);
    let log = libm::log10;
    let weight = log(a) + 2.0 * log(square)
        - log(square + a)
        - log(square + b)
        - 0.5 * log(square + c)
        - 0.5 * log(square + d);
    (2.0 + 20.0 * weight).max(-80.0)
}

/// The mean squared difference of two signals' [`loudness`], `[1]`.
///
/// # Errors
/// As [`loudness`].
pub fn loudness_distance(x: Tensor<3>, y: Tensor<3>, sample_rate: usize) -> Result<Tensor<1>> {
    let difference = loudness(x, sample_rate)? - loudness(y, sample_rate)?;
    Ok(difference.square().mean())
}

/// The hinge losses of scores for real and generated signals, summed over the nets, `[1]` each.
#[derive(Clone, Debug)]
pub struct Adversarial {
    /// `Σ mean(relu(1 − real) + relu(1 + fake))`, which the discriminator minimises.
    pub discriminator: Tensor<1>,
    /// `Σ −mean(fake)`, which the generator minimises.
    pub generator: Tensor<1>,
}

/// Hinge losses of two sets of features.
pub fn hinge(real: &Features, fake: &Features) -> Adversarial {
    let pairs = real.scores().zip(fake.scores());
    let terms = pairs.map(|(real, fake)| {
        let margin =
            activation::relu(real.clone().neg() + 1.0) + activation::relu(fake.clone() + 1.0);
        (margin.mean(), fake.clone().mean().neg())
    });
    let (discriminator, generator): (Vec<_>, Vec<_>) = terms.unzip();
    Adversarial {
        discriminator: Tensor::cat(discriminator, 0).sum(),
        generator: Tensor::cat(generator, 0).sum(),
    }
}

/// How far the discriminators' features of a generated signal are from those of the real one, `[1]`.
///
/// V1: the mean over a net's convolutions of the mean absolute difference, summed over nets. V2: the
/// same relative to the mean absolute value of the real one's, without the first convolution, and the
/// mean over nets. Neither is weighted yet.
pub fn feature_matching(real: &Features, fake: &Features, version: Version) -> Tensor<1> {
    feature_matching_after(real, fake, version, skipped_features(version))
}

/// Convolutions of each net whose features are not compared.
pub fn skipped_features(version: Version) -> usize {
    match version {
        Version::V1 => 0,
        Version::V2 => 1,
    }
}

/// [`feature_matching`] without the first `skipped` convolutions of each net
/// (`num_skipped_features`); at least one is left.
pub fn feature_matching_after(
    real: &Features,
    fake: &Features,
    version: Version,
    skipped: usize,
) -> Tensor<1> {
    let nets = real.nets.iter().zip(&fake.nets).map(|(real, fake)| {
        let pairs: Vec<_> = real.iter().zip(fake).collect();
        let skipped = skipped.min(pairs.len().saturating_sub(1));
        let pairs = pairs.get(skipped..).unwrap_or_default();
        let terms: Vec<Tensor<1>> = pairs
            .iter()
            .map(|(real, fake)| {
                let difference = ((*real).clone() - (*fake).clone()).abs().mean();
                match version {
                    Version::V1 => difference,
                    Version::V2 => difference / (*real).clone().abs().mean(),
                }
            })
            .collect();
        Tensor::cat(terms, 0).mean()
    });
    let nets = Tensor::cat(nets.collect(), 0);
    match version {
        Version::V1 => nets.sum(),
        Version::V2 => nets.mean(),
    }
}
