//! The published MovieLens settings at 4096 rows of three fields: the forward pass, a training step with
//! gradients of looked-up rows (beside PyTorch in FuxiCTR's form, and again beside PyTorch with the heads as
//! a batch), and one with dense gradients of tables.

use burn::optim::AdamConfig;
use burn::tensor::Device;
use divan::Bencher;
use menagerie_core::Seed;
use menagerie_series::final_mlp::{
    ClickModel, FinalMlp, FinalMlpConfig, Fit, Impressions, MOVIELENS, TrainingConfig,
};
use menagerie_train::{Procedure, Supervised, initialise};
use rand::RngExt;

const ROWS: usize = 4096;

fn impressions() -> Impressions {
    let mut rng = Seed(0).rng();
    let rows = 0..ROWS;
    let ids = rows.flat_map(|_| MOVIELENS.map(|(_, size)| rng.random_range(1..size as u32)));
    let ids = ids.collect();
    let labels = (0..ROWS).map(|row| row % 2 == 0).collect();
    let fields = FinalMlpConfig::movielens().fields;
    Impressions::new(fields, ids, Vec::new(), labels).unwrap()
}

fn model(device: &Device) -> FinalMlp {
    initialise(device, Seed(0), || FinalMlpConfig::movielens().init(device)).unwrap()
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn forward(bencher: Bencher) {
    let device = Device::default();
    let (model, rows) = (model(&device), impressions());
    let places: Vec<usize> = (0..ROWS).collect();
    let batch = rows.batch(&places, &device, None);
    bencher.bench_local(|| model.forward(&batch).unwrap().into_data());
}

fn rowwise(bencher: Bencher) {
    let device = Device::default().autodiff();
    let rows = impressions();
    let training = TrainingConfig::published();
    let mut fit = Fit::new(model(&device), &training, &rows, None, Seed(0)).unwrap();
    let mut at = 0;
    bencher.bench_local(|| {
        at += 1;
        fit.step(at).unwrap().read().unwrap()
    });
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn step(bencher: Bencher) {
    rowwise(bencher);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn step_grouped(bencher: Bencher) {
    rowwise(bencher);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn step_dense(bencher: Bencher) {
    let device = Device::default().autodiff();
    let rows = impressions();
    let places: Vec<usize> = (0..ROWS).collect();
    let batches = |step: usize, to: &Device| Ok(rows.batch(&places, to, Some(Seed(step as u64))));
    let optimizer = AdamConfig::new().with_epsilon(1e-8).init();
    let fit = Supervised::new(model(&device), optimizer, 1e-3, batches);
    let mut fit = fit.clipping(10.0).unwrap();
    let mut at = 0;
    bencher.bench_local(|| {
        at += 1;
        fit.step(at).unwrap().read().unwrap()
    });
}
