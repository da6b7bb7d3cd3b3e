//! `menagerie-data`: fetches, lists and verifies the data sets.

use clap::{Parser, Subcommand};
use menagerie_core::{Error, Result};
use menagerie_data::{DATA_SETS, DataSet, Locator, dataset};
use std::{
    io::{ErrorKind, Write},
    process::ExitCode,
};

/// Fetches, lists and verifies the data sets that Menagerie's systems use.
///
/// MENAGERIE_DATA names a folder of your own copies, MENAGERIE_CACHE the folder that fetched files
/// go to, MENAGERIE_MIRROR a server to fetch from; MENAGERIE_OFFLINE=1 forbids the network.
#[derive(Parser)]
#[command(name = "menagerie-data", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make data sets available on this machine.
    Fetch {
        /// Names as `list` shows them.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Show what is known and where it lies.
    List {
        /// Print the registry as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare files with the published sha256.
    Verify {
        /// Names as `list` shows them; without any, everything that is on this machine.
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    match run(arguments.command, &Locator::from_env(), &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader such as `head` may close the pipe early.
        Err(Error::Io { reason, .. }) if reason.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command, locator: &Locator, out: &mut impl Write) -> Result<()> {
    let mut line =
        |text: String| writeln!(out, "{text}").map_err(Error::io("write", "the standard output"));
    match command {
        Command::Fetch { names } => {
            for set in resolve(&names)? {
                line(format!("{}: {}", set.name, locator.find(set)?.display()))?;
            }
        }
        Command::List { json: true } => {
            let sets: Vec<_> = DATA_SETS
                .iter()
                .map(|set| serde_json::json!({ "set": set, "path": locator.locate(set) }))
                .collect();
            let text = serde_json::to_string_pretty(&sets)
                .map_err(|error| Error::other("list --json", error))?;
            line(text)?;
        }
        Command::List { json: false } => {
            for set in DATA_SETS {
                let bytes: u64 = set.files.iter().map(|file| file.size).sum();
                let place = locator
                    .locate(set)
                    .map_or("not on this machine".into(), |dir| {
                        dir.display().to_string()
                    });
                line(format!(
                    "{:<14} {:>6.1} MB  {}",
                    set.name,
                    bytes as f64 / 1e6,
                    set.title
                ))?;
                line(format!("{:<14} {:>9}  licence: {}", "", "", set.licence))?;
                line(format!("{:<14} {:>9}  {place}", "", ""))?;
            }
        }
        Command::Verify { names } => {
            let sets = if names.is_empty() {
                DATA_SETS
                    .iter()
                    .filter(|set| locator.locate(set).is_some())
                    .collect()
            } else {
                resolve(&names)?
            };
            let mut failed = Vec::new();
            for set in sets {
                match locator.verify(set) {
                    Ok(dir) => line(format!("{}: as published, in {}", set.name, dir.display()))?,
                    Err(error) => failed.push(error),
                }
            }
            // The first failure is the program's error; further ones are lines of their own.
            let mut failed = failed.into_iter();
            let first = failed.next();
            for error in failed {
                line(format!("error: {error}"))?;
            }
            return first.map_or(Ok(()), Err);
        }
    }
    Ok(())
}

/// All names before the first transfer, so that a slip of the keyboard costs nothing.
fn resolve(names: &[String]) -> Result<Vec<&'static DataSet>> {
    names.iter().map(|name| dataset(name)).collect()
}
