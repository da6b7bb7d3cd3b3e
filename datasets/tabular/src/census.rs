//! Adult: who of the US census of 1994 earns more than 50 000 dollars.

use crate::lines::{broken, each};
use crate::table::{Cell, Field, Kind, Table};
use menagerie_core::{Error, Result};
use std::path::Path;

/// Columns of the files before the label.
const FIELDS: [(&str, Kind); 14] = [
    ("age", Kind::Number),
    ("workclass", Kind::Category),
    ("fnlwgt", Kind::Number),
    ("education", Kind::Category),
    ("education-num", Kind::Number),
    ("marital-status", Kind::Category),
    ("occupation", Kind::Category),
    ("relationship", Kind::Category),
    ("race", Kind::Category),
    ("sex", Kind::Category),
    ("capital-gain", Kind::Number),
    ("capital-loss", Kind::Number),
    ("hours-per-week", Kind::Number),
    ("native-country", Kind::Category),
];

/// Reads a file of 14 attributes and a label, separated by commas; `?` is a missing name. Empty lines and
/// those that begin with `|` are passed over, as the distributors have them.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] with the line's number for a line with more or fewer cells, a number
/// that is none, or a label that is neither `<=50K` nor `>50K`.
pub fn read(path: &Path) -> Result<Table> {
    let fields = FIELDS.map(|(name, kind)| Field::new(name, kind));
    let mut table = Table::new(fields.into())?;
    each(path, |number, line| {
        if line.trim().is_empty() || line.starts_with('|') {
            return Ok(true);
        }
        let (cells, label) = row(line).map_err(|problem| broken(path, number, problem))?;
        table.push(&cells, label)?;
        Ok(true)
    })?;
    match table.is_empty() {
        true => Err(Error::format(path, "holds no row")),
        false => Ok(table),
    }
}

fn row(line: &str) -> Result<(Vec<Cell<'_>>, bool), String> {
    let words: Vec<&str> = line.split(',').map(str::trim).collect();
    let [cells @ .., label] = words.as_slice() else {
        return Err("is empty".into());
    };
    if cells.len() != FIELDS.len() {
        return Err(format!("has {} cells, not 15", words.len()));
    }
    let label = match label.trim_end_matches('.') {
        "<=50K" => false,
        ">50K" => true,
        other => return Err(format!("the label is `{other}`, not <=50K or >50K")),
    };
    let mut row = Vec::with_capacity(cells.len());
    for (cell, (name, kind)) in cells.iter().zip(FIELDS) {
        row.push(match kind {
            Kind::Number => match cell.parse::<f32>() {
                Ok(value) if value.is_finite() => Cell::Number(value),
                _ => return Err(format!("{name} is `{cell}`, no finite number")),
            },
            _ => Cell::Category(if *cell == "?" { "" } else { cell }),
        });
    }
    Ok((row, label))
}

/// The data set `adult`: 32 561 training and 16 281 test rows.
///
/// # Errors
/// As [`menagerie_data::find`] and [`read`].
pub fn adult() -> Result<[Table; 2]> {
    let folder = menagerie_data::find("adult")?;
    Ok([
        read(&folder.join("adult.data"))?,
        read(&folder.join("adult.test"))?,
    ])
}
