//! A signal in blocks.

use super::{audio, model, small, small_v2};
use burn::tensor::{Tensor, TensorData};
use menagerie_codec::rave::{Activation, Alignment, Direction, Padding, Rave, RaveConfig};
use menagerie_core::Seed;

/// The output of a stream for `signal` in blocks of `units` hops or latent frames.
pub(super) fn streamed(
    model: &Rave,
    direction: Direction,
    alignment: Alignment,
    signal: &[f32],
    units: usize,
) -> (Vec<f32>, usize) {
    let mut stream = model
        .stream_with(direction, alignment, Some(Seed(5)))
        .unwrap();
    let block = units * stream.granularity();
    let output = signal
        .chunks(block)
        .flat_map(|block| stream.push(block).unwrap())
        .collect();
    (output, stream.delay())
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// Whether `a` is `b` up to rounding, and not silence.
pub(super) fn equal(a: &[f32], b: &[f32]) -> bool {
    let peak = b.iter().fold(0.0f32, |peak, value| peak.max(value.abs()));
    peak > 1e-4 && worst(a, b) < 2e-5 * peak
}

/// Latent frames one after the other.
fn frames(latent: Tensor<3>) -> Vec<f32> {
    latent.swap_dims(1, 2).try_into_vec_as().unwrap()
}

fn configs() -> Vec<RaveConfig> {
    let mut strided = small().with_loudness_stride(2);
    strided.ratios = vec![4, 1, 2];
    let mut strided_noise = strided.noise.clone().unwrap();
    strided_noise.ratios = vec![2, 4];
    vec![
        small(),
        small_v2(),
        small().with_padding(Padding::Causal),
        small().with_bands(1),
        strided.with_noise(Some(strided_noise)),
        small_v2().with_noise(None).low_latency(),
        small_v2().with_activation(Activation::Snake),
    ]
}

#[test]
fn an_exact_stream_is_the_offline_output_and_late() {
    for config in configs() {
        let model = model(&config);
        let hop = config.hop();
        let time = 64 * hop;
        let samples = audio(time);
        let device = super::device();
        let whole = Tensor::from_data(TensorData::new(samples.clone(), [1, 1, time]), &device);
        let latent = model.encode(whole).unwrap();
        let noise = model.draw_noise(1, 64, Seed(5), &device);
        let decoded = model.decode(latent.clone(), noise).unwrap();
        let decoded: Vec<f32> = decoded.try_into_vec_as().unwrap();
        let latent = frames(latent);

        let exact = Alignment::Exact;
        let (output, delay) = streamed(&model, Direction::Encode, exact, &samples, 1);
        assert!(delay.is_multiple_of(hop), "{config:?}");
        let late = delay / hop * config.latent;
        // The end is not the same: offline there are zeros behind it.
        let end = latent.len() - 2 * late.max(config.latent);
        assert!(equal(&output[late..][..end], &latent[..end]), "{config:?}");
        assert_eq!(worst(&output[..late], &vec![0.0; late]), 0.0);

        let (output, delay) = streamed(&model, Direction::Decode, exact, &latent, 1);
        let end = decoded.len() - 2 * delay.max(hop);
        assert!(end > 8 * hop);
        assert!(
            equal(&output[delay..][..end], &decoded[..end]),
            "{config:?}"
        );

        let (output, delay) = streamed(&model, Direction::Both, exact, &samples, 1);
        let end = decoded.len() - 2 * delay.max(hop);
        assert!(end > 8 * hop);
        assert!(
            equal(&output[delay..][..end], &decoded[..end]),
            "{config:?}"
        );
    }
}

#[test]
fn a_stream_does_not_depend_on_its_blocks() {
    for config in configs() {
        let model = model(&config);
        let samples = audio(64 * config.hop());
        for alignment in [Alignment::Official, Alignment::Exact] {
            let direction = Direction::Both;
            let (one, _) = streamed(&model, direction, alignment, &samples, 1);
            for units in [2, 5, 64] {
                let (other, _) = streamed(&model, direction, alignment, &samples, units);
                let off = worst(&other, &one);
                assert!(
                    equal(&other, &one),
                    "{off} {alignment:?} {units} hops of {config:?}"
                );
            }
        }
    }
}

#[test]
fn a_stream_that_is_reset_begins_anew() {
    let config = small();
    let model = model(&config);
    let mut stream = model
        .stream_with(Direction::Both, Alignment::Exact, Some(Seed(5)))
        .unwrap();
    let samples = audio(40 * config.hop());
    let first = stream.push(&samples).unwrap();
    stream.reset();
    assert_eq!(stream.push(&samples).unwrap(), first);
}

#[test]
fn causal_models_have_less_delay() {
    let delay = |config: &RaveConfig| {
        let model = model(config);
        let stream = model.stream(Direction::Both, Alignment::Official);
        stream.unwrap().delay()
    };
    let (centred, causal) = (small(), small().with_padding(Padding::Causal));
    assert!(delay(&causal) < delay(&centred));
}

#[test]
fn blocks_that_do_not_fit_leave_the_stream_as_it_was() {
    let config = small();
    let model = model(&config);
    let hop = config.hop();
    let mut stream = model.stream(Direction::Both, Alignment::Exact).unwrap();
    let mut other = model.stream(Direction::Both, Alignment::Exact).unwrap();
    let samples = audio(40 * hop);
    assert_eq!(stream.push(&[]).unwrap(), Vec::<f32>::new());
    let error = stream.push(&samples[..hop + 1]).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "the length of a block is {}: must be a multiple of the hop, {hop} samples",
            hop + 1
        )
    );
    let mut broken = samples.clone();
    broken[7] = f32::NAN;
    let error = stream.push(&broken).unwrap_err().to_string();
    assert_eq!(
        error,
        "a sample is NaN: must be finite, at position 7 of the block"
    );
    assert_eq!(
        stream.push(&samples).unwrap(),
        other.push(&samples).unwrap()
    );

    let mut stream = model.stream(Direction::Decode, Alignment::Exact).unwrap();
    let error = stream.push(&[0.0; 4]).unwrap_err().to_string();
    assert_eq!(
        error,
        "the length of a block is 4: must be a multiple of the latent size, 3"
    );
}
