//! Forward passes and training steps at the cards' shapes.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Distribution, Tensor};
use divan::Bencher;
use menagerie_core::Seed;

fn main() {
    divan::main();
}

fn random(shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// TopK of 32 of 8,192 latents on 1,024 activations of width 512, selected by gradient.
#[divan::bench_group(name = "gradient_sae")]
mod gradient_sae_benches {
    use super::*;
    use menagerie_nn::sparse::{Pattern, topk};
    use menagerie_sae::gradient_sae::{
        GradientSae, GradientSaeConfig, GradientSaeTrainer, GradientSaeTrainingConfig,
    };
    use menagerie_train::initialise;

    const ROWS: usize = 1_024;
    const WIDTH: usize = 512;

    fn sae(beta: f64, device: &Device) -> GradientSae {
        let config = GradientSaeConfig::new(WIDTH, 8_192, 32).with_beta(beta);
        initialise(device, Seed(0), || config.init(device)).unwrap()
    }

    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn forward(bencher: Bencher) {
        let device = Device::default();
        let sae = sae(0.0, &device);
        let x = random([ROWS, WIDTH], &device);
        bencher.bench_local(|| {
            sae.sae
                .forward(x.clone())
                .unwrap()
                .reconstruction
                .into_data()
        });
    }

    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn forward_by_gradient(bencher: Bencher) {
        let device = Device::default();
        let sae = sae(1.0, &device);
        let x = random([ROWS, WIDTH], &device);
        let g = random([ROWS, WIDTH], &device);
        bencher.bench_local(|| {
            let output = sae.forward(x.clone(), g.clone()).unwrap();
            output.reconstruction.into_data()
        });
    }

    fn run_step(bencher: Bencher, beta: f64) {
        let device = Device::default().autodiff();
        let training = GradientSaeTrainingConfig::new();
        let mut trainer = GradientSaeTrainer::new(sae(beta, &device), &training, Seed(0)).unwrap();
        let x = random([ROWS, WIDTH], &device);
        let g = random([ROWS, WIDTH], &device);
        let mut step = 0;
        bencher.bench_local(|| {
            step += 1;
            trainer
                .step(step, x.clone(), g.clone())
                .unwrap()
                .read()
                .unwrap()
        });
    }

    /// Plain TopK: forward, backward, projection, clipping, Adam, renormalisation.
    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn step(bencher: Bencher) {
        run_step(bencher, 0.0);
    }

    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn step_by_gradient(bencher: Bencher) {
        run_step(bencher, 1.0);
    }

    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn topk_rows(bencher: Bencher) {
        let x = random([ROWS, 8_192], &Device::default());
        bencher.bench_local(|| topk(x.clone(), 32).0.into_data());
    }

    /// 32 per row on average, the largest of all rows.
    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn topk_of_all(bencher: Bencher) {
        let x = random([ROWS, 8_192], &Device::default());
        bencher.bench_local(|| Pattern::topk_of_all(&x, 32 * ROWS).len());
    }
}

/// TopK of 32 of 24,576 latents on 4,096 activations of width 768 (GPT-2 small), Gemma Scope's
/// JumpReLU on 4,096 of width 2,304, and the collection of activations from GPT-2 small.
#[divan::bench_group(name = "sae_base")]
mod sae_base_benches {
    use super::*;
    use burn::tensor::{Int, TensorData};
    use menagerie_nn::sparse::{Pattern, weighted_rows};
    use menagerie_sae::{
        activations::{HookedModel, Probe},
        host::{HookPoint, LanguageModelConfig},
        sae::{
            Activation, Initialization, SaeConfig, SparseAutoencoder,
            training::{SaeTrainer, SaeTrainingConfig},
        },
    };
    use menagerie_train::initialise;

    const ROWS: usize = 4_096;
    const WIDTH: usize = 768;
    const LATENTS: usize = 24_576;
    const K: usize = 32;

    fn sae(config: &SaeConfig, device: &Device) -> SparseAutoencoder {
        initialise(device, Seed(0), || config.init(device)).unwrap()
    }

    fn topk() -> SaeConfig {
        SaeConfig::new(WIDTH, LATENTS, Activation::topk(K))
            .with_initialization(Initialization::FixedNorm(1.0))
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn forward(bencher: Bencher) {
        let device = Device::default();
        let sae = sae(&topk(), &device);
        let x = random([ROWS, WIDTH], &device);
        bencher.bench_local(|| sae.forward(x.clone()).unwrap().reconstruction.into_data());
    }

    /// dictionary_learning's TopK: forward, backward, projection, clipping, Adam, renormalisation.
    #[divan::bench(sample_count = 3, sample_size = 1)]
    fn step(bencher: Bencher) {
        let device = Device::default().autodiff();
        let config = topk();
        let training = SaeTrainingConfig::topk(&config, 10_000);
        let mut trainer = SaeTrainer::new(sae(&config, &device), training, Seed(0)).unwrap();
        let x = random([ROWS, WIDTH], &device);
        let mut step = 0;
        bencher.bench_local(|| {
            step += 1;
            trainer.step(step, x.clone(), None).unwrap().read().unwrap()
        });
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn forward_jump_relu(bencher: Bencher) {
        let device = Device::default();
        let sae = sae(&SaeConfig::gemma_scope(2_304, 16_384), &device);
        let x = random([ROWS, 2_304], &device);
        bencher.bench_local(|| sae.forward(x.clone()).unwrap().reconstruction.into_data());
    }

    /// The 32 dictionary vectors of every row, gathered and summed.
    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn decode_by_gathering(bencher: Bencher) {
        let device = Device::default();
        let pattern = Pattern::topk(&random([ROWS, LATENTS], &device), K);
        let values = Tensor::<1>::ones([ROWS * K], &device);
        let decoder = random([LATENTS, WIDTH], &device);
        bencher
            .bench_local(|| weighted_rows(values.clone(), decoder.clone(), &pattern).into_data());
    }

    /// The same as a product with the matrix of all latents, most of them 0.
    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn decode_densely(bencher: Bencher) {
        let device = Device::default();
        let (z, decoder) = (
            random([ROWS, LATENTS], &device),
            random([LATENTS, WIDTH], &device),
        );
        bencher.bench_local(|| {
            menagerie_nn::transformer::linear(z.clone(), decoder.clone(), None).into_data()
        });
    }

    /// BatchTopK's selection: the 32 · 4,096 largest of 100 million.
    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn batch_topk(bencher: Bencher) {
        let h = random([ROWS, LATENTS], &Device::default());
        bencher.bench_local(|| Pattern::topk_of_all(&h, K * ROWS).len());
    }

    fn collect(bencher: Bencher, gradients: bool) {
        let device = Device::default();
        let config = LanguageModelConfig::gpt2_small();
        let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
        let hook = HookPoint::parse("blocks.8.hook_resid_pre", &config).unwrap();
        let mut probe = HookedModel::new(&model, "gpt2", hook).unwrap();
        if gradients {
            probe = probe.with_gradients();
        }
        let tokens: Vec<i64> = (0..4 * 128).map(|place| place * 97 % 50_257).collect();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [4, 128]), &device);
        bencher.bench_local(|| probe.read(tokens.clone()).unwrap().0.into_data());
    }

    /// Activations of 4 windows of 128 tokens before block 8.
    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn collect_activations(bencher: Bencher) {
        collect(bencher, false);
    }

    /// The same with the gradient of the loss at each.
    #[divan::bench(sample_count = 3, sample_size = 1)]
    fn collect_with_gradients(bencher: Bencher) {
        collect(bencher, true);
    }
}

/// The card's shapes with fewer rows (15,000 for 150,000) and fewer steps (16 for 82).
#[divan::bench_group(name = "sae_dark_matter")]
mod dark_matter_benches {
    use super::*;
    use menagerie_sae::sae_dark_matter::{
        LeastSquaresConfig, PursuitConfig, Split, decompose, gradient_pursuit, least_squares,
    };

    const WIDTH: usize = 2_304;
    const ROWS: usize = 15_000;

    fn all(rows: usize) -> Split {
        Split::new((0..rows).collect(), rows - 1, 1).unwrap()
    }

    /// 15,000 × 2,304 → 2,304 in `f64`.
    #[divan::bench(sample_count = 3, sample_size = 1)]
    fn least_squares_error(bencher: Bencher) {
        let device = Device::default();
        let (x, y) = (
            random([ROWS, WIDTH], &device),
            random([ROWS, WIDTH], &device),
        );
        let (split, config) = (all(ROWS), LeastSquaresConfig::new());
        bencher.bench_local(|| least_squares(x.clone(), y.clone(), &split, &config).unwrap());
    }

    /// 15,000 × 2,304 → 1, as for a norm.
    #[divan::bench(sample_count = 3, sample_size = 1)]
    fn least_squares_norm(bencher: Bencher) {
        let device = Device::default();
        let (x, y) = (random([ROWS, WIDTH], &device), random([ROWS, 1], &device));
        let (split, config) = (all(ROWS), LeastSquaresConfig::new());
        bencher.bench_local(|| least_squares(x.clone(), y.clone(), &split, &config).unwrap());
    }

    /// Probe, parts and scores of 48,000 rows of the small reproduction.
    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn decompose_small(bencher: Bencher) {
        let device = Device::default();
        let x = random([48_000, 64], &device);
        let reconstruction = x.clone() * 0.9 + random([48_000, 64], &device) * 0.1;
        let split = Split::draw(48_000, 28_800, 19_200, Seed(0)).unwrap();
        let config = LeastSquaresConfig::new();
        bencher.bench_local(|| {
            decompose(x.clone(), reconstruction.clone(), &split, &config)
                .unwrap()
                .r2
        });
    }

    /// 16 steps of 256 rows with 16,384 vectors of width 2,304.
    #[divan::bench(sample_count = 3, sample_size = 1)]
    fn pursuit(bencher: Bencher) {
        let device = Device::default();
        let (dictionary, signal) = (
            random([16_384, WIDTH], &device),
            random([256, WIDTH], &device),
        );
        let targets = [16; 256];
        let config = PursuitConfig::new();
        bencher.bench_local(|| {
            gradient_pursuit(dictionary.clone(), signal.clone(), &targets, &config)
                .unwrap()
                .l0()
        });
    }
}
