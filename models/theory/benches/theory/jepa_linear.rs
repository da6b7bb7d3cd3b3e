//! 64 features and three layers: steps of the flow in double precision, and a batch of 3 200 pairs on
//! the device.

use burn::optim::SgdConfig;
use burn::tensor::Device;
use divan::Bencher;
use menagerie_core::Seed;
use menagerie_theory::jepa_linear::{
    Chain, Covariances, DynamicsConfig, Feature, JepaLinearConfig, Kind, Method, Pairs, Source,
    critical_time, draw_pairs,
};
use menagerie_train::{Procedure, Supervised};

const SIZE: usize = 64;
const ROWS: usize = 3_200;

fn config() -> JepaLinearConfig {
    JepaLinearConfig::square(Kind::Jepa, SIZE, 3)
}

fn features() -> Vec<Feature> {
    (0..SIZE)
        .map(|at| Feature::new(1.0, 0.3 + 0.01 * at as f64).unwrap())
        .collect()
}

fn steps(bencher: Bencher, method: Method) {
    let covariances = Covariances::diagonal(&features());
    let start = Chain::balanced(&config(), 0.01, Seed(0)).unwrap();
    bencher.bench_local(|| {
        (0..100).fold(start.clone(), |chain, _| {
            chain.stepped(&covariances, method, 0.1)
        })
    });
}

/// 100 of the card's 10 000 steps of Runge and Kutta.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn runge_kutta_100(bencher: Bencher) {
    steps(bencher, Method::RungeKutta);
}

/// 100 steps of gradient descent on the covariances.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn descent_100(bencher: Bencher) {
    steps(bencher, Method::Descent);
}

fn pairs(device: &Device) -> Pairs {
    let sources: Vec<Source> = features()
        .into_iter()
        .map(|f| Source::of(f).unwrap())
        .collect();
    let [x, y] = draw_pairs(&sources, ROWS, None, Seed(0)).unwrap();
    Pairs {
        x: x.tensor(device),
        y: y.tensor(device),
    }
}

/// Predictions of 3 200 latents.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn forward(bencher: Bencher) {
    let device = Device::default();
    let chain = Chain::balanced(&config(), 0.01, Seed(0)).unwrap();
    let (model, x) = (chain.network(&config(), &device).unwrap(), pairs(&device).x);
    bencher.bench_local(|| model.predict(x.clone()).unwrap().into_data());
}

/// Loss, gradients and a step of plain descent on 3 200 pairs.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn step(bencher: Bencher) {
    let device = Device::default().autodiff();
    let chain = Chain::balanced(&config(), 0.01, Seed(0)).unwrap();
    let (model, pairs) = (chain.network(&config(), &device).unwrap(), pairs(&device));
    let batches = |_: usize, _: &Device| Ok(pairs.clone());
    let mut training = Supervised::new(model, SgdConfig::new().init(), 0.05, batches);
    let mut step = 0;
    bencher.bench_local(|| {
        step += 1;
        training.step(step).unwrap().read().unwrap()
    });
}

/// A thousand critical times in closed form.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn critical_times(bencher: Bencher) {
    let law = DynamicsConfig::deep(Kind::Mae);
    let features = features();
    bencher.bench_local(|| {
        let times = (0..1_000).map(|at| critical_time(&law, features[at % SIZE], 0.5).unwrap());
        times.sum::<f64>()
    });
}
