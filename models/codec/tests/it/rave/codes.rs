//! Codes: codebooks, their learning, their names.

use super::options::{discrete, few_codes, near, numbers, official, put, text, whole, with_codes};
use super::{audio, model, small_v2};
use crate::device;
use burn::tensor::{Int, Tensor, TensorData};
use menagerie_codec::rave::weights::from_state_dict;
use menagerie_codec::rave::{
    QuantiserConfig, ResidualQuantiser, Restart, RowDraw, draw_rows, k_means,
};
use menagerie_core::Seed;

/// One codebook of the codes 0 and 10, which were each taken once.
fn two_codes(config: &QuantiserConfig) -> ResidualQuantiser {
    let config = config.clone().with_quantisers(1).with_codes(2);
    let quantiser = ResidualQuantiser::new(&config, 1, &device()).unwrap();
    let layer = &quantiser.layers[0];
    let column = || Tensor::from_floats([[0.0], [10.0]], &device());
    put(&layer.embed, column());
    put(&layer.embed_avg, column());
    put(&layer.cluster_size, Tensor::ones([2], &device()));
    put(&layer.inited, Tensor::ones([1], &device()));
    quantiser
}

fn row_draw(start: [i64; 2], replacement: [i64; 2]) -> RowDraw {
    let tensor = |rows: [i64; 2]| {
        let data = TensorData::new(rows.to_vec(), [2]);
        Tensor::<1, Int>::from_data(data, &device())
    };
    RowDraw {
        start: tensor(start),
        replacement: tensor(replacement),
    }
}

fn state(quantiser: &ResidualQuantiser) -> [Vec<f32>; 3] {
    let layer = &quantiser.layers[0];
    [
        numbers(layer.embed.value_sync()),
        numbers(layer.embed_avg.value_sync()),
        numbers(layer.cluster_size.value_sync()),
    ]
}

#[test]
fn codes_follow_the_averages_of_what_takes_them() {
    let config = QuantiserConfig::new()
        .with_decay(0.5)
        .with_smoothing(0.5)
        .with_expire_below(0.0);
    let quantiser = two_codes(&config);
    let latent = Tensor::<3>::from_floats([[[1.0, 3.0, 9.0]]], &device());
    let found = quantiser.learn(latent.clone(), &[row_draw([0, 1], [2, 0])]);
    near(&numbers(found.latent), &[0.0, 0.0, 10.0]);
    let codes: Vec<i64> = found.codes.try_into_vec_as().unwrap();
    assert_eq!(codes, [0, 0, 1]);
    near(&numbers(found.commitment), &[11.0 / 3.0]);
    // Sizes (1 + 2) / 2 and (1 + 1) / 2; sums (0 + 4) / 2 and (10 + 9) / 2; smoothed sizes
    // (1.5 + 0.5) / 3.5 · 2.5 and (1 + 0.5) / 3.5 · 2.5.
    let [embed, sums, sizes] = state(&quantiser);
    near(&sizes, &[1.5, 1.0]);
    near(&sums, &[2.0, 9.5]);
    near(&embed, &[1.4, 133.0 / 15.0]);
    // Without learning nothing moves.
    quantiser.forward(latent);
    near(&state(&quantiser)[0], &embed);
}

#[test]
fn codes_that_are_hardly_used_are_replaced() {
    let config = QuantiserConfig::new().with_decay(0.5).with_smoothing(0.5);
    let latent = Tensor::<3>::from_floats([[[1.0, 3.0, 2.0, 9.0]]], &device());
    let draws = [row_draw([0, 1], [2, 1])];
    // Sizes (1 + 3) / 2, which stays, and (1 + 1) / 2, which does not.
    let quantiser = two_codes(&config);
    quantiser.learn(latent.clone(), &draws);
    let [embed, sums, sizes] = state(&quantiser);
    near(&sizes, &[2.0, 2.0]);
    near(&sums, &[3.0, 6.0]);
    // 3 / ((2 + 0.5) / 4 · 3), and the row with the number 1.
    near(&embed, &[1.6, 3.0]);

    // The released code overwrites what it has replaced.
    let quantiser = two_codes(&config.clone().with_restart(Restart::Released));
    quantiser.learn(latent.clone(), &draws);
    let released = state(&quantiser);
    let quantiser = two_codes(&config.with_expire_below(0.0));
    quantiser.learn(latent, &draws);
    assert_eq!(released, state(&quantiser));
}

#[test]
fn the_gradient_goes_straight_through() {
    let device = device().autodiff();
    let config = few_codes()
        .with_codes(2)
        .with_quantisers(2)
        .with_expire_below(0.0);
    let quantiser = ResidualQuantiser::new(&config, 1, &device).unwrap();
    let values = [0.0, 1.0, 10.0, 12.0];
    let latent = || Tensor::<3>::from_floats([[values]], &device).require_grad();
    let draws = vec![row_draw([0, 2], [0, 1]); 2];
    let first = latent();
    let found = quantiser.learn(first.clone(), &draws).latent;
    let weights = Tensor::<3>::from_floats([[[1.0, 2.0, 3.0, 4.0]]], &device);
    let gradients = (found * weights).sum().backward();
    let gradient = first.grad(&gradients).unwrap();
    near(&numbers(gradient), &[1.0, 2.0, 3.0, 4.0]);
    // Codes 0.5 and 11: 2 (x − code) / 4. The second codebook adds a constant alone.
    let second = latent();
    let commitment = quantiser.forward(second.clone()).commitment;
    let gradient = second.grad(&commitment.backward()).unwrap();
    near(&numbers(gradient), &[-0.25, 0.25, -0.5, 0.5]);
}

#[test]
fn k_means_finds_clusters_that_are_apart() {
    let rows = Tensor::<2>::from_floats([[0.0], [1.0], [10.0], [11.0], [12.0]], &device());
    // Both from one cluster.
    let start = row_draw([0, 1], [0, 1]).start;
    let (means, sizes) = k_means(rows, start, 10);
    near(&numbers(means), &[0.5, 11.0]);
    near(&numbers(sizes), &[2.0, 3.0]);
}

#[test]
fn the_first_batch_fills_the_codebooks() {
    let latent = Tensor::<3>::from_floats([[[0.0, 1.0, 10.0, 12.0]]], &device());
    for (restart, expected) in [
        // Consistent averages stay what they are, and one step moves nothing.
        (Restart::Consistent, [0.5, 11.0]),
        // (0.99 · 0.5 + 0.01 · 1) / 2, (0.99 · 11 + 0.01 · 22) / 2
        (Restart::Released, [0.2525, 5.555]),
    ] {
        let config = few_codes()
            .with_codes(2)
            .with_quantisers(1)
            .with_expire_below(0.0)
            .with_restart(restart);
        let quantiser = ResidualQuantiser::new(&config, 1, &device()).unwrap();
        assert!(!quantiser.is_initialised());
        let found = quantiser.learn(latent.clone(), &[row_draw([0, 2], [0, 1])]);
        assert!(quantiser.is_initialised());
        near(&numbers(found.latent), &[0.5, 0.5, 11.0, 11.0]);
        near(&state(&quantiser)[0], &expected);
    }
    // Rows are different where there are enough.
    let config = few_codes().with_codes(16);
    let draws = draw_rows(&config, 16, Seed(3), &device());
    let mut rows: Vec<i64> = draws[1].start.clone().try_into_vec_as().unwrap();
    rows.sort_unstable();
    assert_eq!(rows, (0..16).collect::<Vec<i64>>());
    let few = draw_rows(&config, 3, Seed(3), &device())[0].start.clone();
    let few: Vec<i64> = few.try_into_vec_as().unwrap();
    assert!(few.len() == 16 && few.iter().all(|row| (0..3).contains(row)));
}

#[test]
fn audio_becomes_codes_and_codes_a_latent_signal() {
    let config = discrete();
    let empty = model(&config);
    let samples = whole(&audio(8 * config.hop()));
    assert_eq!(
        text(empty.encode_codes(samples.clone())),
        "the number of codebooks with content is 0: must be all 2: train the model, or load a \
         checkpoint"
    );
    let model = with_codes(&config);
    let codes = model.encode_codes(samples.clone()).unwrap();
    assert_eq!(codes.dims(), [1, 2, 8]);
    let latent = numbers(model.encode(samples).unwrap());
    near(
        &numbers(model.decode_codes(codes.clone()).unwrap()),
        &latent,
    );
    let coarse = model.decode_codes(codes.narrow(1, 0, 1)).unwrap();
    assert_eq!(coarse.dims(), [1, 3, 8]);

    let wrong = Tensor::<3, Int>::from_data(TensorData::from([[[1i64], [4]]]), &device());
    assert_eq!(
        text(model.decode_codes(wrong)),
        "a code is 4: must be below the size of a codebook, 4"
    );
    let many = Tensor::<3, Int>::from_data(TensorData::from([[[0i64], [0], [0]]]), &device());
    assert_eq!(
        text(model.decode_codes(many)),
        "the shape of the codes is [1, 3, 1]: must be [batch, 1 to 2, frames], not empty"
    );
    let continuous = super::model(&small_v2());
    let codes = Tensor::<3, Int>::from_data(TensorData::from([[[0i64]]]), &device());
    assert_eq!(
        text(continuous.decode_codes(codes)),
        "the bottleneck of the model is Variational: must be Discrete for codes"
    );
    let audio = whole(&audio(config.hop()));
    assert!(text(model.posterior(audio)).ends_with("must be Variational to give a posterior"));
}

#[test]
fn codebooks_have_the_names_of_the_released_code() {
    let original = with_codes(&discrete());
    let mut weights = official(&original);
    for name in ["inited", "cluster_size", "embed", "embed_avg"] {
        let key = format!("encoder.rvq.layers.1._codebook.{name}");
        assert!(weights.get(&key).is_some(), "{key}");
    }
    let shape = |key: &str| weights.get(key).unwrap().shape().to_vec();
    assert_eq!(shape("encoder.rvq.layers.0._codebook.embed"), [4, 3]);
    assert_eq!(shape("encoder.rvq.layers.0._codebook.inited"), [1]);
    weights.insert("encoder.enabled", TensorData::from([1.0f32]));
    let loaded = from_state_dict(&discrete(), &weights, &device()).unwrap();
    let samples = || whole(&audio(8 * 32));
    assert_eq!(
        numbers(loaded.encode(samples()).unwrap()),
        numbers(original.encode(samples()).unwrap())
    );
}
