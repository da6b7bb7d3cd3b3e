//! DeiT-T, SLAB-DeiT-T and SLAB-Swin-T at 224², with layer normalisation and folded; attention alone;
//! and the small shape of the reproduction.

use super::*;
use burn::module::Module;
use divan::Bencher;
use menagerie_efficient::slab::{
    AttentionKind, Classifier, DeitConfig, LinearAttention, Mixer, NormConfig, NormKind, Pooling,
    SwinConfig, optimizer, prepare, recipe,
};
use menagerie_nn::vit::Attention;
use menagerie_train::{Procedure, Supervised, initialise};

fn run<M: Classifier>(bencher: Bencher, model: M, batch: usize) {
    let device = Device::default();
    let images = images(batch, 224, &device);
    let mode = menagerie_efficient::slab::Mode::Evaluate;
    bencher.bench_local(|| model.run(images.clone(), mode, &[]).unwrap().into_data());
}

fn deit(bencher: Bencher, kind: NormKind, attention: AttentionKind, batch: usize) {
    let device = Device::default();
    // The same network but for its attention: mean pooling in both.
    let config = match attention {
        AttentionKind::Linear => DeitConfig::slab_tiny(),
        AttentionKind::Softmax => {
            DeitConfig::tiny(NormConfig::new(kind)).with_pooling(Pooling::Mean)
        }
    };
    let config = DeitConfig {
        norm: NormConfig::new(kind),
        ..config
    };
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    match kind {
        NormKind::Layer => run(bencher, model, batch),
        _ => run(bencher, model.fold().unwrap(), batch),
    }
}

fn swin(bencher: Bencher, kind: NormKind, batch: usize) {
    let device = Device::default();
    let config = SwinConfig {
        norm: NormConfig::new(kind).with_epsilon(1e-5),
        ..SwinConfig::slab_tiny()
    };
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    match kind {
        NormKind::Layer => run(bencher, model, batch),
        _ => run(bencher, model.fold().unwrap(), batch),
    }
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn deit_norm_1(bencher: Bencher) {
    deit(bencher, NormKind::Layer, AttentionKind::Softmax, 1);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn deit_folded_1(bencher: Bencher) {
    deit(bencher, NormKind::RepBatch, AttentionKind::Softmax, 1);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn slab_norm_1(bencher: Bencher) {
    deit(bencher, NormKind::Layer, AttentionKind::Linear, 1);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn slab_folded_1(bencher: Bencher) {
    deit(bencher, NormKind::RepBatch, AttentionKind::Linear, 1);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn deit_norm_8(bencher: Bencher) {
    deit(bencher, NormKind::Layer, AttentionKind::Softmax, 8);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn deit_folded_8(bencher: Bencher) {
    deit(bencher, NormKind::RepBatch, AttentionKind::Softmax, 8);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn slab_norm_8(bencher: Bencher) {
    deit(bencher, NormKind::Layer, AttentionKind::Linear, 8);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn slab_folded_8(bencher: Bencher) {
    deit(bencher, NormKind::RepBatch, AttentionKind::Linear, 8);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn deit_norm_16(bencher: Bencher) {
    deit(bencher, NormKind::Layer, AttentionKind::Softmax, 16);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn deit_folded_16(bencher: Bencher) {
    deit(bencher, NormKind::RepBatch, AttentionKind::Softmax, 16);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn slab_norm_16(bencher: Bencher) {
    deit(bencher, NormKind::Layer, AttentionKind::Linear, 16);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn slab_folded_16(bencher: Bencher) {
    deit(bencher, NormKind::RepBatch, AttentionKind::Linear, 16);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn swin_norm_1(bencher: Bencher) {
    swin(bencher, NormKind::Layer, 1);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn swin_folded_1(bencher: Bencher) {
    swin(bencher, NormKind::RepBatch, 1);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn swin_norm_16(bencher: Bencher) {
    swin(bencher, NormKind::Layer, 16);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn swin_folded_16(bencher: Bencher) {
    swin(bencher, NormKind::RepBatch, 16);
}

/// Simplified linear attention over `side²` tokens of width 192 in 3 heads.
fn linear_attention(bencher: Bencher, side: usize) {
    let device = Device::default();
    let norm = NormConfig::new(NormKind::Layer);
    let config = DeitConfig::new(side, 1, 192, 1, 3, norm);
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    let attention: Option<LinearAttention> =
        model.blocks.into_iter().find_map(|block| match block.attn {
            Mixer::Linear(attention) => Some(attention.valid()),
            _ => None,
        });
    let attention = attention.unwrap();
    let normal = Distribution::Normal(0.0, 1.0);
    let x = Tensor::<3>::random([1, side * side, 192], normal, &device);
    bencher.bench_local(|| attention.forward(x.clone()).into_data());
}

/// The same by softmax.
fn softmax_attention(bencher: Bencher, side: usize) {
    let device = Device::default();
    let norm = NormConfig::new(NormKind::Layer);
    let config = DeitConfig::new(side, 1, 192, 1, 3, norm).with_attention(AttentionKind::Softmax);
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    let attention: Option<Attention> =
        model.blocks.into_iter().find_map(|block| match block.attn {
            Mixer::Softmax(attention) => Some(attention.valid()),
            _ => None,
        });
    let attention = attention.unwrap();
    let normal = Distribution::Normal(0.0, 1.0);
    let x = Tensor::<3>::random([1, side * side, 192], normal, &device);
    bencher.bench_local(|| attention.forward(x.clone()).into_data());
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn linear_196(bencher: Bencher) {
    linear_attention(bencher, 14);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn softmax_196(bencher: Bencher) {
    softmax_attention(bencher, 14);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn linear_784(bencher: Bencher) {
    linear_attention(bencher, 28);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn softmax_784(bencher: Bencher) {
    softmax_attention(bencher, 28);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn linear_3136(bencher: Bencher) {
    linear_attention(bencher, 56);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn softmax_3136(bencher: Bencher) {
    softmax_attention(bencher, 56);
}

/// Forward, backward and AdamW of the reproduction's shape: 49 grey patches of 28², width 48, 32
/// images.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn step_small(bencher: Bencher) {
    let device = Device::default().autodiff();
    let norm = NormConfig::new(NormKind::Progressive).with_steps(900);
    let config = DeitConfig::new(28, 4, 48, 6, 4, norm)
        .with_channels(1)
        .with_classes(10)
        .with_mlp_ratio(2.0);
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    let recipe = recipe();
    let optimiser = optimizer(&recipe, &model).unwrap();
    let (images, labels) = (images(32, 28, &device).narrow(1, 0, 1), labels(32, 10));
    let sizes = model.clone();
    let batches = |step: usize, _: &Device| {
        prepare(&recipe, &sizes, images.clone(), &labels, Seed(step as u64))
    };
    let mut procedure = Supervised::new(model, optimiser, 1e-4, batches);
    let mut step = 0;
    bencher.bench_local(|| {
        step += 1;
        procedure.step(step).unwrap().read().unwrap()
    });
}
