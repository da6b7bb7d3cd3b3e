//! 1-D convolutions at the shapes of RAVE (one second of 48 kHz, a block of a live stream, a batch of
//! eight in training), and the Fourier transforms of its loss.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Distribution, Tensor};
use divan::{Bencher, black_box};
use menagerie_nn::conv1d::{Conv1dOptions, conv_transpose1d, conv1d};
use menagerie_nn::stft::{Stft, stft_magnitude};

fn main() {
    divan::main();
}

fn random<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), device)
}

/// Batch, channels in and out, length, taps, stride, dilation, groups.
type Shape = (usize, [usize; 2], usize, usize, usize, usize, usize);

const FORWARD: [Shape; 15] = [
    // The decoder on 24 latent frames, the encoder of as many.
    (1, [128, 1024], 24, 7, 1, 1, 1),
    (1, [512, 512], 48, 3, 1, 9, 1),
    (1, [256, 256], 192, 3, 1, 3, 1),
    (1, [128, 128], 768, 3, 1, 3, 1),
    (1, [64, 64], 3_072, 3, 1, 3, 1),
    (1, [64, 16], 3_072, 7, 1, 1, 1),
    (1, [16, 64], 3_072, 7, 1, 1, 1),
    (1, [64, 128], 3_072, 9, 4, 1, 1),
    (1, [128, 256], 768, 9, 4, 1, 1),
    (1, [256, 512], 192, 9, 4, 1, 1),
    (1, [512, 1024], 48, 5, 2, 1, 1),
    (1, [1024, 256], 24, 5, 1, 1, 2),
    // One frame of a live stream.
    (1, [512, 512], 2, 3, 1, 1, 1),
    (1, [256, 256], 8, 3, 1, 1, 1),
    (1, [512, 1024], 2, 5, 2, 1, 1),
];

const STEP: [Shape; 11] = [
    (8, [512, 512], 64, 3, 1, 3, 1),
    (8, [256, 256], 256, 3, 1, 3, 1),
    (8, [128, 128], 1_024, 3, 1, 3, 1),
    (8, [64, 64], 4_096, 3, 1, 3, 1),
    (8, [64, 128], 4_096, 9, 4, 1, 1),
    // The discriminator.
    (8, [1, 16], 65_536, 15, 1, 1, 1),
    (8, [16, 64], 65_536, 41, 4, 1, 4),
    (8, [64, 256], 16_384, 41, 4, 1, 16),
    (8, [256, 1024], 4_096, 41, 4, 1, 64),
    (8, [1024, 1024], 1_024, 41, 4, 1, 256),
    (8, [1024, 1024], 256, 5, 1, 1, 1),
];

/// Batch, channels in and out, length, taps and stride of the decoder's transposed convolutions.
const TRANSPOSED: [(usize, [usize; 2], usize, usize, usize); 7] = [
    (1, [1024, 512], 24, 4, 2),
    (1, [512, 256], 48, 8, 4),
    (1, [256, 128], 192, 8, 4),
    (1, [128, 64], 768, 8, 4),
    (1, [1024, 512], 1, 4, 2),
    (8, [1024, 512], 32, 4, 2),
    (8, [128, 64], 1_024, 8, 4),
];

fn run(
    bencher: Bencher,
    tracked: bool,
    dims: [[usize; 3]; 2],
    forward: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>,
) {
    let device = Device::flex();
    let device = if tracked { device.autodiff() } else { device };
    let leaf = |t: Tensor<3>| if tracked { t.require_grad() } else { t };
    let [x, weight] = dims.map(|dims| leaf(random(dims, &device)));
    bencher.bench_local(|| {
        let y = forward(x.clone(), weight.clone());
        if tracked {
            drop(black_box(y.sum().backward()));
        } else {
            drop(black_box(y));
        }
    });
}

fn convolution(bencher: Bencher, tracked: bool, shape: Shape) {
    let (batch, [inputs, outputs], len, kernel, stride, dilation, groups) = shape;
    let span = (kernel - 1) * dilation;
    let options = Conv1dOptions::new()
        .with_stride(stride)
        .with_dilation(dilation)
        .with_groups(groups)
        .with_padding(span / 2, span - span / 2);
    let dims = [[batch, inputs, len], [outputs, inputs / groups, kernel]];
    run(bencher, tracked, dims, |x, w| conv1d(x, w, None, &options));
}

#[divan::bench(args = FORWARD, sample_count = 30, sample_size = 3)]
fn conv1d_forward(bencher: Bencher, shape: Shape) {
    convolution(bencher, false, shape);
}

#[divan::bench(args = STEP, sample_count = 5, sample_size = 1)]
fn conv1d_step(bencher: Bencher, shape: Shape) {
    convolution(bencher, true, shape);
}

#[divan::bench(args = TRANSPOSED, consts = [false, true], sample_count = 15, sample_size = 1)]
fn conv_transpose1d_pass<const TRACKED: bool>(
    bencher: Bencher,
    (batch, [inputs, outputs], len, kernel, stride): (usize, [usize; 2], usize, usize, usize),
) {
    let options = Conv1dOptions::new()
        .with_stride(stride)
        .with_padding(stride / 2, stride / 2);
    let dims = [[batch, inputs, len], [inputs, outputs, kernel]];
    run(bencher, TRACKED, dims, |x, w| {
        conv_transpose1d(x, w, None, &options)
    });
}

/// Eight crops, and their sixteen bands.
#[divan::bench(args = [[8, 65_536], [128, 4_096]], consts = [false, true], sample_count = 10, sample_size = 1)]
fn spectral_scales<const TRACKED: bool>(bencher: Bencher, dims: [usize; 2]) {
    let device = Device::flex();
    let device = if TRACKED { device.autodiff() } else { device };
    let x: Tensor<2> = random(dims, &device);
    let x = if TRACKED { x.require_grad() } else { x };
    let scales = [2_048, 1_024, 512, 256, 128].map(|size| Stft::hann(size, size / 4).unwrap());
    bencher.bench_local(|| {
        for stft in &scales {
            let y = stft_magnitude(x.clone(), stft);
            if TRACKED {
                drop(black_box(y.sum().backward()));
            } else {
                drop(black_box(y));
            }
        }
    });
}
