//! The MNIST neural ODE at batch 512 and a tolerance of 1e-6: solve, solve with gradient by either
//! adjoint, and a training step with the local regulariser; in both precisions. The same solve on the
//! layers as they are, and the neural SDE's and the latent ODE's forward passes.

use burn::tensor::{DType, Device, Distribution, Tensor, TensorData};
use divan::Bencher;
use menagerie_core::{Seed, device::seeded};
use menagerie_nn::ode::{ModuleField, Request, Tsit5};
use menagerie_series::local_reg_nde::{
    Adjoint, Fit, Labelled, LatentOdeConfig, Learning, NeuralOde, NodeConfig, NsdeConfig,
    Precision, RegularizerConfig, SignalsConfig, SolverConfig, TimeChain, Trainable,
    TrainingConfig,
};
use menagerie_train::{Procedure, initialise};

const BATCH: usize = 512;
const TOLERANCE: f64 = 1e-6;

fn config(precision: Precision) -> NodeConfig {
    NodeConfig::new(784, 100, SolverConfig::new(TOLERANCE)).with_precision(precision)
}

fn node(precision: Precision, device: &Device) -> NeuralOde {
    initialise(device, Seed(0), || config(precision).init(device)).unwrap()
}

fn images(device: &Device) -> Labelled<2> {
    let device = device.clone().without_autodiff();
    let labels: Vec<i64> = (0..BATCH as i64).map(|at| at % 10).collect();
    Labelled {
        images: seeded(&device, Seed(1), || {
            Tensor::random([BATCH, 784], Distribution::Uniform(0.0, 1.0), &device)
        }),
        labels: Tensor::from_data(TensorData::new(labels, [BATCH]), &device),
    }
}

fn solve(bencher: Bencher, precision: Precision) {
    let device = Device::default();
    let (model, images) = (node(precision, &device), images(&device).images);
    bencher.bench_local(|| model.forward(images.clone()).unwrap().logits.into_data());
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn solve_f64(bencher: Bencher) {
    solve(bencher, Precision::Double);
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn solve_f32(bencher: Bencher) {
    solve(bencher, Precision::Single);
}

/// The field layer by layer, as a solver sees any other.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn solve_layers_f64(bencher: Bencher) {
    let device = Device::default();
    let (model, images) = (node(Precision::Double, &device), images(&device).images);
    let images = images.cast(DType::F64);
    let field = ModuleField::new(&model.dynamics, |chain: &TimeChain, u, t| {
        chain.forward(u, t)
    });
    let solver = Tsit5::with_both(TOLERANCE);
    bencher.bench_local(|| {
        let solution = solver.solve(&field, images.clone(), [0.0, 1.0], Request::default());
        model.classify(solution.unwrap().end).into_data()
    });
}

fn gradient(bencher: Bencher, precision: Precision, adjoint: Adjoint) {
    let device = Device::default().autodiff();
    let (model, batch) = (node(precision, &device), images(&device));
    let learning = Learning {
        regularizer: RegularizerConfig::vanilla(),
        weight: 0.0,
        adjoint,
        time: 0.0,
        step: 0,
        seed: Seed(0),
    };
    bencher.bench_local(|| model.learn(&batch, &learning).unwrap().numbers);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn gradient_f64(bencher: Bencher) {
    gradient(bencher, Precision::Double, Adjoint::Discrete);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn gradient_f32(bencher: Bencher) {
    gradient(bencher, Precision::Single, Adjoint::Discrete);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn gradient_continuous_f64(bencher: Bencher) {
    gradient(bencher, Precision::Double, Adjoint::Continuous);
}

/// A training step with the error of one step from a random time, Adam included.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn step_local_f64(bencher: Bencher) {
    let device = Device::default().autodiff();
    let (model, batch) = (node(Precision::Double, &device), images(&device));
    let training = TrainingConfig::new(100, BATCH, 1e-3, RegularizerConfig::new());
    let batches = |_: usize, _: &Device| Ok(batch.clone());
    let mut fit = Fit::new(model, &training, batches).unwrap();
    let mut at = 0;
    bencher.bench_local(|| {
        at += 1;
        fit.step(at).unwrap().read().unwrap()
    });
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn sde_f32(bencher: Bencher) {
    let device = Device::default();
    let config = NsdeConfig::mnist();
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    let images = images(&device).images;
    bencher.bench_local(|| {
        let prediction = model.forward(images.clone(), Seed(2)).unwrap();
        prediction.logits.into_data()
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn latent_f64(bencher: Bencher) {
    let device = Device::default();
    let config = LatentOdeConfig {
        solver: SolverConfig::new(TOLERANCE),
        ..LatentOdeConfig::physionet()
    };
    let model = initialise(&device, Seed(0), || config.init(&device)).unwrap();
    let signals = SignalsConfig::new().with_variables(37).with_times(49);
    let signals = signals.draw(Seed(1)).unwrap();
    let numbers: Vec<usize> = (0..64).collect();
    let series = signals.series(&numbers, Seed(2), &device);
    bencher.bench_local(|| model.impute(&series).unwrap().predicted.into_data());
}
