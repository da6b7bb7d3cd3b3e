use crate::{assert_close, tensor, values};
use burn::tensor::activation::relu;
use burn::tensor::{DType, Device, Tensor};
use menagerie_nn::conv::{
    Conv2dConfig, Padding, conv_transpose2d, conv_transpose2d_leaky_relu, conv2d,
    conv2d_leaky_relu, conv2d_relu, conv2d_relu_sum,
};

/// One convolution: batch, channels in and out, image, kernel, stride, padding.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    channels: [usize; 2],
    image: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
    bias: bool,
}

/// How the input is laid out in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum View {
    Plain,
    /// Height and width swapped.
    Transposed,
    /// The middle of a larger tensor.
    Sliced,
}

fn pads(top: usize, left: usize, bottom: usize, right: usize) -> Padding {
    Padding {
        before: [top, left],
        after: [bottom, right],
    }
}

fn cases() -> Vec<Case> {
    let case = |batch, channels, image, kernel, stride, padding| Case {
        batch,
        channels,
        image,
        kernel,
        stride,
        padding,
        bias: batch % 2 == 1,
    };
    let one = Padding::symmetric(1);
    vec![
        // The shapes of QLAE and of prototype-net, made small.
        case(2, [3, 32], [16, 16], [3, 3], [1, 1], one),
        case(2, [32, 32], [16, 16], [4, 4], [2, 2], one),
        case(2, [32, 64], [8, 8], [3, 3], [1, 1], one),
        case(9, [64, 33], [4, 4], [4, 4], [2, 2], one),
        case(5, [16, 48], [2, 2], [3, 3], [1, 1], one),
        case(3, [1, 32], [28, 28], [3, 3], [2, 2], pads(0, 0, 1, 1)),
        case(3, [32, 32], [7, 7], [3, 3], [2, 2], one),
        case(35, [32, 10], [4, 4], [3, 3], [2, 2], pads(0, 0, 1, 1)),
        // Large enough for several strips and for taps in several rounds.
        case(1, [40, 3], [23, 19], [3, 3], [1, 1], one),
        case(2, [20, 70], [17, 9], [5, 3], [1, 1], pads(2, 1, 2, 1)),
        // Enough groups for each thread to have some of its own.
        case(8, [5, 33], [9, 8], [3, 3], [1, 1], one),
        case(40, [6, 20], [6, 7], [3, 3], [2, 2], one),
        // A single image of many channels, whose panels are dealt out.
        case(1, [3, 100], [5, 4], [1, 1], [1, 1], Padding::NONE),
        // A product of a large matrix at every pixel.
        case(3, [250, 270], [5, 4], [1, 1], [1, 1], Padding::NONE),
        // Weights that leave the cache.
        case(1, [150, 20], [17, 18], [3, 3], [1, 1], one),
        // Odd sizes, uneven strides and paddings.
        case(1, [1, 1], [1, 1], [1, 1], [1, 1], Padding::NONE),
        case(1, [2, 5], [5, 3], [3, 3], [2, 1], pads(0, 2, 1, 0)),
        case(4, [3, 17], [9, 6], [2, 5], [3, 2], pads(1, 3, 0, 2)),
        case(2, [4, 4], [6, 6], [1, 1], [2, 2], Padding::NONE),
        case(3, [2, 3], [8, 8], [2, 2], [3, 3], Padding::NONE),
        case(2, [3, 2], [3, 3], [3, 3], [1, 1], pads(3, 0, 4, 5)),
        case(1, [2, 2], [4, 4], [3, 3], [2, 2], pads(0, 0, 5, 0)),
        case(7, [5, 31], [3, 2], [3, 2], [1, 1], pads(1, 0, 1, 1)),
    ]
}

type Operation = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, [usize; 2], Padding) -> Tensor<4>;

/// Result and gradients of `operation` for inputs of the given shapes.
fn evaluate(
    operation: Operation,
    case: &Case,
    x: [usize; 4],
    weight: [usize; 4],
    view: View,
    device: &Device,
    dtype: DType,
) -> Vec<(&'static str, Vec<f64>)> {
    let outputs = case.channels[1];
    let gradients = device.is_autodiff();
    let track = |x: Tensor<4>| if gradients { x.require_grad() } else { x };
    let leaf = track(match view {
        View::Plain => tensor(1, x, device, dtype),
        View::Transposed => tensor(1, [x[0], x[1], x[3], x[2]], device, dtype),
        View::Sliced => tensor(1, [x[0] + 1, x[1] + 2, x[2], x[3] + 3], device, dtype),
    });
    let input = match view {
        View::Plain => leaf.clone(),
        View::Transposed => leaf.clone().swap_dims(2, 3),
        View::Sliced => leaf
            .clone()
            .slice([1..x[0] + 1, 1..x[1] + 1, 0..x[2], 2..x[3] + 2]),
    };
    let kernel = track(tensor(2, weight, device, dtype));
    let bias = case.bias.then(|| tensor::<1>(3, [outputs], device, dtype));
    let bias = bias.map(|bias| if gradients { bias.require_grad() } else { bias });
    let y = operation(
        input,
        kernel.clone(),
        bias.clone(),
        case.stride,
        case.padding,
    );
    let mut results = vec![("output", values(y.clone()))];
    if gradients {
        let loss = y.clone() * tensor(4, y.dims(), device, dtype);
        let grads = loss.sum().backward();
        results.push(("gradient of x", values(leaf.grad(&grads).unwrap())));
        results.push(("gradient of weight", values(kernel.grad(&grads).unwrap())));
        if let Some(bias) = bias {
            results.push(("gradient of bias", values(bias.grad(&grads).unwrap())));
        }
    }
    results
}

fn compare(operation: Operation, case: &Case, x: [usize; 4], weight: [usize; 4]) {
    let plain = Device::flex();
    let tracked = Device::flex().autodiff();
    let balanced = Device::flex().autodiff().gradient_checkpointing();
    for (device, view) in [
        (&plain, View::Plain),
        (&plain, View::Sliced),
        (&tracked, View::Plain),
        (&tracked, View::Transposed),
        (&tracked, View::Sliced),
        (&balanced, View::Plain),
    ] {
        let run = |dtype| evaluate(operation, case, x, weight, view, device, dtype);
        let label = format!("{case:?} {view:?}");
        assert_close(&label, &run(DType::F32), &run(DType::F64), 3e-6);
    }
}

#[test]
fn convolutions_equal_the_plain_form() {
    for case in cases() {
        let [inputs, outputs] = case.channels;
        let x = [case.batch, inputs, case.image[0], case.image[1]];
        let weight = [outputs, inputs, case.kernel[0], case.kernel[1]];
        compare(conv2d, &case, x, weight);
        let leaky: Operation = |x, w, b, s, p| conv2d_leaky_relu(x, w, b, s, p, 0.1);
        compare(leaky, &case, x, weight);
        compare(conv2d_relu, &case, x, weight);
        let sums: Operation = match outputs {
            n if n % 8 == 0 => |x, w, b, s, p| conv2d_relu_sum(x, w, b, s, p, 8),
            n if n % 5 == 0 => |x, w, b, s, p| conv2d_relu_sum(x, w, b, s, p, 5),
            _ => |x, w, b, s, p| conv2d_relu_sum(x, w, b, s, p, 1),
        };
        compare(sums, &case, x, weight);
    }
}

#[test]
fn blocks_of_channels_are_those_of_separate_convolutions() {
    let padding = Padding::symmetric(1);
    for (device, batch) in [(Device::flex(), 70), (Device::flex().autodiff(), 3)] {
        let x = tensor::<4>(1, [batch, 4, 28, 28], &device, DType::F32);
        let weight = tensor::<4>(2, [20, 4, 3, 3], &device, DType::F32);
        let bias = tensor::<1>(3, [20], &device, DType::F32);
        let sum = (0..4).map(|block| {
            let rows = 5 * block..5 * block + 5;
            let weight = weight.clone().slice([rows.clone()]);
            let bias = bias.clone().slice([rows]);
            relu(conv2d(x.clone(), weight, Some(bias), [1, 1], padding))
        });
        let expected = sum.reduce(|a, b| a + b).unwrap();
        let found = conv2d_relu_sum(x, weight, Some(bias), [1, 1], padding, 4);
        let found = vec![("sum", values(found))];
        assert_close("blocks", &found, &[("sum", values(expected))], 1e-6);
    }
}

#[test]
#[should_panic(expected = "conv2d_relu_sum: 10 channels in 4 blocks")]
fn blocks_must_divide_the_channels() {
    let device = Device::flex();
    let x = tensor::<4>(1, [1, 2, 4, 4], &device, DType::F32);
    let weight = tensor::<4>(1, [10, 2, 3, 3], &device, DType::F32);
    conv2d_relu_sum(x, weight, None, [1, 1], Padding::NONE, 4);
}

#[test]
fn transposed_convolutions_equal_the_plain_form() {
    for case in cases() {
        let [inputs, outputs] = case.channels;
        let sizes = (case.image, case.kernel, case.stride);
        let Some(image) = case.padding.convolved(sizes.0, sizes.1, sizes.2) else {
            panic!("{case:?} is impossible");
        };
        if case.padding.transposed(image, sizes.1, sizes.2).is_none() {
            continue;
        }
        let x = [case.batch, inputs, image[0], image[1]];
        let weight = [inputs, outputs, case.kernel[0], case.kernel[1]];
        compare(conv_transpose2d, &case, x, weight);
        let leaky: Operation = |x, w, b, s, p| conv_transpose2d_leaky_relu(x, w, b, s, p, 0.1);
        compare(leaky, &case, x, weight);
    }
}

#[test]
fn the_transposed_convolution_is_the_adjoint() {
    let device = Device::flex();
    let padding = Padding::same([7, 9], [3, 3], [2, 2]);
    let x = tensor::<4>(1, [2, 5, 7, 9], &device, DType::F32);
    let weight = tensor::<4>(2, [6, 5, 3, 3], &device, DType::F32);
    let y = conv2d(x.clone(), weight.clone(), None, [2, 2], padding);
    let z = tensor::<4>(3, y.dims(), &device, DType::F32);
    let back = conv_transpose2d(z.clone(), weight, None, [2, 2], padding);
    assert_eq!(back.dims(), x.dims());
    let [left, right] = [y * z, x * back].map(|t| values(t.sum())[0]);
    assert!(
        (left - right).abs() < 1e-4 * left.abs().max(1.0),
        "{left} {right}"
    );
}

#[test]
fn inputs_without_gradient_get_none() {
    let device = Device::flex().autodiff();
    let x = tensor::<4>(1, [2, 3, 6, 6], &device, DType::F32);
    let weight = tensor::<4>(2, [4, 3, 3, 3], &device, DType::F32).require_grad();
    let y = conv2d(
        x.clone(),
        weight.clone(),
        None,
        [1, 1],
        Padding::symmetric(1),
    );
    let grads = y.sum().backward();
    assert!(x.grad(&grads).is_none());
    assert!(weight.grad(&grads).is_some());

    let x = x.require_grad();
    let weight = tensor::<4>(2, [3, 4, 3, 3], &device, DType::F32);
    let y = conv_transpose2d(x.clone(), weight.clone(), None, [2, 2], Padding::NONE);
    let grads = y.sum().backward();
    assert!(x.grad(&grads).is_some());
    assert!(weight.grad(&grads).is_none());
}

#[test]
fn a_result_outlives_the_reuse_of_buffers() {
    let device = Device::flex();
    let weight = tensor::<4>(2, [32, 3, 3, 3], &device, DType::F32);
    let run = |seed| {
        let x = tensor::<4>(seed, [4, 3, 64, 64], &device, DType::F32);
        conv2d(x, weight.clone(), None, [1, 1], Padding::symmetric(1))
    };
    let first = run(1);
    let expected = values(first.clone());
    for seed in 2..6 {
        drop(run(seed));
        let _ = run(seed) + 1.0;
    }
    assert_eq!(values(first), expected);
}

#[test]
fn same_padding_follows_tensorflow() {
    // 28 -> 14, 14 -> 7 and 4 -> 2 pad after only; 7 -> 4 pads on both sides.
    for (size, out, before, after) in [(28, 14, 0, 1), (14, 7, 0, 1), (7, 4, 1, 1), (4, 2, 0, 1)] {
        let padding = Padding::same([size; 2], [3, 3], [2, 2]);
        assert_eq!(padding.before, [before; 2]);
        assert_eq!(padding.after, [after; 2]);
        let sizes = ([size; 2], [3, 3], [2, 2]);
        assert_eq!(padding.convolved(sizes.0, sizes.1, sizes.2), Some([out; 2]));
        assert_eq!(
            padding.transposed([out; 2], [3, 3], [2, 2]),
            Some([size; 2])
        );
    }
    assert_eq!(Padding::same([5, 5], [1, 1], [3, 3]), Padding::NONE);
    assert_eq!(Padding::NONE.convolved([2, 2], [3, 3], [1, 1]), None);
    assert_eq!(
        Padding::symmetric(2).transposed([1, 1], [3, 3], [1, 1]),
        None
    );
}

#[test]
fn modules_use_their_configuration() {
    let device = Device::flex();
    let config = Conv2dConfig::new([3, 8], [4, 4])
        .with_stride([2, 2])
        .with_padding(1);
    let conv = config.init(&device);
    assert_eq!(conv.weight.dims(), [8, 3, 4, 4]);
    assert!(conv.bias.is_some());
    let x = tensor(1, [2, 3, 10, 8], &device, DType::F32);
    let y = conv.forward(x.clone());
    assert_eq!(y.dims(), [2, 8, 5, 4]);
    let activated = values(conv.forward_leaky_relu(x, 0.5));
    for (activated, y) in activated.iter().zip(values(y.clone())) {
        assert_eq!(*activated, if y > 0.0 { y } else { 0.5 * y });
    }
    let transposed = Conv2dConfig::new([8, 3], [4, 4])
        .with_stride([2, 2])
        .with_padding(1)
        .with_bias(false)
        .init_transpose(&device);
    assert_eq!(transposed.weight.dims(), [8, 3, 4, 4]);
    assert!(transposed.bias.is_none());
    assert_eq!(transposed.forward(y.clone()).dims(), [2, 3, 10, 8]);
    assert_eq!(transposed.forward_leaky_relu(y, 0.5).dims(), [2, 3, 10, 8]);
}

#[test]
#[should_panic(expected = "channels of x and of the weight")]
fn channels_must_agree() {
    let device = Device::flex();
    let x = tensor::<4>(1, [1, 3, 4, 4], &device, DType::F32);
    conv2d(x.clone(), x, None, [1, 1], Padding::NONE);
    let x = tensor::<4>(1, [1, 3, 4, 4], &device, DType::F32);
    let weight = tensor::<4>(1, [1, 2, 3, 3], &device, DType::F32);
    conv2d(x, weight, None, [1, 1], Padding::NONE);
}

#[test]
#[should_panic(expected = "is larger than input")]
fn the_kernel_must_fit() {
    let device = Device::flex();
    let x = tensor::<4>(1, [1, 3, 2, 4], &device, DType::F32);
    let weight = tensor::<4>(1, [1, 3, 3, 3], &device, DType::F32);
    conv2d(x, weight, None, [1, 1], Padding::NONE);
}
