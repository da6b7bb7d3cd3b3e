//! Trains a deep residual stack and its shallow expansion on garments, and shows how far both are
//! apart.
//!
//! ```text
//! cargo run -p menagerie-examples --example shallow
//! ```
//!
//! Takes well under a minute and writes `runs/examples/shallow/loss.svg`.

use burn::tensor::Device;
use menagerie_core::Seed;
use menagerie_data_image::{Split, fashion_mnist};
use menagerie_report::Plot;
use menagerie_theory::shallow::{
    Form, LabelledImages, Objective, ShallowConfig, TrainingConfig, evaluate,
};
use menagerie_train::{FitConfig, Progress, Run, Sampler, Supervised, initialise};
use std::path::Path;

const LOSS: Objective = Objective::CrossEntropy;

/// The first images of a split, every other row and column of them.
fn images(split: Split, count: usize) -> anyhow::Result<LabelledImages> {
    let set = fashion_mnist(split)?;
    let pixels = set.to_f32(0..count)?;
    let kept = pixels
        .chunks_exact(784)
        .flat_map(|image| (0..196).map(move |at| image[at / 14 * 2 * 28 + at % 14 * 2]));
    let labels = set.labels().iter().copied().take(count);
    Ok(LabelledImages::new(
        kept.collect(),
        [1, 14, 14],
        labels.collect(),
    )?)
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let (train, test) = (images(Split::Train, 3_000)?, images(Split::Test, 1_000)?);
    let tracked = Device::default().autodiff();
    let folder = Path::new("runs/examples/shallow");
    let training = TrainingConfig::new();
    let mut plot = Plot::new("Four layers, deep and shallow", "step", "training loss");
    println!("form        test loss  accuracy  gap");
    for form in [Form::Sequential, Form::Parallel] {
        let config = ShallowConfig::new(1, 14, 4, 4).with_form(form);
        // The same weights for both.
        let model = initialise(&tracked, Seed(0), || config.init(&tracked))?;
        let mut sampler = Sampler::shuffled(train.len(), training.batch, Seed(1))?;
        let batches = |step: usize, to: &Device| Ok(train.batch(&sampler.indices(step), LOSS, to));
        let optimizer = training.optimizer()?;
        let mut fit = Supervised::new(model, optimizer, training.rate, batches);
        let name = format!("{form:?}").to_lowercase();
        let run = Run::create(&folder.join(&name), &config, true)?;
        run.fit(
            &mut fit,
            &FitConfig::new(400),
            &Progress::auto().labelled(&name),
        )?;

        let model = fit.trained()?;
        let metrics = evaluate(&model, &test, LOSS)?;
        let seen = test.batch(&[0, 1, 2, 3, 4, 5, 6, 7], LOSS, &tracked).images;
        let gap = model.expansion_gap(seen)?.mean().into_scalar::<f32>();
        let value = |name| metrics.get(name).unwrap_or(f64::NAN);
        println!(
            "{name:10}  {:9.3}  {:8.3}  {gap:.3}",
            value("loss"),
            value("accuracy")
        );
        let history = run.history()?;
        let points = history
            .iter()
            .filter(|r| r.split == menagerie_train::Split::Train);
        let points = points.filter_map(|r| Some((r.step as f64, r.metrics.get("loss")?)));
        plot = plot.line(name, points);
    }
    plot.write(&folder.join("loss.svg"))?;
    Ok(())
}
