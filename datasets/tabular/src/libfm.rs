//! The text format of libFM: a label and `index:value` pairs, one line per row.
//!
//! Frappe and MovieLens-tag were published in it by He and Chua (*Neural Factorization Machines for
//! Sparse Predictive Analytics*, SIGIR 2017): a pair for each field, in the order of the fields, with
//! the value 1, and labels 1 and -1.

use crate::lines::{broken, each};
use crate::table::{Cell, Splits, Table};
use menagerie_core::{Error, Result};
use menagerie_data::Locator;
use std::path::{Path, PathBuf};

/// The fields of Frappe.
pub const FRAPPE: [&str; 10] = [
    "user",
    "item",
    "daytime",
    "weekday",
    "isweekend",
    "homework",
    "cost",
    "weather",
    "country",
    "city",
];

/// The fields of MovieLens-tag.
pub const MOVIELENS_TAG: [&str; 3] = ["user_id", "item_id", "tag_id"];

/// Reads a file whose lines have one index for each of `fields`; an index is the name of a category. A
/// label is 0 or 1, or -1 as libFM writes a 0.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] with the line's number for an empty line, one with more or fewer
/// pairs, a pair that is not `index:1`, or another label; [`Error::Input`] as [`Table::new`].
pub fn read(path: &Path, fields: &[&str]) -> Result<Table> {
    let mut table = Table::of_categories(fields)?;
    let lines = each(path, |number, line| {
        let (cells, label) =
            row(line, fields.len()).map_err(|error| broken(path, number, error))?;
        table.push(&cells, label)?;
        Ok(true)
    })?;
    match lines {
        0 => Err(Error::format(path, "is empty")),
        _ => Ok(table),
    }
}

fn row(line: &str, fields: usize) -> Result<(Vec<Cell<'_>>, bool), String> {
    let mut words = line.split_ascii_whitespace();
    let label = words.next().ok_or("is empty")?;
    let label = match label {
        "-1" | "-1.0" => false,
        other => crate::lines::label(other)?,
    };
    let pair = |word: &'_ str| -> Result<(), String> {
        let wrong = || format!("`{word}` is not an index and 1, as in 451:1");
        let (index, value) = word.split_once(':').ok_or_else(wrong)?;
        index.parse::<u32>().map_err(|_| wrong())?;
        match value.parse::<f32>() {
            Ok(1.0) => Ok(()),
            _ => Err(wrong()),
        }
    };
    let mut cells = Vec::with_capacity(fields);
    for word in words {
        pair(word)?;
        cells.push(Cell::Category(word.split(':').next().unwrap_or_default()));
    }
    match cells.len() == fields {
        true => Ok((cells, label)),
        false => Err(format!("has {} pairs, not {fields}", cells.len())),
    }
}

/// The names under which the parts of a set are published: by He and Chua, and by others after them.
fn names(prefix: &str) -> [[String; 3]; 3] {
    let first = ["train", "validation", "test"];
    let then = ["train", "valid", "test"];
    [
        first.map(|part| format!("{prefix}.{part}.libfm")),
        then.map(|part| format!("{part}.libfm")),
        then.map(|part| format!("{part}.libsvm")),
    ]
}

/// Training, validation and test rows below a folder: `<prefix>.train.libfm`,
/// `<prefix>.validation.libfm` and `<prefix>.test.libfm`, or `train`, `valid` and `test` with the ending
/// `.libfm` or `.libsvm`.
///
/// # Errors
/// [`Error::Data`] if files are missing; those of [`read`].
pub fn splits(folder: &Path, prefix: &str, fields: &[&str]) -> Result<Splits> {
    let found = names(prefix).into_iter().find_map(|names| {
        let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        paths.iter().all(|path| path.is_file()).then_some(paths)
    });
    let Some(paths) = found else {
        let listed = names(prefix).map(|names| names.join(", "));
        return Err(Error::Data {
            name: prefix.into(),
            problem: format!(
                "its terms do not let it be fetched from here: put the published files ({}) into {}",
                listed.join("; or "),
                folder.display()
            ),
        });
    };
    let mut tables = paths.iter().map(|path| read(path, fields));
    let mut next = || {
        tables
            .next()
            .unwrap_or_else(|| Table::of_categories(fields))
    };
    Ok(Splits {
        train: next()?,
        valid: next()?,
        test: next()?,
    })
}

/// The folder in which a user puts a set that is not fetched: `$MENAGERIE_DATA/<name>`, else that of the
/// cache.
///
/// # Errors
/// [`Error::Data`] if there is neither.
pub fn folder(name: &str) -> Result<PathBuf> {
    let locator = Locator::from_env();
    let own = locator.data_dir.map(|dir| dir.join(name));
    let cached = locator.cache_dir.map(|dir| dir.join(name));
    // The user's own folder is named in errors even where it is not there yet.
    let present = own.iter().chain(&cached).find(|dir| dir.is_dir()).cloned();
    present.or(own).or(cached).ok_or_else(|| Error::Data {
        name: name.into(),
        problem: "there is no folder for it: set MENAGERIE_DATA".into(),
    })
}

/// Frappe: 288 609 uses of apps with their context, and as many chances that were not taken.
///
/// # Errors
/// As [`splits`].
pub fn frappe() -> Result<Splits> {
    splits(&folder("frappe")?, "frappe", &FRAPPE)
}

/// MovieLens-tag: 2 006 859 taggings, and chances that were not taken.
///
/// # Errors
/// As [`splits`].
pub fn movielens_tag() -> Result<Splits> {
    splits(&folder("movielens-tag")?, "ml-tag", &MOVIELENS_TAG)
}
