//! Trains TopK and g-SAE on a task whose head reads 16 of 64 features, and shows which of them each
//! dictionary has learned.
//!
//! `cargo run -p menagerie-examples --example gradient-sae` takes well under a minute.

use anyhow::Result;
use burn::{module::Module, tensor::Device};
use menagerie_core::Seed;
use menagerie_sae::activations::{ActivationBuffer, BufferConfig, RowSource, Rows};
use menagerie_sae::gradient_sae::{
    GradientSae, GradientSaeConfig, GradientSaeTrainer, GradientSaeTrainingConfig,
    procedural::TaskConfig,
};
use menagerie_train::{FitConfig, Progress, Run, initialise};
use std::path::Path;

const STEPS: usize = 600;

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let device = Device::default();
    let task = TaskConfig::default().init(Seed(0), &device)?;
    let train = task.sample(20_000, Seed(1));
    let test = task.sample(2_000, Seed(2));
    let clean = task.loss(test.x.clone(), test.labels.clone());
    let gradients = Rows::from_tensor(train.g)?;
    let rows = Rows::from_tensor(train.x)?.with_paired(32, gradients.x().to_vec())?;

    println!("4 latents per row where 8 features are active; the head reads 16 of 64 features");
    for (name, beta) in [("TopK", 0.0), ("g-SAE", 1.0)] {
        let config = GradientSaeConfig::new(32, 128, 4).with_beta(beta);
        let autodiff = device.clone().autodiff();
        let sae = initialise(&autodiff, Seed(3), || config.init(&autodiff))?;
        let training = GradientSaeTrainingConfig::small().with_steps(STEPS);
        let trainer = GradientSaeTrainer::new(sae, &training, Seed(4))?;

        // Activation and gradient of a row stay together while the rows are mixed.
        let source = RowSource::new(rows.clone(), 1_024, 40)?;
        let batches = ActivationBuffer::new(source, &BufferConfig::new(20_000, 1_024), Seed(5))?;
        let mut procedure = trainer.run(batches)?;
        // The folder keeps the run: starting the example again shows its result at once.
        let folder = Path::new("runs/examples/gradient-sae").join(name);
        let run = Run::create(&folder, &(&config, &training), true)?;
        let progress = Progress::auto().labelled(name);
        run.fit(&mut procedure, &FitConfig::new(STEPS), &progress)?;

        let sae = GradientSae::from_sae(procedure.into_trainer().sae.valid(), config)?;
        let codes = sae.encode(test.x.clone(), test.g.clone())?;
        let loss = task.loss(sae.decode(&codes)?, test.labels.clone());
        let [read, other] = task.recovered(sae.sae.decoder.val());
        println!(
            "{name:6} task loss {clean:.3} -> {loss:.3}   cosine with the dictionary: features \
             that are read {read:.2}, others {other:.2}"
        );
    }
    Ok(())
}
