//! The folder of a run.

use crate::Metrics;
use menagerie_core::{Error, Result, config, fs};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// A run's folder, opened for a new or a resumed training.
#[derive(Clone, Debug)]
pub struct Run {
    folder: PathBuf,
    resume: bool,
}

/// Where a line of `metrics.jsonl` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// A training step.
    Train,
    /// An evaluation.
    Evaluation,
}

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps done when the line was written.
    pub step: usize,
    /// Training step or evaluation.
    pub split: Split,
    /// The numbers.
    pub metrics: Metrics,
}

impl Run {
    /// Opens `folder` for a run with `config`, creating it if needed.
    ///
    /// With `resume`, a run that is there is continued, after a check that it was started with the
    /// same configuration; a folder without a run starts afresh, so that a sweep can be resumed
    /// arm by arm.
    ///
    /// # Errors
    /// If the folder cannot be written; if it holds a run and `resume` is not set; if the
    /// configurations differ (the first differing key is named).
    pub fn create<C: Serialize>(folder: &Path, config: &C, resume: bool) -> Result<Self> {
        fs::create_dir(folder)?;
        let path = folder.join("config.json");
        let given = serde_json::to_value(config)
            .map_err(|error| Error::other("serialising a configuration", error))?;
        let occupied = path.is_file() || folder.join("checkpoints").is_dir();
        if occupied && !resume {
            return Err(Error::input(
                "the run folder",
                folder,
                "already holds a run: continue it with --resume or choose another with --out",
            ));
        }
        if path.is_file() {
            let stored: Value = config::load(&path)?;
            if let Some((key, stored, given)) = difference(&stored, &given, "") {
                return Err(Error::format(
                    &path,
                    format!(
                        "the run was started with {key} = {stored}, but {key} = {given} was asked \
                         for: resume with the same configuration or choose another folder"
                    ),
                ));
            }
        } else {
            config::save(&given, &path)?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            resume,
        })
    }

    /// The run that is in `folder`, to read what it has logged.
    pub fn open(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            resume: true,
        }
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a run that is there is to be continued.
    pub fn resumes(&self) -> bool {
        self.resume
    }

    /// Every line of `metrics.jsonl`, oldest first.
    ///
    /// # Errors
    /// [`Error::Format`] with the line's number if one does not parse.
    pub fn history(&self) -> Result<Vec<Record>> {
        let path = self.metrics_path();
        if !path.is_file() {
            return Ok(Vec::new());
        }
        fs::read_to_string(&path)?
            .lines()
            .enumerate()
            .map(|(index, line)| {
                serde_json::from_str(line)
                    .map_err(|error| Error::format(&path, format!("line {}: {error}", index + 1)))
            })
            .collect()
    }

    /// Appends a line to `metrics.jsonl`.
    pub(crate) fn log(&self, record: &Record) -> Result<()> {
        let path = self.metrics_path();
        let mut line = serde_json::to_string(record)
            .map_err(|error| Error::other("serialising metrics", error))?;
        line.push('\n');
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(Error::io("append to", &path))
    }

    /// Drops what was logged after `step`: those steps are about to be run again. A kill in the
    /// middle of a write can leave half a line at the end, which goes as well.
    pub(crate) fn rewind(&self, step: usize) -> Result<()> {
        let path = self.metrics_path();
        if !path.is_file() {
            return Ok(());
        }
        let kept: String = fs::read_to_string(&path)?
            .lines()
            .filter(|line| {
                serde_json::from_str::<Record>(line).is_ok_and(|record| record.step <= step)
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        fs::write(&path, kept)
    }

    fn metrics_path(&self) -> PathBuf {
        self.folder.join("metrics.jsonl")
    }
}

/// The first key in which two JSON values differ, with both values.
fn difference(stored: &Value, given: &Value, key: &str) -> Option<(String, String, String)> {
    match (stored, given) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|name| {
                let full = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                let nothing = Value::Null;
                difference(
                    a.get(name).unwrap_or(&nothing),
                    b.get(name).unwrap_or(&nothing),
                    &full,
                )
            })
        }
        _ if stored == given => None,
        _ => {
            let key = if key.is_empty() {
                "the configuration"
            } else {
                key
            };
            Some((key.into(), stored.to_string(), given.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_is_resumed_only_with_its_own_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({"steps": 3, "optimiser": {"rate": 0.1}});
        Run::create(dir.path(), &config, false).unwrap();
        let error = Run::create(dir.path(), &config, false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("already holds a run: continue it with --resume"),
            "{error}"
        );
        Run::create(dir.path(), &config, true).unwrap();
        let other = json!({"steps": 3, "optimiser": {"rate": 0.2}});
        let error = Run::create(dir.path(), &other, true)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("started with optimiser.rate = 0.1, but optimiser.rate = 0.2"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("taken");
        std::fs::write(&file, "").unwrap();
        let error = Run::create(&file, &json!({}), false)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("cannot create the folder"), "{error}");
        assert!(error.contains("taken"), "{error}");
    }

    #[test]
    fn rewinding_drops_later_and_broken_lines() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path(), &json!({}), false).unwrap();
        for step in 1..=3 {
            run.log(&Record {
                step,
                split: Split::Train,
                metrics: Metrics::new().with("loss", step as f64),
            })
            .unwrap();
        }
        let path = run.metrics_path();
        let text = std::fs::read_to_string(&path).unwrap() + "{\"step\": 4, \"spl";
        std::fs::write(&path, text).unwrap();
        let error = run.history().unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl: line 4: "), "{error}");
        run.rewind(2).unwrap();
        let steps: Vec<usize> = run
            .history()
            .unwrap()
            .iter()
            .map(|line| line.step)
            .collect();
        assert_eq!(steps, [1, 2]);
    }
}
