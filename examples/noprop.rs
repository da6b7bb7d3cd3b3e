//! Trains the blocks of a digit classifier one by one, none of which ever sees another one's output,
//! then runs them as a chain: noise becomes a label.
//!
//! ```text
//! cargo run -p menagerie-examples --example noprop
//! ```
//!
//! Takes under a minute and writes `runs/examples/noprop/chain.svg`.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_image::{ImageSet, Split, mnist};
use menagerie_local_learning::noprop::{
    DtConfig, Embedding, Labelled, NetworkConfig, NoPropDt, Training, TrainingConfig,
};
use menagerie_report::Plot;
use menagerie_train::{FitConfig, Metrics, Progress, Run, Sampler, initialise};
use std::path::Path;

const BATCH: usize = 64;
const DIGITS: usize = 6_400;

/// Digits `[indices, 1, 28, 28]` with their classes.
fn batch(set: &ImageSet, indices: &[usize], device: &Device) -> Result<Labelled> {
    let pixels = set.to_f32(indices.iter().copied())?;
    let shape = [indices.len(), 1, 28, 28];
    Ok(Labelled {
        images: Tensor::from_data(TensorData::new(pixels, shape), device),
        labels: indices.iter().map(|at| set.labels()[*at]).collect(),
    })
}

/// The share of digits that are right, in percent, after each step of the chain.
fn accuracies(model: &NoPropDt, test: &Labelled) -> Result<Vec<f64>> {
    let trajectory = model.trajectory(test.images.clone(), Seed(9))?;
    let right = |z: &Tensor<2>| {
        let found: Tensor<1, Int> = model.readout.scores(z.clone()).argmax(1).squeeze_dim(1);
        let found = found.try_into_vec_as::<i64>();
        let found = found.map_err(|error| Error::other("reading classes", error))?;
        let pairs = found.iter().zip(&test.labels);
        let right = pairs.filter(|(a, b)| **a == **b as i64).count();
        Ok(100.0 * right as f64 / found.len() as f64)
    };
    trajectory.z.iter().map(right).collect()
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let (digits, test) = (mnist(Split::Train)?, mnist(Split::Test)?);
    let test = batch(&test, &(0..1_000).collect::<Vec<_>>(), &Device::default())?;
    let folder = Path::new("runs/examples/noprop");
    let device = Device::default().autodiff();
    let config = DtConfig::new(NetworkConfig::small(Embedding::OneHot)).with_steps(3);
    let model = initialise(&device, Seed(0), || config.init(&device))?;
    let untrained = accuracies(&model.valid(), &test)?;

    let settings = TrainingConfig::new().with_batch(BATCH);
    let mut sampler = Sampler::shuffled(DIGITS, BATCH, Seed(1))?;
    let batches = |step: usize, device: &Device| batch(&digits, &sampler.indices(step), device);
    let pass = DIGITS / BATCH;
    let mut training = Training::new(model, &settings, pass, Seed(2), batches)?
        .evaluating(|model, _| Ok(Metrics::new().with("right_%", accuracies(model, &test)?[2])));
    // Two passes over the digits for each of the three blocks.
    let steps = FitConfig::new(2 * 3 * pass);
    let run = Run::create(folder, &config, true)?;
    run.fit(&mut training, &steps, &Progress::auto())?;

    let trained = accuracies(&training.trained()?, &test)?;
    println!("step of the chain  untrained  trained");
    for (step, (before, after)) in untrained.iter().zip(&trained).enumerate() {
        println!("{:17}  {before:7.1} %  {after:5.1} %", step + 1);
    }
    let line = |values: Vec<f64>| (1..).map(f64::from).zip(values).collect::<Vec<_>>();
    Plot::new("From noise to the label", "step of the chain", "right, %")
        .line("untrained", line(untrained))
        .line("each block trained alone", line(trained))
        .write(&folder.join("chain.svg"))?;
    Ok(())
}
