//! The ten parts of a finished system, as far as a program can check them.

use crate::{
    descriptor::System,
    fault::Result,
    fixture::{self, Fixture},
    manifest::Manifest,
    workspace::Workspace,
};
use std::fmt;

/// The most that a fixture copied into a crate may take.
const FIXTURE_LIMIT: u64 = 300 * 1024;

/// The most lines that an example may have.
const EXAMPLE_LIMIT: usize = 80;

/// A part of a finished system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Every module, loss and procedure of the paper.
    Faithful,
    /// Parameter counts of the published configs.
    Counted,
    /// Fixtures of the reference implementation.
    Parity,
    /// Official checkpoints by their own names.
    Weights,
    /// Training with checkpoints and resume.
    Trains,
    /// The recipe with its verdicts.
    Reproduces,
    /// The short example.
    Example,
    /// Benchmark and its peer in PyTorch.
    Measured,
    /// Module docs with a doctest.
    Documented,
    /// Tests of invalid input.
    Refuses,
}

impl Part {
    /// All parts in order.
    pub const ALL: [Self; 10] = [
        Self::Faithful,
        Self::Counted,
        Self::Parity,
        Self::Weights,
        Self::Trains,
        Self::Reproduces,
        Self::Example,
        Self::Measured,
        Self::Documented,
        Self::Refuses,
    ];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// Something to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file or folder, with a line where there is one.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

impl Finding {
    /// A finding at `path`.
    pub fn new(path: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            what: what.into(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.path, self.what, self.mend)
    }
}

/// The names of the parts without and with findings.
pub fn parts(findings: &[(Part, Finding)]) -> (Vec<String>, Vec<String>) {
    let lacks = |part: &Part| findings.iter().any(|(found, _)| found == part);
    let (missing, present): (Vec<_>, Vec<_>) = Part::ALL.into_iter().partition(lacks);
    let names = |parts: Vec<Part>| parts.iter().map(Part::to_string).collect();
    (names(present), names(missing))
}

/// `10/10`, or `8/10, without example, measured`.
pub fn summary(findings: &[(Part, Finding)]) -> String {
    let (present, missing) = parts(findings);
    let count = format!("{}/{}", present.len(), Part::ALL.len());
    if missing.is_empty() {
        count
    } else {
        format!("{count}, without {}", missing.join(", "))
    }
}

/// What `system` lacks.
///
/// # Errors
/// A folder or file that is there but cannot be read.
pub fn findings(workspace: &Workspace, system: &System) -> Result<Vec<(Part, Finding)>> {
    let house = House::of(workspace, system)?;
    let mut found = Vec::new();
    let mut add = |part, finding: Option<Finding>| found.extend(finding.map(|f| (part, f)));
    for section in ["config", "model", "objective"] {
        add(Part::Faithful, house.section(section));
    }
    add(Part::Counted, house.counted());
    for finding in house.parity()? {
        add(Part::Parity, Some(finding));
    }
    add(Part::Weights, house.section("weights"));
    add(Part::Weights, house.key_map());
    add(Part::Trains, house.section("training"));
    add(Part::Reproduces, house.recipe());
    add(Part::Example, house.example());
    for finding in house.measured()? {
        add(Part::Measured, Some(finding));
    }
    add(Part::Documented, house.documented());
    add(Part::Refuses, house.refuses());
    Ok(found)
}

/// A system with the text of everything that speaks of it.
struct House<'a> {
    workspace: &'a Workspace,
    system: &'a System,
    /// `models/<family>`.
    family: String,
    /// The folder of the system, or its only file.
    place: String,
    /// The sources of the system, joined.
    sources: String,
    /// The family's tests that mention the system, joined.
    tests: String,
    /// The sources of the parity harness, joined.
    harness: String,
}

impl<'a> House<'a> {
    fn of(workspace: &'a Workspace, system: &'a System) -> Result<Self> {
        let family = format!("models/{}", system.family);
        let (place, files) = match system.source.strip_suffix("/mod.rs") {
            Some(folder) => (folder.to_owned(), workspace.files(folder, "rs")?),
            None => (system.source.clone(), vec![system.source.clone()]),
        };
        let join = |files: Vec<String>| -> Result<String> {
            files.iter().map(|file| workspace.read(file)).collect()
        };
        let (harness, mut tests): (Vec<_>, Vec<_>) = workspace
            .files(&format!("{family}/tests"), "rs")?
            .into_iter()
            .partition(|file| file.contains("/tests/parity"));
        let module = system.module();
        let named = |file: &String| {
            file.contains(&format!("/{module}"))
                || workspace
                    .read_or_empty(file)
                    .contains(&format!("{module}::"))
        };
        tests.retain(named);
        Ok(Self {
            workspace,
            system,
            place,
            sources: join(files)?,
            tests: join(tests)?,
            harness: join(harness)?,
            family,
        })
    }

    fn is_folder(&self) -> bool {
        self.system.source.ends_with("/mod.rs")
    }

    /// A section is a file or folder of its name, or starts under a comment line with it.
    fn section(&self, name: &str) -> Option<Finding> {
        let place = &self.place;
        if self.is_folder() {
            let there = |path: String| self.workspace.exists(&path);
            if there(format!("{place}/{name}.rs")) || there(format!("{place}/{name}/mod.rs")) {
                return None;
            }
            let mend = format!("put the paper's {name} into {place}/{name}.rs");
            return Some(Finding::new(place, format!("no section `{name}`"), mend));
        }
        let heading = |line: &str| {
            let rest = line.trim().strip_prefix("//")?;
            let words = rest.trim_start_matches([' ', '-', '=', '─']).to_lowercase();
            (!rest.starts_with(['/', '!'])).then(|| words.starts_with(name))
        };
        if self.sources.lines().any(|line| heading(line) == Some(true)) {
            return None;
        }
        let mend = format!("start it under a comment line `// {name}`");
        Some(Finding::new(place, format!("no section `{name}`"), mend))
    }

    fn counted(&self) -> Option<Finding> {
        if self.sources.contains("num_params") || self.tests.contains("num_params") {
            return None;
        }
        let mend = "test `num_params()` of every published config against the paper's count";
        Some(Finding::new(&self.place, "no test counts parameters", mend))
    }

    fn parity(&self) -> Result<Vec<Finding>> {
        let (family, slug) = (&self.family, &self.system.slug);
        let root = self.workspace.path(&format!("{family}/fixtures"));
        let mut fixtures = fixture::fixtures(&root)?;
        fixtures.retain(|fixture| fixture.slug == *slug);
        let mut found = Vec::new();
        if fixtures.is_empty() {
            let what = format!("no fixture of `{slug}`");
            let mend = format!("copy small ones into {family}/fixtures/{slug}");
            found.push(Finding::new(format!("{family}/fixtures"), what, mend));
        }
        for fixture in &fixtures {
            found.extend(self.fixture(fixture));
        }
        Ok(found)
    }

    fn fixture(&self, fixture: &Fixture) -> Option<Finding> {
        let path = self.workspace.relative(&fixture.path);
        if fixture.bytes > FIXTURE_LIMIT {
            let what = format!(
                "{} KB is above {}",
                fixture.bytes / 1024,
                FIXTURE_LIMIT / 1024
            );
            return Some(Finding::new(path, what, "copy a smaller one"));
        }
        let Some(case) = &fixture.case else {
            let mend = "copy it again";
            return Some(Finding::new(path, "a damaged fixture", mend));
        };
        if self.harness.contains(&format!("\"{case}\"")) {
            return None;
        }
        let mend = format!("add a case for it to {}/tests/parity.rs", self.family);
        Some(Finding::new(path, format!("no parity case `{case}`"), mend))
    }

    fn key_map(&self) -> Option<Finding> {
        if self.sources.contains("KeyMap") {
            return None;
        }
        let mend = "declare the official names in a `KeyMap` and load through it";
        Some(Finding::new(&self.place, "no key map", mend))
    }

    fn recipe(&self) -> Option<Finding> {
        let family = self.system.family.replace('-', "_");
        let module = self.system.module();
        let stem = format!("crates/reproduce/src/{family}/{module}");
        let file = format!("{stem}.rs");
        let text = self.workspace.read_or_empty(&file)
            + &self.workspace.read_or_empty(&format!("{stem}/mod.rs"));
        if !text.contains("const RECIPE") {
            return Some(Finding::new(
                file,
                "no recipe",
                "write it and export `RECIPE`",
            ));
        }
        let register = "crates/reproduce/src/lib.rs";
        let entry = format!("{module}::RECIPE");
        if self.workspace.read_or_empty(register).contains(&entry) {
            return None;
        }
        let mend = format!("add `{family}::{entry}` to `RECIPES`");
        Some(Finding::new(
            register,
            format!("`{}` is not registered", self.system.slug),
            mend,
        ))
    }

    fn example(&self) -> Option<Finding> {
        let slug = &self.system.slug;
        let file = format!("examples/{slug}.rs");
        let text = self.workspace.read_or_empty(&file);
        if text.is_empty() {
            return Some(Finding::new(file, "no example", "write what a user types"));
        }
        let lines = text.lines().count();
        if lines > EXAMPLE_LIMIT {
            let what = format!("{lines} lines are above {EXAMPLE_LIMIT}");
            return Some(Finding::new(file, what, "shorten it"));
        }
        let manifest = Manifest::parse(&self.workspace.read_or_empty("examples/Cargo.toml"));
        let mut registered = manifest
            .sections("[example]")
            .map(|section| section.get("name"));
        if registered.any(|name| name == Some(slug)) {
            return None;
        }
        let mend = format!("add an `[[example]]` with name \"{slug}\" and its path");
        Some(Finding::new(
            "examples/Cargo.toml",
            format!("`{slug}` is not registered"),
            mend,
        ))
    }

    fn measured(&self) -> Result<Vec<Finding>> {
        let (slug, module) = (&self.system.slug, self.system.module());
        let folder = format!("{}/benches", self.family);
        let mut benched = false;
        for file in self.workspace.files(&folder, "rs")? {
            benched |= self.workspace.read(&file)?.contains(&module);
        }
        let mut found = Vec::new();
        if !benched {
            let mend = "bench its forward pass and one training step";
            found.push(Finding::new(folder, format!("no bench of `{slug}`"), mend));
        }
        let peer = format!("xtask/peers/{slug}.py");
        if !self.workspace.exists(&peer) {
            found.push(Finding::new(
                peer,
                "no peer",
                "time the same shapes in PyTorch",
            ));
        }
        Ok(found)
    }

    fn documented(&self) -> Option<Finding> {
        let text = self.workspace.read_or_empty(&self.system.source);
        if runnable_doctest(&text) {
            return None;
        }
        let mend = "add a ```-block to the module's docs that compiles and runs";
        Some(Finding::new(
            &self.system.source,
            "no doctest in the module's docs",
            mend,
        ))
    }

    fn refuses(&self) -> Option<Finding> {
        let all = [&self.sources, &self.tests];
        let asks = |text: &&String| text.contains("unwrap_err") || text.contains("expect_err");
        if all.iter().any(asks) {
            return None;
        }
        let mend = "feed the invalid configs and inputs and read the error's text";
        Some(Finding::new(&self.place, "no test of invalid input", mend))
    }
}

/// Whether the `//!` docs hold a code block that `cargo test` runs.
fn runnable_doctest(text: &str) -> bool {
    let mut inside = false;
    for line in text.lines() {
        let Some(info) = line
            .trim()
            .strip_prefix("//!")
            .and_then(|l| l.trim().strip_prefix("```"))
        else {
            continue;
        };
        if !inside
            && info
                .split(',')
                .all(|word| ["", "rust", "edition2024"].contains(&word.trim()))
        {
            return true;
        }
        inside = !inside;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        descriptor::{read, tests::SOURCE},
        fixture::tests::safetensors,
    };
    use serde_json::json;

    /// A house with one complete system.
    fn house() -> (tempfile::TempDir, Workspace, System) {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        let place = "models/theory/src/line_fit";
        let docs = "//! A line.\n//!\n//! ```\n//! assert!(true);\n//! ```\n";
        for (file, text) in [
            (format!("{place}/mod.rs"), format!("{docs}{SOURCE}")),
            (
                format!("{place}/config.rs"),
                "fn t() { x.unwrap_err(); }".into(),
            ),
            (format!("{place}/model.rs"), "// num_params".into()),
            (format!("{place}/objective.rs"), String::new()),
            (format!("{place}/training.rs"), String::new()),
            (format!("{place}/weights.rs"), "KeyMap".into()),
            (
                "models/theory/tests/parity.rs".into(),
                "case: \"loss\"".into(),
            ),
            (
                "models/theory/benches/theory.rs".into(),
                "mod line_fit".into(),
            ),
            ("xtask/peers/line-fit.py".into(), String::new()),
            (
                "crates/reproduce/src/theory/line_fit.rs".into(),
                "pub const RECIPE".into(),
            ),
            (
                "crates/reproduce/src/lib.rs".into(),
                "theory::line_fit::RECIPE".into(),
            ),
            ("examples/line-fit.rs".into(), "fn main() {}".into()),
            (
                "examples/Cargo.toml".into(),
                "[[example]]\nname = \"line-fit\"\n".into(),
            ),
        ] {
            workspace.write(&file, &text).unwrap();
        }
        let folder = workspace.path("models/theory/fixtures/line-fit");
        std::fs::create_dir_all(&folder).unwrap();
        let fixture = safetensors(&json!({ "slug": "line-fit", "case": "loss" }));
        std::fs::write(folder.join("loss.safetensors"), fixture).unwrap();
        let source = format!("{place}/mod.rs");
        let system = read(&source, &workspace.read(&source).unwrap())
            .unwrap()
            .unwrap();
        (dir, workspace, system)
    }

    #[test]
    fn a_complete_system_has_no_findings() {
        let (_dir, workspace, system) = house();
        let findings = findings(&workspace, &system).unwrap();
        assert_eq!(findings, []);
        assert_eq!(summary(&findings), "10/10");
    }

    #[test]
    fn every_missing_part_is_found() {
        for (part, file, text) in [
            (
                Part::Faithful,
                "models/theory/src/line_fit/objective.rs",
                None,
            ),
            (
                Part::Counted,
                "models/theory/src/line_fit/model.rs",
                Some(""),
            ),
            (
                Part::Parity,
                "models/theory/fixtures/line-fit/loss.safetensors",
                None,
            ),
            (
                Part::Parity,
                "models/theory/tests/parity.rs",
                Some("case: \"other\""),
            ),
            (
                Part::Weights,
                "models/theory/src/line_fit/weights.rs",
                Some(""),
            ),
            (Part::Trains, "models/theory/src/line_fit/training.rs", None),
            (
                Part::Reproduces,
                "crates/reproduce/src/theory/line_fit.rs",
                None,
            ),
            (Part::Reproduces, "crates/reproduce/src/lib.rs", Some("")),
            (Part::Example, "examples/line-fit.rs", None),
            (Part::Example, "examples/Cargo.toml", Some("")),
            (Part::Measured, "xtask/peers/line-fit.py", None),
            (Part::Measured, "models/theory/benches/theory.rs", Some("")),
            (
                Part::Documented,
                "models/theory/src/line_fit/mod.rs",
                Some("//! Text."),
            ),
            (
                Part::Refuses,
                "models/theory/src/line_fit/config.rs",
                Some(""),
            ),
        ] {
            let (_dir, workspace, system) = house();
            match text {
                Some(text) => workspace.write(file, text).unwrap(),
                None => std::fs::remove_file(workspace.path(file)).unwrap(),
            }
            let findings = findings(&workspace, &system).unwrap();
            assert_eq!(findings.len(), 1, "{file}: {findings:?}");
            assert_eq!(findings[0].0, part, "{file}");
            assert_eq!(summary(&findings), format!("9/10, without {part}"));
        }
    }

    #[test]
    fn long_examples_and_large_fixtures_are_found() {
        let (_dir, workspace, system) = house();
        workspace
            .write("examples/line-fit.rs", &"//\n".repeat(81))
            .unwrap();
        let fixture = workspace.path("models/theory/fixtures/line-fit/loss.safetensors");
        let file = std::fs::File::options().append(true).open(fixture).unwrap();
        file.set_len(400 * 1024).unwrap();
        let findings = findings(&workspace, &system).unwrap();
        let texts: Vec<_> = findings
            .iter()
            .map(|(_, finding)| finding.what.as_str())
            .collect();
        assert_eq!(texts, ["400 KB is above 300", "81 lines are above 80"]);
    }

    #[test]
    fn a_doctest_must_run() {
        assert!(runnable_doctest("//! ```\n//! x\n//! ```"));
        assert!(runnable_doctest("//! ```text\n//! ```\n//! ```rust\n"));
        assert!(!runnable_doctest("//! ```text\n//! x\n//! ```\n"));
        assert!(!runnable_doctest("//! ```no_run\n//! ```\n/// ```\n"));
    }

    #[test]
    fn a_single_file_marks_its_sections_by_comments() {
        let (_dir, workspace, system) = house();
        let source = "models/theory/src/line_fit.rs".to_owned();
        let text = "// Config\n// ---- Model: the line\n/// Objective\n//! Training\n// Weights\n";
        workspace.write(&source, text).unwrap();
        let system = System { source, ..system };
        let findings = findings(&workspace, &system).unwrap();
        let lacks = |name: &str| {
            let what = format!("no section `{name}`");
            findings.iter().any(|(_, finding)| finding.what == what)
        };
        assert!(!lacks("config") && !lacks("model") && !lacks("weights"));
        assert!(lacks("objective") && lacks("training"));
    }
}
