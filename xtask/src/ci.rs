//! `cargo xtask ci`: everything that must hold before a change goes in.

use crate::{
    args::Args,
    docs,
    fault::{Fault, Result},
    parity::{self, Plan, Tally},
    process,
    table::Table,
    tch_env, tidy,
    workspace::Workspace,
};
use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// The README's test command: unit, integration and doctests of every crate on the default
/// backend, and the parity harness of each family over its own fixtures.
///
/// # Errors
/// As [`process::run`].
pub fn test(workspace: &Workspace, _: &Args) -> Result<u8> {
    process::run(&mut test_command(workspace, &[])?)
}

/// The device on which the systems' tests run.
const DEVICE: &str = "MENAGERIE_DEVICE";

/// What Burn takes for its default device; without it, libtorch where that is compiled in.
const BURN_DEVICE: &str = "BURN_DEVICE";

/// The tests of the whole workspace on the default backend, whatever else is compiled in.
fn test_command(workspace: &Workspace, features: &[&str]) -> Result<Command> {
    let mut command = parity::cargo_test(workspace, None, &[], features)?;
    command.env_remove(DEVICE).env(BURN_DEVICE, "flex");
    Ok(command)
}

/// Runs every check, also after one has failed, and closes with a table and the sum of all tests.
///
/// # Errors
/// A failure if `cargo` itself cannot be started.
pub fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let tch = !args.flag("--no-tch");
    // Fetching libtorch takes the network, the checks below take the cores: side by side.
    thread::scope(|scope| {
        let libtorch = tch.then(|| scope.spawn(|| fetch_libtorch(workspace)));
        let mut log = Log::default();
        checks(workspace, &mut log);
        if let Some(libtorch) = libtorch {
            log.step("tch-env", |_| match libtorch.join() {
                Ok(result) => result,
                Err(_) => Err(Fault::failed("fetching libtorch broke off")),
            });
        }
        tests(workspace, tch, &mut log);
        say!("\n{}", log.closing().trim_end());
        Ok(u8::from(log.has_failed()))
    })
}

fn fetch_libtorch(workspace: &Workspace) -> Result<u8> {
    match tch_env::is_ready(workspace) {
        true => Ok(0),
        false => tch_env::install_default(workspace).map(|()| 0),
    }
}

/// What needs no program to run.
fn checks(workspace: &Workspace, log: &mut Log) {
    let cargo = |words: &str| {
        let mut command = process::cargo_at_root(workspace);
        command.args(words.split(' '));
        command
    };
    log.step("format", |_| process::run(&mut cargo("fmt --all --check")));
    log.step("tidy", |_| tidy::run(workspace, &Args::default()));
    log.step("docs", |_| {
        docs::run(workspace, &Args::with_flag("--check"))
    });
    log.step("clippy", |_| {
        process::run(&mut cargo(
            "clippy --workspace --all-targets --features menagerie-sae/tokenizer -- -D warnings",
        ))
    });
    log.step("rustdoc", |_| {
        process::run(cargo("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))
    });
}

/// One build of Burn with every backend serves all tests: clippy has checked the default one. It has
/// checked the examples as well, so that they need not be linked.
fn tests(workspace: &Workspace, tch: bool, log: &mut Log) {
    let (features, devices): (&[&str], &[&str]) = if tch {
        (&["ndarray", "tch", "tokenizer"], &["ndarray", "tch"])
    } else {
        (&["ndarray", "tokenizer"], &["ndarray"])
    };
    for (name, targets) in [("test", "--tests"), ("doctest", "--doc")] {
        log.step(name, |tests| {
            let mut command = test_command(workspace, features)?;
            process::tee(command.arg(targets), |line| tests.count(line))
        });
    }
    for device in devices {
        log.step(&format!("parity on {device}"), |tests| {
            let plan = Plan {
                slugs: &[],
                dir: None,
                device,
                features: features.to_vec(),
                whole: true,
            };
            let (code, tally) = parity::execute(workspace, &plan)?;
            tests.add(tally);
            Ok(code)
        });
    }
    // These use a core each: side by side, and shown one after the other.
    log.step(&format!("tests on {}", devices.join(", ")), |tests| {
        let mut commands = Vec::new();
        for device in devices {
            let mut command = parity::cargo_test(workspace, Some("it"), &[], features)?;
            command.env(DEVICE, device).env(BURN_DEVICE, "flex");
            // The tensors of tests are small: handing them to libtorch's threads takes longer than
            // the work, and many times as long where cores are shared.
            command.env("OMP_NUM_THREADS", "1");
            commands.push(command);
        }
        let mut worst = 0;
        for (device, (code, output)) in devices.iter().zip(process::side_by_side(commands)?) {
            say!("\n-- {device}");
            process::show(&output);
            for line in String::from_utf8_lossy(&output).lines() {
                tests.count(line);
            }
            worst = worst.max(code);
        }
        Ok(worst)
    });
}

/// The numbers of tests so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tests {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Tests {
    fn add(&mut self, tally: Tally) {
        self.passed += tally.passed;
        self.failed += tally.failed;
    }

    /// Adds what a closing line of a test binary or of a parity harness says.
    fn count(&mut self, line: &str) {
        if let Some(tally) = parity::closing_line(line) {
            self.add(tally);
        } else if let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        {
            for count in counts.split("; ") {
                match count.split_once(' ') {
                    Some((n, "passed")) => self.passed += n.parse().unwrap_or(0),
                    Some((n, "failed")) => self.failed += n.parse().unwrap_or(0),
                    Some((n, "ignored")) => self.ignored += n.parse().unwrap_or(0),
                    _ => {}
                }
            }
        }
    }
}

/// What happened in each step.
#[derive(Default)]
struct Log {
    steps: Vec<(String, bool, Duration)>,
    tests: Tests,
}

impl Log {
    fn step(&mut self, name: &str, work: impl FnOnce(&mut Tests) -> Result<u8>) {
        say!("\n== {name}");
        let began = Instant::now();
        let good = match work(&mut self.tests) {
            Ok(code) => code == 0,
            Err(fault) => {
                say!("error: {fault}");
                false
            }
        };
        self.steps.push((name.to_owned(), good, began.elapsed()));
    }

    fn has_failed(&self) -> bool {
        self.steps.iter().any(|(_, good, _)| !good)
    }

    /// A line per step, then a line in the form of a test binary's.
    fn closing(&self) -> String {
        let mut table = Table::new(&["step", "result", "time"]);
        for (name, good, time) in &self.steps {
            let result = if *good { "ok" } else { "FAILED" };
            table.row([name, result, &format!("{:.0} s", time.as_secs_f64())]);
        }
        let Tests {
            passed,
            failed,
            ignored,
        } = self.tests;
        let result = if self.has_failed() { "FAILED" } else { "ok" };
        format!(
            "{}\ntest result: {result}. {passed} passed; {failed} failed; {ignored} ignored\n",
            table.to_text()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_both_kinds_are_added() {
        let mut tests = Tests::default();
        for line in [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished",
            "9 passed, 1 failed",
            "test result: FAILED. 1 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            tests.count(line);
        }
        let expected = Tests {
            passed: 22,
            failed: 5,
            ignored: 2,
        };
        assert_eq!(tests, expected);
    }

    #[test]
    fn the_closing_line_tells_of_any_failed_step() {
        let mut log = Log::default();
        log.step("format", |_| Ok(0));
        assert!(
            log.closing()
                .ends_with("\ntest result: ok. 0 passed; 0 failed; 0 ignored\n")
        );
        log.step("test", |tests| {
            tests.count("3 passed, 0 failed");
            Ok(1)
        });
        assert!(log.has_failed());
        let closing = log.closing();
        assert!(closing.contains("test    FAILED  0 s\n"), "{closing}");
        assert!(closing.ends_with("\ntest result: FAILED. 3 passed; 0 failed; 0 ignored\n"));
    }
}
