use crate::{assert_close, tensor, values};
use burn::tensor::{DType, Device, Tensor};
use menagerie_nn::conv1d::{Conv1dOptions, conv_transpose1d, conv1d};

/// One convolution: batch, channels in and out of a group, length, taps, options.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    channels: [usize; 2],
    len: usize,
    kernel: usize,
    options: Conv1dOptions,
    bias: bool,
}

/// How the input is laid out in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum View {
    Plain,
    /// Channels and positions swapped.
    Transposed,
    /// The middle of a larger tensor.
    Sliced,
}

fn options(
    stride: usize,
    dilation: usize,
    groups: usize,
    before: usize,
    after: usize,
) -> Conv1dOptions {
    Conv1dOptions::new()
        .with_stride(stride)
        .with_dilation(dilation)
        .with_groups(groups)
        .with_padding(before, after)
}

/// The shapes of RAVE, made small, and the corners of the kernels: short signals, one tile, several
/// stripes, several samples to a stripe, phases without taps.
fn named() -> Vec<Case> {
    let case = |batch, channels, len, kernel, options: Conv1dOptions| Case {
        batch,
        channels,
        len,
        kernel,
        options,
        bias: (len + kernel) % 2 == 1,
    };
    let leaky = |options: Conv1dOptions| options.with_leaky_relu(0.2);
    vec![
        // Decoder and encoder of RAVE.
        case(1, [12, 70], 24, 7, options(1, 1, 1, 3, 3)),
        case(2, [32, 33], 48, 3, leaky(options(1, 9, 1, 9, 9))),
        case(2, [40, 24], 48, 4, leaky(options(2, 1, 1, 1, 1))),
        case(1, [16, 30], 192, 8, leaky(options(4, 1, 1, 2, 2))),
        case(1, [64, 1], 300, 3, options(1, 1, 1, 1, 1)),
        case(3, [16, 64], 260, 9, leaky(options(4, 1, 1, 4, 4))),
        // Its discriminator.
        case(2, [1, 16], 900, 15, options(1, 1, 1, 7, 7)),
        case(2, [4, 16], 500, 41, options(4, 1, 4, 20, 20)),
        case(2, [4, 4], 130, 41, leaky(options(4, 1, 16, 20, 20))),
        // A live stream: one frame, two, eight.
        case(1, [96, 60], 7, 7, leaky(options(1, 1, 1, 0, 0))),
        case(1, [70, 50], 4, 3, leaky(options(1, 1, 1, 0, 0))),
        case(1, [30, 40], 10, 3, options(1, 1, 1, 0, 0)),
        case(2, [9, 20], 1, 8, leaky(options(4, 1, 2, 0, 7))),
        case(1, [300, 7], 3, 2, options(1, 1, 1, 1, 0)),
        // Long: several stripes and pieces.
        case(1, [3, 5], 5_000, 5, leaky(options(1, 1, 1, 4, 0))),
        case(2, [17, 13], 1_500, 3, options(1, 3, 1, 3, 3)),
        // Odd ones.
        case(1, [1, 1], 1, 1, options(1, 1, 1, 0, 0)),
        case(3, [2, 3], 9, 1, leaky(options(4, 1, 2, 0, 0))),
        case(2, [7, 5], 23, 4, options(3, 2, 1, 5, 0)),
        case(2, [3, 4], 31, 2, options(5, 1, 3, 0, 6)),
        case(4, [3, 2], 20, 3, options(2, 4, 1, 9, 1)),
        case(1, [5, 5], 6, 3, options(2, 3, 1, 12, 13)),
        case(40, [8, 25], 12, 5, leaky(options(1, 2, 1, 0, 8))),
    ]
}

/// Every combination of small strides, dilations, groups, taps and paddings.
fn grid() -> Vec<Case> {
    let mut cases = Vec::new();
    for stride in [1, 2, 3] {
        for dilation in [1, 2, 3] {
            for groups in [1, 2] {
                for kernel in [1, 2, 5] {
                    for (before, after) in [(0, 0), (2, 0), (1, 4)] {
                        let mut options = options(stride, dilation, groups, before, after);
                        if (stride + kernel + before) % 2 == 0 {
                            options = options.with_leaky_relu(0.1);
                        }
                        cases.push(Case {
                            batch: 1 + (dilation + before) % 3,
                            channels: [1 + 2 * stride, 2 + kernel * dilation],
                            len: 13 + 7 * dilation * (after + 1),
                            kernel,
                            options,
                            bias: groups == 1,
                        });
                    }
                }
            }
        }
    }
    cases
}

type Operation = fn(Tensor<3>, Tensor<3>, Option<Tensor<1>>, &Conv1dOptions) -> Tensor<3>;

/// Result and gradients of `operation` for inputs of the given shapes.
fn evaluate(
    operation: Operation,
    case: &Case,
    x: [usize; 3],
    weight: [usize; 3],
    view: View,
    device: &Device,
    dtype: DType,
) -> Vec<(&'static str, Vec<f64>)> {
    let outputs = case.channels[1] * case.options.groups;
    let gradients = device.is_autodiff();
    let track = |x: Tensor<3>| if gradients { x.require_grad() } else { x };
    let leaf = track(match view {
        View::Plain => tensor(1, x, device, dtype),
        View::Transposed => tensor(1, [x[0], x[2], x[1]], device, dtype),
        View::Sliced => tensor(1, [x[0] + 1, x[1] + 2, x[2] + 3], device, dtype),
    });
    let input = match view {
        View::Plain => leaf.clone(),
        View::Transposed => leaf.clone().swap_dims(1, 2),
        View::Sliced => leaf.clone().slice([1..x[0] + 1, 1..x[1] + 1, 2..x[2] + 2]),
    };
    let kernel = track(tensor(2, weight, device, dtype));
    let bias = case.bias.then(|| tensor::<1>(3, [outputs], device, dtype));
    let bias = bias.map(|bias| if gradients { bias.require_grad() } else { bias });
    let y = operation(input, kernel.clone(), bias.clone(), &case.options);
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

fn compare(operation: Operation, case: &Case, x: [usize; 3], weight: [usize; 3], views: &[View]) {
    let plain = Device::flex();
    let tracked = Device::flex().autodiff();
    for device in [&plain, &tracked] {
        for &view in views {
            let run = |dtype| evaluate(operation, case, x, weight, view, device, dtype);
            let label = format!("{case:?} {view:?}");
            assert_close(&label, &run(DType::F32), &run(DType::F64), 3e-6);
        }
    }
}

fn compare_forward(case: &Case, views: &[View]) {
    let ([inputs, outputs], groups) = (case.channels, case.options.groups);
    let x = [case.batch, inputs * groups, case.len];
    let weight = [outputs * groups, inputs, case.kernel];
    compare(conv1d, case, x, weight, views);
}

fn compare_transposed(case: &Case, views: &[View]) {
    let ([inputs, outputs], groups) = (case.channels, case.options.groups);
    if case.options.transposed(case.len, case.kernel).is_none() {
        return;
    }
    let x = [case.batch, inputs * groups, case.len];
    let weight = [inputs * groups, outputs, case.kernel];
    compare(conv_transpose1d, case, x, weight, views);
}

const VIEWS: [View; 3] = [View::Plain, View::Transposed, View::Sliced];

#[test]
fn convolutions_equal_the_plain_form() {
    named()
        .iter()
        .for_each(|case| compare_forward(case, &VIEWS));
}

#[test]
fn transposed_convolutions_equal_the_plain_form() {
    let cases = named();
    assert!(
        cases
            .iter()
            .filter(|case| case.options.transposed(case.len, case.kernel).is_some())
            .count()
            > 20
    );
    cases
        .iter()
        .for_each(|case| compare_transposed(case, &VIEWS));
}

#[test]
fn every_combination_of_options_equals_the_plain_form() {
    for case in grid() {
        compare_forward(&case, &VIEWS[..1]);
        compare_transposed(&case, &VIEWS[..1]);
    }
}

#[test]
fn the_transposed_convolution_is_the_adjoint() {
    let device = Device::flex();
    let options = options(3, 2, 2, 4, 1);
    let x = tensor::<3>(1, [2, 6, 50], &device, DType::F32);
    let weight = tensor::<3>(2, [8, 3, 4], &device, DType::F32);
    let y = conv1d(x.clone(), weight.clone(), None, &options);
    let z = tensor::<3>(3, y.dims(), &device, DType::F32);
    let back = conv_transpose1d(z.clone(), weight, None, &options);
    // 50 + 5 - 7 = 48 is a multiple of the stride: nothing was dropped on the way.
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
    let x = tensor::<3>(1, [2, 3, 9], &device, DType::F32);
    let weight = tensor::<3>(2, [4, 3, 3], &device, DType::F32).require_grad();
    let grads = conv1d(x.clone(), weight.clone(), None, &Conv1dOptions::new())
        .sum()
        .backward();
    assert!(x.grad(&grads).is_none());
    assert!(weight.grad(&grads).is_some());
    // A signal from outside of the graph.
    let x = tensor::<3>(1, [2, 3, 9], &Device::flex(), DType::F32);
    let grads = conv1d(x, weight.clone(), None, &Conv1dOptions::new())
        .sum()
        .backward();
    assert!(weight.grad(&grads).is_some());
}

#[test]
fn nothing_leaks_in_from_outside_of_the_signal() {
    // Values next to the signal in memory and left over in reused buffers are never read as taps.
    let device = Device::flex();
    let poisoned = Tensor::<3>::full([3, 4, 200], f32::NAN, &device);
    let weight = tensor::<3>(2, [24, 4, 5], &device, DType::F32);
    let wide = options(1, 2, 1, 4, 4);
    drop(conv1d(poisoned.clone(), weight.clone(), None, &wide));
    let clean = tensor::<3>(1, [1, 4, 200], &device, DType::F32);
    let all = Tensor::cat(vec![poisoned.clone(), clean.clone(), poisoned], 0);
    let among = conv1d(all, weight.clone(), None, &wide).narrow(0, 3, 1);
    let alone = conv1d(clean, weight, None, &wide);
    assert_eq!(values(among), values(alone));
}

#[test]
#[should_panic(expected = "conv1d: channels of x and of the weight in 2 groups")]
fn channels_must_agree() {
    let device = Device::flex();
    let x = tensor::<3>(1, [1, 3, 8], &device, DType::F32);
    let weight = tensor::<3>(1, [4, 3, 2], &device, DType::F32);
    conv1d(x, weight, None, &options(1, 1, 2, 0, 0));
}

#[test]
#[should_panic(expected = "conv1d: 3 taps are longer than an input of 4")]
fn the_filter_must_fit() {
    let device = Device::flex();
    let x = tensor::<3>(1, [1, 3, 4], &device, DType::F32);
    let weight = tensor::<3>(1, [4, 3, 3], &device, DType::F32);
    conv1d(x, weight, None, &options(1, 2, 1, 0, 0));
}

#[test]
#[should_panic(expected = "conv_transpose1d: nothing is left")]
fn the_crop_must_leave_something() {
    let device = Device::flex();
    let x = tensor::<3>(1, [1, 3, 1], &device, DType::F32);
    let weight = tensor::<3>(1, [3, 4, 3], &device, DType::F32);
    conv_transpose1d(x, weight, None, &options(1, 1, 1, 2, 1));
}
