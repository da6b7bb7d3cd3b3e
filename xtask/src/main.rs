//! The light driver behind `cargo xtask`.
//!
//! It reads the systems' descriptors from source and starts `cargo` for everything that needs
//! Burn, so it builds in seconds. A wrong argument ends it with exit code 2, a failure with 1, a
//! failed build among them; any other exit code of a program that it starts is passed on.

/// Prints a line. Unlike `println!` it does not panic when nobody reads any more.
macro_rules! say {
    ($($arguments:tt)*) => {
        $crate::process::show(format!("{}\n", format_args!($($arguments)*)).as_bytes())
    };
}

mod args;
mod bench;
mod ci;
mod descriptor;
mod device;
mod docs;
mod fault;
mod fixture;
mod gallery;
mod list;
mod literal;
mod manifest;
mod parity;
mod process;
mod reproduce;
mod state;
mod table;
mod tch_env;
mod tidy;
mod verdicts;
mod workspace;

use args::{Args, Spec};
use fault::{Fault, Result};
use std::{env, io::Write, process::ExitCode};
use workspace::Workspace;

/// One word of the command line and what it does.
struct Command {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    spec: Spec,
    run: fn(&Workspace, &Args) -> Result<u8>,
}

const MANY: usize = usize::MAX;

const COMMANDS: &[Command] = &[
    Command {
        name: "list",
        usage: "[--json]",
        about: "the systems, how complete they are, their recorded verdicts",
        spec: Spec {
            options: &[],
            flags: &["--json"],
            positionals: 0,
        },
        run: list::run,
    },
    Command {
        name: "reproduce",
        usage: "<system> [--scale small|paper] [--device D] [--seed N] [--out DIR] [--resume]",
        about: "a paper's experiment, its report and verdicts (in runs/<system>)",
        spec: Spec {
            options: &["--scale", "--device", "--seed", "--out"],
            flags: &["--resume"],
            positionals: 1,
        },
        run: reproduce::run,
    },
    Command {
        name: "parity",
        usage: "[<system>…] [--dir DIR] [--device D]",
        about: "fixtures of the reference implementations against ours",
        spec: Spec {
            options: &["--dir", "--device"],
            flags: &[],
            positionals: MANY,
        },
        run: parity::run,
    },
    Command {
        name: "bench",
        usage: "[<system>…] [--profile P]",
        about: "forward passes and training steps beside PyTorch's",
        spec: Spec {
            options: &["--profile"],
            flags: &[],
            positionals: MANY,
        },
        run: bench::run,
    },
    Command {
        name: "docs",
        usage: "[--check] [--record RUN]",
        about: "the README's table of systems; --record keeps a run's verdicts for it",
        spec: Spec {
            options: &["--record"],
            flags: &["--check"],
            positionals: 0,
        },
        run: docs::run,
    },
    Command {
        name: "gallery",
        usage: "[--check]",
        about: "GALLERY.md, a picture per system",
        spec: Spec {
            options: &[],
            flags: &["--check"],
            positionals: 0,
        },
        run: gallery::run,
    },
    Command {
        name: "tidy",
        usage: "",
        about: "the house rules: complete systems, fresh docs, floors, lints",
        spec: Spec {
            options: &[],
            flags: &[],
            positionals: 0,
        },
        run: tidy::run,
    },
    Command {
        name: "test",
        usage: "",
        about: "all tests: unit, integration, doctests, parity",
        spec: Spec {
            options: &[],
            flags: &[],
            positionals: 0,
        },
        run: ci::test,
    },
    Command {
        name: "tch-env",
        usage: "[--dir DIR] [--print]",
        about: "libtorch for the backend tch, and the variables that point to it",
        spec: Spec {
            options: &["--dir"],
            flags: &["--print"],
            positionals: 0,
        },
        run: tch_env::run,
    },
    Command {
        name: "ci",
        usage: "[--no-tch]",
        about: "format, lints, docs, tidy, tests; parity and the systems' tests on every CPU backend",
        spec: Spec {
            options: &[],
            flags: &["--no-tch"],
            positionals: 0,
        },
        run: ci::run,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match dispatch(&words) {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            let _ = writeln!(std::io::stderr(), "error: {fault}");
            ExitCode::from(fault.exit_code())
        }
    }
}

fn dispatch(words: &[String]) -> Result<u8> {
    let Some((name, rest)) = words.split_first() else {
        say!("{}", help());
        return Ok(2);
    };
    if ["help", "-h", "--help"].contains(&name.as_str()) {
        say!("{}", help());
        return Ok(0);
    }
    if name == "data" {
        let workspace = Workspace::find()?;
        let mut command = process::cargo();
        command.args([
            "run",
            "--quiet",
            "--package",
            "menagerie-data",
            "--manifest-path",
        ]);
        command
            .arg(workspace.path("Cargo.toml"))
            .arg("--")
            .args(rest);
        return process::run(&mut command);
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        let mut known: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
        known.push("data");
        return Err(Fault::unknown("command", name, &known));
    };
    if rest.iter().any(|word| word == "-h" || word == "--help") {
        say!(
            "cargo xtask {} {}\n{}",
            command.name,
            command.usage,
            command.about
        );
        return Ok(0);
    }
    let args = Args::parse(&command.spec, rest)?;
    (command.run)(&Workspace::find()?, &args)
}

fn help() -> String {
    let mut text = String::from("cargo xtask <command>\n\n");
    for command in COMMANDS {
        let usage = format!("{} {}", command.name, command.usage);
        text += &format!("  {}\n      {}\n", usage.trim_end(), command.about);
    }
    text + "  data fetch|list|verify …\n      data sets: what is here, what is missing"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_suggests_the_nearest() {
        let fault = dispatch(&["parrity".into()]).unwrap_err();
        assert_eq!(
            fault,
            Fault::usage("unknown command `parrity`; did you mean `parity`?")
        );
    }

    #[test]
    fn help_names_every_command_and_option() {
        let help = help();
        for command in COMMANDS {
            for option in command.spec.options.iter().chain(command.spec.flags) {
                assert!(command.usage.contains(option), "{} {option}", command.name);
            }
            assert!(help.contains(command.about));
        }
    }
}
