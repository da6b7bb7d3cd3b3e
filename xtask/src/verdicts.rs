//! The verdicts of the last recorded run of a system, committed beside its family.
//!
//! `models/<family>/verdicts/<slug>.json` holds the `settings` and `verdicts` of a run's
//! `report.json` as they are.

use crate::{
    descriptor::{self, System},
    fault::{Fault, Result},
    workspace::Workspace,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Where the verdicts of `system` are kept.
pub fn file(system: &System) -> String {
    format!("models/{}/verdicts/{}.json", system.family, system.slug)
}

/// The recorded verdicts of `system`, if there are any.
///
/// # Errors
/// [`Fault::Failed`] if the file is not what [`record`] writes.
pub fn of(workspace: &Workspace, system: &System) -> Result<Option<Value>> {
    let file = file(system);
    if !workspace.exists(&file) {
        return Ok(None);
    }
    let recorded: Value = serde_json::from_str(&workspace.read(&file)?)
        .map_err(|error| Fault::failed(format!("{file}: {error}")))?;
    match fits(system, &recorded) {
        Ok(()) => Ok(Some(recorded)),
        Err(problem) => Err(Fault::failed(format!(
            "{file}: {problem}: run `cargo xtask reproduce {0}` and \
             `cargo xtask docs --record runs/{0}`",
            system.slug
        ))),
    }
}

/// Keeps the verdicts of the run in `folder`; gives the file that was written.
///
/// # Errors
/// [`Fault::Failed`] if the folder has no report or one that does not fit the descriptor.
pub fn record(workspace: &Workspace, systems: &[System], folder: &Path) -> Result<String> {
    let path = folder.join("report.json");
    let text = fs::read_to_string(&path).map_err(Fault::io("read", &path))?;
    let problem = |text: String| Fault::failed(format!("{}: {text}", path.display()));
    let report: Value = serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?;
    let slug = report["system"]["slug"]
        .as_str()
        .ok_or_else(|| problem("no system.slug; this is not a reproduction's report".into()))?;
    let system = descriptor::find(systems, slug)?;
    let recorded = json!({ "settings": report["settings"], "verdicts": report["verdicts"] });
    fits(system, &recorded).map_err(problem)?;
    let file = file(system);
    workspace.write(&file, &format!("{recorded:#}\n"))?;
    Ok(file)
}

/// The outcomes in one line, e.g. `3 met, 1 reported`.
pub fn summary(recorded: &Value) -> String {
    let count = |outcome: &str| {
        let verdicts = recorded["verdicts"].as_array();
        verdicts.map_or(0, |verdicts| {
            verdicts.iter().filter(|v| v["outcome"] == outcome).count()
        })
    };
    let counts: Vec<String> = OUTCOMES
        .iter()
        .map(|(outcome, word)| (count(outcome), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    counts.join(", ")
}

const OUTCOMES: &[(&str, &str)] = &[
    ("met", "met"),
    ("not_met", "not met"),
    ("missing", "missing"),
    ("reported", "reported"),
];

/// Whether there is one known outcome for each claim of the descriptor, in order.
fn fits(system: &System, recorded: &Value) -> std::result::Result<(), String> {
    let verdicts = recorded["verdicts"]
        .as_array()
        .ok_or("no list of verdicts")?;
    let claims: Vec<_> = verdicts
        .iter()
        .filter_map(|v| v["claim"].as_str())
        .collect();
    let expected: Vec<_> = system
        .claims
        .iter()
        .map(|claim| claim.id.as_str())
        .collect();
    if claims != expected || claims.len() != verdicts.len() {
        return Err(format!(
            "verdicts on `{}`, but the claims are `{}`",
            claims.join("`, `"),
            expected.join("`, `")
        ));
    }
    let known = |outcome: &Value| OUTCOMES.iter().any(|(known, _)| outcome == known);
    match verdicts.iter().find(|verdict| !known(&verdict["outcome"])) {
        Some(verdict) => Err(format!("unknown outcome {}", verdict["outcome"])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{read, tests::SOURCE};

    fn report(claim: &str, outcome: &str) -> String {
        json!({
            "system": { "slug": "line-fit" },
            "settings": { "scale": "small" },
            "verdicts": [{ "claim": claim, "outcome": outcome, "measured": "0.1", "rule": "< 1" }],
        })
        .to_string()
    }

    #[test]
    fn a_run_is_recorded_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        let system = read("a.rs", SOURCE).unwrap().unwrap();
        let systems = std::slice::from_ref(&system);
        assert_eq!(of(&workspace, &system), Ok(None));
        let run = dir.path().join("run");
        fs::create_dir(&run).unwrap();
        let error = record(&workspace, systems, &run).unwrap_err().to_string();
        assert!(error.contains("report.json"), "{error}");
        for (claim, outcome, text) in [
            (
                "other",
                "met",
                "verdicts on `other`, but the claims are `gap`",
            ),
            ("gap", "great", "unknown outcome \"great\""),
        ] {
            fs::write(run.join("report.json"), report(claim, outcome)).unwrap();
            let error = record(&workspace, systems, &run).unwrap_err().to_string();
            assert!(error.ends_with(text), "{error}");
        }
        fs::write(run.join("report.json"), report("gap", "not_met")).unwrap();
        let file = record(&workspace, systems, &run).unwrap();
        assert_eq!(file, "models/theory/verdicts/line-fit.json");
        let recorded = of(&workspace, &system).unwrap().unwrap();
        assert_eq!(summary(&recorded), "1 not met");
        assert_eq!(recorded["settings"]["scale"], "small");
        workspace.write(&file, "{\"verdicts\": []}").unwrap();
        let error = of(&workspace, &system).unwrap_err().to_string();
        assert!(error.contains("cargo xtask reproduce line-fit"), "{error}");
    }
}
