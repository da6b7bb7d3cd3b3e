//! The losses against their definitions.

use super::{device, floats, normal};
use burn::tensor::{Tensor, activation::softplus};
use menagerie_representation::qlae::objective::{
    activity, binary_cross_entropy, commitment, kl_divergence, negativity, quantization,
    total_correlation_terms,
};

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!(
            (a - b).abs() <= tolerance * b.abs().max(1.0),
            "{a} against {b}"
        );
    }
}

#[test]
fn cross_entropy_is_a_mean_over_the_pixels_and_never_overflows() {
    let device = device().autodiff();
    let zeros = Tensor::<4>::zeros([2, 3, 4, 4], &device);
    let loss = binary_cross_entropy(zeros.clone(), zeros);
    close(&floats(loss), &[2f32.ln(), 2f32.ln()], 1e-6);

    let logits = Tensor::<4>::from_floats([[[[0.0, 1e4, -1e4, 0.5]]]], &device).require_grad();
    let images = Tensor::<4>::from_floats([[[[0.25, 1.0, 1.0, 0.0]]]], &device);
    let loss = binary_cross_entropy(logits.clone(), images);
    let expected = (2f32.ln() + 1e4 + 0.974_077) / 4.0;
    close(&floats(loss.clone()), &[expected], 1e-6);
    // (sigmoid(l) - x) / 4, and exactly one half less x at zero.
    let gradients = loss.sum().backward();
    let sigmoid = 1.0 / (1.0 + (-0.5f32).exp());
    let expected = [0.25 / 4.0, 0.0, -0.25, sigmoid / 4.0];
    close(&floats(logits.grad(&gradients).unwrap()), &expected, 1e-6);
}

#[test]
fn quantisation_moves_the_codebook_and_commitment_the_latents() {
    let device = device().autodiff();
    let z = Tensor::<2>::from_floats([[1.0, 2.0]], &device).require_grad();
    let q = Tensor::<2>::from_floats([[0.0, 4.0]], &device).require_grad();
    let loss = quantization(z.clone(), q.clone());
    assert_eq!(floats(loss.clone()), [2.5]);
    let gradients = loss.sum().backward();
    assert_eq!(floats(q.grad(&gradients).unwrap()), [-1.0, 2.0]);
    assert!(z.grad(&gradients).is_none());

    let loss = commitment(z.clone(), q.clone());
    assert_eq!(floats(loss.clone()), [2.5]);
    let gradients = loss.sum().backward();
    assert_eq!(floats(z.grad(&gradients).unwrap()), [1.0, -2.0]);
    assert!(q.grad(&gradients).is_none());
}

#[test]
fn the_divergence_vanishes_at_the_prior() {
    let device = device();
    let mean = Tensor::<2>::from_floats([[0.0, 0.0], [1.0, 0.0]], &device);
    let deviation = Tensor::<2>::from_floats([[1.0, 1.0], [1.0, 2.0]], &device);
    let expected = [0.0, (0.5 + (1.5 - 2f32.ln())) / 2.0];
    close(&floats(kl_divergence(mean, deviation)), &expected, 1e-6);
}

#[test]
fn the_decomposition_adds_up_to_the_divergence() {
    let device = device();
    let [sample, mean, scale] = [0; 3].map(|_| normal([5, 3], &device));
    let deviation = softplus(scale, 1.0);
    let terms = total_correlation_terms(sample.clone(), mean.clone(), deviation.clone(), 900);
    let sum = terms.mutual_information + terms.total_correlation.clone() + terms.dimension_wise_kl;
    let [z, m, s] = [sample, mean, deviation].map(floats);
    let expected: Vec<f32> = (0..5)
        .map(|row| {
            (3 * row..3 * row + 3)
                .map(|i| {
                    let standard = (z[i] - m[i]) / s[i];
                    0.5 * z[i] * z[i] - 0.5 * standard * standard - s[i].ln()
                })
                .sum()
        })
        .collect();
    close(&floats(sum), &expected, 1e-4);

    // ln q(z) by the definition, for the first sample.
    let log_normal = |z: f32, m: f32, s: f32| {
        -0.5 * ((z - m) / s).powi(2) - s.ln() - 0.5 * std::f32::consts::TAU.ln()
    };
    let normaliser = (5.0f32 * 900.0).ln();
    let joint: f32 = (0..5)
        .map(|j| {
            (0..3)
                .map(|k| log_normal(z[k], m[3 * j + k], s[3 * j + k]))
                .sum::<f32>()
                .exp()
        })
        .sum();
    let marginals: f32 = (0..3)
        .map(|k| {
            let sum: f32 = (0..5)
                .map(|j| log_normal(z[k], m[3 * j + k], s[3 * j + k]).exp())
                .sum();
            sum.ln() - normaliser
        })
        .sum();
    let first = floats(terms.total_correlation)[0];
    close(&[first], &[joint.ln() - normaliser - marginals], 1e-4);
}

#[test]
fn penalties_of_the_biological_autoencoder() {
    let device = device();
    let z = Tensor::<2>::from_floats([[-1.0, 3.0], [2.0, 0.0]], &device);
    assert_eq!(floats(negativity(z.clone())), [0.5, 0.0]);
    assert_eq!(floats(activity(z)), [5.0, 2.0]);
}
