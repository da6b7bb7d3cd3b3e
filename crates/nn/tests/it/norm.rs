use crate::{assert_close, tensor, values};
use burn::tensor::{DType, Device, Tensor};
use menagerie_nn::block::{conv_norm_leaky_relu, conv_transpose_leaky_relu_norm};
use menagerie_nn::conv::Padding;
use menagerie_nn::norm::{instance_norm, instance_norm_leaky_relu, leaky_relu_instance_norm};

/// A function of all leaves.
pub(crate) type Body<'a> = dyn Fn(&[Tensor<4>], &[Tensor<2>], &[Tensor<1>]) -> Tensor<4> + 'a;
pub(crate) type Results = Vec<(&'static str, Vec<f64>)>;

/// Runs `body` with a function that makes a tracked leaf, and collects the result and the
/// gradients of a weighted sum of it.
pub(crate) fn evaluate(
    device: &Device,
    dtype: DType,
    four: &[(&'static str, [usize; 4])],
    two: &[(&'static str, [usize; 2])],
    one: &[(&'static str, [usize; 1])],
    body: &Body<'_>,
) -> Results {
    fn leaves<const D: usize>(
        seed: u64,
        shapes: &[(&'static str, [usize; D])],
        device: &Device,
        dtype: DType,
    ) -> Vec<Tensor<D>> {
        let leaf = |(i, (_, dims)): (usize, &(_, [usize; D]))| {
            let leaf = tensor(seed + i as u64, *dims, device, dtype);
            if device.is_autodiff() {
                leaf.require_grad()
            } else {
                leaf
            }
        };
        shapes.iter().enumerate().map(leaf).collect()
    }
    let fours = leaves(10, four, device, dtype);
    let twos = leaves(20, two, device, dtype);
    let ones = leaves(30, one, device, dtype);
    let y = body(&fours, &twos, &ones);
    let mut results = vec![("output", values(y.clone()))];
    if device.is_autodiff() {
        let grads = (y.clone() * tensor(40, y.dims(), device, dtype))
            .sum()
            .backward();
        for ((name, _), leaf) in four.iter().zip(fours) {
            results.push((name, values(leaf.grad(&grads).unwrap())));
        }
        for ((name, _), leaf) in two.iter().zip(twos) {
            results.push((name, values(leaf.grad(&grads).unwrap())));
        }
        for ((name, _), leaf) in one.iter().zip(ones) {
            results.push((name, values(leaf.grad(&grads).unwrap())));
        }
    }
    results
}

pub(crate) fn devices() -> [Device; 3] {
    let flex = Device::flex();
    let tracked = flex.clone().autodiff();
    [flex, tracked.clone(), tracked.gradient_checkpointing()]
}

const SHAPES: [[usize; 4]; 6] = [
    [2, 3, 8, 8],
    [1, 1, 2, 3],
    [3, 32, 5, 7],
    [4, 17, 4, 4],
    [1, 5, 33, 31],
    [2, 64, 2, 2],
];

#[test]
fn normalisation_then_activation_equals_the_plain_form() {
    for dims in SHAPES {
        for device in devices() {
            for slope in [0.2, 0.0, 1.0] {
                let case = format!("{dims:?} {slope}");
                let channels = [dims[1]];
                let run = |dtype| {
                    let body = |x: &[Tensor<4>], _: &[Tensor<2>], gains: &[Tensor<1>]| {
                        let affine = Some((gains[0].clone(), gains[1].clone()));
                        instance_norm_leaky_relu(x[0].clone(), affine, 1e-6, slope)
                    };
                    let gains = [("gamma", channels), ("beta", channels)];
                    evaluate(&device, dtype, &[("x", dims)], &[], &gains, &body)
                };
                assert_close(&case, &run(DType::F32), &run(DType::F64), 2e-5);
                let run = |dtype| {
                    let body = |x: &[Tensor<4>], _: &[Tensor<2>], _: &[Tensor<1>]| {
                        instance_norm_leaky_relu(x[0].clone(), None, 1e-3, slope)
                    };
                    evaluate(&device, dtype, &[("x", dims)], &[], &[], &body)
                };
                assert_close(&case, &run(DType::F32), &run(DType::F64), 2e-5);
            }
        }
    }
}

#[test]
fn activation_then_normalisation_equals_the_plain_form() {
    for dims in SHAPES {
        for device in devices() {
            for slope in [0.2, 1.0] {
                let case = format!("{dims:?} {slope}");
                let planes = [dims[0], dims[1]];
                let run = |dtype| {
                    let body = |x: &[Tensor<4>], gains: &[Tensor<2>], _: &[Tensor<1>]| {
                        let x = x[0].clone().swap_dims(2, 3);
                        let modulation = Some((gains[0].clone(), gains[1].clone()));
                        leaky_relu_instance_norm(x, slope, 1e-6, modulation)
                    };
                    let gains = [("scale", planes), ("shift", planes)];
                    evaluate(&device, dtype, &[("x", dims)], &gains, &[], &body)
                };
                assert_close(&case, &run(DType::F32), &run(DType::F64), 2e-5);
                let run = |dtype| {
                    let body = |x: &[Tensor<4>], _: &[Tensor<2>], _: &[Tensor<1>]| {
                        leaky_relu_instance_norm(x[0].clone(), slope, 1e-3, None)
                    };
                    evaluate(&device, dtype, &[("x", dims)], &[], &[], &body)
                };
                assert_close(&case, &run(DType::F32), &run(DType::F64), 2e-5);
            }
        }
    }
}

/// Batch, channels in and out, image, kernel, stride.
type Shape = (usize, [usize; 2], [usize; 2], usize, usize);

const BLOCKS: [Shape; 6] = [
    (2, [3, 32], [16, 16], 3, 1),
    (3, [32, 40], [8, 8], 4, 2),
    (11, [16, 17], [4, 4], 3, 1),
    (1, [5, 7], [9, 5], 3, 2),
    (9, [33, 64], [4, 4], 4, 2),
    (21, [6, 20], [5, 5], 3, 2),
];

#[test]
fn encoder_blocks_equal_the_plain_form() {
    for (batch, [inputs, outputs], [h, w], kernel, stride) in BLOCKS {
        for device in devices() {
            let case = format!("{batch} {inputs}->{outputs} {h}x{w} k{kernel} s{stride}");
            let maps = [
                ("x", [batch, inputs, h, w]),
                ("weight", [outputs, inputs, kernel, kernel]),
            ];
            let run = |dtype| {
                let body = |x: &[Tensor<4>], _: &[Tensor<2>], gains: &[Tensor<1>]| {
                    let affine = Some((gains[0].clone(), gains[1].clone()));
                    let (x, weight) = (x[0].clone(), x[1].clone());
                    let one = Padding::symmetric(1);
                    conv_norm_leaky_relu(x, weight, [stride; 2], one, affine, 1e-6, 0.2)
                };
                let gains = [("gamma", [outputs]), ("beta", [outputs])];
                evaluate(&device, dtype, &maps, &[], &gains, &body)
            };
            assert_close(&case, &run(DType::F32), &run(DType::F64), 5e-5);
        }
    }
}

#[test]
fn decoder_blocks_equal_the_plain_form() {
    for (batch, [inputs, outputs], [h, w], kernel, stride) in BLOCKS {
        for device in devices() {
            let case = format!("{batch} {inputs}->{outputs} {h}x{w} k{kernel} s{stride}");
            let maps = [
                ("x", [batch, inputs, h, w]),
                ("weight", [inputs, outputs, kernel, kernel]),
            ];
            let run = |dtype| {
                let body = |x: &[Tensor<4>], gains: &[Tensor<2>], _: &[Tensor<1>]| {
                    let modulation = Some((gains[0].clone(), gains[1].clone()));
                    let (x, weight) = (x[0].clone(), x[1].clone());
                    let one = Padding::symmetric(1);
                    conv_transpose_leaky_relu_norm(
                        x,
                        weight,
                        [stride; 2],
                        one,
                        0.2,
                        1e-6,
                        modulation,
                    )
                };
                let gains = [("scale", [batch, outputs]), ("shift", [batch, outputs])];
                evaluate(&device, dtype, &maps, &gains, &[], &body)
            };
            assert_close(&case, &run(DType::F32), &run(DType::F64), 5e-5);
        }
    }
}

#[test]
fn blocks_without_gain_and_partly_tracked_inputs() {
    let device = Device::flex().autodiff();
    let x = tensor::<4>(1, [2, 3, 8, 8], &device, DType::F32);
    let weight = tensor::<4>(2, [8, 3, 3, 3], &device, DType::F32).require_grad();
    let one = Padding::symmetric(1);
    let y = conv_norm_leaky_relu(x.clone(), weight.clone(), [1, 1], one, None, 1e-6, 0.2);
    let grads = (y.clone() * y).sum().backward();
    assert!(x.grad(&grads).is_none());
    assert_eq!(weight.grad(&grads).unwrap().dims(), [8, 3, 3, 3]);
}

#[test]
fn every_plane_has_zero_mean_and_unit_variance() {
    let device = Device::flex();
    let x = tensor::<4>(1, [3, 5, 9, 8], &device, DType::F32) * 7.0 + 100.0;
    let y = values(instance_norm(x, None, 1e-6));
    for plane in y.chunks_exact(72) {
        let mean = plane.iter().sum::<f64>() / 72.0;
        let variance = plane.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 72.0;
        assert!(mean.abs() < 1e-4, "{mean}");
        assert!((variance - 1.0).abs() < 1e-4, "{variance}");
    }
}

#[test]
#[should_panic(expected = "shape of scale")]
fn the_modulation_must_fit() {
    let device = Device::flex();
    let x = tensor::<4>(1, [2, 3, 4, 4], &device, DType::F32);
    let wrong = tensor::<2>(1, [3, 2], &device, DType::F32);
    leaky_relu_instance_norm(x, 0.2, 1e-6, Some((wrong.clone(), wrong)));
}
