//! `cargo xtask parity`: the parity harness of every family, over one folder of fixtures.

use crate::{
    args::Args,
    descriptor::{self, System},
    device,
    fault::{Fault, Result},
    fixture::{self, Fixture},
    process, tch_env,
    workspace::{Workspace, absolute},
};
use std::{collections::BTreeMap, env, path::PathBuf};

/// What is run, and on what.
pub struct Plan<'a> {
    /// The requested systems; none stands for all.
    pub slugs: &'a [String],
    /// The folder with the fixtures; the families' own if absent.
    pub dir: Option<PathBuf>,
    /// The device as the user names it.
    pub device: &'a str,
    /// Cargo features to build with, so that several runs can share one build.
    pub features: Vec<&'a str>,
}

/// How many fixtures passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Fixtures within their tolerance.
    pub passed: usize,
    /// Fixtures outside of it, unreadable, or claimed by no test.
    pub failed: usize,
}

/// Runs the harnesses and closes with the sum over all families.
///
/// # Errors
/// [`Fault::Usage`] for a wrong slug, device or folder.
pub fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let device = args.option("--device").unwrap_or("flex");
    let dir = args
        .path("--dir")
        .or_else(|| env::var_os("MENAGERIE_FIXTURES").map(PathBuf::from))
        .map(|dir| absolute(&dir))
        .transpose()?;
    let plan = Plan {
        slugs: args.positionals(),
        dir,
        device,
        features: device::feature(device)?.into_iter().collect(),
    };
    execute(workspace, &plan).map(|(code, _)| code)
}

/// Runs `plan`; gives the exit code and the tally.
///
/// # Errors
/// [`Fault::Usage`] for a wrong slug or folder.
pub fn execute(workspace: &Workspace, plan: &Plan) -> Result<(u8, Tally)> {
    let systems = descriptor::systems(workspace)?;
    for slug in plan.slugs {
        descriptor::find(&systems, slug)?;
    }
    let mut tally = Tally::default();
    let mut code = 0;
    let jobs = match &plan.dir {
        Some(dir) if plan.slugs.is_empty() => {
            if !dir.is_dir() {
                return Err(Fault::usage(format!(
                    "--dir {}: no such folder",
                    dir.display()
                )));
            }
            let found = fixture::fixtures(dir)?;
            if found.is_empty() {
                let dir = dir.display();
                return Err(Fault::failed(format!(
                    "{dir}: no fixtures; they are {dir}/<slug>/<name>.safetensors"
                )));
            }
            let (jobs, unclaimed) = sort(&systems, &found);
            for fixture in unclaimed {
                let path = fixture.path.strip_prefix(dir).unwrap_or(&fixture.path);
                println!(
                    "FAIL  {}: no family claims `{}`",
                    path.display(),
                    fixture.slug
                );
                tally.failed += 1;
            }
            jobs
        }
        _ => requested(&systems, plan.slugs),
    };
    for (package, slugs) in jobs {
        let mut command = process::cargo_at_root(workspace);
        command.args(["test", "--package", &package, "--test", "parity"]);
        if !plan.features.is_empty() {
            command.args(["--features", &plan.features.join(",")]);
        }
        for feature in &plan.features {
            tch_env::prepare(workspace, &mut command, feature)?;
        }
        command.arg("--").args(&slugs);
        if let Some(dir) = &plan.dir {
            command.arg("--dir").arg(dir);
        }
        command.args(["--device", plan.device]);
        let mut closing = None;
        let child = process::tee(&mut command, |line| {
            closing = closing_line(line).or(closing);
        })?;
        match closing {
            Some(family) => {
                tally.passed += family.passed;
                tally.failed += family.failed;
            }
            None => println!("FAIL  {package}: the harness ended without a result"),
        }
        code = code.max(child);
    }
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    let failed = tally.failed > 0 || code > 0;
    Ok((if code == 2 { 2 } else { u8::from(failed) }, tally))
}

type Jobs = BTreeMap<String, Vec<String>>;

/// The packages that own the fixtures with their slugs, and the fixtures that nobody owns.
fn sort<'a>(systems: &[System], fixtures: &'a [Fixture]) -> (Jobs, Vec<&'a Fixture>) {
    let mut jobs = Jobs::new();
    let mut unclaimed = Vec::new();
    for fixture in fixtures {
        match systems.iter().find(|system| system.slug == fixture.slug) {
            Some(system) => {
                let slugs = jobs.entry(system.package()).or_default();
                if !slugs.contains(&system.slug) {
                    slugs.push(system.slug.clone());
                }
            }
            None => unclaimed.push(fixture),
        }
    }
    (jobs, unclaimed)
}

/// The packages that own the requested slugs; with none requested, every family as a whole.
fn requested(systems: &[System], slugs: &[String]) -> Jobs {
    let mut jobs = Jobs::new();
    for system in systems {
        if slugs.is_empty() {
            jobs.entry(system.package()).or_default();
        } else if slugs.contains(&system.slug) {
            jobs.entry(system.package())
                .or_default()
                .push(system.slug.clone());
        }
    }
    jobs
}

/// The numbers of a harness's closing line, `N passed, N failed`.
pub fn closing_line(line: &str) -> Option<Tally> {
    let (passed, failed) = line.trim().split_once(" passed, ")?;
    Some(Tally {
        passed: passed.parse().ok()?,
        failed: failed.strip_suffix(" failed")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{read, tests::SOURCE};

    fn systems() -> Vec<System> {
        let first = read("a.rs", SOURCE).unwrap().unwrap();
        let second = System {
            slug: "curve-fit".into(),
            ..first.clone()
        };
        let third = System {
            slug: "qlae".into(),
            family: "representation".into(),
            ..first.clone()
        };
        vec![first, second, third]
    }

    #[test]
    fn only_a_whole_closing_line_counts() {
        let tally = Tally {
            passed: 12,
            failed: 3,
        };
        assert_eq!(closing_line("12 passed, 3 failed"), Some(tally));
        assert_eq!(
            closing_line("test result: ok. 12 passed; 3 failed; 0 ignored"),
            None
        );
        assert_eq!(closing_line("x passed, 3 failed"), None);
    }

    #[test]
    fn fixtures_go_to_the_family_that_owns_their_slug() {
        let fixture = |slug: &str| Fixture {
            path: format!("{slug}/a.safetensors").into(),
            slug: slug.into(),
            case: None,
            bytes: 0,
        };
        let fixtures: Vec<_> = ["qlae", "zebra", "line-fit", "line-fit"]
            .map(fixture)
            .into();
        let (jobs, unclaimed) = sort(&systems(), &fixtures);
        assert_eq!(jobs["menagerie-theory"], ["line-fit"]);
        assert_eq!(jobs["menagerie-representation"], ["qlae"]);
        assert_eq!(unclaimed, [&fixtures[1]]);
    }

    #[test]
    fn requested_slugs_choose_the_families() {
        let jobs = requested(&systems(), &["curve-fit".into()]);
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs["menagerie-theory"], ["curve-fit"]);
        let all = requested(&systems(), &[]);
        assert_eq!(all.len(), 2);
        assert!(all.values().all(Vec::is_empty));
    }
}
