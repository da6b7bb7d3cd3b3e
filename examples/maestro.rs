//! Trains a perceptron as ordered factors and another one as usual, then cuts both: one degrades
//! gracefully, the other falls apart.
//!
//! ```text
//! cargo run -p menagerie-examples --example maestro
//! ```
//!
//! Takes well under a minute and writes `runs/examples/maestro/accuracy.svg`.

use burn::tensor::{Device, Int, Tensor, TensorData};
use menagerie_core::{Result, Seed};
use menagerie_data_image::{ImageSet, Split, mnist};
use menagerie_edge::maestro::{Factored, MaestroConfig, Mlp, MlpConfig, Network, Ranks, Training};
use menagerie_report::Plot;
use menagerie_train::{FitConfig, Progress, Run, Sampler, initialise};
use std::path::Path;

/// Digits `[indices, 1, 28, 28]` and their classes.
fn batch(set: &ImageSet, indices: &[usize], to: &Device) -> Result<(Tensor<4>, Tensor<1, Int>)> {
    let (count, pixels) = (indices.len(), set.to_f32(indices.iter().copied())?);
    let labels: Vec<i64> = indices.iter().map(|at| set.labels()[*at] as i64).collect();
    let images = Tensor::from_data(TensorData::new(pixels, [count, 1, 28, 28]), to);
    Ok((
        images,
        Tensor::from_data(TensorData::new(labels, [count]), to),
    ))
}

/// Trains for 1 000 steps; a layer of factors loses ranks of little importance after each 125.
fn train(name: &str, network: Mlp, set: &ImageSet, folder: &Path) -> anyhow::Result<Mlp> {
    let config = MaestroConfig::new().with_rate(0.02);
    let mut sampler = Sampler::shuffled(8_000, 64, Seed(1))?;
    let batches = |step: usize, to: &Device| batch(set, &sampler.indices(step), to);
    let mut training = Training::new(network, config.clone(), 125, Seed(2), batches)?;
    let run = Run::create(&folder.join(name), &config, true)?;
    let progress = Progress::auto().labelled(name);
    run.fit(&mut training, &FitConfig::new(1_000), &progress)?;
    Ok(training.trained()?)
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let (digits, test) = (mnist(Split::Train)?, mnist(Split::Test)?);
    let folder = Path::new("runs/examples/maestro");
    let (device, tracked) = (Device::default(), Device::default().autodiff());
    let config = MlpConfig::new(vec![784, 96, 64, 10]);
    let dense = initialise(&tracked, Seed(0), || config.init(&tracked))?;
    let ordered = train("ordered", dense.decompose()?, &digits, folder)?;
    let plain = train("plain", dense, &digits, folder)?.decompose()?;

    let shown: Vec<usize> = (0..2_000).collect();
    let (images, labels) = batch(&test, &shown, &device)?;
    let accuracy = |network: &Mlp| -> Result<f64> {
        let scores = network.forward(images.clone(), &Ranks::Full)?;
        let hits = scores.argmax(1).squeeze_dim::<1>(1).equal(labels.clone());
        Ok(f64::from(hits.int().sum().into_scalar::<i32>()) / 20.0)
    };
    let mut lines = [Vec::new(), Vec::new()];
    println!("ranks  numbers  ordered factors  decomposition of the plain network");
    for percent in [5, 10, 20, 30, 50, 100] {
        let cut = |network: &Mlp| -> Result<(usize, f64)> {
            let ranks = network.share(f64::from(percent) / 100.0)?;
            let small = network.truncate(&ranks, true)?;
            Ok((small.numbers(), accuracy(&small)?))
        };
        let ((numbers, ours), (_, theirs)) = (cut(&ordered)?, cut(&plain)?);
        println!("{percent:4} %  {numbers:7}  {ours:13.1} %  {theirs:32.1} %");
        lines[0].push((f64::from(percent), ours));
        lines[1].push((f64::from(percent), theirs));
    }
    let [ours, theirs] = lines;
    Plot::new("What is left of the ranks", "ranks, %", "accuracy, %")
        .line("ordered factors", ours)
        .line("decomposition of the plain network", theirs)
        .write(&folder.join("accuracy.svg"))?;
    Ok(())
}
