use crate::norm::{devices, evaluate};
use crate::{assert_close, tensor, values};
use burn::tensor::{DType, Device, Tensor};
use menagerie_nn::group_norm::{GroupNorm, group_norm, group_norm_silu};

/// Maps and groups.
const SHAPES: [([usize; 4], usize); 6] = [
    ([2, 8, 4, 4], 4),
    ([1, 6, 2, 3], 1),
    ([3, 32, 5, 7], 32),
    ([4, 64, 4, 4], 8),
    ([1, 12, 33, 31], 3),
    ([2, 64, 1, 1], 32),
];

#[test]
fn the_kernel_equals_the_plain_form() {
    for (dims, groups) in SHAPES {
        for device in devices() {
            let case = format!("{dims:?} in {groups}");
            for activated in [false, true] {
                let run = |dtype| {
                    let body = |x: &[Tensor<4>], _: &[Tensor<2>], gains: &[Tensor<1>]| {
                        let affine = (gains[0].clone(), gains[1].clone());
                        match activated {
                            true => group_norm_silu(x[0].clone(), groups, affine, None, 1e-5),
                            false => group_norm(x[0].clone(), groups, affine, 1e-5),
                        }
                    };
                    let gains = [("gain", [dims[1]]), ("offset", [dims[1]])];
                    evaluate(&device, dtype, &[("x", dims)], &[], &gains, &body)
                };
                assert_close(&case, &run(DType::F32), &run(DType::F64), 5e-5);
            }
            let run = |dtype| {
                let body = |x: &[Tensor<4>], told: &[Tensor<2>], gains: &[Tensor<1>]| {
                    let affine = (gains[0].clone(), gains[1].clone());
                    let modulation = Some((told[0].clone(), told[1].clone()));
                    let x = x[0].clone().swap_dims(2, 3);
                    group_norm_silu(x, groups, affine, modulation, 1e-5)
                };
                let planes = [dims[0], dims[1]];
                let told = [("scale", planes), ("shift", planes)];
                let gains = [("gain", [dims[1]]), ("offset", [dims[1]])];
                evaluate(&device, dtype, &[("x", dims)], &told, &gains, &body)
            };
            assert_close(&case, &run(DType::F32), &run(DType::F64), 5e-5);
        }
    }
}

#[test]
fn frozen_gains_and_tracked_maps_go_together() {
    let device = Device::flex();
    let norm = GroupNorm::new(2, 4, 1e-5, &device);
    let x = tensor::<4>(1, [2, 4, 3, 3], &device.autodiff(), DType::F32).require_grad();
    let y = norm.forward_silu(x.clone(), None);
    let gradients = y.sum().backward();
    assert_eq!(x.grad(&gradients).unwrap().dims(), [2, 4, 3, 3]);
}

#[test]
fn every_group_has_zero_mean_and_unit_variance() {
    let device = Device::flex();
    let x = tensor::<4>(1, [3, 6, 9, 8], &device, DType::F32) * 7.0 + 100.0;
    let y = values(GroupNorm::new(3, 6, 1e-6, &device).forward(x));
    for group in y.chunks_exact(144) {
        let mean = group.iter().sum::<f64>() / 144.0;
        let variance = group.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 144.0;
        assert!(mean.abs() < 1e-4, "{mean}");
        assert!((variance - 1.0).abs() < 1e-4, "{variance}");
    }
}

#[test]
#[should_panic(expected = "3 groups of 4 channels")]
fn the_groups_must_divide_the_channels() {
    let device = Device::flex();
    let x = tensor::<4>(1, [2, 4, 3, 3], &device, DType::F32);
    let gain = Tensor::ones([4], &device);
    group_norm(x, 3, (gain.clone(), gain), 1e-5);
}

#[test]
fn squares_of_half_precision_do_not_overflow() {
    let device = Device::flex();
    // Squares reach 10⁶; half precision ends at 65 504.
    let x = tensor::<4>(2, [1, 4, 3, 3], &device, DType::F32) * 1_000.0;
    let run = |dtype| {
        let gains = [
            Tensor::ones([4], (&device, dtype)),
            Tensor::zeros([4], (&device, dtype)),
        ];
        let [gain, offset] = gains;
        let y = group_norm(x.clone().cast(dtype), 2, (gain, offset), 1e-5);
        assert_eq!(y.dtype(), dtype);
        vec![("output", values(y))]
    };
    let single = run(DType::F32);
    assert_close("f16", &run(DType::F16), &single, 2e-3);
    assert_close("bf16", &run(DType::BF16), &single, 2e-2);
}
