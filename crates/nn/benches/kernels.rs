//! Forward and backward passes at the shapes of QLAE (batch 128, 3x64x64) and prototype-net
//! (batch 250, 1x28x28), and of a block of ViT-B.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Distribution, Tensor};
use divan::{Bencher, black_box};
use menagerie_nn::block::{conv_norm_leaky_relu, conv_transpose_leaky_relu_norm};
use menagerie_nn::conv::{Padding, conv_transpose2d, conv2d};
use menagerie_nn::group_norm::group_norm_silu;
use menagerie_nn::norm::{instance_norm_leaky_relu, leaky_relu_instance_norm};
use menagerie_nn::{transformer, vit::BlockConfig};

fn main() {
    divan::main();
}

/// Batch, channels in and out, image side, kernel side, stride.
type Shape = (usize, [usize; 2], usize, usize, usize);

const ENCODER: [Shape; 8] = [
    (128, [3, 32], 64, 3, 1),
    (128, [32, 32], 64, 3, 1),
    (128, [32, 32], 64, 4, 2),
    (128, [64, 64], 32, 3, 1),
    (128, [64, 64], 32, 4, 2),
    (128, [128, 128], 16, 3, 1),
    (128, [256, 256], 8, 3, 1),
    (128, [256, 256], 8, 4, 2),
];

const DECODER: [Shape; 5] = [
    (128, [256, 256], 4, 4, 2),
    (128, [128, 64], 16, 4, 2),
    (128, [64, 32], 32, 4, 2),
    (128, [32, 32], 64, 3, 1),
    (128, [32, 3], 64, 3, 1),
];

/// Of diffusion U-Nets: small ones in training, published ones on one image.
const UNET: [Shape; 12] = [
    (64, [32, 32], 16, 3, 1),
    (64, [96, 64], 16, 3, 1),
    (64, [64, 64], 8, 3, 1),
    (64, [128, 64], 8, 3, 1),
    (64, [128, 64], 8, 1, 1),
    (64, [64, 64], 4, 3, 1),
    (1, [32, 32], 32, 3, 1),
    (1, [64, 64], 16, 3, 1),
    (1, [256, 256], 128, 3, 1),
    (1, [512, 512], 32, 3, 1),
    (1, [2048, 1024], 16, 1, 1),
    (1, [1024, 1024], 8, 3, 1),
];

const NORM: [Shape; 3] = [
    (128, [32, 32], 64, 0, 0),
    (128, [64, 64], 32, 0, 0),
    (128, [128, 128], 16, 0, 0),
];

fn random<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), device)
}

/// Times `forward` of the maps and the other tensors, with and without the backward pass.
fn run(
    bencher: Bencher,
    tracked: bool,
    input: [usize; 4],
    others: impl Fn(&Device) -> Vec<Tensor<4>>,
    forward: impl Fn(Tensor<4>, &[Tensor<4>]) -> Tensor<4>,
) {
    let device = Device::flex();
    let device = if tracked { device.autodiff() } else { device };
    let leaf = |t: Tensor<4>| if tracked { t.require_grad() } else { t };
    let x = leaf(random(input, &device));
    let others: Vec<_> = others(&device).into_iter().map(leaf).collect();
    bencher.bench_local(|| {
        let y = forward(x.clone(), &others);
        if tracked {
            drop(black_box(y.sum().backward()));
        } else {
            drop(black_box(y));
        }
    });
}

#[divan::bench(args = ENCODER, consts = [false, true], sample_count = 5)]
fn convolution<const TRACKED: bool>(bencher: Bencher, shape: Shape) {
    let (batch, [inputs, outputs], side, kernel, stride) = shape;
    let weight = |device: &Device| vec![random([outputs, inputs, kernel, kernel], device)];
    run(
        bencher,
        TRACKED,
        [batch, inputs, side, side],
        weight,
        |x, w| conv2d(x, w[0].clone(), None, [stride; 2], Padding::symmetric(1)),
    );
}

#[divan::bench(args = UNET, consts = [false, true], sample_count = 5, sample_size = 1)]
fn unet_convolution<const TRACKED: bool>(bencher: Bencher, shape: Shape) {
    let (batch, [inputs, outputs], side, kernel, stride) = shape;
    let weight = |device: &Device| vec![random([outputs, inputs, kernel, kernel], device)];
    let padding = Padding::symmetric(kernel / 2);
    run(
        bencher,
        TRACKED,
        [batch, inputs, side, side],
        weight,
        |x, w| conv2d(x, w[0].clone(), None, [stride; 2], padding),
    );
}

#[divan::bench(args = UNET, consts = [false, true], sample_count = 5, sample_size = 1)]
fn unet_norm<const TRACKED: bool>(bencher: Bencher, shape: Shape) {
    let (batch, [channels, _], side, ..) = shape;
    let gains = |device: &Device| vec![random([channels, 1, 1, 1], device); 2];
    run(
        bencher,
        TRACKED,
        [batch, channels, side, side],
        gains,
        |x, g| {
            let [gain, shift] = [0, 1].map(|i: usize| g[i].clone().reshape([channels]));
            group_norm_silu(x, 32, (gain, shift), None, 1e-5)
        },
    );
}

#[divan::bench(args = DECODER, consts = [false, true], sample_count = 5)]
fn transposed<const TRACKED: bool>(bencher: Bencher, shape: Shape) {
    let (batch, [inputs, outputs], side, kernel, stride) = shape;
    let weight = |device: &Device| vec![random([inputs, outputs, kernel, kernel], device)];
    run(
        bencher,
        TRACKED,
        [batch, inputs, side, side],
        weight,
        |x, w| conv_transpose2d(x, w[0].clone(), None, [stride; 2], Padding::symmetric(1)),
    );
}

#[divan::bench(args = NORM, consts = [false, true], sample_count = 5)]
fn norm_then_activation<const TRACKED: bool>(bencher: Bencher, shape: Shape) {
    let (batch, [channels, _], side, ..) = shape;
    let gains = |device: &Device| vec![random([channels, 1, 1, 1], device); 2];
    run(
        bencher,
        TRACKED,
        [batch, channels, side, side],
        gains,
        |x, g| {
            let [gain, shift] = [0, 1].map(|i: usize| g[i].clone().reshape([channels]));
            instance_norm_leaky_relu(x, Some((gain, shift)), 1e-6, 0.2)
        },
    );
}

#[divan::bench(args = NORM, consts = [false, true], sample_count = 5)]
fn activation_then_norm<const TRACKED: bool>(bencher: Bencher, shape: Shape) {
    let (batch, [channels, _], side, ..) = shape;
    let gains = |device: &Device| vec![random([batch, channels, 1, 1], device); 2];
    run(
        bencher,
        TRACKED,
        [batch, channels, side, side],
        gains,
        |x, g| {
            let [scale, shift] = [0, 1].map(|i: usize| g[i].clone().reshape([batch, channels]));
            leaky_relu_instance_norm(x, 0.2, 1e-6, Some((scale, shift)))
        },
    );
}

/// All twelve blocks of QLAE's encoder, then those of its decoder.
#[divan::bench(consts = [false, true], sample_count = 3)]
fn qlae_blocks<const TRACKED: bool>(bencher: Bencher) {
    const WIDTHS: [usize; 4] = [32, 64, 128, 256];
    let mut layers = Vec::new();
    let mut inputs = 3;
    for width in WIDTHS {
        for (kernel, stride) in [(3, 1), (3, 1), (4, 2)] {
            layers.push((inputs, width, kernel, stride));
            inputs = width;
        }
    }
    // The mirrored decoder, whose first block keeps 256 channels.
    let mirrored: Vec<_> = (0..12)
        .map(|i| {
            let (inputs, outputs, kernel, stride) = layers[11 - i];
            (
                outputs,
                if inputs == 3 { 32 } else { inputs },
                kernel,
                stride,
            )
        })
        .collect();
    let weights = |device: &Device| {
        let encoder = layers
            .iter()
            .map(|&(i, o, k, _)| random([o, i, k, k], device) * 0.05);
        let decoder = mirrored
            .iter()
            .map(|&(i, o, k, _)| random([i, o, k, k], device) * 0.05);
        let last = random([3, 32, 3, 3], device);
        encoder.chain(decoder).chain([last]).collect()
    };
    run(bencher, TRACKED, [128, 3, 64, 64], weights, |x, w| {
        let device = x.device();
        let one = Padding::symmetric(1);
        // The images themselves need no gradient.
        let mut x = x.detach();
        for (&(_, width, _, stride), w) in layers.iter().zip(w) {
            let affine = Some((
                Tensor::ones([width], &device),
                Tensor::zeros([width], &device),
            ));
            x = conv_norm_leaky_relu(x, w.clone(), [stride; 2], one, affine, 1e-6, 0.2);
        }
        for (&(_, width, _, stride), w) in mirrored.iter().zip(&w[12..]) {
            let gains = Some((
                Tensor::ones([128, width], &device),
                Tensor::zeros([128, width], &device),
            ));
            x = conv_transpose_leaky_relu_norm(x, w.clone(), [stride; 2], one, 0.2, 1e-6, gains);
        }
        conv2d(x, w[24].clone(), None, [1, 1], one)
    });
}

/// The convolutions of prototype-net's encoder and decoder with their ReLUs.
#[divan::bench(consts = [false, true], sample_count = 10)]
fn prototype_net<const TRACKED: bool>(bencher: Bencher) {
    const CHANNELS: [usize; 5] = [1, 32, 32, 32, 10];
    const SIDES: [usize; 4] = [28, 14, 7, 4];
    let weights = |device: &Device| {
        let weight = |i: usize| random([CHANNELS[i + 1], CHANNELS[i], 3, 3], device) * 0.1;
        (0..4).chain((0..4).rev()).map(weight).collect()
    };
    let same = |side: usize| Padding::same([side; 2], [3, 3], [2, 2]);
    run(bencher, TRACKED, [250, 1, 28, 28], weights, |x, w| {
        let device = x.device();
        let mut x = x.detach();
        for i in 0..4 {
            let bias = Some(Tensor::zeros([CHANNELS[i + 1]], &device));
            let y = conv2d(x, w[i].clone(), bias, [2, 2], same(SIDES[i]));
            x = burn::tensor::activation::relu(y);
        }
        for (w, i) in w[4..].iter().zip((0..4).rev()) {
            let bias = Some(Tensor::zeros([CHANNELS[i]], &device));
            let y = conv_transpose2d(x, w.clone(), bias, [2, 2], same(SIDES[i]));
            x = burn::tensor::activation::relu(y);
        }
        x
    });
}

/// Batch and tokens of ViT-B: whole images, one image, what masked pre-training sees of eight.
const VIT: [[usize; 2]; 3] = [[8, 197], [1, 197], [8, 50]];

/// A block of ViT-B.
#[divan::bench(args = VIT, consts = [false, true], sample_count = 8, sample_size = 1)]
fn vit_block<const TRACKED: bool>(bencher: Bencher, [batch, tokens]: [usize; 2]) {
    let device = Device::flex();
    let device = if TRACKED { device.autodiff() } else { device };
    let block = BlockConfig::new(768, 12, 3_072).init(&device).unwrap();
    let x: Tensor<3> = random([batch, tokens, 768], &device);
    let x = if TRACKED { x.require_grad() } else { x };
    bencher.bench_local(|| {
        let y = block.forward(x.clone(), None);
        if TRACKED {
            drop(black_box(y.sum().backward()));
        } else {
            drop(black_box(y));
        }
    });
}

/// The parts of a block of ViT-B on eight images.
#[divan::bench(args = ["norm", "qkv", "attention", "proj", "fc1", "gelu", "fc2"], consts = [false, true], sample_count = 12, sample_size = 1)]
fn vit_part<const TRACKED: bool>(bencher: Bencher, part: &str) {
    let device = Device::flex();
    let device = if TRACKED { device.autodiff() } else { device };
    let width = match part {
        "attention" => 2_304,
        "gelu" | "fc2" => 3_072,
        _ => 768,
    };
    let outputs = match part {
        "qkv" => 2_304,
        "fc1" => 3_072,
        _ => 768,
    };
    let leaf = |t: Tensor<2>| if TRACKED { t.require_grad() } else { t };
    let x = leaf(random([8 * 197, width], &device));
    let w = leaf(random([width, outputs], &device));
    let b = leaf(random([1, outputs], &device));
    bencher.bench_local(|| {
        let x = x.clone().reshape([8, 197, width]);
        let b = b.clone().reshape([outputs]);
        let y = match part {
            "norm" => transformer::layer_norm(x, b.clone(), b, 1e-6),
            "attention" => transformer::attention(x, 12, 0.125),
            "gelu" => transformer::gelu(x),
            _ => transformer::linear(x, w.clone(), Some(b)),
        };
        if TRACKED {
            drop(black_box(y.sum().backward()));
        } else {
            drop(black_box(y));
        }
    });
}
