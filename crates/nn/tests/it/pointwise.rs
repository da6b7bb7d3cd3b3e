use crate::{assert_close, tensor, values};
use burn::tensor::{DType, Device, Tensor};
use menagerie_nn::pointwise::{mean_squared_error, tanh};

type Results = Vec<(&'static str, Vec<f64>)>;

/// Sizes below and above what a thread takes at a time.
const SHAPES: [[usize; 3]; 3] = [[1, 1, 1], [3, 5, 7], [4, 90, 101]];

fn compare(run: impl Fn(&Device, DType, [usize; 3]) -> Results) {
    let flex = Device::flex();
    for device in [flex.clone(), flex.autodiff()] {
        for shape in SHAPES {
            let [ours, reference] =
                [DType::F32, DType::F64].map(|dtype| run(&device, dtype, shape));
            assert_close(&format!("{shape:?}"), &ours, &reference, 2e-6);
        }
    }
}

fn leaf(seed: u64, shape: [usize; 3], device: &Device, dtype: DType) -> Tensor<3> {
    let leaf = tensor(seed, shape, device, dtype);
    if device.is_autodiff() {
        leaf.require_grad()
    } else {
        leaf
    }
}

#[test]
fn the_tangent_equals_the_plain_form() {
    compare(|device, dtype, shape| {
        let x = leaf(1, shape, device, dtype);
        // Both the steep part and the flat ones.
        let y = tanh(x.clone() * 6.0);
        let mut results = vec![("output", values(y.clone()))];
        if device.is_autodiff() {
            let grads = (y * tensor(2, shape, device, dtype)).sum().backward();
            results.push(("gradient", values(x.grad(&grads).unwrap())));
        }
        results
    });
}

#[test]
fn the_error_equals_the_plain_form_and_trains_both_sides() {
    compare(|device, dtype, shape| {
        let (a, b) = (leaf(1, shape, device, dtype), leaf(2, shape, device, dtype));
        let error = mean_squared_error(a.clone(), b.clone()) * 3.0;
        let mut results = vec![("output", values(error.clone()))];
        if device.is_autodiff() {
            let grads = error.backward();
            results.push(("gradient of a", values(a.grad(&grads).unwrap())));
            results.push(("gradient of b", values(b.grad(&grads).unwrap())));
        }
        results
    });
    // One side without autodiff.
    let device = Device::flex();
    let a = leaf(1, [3, 5, 7], &device.clone().autodiff(), DType::F32);
    let b = leaf(2, [3, 5, 7], &device, DType::F32);
    let grads = mean_squared_error(b, a.clone()).backward();
    assert!(a.grad(&grads).is_some());
}

#[test]
#[should_panic(expected = "mean squared error: shapes")]
fn shapes_must_agree() {
    let device = Device::flex();
    let [a, b] = [[1, 2, 3], [1, 3, 2]].map(|shape| leaf(1, shape, &device, DType::F32));
    mean_squared_error(a, b);
}
