//! What cannot be is refused, with a reason.

use super::{audio, model, small, small_v2};
use crate::device;
use burn::tensor::Tensor;
use menagerie_codec::rave::objective::{loudness, spectral_distance};
use menagerie_codec::rave::{
    BatchNorm, DiscriminatorConfig, LatentAnalysis, Layer, NoiseConfig, Pqmf, RaveConfig,
    Statistics, Version, blend, draw_normal,
};
use menagerie_core::{Result, Seed};
use menagerie_train::initialise;

fn text<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "accepted".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn configurations_name_field_value_and_rule() {
    let with = |change: fn(&mut RaveConfig)| {
        let mut config = small();
        change(&mut config);
        text(config.init(&device()))
    };
    for (found, expected) in [
        (
            with(|c| c.bands = 12),
            "RaveConfig.bands = 12: must be a power of two up to 256, for the polyphase form of the \
             filter bank",
        ),
        (
            with(|c| c.latent = 0),
            "RaveConfig.latent = 0: must be at least 1",
        ),
        (
            with(|c| c.ratios = vec![4, 3, 2]),
            "RaveConfig.ratios = [4, 3, 2]: must be 1 to 12 strides, each 1 or an even number up to 64",
        ),
        (
            with(|c| c.dilations.truncate(1)),
            "RaveConfig.dilations = [[1, 3, 9]]: must be as many lists as ratios, 3",
        ),
        (
            with(|c| c.attenuation = f64::NAN),
            "RaveConfig.attenuation = NaN: must lie between 21 and 200 dB",
        ),
        (
            with(|c| c.loudness_stride = 3),
            "RaveConfig.loudness_stride = 3: must divide the product of the ratios, 16",
        ),
        (
            with(|c| c.noise = Some(NoiseConfig::new(vec![4, 8]))),
            "RaveConfig.noise.ratios = [4, 8]: must have a product that divides the sub-band samples \
             of a latent frame, 16",
        ),
        (
            with(|c| c.noise = Some(NoiseConfig::new(vec![4]).with_bands(1))),
            "RaveConfig.noise.bands = 1: must be at least 2",
        ),
        (
            text(small_v2().with_loudness_stride(2).init(&device())),
            "RaveConfig.loudness_stride = 2: must be 1 in V2",
        ),
        (
            text(DiscriminatorConfig::v1().with_layers(0).init(&device())),
            "DiscriminatorConfig.layers = 0: must lie between 1 and 8",
        ),
        (
            text(
                DiscriminatorConfig::v2()
                    .with_periods(vec![2, 0])
                    .init(&device()),
            ),
            "DiscriminatorConfig.periods = [2, 0]: must be at least 1 each",
        ),
        (
            text(Pqmf::new(3, 100.0)),
            "the number of bands is 3: must be a power of two, for the polyphase form",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn recordings_that_do_not_fit_are_refused() {
    let config = small();
    let model = model(&config);
    let device = device();
    let samples = audio(100);
    let tensor = model.audio(&samples, 1, 8_000, &device).unwrap();
    assert_eq!(tensor.dims(), [1, 1, 128]);
    let refuse =
        |samples: &[f32], channels, rate| text(model.audio(samples, channels, rate, &device));
    assert_eq!(
        refuse(&samples, 1, 44_100),
        "the sample rate is 44100: must be the model's, 8000 Hz: resample the audio first"
    );
    assert_eq!(
        refuse(&samples, 2, 8_000),
        "the number of channels is 2: must be 1, the model is mono: mix the channels down first"
    );
    assert_eq!(
        refuse(&[0.0, f32::NAN], 1, 8_000),
        "a sample is NaN: must be finite, at position 1"
    );
    assert_eq!(
        refuse(&[], 1, 8_000),
        "the length of the audio is 0: must be at least 1 sample"
    );

    let zeros = |shape: [usize; 3]| Tensor::<3>::zeros(shape, &device);
    assert_eq!(
        text(model.encode(zeros([1, 2, 128]))),
        "the shape of the audio is [1, 2, 128]: must be mono, [batch, 1, time]: mix the channels \
         down first"
    );
    assert_eq!(
        text(model.encode(zeros([1, 1, 100]))),
        "the shape of the audio is [1, 1, 100]: must have a time that is a positive multiple of 64 \
         samples"
    );
    assert_eq!(
        text(model.decode(zeros([1, 4, 2]), None)),
        "the shape of the latent signal is [1, 4, 2]: must be [batch, 3, frames], not empty"
    );
    let noise = model.draw_noise(1, 3, Seed(0), &device);
    assert_eq!(
        text(model.decode(zeros([1, 3, 2]), noise)),
        "the shape of the noise is [1, 6, 4, 8]: must be [1, 4, 4, 8] for this latent signal"
    );
    let mut other = small();
    other.ratios = vec![4, 4, 2];
    let other = super::model(&other);
    assert_eq!(
        text(model.transfer(zeros([1, 1, 128]), &other, None)),
        "the hop and sample rate of the target is [128, 8000]: must be the source's, [64, 8000]"
    );
}

#[test]
fn scales_that_reach_beyond_the_signal_are_refused() {
    let device = device();
    let signal = || Tensor::<3>::ones([1, 2, 128], &device);
    let distance =
        |scales: &[usize]| text(spectral_distance(signal(), signal(), scales, Version::V1));
    assert_eq!(distance(&[128, 64]), "accepted");
    assert_eq!(
        distance(&[128, 256]),
        "the scale of a spectrum is 256: must be less than twice the 128 samples of the signal, \
         whose borders are reflected"
    );
    assert_eq!(
        distance(&[30]),
        "the scale of a spectrum is 30: must be a positive multiple of 4"
    );
    assert!(distance(&[]).contains("must name at least one window length"));
    assert!(text(loudness(signal(), 8_000)).contains("must be [batch, 1, time]"));
    let other = Tensor::<3>::ones([1, 1, 128], &device);
    let found = text(spectral_distance(signal(), other, &[64], Version::V1));
    assert!(
        found.starts_with("the shape of a signal is [1, 1, 128]"),
        "{found}"
    );
}

#[test]
fn equal_signals_have_a_finite_gradient() {
    let device = device().autodiff();
    let x: Tensor<3> = draw_normal([1, 1, 512], Seed(1), &device);
    // Silence has magnitudes of zero, whose slope counts as zero.
    let silence = Tensor::<3>::zeros([1, 1, 512], &device);
    for y in [x.clone(), silence] {
        let y = y.require_grad();
        let distance = spectral_distance(x.clone(), y.clone(), &[256, 64], Version::V1).unwrap();
        let gradient = y.grad(&distance.total().backward()).unwrap();
        let values: Vec<f32> = gradient.try_into_vec_as().unwrap();
        assert!(values.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn latent_analyses_know_their_limits() {
    let device = device();
    let means: Tensor<3> = draw_normal([2, 4, 30], Seed(1), &device);
    let analysis = LatentAnalysis::fit(means.clone()).unwrap();
    for fidelity in [0.0, 1.0, -0.5, f64::NAN] {
        let found = text(analysis.kept(fidelity));
        assert!(
            found.ends_with("must lie between 0 and 1, both excluded"),
            "{found}"
        );
    }
    assert_eq!(
        text(analysis.compact(means.clone(), 5)),
        "the number of directions is 5: must lie between 1 and the latent size, 4"
    );
    let narrow = Tensor::<3>::zeros([1, 3, 2], &device);
    assert_eq!(
        text(analysis.compact(narrow, 2)),
        "the latent size is 3: must be that of the analysis, 4"
    );
    assert!(text(LatentAnalysis::fit(means.clone() * f64::NAN)).contains("must be finite"));
    let one = Tensor::<3>::zeros([1, 4, 1], &device);
    assert!(text(LatentAnalysis::fit(one)).contains("at least two frames"));
    assert!(text(LatentAnalysis::from_parts(vec![0.0], vec![], &[1.0])).contains("n, n² and n"));
    let short = Tensor::<3>::zeros([2, 4, 29], &device);
    assert!(text(blend(means.clone(), short, 0.5)).contains("must be that of the first"));

    // All directions keep everything; a shift along one is found along that one alone.
    let whole = analysis.compact(means.clone(), 4).unwrap();
    let back = analysis.expand(whole.clone(), None).unwrap();
    let off: f32 = (back - means.clone()).abs().max().into_scalar();
    assert!(off < 1e-5, "{off}");
    let moved = analysis.shift(means, 2, 1.5).unwrap();
    let change = analysis.compact(moved, 4).unwrap() - whole;
    let change: Vec<f32> = change.try_into_vec_as().unwrap();
    let expected = 1.5 * analysis.variance()[2].sqrt() as f32;
    for (index, value) in change.iter().enumerate() {
        let expected = if index / 30 % 4 == 2 { expected } else { 0.0 };
        assert!((value - expected).abs() < 1e-5, "{value} at {index}");
    }
}

#[test]
fn running_statistics_are_those_of_pytorch() {
    // torch.nn.BatchNorm1d(1) after one step on [[[1, 2, 4, 9]]]: mean 4, unbiased variance 38 / 3.
    let mut config = small();
    config.ratios = vec![2];
    config.dilations = vec![vec![1]];
    config.noise = None;
    let device = device().autodiff();
    let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let norm: &BatchNorm = model
        .encoder
        .net
        .layers
        .iter()
        .find_map(|layer| match layer {
            Layer::Norm(norm) => Some(norm),
            _ => None,
        })
        .unwrap();
    let row = [1.0f32, 2.0, 4.0, 9.0];
    let x = Tensor::<3>::from_floats([[row, row, row, row]], &device);
    let y = norm.forward(x, Statistics::Batch);
    let y: Vec<f32> = y.try_into_vec_as().unwrap();
    // (1 − 4) / √(9.5 + 1e-5)
    assert!((y[0] + 0.973_328).abs() < 1e-5, "{}", y[0]);
    let read = |state: Tensor<1>| state.try_into_vec_as::<f32>().unwrap()[0];
    assert!((read(norm.running_mean.value_sync()) - 0.4).abs() < 1e-6);
    let expected = 0.9 + 0.1 * 38.0 / 3.0;
    assert!((read(norm.running_var.value_sync()) - expected).abs() < 1e-5);
}
