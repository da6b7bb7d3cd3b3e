//! Forward passes, sampling steps and training steps at the cards' shapes.
#![allow(clippy::unwrap_used)]

fn main() {
    divan::main();
}

/// The small network on colour images of 32×32 and, in training, on grey ones of 16×16; features of
/// the published network at 256×256.
#[divan::bench_group(name = "diffusion_classifier")]
mod diffusion_classifier {
    use burn::tensor::Device;
    use divan::Bencher;
    use menagerie_core::Seed;
    use menagerie_generative::diffusion_classifier::{Denoiser, UNet, UNetConfig};
    use menagerie_nn::diffusion::{NoiseSchedule, Objective, Reverse, Sampler};
    use menagerie_nn::noise::draw_normal;
    use menagerie_train::{AdamW, Procedure, Supervised, initialise};

    fn colour() -> UNetConfig {
        UNetConfig {
            image_size: 32,
            in_channels: 3,
            out_channels: 3,
            ..UNetConfig::small()
        }
    }

    fn network(config: &UNetConfig) -> UNet {
        let device = Device::default();
        initialise(&device, Seed(0), || config.init(&device)).unwrap()
    }

    #[divan::bench(args = [1, 16], sample_count = 30, sample_size = 1)]
    fn forward(bencher: Bencher, batch: usize) {
        let unet = network(&colour());
        let x = draw_normal([batch, 3, 32, 32], Seed(1), &Device::default());
        let t = vec![500; batch];
        bencher.bench_local(|| unet.forward(x.clone(), &t).unwrap().into_data());
    }

    #[divan::bench(args = [1, 16], sample_count = 30, sample_size = 1)]
    fn ddim_step(bencher: Bencher, batch: usize) {
        let unet = network(&colour());
        let diffusion = NoiseSchedule::Linear.diffusion(1_000).unwrap();
        let few = diffusion
            .spaced(&diffusion.even_steps(50).unwrap())
            .unwrap();
        let sampler = Sampler::ddim(Reverse::new());
        let x = draw_normal([batch, 3, 32, 32], Seed(1), &Device::default());
        let (step, name) = (vec![25; batch], vec![few.timesteps()[25]; batch]);
        bencher.bench_local(|| {
            let output = unet.forward(x.clone(), &name).unwrap();
            let next = sampler.step(&few, output, x.clone(), &step, None);
            next.unwrap().into_data()
        });
    }

    /// Noise, forward, backward and AdamW.
    #[divan::bench(args = [64], sample_count = 10, sample_size = 1)]
    fn step(bencher: Bencher, batch: usize) {
        let device = Device::default().autodiff();
        let unet = initialise(&device, Seed(0), || UNetConfig::small().init(&device)).unwrap();
        let diffusion = NoiseSchedule::Linear.diffusion(1_000).unwrap();
        let model = Denoiser::new(unet, diffusion, Objective::new()).unwrap();
        let drawing = model.clone();
        let images = draw_normal([batch, 1, 16, 16], Seed(1), &device);
        let optimiser = AdamW::new().grouped(&model, |_, rank| rank > 1).unwrap();
        let batches = |step: usize, _: &Device| drawing.draw(images.clone(), Seed(step as u64));
        let mut procedure = Supervised::new(model, optimiser, 1e-3, batches);
        let mut step = 0;
        bencher.bench_local(|| {
            step += 1;
            procedure.step(step).unwrap().read().unwrap()
        });
    }

    /// Up to block 24 of 37, on one image.
    #[divan::bench(sample_count = 3, sample_size = 1)]
    fn features_256(bencher: Bencher) {
        let unet = network(&UNetConfig::adm_256());
        let x = draw_normal([1, 3, 256, 256], Seed(1), &Device::default());
        bencher.bench_local(|| {
            let features = unet.features(x.clone(), &[90], &[24]).unwrap();
            features
                .into_values()
                .map(|map| map.into_data())
                .collect::<Vec<_>>()
        });
    }
}
