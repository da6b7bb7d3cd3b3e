//! Running every case on every fixture below a folder.

use crate::{Check, Finding, Fixture, fixture::read_metadata};
use burn::tensor::Device;
use clap::Parser;
use menagerie_core::{Error, Result, device};
use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeSet,
    io::{self, Write},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Once,
};
use walkdir::WalkDir;

/// The code that answers for the fixtures of one system and case.
#[derive(Clone, Copy)]
pub struct Case {
    /// The system, as in the fixture's metadata.
    pub slug: &'static str,
    /// The case, as in the fixture's metadata.
    pub case: &'static str,
    /// Rebuilds the module from the fixture and compares what it computes. The device is without
    /// autodiff; a case that needs gradients takes `device.clone().autodiff()`.
    pub run: fn(&Fixture, &Device, &mut Check) -> Result<()>,
}

/// What to run, where and on what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with one folder per system.
    pub dir: PathBuf,
    /// The systems to look at; all of them where empty.
    pub slugs: Vec<String>,
    /// The device, as [`device::parse`] understands it.
    pub device: String,
}

/// How many fixtures passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Fixtures that hold within their tolerance.
    pub passed: usize,
    /// Fixtures that do not, or that no case claims.
    pub failed: usize,
    /// Files that are no fixtures.
    pub skipped: usize,
}

#[derive(Debug, Parser)]
#[command(
    name = "parity",
    about = "Holds modules against recorded runs of their reference implementations"
)]
struct Arguments {
    /// The systems to look at; all of them without any
    slugs: Vec<String>,
    /// The folder with one folder of fixtures per system
    #[arg(long, env = "MENAGERIE_FIXTURES")]
    dir: Option<PathBuf>,
    /// The device to compute on
    #[arg(long, default_value = "flex")]
    device: String,
    /// Accepted for `cargo test -- --nocapture`
    #[arg(long, hide = true)]
    nocapture: bool,
    /// Accepted for `cargo test --quiet`
    #[arg(long, short, hide = true)]
    quiet: bool,
    /// Accepted for `cargo test -- --test-threads <n>`
    #[arg(long, hide = true)]
    test_threads: Option<usize>,
}

/// The whole of a family's `tests/parity.rs`.
///
/// Arguments are `[slug…] --dir DIR --device D`; `fixtures` is the folder without `--dir` and
/// without `MENAGERIE_FIXTURES`. Exits with 0 when every fixture passes, 1 when one fails or none
/// was found, 2 for arguments that cannot be understood.
pub fn main(fixtures: &str, cases: &[Case]) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let options = Options {
        dir: arguments.dir.unwrap_or_else(|| PathBuf::from(fixtures)),
        slugs: arguments.slugs,
        device: arguments.device,
    };
    match run(&options, cases, &mut io::stdout().lock()) {
        Ok(summary) if summary.failed == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs `cases` on the fixtures below `options.dir` and writes a row for each to `out`.
///
/// A fixture is a file `DIR/<slug>/*.safetensors` with `slug` and `case` in its metadata, which
/// alone decide what runs on it; other files are listed as skipped. A fixture that no case claims
/// fails, and so does a slug that was asked for and has no fixture.
///
/// # Errors
/// [`Error::Unknown`] for a slug without cases or an unknown device, [`Error::Io`] for a folder
/// that cannot be read, [`Error::Other`] where there is no fixture at all.
pub fn run(options: &Options, cases: &[Case], out: &mut dyn Write) -> Result<Summary> {
    let claimed: BTreeSet<&str> = cases.iter().map(|case| case.slug).collect();
    if let Some(slug) = options
        .slugs
        .iter()
        .find(|slug| !claimed.contains(slug.as_str()))
    {
        return Err(Error::unknown("system", slug, claimed));
    }
    let device = device::parse(&options.device)?;
    let files = files(&options.dir)?;
    let dir = options.dir.display().to_string();
    let mut summary = Summary::default();
    let mut seen = BTreeSet::new();
    let asked = |slug: &str| options.slugs.is_empty() || options.slugs.iter().any(|s| s == slug);
    let mut print =
        |line: &str| writeln!(out, "{line}").map_err(Error::io("write to", "the terminal"));
    for file in &files {
        let identity = identity(file);
        if !asked(&file.folder)
            && !identity
                .as_ref()
                .is_some_and(|identity| asked(&identity.slug))
        {
            continue;
        }
        let Some(Identity {
            slug,
            case: name,
            problem,
        }) = identity
        else {
            summary.skipped += 1;
            print(&format!("skip  {} (no fixture)", file.name))?;
            continue;
        };
        let case = cases
            .iter()
            .find(|case| case.slug == slug && case.case == name);
        let row = match (problem, case) {
            (Some(problem), _) => Row::failed(problem),
            (None, None) => Row::failed("unclaimed: no case answers for it".into()),
            (None, Some(case)) => Row::of(&file.path, case, &device),
        };
        if row.failures.is_empty() {
            summary.passed += 1;
        } else {
            summary.failed += 1;
        }
        for line in row.lines(&slug, &name, &file.name) {
            print(&line)?;
        }
        seen.insert((slug, name));
    }
    for slug in &options.slugs {
        if !seen.iter().any(|(seen, _)| seen == slug) {
            summary.failed += 1;
            let problem = format!("no fixture: expected {slug}/*.safetensors below {dir}");
            for line in Row::failed(problem).lines(slug, "-", "-") {
                print(&line)?;
            }
        }
    }
    if seen.is_empty() && options.slugs.is_empty() {
        return Err(Error::other(
            dir,
            "no fixture of any system: expected <slug>/*.safetensors below it",
        ));
    }
    for case in cases.iter().filter(|case| asked(case.slug)) {
        if !seen.contains(&(case.slug.to_owned(), case.case.to_owned())) {
            print(&format!("note  no fixture of {} {}", case.slug, case.case))?;
        }
    }
    print(&format!(
        "{} passed, {} failed",
        summary.passed, summary.failed
    ))?;
    Ok(summary)
}

/// A `.safetensors` file below the folder of a system.
struct FixtureFile {
    path: PathBuf,
    folder: String,
    /// The path below `DIR`.
    name: String,
    /// Whether it lies directly in the system's folder.
    direct: bool,
}

fn files(dir: &Path) -> Result<Vec<FixtureFile>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(dir)
        .min_depth(2)
        .follow_links(true)
        .sort_by_file_name()
    {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(dir).to_path_buf();
            Error::io("read", path)(error.into())
        })?;
        let path = entry.path();
        if !entry.file_type().is_file() || path.extension().is_none_or(|e| e != "safetensors") {
            continue;
        }
        let below = path.strip_prefix(dir).unwrap_or(path);
        files.push(FixtureFile {
            folder: below
                .iter()
                .next()
                .map(|folder| folder.to_string_lossy().into_owned())
                .unwrap_or_default(),
            name: below.display().to_string(),
            direct: entry.depth() == 2,
            path: path.to_path_buf(),
        });
    }
    Ok(files)
}

/// Whose fixture a file is.
struct Identity {
    slug: String,
    case: String,
    /// Why it cannot be run.
    problem: Option<String>,
}

/// Slug and case from the metadata; none for a file that is no fixture.
///
/// A file in a fixture's place that cannot be read as far as its metadata is one all the same, so
/// that damage shows as a failure.
fn identity(file: &FixtureFile) -> Option<Identity> {
    if !file.direct {
        return None;
    }
    match read_metadata(&file.path) {
        Ok(metadata) => Some(Identity {
            slug: metadata.get("slug")?.clone(),
            case: metadata.get("case")?.clone(),
            problem: None,
        }),
        Err(error) => Some(Identity {
            slug: file.folder.clone(),
            case: "-".into(),
            problem: Some(error.to_string()),
        }),
    }
}

/// What one fixture gave.
#[derive(Default)]
struct Row {
    /// Greatest `max|a − b|`, with the tensor's name.
    absolute: Option<(f64, String)>,
    /// Greatest `max|a − b| / max|b|`, with the tensor's name.
    relative: Option<(f64, String)>,
    tolerance: String,
    failures: Vec<String>,
}

impl Row {
    fn failed(problem: String) -> Self {
        Self {
            failures: vec![problem],
            ..Self::default()
        }
    }

    fn of(path: &Path, case: &Case, device: &Device) -> Self {
        let fixture = match Fixture::open(path) {
            Ok(fixture) => fixture,
            Err(error) => return Self::failed(error.to_string()),
        };
        let mut check = Check::new(&fixture);
        let outcome = caught(|| (case.run)(&fixture, device, &mut check));
        let stopped = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(format!("panicked: {panic}")),
        };
        // What was not read says nothing about a case that did not come to its end.
        let findings = match stopped {
            None => check.finish(),
            Some(_) => check.findings().to_vec(),
        };
        let mut row = Self {
            tolerance: format!("{:e}/{:e}", fixture.tol(), fixture.grad_tol()),
            failures: stopped.into_iter().collect(),
            ..Self::default()
        };
        row.absolute = worst(&findings, |finding| finding.absolute);
        row.relative = worst(&findings, |finding| finding.relative);
        row.failures.extend(findings.iter().filter_map(|finding| {
            let failure = finding.failure.as_ref()?;
            Some(format!("{}: {failure}", finding.name))
        }));
        row
    }

    fn lines(&self, slug: &str, case: &str, file: &str) -> Vec<String> {
        let error = |worst: &Option<(f64, String)>| match worst {
            Some((error, name)) => format!("{error:.1e} {name}"),
            None => "-".into(),
        };
        let verdict = if self.failures.is_empty() {
            "pass"
        } else {
            "FAIL"
        };
        let tolerance = if self.tolerance.is_empty() {
            "-"
        } else {
            &self.tolerance
        };
        let row = format!(
            "{verdict}  {slug:<16} {case:<24} {file:<44} abs {:<36} rel {:<36} tol {tolerance}",
            error(&self.absolute),
            error(&self.relative),
        );
        let shown = 8;
        let mut lines = vec![row];
        lines.extend(
            self.failures
                .iter()
                .take(shown)
                .map(|failure| format!("      {failure}")),
        );
        if self.failures.len() > shown {
            lines.push(format!("      … and {} more", self.failures.len() - shown));
        }
        lines
    }
}

fn worst(findings: &[Finding], error: impl Fn(&Finding) -> f64) -> Option<(f64, String)> {
    findings
        .iter()
        .map(|finding| (error(finding), finding.name.clone()))
        .max_by(|a, b| a.0.total_cmp(&b.0))
}

thread_local! {
    /// Where the last caught panic of this thread happened.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Whether panics of this thread are caught.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic in it comes back as its message and place instead of going to stderr.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let elsewhere = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                CAUGHT.set(info.location().map(ToString::to_string));
            } else {
                elsewhere(info);
            }
        }));
    });
    CATCHING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(false);
    outcome.map_err(|payload| {
        let place = CAUGHT
            .take()
            .unwrap_or_else(|| "at an unknown place".into());
        format!("{} ({place})", message(payload.as_ref()))
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
        .trim()
        .replace('\n', " ")
}
