//! Quantisation and the verbs of the model.

use super::{device, floats, images, integers, text};
use burn::tensor::Tensor;
use menagerie_representation::qlae::{BackboneConfig, LatentModel, QlaeConfig, quantize};
use proptest::prelude::*;

#[test]
fn a_tie_goes_to_the_lower_index_and_the_estimate_is_the_value() {
    let device = device();
    let values = Tensor::<1>::from_floats([-0.5, 0.0, 0.5, 0.25, -1.0], &device);
    // Codebooks of three and two values; -0.25 and -0.375 lie exactly half-way.
    let z = Tensor::<2>::from_floats([[-0.25, -0.375], [0.3, 9.0], [-9.0, -0.5]], &device);
    let result = quantize(z, values, &[3, 2]);
    assert_eq!(integers(result.indices), [0, 0, 2, 0, 0, 1]);
    assert_eq!(floats(result.values), [-0.5, 0.25, 0.5, 0.25, -0.5, -1.0]);
    assert_eq!(
        floats(result.straight_through),
        [-0.5, 0.25, 0.5, 0.25, -0.5, -1.0]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn quantisation_is_a_search_in_each_codebook(
        sizes in prop::collection::vec(1_usize..6, 1..5),
        numbers in prop::collection::vec(-1.0_f32..1.0, 64),
    ) {
        let total: usize = sizes.iter().sum();
        let codebooks = &numbers[..total];
        let z = &numbers[64 - 3 * sizes.len()..];
        let device = device();
        let result = quantize(
            Tensor::<1>::from_floats(z, &device).reshape([3, sizes.len()]),
            Tensor::<1>::from_floats(codebooks, &device),
            &sizes,
        );
        let indices = integers(result.indices);
        for (position, &z) in z.iter().enumerate() {
            let latent = position % sizes.len();
            let start: usize = sizes[..latent].iter().sum();
            let book = &codebooks[start..start + sizes[latent]];
            let mut best = 0;
            for index in 1..book.len() {
                if (z - book[index]).abs() < (z - book[best]).abs() {
                    best = index;
                }
            }
            prop_assert_eq!(indices[position], best as i64);
        }
    }
}

#[test]
fn a_global_codebook_serves_all_latents() {
    let device = device();
    let model = QlaeConfig::small_mlp().into_global().init(&device).unwrap();
    assert_eq!(model.latent.values.dims(), [8]);
    let codes = model.encode(images([3, 1, 16, 16], 0, &device)).unwrap();
    let indices = integers(codes.indices);
    let book = floats(model.latent.values.val());
    for (index, value) in indices.iter().zip(floats(codes.values)) {
        assert_eq!(book[*index as usize], value);
    }
}

#[test]
fn gradients_of_the_estimate_reach_the_latents_alone() {
    let device = device().autodiff();
    let values = Tensor::<1>::from_floats([-0.5, 0.5], &device).require_grad();
    let z = Tensor::<2>::from_floats([[0.1], [-0.7]], &device).require_grad();
    let result = quantize(z.clone(), values.clone(), &[2]);
    let gradients = result.straight_through.square().sum().backward();
    assert_eq!(floats(z.grad(&gradients).unwrap()), [1.0, -1.0]);
    assert!(values.grad(&gradients).is_none());
}

#[test]
fn traversals_and_interventions_set_one_latent() {
    let device = device();
    for backbone in [BackboneConfig::small_mlp(), BackboneConfig::small_conv()] {
        let mut config = QlaeConfig::uniform(backbone, 4, 3);
        config.values[2] = 5;
        let model = config.init(&device).unwrap();
        let batch = images([2, 1, 16, 16], 1, &device);
        let first: Tensor<3> = batch.clone().slice_dim(0, 0).squeeze_dim(0);
        let codes = model.encode(batch.clone()).unwrap();
        let traversal = model.traverse(first, 2).unwrap();
        assert_eq!(traversal.dims(), [5, 1, 16, 16]);

        // The row of the value that the image has anyway is its reconstruction.
        let own = integers(codes.indices)[2];
        let reconstruction = model.reconstruct(batch.clone()).unwrap();
        let expected = floats(reconstruction.clone().slice_dim(0, 0));
        for (a, b) in floats(traversal.clone().slice_dim(0, own))
            .iter()
            .zip(&expected)
        {
            assert!((a - b).abs() < 1e-6);
        }
        let set = model.intervene(batch, 2, 4).unwrap();
        assert_eq!(set.dims(), [2, 1, 16, 16]);
        let last = floats(traversal.slice_dim(0, 4));
        for (a, b) in floats(set.slice_dim(0, 0)).iter().zip(&last) {
            assert!((a - b).abs() < 1e-6);
        }
        assert!(
            floats(reconstruction)
                .iter()
                .all(|p| (0.0..=1.0).contains(p))
        );
    }
}

#[test]
fn wrong_arguments_are_refused_in_words() {
    let device = device();
    let model = QlaeConfig::small_mlp().init(&device).unwrap();
    let wrong = images([2, 3, 16, 16], 0, &device);
    let error = text(model.encode(wrong.clone()));
    assert_eq!(
        error,
        "images is [2, 3, 16, 16]: the model takes [batch > 0, 1, 16, 16]"
    );
    assert_eq!(text(model.reconstruct(wrong)), error);
    let error = text(model.decode(Tensor::zeros([4, 9], &device)));
    assert_eq!(error, "values is [4, 9]: needs 10 latents per row");
    let right = images([1, 1, 16, 16], 0, &device);
    let error = text(model.intervene(right.clone(), 10, 0));
    assert_eq!(
        error,
        "latent is 10: the model has 10 latents, counted from 0"
    );
    let error = text(model.intervene(right.clone(), 0, 8));
    assert_eq!(error, "index is 8: latent 0 has 8 values, counted from 0");
    assert!(text(model.traverse(right.squeeze_dim(0), 99)).starts_with("latent is 99"));
}

#[test]
fn the_reported_code_is_the_quantised_one() {
    let device = device();
    let model = QlaeConfig::small_conv().init(&device).unwrap();
    let batch = images([3, 1, 16, 16], 2, &device);
    let codes = model.codes(batch.clone());
    assert_eq!(
        floats(codes),
        floats(model.encode(batch.clone()).unwrap().values)
    );
    let reconstruction = model.reconstruct(batch.clone()).unwrap();
    for (a, b) in floats(model.reconstruction(batch))
        .iter()
        .zip(floats(reconstruction))
    {
        assert!((a - b).abs() < 1e-5);
    }
    assert!(model.is_discrete());
}

#[test]
fn samples_that_share_the_input_map_do_not_influence_each_other() {
    let device = device();
    let model = QlaeConfig::small_conv().init(&device).unwrap();
    let batch = images([3, 1, 16, 16], 3, &device);
    let together = model.forward(batch.clone()).logits;
    for row in 0..3 {
        let alone = model.forward(batch.clone().slice_dim(0, row)).logits;
        let ours = floats(together.clone().slice_dim(0, row));
        for (a, b) in floats(alone).iter().zip(ours) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
