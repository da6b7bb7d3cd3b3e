use crate::{assert_close, tensor, values};
use burn::tensor::{DType, Device, Int, Tensor};
use menagerie_nn::transformer::{
    attention, causal_attention, cross_entropy, gelu, gelu_tanh, layer_norm, linear,
    linear_transposed,
};

type Results = Vec<(&'static str, Vec<f64>)>;

fn devices() -> [Device; 3] {
    let flex = Device::flex();
    let tracked = flex.clone().autodiff();
    [flex, tracked.clone(), tracked.gradient_checkpointing()]
}

/// A leaf, tracked where the device is.
fn leaf<const D: usize>(seed: u64, dims: [usize; D], device: &Device, dtype: DType) -> Tensor<D> {
    let leaf = tensor(seed, dims, device, dtype);
    match device.is_autodiff() {
        true => leaf.require_grad(),
        false => leaf,
    }
}

/// The result, and the gradients of a weighted sum of it.
fn results<const D: usize>(
    y: Tensor<D>,
    three: Option<&Tensor<3>>,
    two: Option<&Tensor<2>>,
    one: &[&Tensor<1>],
) -> Results {
    let mut results = vec![("output", values(y.clone()))];
    let device = y.device();
    if device.is_autodiff() {
        let weights = tensor(40, y.dims(), &device, y.dtype());
        let grads = (y * weights).sum().backward();
        if let Some(leaf) = three {
            results.push(("three", values(leaf.grad(&grads).unwrap())));
        }
        if let Some(leaf) = two {
            results.push(("two", values(leaf.grad(&grads).unwrap())));
        }
        for leaf in one {
            results.push(("one", values(leaf.grad(&grads).unwrap())));
        }
    }
    results
}

/// Holds the kernel's results to those of the plain form in double precision.
fn compare(case: &str, evaluate: impl Fn(&Device, DType) -> Results) {
    for device in devices() {
        let case = format!("{case} {device:?}");
        assert_close(
            &case,
            &evaluate(&device, DType::F32),
            &evaluate(&device, DType::F64),
            4e-6,
        );
    }
}

#[test]
fn a_linear_layer_equals_the_plain_form() {
    for [batch, tokens, inputs, outputs] in [
        [2, 64, 64, 192],
        [3, 70, 16, 5],
        [1, 65, 1, 1],
        [5, 33, 24, 100],
        [1, 64, 129, 48],
        [1, 3, 8, 8],
        [1, 70, 400, 400],
        [2, 20, 500, 300],
    ] {
        for biased in [true, false] {
            let case = format!("linear {batch} {tokens} {inputs} {outputs} {biased}");
            compare(&case, |device, dtype| {
                let x = leaf(1, [batch, tokens, inputs], device, dtype);
                let w = leaf(2, [inputs, outputs], device, dtype);
                let b = leaf(3, [outputs], device, dtype);
                let y = linear(x.clone(), w.clone(), biased.then(|| b.clone()));
                let ones: &[&Tensor<1>] = if biased { &[&b] } else { &[] };
                results(y, Some(&x), Some(&w), ones)
            });
            compare(&format!("transposed {case}"), |device, dtype| {
                let x = leaf(1, [batch, tokens, inputs], device, dtype);
                let w = leaf(2, [outputs, inputs], device, dtype);
                let b = leaf(3, [outputs], device, dtype);
                let y = linear_transposed(x.clone(), w.clone(), biased.then(|| b.clone()));
                let ones: &[&Tensor<1>] = if biased { &[&b] } else { &[] };
                results(y, Some(&x), Some(&w), ones)
            });
        }
    }
}

#[test]
fn layer_normalisation_equals_the_plain_form() {
    for dims in [[2, 5, 64], [1, 300, 33], [1, 1, 7], [4, 9, 100]] {
        compare(&format!("layer norm {dims:?}"), |device, dtype| {
            let x = leaf(1, dims, device, dtype);
            let gain = leaf(2, [dims[2]], device, dtype);
            let bias = leaf(3, [dims[2]], device, dtype);
            let y = layer_norm(x.clone(), gain.clone(), bias.clone(), 1e-5);
            results(y, Some(&x), None, &[&gain, &bias])
        });
    }
}

#[test]
fn gelu_equals_the_plain_form_from_one_end_to_the_other() {
    for (name, gelu) in [
        ("gelu", gelu::<3> as fn(Tensor<3>) -> Tensor<3>),
        ("gelu by tanh", gelu_tanh::<3>),
    ] {
        compare(name, |device, dtype| {
            let x = leaf(1, [3, 17, 401], device, dtype);
            results(gelu(x.clone() * 12.0), Some(&x), None, &[])
        });
        let x = Tensor::<3>::from_floats([[[f32::NAN, -1e30, 1e30, 0.0]]], &Device::flex());
        let y: Vec<f32> = gelu(x).into_data().try_to_vec().unwrap();
        assert!(y[0].is_nan() && y[1].abs() < 1e-6);
        assert_eq!(y[2..], [1e30, 0.0]);
    }
}

#[test]
fn attention_equals_the_plain_form() {
    for (batch, tokens, heads, size) in [
        (2, 128, 4, 16),
        (1, 1, 1, 8),
        (3, 33, 2, 24),
        (2, 50, 3, 64),
    ] {
        let case = format!("attention {batch} {tokens} {heads} {size}");
        compare(&case, |device, dtype| {
            let qkv = leaf(1, [batch, tokens, 3 * heads * size], device, dtype);
            let scale = (size as f64).sqrt().recip();
            let z = attention(qkv.clone() * 3.0, heads, scale);
            results(z, Some(&qkv), None, &[])
        });
    }
}

#[test]
fn causal_attention_equals_the_plain_form() {
    for (batch, tokens, heads, kv_heads, size) in [
        (2, 128, 4, 4, 16),
        (1, 1, 1, 1, 8),
        (3, 33, 2, 2, 24),
        (2, 31, 4, 2, 64),
        (1, 97, 6, 2, 5),
        (2, 64, 3, 1, 40),
    ] {
        let case = format!("attention {batch} {tokens} {heads} {kv_heads} {size}");
        compare(&case, |device, dtype| {
            let width = (heads + 2 * kv_heads) * size;
            let qkv = leaf(1, [batch, tokens, width], device, dtype);
            let scale = (size as f64).sqrt().recip();
            let z = causal_attention(qkv.clone() * 3.0, heads, kv_heads, scale);
            results(z, Some(&qkv), None, &[])
        });
    }
}

#[test]
fn large_scores_stay_finite() {
    let device = Device::flex();
    let qkv = tensor::<3>(1, [1, 40, 48], &device, DType::F32) * 300.0;
    let ours = causal_attention(qkv.clone(), 1, 1, 1.0);
    let plain = causal_attention(qkv.cast(DType::F64), 1, 1, 1.0);
    let (ours, plain) = (values(ours), values(plain));
    assert_close("large", &[("z", ours)], &[("z", plain)], 1e-4);
}

#[test]
fn cross_entropy_equals_the_plain_form() {
    for [rows, classes] in [[7, 65], [300, 3], [1, 1], [20, 1000]] {
        compare(
            &format!("cross-entropy {rows} {classes}"),
            |device, dtype| {
                let logits = leaf(1, [rows, classes], device, dtype);
                let targets = Tensor::<1, Int>::arange(0..rows as i64, device);
                let targets = targets * 7 % classes as i64;
                let losses = cross_entropy(logits.clone() * 5.0, targets);
                results(losses, None, Some(&logits), &[])
            },
        );
    }
}

#[test]
fn constants_beside_a_tracked_tensor_get_no_gradient() {
    let plain = Device::flex();
    let tracked = plain.clone().autodiff();
    let x = tensor::<2>(1, [70, 8], &tracked, DType::F32).require_grad();
    let w = tensor::<2>(2, [8, 8], &plain, DType::F32);
    let b = tensor::<1>(3, [8], &plain, DType::F32);
    let y = layer_norm(linear(x.clone(), w, Some(b.clone())), b.clone(), b, 1e-5);
    let grads = y.square().sum().backward();
    assert_eq!(x.grad(&grads).unwrap().dims(), [70, 8]);
}

#[test]
fn products_of_half_precision_do_not_overflow() {
    let device = Device::flex();
    let (heads, size) = (2, 64);
    // The first key is 40 like all queries, the others are 0: 64 · 40² is 102 400, half precision
    // ends at 65 504.
    let queries = Tensor::<3>::full([1, 5, heads * size], 40.0, &device);
    let keys = Tensor::cat(
        vec![
            queries.clone().narrow(1, 0, 1),
            Tensor::zeros([1, 4, heads * size], &device),
        ],
        1,
    );
    let told = tensor::<3>(4, [1, 5, heads * size], &device, DType::F32).cast(DType::F16);
    let qkv = Tensor::cat(
        vec![
            queries.cast(DType::F16),
            keys.cast(DType::F16),
            told.clone(),
        ],
        2,
    );
    let first = told.narrow(1, 0, 1).expand([1, 5, heads * size]);
    type Form = fn(Tensor<3>, usize, f64) -> Tensor<3>;
    let forms: [Form; 2] = [attention, |x, heads, scale| {
        causal_attention(x, heads, heads, scale)
    }];
    for form in forms {
        let y = form(qkv.clone(), heads, 0.125);
        assert_eq!(y.dtype(), DType::F16);
        assert_eq!(values(y), values(first.clone()));
    }
}
