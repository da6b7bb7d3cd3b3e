//! Forward passes, training steps and metrics at the published shapes.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::Seed;
use menagerie_representation::qlae;

fn main() {
    divan::main();
}

/// Batches of 128 images of 3×64×64 for the published model, of 64 of 1×16×16 for the small one.
#[divan::bench_group(name = "qlae")]
mod qlae_benches {
    use super::{
        qlae::{infomec::*, *},
        *,
    };
    use burn::module::Module;
    use divan::Bencher;
    use menagerie_train::{Procedure, Supervised, initialise};
    use rand::RngExt;

    const PUBLISHED: (usize, [usize; 3]) = (128, [3, 64, 64]);
    const SMALL: (usize, [usize; 3]) = (64, [1, 16, 16]);

    fn images(
        (batch, [channels, height, width]): (usize, [usize; 3]),
        device: &Device,
    ) -> Tensor<4> {
        let mut rng = Seed(0).rng();
        let shape = [batch, channels, height, width];
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random()).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn run_forward(bencher: Bencher, config: QlaeConfig, shape: (usize, [usize; 3])) {
        let device = Device::default();
        let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
        let images = images(shape, &device);
        bencher.bench_local(|| model.forward(images.clone()).logits.into_data());
    }

    /// Forward, three losses, backward, and both parameter groups' updates.
    fn run_step(bencher: Bencher, config: QlaeConfig, shape: (usize, [usize; 3])) {
        let device = Device::default().autodiff();
        let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
        let batch = images(shape, &device);
        let training = TrainingConfig::published();
        let optimizer = training.optimizer().unwrap();
        let rate = training.learning_rate;
        let mut procedure = Supervised::new(model, optimizer, rate, |_, _| Ok(batch.clone()));
        let mut step = 0;
        bencher.bench_local(|| {
            step += 1;
            procedure.step(step).unwrap().read().unwrap()
        });
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn forward(bencher: Bencher) {
        run_forward(bencher, QlaeConfig::shapes3d(), PUBLISHED);
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn step(bencher: Bencher) {
        run_step(bencher, QlaeConfig::shapes3d(), PUBLISHED);
    }

    #[divan::bench(sample_count = 100)]
    fn forward_mlp(bencher: Bencher) {
        run_forward(bencher, QlaeConfig::small_mlp(), SMALL);
    }

    #[divan::bench(sample_count = 100)]
    fn step_mlp(bencher: Bencher) {
        run_step(bencher, QlaeConfig::small_mlp(), SMALL);
    }

    #[divan::bench(sample_count = 50)]
    fn step_conv(bencher: Bencher) {
        run_step(bencher, QlaeConfig::small_conv(), SMALL);
    }

    /// Nearest of 10 values for 128 rows of 12 latents.
    #[divan::bench(sample_count = 200)]
    fn quantize(bencher: Bencher) {
        let device = Device::default();
        let model = QlaeConfig::shapes3d().init(&device).unwrap();
        let mut rng = Seed(1).rng();
        let latents: Vec<f32> = (0..128 * 12).map(|_| rng.random::<f32>() - 0.5).collect();
        let latents = Tensor::<2>::from_data(TensorData::new(latents, [128, 12]), &device);
        let quantizer = model.latent.no_grad();
        bencher.bench_local(|| {
            let result = quantizer.forward(latents.clone());
            (
                result.indices.into_data(),
                result.straight_through.into_data(),
            )
        });
    }

    /// 10,000 rows of six sources like those of Shapes3D, and 12 noisy latents.
    fn sample(discrete: bool) -> (Sources, Latents) {
        const ROWS: usize = 10_000;
        let sizes = [10_i64, 10, 10, 8, 4, 15];
        let mut rng = Seed(2).rng();
        let (mut sources, mut latents) = (Vec::new(), Vec::new());
        for _ in 0..ROWS {
            let row = sizes.map(|size| rng.random_range(0..size));
            sources.extend(row);
            for latent in 0..12 {
                let signal = row[latent % 6] as f32 / sizes[latent % 6] as f32;
                let value = signal + 0.3 * rng.random::<f32>();
                latents.push(if discrete {
                    (value * 10.0).floor()
                } else {
                    value
                });
            }
        }
        let sources = Sources::new(ROWS, 6, &sources).unwrap();
        let latents = match discrete {
            true => Latents::discrete(ROWS, 12, &latents),
            false => Latents::continuous(ROWS, 12, &latents),
        };
        (sources, latents.unwrap())
    }

    #[divan::bench(sample_count = 3, sample_size = 1)]
    fn infomec_discrete(bencher: Bencher) {
        let (sources, latents) = sample(true);
        bencher.bench_local(|| infomec(&sources, &latents, &InfomecConfig::default()).unwrap());
    }

    /// The nearest-neighbour estimates alone.
    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn infomec_continuous_without_probe(bencher: Bencher) {
        let (sources, latents) = sample(false);
        let config = InfomecConfig::default().without_probe();
        bencher.bench_local(|| infomec(&sources, &latents, &config).unwrap());
    }
}
