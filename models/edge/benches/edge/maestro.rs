//! A linear layer of 1024×1024 on 128 rows, dense and at ranks 64, 256 and 1024, and on 2048 rows,
//! where handing out the work counts for nothing; LeNet's step; the lasso.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Int, Tensor};
use divan::Bencher;
use menagerie_core::Seed;
use menagerie_edge::maestro::{
    Factored, LeNet, LeNetConfig, MaestroConfig, Mlp, MlpConfig, Network, Ranks, Training,
    group_lasso, optimizer,
};
use menagerie_train::{Procedure, initialise};

const WIDTH: usize = 1_024;
const ROWS: usize = 128;
const TALL: usize = 2_048;

fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// The layer at a rank; dense without one.
fn layer(rank: Option<usize>, device: &Device) -> Mlp {
    let config = MlpConfig::new(vec![WIDTH, WIDTH]);
    let dense = initialise(device, Seed(0), || config.init(device)).unwrap();
    match rank {
        None => dense,
        Some(rank) => dense.redraw().extract(&Ranks::Each(vec![rank]), false),
    }
}

fn forward(bencher: Bencher, rank: Option<usize>, rows: usize) {
    let device = Device::default();
    let (layer, rows) = (layer(rank, &device), normal([rows, WIDTH], &device));
    bencher.bench_local(|| {
        let y = layer.forward_rows(rows.clone(), &Ranks::Full).unwrap();
        y.into_data()
    });
}

/// Forward and the gradients of the factors.
fn backward(bencher: Bencher, rank: Option<usize>) {
    let device = Device::default().autodiff();
    let (layer, rows) = (layer(rank, &device), normal([ROWS, WIDTH], &device));
    let _ = layer.num_params();
    bencher.bench_local(|| {
        let y = layer.forward_rows(rows.clone(), &Ranks::Full).unwrap();
        GradientsParams::from_grads(y.sum().backward(), &layer)
    });
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn linear_dense(bencher: Bencher) {
    forward(bencher, None, ROWS);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn linear_tall_dense(bencher: Bencher) {
    forward(bencher, None, TALL);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn linear_tall_64(bencher: Bencher) {
    forward(bencher, Some(64), TALL);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn linear_tall_256(bencher: Bencher) {
    forward(bencher, Some(256), TALL);
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn linear_64(bencher: Bencher) {
    forward(bencher, Some(64), ROWS);
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn linear_256(bencher: Bencher) {
    forward(bencher, Some(256), ROWS);
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn linear_1024(bencher: Bencher) {
    forward(bencher, Some(1_024), ROWS);
}

#[divan::bench(sample_count = 30, sample_size = 1)]
fn linear_dense_backward(bencher: Bencher) {
    backward(bencher, None);
}

#[divan::bench(sample_count = 30, sample_size = 1)]
fn linear_64_backward(bencher: Bencher) {
    backward(bencher, Some(64));
}

#[divan::bench(sample_count = 30, sample_size = 1)]
fn linear_256_backward(bencher: Bencher) {
    backward(bencher, Some(256));
}

#[divan::bench(sample_count = 30, sample_size = 1)]
fn linear_1024_backward(bencher: Bencher) {
    backward(bencher, Some(1_024));
}

fn lenet(device: &Device) -> LeNet {
    let config = LeNetConfig::new();
    initialise(device, Seed(0), || config.init(device)).unwrap()
}

fn lenet_forward(bencher: Bencher, share: Option<f64>) {
    let device = Device::default();
    let dense = lenet(&device);
    let network = match share {
        None => dense,
        Some(share) => {
            let factored = dense.decompose().unwrap();
            let ranks = factored.share(share).unwrap();
            factored.extract(&ranks, true)
        }
    };
    let images = normal([ROWS, 1, 28, 28], &device);
    bencher.bench_local(|| {
        let scores = network.forward(images.clone(), &Ranks::Full).unwrap();
        scores.into_data()
    });
}

/// 128 digits through the dense LeNet.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn lenet_dense(bencher: Bencher) {
    lenet_forward(bencher, None);
}

/// 128 digits through a LeNet of a fifth of the ranks.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn lenet_20(bencher: Bencher) {
    lenet_forward(bencher, Some(0.2));
}

/// Forward at a sampled rank, lasso, backward, descent with momentum: 128 digits.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn lenet_step(bencher: Bencher) {
    let device = Device::default().autodiff();
    let network = lenet(&device).decompose().unwrap();
    let images = normal([ROWS, 1, 28, 28], &device);
    let labels = Tensor::<1, Int>::arange(0..ROWS as i64, &device).remainder_scalar(10);
    let batch = |_: usize, _: &Device| Ok((images.clone(), labels.clone()));
    // No epoch ends, at which ranks would be looked at.
    let steps = 1_000_000;
    let mut training = Training::new(network, MaestroConfig::new(), steps, Seed(0), batch).unwrap();
    let mut step = 0;
    bencher.bench_local(|| {
        step += 1;
        training.step(step).unwrap().read().unwrap()
    });
}

/// The hierarchical lasso of LeNet with its gradients and a step of descent.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn lasso(bencher: Bencher) {
    let device = Device::default().autodiff();
    let mut network = lenet(&device).decompose().unwrap();
    let config = MaestroConfig::new();
    let mut optimiser = optimizer(&config);
    bencher.bench_local(|| {
        let lasso = group_lasso(&network, true).unwrap() * config.lambda;
        let gradients = GradientsParams::from_grads(lasso.backward(), &network);
        network = optimiser.step(config.rate, network.clone(), gradients);
    });
}
