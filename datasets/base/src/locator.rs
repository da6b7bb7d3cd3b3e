use crate::{
    DataSet, File, Part,
    fetch::{self, Cause},
};
use menagerie_core::{Error, Result};
use sha2::{Digest, Sha256};
use std::{
    env,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where data sets are looked for and how they are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locator {
    /// The folder of the user's own copies, one sub-folder per data set; looked at first and never
    /// written to.
    pub data_dir: Option<PathBuf>,
    /// The folder that fetched data sets go to, one sub-folder per data set. `None` where the
    /// platform has no cache folder.
    pub cache_dir: Option<PathBuf>,
    /// Whether the network is out of bounds.
    pub offline: bool,
    /// A server that holds copies as `<mirror>/<name>/<file>`, used instead of the distributors'.
    pub mirror: Option<String>,
    /// The wait before a failed transfer is tried again; it doubles with every further failure.
    pub retry_after: Duration,
}

/// What [`Locator::check`] found out about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The file as the data set lists it, e.g. `train-images-idx3-ubyte.gz`.
    pub file: &'static str,
    /// What is wrong with it, with the path; `None` where it is as its distributors published it.
    pub problem: Option<String>,
}

impl Locator {
    /// The settings in `MENAGERIE_DATA`, `MENAGERIE_CACHE`, `MENAGERIE_OFFLINE` and
    /// `MENAGERIE_MIRROR`. An empty variable counts as unset, and `MENAGERIE_OFFLINE=0` as online.
    pub fn from_env() -> Self {
        let folder = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            data_dir: folder("MENAGERIE_DATA"),
            cache_dir: folder("MENAGERIE_CACHE")
                .or_else(|| dirs::cache_dir().map(|cache| cache.join("menagerie")))
                .map(|cache| cache.join("data")),
            offline: text("MENAGERIE_OFFLINE").is_some_and(|value| value != "0"),
            mirror: text("MENAGERIE_MIRROR"),
            retry_after: Duration::from_millis(500),
        }
    }

    /// The folder that holds every file of `set`, or `None` where a file is missing. Never fetches
    /// and never reads a file's content.
    pub fn locate(&self, set: &DataSet) -> Option<PathBuf> {
        if let Some(dir) = self.own(set) {
            return missing(set, &dir).is_empty().then_some(dir);
        }
        self.cached(set).filter(|dir| missing(set, dir).is_empty())
    }

    /// The folder that holds every file of `set`; what is missing in the cache is fetched.
    ///
    /// # Errors
    /// [`Error::Data`] when the user's own folder lacks a file, or when files are missing in the
    /// cache and cannot be fetched: the text says which, where from and where to put them.
    /// [`Error::Io`] when the cache cannot be written.
    pub fn find(&self, set: &DataSet) -> Result<PathBuf> {
        if let Some(dir) = self.own(set) {
            let missing = missing(set, &dir);
            return if missing.is_empty() {
                Ok(dir)
            } else {
                let places = dir.display().to_string();
                Err(self.incomplete(set, "files are missing", &missing, &places))
            };
        }
        let dir = self.cached(set).ok_or_else(|| self.homeless(set))?;
        let absent = missing(set, &dir);
        if absent.is_empty() {
            return Ok(dir);
        }
        if self.offline {
            return Err(self.unavailable(set, "MENAGERIE_OFFLINE is set", &absent));
        }
        for file in absent {
            fetch::file(file, &self.addresses(set, file), &dir, self.retry_after).map_err(
                |cause| match cause {
                    Cause::Local(error) => error,
                    // Files that came before this one are complete: name what is still missing.
                    Cause::Remote(reason) => self.unavailable(set, &reason, &missing(set, &dir)),
                },
            )?;
        }
        Ok(dir)
    }

    /// Reads every file of `set` where [`locate`](Self::locate) looks for it and compares its size
    /// and sha256 with the registry's. Never fetches.
    ///
    /// # Errors
    /// [`Error::Data`] when a file is missing, [`Error::Io`] when one cannot be read.
    pub fn check(&self, set: &DataSet) -> Result<(PathBuf, Vec<Checked>)> {
        let dir = self
            .own(set)
            .or_else(|| self.cached(set))
            .ok_or_else(|| self.homeless(set))?;
        let absent = missing(set, &dir);
        if !absent.is_empty() {
            // The user's own folder is never filled.
            let reason = if self.own(set).is_some() {
                "files are missing".into()
            } else {
                format!(
                    "files are missing: run `cargo xtask data fetch {}` or `menagerie-data fetch {}`",
                    set.name, set.name
                )
            };
            return Err(self.unavailable(set, &reason, &absent));
        }
        let checked = set
            .files
            .iter()
            .map(|file| {
                Ok(Checked {
                    file: file.path,
                    problem: problem(file, &dir)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok((dir, checked))
    }

    /// The folder of `set` after a [`check`](Self::check) that found nothing wrong.
    ///
    /// # Errors
    /// As [`check`](Self::check), and [`Error::Data`] that names every file that differs.
    pub fn verify(&self, set: &DataSet) -> Result<PathBuf> {
        let (dir, checked) = self.check(set)?;
        let problems: Vec<String> = checked
            .into_iter()
            .filter_map(|file| file.problem)
            .collect();
        if problems.is_empty() {
            return Ok(dir);
        }
        let problem = format!(
            "{}; delete what differs and run `cargo xtask data fetch {}` or `menagerie-data fetch {}`",
            problems.join("; "),
            set.name,
            set.name
        );
        Err(Error::Data {
            name: set.name.into(),
            problem,
        })
    }

    /// The user's own folder of `set`, where there is one.
    fn own(&self, set: &DataSet) -> Option<PathBuf> {
        self.data_dir
            .as_ref()
            .map(|dir| dir.join(set.name))
            .filter(|dir| dir.exists())
    }

    fn cached(&self, set: &DataSet) -> Option<PathBuf> {
        self.cache_dir.as_ref().map(|dir| dir.join(set.name))
    }

    fn addresses(&self, set: &DataSet, file: &File) -> Vec<String> {
        match &self.mirror {
            Some(mirror) => {
                vec![format!(
                    "{}/{}/{}",
                    mirror.trim_end_matches('/'),
                    set.name,
                    file.path
                )]
            }
            None => file.urls.iter().map(ToString::to_string).collect(),
        }
    }

    fn homeless(&self, set: &DataSet) -> Error {
        let all: Vec<&File> = set.files.iter().collect();
        self.unavailable(set, "there is no cache folder (set MENAGERIE_CACHE)", &all)
    }

    /// An error that offers both of the folders in which `set` is looked for.
    fn unavailable(&self, set: &DataSet, reason: &str, missing: &[&File]) -> Error {
        let own = match &self.data_dir {
            Some(dir) => dir.join(set.name).display().to_string(),
            None => format!("$MENAGERIE_DATA/{}", set.name),
        };
        let places = match self.cached(set) {
            Some(cache) => format!("{own} or {}", cache.display()),
            None => own,
        };
        self.incomplete(set, reason, missing, &places)
    }

    fn incomplete(&self, set: &DataSet, reason: &str, missing: &[&File], places: &str) -> Error {
        // One folder on one server for all of the files reads better than an address for each.
        let folders: Vec<Option<String>> = missing
            .iter()
            .map(|file| {
                let address = self.addresses(set, file).into_iter().next()?;
                address.strip_suffix(file.path).map(ToString::to_string)
            })
            .collect();
        let paths: Vec<&str> = missing.iter().map(|file| file.path).collect();
        let fetch = match folders.first() {
            Some(Some(folder)) if folders.iter().all(|other| other.as_ref() == Some(folder)) => {
                format!("{} from {folder}", paths.join(", "))
            }
            _ => missing
                .iter()
                .map(|file| {
                    format!(
                        "{} from {}",
                        file.path,
                        self.addresses(set, file).join(" or ")
                    )
                })
                .collect::<Vec<_>>()
                .join(", "),
        };
        Error::Data {
            name: set.name.into(),
            problem: format!("{reason}; fetch {fetch} and put the files into {places}"),
        }
    }
}

/// The files of `set` that stand in `dir` in none of their forms.
fn missing<'a>(set: &'a DataSet, dir: &Path) -> Vec<&'a File> {
    set.files
        .iter()
        .filter(|file| standing(file, dir).is_empty())
        .collect()
}

/// The forms of `file` whose parts are all in `dir`.
fn standing(file: &File, dir: &Path) -> Vec<Vec<Part>> {
    let mut forms = file.forms();
    forms.retain(|parts| parts.iter().all(|part| dir.join(part.path).is_file()));
    forms
}

/// What keeps every form of `file` in `dir` from being the published one.
fn problem(file: &File, dir: &Path) -> Result<Option<String>> {
    let mut problem = None;
    for form in standing(file, dir) {
        let mut differs = None;
        for part in form {
            differs = differs.or(difference(&dir.join(part.path), &part)?);
        }
        match differs {
            None => return Ok(None),
            // The form that is fetched comes first, and its text is the one to show.
            Some(text) => problem = problem.or(Some(text)),
        }
    }
    Ok(problem)
}

/// How the file at `path` differs from `part`.
pub(crate) fn difference(path: &Path, part: &Part) -> Result<Option<String>> {
    let size = std::fs::metadata(path)
        .map_err(Error::io("read", path))?
        .len();
    if size != part.size {
        let text = format!(
            "{} has {size} bytes, expected {}",
            path.display(),
            part.size
        );
        return Ok(Some(text));
    }
    let Some(expected) = part.sha256 else {
        return Ok(None);
    };
    let found = sha256(path)?;
    Ok((found != expected).then(|| {
        format!(
            "{} has the sha256 {found}, expected {expected}",
            path.display()
        )
    }))
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
