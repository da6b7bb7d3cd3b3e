//! g-SAE against TopK at equal sparsity, from the same weights on the same batches: inside a small
//! character model, and on a procedural task with a known mechanism.

mod language;
mod present;
mod task;

use crate::{Context, Recipe, Scale, sae::host::Host};
use language::Language;
use menagerie_core::Seed;
use menagerie_report::Report;
use menagerie_sae::gradient_sae::{
    self, GradientSaeConfig, GradientSaeTrainingConfig, procedural::TaskConfig,
};
use task::Procedural;

/// The recipe behind `cargo xtask reproduce gradient-sae`.
pub const RECIPE: Recipe = Recipe {
    system: &gradient_sae::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let (language, task) = match context.scale {
        Scale::Small => small(context),
        Scale::Paper => paper(context),
    };
    let in_language = language.run(context)?;
    let on_task = task.run(context)?;
    Ok(present::report(
        context,
        &language,
        &in_language,
        &task,
        &on_task,
    )?)
}

/// The strengths that decide: plain TopK and β = 1.
const DECIDING: [f64; 2] = [0.0, 1.0];
/// The sparsities at which the claims are decided.
const DECIDING_K: [usize; 2] = [2, 4];

/// The residual stream before block 3 of the character model: 48,000 activations with their
/// gradients, 384 latents, 1,200 steps of 1,024.
fn small(context: &Context) -> (Language, Procedural) {
    let seed = Seed(context.seed);
    let language = Language {
        host: Host::Character { steps: 2_000 },
        hook: "blocks.3.hook_resid_pre",
        rows: 48_000,
        sparsities: vec![2, 4, 8],
        betas: vec![0.0, 1.0, 5.0],
        seeds: 3,
        sae: GradientSaeConfig::small(4),
        training: GradientSaeTrainingConfig::small(),
        evaluation_windows: 32,
        steered_latents: 100,
        steered_windows: 2,
        seed,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let task = Procedural {
        task: TaskConfig::default(),
        rows: 20_000,
        held_out: 5_000,
        sae: GradientSaeConfig::new(TaskConfig::default().d, 128, 4),
        betas: vec![0.0, 1.0, 5.0],
        seeds: 3,
        training: GradientSaeTrainingConfig::small().with_steps(1_500),
        seed,
        workers: language.workers,
    };
    (language, task)
}

/// Layer 7 of GPT-2 small: 24,576 latents, k = 32, 200 million tokens, with the grid of β that the
/// paper leaves open. Needs the tokens as a text file and days of a CPU, or hours of a GPU.
fn paper(context: &Context) -> (Language, Procedural) {
    let (language, task) = small(context);
    let training = GradientSaeTrainingConfig::gpt2_small();
    let language = Language {
        host: Host::Hub {
            id: "openai-community/gpt2",
            context: 256,
        },
        hook: "blocks.7.hook_resid_pre",
        rows: training.steps * training.batch,
        sparsities: vec![32],
        betas: vec![0.0, 0.5, 1.0, 2.0, 5.0],
        seeds: 1,
        sae: GradientSaeConfig::gpt2_small(),
        training,
        workers: 1,
        ..language
    };
    (language, task)
}

#[cfg(test)]
mod tests;
