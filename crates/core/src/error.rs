//! One error type for the library crates.
//!
//! Every variant's text is one line that says what is wrong, where, and how to mend it.

use std::path::{Path, PathBuf};

/// The result of every fallible call in Menagerie's library crates.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, each with the thing, the value and the rule it broke.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration holds a value that no model can be built from.
    #[error("{config}.{field} = {value}: {rule}")]
    Config {
        /// The configuration's type, e.g. `PrototypeNetConfig`.
        config: &'static str,
        /// The field, e.g. `prototypes`.
        field: String,
        /// The offending value as the user would write it.
        value: String,
        /// What a valid value looks like.
        rule: String,
    },
    /// An argument does not fit what it is handed to.
    #[error("{what} is {value}: {rule}")]
    Input {
        /// The argument, e.g. `images`.
        what: String,
        /// The offending value or shape.
        value: String,
        /// What a valid value looks like.
        rule: String,
    },
    /// A command-line argument that cannot be understood.
    #[error("{argument} `{value}`: {rule}")]
    Argument {
        /// The argument, e.g. `--device`.
        argument: &'static str,
        /// The value as it was given.
        value: String,
        /// What a valid value looks like.
        rule: String,
    },
    /// A name that is not one of the known ones.
    #[error("unknown {kind} `{name}`{}", suggestion(.known, .name))]
    Unknown {
        /// What was looked up, e.g. `system` or `device`.
        kind: &'static str,
        /// The name as it was given.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A device whose backend is not part of this build.
    #[error(
        "device `{device}` needs the backend `{feature}`, which is not compiled in: rebuild with `--features {feature}` (compiled in: {compiled})"
    )]
    BackendMissing {
        /// The device as it was given.
        device: String,
        /// The Cargo feature that adds its backend.
        feature: &'static str,
        /// The backends that are compiled in, comma-separated.
        compiled: String,
    },
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {reason}", .path.display())]
    Io {
        /// What was attempted, e.g. `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason; part of the text, so not a `source` to be printed again.
        reason: std::io::Error,
    },
    /// A file is not what its format says it must be.
    #[error("{}: {problem}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
    /// A data set is not on this machine and could not be fetched.
    #[error("data set `{name}` is incomplete: {problem}")]
    Data {
        /// The data set's name, e.g. `mnist`.
        name: String,
        /// What is missing, where it comes from and where to put it.
        problem: String,
    },
    /// A transfer failed.
    #[error("{url}: {problem}")]
    Network {
        /// The address.
        url: String,
        /// What the server or the connection said.
        problem: String,
    },
    /// Weights do not fit the module they are loaded into.
    #[error("{origin} does not fit {module}: {problem}")]
    Weights {
        /// The file or Hub id.
        origin: String,
        /// The module's name.
        module: String,
        /// The keys that are missing, unexpected or misshapen.
        problem: String,
    },
    /// Training produced a value that is not finite.
    #[error("step {step}: {quantity} is {value}; the last good checkpoint is {checkpoint}")]
    NonFinite {
        /// The step that produced it, counted from 1.
        step: usize,
        /// The metric, e.g. `loss`.
        quantity: String,
        /// The value as printed, `NaN` or `inf`.
        value: f64,
        /// Where the last checkpoint with finite metrics lies, or `none`.
        checkpoint: String,
    },
    /// Anything that a lower layer reported in its own words.
    #[error("{context}: {message}")]
    Other {
        /// What was being done.
        context: String,
        /// The lower layer's message.
        message: String,
    },
}

impl Error {
    /// A configuration value that breaks `rule`.
    pub fn config(
        config: &'static str,
        field: impl Into<String>,
        value: impl std::fmt::Debug,
        rule: impl Into<String>,
    ) -> Self {
        Self::Config {
            config,
            field: field.into(),
            value: format!("{value:?}"),
            rule: rule.into(),
        }
    }

    /// An argument that breaks `rule`.
    pub fn input(
        what: impl Into<String>,
        value: impl std::fmt::Debug,
        rule: impl Into<String>,
    ) -> Self {
        Self::Input {
            what: what.into(),
            value: format!("{value:?}"),
            rule: rule.into(),
        }
    }

    /// A command-line argument that breaks `rule`.
    pub fn argument(
        argument: &'static str,
        value: impl Into<String>,
        rule: impl Into<String>,
    ) -> Self {
        Self::Argument {
            argument,
            value: value.into(),
            rule: rule.into(),
        }
    }

    /// A name outside of `known`; the text suggests the nearest ones.
    pub fn unknown<S: Into<String>>(
        kind: &'static str,
        name: impl Into<String>,
        known: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::Unknown {
            kind,
            name: name.into(),
            known: known.into_iter().map(Into::into).collect(),
        }
    }

    /// A refused file operation; for `map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |reason| Self::Io {
            action,
            path,
            reason,
        }
    }

    /// A malformed file.
    pub fn format(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::Format {
            path: path.as_ref().to_path_buf(),
            problem: problem.into(),
        }
    }

    /// A lower layer's message with what was being done.
    pub fn other(context: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Other {
            context: context.into(),
            message: message.to_string(),
        }
    }

    /// Whether the mistake lies in what the user typed rather than in what happened while running.
    ///
    /// Programs exit with [`exit_code`](Self::exit_code) accordingly.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Config { .. }
                | Self::Argument { .. }
                | Self::Unknown { .. }
                | Self::BackendMissing { .. }
        )
    }

    /// The exit code of a program that ends with this error: 2 for usage, 1 for failure.
    pub fn exit_code(&self) -> u8 {
        if self.is_usage() { 2 } else { 1 }
    }
}

/// `; did you mean …` for the nearest known names, else the list of all of them.
fn suggestion(known: &[String], name: &str) -> String {
    let near = nearest(known, name);
    if !near.is_empty() {
        format!("; did you mean {}?", join(&near))
    } else if known.is_empty() {
        String::new()
    } else {
        format!("; known: {}", known.join(", "))
    }
}

/// The up to three known names that are close enough to `name` to be a slip of the keyboard.
pub fn nearest<'a>(known: &'a [String], name: &str) -> Vec<&'a str> {
    let mut scored: Vec<(f64, &str)> = known
        .iter()
        .map(|candidate| {
            let distance = strsim::jaro_winkler(candidate, &name.to_lowercase());
            let contains = name.len() > 2 && candidate.contains(name);
            (if contains { 1.0 } else { distance }, candidate.as_str())
        })
        .filter(|(score, _)| *score > 0.8)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

fn join(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_error_names_field_value_and_rule() {
        let error = Error::config("QlaeConfig", "values", 0, "must be at least 1");
        assert_eq!(
            error.to_string(),
            "QlaeConfig.values = 0: must be at least 1"
        );
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let error = Error::unknown("system", "prototype-nett", ["prototype-net", "qlae"]);
        assert_eq!(
            error.to_string(),
            "unknown system `prototype-nett`; did you mean `prototype-net`?"
        );
        let error = Error::unknown("system", "zebra", ["prototype-net", "qlae"]);
        assert_eq!(
            error.to_string(),
            "unknown system `zebra`; known: prototype-net, qlae"
        );
    }

    #[test]
    fn an_io_error_names_the_action_and_the_path() {
        let error =
            Error::io("read", "/no/such/file")(std::io::Error::from(std::io::ErrorKind::NotFound));
        assert!(error.to_string().starts_with("cannot read /no/such/file: "));
        assert_eq!(error.exit_code(), 1);
    }
}
