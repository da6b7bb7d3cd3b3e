//! Forward passes and training steps at the cards' shapes.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Distribution, Tensor};
use divan::Bencher;
use menagerie_core::Seed;
use menagerie_train::{Procedure, Supervised, initialise};

#[path = "mae/color_mae.rs"]
mod color_mae;
#[path = "mae/dmae.rs"]
mod dmae;

fn main() {
    divan::main();
}

fn images(batch: usize, side: usize, device: &Device) -> Tensor<4> {
    let normal = Distribution::Normal(0.0, 1.0);
    Tensor::random([batch, 3, side, side], normal, device)
}

/// ViT-B/16 at 224², and the small shape of the reproduction.
#[divan::bench_group(name = "mae_base")]
mod mae_base {
    use super::*;
    use menagerie_mae::mae_base::{
        DecoderConfig, MaeConfig, MaskedImages, PretrainingConfig, Start, VitConfig,
    };

    const BATCH: usize = 8;

    /// The unmasked encoder, the published measure of a model's speed.
    fn forward(bencher: Bencher, batch: usize) {
        let device = Device::default();
        let config = VitConfig::base();
        let encoder = initialise(&device, Seed(0), || {
            config.init(Start::Pretraining, true, &device)
        })
        .unwrap();
        let images = images(batch, config.image, &device);
        bencher.bench_local(|| {
            encoder
                .forward(images.clone(), None, &[])
                .unwrap()
                .into_data()
        });
    }

    /// Masking, forward, backward and AdamW.
    fn step(bencher: Bencher, config: MaeConfig, batch: usize) {
        let device = Device::default().autodiff();
        let mae = initialise(&device, Seed(0), || config.init(&device)).unwrap();
        let optimiser = PretrainingConfig::new().optimizer(&mae).unwrap();
        let images = images(batch, config.encoder.image, &device);
        let batches = |step: usize, device: &Device| {
            Ok(MaskedImages {
                images: images.clone(),
                masking: config.draw_masking(batch, Seed(step as u64), device)?,
            })
        };
        let mut procedure = Supervised::new(mae, optimiser, 1e-4, batches);
        let mut step = 0;
        bencher.bench_local(|| {
            step += 1;
            procedure.step(step).unwrap().read().unwrap()
        });
    }

    fn base(ratio: f64) -> MaeConfig {
        MaeConfig::base().with_mask_ratio(ratio)
    }

    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn forward_1(bencher: Bencher) {
        forward(bencher, 1);
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn forward_8(bencher: Bencher) {
        forward(bencher, BATCH);
    }

    /// The published ratio, 0.75.
    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn step_75(bencher: Bencher) {
        step(bencher, base(0.75), BATCH);
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn step_50(bencher: Bencher) {
        step(bencher, base(0.5), BATCH);
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn step_90(bencher: Bencher) {
        step(bencher, base(0.9), BATCH);
    }

    /// One patch of 196 hidden: what encoding all of them costs.
    #[divan::bench(sample_count = 3, sample_size = 1)]
    fn step_0(bencher: Bencher) {
        step(bencher, base(0.005), BATCH);
    }

    /// The shape of the reproduction: 64 patches of 32², width 96.
    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn step_small(bencher: Bencher) {
        let encoder = VitConfig::new(32, 4, 96, 4, 4);
        step(
            bencher,
            MaeConfig::new(encoder, DecoderConfig::new(48, 2, 4)),
            128,
        );
    }
}

/// ViT-B/16 on clips of 16 frames of 224², and the small shape of the reproduction.
#[divan::bench_group(name = "videomae_v2")]
mod videomae_v2 {
    use super::*;
    use menagerie_mae::videomae_v2::{
        ClassifierConfig, MaskedClips, MaskingConfig, PretrainingConfig, VideoMaeConfig,
    };

    /// The published encoder on all cubes of one clip.
    #[divan::bench(sample_count = 3, sample_size = 1)]
    fn features_1(bencher: Bencher) {
        let device = Device::default();
        let config = ClassifierConfig::base(None);
        let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
        let normal = Distribution::Normal(0.0, 1.0);
        let clips = Tensor::random([1, 3, 16, 224, 224], normal, &device);
        bencher.bench_local(|| model.features(clips.clone()).unwrap().into_data());
    }

    /// Masks, forward, backward and AdamW.
    fn step(bencher: Bencher, config: VideoMaeConfig, masking: MaskingConfig, batch: usize) {
        let device = Device::default().autodiff();
        let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
        let optimiser = PretrainingConfig::new().optimizer(&model).unwrap();
        let clip = config.clip;
        let shape = [batch, 3, clip.frames, clip.size, clip.size];
        let clips = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let batches = |step: usize, device: &Device| {
            let masks = masking.draw(clip.grid(), batch, Seed(step as u64))?;
            Ok(MaskedClips {
                clips: clips.clone(),
                masks: masks.on(device)?,
            })
        };
        let mut procedure = Supervised::new(model, optimiser, 1e-4, batches);
        let mut step = 0;
        bencher.bench_local(|| {
            step += 1;
            procedure.step(step).unwrap().read().unwrap()
        });
    }

    /// The encoder's mask alone: the decoder predicts all hidden cubes (ρ = 0).
    #[divan::bench(sample_count = 2, sample_size = 1)]
    fn step_0(bencher: Bencher) {
        step(
            bencher,
            VideoMaeConfig::base(),
            MaskingConfig::encoder_only(),
            4,
        );
    }

    /// Both masks, as published (ρ = 0.5).
    #[divan::bench(sample_count = 2, sample_size = 1)]
    fn step_50(bencher: Bencher) {
        step(bencher, VideoMaeConfig::base(), MaskingConfig::new(), 4);
    }

    /// The shape of the reproduction: 256 cubes of 8 frames of 32², width 96, 32 clips.
    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn step_small(bencher: Bencher) {
        step(
            bencher,
            VideoMaeConfig::experiment(),
            MaskingConfig::new(),
            32,
        );
    }
}
