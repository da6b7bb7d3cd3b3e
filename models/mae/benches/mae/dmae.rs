//! Distillation at the paper's sizes, ViT-L to ViT-B at 224² with three quarters hidden or
//! more, in batches of 8 for the card's 32; and the small shape of the reproduction.

use super::*;
use menagerie_mae::dmae::{DistillationBatch, DmaeConfig, Teacher};
use menagerie_mae::mae_base::{DecoderConfig, Mae, MaeConfig, PretrainingConfig, Start, VitConfig};

const BATCH: usize = 8;

fn small() -> DmaeConfig {
    let vit = |dim, depth| VitConfig::new(28, 4, dim, depth, 4);
    let student = MaeConfig::new(vit(48, 4), DecoderConfig::new(64, 2, 4));
    DmaeConfig::new(
        student.with_norm_pix_loss(false),
        vit(128, 8),
        vec![2],
        vec![5],
    )
}

fn teacher(config: &DmaeConfig, device: &Device) -> Teacher {
    let encoder = initialise(device, Seed(1), || {
        config.teacher.init(Start::Pretraining, true, device)
    });
    config.teacher(encoder.unwrap()).unwrap()
}

/// The teacher's part, forward, backward and AdamW.
fn run_step(bencher: Bencher, config: DmaeConfig, batch: usize) {
    let device = Device::default().autodiff();
    let teacher = teacher(&config, &device.clone().without_autodiff());
    let student = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    let optimiser = PretrainingConfig::new().optimizer(&student).unwrap();
    let images = images(batch, config.teacher.image, &device);
    let batches = |step: usize, device: &Device| {
        let seed = Seed(step as u64);
        let masking = config.student.draw_masking(batch, seed, device)?;
        DistillationBatch::new(&teacher, images.clone(), masking)
    };
    let mut procedure = Supervised::new(student, optimiser, 1e-4, batches);
    let mut step = 0;
    bencher.bench_local(|| {
        step += 1;
        procedure.step(step).unwrap().read().unwrap()
    });
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn step_8(bencher: Bencher) {
    run_step(bencher, DmaeConfig::base(), BATCH);
}

/// Nine patches of 196 visible.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn step_8_95(bencher: Bencher) {
    let mut config = DmaeConfig::base();
    config.student.mask_ratio = 0.95;
    run_step(bencher, config, BATCH);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn step_small(bencher: Bencher) {
    run_step(bencher, small(), 128);
}

/// As far as the aligned block.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn teacher_8(bencher: Bencher) {
    let device = Device::default();
    let config = DmaeConfig::base();
    let teacher = teacher(&config, &device);
    let images = images(BATCH, config.teacher.image, &device);
    let masking = config
        .student
        .draw_masking(BATCH, Seed(0), &device)
        .unwrap();
    bencher.bench_local(|| {
        let features = teacher.features(images.clone(), &masking).unwrap();
        features
            .into_iter()
            .for_each(|feature| drop(feature.into_data()));
    });
}

/// All blocks and the decoder, as the released code runs them.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn whole_teacher_8(bencher: Bencher) {
    let device = Device::default();
    let config = MaeConfig::large().with_norm_pix_loss(false);
    let mae: Mae = initialise(&device, Seed(1), || config.init(&device)).unwrap();
    let images = images(BATCH, config.encoder.image, &device);
    let masking = config.draw_masking(BATCH, Seed(0), &device).unwrap();
    bencher.bench_local(|| {
        let output = mae.forward_with(images.clone(), &masking).unwrap();
        output.prediction.into_data()
    });
}
