use crate::norm::{devices, evaluate};
use crate::{assert_close, tensor, values};
use burn::tensor::{DType, Device, Tensor};
use menagerie_nn::resample::{average_pool, upsample_nearest};

#[test]
fn the_kernels_equal_the_plain_form() {
    for dims in [[2, 3, 8, 6], [1, 1, 2, 2], [3, 40, 4, 10]] {
        for device in devices() {
            for up in [false, true] {
                let run = |dtype| {
                    let body = |x: &[Tensor<4>], _: &[Tensor<2>], _: &[Tensor<1>]| match up {
                        true => upsample_nearest(x[0].clone()),
                        false => average_pool(x[0].clone()),
                    };
                    evaluate(&device, dtype, &[("x", dims)], &[], &[], &body)
                };
                let case = format!("{dims:?} {up}");
                assert_close(&case, &run(DType::F32), &run(DType::F64), 1e-6);
            }
        }
    }
}

#[test]
fn pooling_undoes_upsampling() {
    let x = tensor::<4>(1, [2, 3, 4, 5], &Device::flex(), DType::F32);
    assert_eq!(values(average_pool(upsample_nearest(x.clone()))), values(x));
}

#[test]
#[should_panic(expected = "3x4 is not made of 2x2 squares")]
fn odd_sides_are_refused() {
    let x = tensor::<4>(1, [1, 1, 3, 4], &Device::flex(), DType::F32);
    average_pool(x);
}
