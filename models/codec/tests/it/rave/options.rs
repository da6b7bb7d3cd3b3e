//! Options of the later architecture: activation, bottlenecks, style.

use super::streams::{equal, streamed};
use super::training::{self, setup, training};
use super::{audio, model, num_params, small, small_v2};
use crate::device;
use burn::module::RunningState;
use burn::tensor::{Tensor, TensorData};
use menagerie_codec::rave::weights::{from_state_dict, key_map};
use menagerie_codec::rave::{
    Activation, AdaIn, Alignment, Bottleneck, Direction, Quantisation, QuantiserConfig, Rave,
    RaveConfig, RaveTrainingConfig, SecondStage, Side, Snake, Statistics, discrepancy,
    draw_augmentation, draw_normal, draw_rows,
};
use menagerie_core::{Result, Seed};
use menagerie_hub::StateDict;
use menagerie_train::{FitConfig, Procedure, Progress, Run, initialise};

pub(super) fn text<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "accepted".into(),
        Err(error) => error.to_string(),
    }
}

pub(super) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

#[track_caller]
pub(super) fn near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!(
            (a - b).abs() < 1e-5 * b.abs().max(1.0),
            "{found:?} and {expected:?}"
        );
    }
}

fn snake() -> RaveConfig {
    small_v2().with_activation(Activation::Snake)
}

fn wasserstein() -> RaveConfig {
    small_v2()
        .with_bottleneck(Bottleneck::Wasserstein)
        .with_noise_augmentation(2)
}

pub(super) fn few_codes() -> QuantiserConfig {
    QuantiserConfig::new()
        .with_quantisers(2)
        .with_codes(4)
        .with_iterations(5)
}

pub(super) fn discrete() -> RaveConfig {
    small_v2()
        .with_bottleneck(Bottleneck::Discrete(few_codes()))
        .with_noise_augmentation(2)
}

fn adain() -> RaveConfig {
    small_v2().with_adain(true)
}

pub(super) fn official(model: &Rave) -> StateDict {
    let map = key_map(model.config());
    let tensors = map.to_official(&menagerie_hub::values(model)).unwrap();
    StateDict::from_tensors("a checkpoint", tensors)
}

pub(super) fn whole(samples: &[f32]) -> Tensor<3> {
    let data = TensorData::new(samples.to_vec(), [1, 1, samples.len()]);
    Tensor::from_data(data, &device())
}

/// A model whose codebooks hold what `audio` needs.
pub(super) fn with_codes(config: &RaveConfig) -> Rave {
    let model = model(config);
    let subbands = model.pqmf().analysis(whole(&audio(64 * config.hop())));
    let output = model.encoder.output(subbands, Statistics::Running);
    let quantiser = model.encoder.quantiser.as_ref().unwrap();
    let draws = draw_rows(quantiser.config(), 64, Seed(4), &device());
    quantiser.learn(output, &draws);
    model
}

#[test]
fn snake_is_its_formula() {
    let mut layer = Snake::new(2, &device());
    let alpha = Tensor::<2>::from_floats([[0.5], [2.0]], &device());
    layer.alpha = layer.alpha.map(|_| alpha);
    let x = Tensor::<3>::from_floats([[[1.0, -3.0], [1.0, 0.0]]], &device());
    // 1 + sin²(0.5) / 0.5, −3 + sin²(1.5) / 0.5, 1 + sin²(2) / 2, 0
    let expected = [1.459_697_7, -1.010_007_5, 1.413_410_9, 0.0];
    near(&numbers(layer.forward(x)), &expected);
}

#[test]
fn snake_learns_a_frequency_for_each_channel_that_is_activated() {
    // 105 activated channels in encoder and decoder each per channel of the first layer: 10 080 at
    // the published width.
    let plain = RaveConfig::v2().with_capacity(8);
    let [plain, learned] =
        [plain.clone(), plain.with_activation(Activation::Snake)].map(|config| model(&config));
    assert_eq!(
        num_params(&learned.encoder),
        num_params(&plain.encoder) + 840
    );
    assert_eq!(
        num_params(&learned.decoder),
        num_params(&plain.decoder) + 840
    );
}

#[test]
fn snake_has_the_names_of_the_released_code() {
    let original = model(&snake());
    let weights = official(&original);
    for key in [
        "encoder.encoder.net.1.aligned.branches.0.net.0.alpha",
        "encoder.encoder.net.1.aligned.branches.0.net.2.alpha",
        "encoder.encoder.net.3.alpha",
        "encoder.encoder.net.6.alpha",
        "encoder.encoder.net.8.alpha",
        "decoder.net.1.alpha",
        "decoder.net.3.aligned.branches.0.net.2.alpha",
        "decoder.net.4.alpha",
        "decoder.net.8.alpha",
        "decoder.noise_module.net.1.alpha",
    ] {
        assert!(weights.get(key).is_some(), "{key}");
    }
    let count = weights.keys().filter(|key| key.ends_with("alpha")).count();
    // Three units twice in encoder and decoder, three single ones each, one in the noise branch.
    assert_eq!(count, 2 * (6 + 3) + 1);
    let loaded = from_state_dict(&snake(), &weights, &device()).unwrap();
    let latent: Tensor<3> = draw_normal([1, 3, 5], Seed(2), &device());
    let decoded = |model: &Rave| numbers(model.decode(latent.clone(), None).unwrap());
    assert_eq!(decoded(&loaded), decoded(&original));
}

#[test]
fn gradients_reach_every_frequency() {
    let device = device().autodiff();
    let config = snake();
    let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let latent: Tensor<3> = draw_normal([1, 3, 8], Seed(2), &device);
    let noise = model.draw_noise(1, 8, Seed(3), &device);
    let time = 8 * config.hop();
    let audio: Tensor<3> = draw_normal([1, 1, time], Seed(4), &device);
    let encoded = model.posterior(audio).unwrap();
    let loss = encoded.mean.square().sum()
        + encoded.scale.square().sum()
        + model.decode(latent, noise).unwrap().square().sum();
    let gradients = menagerie_hub::gradients(&model, &loss.backward());
    let mut found = 0;
    for (path, gradient) in &gradients {
        if path.ends_with("alpha") {
            found += 1;
            let moved = gradient.iter::<f32>().filter(|value| *value != 0.0);
            assert!(moved.count() > 0, "{path}");
        }
    }
    assert_eq!(found, 19);
}

#[test]
fn the_discrepancy_is_its_definition() {
    let at = |value: f32| Tensor::<2>::from_floats([[value, value]], &device());
    // 1 + 1 − 2 exp(−1 / 2)
    near(&numbers(discrepancy(at(0.0), at(1.0))), &[0.786_938_7]);
    near(&numbers(discrepancy(at(3.0), at(3.0))), &[0.0]);

    let x: Tensor<2> = draw_normal([5, 3], Seed(1), &device());
    let y: Tensor<2> = draw_normal([4, 3], Seed(2), &device());
    let (a, b) = (numbers(x.clone()), numbers(y.clone()));
    let kernel = |a: &[f32], b: &[f32]| {
        let mut sum = 0.0;
        for a in a.chunks(3) {
            for b in b.chunks(3) {
                let square: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
                sum += (-square / 9.0).exp();
            }
        }
        sum / (a.len() / 3 * (b.len() / 3)) as f32
    };
    let expected = kernel(&a, &a) + kernel(&b, &b) - 2.0 * kernel(&a, &b);
    near(&numbers(discrepancy(x, y)), &[expected]);
}

#[test]
fn noise_stands_beside_the_latent_signal() {
    let config = wasserstein();
    let model = model(&config);
    let device = device();
    assert_eq!(config.decoder_channels(), 5);
    let latent = model.encode(whole(&audio(4 * config.hop()))).unwrap();
    assert_eq!(latent.dims(), [1, 3, 4]);
    let zeros = Tensor::zeros([1, 2, 4], &device);
    let silent = model.decode(latent.clone(), None).unwrap();
    let explicit = Tensor::cat(vec![latent.clone(), zeros], 1);
    let explicit = model.decode(explicit, None).unwrap();
    assert_eq!(numbers(silent.clone()), numbers(explicit));
    let noise = draw_augmentation(&config, 1, 0, 4, Seed(5), &device).unwrap();
    let noisy = Tensor::cat(vec![latent, noise.clone()], 1);
    assert_ne!(numbers(model.decode(noisy, None).unwrap()), numbers(silent));
    // A later start is the same noise, and before the signal there is none.
    let later = draw_augmentation(&config, 1, 2, 2, Seed(5), &device).unwrap();
    assert_eq!(numbers(later), numbers(noise.clone().narrow(2, 2, 2)));
    let early = draw_augmentation(&config, 1, -1, 2, Seed(5), &device).unwrap();
    let silence = early.clone().narrow(2, 0, 1);
    assert_eq!(numbers(silence), [0.0, 0.0]);
    assert_eq!(
        numbers(early.narrow(2, 1, 1)),
        numbers(noise.narrow(2, 0, 1))
    );
    assert!(draw_augmentation(&small_v2(), 1, 0, 4, Seed(5), &device).is_none());
}

pub(super) fn put<const D: usize>(state: &RunningState<Tensor<D>>, value: Tensor<D>) {
    state.update(value);
    let _ = state.value_sync();
}

#[test]
fn style_is_learned_and_carried_over() {
    let layer = AdaIn::new(1, &device());
    let signal = |values: [f32; 3]| Tensor::<3>::from_floats([[values]], &device());
    let set = |side: Side, learning: f32| {
        let value = Tensor::from_floats([learning], &device());
        put(&layer.side(side).learning, value);
    };
    // Until both sides are known nothing changes.
    near(
        &numbers(layer.forward(signal([1.0, 2.0, 3.0]))),
        &[1.0, 2.0, 3.0],
    );
    set(Side::Target, 1.0);
    layer.forward(signal([1.0, 2.0, 3.0]));
    near(
        &numbers(layer.forward(signal([3.0, 5.0, 7.0]))),
        &[3.0, 5.0, 7.0],
    );
    let first = |state: &RunningState<Tensor<3>>| numbers(state.value_sync())[..2].to_vec();
    // Means 2 and 5, unbiased deviations 1 and 2; the second signal of a batch was not there.
    near(&first(&layer.target.mean), &[3.5, 0.0]);
    near(&first(&layer.target.std), &[1.5, 1.0]);
    near(&numbers(layer.target.updates.value_sync()), &[2.0]);
    set(Side::Target, 0.0);
    set(Side::Source, 1.0);
    let found = numbers(layer.forward(signal([0.0, 2.0, 4.0])));
    // (x − 2) / 2 · 1.5 + 3.5
    near(&found, &[2.000_007_5, 3.5, 4.999_992_5]);
    set(Side::Source, 0.0);
    near(
        &numbers(layer.forward(signal([2.0, 2.0, 2.0]))),
        &[3.5, 3.5, 3.5],
    );
    // A frame alone has no deviation to learn from.
    set(Side::Source, 1.0);
    layer.forward(signal([1.0, 2.0, 3.0]).narrow(2, 0, 1));
    near(&numbers(layer.source.updates.value_sync()), &[1.0]);
}

/// A model that has learned two styles, each from a sound of its own.
fn styled(config: &RaveConfig) -> Rave {
    let model = model(config);
    let hop = config.hop();
    for (side, gain) in [(Side::Target, 0.5), (Side::Source, 1.0)] {
        let samples: Vec<f32> = audio(16 * hop)
            .iter()
            .map(|x| gain * x + 0.1 * gain)
            .collect();
        model.learn_style(side, true).unwrap();
        model.reconstruct(whole(&samples), None).unwrap();
        model.learn_style(side, false).unwrap();
    }
    model
}

#[test]
fn style_is_for_inference_and_can_be_forgotten() {
    let config = adain();
    let plain = model(&config);
    let styled = styled(&config);
    let samples = || whole(&audio(16 * config.hop()));
    let encoded = |model: &Rave| numbers(model.encode(samples()).unwrap());
    assert_ne!(encoded(&styled), encoded(&plain));
    // In training there is none.
    let output = |model: &Rave| {
        let subbands = model.pqmf().analysis(samples());
        numbers(model.encoder.output(subbands, Statistics::Running))
    };
    assert_eq!(output(&styled), output(&plain));
    let latent: Tensor<3> = draw_normal([1, 3, 4], Seed(2), &device());
    let decoded = |model: &Rave| numbers(model.decoder.forward(latent.clone(), None));
    assert_eq!(decoded(&styled), decoded(&plain));
    // Its statistics go with the weights.
    let loaded = from_state_dict(&config, &official(&styled), &device()).unwrap();
    assert_eq!(encoded(&loaded), encoded(&styled));
    styled.reset_style(Side::Source).unwrap();
    assert_eq!(encoded(&styled), encoded(&plain));

    assert_eq!(
        text(model(&small_v2()).learn_style(Side::Source, true)),
        "adain of the model is false: must be true for statistics of style"
    );
    let many = Tensor::<3>::zeros([65, 1, config.hop()], &device());
    assert_eq!(
        text(plain.encode(many)),
        "the size of the batch is 65: must be at most 64 with statistics of style"
    );
}

#[test]
fn style_has_the_names_of_the_released_code() {
    let weights = official(&model(&adain()));
    for key in [
        "encoder.encoder.net.1.mean_x",
        "encoder.encoder.net.1.learn_y",
        "encoder.encoder.net.2.aligned.branches.0.net.1.weight_v",
        "encoder.encoder.net.3.std_y",
        "encoder.encoder.net.6.weight_g",
        "encoder.encoder.net.7.num_update_x",
        "decoder.net.3.mean_y",
        "decoder.net.4.aligned.branches.0.net.1.weight_v",
        "decoder.net.6.weight_v",
    ] {
        assert!(weights.get(key).is_some(), "{key}");
    }
    let shape = weights
        .get("decoder.net.3.mean_y")
        .unwrap()
        .shape()
        .to_vec();
    assert_eq!(shape, [64, 8, 1]);
}

#[test]
fn streams_of_every_option_are_the_offline_output() {
    let causal = |config: RaveConfig| config.low_latency();
    for model in [
        styled(&adain()),
        styled(&causal(adain().with_activation(Activation::Snake))),
        model(&wasserstein()),
        with_codes(&discrete()),
        styled(&causal(wasserstein().with_adain(true))),
    ] {
        let config = model.config().clone();
        let hop = config.hop();
        let samples = audio(64 * hop);
        let latent = model.encode(whole(&samples)).unwrap();
        let noise = model.draw_noise(1, 64, Seed(5), &device());
        let latent = match draw_augmentation(&config, 1, 0, 64, Seed(5), &device()) {
            Some(beside) => Tensor::cat(vec![latent, beside], 1),
            None => latent,
        };
        let decoded = numbers(model.decode(latent, noise).unwrap());
        let direction = Direction::Both;
        for units in [1, 5] {
            let (output, delay) = streamed(&model, direction, Alignment::Exact, &samples, units);
            let end = decoded.len() - 2 * delay.max(hop);
            assert!(end > 8 * hop);
            assert!(
                equal(&output[delay..][..end], &decoded[..end]),
                "{config:?}"
            );
        }
    }
}

#[test]
fn a_resumed_run_with_options_is_an_uninterrupted_one() {
    for config in [discrete(), wasserstein(), snake()] {
        let dir = tempfile::tempdir().unwrap();
        let fit = |name: &str, steps: usize, resume: bool| {
            let setup = setup(7, 4)
                .with_second_stage(SecondStage::Both)
                .with_quantise_from(1);
            let mut procedure = training(&config, setup);
            let run = Run::create(&dir.path().join(name), &"rave", resume).unwrap();
            let mut fit = FitConfig::new(steps);
            fit.log_every = 1;
            fit.checkpoint_every = 1;
            run.fit(&mut procedure, &fit, &Progress::silent()).unwrap();
            let model = training::values(procedure.model().unwrap());
            (run.history().unwrap(), model)
        };
        let whole = fit("whole", 7, false);
        fit("parts", 1, false);
        fit("parts", 3, true);
        fit("parts", 6, true);
        let parts = fit("parts", 7, true);
        assert_eq!(whole.0, parts.0);
        assert_eq!(whole.1, parts.1);
    }
}

#[test]
fn codebooks_learn_where_the_encoder_does() {
    let books = |procedure: &menagerie_codec::rave::RaveTraining| {
        training::values(&procedure.model().unwrap().encoder.quantiser)
    };
    for (stage, learns) in [(SecondStage::Both, true), (SecondStage::Decoder, false)] {
        let setup = setup(8, 2).with_second_stage(stage).with_quantise_from(1);
        let mut procedure = training(&discrete(), setup);
        let changes: Vec<bool> = (0..4)
            .map(|step| {
                let before = books(&procedure);
                procedure.step(step).unwrap();
                before != books(&procedure)
            })
            .collect();
        // The last step is one of the discriminators.
        assert_eq!(changes, [false, true, learns, learns]);
    }
}

#[test]
fn options_that_cannot_be_are_refused() {
    let refuse = |config: RaveConfig| text(config.init(&device()));
    let books = |change: fn(QuantiserConfig) -> QuantiserConfig| {
        let bottleneck = Bottleneck::Discrete(change(QuantiserConfig::new()));
        refuse(small_v2().with_bottleneck(bottleneck))
    };
    for (found, expected) in [
        (
            refuse(small().with_activation(Activation::Snake)),
            "RaveConfig.activation = Snake: must be LeakyRelu in V1",
        ),
        (
            refuse(small().with_bottleneck(Bottleneck::Wasserstein)),
            "RaveConfig.bottleneck = Wasserstein: must be Variational in V1",
        ),
        (
            refuse(small().with_adain(true)),
            "RaveConfig.adain = true: must be false in V1",
        ),
        (
            refuse(small_v2().with_noise_augmentation(3)),
            "RaveConfig.noise_augmentation = 3: must be 0 with a Variational bottleneck",
        ),
        (
            books(|c| c.with_codes(0)),
            "QuantiserConfig.codes = 0: must lie between 1 and 1048576",
        ),
        (
            books(|c| c.with_decay(1.0)),
            "QuantiserConfig.decay = 1.0: must be at least 0 and below 1",
        ),
        (
            books(|c| c.with_smoothing(0.0)),
            "QuantiserConfig.smoothing = 0.0: must be finite and positive",
        ),
        (
            books(|c| c.with_expire_below(f64::NAN)),
            "QuantiserConfig.expire_below = NaN: must be finite and not negative",
        ),
    ] {
        assert_eq!(found, expected);
    }
    let latent = Tensor::<3>::zeros([1, 4, 2], &device());
    assert_eq!(
        text(model(&wasserstein()).decode(latent, None)),
        "the shape of the latent signal is [1, 4, 2]: must be [batch, 3 or 5, frames], not empty"
    );
    let mut setup = RaveTrainingConfig::wasserstein();
    setup.weights.fullband = -1.0;
    assert_eq!(
        text(setup.validate()),
        "LossWeights.fullband = -1.0: must be finite and not negative"
    );
}

#[test]
fn published_options_have_their_settings() {
    for config in [RaveConfig::wasserstein(), RaveConfig::discrete()] {
        config.validate().unwrap();
        assert_eq!(config.bottleneck.outputs(), 1);
        assert_eq!(config.decoder_channels(), config.latent + 128);
    }
    let training = RaveTrainingConfig::wasserstein();
    training.validate().unwrap();
    assert_eq!(training.beta.at(0), 100.0);
    assert_eq!(training.warmup, 200_000);
    assert!((training.rate.at(200_000) - 1e-4).abs() < 1e-12);
    RaveTrainingConfig::discrete().validate().unwrap();
    assert_eq!(RaveTrainingConfig::discrete().weights.log_floor, 1.0);
}

#[test]
fn a_bottleneck_that_does_not_quantise_costs_nothing() {
    let model = with_codes(&discrete());
    let output: Tensor<3> = draw_normal([2, 3, 5], Seed(1), &device());
    let draw =
        menagerie_codec::rave::BottleneckDraw::new(model.config(), [2, 5], Seed(2), 0, &device());
    let off = model
        .encoder
        .regularise(output.clone(), &draw, Quantisation::Off);
    assert_eq!(numbers(off.term), [0.0]);
    assert_eq!(off.latent.dims(), [2, 5, 5]);
    assert_eq!(numbers(off.latent.narrow(1, 0, 3)), numbers(output.clone()));
    let fixed = model.encoder.regularise(output, &draw, Quantisation::Fixed);
    assert!(numbers(fixed.term)[0] > 0.0);
}
