//! The data sets that Menagerie's systems use: what they consist of, where they lie, how they get
//! there.
//!
//! [`find`] returns the folder of a data set, looking in this order:
//!
//! 1. `$MENAGERIE_DATA/<name>`, the user's own copies. A folder that is there but lacks a file is
//!    an error: nothing is fetched behind the user's back.
//! 2. The cache: `$MENAGERIE_CACHE/data/<name>`, or `menagerie/data/<name>` in the platform's cache
//!    folder.
//! 3. The network: every missing file is fetched into the cache. A transfer that was cut resumes
//!    where it stopped, and a file gets its final name only after its sha256 has been verified.
//!
//! With `MENAGERIE_OFFLINE=1` the third step is an error that says which files are missing, where
//! they come from and where to put them. `MENAGERIE_MIRROR` names a server that holds copies as
//! `<mirror>/<name>/<file>`.
//!
//! ```
//! let mnist = menagerie_data::dataset("mnist")?;
//! assert_eq!(mnist.files.len(), 4);
//!
//! let error = menagerie_data::dataset("fashionmnist").unwrap_err();
//! assert!(error.to_string().contains("did you mean `fashion-mnist`"));
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! The same from a shell: `menagerie-data fetch mnist`, `menagerie-data list`,
//! `menagerie-data verify`.

mod fetch;
mod locator;
mod registry;

pub use locator::{Checked, Locator};
pub use registry::{DATA_SETS, DataSet, File, Part, dataset};

use menagerie_core::Result;
use std::path::PathBuf;

/// The folder of the data set `name`, fetched into the cache if it is not on this machine.
///
/// # Errors
/// [`Unknown`](menagerie_core::Error::Unknown) for a name that is not in [`DATA_SETS`], else as
/// [`Locator::find`].
pub fn find(name: &str) -> Result<PathBuf> {
    Locator::from_env().find(dataset(name)?)
}

/// Checks the sha256 of every file of the data set `name` and returns its folder.
///
/// # Errors
/// [`Unknown`](menagerie_core::Error::Unknown) for a name that is not in [`DATA_SETS`], else as
/// [`Locator::verify`].
pub fn verify(name: &str) -> Result<PathBuf> {
    Locator::from_env().verify(dataset(name)?)
}
