//! noprop: counts, isolation of blocks, schedules, training, weights, refusals.

mod gradients;
mod invalid;
mod published;
mod training;
mod weights;

use crate::{device, distance, normal, text, values};
use burn::tensor::{Device, Tensor};
use menagerie_core::Seed;
use menagerie_local_learning::noprop::{
    CosineSchedule, CtConfig, DtConfig, Embedding, FmConfig, Labelled, Mode, NetworkConfig,
    Posterior, Solver, draw_times, prototypes, time_embedding,
};
use menagerie_train::initialise;

const EMBEDDINGS: [Embedding; 3] = [Embedding::OneHot, Embedding::Learned, Embedding::Prototype];

/// A network for images of 8×8 with three classes.
fn tiny(embedding: Embedding) -> NetworkConfig {
    let dim = match embedding {
        Embedding::OneHot => 3,
        Embedding::Learned => 5,
        Embedding::Prototype => 64,
    };
    NetworkConfig::new([1, 8, 8], 3, embedding, dim)
        .with_convs([3, 4, 5])
        .with_fc(8)
        .with_fc2(6)
        .with_dropout(0.0)
}

/// A class for each of which a band of pixels is bright.
fn batch(count: usize, seed: u64, device: &Device) -> Labelled {
    let labels: Vec<usize> = (0..count).map(|at| at % 3).collect();
    let mut bright = vec![0.0f32; count * 64];
    for (image, label) in bright.chunks_mut(64).zip(&labels) {
        image[label * 16..label * 16 + 16].fill(2.0);
    }
    let bright = Tensor::<1>::from_floats(bright.as_slice(), device);
    Labelled {
        images: bright.reshape([count, 1, 8, 8]) + normal([count, 1, 8, 8], seed, device) * 0.3,
        labels,
    }
}

#[test]
fn the_cosine_schedule_ends_in_signal() {
    let schedule = CosineSchedule::new(10, 1e-4).unwrap();
    let alpha_bar = schedule.alpha_bar();
    assert_eq!((alpha_bar.len(), schedule.steps()), (11, 10));
    assert_eq!([alpha_bar[0], alpha_bar[10]], [1e-4, 1.0 - 1e-4]);
    assert!(alpha_bar.is_sorted_by(|a, b| a < b));
    // The rises add up to the whole, of which the last step has the most by far.
    let (snr, rise) = (schedule.snr(), schedule.snr_rise());
    let sum: f64 = rise.iter().sum();
    assert!((sum - (snr[10] - snr[0])).abs() < 1e-6);
    assert!(rise[9] > 100.0 * rise[8], "{rise:?}");
}

#[test]
fn a_step_of_the_chain_is_the_posterior() {
    // The mean of z_t given z_{t-1} and u, averaged over q(z_{t-1} | u), is √ᾱ_t u; its variance
    // 1 - ᾱ_t.
    for (before, after) in [(1e-4f64, 0.2f64), (0.3, 0.6), (0.85, 0.9999)] {
        let step = Posterior::between(before, after);
        assert!((step.a + step.b * before.sqrt() - after.sqrt()).abs() < 1e-12);
        let variance = step.b.powi(2) * (1.0 - before) + step.c;
        assert!((variance - (1.0 - after)).abs() < 1e-12);
    }
    assert_eq!(Posterior::between(0.5, 0.5).c, 0.0);
    assert_eq!(Posterior::between(0.6, 0.5).c, 0.0);
}

#[test]
fn the_trained_schedule_rises_with_its_derivative() {
    let device = device();
    let config = CtConfig::new(tiny(Embedding::OneHot)).with_gamma_hidden(7);
    let model = initialise(&device, Seed(2), || config.init(&device)).unwrap();
    let grid = model.schedule.grid(50).unwrap();
    assert!(grid.is_sorted_by(|a, b| a < b));
    // γ from 5 down to -5.
    let end = |gamma: f64| 1.0 / (1.0 + gamma.exp());
    assert!((grid[0] - end(5.0)).abs() < 1e-6 && (grid[50] - end(-5.0)).abs() < 1e-6);
    // The derivative against a difference.
    let at = |times: &[f32]| model.schedule.at(Tensor::from_floats(times, &device));
    let snr = |times: &[f32]| values((-at(times).gamma).exp());
    let (times, step) = ([0.2f32, 0.5, 0.8], 1e-2f32);
    let rates = values(at(&times).snr_rate);
    for (time, rate) in times.iter().zip(rates) {
        let ends = snr(&[time - step, time + step]);
        let difference = (ends[1] - ends[0]) / (2.0 * step);
        assert!(
            (rate / difference - 1.0).abs() < 0.02,
            "{rate} {difference}"
        );
    }
}

#[test]
fn times_are_embedded_as_sines_and_cosines() {
    let device = device();
    let found = values(time_embedding(Tensor::from_floats([0.0, 0.5], &device), 4));
    let wanted = [
        0.0,
        0.0,
        1.0,
        1.0,
        0.5f32.sin(),
        0.005f32.sin(),
        0.5f32.cos(),
        0.005f32.cos(),
    ];
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() < 1e-6, "{found:?}");
    }
    let times = values(draw_times(1_000, Seed(1), &device));
    assert!(times.iter().all(|time| (0.0..1.0).contains(time)));
    let mean = times.iter().sum::<f32>() / 1_000.0;
    assert!((mean - 0.5).abs() < 0.04, "{mean}");
}

#[test]
fn an_inference_follows_its_seed() {
    let device = device();
    let images = batch(4, 1, &device).images;
    for embedding in EMBEDDINGS {
        let config = DtConfig::new(tiny(embedding)).with_steps(4);
        let model = initialise(&device, Seed(1), || config.init(&device)).unwrap();
        let run = |seed| model.trajectory(images.clone(), Seed(seed)).unwrap();
        let (one, same, other) = (run(1), run(1), run(2));
        assert_eq!(one.z.len(), 4);
        assert_eq!(one.z[3].dims(), [4, config.network.dim]);
        assert_eq!(values(one.z[3].clone()), values(same.z[3].clone()));
        assert!(distance(one.z[0].clone(), other.z[0].clone()) > 0.1);
        // Almost all of the last z is what the last block says.
        let says = model.blocks[3].forward(images.clone(), one.z[2].clone(), Mode::Evaluate);
        let says = model.readout.expected(says);
        assert!(distance(one.z[3].clone(), says) < 0.1);
        assert_eq!(model.predict(images.clone(), Seed(1)).unwrap().dims(), [4]);

        let config = CtConfig::new(tiny(embedding)).with_inference_steps(5);
        let model = config.init(&device).unwrap();
        assert_eq!(model.predict(images.clone(), Seed(1)).unwrap().dims(), [4]);
        let config = FmConfig::new(tiny(embedding)).with_inference_steps(5);
        let model = config.init(&device).unwrap();
        assert_eq!(model.predict(images.clone(), Seed(1)).unwrap().dims(), [4]);
    }
}

#[test]
fn heun_s_method_is_of_second_order() {
    let device = device();
    let (images, start) = (batch(6, 1, &device).images, normal([6, 5], 2, &device));
    let end = |solver, steps| {
        let config = FmConfig::new(tiny(Embedding::Learned)).with_solver(solver);
        let model = initialise(&device, Seed(3), || config.init(&device)).unwrap();
        model.integrate(images.clone(), start.clone(), steps)
    };
    let exact = end(Solver::Heun, 256);
    let error = |solver, steps| distance(end(solver, steps), exact.clone());
    for (solver, order) in [(Solver::Euler, 1), (Solver::Heun, 2)] {
        // Few steps: with more of them the second one's error is that of single precision.
        let ratio = error(solver, 2) / error(solver, 4);
        let found = ratio.log2() - order as f32;
        assert!(found.abs() < 0.3, "{solver:?}: {ratio}");
    }
    assert!(error(Solver::Heun, 4) < 0.2 * error(Solver::Euler, 4));
}

#[test]
fn embeddings_start_orthogonal_where_they_can() {
    let device = device();
    let config = DtConfig::new(tiny(Embedding::Learned)).with_steps(1);
    let model = initialise(&device, Seed(4), || config.init(&device)).unwrap();
    let u = model.readout.embeddings();
    let products = u.clone().matmul(u.transpose());
    assert!(distance(products, Tensor::eye(3, &device)) < 1e-5);
    let mut narrow = tiny(Embedding::Learned);
    narrow.dim = 2;
    let model = DtConfig::new(narrow).init(&device).unwrap();
    assert_eq!(model.readout.embeddings().dims(), [3, 2]);
}

#[test]
fn prototypes_are_in_the_middle_of_their_class() {
    let device = device();
    // On a line: 0, 1, 2, 50 and 7, 9, 100.
    let points = [0.0f32, 7.0, 1.0, 9.0, 2.0, 50.0, 100.0];
    let labels = [0, 1, 0, 1, 0, 0, 1];
    let images = Tensor::<1>::from_floats(points, &device).reshape([7, 1, 1, 1]);
    let found = prototypes(images.clone(), &labels, 2).unwrap();
    // 1 has others at 1, 1 and 49; of 7 and 9, which are equally far from each other, the first.
    assert_eq!(values(found), [1.0, 7.0]);
    assert_eq!(
        text(prototypes(images.clone(), &labels, 3)),
        "a class is 2: must have an image to start its embedding from"
    );
    assert_eq!(
        text(prototypes(images.clone(), &labels, 1)),
        "a label is 1: must be below the number of classes, 1"
    );
    assert_eq!(
        text(prototypes(images, &labels[..6], 2)),
        "the number of labels is 6: must be that of the images, 7"
    );
}
