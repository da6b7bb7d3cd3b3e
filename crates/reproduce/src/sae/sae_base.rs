//! The variants at the same number of active latents, on activations whose dictionary is known.

mod arms;
mod data;
mod present;

use crate::{Context, Recipe, Scale, sae::host::Host};
use arms::{Experiment, Variant};
use data::Data;
use menagerie_core::Seed;
use menagerie_report::Report;
use menagerie_sae::{
    sae::SaeConfig,
    sae_base::{self, DictionaryConfig},
};
use present::Part;

/// The recipe behind `cargo xtask reproduce sae-base`.
pub const RECIPE: Recipe = Recipe {
    system: &sae_base::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let mut experiments = vec![small(context)];
    if context.scale == Scale::Paper {
        experiments.push(paper(context));
    }
    let mut parts = Vec::new();
    for experiment in experiments {
        let outcomes = experiment.run(context)?;
        parts.push(Part {
            experiment,
            outcomes,
        });
    }
    Ok(present::report(context, &parts)?)
}

/// 96 features of which 4 are active on average, in 32 dimensions: 100,000 activations, 128
/// latents, 3,000 steps of 1,024, three seeds. With 128 latents fewer than ten die, with AuxK or
/// without: whether it revives them is asked of dictionaries with 512.
fn small(context: &Context) -> Experiment {
    Experiment {
        data: Data::Dictionary {
            config: DictionaryConfig::new(),
            rows: 100_000,
            held_out: 20_000,
        },
        latents: 128,
        wide_latents: 512,
        l0: 4,
        steps: 3_000,
        batch: 1_024,
        learning_rate: 1e-3,
        dead_after: 100,
        variants: Variant::ALL.to_vec(),
        frontier: vec![2, 3, 6, 8],
        attempts: 6,
        tolerance: 0.03,
        seeds: 3,
        seed: Seed(context.seed),
        workers: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// The residual stream before block 8 of GPT-2 small: 24,576 latents, 32 of them active, 300 million
/// tokens in batches of 4,096. Needs the tokens as a text file and days of a GPU.
fn paper(context: &Context) -> Experiment {
    let latents = SaeConfig::gpt2_small_res_jb().d_sae;
    Experiment {
        data: Data::Host {
            host: Host::Hub {
                id: "openai-community/gpt2",
                context: 128,
            },
            hook: "blocks.8.hook_resid_pre",
            buffer: 1 << 18,
            held_out_windows: 256,
        },
        latents,
        wide_latents: 4 * latents,
        l0: 32,
        steps: 300_000_000 / 4_096,
        batch: 4_096,
        learning_rate: 2e-4 / (latents as f64 / 16_384.0).sqrt(),
        dead_after: 10_000_000 / 4_096,
        frontier: vec![16, 64, 128],
        seeds: 1,
        workers: 1,
        ..small(context)
    }
}

#[cfg(test)]
mod tests;
