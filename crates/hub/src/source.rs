//! Where weights come from.

use crate::{HubOptions, StateDict, download};
use menagerie_core::{Error, Result};
use std::{
    fmt,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

/// A local file, or a file of a repository on the Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of this machine.
    File(PathBuf),
    /// A file of a repository.
    Hub {
        /// The repository, `organisation/name`.
        repo: String,
        /// The path of the file inside it.
        file: String,
        /// A branch, tag or commit.
        revision: String,
    },
}

impl Source {
    /// Understands `path/to/file.safetensors` and `hf:organisation/name/file.safetensors`, the
    /// latter with an optional `@revision`; without one it is `main`.
    ///
    /// # Errors
    /// [`Error::Argument`] that shows the form.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = |rule: &str| {
            let form = "write hf:<organisation>/<name>/<file>[@<revision>] or a path";
            Error::argument("weights", text, format!("{rule}; {form}"))
        };
        let Some(hub) = text.strip_prefix("hf:") else {
            return match text {
                "" => Err(malformed("is empty")),
                path => Ok(Self::File(path.into())),
            };
        };
        let (hub, revision) = match hub.rsplit_once('@') {
            Some((hub, revision)) => (hub, revision),
            None => (hub, "main"),
        };
        let parts: Vec<&str> = hub.splitn(3, '/').collect();
        let [organisation, name, file] = parts[..] else {
            return Err(malformed("names no file of a repository"));
        };
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        if !plain(organisation) || !plain(name) {
            return Err(malformed("is no repository's name"));
        }
        if !stays_inside(file) || !stays_inside(revision) {
            return Err(malformed("leaves the repository"));
        }
        Ok(Self::Hub {
            repo: format!("{organisation}/{name}"),
            file: file.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// The local path of the file, fetched into the cache first where it is not there.
    ///
    /// A file is looked for in the cache before the network is asked. A transfer that was cut is
    /// taken up where it stopped; what arrives is held to the announced size and, for large
    /// files, to its SHA-256 before it gets its final name.
    ///
    /// # Errors
    /// [`Error::Io`] for a local file that is not there; [`Error::Network`] that names the
    /// address, what the server said, and the remedy.
    pub fn fetch(&self, options: &HubOptions) -> Result<PathBuf> {
        self.fetch_with(options, &mut |_, _| {})
    }

    /// [`fetch`](Self::fetch) that calls `progress` with the bytes that are there and the bytes
    /// of the whole file.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn fetch_with(
        &self,
        options: &HubOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<PathBuf> {
        match self {
            Self::File(path) => {
                std::fs::metadata(path).map_err(Error::io("find", path))?;
                Ok(path.clone())
            }
            Self::Hub {
                repo,
                file,
                revision,
            } => {
                let inside = [file, revision].iter().all(|part| stays_inside(part));
                if !inside || !stays_inside(repo) {
                    return Err(Error::argument(
                        "weights",
                        self.to_string(),
                        "leaves the cache",
                    ));
                }
                download::fetch(repo, file, revision, options, progress)
            }
        }
    }

    /// The weights in the file.
    ///
    /// # Errors
    /// Those of [`fetch`](Self::fetch) and of [`StateDict::open`].
    pub fn open(&self, options: &HubOptions) -> Result<StateDict> {
        StateDict::open(self.fetch(options)?)
    }
}

/// Whether a path from outside stays below the folder it is joined to.
fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\\')
        && Path::new(path)
            .components()
            .all(|component| matches!(component, Component::Normal(_)))
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Hub {
                repo,
                file,
                revision,
            } => write!(f, "hf:{repo}/{file}@{revision}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        assert_eq!(
            Source::parse("a/b.pt").unwrap(),
            Source::File("a/b.pt".into())
        );
        let hub = Source::parse("hf:facebook/mae/sub/model.safetensors@v1").unwrap();
        let expected = Source::Hub {
            repo: "facebook/mae".into(),
            file: "sub/model.safetensors".into(),
            revision: "v1".into(),
        };
        assert_eq!(hub, expected);
        assert_eq!(hub.to_string().parse::<Source>().unwrap(), expected);
        let main = Source::parse("hf:a/b/c.npz").unwrap();
        assert_eq!(main.to_string(), "hf:a/b/c.npz@main");
    }

    #[test]
    fn malformed_sources_show_the_form() {
        for (text, rule) in [
            ("", "is empty"),
            ("hf:gpt2/model.bin", "names no file"),
            ("hf:a/b/", "leaves the repository"),
            ("hf:a/b/../../etc/passwd", "leaves the repository"),
            ("hf:a/b/c@../x", "leaves the repository"),
            ("hf:a/../c.pt", "is no repository's name"),
            ("hf:a b/c/d", "is no repository's name"),
        ] {
            let error = Source::parse(text).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let error = error.to_string();
            assert!(
                error.contains(rule) && error.contains("hf:<organisation>"),
                "{error}"
            );
        }
    }
}
