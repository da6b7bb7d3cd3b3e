//! The binary behind `cargo xtask reproduce`.

use clap::Parser;
use menagerie_core::{Error, device};
use menagerie_reproduce::{Context, Scale, find, prepare};
use std::{io::Write, path::PathBuf, process::ExitCode, time::Instant};

/// Reproduces the central claim of a paper and prints the verdict.
#[derive(Parser)]
struct Arguments {
    /// The system, e.g. `qlae`.
    slug: String,
    /// The card's small experiment, or the paper's full recipe.
    #[arg(long, value_enum, default_value_t)]
    scale: Scale,
    /// Where tensors live, e.g. `flex`, `tch`, `cuda:0`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The run folder; `runs/<slug>` if absent.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Continue the run that is in the folder.
    #[arg(long)]
    resume: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            let code = error.downcast_ref::<Error>().map_or(1, Error::exit_code);
            ExitCode::from(code)
        }
    }
}

/// The number of decided claims that were not met.
fn run(arguments: Arguments) -> anyhow::Result<usize> {
    let recipe = find(&arguments.slug)?;
    let device = device::parse(&arguments.device)?;
    let out = arguments
        .out
        .unwrap_or_else(|| PathBuf::from("runs").join(&arguments.slug));
    if let Some(kept) = prepare(&out, arguments.resume)? {
        say(&format!("the earlier run is kept in {}", kept.display()));
    }
    let began = Instant::now();
    let report = (recipe.run)(&Context {
        device,
        seed: arguments.seed,
        scale: arguments.scale,
        out: out.clone(),
        resume: arguments.resume,
    })?;
    let page = report.write(&out)?;
    say(&report.summary());
    say(&format!(
        "{:.0} s; the report is {}",
        began.elapsed().as_secs_f64(),
        page.display()
    ));
    Ok(report.not_met())
}

fn say(text: &str) {
    // A closed standard output must not turn a finished run into a failure.
    let _ = writeln!(std::io::stdout(), "{text}");
}
