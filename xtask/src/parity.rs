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
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::PathBuf,
    process::Command,
};

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
    /// Whether to build with all of the workspace, as its tests are. The features of dependencies
    /// follow from the packages that are chosen: a build of a few shares nothing with one of all.
    pub whole: bool,
}

/// How many fixtures passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Fixtures within their tolerance.
    pub passed: usize,
    /// Fixtures outside of it, unreadable, or claimed by no test; and one for every harness that
    /// came to no result.
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
        .or_else(|| {
            let dir = env::var_os("MENAGERIE_FIXTURES").filter(|dir| !dir.is_empty());
            dir.map(PathBuf::from)
        })
        .map(|dir| absolute(&dir))
        .transpose()?;
    let plan = Plan {
        slugs: args.positionals(),
        dir,
        device,
        features: device::feature(device)?.into_iter().collect(),
        whole: false,
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
        if owner(&systems, slug).is_none() {
            descriptor::find(&systems, slug)?;
        }
    }
    let mut tally = Tally::default();
    let mut failed = false;
    let jobs: Vec<Job> = match &plan.dir {
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
                say!(
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
    for (packages, slugs) in jobs {
        let chosen: &[String] = if plan.whole { &[] } else { &packages };
        let mut command = cargo_test(workspace, Some("parity"), chosen, &plan.features)?;
        command.arg("--").args(&slugs);
        if let Some(dir) = &plan.dir {
            command.arg("--dir").arg(dir);
        }
        command.args(["--device", plan.device]);
        let (code, found) = harnesses(&mut command, &packages)?;
        failed |= code > 0;
        tally.passed += found.passed;
        tally.failed += found.failed;
    }
    say!("\n{} passed, {} failed", tally.passed, tally.failed);
    Ok((u8::from(failed || tally.failed > 0), tally))
}

/// `cargo test` of one test target, or of all, of `packages`, or of the whole workspace if there are
/// none. As the packages and features decide what is built, the targets of equal ones share a build.
///
/// # Errors
/// [`Fault::Usage`] for the feature `tch` without a libtorch.
pub fn cargo_test(
    workspace: &Workspace,
    target: Option<&str>,
    packages: &[String],
    features: &[&str],
) -> Result<Command> {
    let mut command = process::cargo_at_root(workspace);
    command.arg("test");
    if let Some(target) = target {
        command.args(["--test", target]);
    }
    command.arg("--no-fail-fast");
    if packages.is_empty() {
        command.arg("--workspace");
    }
    for package in packages {
        command.args(["--package", package]);
    }
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    for feature in features {
        tch_env::prepare(workspace, &mut command, feature)?;
    }
    Ok(command)
}

/// Runs the harnesses of `packages`, each of which closes with its numbers; one that does not has
/// not been built or has broken off, and counts as failed.
fn harnesses(command: &mut Command, packages: &[String]) -> Result<(u8, Tally)> {
    let mut tally = Tally::default();
    let mut closed = 0;
    let code = process::tee(command, |line| {
        if let Some(family) = closing_line(line) {
            closed += 1;
            tally.passed += family.passed;
            tally.failed += family.failed;
        }
    })?;
    let broken = packages.len().saturating_sub(closed);
    if broken > 0 {
        say!(
            "FAIL  {}: {broken} of {} ended without a result",
            packages.join(", "),
            packages.len()
        );
        tally.failed += broken;
    }
    Ok((code, tally))
}

/// The packages of the families with systems.
pub fn packages(systems: &[System]) -> Vec<String> {
    let packages: BTreeSet<_> = systems.iter().map(System::package).collect();
    packages.into_iter().collect()
}

/// The packages of one `cargo test`, and the slugs that their harnesses are given.
type Job = (Vec<String>, Vec<String>);

/// The package that answers for a slug: that of the system, or of the family `sae` for `sae-base`,
/// the parts that its systems share.
fn owner(systems: &[System], slug: &str) -> Option<String> {
    let family = slug.strip_suffix("-base");
    let owns = |system: &&System| system.slug == slug || Some(system.family.as_str()) == family;
    systems.iter().find(owns).map(System::package)
}

/// A job per package that owns fixtures, and the fixtures that nobody owns.
fn sort<'a>(systems: &[System], fixtures: &'a [Fixture]) -> (Vec<Job>, Vec<&'a Fixture>) {
    let known = |fixture: &&Fixture| owner(systems, &fixture.slug).is_some();
    let (claimed, unclaimed): (Vec<_>, Vec<_>) = fixtures.iter().partition(known);
    let slugs: Vec<String> = claimed.iter().map(|fixture| fixture.slug.clone()).collect();
    let jobs = if slugs.is_empty() {
        Vec::new()
    } else {
        requested(systems, &slugs)
    };
    (jobs, unclaimed)
}

/// A job per package that owns requested slugs; with none requested, one for every family whole,
/// so that a single build serves them all.
fn requested(systems: &[System], slugs: &[String]) -> Vec<Job> {
    let mut jobs = BTreeMap::<String, BTreeSet<String>>::new();
    for slug in slugs {
        if let Some(package) = owner(systems, slug) {
            jobs.entry(package).or_default().insert(slug.clone());
        }
    }
    if slugs.is_empty() {
        vec![(packages(systems), Vec::new())]
    } else {
        jobs.into_iter()
            .map(|(package, slugs)| (vec![package], slugs.into_iter().collect()))
            .collect()
    }
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
    fn wrong_arguments_end_before_anything_is_built() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        workspace.write("models/theory/Cargo.toml", "").unwrap();
        workspace
            .write("models/theory/src/line_fit/mod.rs", SOURCE)
            .unwrap();
        let plan = |slugs, dir: &str| Plan {
            slugs,
            dir: Some(workspace.path(dir)),
            device: "flex",
            features: Vec::new(),
            whole: false,
        };
        let text = |plan: &Plan| execute(&workspace, plan).unwrap_err();
        let wrong = ["line".to_owned()];
        let fault = text(&plan(&wrong, ""));
        assert_eq!(
            fault,
            Fault::usage("unknown system `line`; did you mean `line-fit`?")
        );
        let fault = text(&plan(&[], "none"));
        assert_eq!(fault.exit_code(), 2);
        assert!(
            fault.to_string().ends_with("none: no such folder"),
            "{fault}"
        );
        let fault = text(&plan(&[], "models"));
        assert_eq!(fault.exit_code(), 1);
        assert!(
            fault.to_string().contains("models: no fixtures; they are "),
            "{fault}"
        );
    }

    #[test]
    fn a_folder_that_nobody_claims_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        workspace.write("models/theory/Cargo.toml", "").unwrap();
        workspace.write("fixtures/zebra/a.safetensors", "").unwrap();
        let plan = Plan {
            slugs: &[],
            dir: Some(workspace.path("fixtures")),
            device: "flex",
            features: Vec::new(),
            whole: false,
        };
        let tally = Tally {
            passed: 0,
            failed: 1,
        };
        assert_eq!(execute(&workspace, &plan), Ok((1, tally)));
    }

    #[cfg(unix)]
    #[test]
    fn a_harness_without_a_result_has_failed() {
        let packages = ["a".to_owned(), "b".to_owned()];
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            harnesses(&mut command, &packages).unwrap()
        };
        let tally = |passed, failed| Tally { passed, failed };
        let whole = run("echo 3 passed, 0 failed; echo 2 passed, 1 failed; exit 101");
        assert_eq!(whole, (1, tally(5, 1)));
        assert_eq!(run("echo 3 passed, 0 failed"), (0, tally(3, 1)));
        assert_eq!(run("exit 101"), (1, tally(0, 2)));
    }

    #[test]
    fn test_targets_of_equal_packages_and_features_differ_in_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        let words = |target| -> Vec<String> {
            let packages = packages(&systems());
            let command = cargo_test(&workspace, Some(target), &packages, &["ndarray"]).unwrap();
            let words = command.get_args().map(|word| word.to_string_lossy());
            words.map(String::from).collect()
        };
        assert_eq!(
            words("it"),
            "test --test it --no-fail-fast --package menagerie-representation \
             --package menagerie-theory --features ndarray"
                .split(' ')
                .collect::<Vec<_>>()
        );
        let replaced: Vec<_> = words("parity")
            .into_iter()
            .map(|word| if word == "parity" { "it".into() } else { word })
            .collect();
        assert_eq!(replaced, words("it"));
        let whole = cargo_test(&workspace, None, &[], &["ndarray", "tokenizer"]).unwrap();
        let words: Vec<_> = whole
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        assert_eq!(
            words.join(" "),
            "test --no-fail-fast --workspace --features ndarray,tokenizer"
        );
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
        let job = |package: &str, slug: &str| (vec![package.to_owned()], vec![slug.to_owned()]);
        assert_eq!(
            jobs,
            [
                job("menagerie-representation", "qlae"),
                job("menagerie-theory", "line-fit")
            ]
        );
        assert_eq!(unclaimed, [&fixtures[1]]);
        assert!(sort(&systems(), &fixtures[1..2]).0.is_empty());
    }

    #[test]
    fn requested_slugs_choose_the_families() {
        let jobs = requested(&systems(), &["curve-fit".into(), "line-fit".into()]);
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].0, ["menagerie-theory"]);
        assert_eq!(jobs[0].1, ["curve-fit", "line-fit"]);
        let base = requested(&systems(), &["theory-base".into(), "zebra-base".into()]);
        assert_eq!(base.len(), 1);
        assert_eq!(base[0].0, ["menagerie-theory"]);
        assert_eq!(base[0].1, ["theory-base"]);
        let all = requested(&systems(), &[]);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].0, ["menagerie-representation", "menagerie-theory"]);
        assert!(all[0].1.is_empty());
    }
}
