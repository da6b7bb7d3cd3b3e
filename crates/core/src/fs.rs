//! Files that are complete or absent.

use crate::{Error, Result};
use std::{
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Creates `dir` and its parents and proves that a file can be written in it.
///
/// # Errors
/// [`Error::Io`] that names the folder.
pub fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
    let probe = dir.join(".write-probe");
    fs::write(&probe, b"").map_err(Error::io("write in the folder", dir))?;
    fs::remove_file(&probe).map_err(Error::io("remove", &probe))
}

/// Reads a whole text file.
///
/// # Errors
/// [`Error::Io`] that names the file.
pub fn read_to_string(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io("read", path))
}

/// Writes `bytes` so that `path` holds either its old content or all of the new.
///
/// # Errors
/// [`Error::Io`] that names the file.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    write_with(path, |temporary| {
        let mut file = fs::File::create(temporary).map_err(Error::io("create", path))?;
        file.write_all(bytes.as_ref())
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", path))
    })
}

/// Lets `write` fill a file of a temporary name beside `path`, then renames it to `path`.
///
/// # Errors
/// Whatever `write` reports (the temporary file is removed), or [`Error::Io`].
pub fn write_with(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = temporary_name(path);
    let written = write(&temporary)
        .and_then(|()| fs::rename(&temporary, path).map_err(Error::io("rename to", path)));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Lets `fill` fill a folder of a temporary name beside `path`, then renames it to `path`.
///
/// An existing folder at `path` is replaced.
///
/// # Errors
/// Whatever `fill` reports (the temporary folder is removed), or [`Error::Io`].
pub fn write_dir_with(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = temporary_name(path);
    let _ = fs::remove_dir_all(&temporary);
    fs::create_dir_all(&temporary).map_err(Error::io("create the folder", &temporary))?;
    let filled = fill(&temporary).and_then(|()| {
        if path.exists() {
            fs::remove_dir_all(path).map_err(Error::io("replace the folder", path))?;
        }
        fs::rename(&temporary, path).map_err(Error::io("rename to", path))
    });
    if filled.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    filled
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.json");
        write(&path, "old").unwrap();
        let failed = write_with(&path, |temporary| {
            fs::write(temporary, "half").unwrap();
            Err(Error::other("test", "stopped"))
        });
        assert!(failed.is_err());
        assert_eq!(read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("step-1");
        for text in ["one", "two"] {
            write_dir_with(&path, |folder| write(&folder.join("file"), text)).unwrap();
        }
        assert_eq!(read_to_string(&path.join("file")).unwrap(), "two");
        let failed = write_dir_with(&path, |_| Err(Error::other("test", "stopped")));
        assert!(failed.is_err());
        assert_eq!(read_to_string(&path.join("file")).unwrap(), "two");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        write(&file, "").unwrap();
        let error = create_dir(&file.join("run")).unwrap_err().to_string();
        assert!(error.starts_with("cannot create the folder "), "{error}");
        assert!(error.contains("run"), "{error}");
    }
}
