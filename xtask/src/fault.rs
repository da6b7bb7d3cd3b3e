//! The one error type of the driver: one line and an exit code.

use std::{fmt, io, path::Path};

/// The result of every fallible call in the driver.
pub type Result<T> = std::result::Result<T, Fault>;

/// Why a command ended early.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// What the user typed cannot be carried out: exit code 2.
    Usage(String),
    /// Something went wrong on the way: exit code 1.
    Failed(String),
}

impl Fault {
    /// A mistake on the command line.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// A failure while running.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// A refused file operation; for `map_err(Fault::io("read", path))`.
    pub fn io(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let context = format!("cannot {action} {}", path.display());
        move |error| Self::Failed(format!("{context}: {error}"))
    }

    /// A name outside of `known`, with the nearest ones or all of them.
    pub fn unknown(kind: &str, name: &str, known: &[&str]) -> Self {
        let near = nearest(known, name);
        let hint = if near.is_empty() {
            format!("known: {}", known.join(", "))
        } else {
            let near: Vec<_> = near.iter().map(|name| format!("`{name}`")).collect();
            format!("did you mean {}?", near.join(" or "))
        };
        Self::Usage(format!("unknown {kind} `{name}`; {hint}"))
    }

    /// 2 for usage, 1 for failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

/// The up to three known names that are close enough to `name` to be a slip of the keyboard.
pub fn nearest<'a>(known: &[&'a str], name: &str) -> Vec<&'a str> {
    // The dashes that all options share say nothing.
    let name = name.trim_start_matches('-').to_lowercase();
    let mut scored: Vec<(f64, &str)> = known
        .iter()
        .map(|candidate| {
            let contains = name.len() > 2 && candidate.contains(&name);
            let distance = strsim::jaro_winkler(candidate.trim_start_matches('-'), &name);
            (if contains { 1.0 } else { distance }, *candidate)
        })
        .filter(|(score, _)| *score > 0.8)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLUGS: &[&str] = &["prototype-net", "qlae", "cmim", "mixed-ae"];

    #[test]
    fn slips_of_the_keyboard_find_their_slug() {
        assert_eq!(nearest(SLUGS, "qale"), ["qlae"]);
        assert_eq!(nearest(SLUGS, "Prototype_Net"), ["prototype-net"]);
        assert_eq!(nearest(SLUGS, "mixed"), ["mixed-ae"]);
        assert!(nearest(SLUGS, "zebra").is_empty());
    }

    #[test]
    fn an_unknown_name_is_a_usage_error_with_a_hint() {
        let fault = Fault::unknown("system", "qlea", SLUGS);
        assert_eq!(fault.exit_code(), 2);
        assert_eq!(
            fault.to_string(),
            "unknown system `qlea`; did you mean `qlae`?"
        );
        assert_eq!(
            Fault::unknown("system", "zebra", SLUGS).to_string(),
            "unknown system `zebra`; known: prototype-net, qlae, cmim, mixed-ae"
        );
    }
}
