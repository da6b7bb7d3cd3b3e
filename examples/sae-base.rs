//! Trains ReLU + L1 and TopK on sums of 96 known directions, and shows how many of them each
//! dictionary holds, and how much it shrinks what it reconstructs.
//!
//! `cargo run -p menagerie-examples --example sae-base` takes well under a minute.

use anyhow::Result;
use burn::{module::Module, tensor::Device};
use menagerie_core::Seed;
use menagerie_sae::{
    activations::{ActivationBuffer, BufferConfig, RowSource, Rows},
    sae::{
        Activation, Initialization, SaeConfig, SaeRun,
        metrics::{max_cosines, quality},
        training::{DeadRule, RateSchedule, SaeTrainer, SaeTrainingConfig},
    },
    sae_base::DictionaryConfig,
};
use menagerie_train::{FitConfig, Progress, Run, initialise};
use std::path::Path;

const STEPS: usize = 1_500;

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let device = Device::default();
    let dictionary = DictionaryConfig::new().init(Seed(0), &device)?;
    let rows = Rows::from_tensor(dictionary.sample(20_000, Seed(1)))?;
    let held_out = dictionary.sample(5_000, Seed(2));

    println!("96 directions in 32 dimensions, 4 of them active at a time; 128 latents");
    let rate = RateSchedule::Constant { rate: 1e-3 };
    for (name, activation) in [
        ("ReLU + L1", Activation::Relu),
        ("TopK", Activation::topk(4)),
    ] {
        let config =
            SaeConfig::new(32, 128, activation).with_initialization(Initialization::FixedNorm(1.0));
        let training = match activation {
            // The coefficient at which about 4 latents are active.
            Activation::Relu => SaeTrainingConfig::l1(0.5, 1e-3, STEPS),
            _ => SaeTrainingConfig::topk(&config, STEPS).with_dead(DeadRule::Steps(100)),
        };
        let training = SaeTrainingConfig {
            rate: rate.clone(),
            ..training
        };
        let autodiff = device.clone().autodiff();
        let sae = initialise(&autodiff, Seed(3), || config.init(&autodiff))?;
        let trainer = SaeTrainer::new(sae, training.clone(), Seed(4))?;

        let source = RowSource::new(rows.clone(), 1_024, 100)?;
        let batches = ActivationBuffer::new(source, &BufferConfig::new(20_000, 1_024), Seed(5))?;
        let mut procedure = SaeRun::new(trainer, batches)?;
        // The folder keeps the run: starting the example again shows its result at once.
        let folder = Path::new("runs/examples/sae-base").join(name);
        let run = Run::create(&folder, &(&config, &training), true)?;
        run.fit(
            &mut procedure,
            &FitConfig::new(STEPS),
            &Progress::auto().labelled(name),
        )?;

        let sae = procedure.into_trainer().trained().valid();
        let found = quality(&sae, held_out.clone(), 5_000)?;
        let cosines = max_cosines(dictionary.features.clone(), sae.decoder.val())?;
        let held = cosines.iter().filter(|&&cosine| cosine > 0.9).count();
        println!(
            "{name:9} {:.1} latents active, {:.1} % of the variance unexplained, norms {:.2} of the \
             true ones; {held} of 96 directions found",
            found.l0,
            100.0 * found.fvu,
            found.norm_ratio
        );
    }
    Ok(())
}
