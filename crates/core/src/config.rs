//! Configuration files in TOML or JSON, told apart by their extension.
//!
//! Burn's `Config` derive ignores a key that it does not know, so a misspelt field silently keeps
//! its default. [`load`] compares the file with what the value serialises to and refuses the key.

use crate::{Error, Result, error::nearest, fs};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::path::Path;

/// Reads a configuration from a `.toml` or `.json` file.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Format`] with line and column if it does not
/// parse, with the key if a key is unknown or missing.
pub fn load<C: Serialize + DeserializeOwned>(path: &Path) -> Result<C> {
    let text = fs::read_to_string(path)?;
    let value = parse(path, &text)?;
    let config: C = serde_json::from_value(value.clone())
        .map_err(|error| Error::format(path, error.to_string()))?;
    let known = serde_json::to_value(&config)
        .map_err(|error| Error::other("serialising a configuration", error))?;
    match unknown_key(&value, &known, "") {
        None => Ok(config),
        Some(problem) => Err(Error::format(path, problem)),
    }
}

/// Writes a configuration as `.toml` or `.json`, whole or not at all.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn save<C: Serialize>(config: &C, path: &Path) -> Result<()> {
    let text = if is_toml(path)? {
        toml::to_string_pretty(config).map_err(|error| Error::format(path, error.to_string()))?
    } else {
        serde_json::to_string_pretty(config)
            .map_err(|error| Error::format(path, error.to_string()))?
            + "\n"
    };
    fs::write(path, text)
}

fn parse(path: &Path, text: &str) -> Result<Value> {
    if is_toml(path)? {
        toml::from_str(text)
            .map_err(|error| Error::format(path, error.to_string().trim().replace('\n', " ")))
    } else {
        serde_json::from_str(text).map_err(|error| Error::format(path, error.to_string()))
    }
}

fn is_toml(path: &Path) -> Result<bool> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Ok(true),
        Some("json") => Ok(false),
        _ => Err(Error::format(
            path,
            "a configuration file ends in .toml or .json",
        )),
    }
}

/// The first key of `given` that `known` lacks, with its full path and the nearest valid one.
fn unknown_key(given: &Value, known: &Value, path: &str) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(key, value)| {
            let full = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            match known.get(key) {
                Some(inner) => unknown_key(value, inner, &full),
                None => {
                    let names: Vec<String> = known.keys().cloned().collect();
                    let hint = match nearest(&names, key).first() {
                        Some(name) => format!("did you mean `{name}`?"),
                        None => format!("known: {}", names.join(", ")),
                    };
                    Some(format!("unknown key `{full}`; {hint}"))
                }
            }
        }),
        (Value::Array(given), Value::Array(known)) => {
            given
                .iter()
                .zip(known)
                .enumerate()
                .find_map(|(index, (given, known))| {
                    unknown_key(given, known, &format!("{path}[{index}]"))
                })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Inner {
        rate: f64,
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Sample {
        width: usize,
        inner: Inner,
    }

    fn sample() -> Sample {
        Sample {
            width: 3,
            inner: Inner { rate: 0.1 },
        }
    }

    #[test]
    fn both_formats_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.toml", "config.json"] {
            let path = dir.path().join(name);
            save(&sample(), &path).unwrap();
            assert_eq!(load::<Sample>(&path).unwrap(), sample());
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "width = 3\n[inner]\nrate = 0.1\nraet = 0.2\n").unwrap();
        let error = load::<Sample>(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("config.toml: unknown key `inner.raet`; did you mean `rate`?"),
            "{error}"
        );
    }

    #[test]
    fn malformed_missing_and_foreign_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, "{\"width\": }").unwrap();
        let error = load::<Sample>(&path).unwrap_err().to_string();
        assert!(error.contains("line 1 column 11"), "{error}");
        fs::write(&path, "{\"width\": 3}").unwrap();
        let error = load::<Sample>(&path).unwrap_err().to_string();
        assert!(error.contains("missing field `inner`"), "{error}");
        let error = load::<Sample>(Path::new("none.json")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read none.json: "));
        let yaml = dir.path().join("c.yaml");
        fs::write(&yaml, "").unwrap();
        let error = load::<Sample>(&yaml).unwrap_err().to_string();
        assert!(error.ends_with("a configuration file ends in .toml or .json"));
    }
}
