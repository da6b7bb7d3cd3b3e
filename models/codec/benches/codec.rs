//! Forward passes, streaming and training steps at the card's shapes.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Distribution, Tensor};
use divan::Bencher;
use menagerie_core::Seed;
use menagerie_train::{Procedure, initialise};

fn main() {
    divan::main();
}

/// V1 of the published size at 48 kHz: a second is 24 latent frames of 2048 samples.
#[divan::bench_group(name = "rave")]
mod rave {
    use super::*;
    use menagerie_codec::rave::{
        Alignment, Direction, DiscriminatorConfig, Rave, RaveConfig, RaveTraining,
        RaveTrainingConfig, draw_normal,
    };

    const FRAMES: usize = 24;

    fn model(config: &RaveConfig) -> Rave {
        let device = Device::default();
        let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
        model.fold()
    }

    fn sound(batch: usize, time: usize, device: &Device) -> Tensor<3> {
        Tensor::random([batch, 1, time], Distribution::Uniform(-0.5, 0.5), device)
    }

    /// Latent frames to 1.02 s of audio.
    fn decode(bencher: Bencher, config: &RaveConfig) {
        let model = model(config);
        let latent = draw_normal([1, config.latent, FRAMES], Seed(1), &Device::default());
        bencher.bench_local(|| model.decode(latent.clone(), None).unwrap().into_data());
    }

    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn decode_1s(bencher: Bencher) {
        decode(bencher, &RaveConfig::v1());
    }

    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn decode_v2_1s(bencher: Bencher) {
        decode(bencher, &RaveConfig::v2());
    }

    /// 1.02 s of audio to latent frames.
    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn encode_1s(bencher: Bencher) {
        let config = RaveConfig::v1();
        let model = model(&config);
        let audio = sound(1, FRAMES * config.hop(), &Device::default());
        bencher.bench_local(|| model.encode(audio.clone()).unwrap().into_data());
    }

    /// The filter bank both ways, without a network.
    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn filter_bank_1s(bencher: Bencher) {
        let config = RaveConfig::v1();
        let model = model(&config);
        let audio = sound(1, FRAMES * config.hop(), &Device::default());
        bencher.bench_local(|| {
            let subbands = model.pqmf().analysis(audio.clone());
            model.pqmf().synthesis(subbands).into_data()
        });
    }

    fn stream(bencher: Bencher, direction: Direction) {
        let config = RaveConfig::v1();
        let model = model(&config);
        let mut stream = model.stream(direction, Alignment::Exact).unwrap();
        let numbers = stream.granularity();
        let block: Vec<f32> = (0..numbers).map(|t| (0.05 * t as f32).sin()).collect();
        bencher.bench_local(|| stream.push(&block).unwrap());
    }

    /// One block of 2048 samples, which are 42.7 ms, through encoder and decoder.
    #[divan::bench(sample_count = 100, sample_size = 1)]
    fn stream_2048(bencher: Bencher) {
        stream(bencher, Direction::Both);
    }

    /// One latent frame to a block of 2048 samples.
    #[divan::bench(sample_count = 100, sample_size = 1)]
    fn stream_decode_2048(bencher: Bencher) {
        stream(bencher, Direction::Decode);
    }

    /// A step of the first stage: forward, backward and Adam.
    fn step(bencher: Bencher, config: &RaveConfig, setup: RaveTrainingConfig) {
        let device = Device::default().autodiff();
        let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
        let nets = DiscriminatorConfig::v1();
        let nets = initialise(&device, Seed(1), || nets.init(&device)).unwrap();
        let audio = sound(setup.batch, setup.crop, &device);
        let batch = |_: usize, _: &Device| Ok(audio.clone());
        let mut training = RaveTraining::new(model, nets, setup, Seed(2), &device, batch).unwrap();
        bencher.bench_local(|| training.step(0).unwrap().read().unwrap());
    }

    #[divan::bench(sample_count = 2, sample_size = 1)]
    fn step_8(bencher: Bencher) {
        step(bencher, &RaveConfig::v1(), RaveTrainingConfig::v1());
    }

    /// The small model of the reproduction, in its batches.
    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn step_small(bencher: Bencher) {
        let setup = RaveTrainingConfig::v1()
            .with_crop(8192)
            .with_scales(vec![1024, 512, 256, 128, 64]);
        step(bencher, &RaveConfig::speech(), setup);
    }
}
