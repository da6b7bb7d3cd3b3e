//! Features at timesteps and blocks.

use crate::{device, largest, lively, normal, process, tiny, values};
use burn::tensor::Tensor;
use menagerie_core::Seed;
use menagerie_generative::diffusion_classifier::{FeatureExtractor, FeaturePoints, Features};

fn extractor(points: FeaturePoints) -> FeatureExtractor {
    FeatureExtractor::new(lively(&tiny(), 1, &device()), process(), points).unwrap()
}

#[test]
fn features_come_in_the_order_of_their_points() {
    let points = FeaturePoints::new(vec![40, 3], vec![6, 2]);
    let extractor = extractor(points);
    let images = normal([3, 2, 8, 8], 1);
    let noise = extractor.draw_noise(images.dims(), Seed(7), &device());
    let features = extractor.features(images.clone(), noise.clone()).unwrap();
    assert_eq!(features.batch(), 3);
    let shapes: Vec<[usize; 3]> = extractor
        .shapes()
        .unwrap()
        .iter()
        .map(|shape| [shape.block, shape.channels, shape.side])
        .collect();
    assert_eq!(shapes, [[6, 16, 4], [2, 8, 8]]);
    for (t, maps) in [40, 3].into_iter().zip(&features.maps) {
        let index = usize::from(t == 3);
        let x_t = process()
            .q_sample(images.clone(), &[t; 3], noise[index].clone())
            .unwrap();
        let direct = extractor.unet.features(x_t, &[t; 3], &[2, 6]).unwrap();
        assert_eq!(values(maps[0].clone()), values(direct[&6].clone()));
        assert_eq!(values(maps[1].clone()), values(direct[&2].clone()));
    }
}

#[test]
fn noise_decides_and_repeats_by_seed() {
    let extractor = extractor(FeaturePoints::one(50, 5));
    let images = normal([2, 2, 8, 8], 1);
    let features = |seed| {
        let noise = extractor.draw_noise(images.dims(), Seed(seed), &device());
        let features = extractor.features(images.clone(), noise).unwrap();
        features.only().unwrap()
    };
    assert_eq!(values(features(1)), values(features(1)));
    assert!(largest(features(1) - features(2)) > 1e-3);
}

#[test]
fn a_thinned_process_tells_the_network_the_old_timestep() {
    let unet = lively(&tiny(), 1, &device());
    let few = process().spaced(&[0, 25, 60]).unwrap();
    let thin = FeatureExtractor::new(unet.clone(), few, FeaturePoints::one(2, 5)).unwrap();
    let whole = FeatureExtractor::new(unet, process(), FeaturePoints::one(60, 5)).unwrap();
    let images = normal([1, 2, 8, 8], 1);
    let noise = vec![normal([1, 2, 8, 8], 2)];
    let [thin, whole] = [thin, whole].map(|extractor| {
        let features = extractor.features(images.clone(), noise.clone());
        features.unwrap().only().unwrap()
    });
    assert!(largest(thin - whole) < 1e-5);
}

#[test]
fn batches_are_joined_and_picked_from() {
    let map = |seed| normal([2, 1, 2, 2], seed);
    let joined = Features::concatenate(&[Features::one(map(1)), Features::one(map(2))]);
    let expected = Tensor::cat(vec![map(1), map(2)], 0);
    let joined_map = joined.only().unwrap();
    assert_eq!(values(joined_map), values(expected.clone()));
    let picked = joined.select(&[3, 0]).only().unwrap();
    assert_eq!(
        values(picked.clone().narrow(0, 0, 1)),
        values(expected.clone().narrow(0, 3, 1))
    );
    assert_eq!(
        values(picked.narrow(0, 1, 1)),
        values(expected.narrow(0, 0, 1))
    );
}

#[test]
fn points_that_do_not_exist_are_refused() {
    let error = |timesteps: &[usize], blocks: &[usize]| {
        let points = FeaturePoints::new(timesteps.into(), blocks.into());
        let unet = lively(&tiny(), 1, &device());
        let extractor = FeatureExtractor::new(unet, process(), points);
        extractor.unwrap_err().to_string()
    };
    assert_eq!(
        error(&[100], &[1]),
        "a diffusion step is 100: must be below the number of steps, 100"
    );
    assert_eq!(
        error(&[], &[1]),
        "the list of timesteps is []: must name at least one timestep"
    );
    assert_eq!(
        error(&[1], &[]),
        "the list of blocks is []: must name at least one block"
    );
    assert_eq!(error(&[1], &[10]), "a block is 10: must lie in 1..=9");
    assert_eq!(error(&[1], &[0]), "a block is 0: must lie in 1..=9");

    let extractor = extractor(FeaturePoints::new(vec![1, 2], vec![1]));
    let images = normal([1, 2, 8, 8], 1);
    let error = extractor.features(images.clone(), vec![images.clone()]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "the number of noises is 1: must be 2, one for each timestep"
    );
    let noise = vec![normal([1, 2, 8, 4], 1); 2];
    let error = extractor.features(images, noise).unwrap_err().to_string();
    assert!(
        error.starts_with("the shape of the noise is [1, 2, 8, 4]"),
        "{error}"
    );
}
