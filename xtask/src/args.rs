//! Command-line arguments: options with a value, flags, and the rest in order.

use crate::fault::{Fault, Result};
use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

/// What a command accepts besides positional arguments.
pub struct Spec {
    /// Options that take a value, as `--name value` or `--name=value`; a value that begins with
    /// `--` in the second way only.
    pub options: &'static [&'static str],
    /// Options that stand alone.
    pub flags: &'static [&'static str],
    /// The most positional arguments there can be.
    pub positionals: usize,
}

/// The arguments of one command, sorted by kind.
#[derive(Debug, Default)]
pub struct Args {
    options: BTreeMap<String, String>,
    flags: Vec<String>,
    positionals: Vec<String>,
}

impl Args {
    /// One flag and nothing else.
    pub fn with_flag(flag: &str) -> Self {
        Self {
            flags: vec![flag.to_owned()],
            ..Self::default()
        }
    }

    /// Sorts `given` by `spec`.
    ///
    /// # Errors
    /// [`Fault::Usage`] for an unknown or repeated option, a missing or superfluous value, or too
    /// many positional arguments.
    pub fn parse(spec: &Spec, given: &[String]) -> Result<Self> {
        let mut args = Self::default();
        let mut given = given.iter();
        while let Some(argument) = given.next() {
            if !argument.starts_with('-') {
                args.positionals.push(argument.clone());
                continue;
            }
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            if spec.options.contains(&name) {
                let value = match inline {
                    Some(value) => value,
                    None => separate(name, given.next())?,
                };
                if args.options.insert(name.to_owned(), value).is_some() {
                    return Err(Fault::usage(format!("{name} is given twice")));
                }
            } else if !spec.flags.contains(&name) {
                let known: Vec<_> = spec.options.iter().chain(spec.flags).copied().collect();
                return Err(if known.is_empty() {
                    Fault::usage(format!("unknown option `{name}`; there are none here"))
                } else {
                    Fault::unknown("option", name, &known)
                });
            } else if inline.is_some() {
                return Err(Fault::usage(format!("{name} takes no value")));
            } else {
                args.flags.push(name.to_owned());
            }
        }
        match args.positionals.get(spec.positionals) {
            Some(extra) => Err(Fault::usage(format!("unexpected argument `{extra}`"))),
            None => Ok(args),
        }
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// The value of an option as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.option(name).map(PathBuf::from)
    }

    /// The value of an option as a number.
    ///
    /// # Errors
    /// [`Fault::Usage`] if it does not parse.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.option(name)
            .map(|value| {
                value.parse().map_err(|_| {
                    Fault::usage(format!(
                        "{name} `{value}`: write a non-negative whole number"
                    ))
                })
            })
            .transpose()
    }

    /// Whether a flag was given.
    pub fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    /// The positional arguments in order.
    pub fn positionals(&self) -> &[String] {
        &self.positionals
    }
}

/// The value of `name` that stands in an argument of its own.
fn separate(name: &str, value: Option<&String>) -> Result<String> {
    match value {
        Some(value) if value.starts_with("--") => Err(Fault::usage(format!(
            "{name} needs a value: write {name}={value} if `{value}` is meant to be it"
        ))),
        Some(value) => Ok(value.clone()),
        None => Err(Fault::usage(format!("{name} needs a value"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: Spec = Spec {
        options: &["--seed", "--out"],
        flags: &["--resume"],
        positionals: 1,
    };

    fn parse(words: &str) -> Result<Args> {
        let given: Vec<String> = words.split_whitespace().map(String::from).collect();
        Args::parse(&SPEC, &given)
    }

    #[test]
    fn both_spellings_of_an_option_are_understood() {
        let args = parse("qlae --seed 3 --out=runs/a --resume").unwrap();
        assert_eq!(args.positionals(), ["qlae"]);
        assert_eq!(args.number::<u64>("--seed").unwrap(), Some(3));
        assert_eq!(args.path("--out"), Some(PathBuf::from("runs/a")));
        assert!(args.flag("--resume"));
        let args = parse("--out=--resume --seed -1").unwrap();
        assert_eq!(args.option("--out"), Some("--resume"));
        assert_eq!(args.option("--seed"), Some("-1"));
        assert!(!args.flag("--resume"));
    }

    #[test]
    fn every_misuse_is_named() {
        for (words, text) in [
            (
                "--sede 3",
                "unknown option `--sede`; did you mean `--seed`?",
            ),
            ("--seed", "--seed needs a value"),
            (
                "--out --resume",
                "--out needs a value: write --out=--resume if `--resume` is meant to be it",
            ),
            ("--seed 1 --seed 2", "--seed is given twice"),
            ("--resume=yes", "--resume takes no value"),
            ("a b", "unexpected argument `b`"),
        ] {
            let fault = parse(words).unwrap_err();
            assert_eq!(fault, Fault::usage(text), "{words}");
        }
        let fault = parse("--seed x").unwrap().number::<u64>("--seed");
        assert_eq!(
            fault.unwrap_err().to_string(),
            "--seed `x`: write a non-negative whole number"
        );
    }
}
