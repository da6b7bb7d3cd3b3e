//! Display advertising: Criteo's and Avazu's competitions, as they and FuxiCTR publish them.

use crate::calendar::weekday;
use crate::lines::{Csv, broken, each, label};
use crate::table::{Cell, Field, Kind, Table};
use menagerie_core::{Error, Result};
use std::path::Path;

/// What becomes of Criteo's 13 counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Categories: `⌊ln(x)²⌋` above 2, else the number itself; a missing one is a missing name. As the
    /// winners of the competition, and FuxiCTR's Criteo_x4, have it.
    Buckets,
    /// Numbers as they are; a missing one is 0.
    Numbers,
}

/// The names of Criteo's fields: I1 to I13 and C1 to C26.
fn criteo_names() -> Vec<String> {
    let counts = (1..=13).map(|at| format!("I{at}"));
    let categories = (1..=26).map(|at| format!("C{at}"));
    counts.chain(categories).collect()
}

/// Reads Criteo: the competition's `train.txt` (tabs, no heading) or a `.csv` with the heading
/// `label,I1,…,I13,C1,…,C26`; the first `rows` rows, or all.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] with the line's number for a line with more or fewer cells, a label
/// that is not 0 or 1, or a count that is no number.
pub fn criteo(path: &Path, counts: Counts, rows: Option<usize>) -> Result<Table> {
    let names = criteo_names();
    let kind = match counts {
        Counts::Buckets => Kind::Category,
        Counts::Numbers => Kind::Number,
    };
    let kinds = (0..39).map(|at| if at < 13 { kind } else { Kind::Category });
    let fields = names.iter().zip(kinds);
    let mut table = Table::new(fields.map(|(name, kind)| Field::new(name, kind)).collect())?;
    let limit = rows.unwrap_or(usize::MAX);
    let mut separator = '\t';
    let lines = each(path, |number, line| {
        if number == 1 && line.trim_start_matches('\u{feff}').starts_with("label,") {
            let expected = format!("label,{}", names.join(","));
            if line.trim_start_matches('\u{feff}') != expected {
                return Err(broken(path, 1, format!("the heading is not {expected}")));
            }
            separator = ',';
            return Ok(true);
        }
        if table.len() >= limit {
            return Ok(false);
        }
        let cells: Vec<&str> = line.split(separator).collect();
        let problem = |problem: String| broken(path, number, problem);
        if cells.len() != 40 {
            return Err(problem(format!("has {} cells, not 40", cells.len())));
        }
        let buckets: Vec<String> = match counts {
            Counts::Buckets => cells[1..14]
                .iter()
                .map(|cell| bucket(cell).map_err(problem))
                .collect::<Result<_>>()?,
            Counts::Numbers => Vec::new(),
        };
        let mut row = Vec::with_capacity(39);
        for (at, cell) in cells[1..].iter().enumerate() {
            row.push(match (at < 13, counts) {
                (true, Counts::Buckets) => Cell::Category(&buckets[at]),
                (true, Counts::Numbers) => {
                    Cell::Number(count(cell).map_err(problem)?.unwrap_or(0.0))
                }
                (false, _) => Cell::Category(cell),
            });
        }
        table.push(&row, label(cells[0]).map_err(problem)?)?;
        Ok(true)
    })?;
    match lines {
        0 => Err(Error::format(path, "is empty")),
        _ => Ok(table),
    }
}

fn count(cell: &str) -> Result<Option<f32>, String> {
    if cell.is_empty() {
        return Ok(None);
    }
    match cell.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(Some(value)),
        _ => Err(format!("`{cell}` is no finite number")),
    }
}

fn bucket(cell: &str) -> Result<String, String> {
    Ok(match count(cell)? {
        None => String::new(),
        Some(value) if value > 2.0 => f64::from(value).ln().powi(2).floor().to_string(),
        Some(value) => value.trunc().to_string(),
    })
}

/// Avazu's columns that are fields as they are.
const AVAZU: [&str; 21] = [
    "C1",
    "banner_pos",
    "site_id",
    "site_domain",
    "site_category",
    "app_id",
    "app_domain",
    "app_category",
    "device_id",
    "device_ip",
    "device_model",
    "device_type",
    "device_conn_type",
    "C14",
    "C15",
    "C16",
    "C17",
    "C18",
    "C19",
    "C20",
    "C21",
];

/// Reads Avazu's `train.csv` (the heading `id,click,hour,C1,…`, in any order): 24 fields, of which hour,
/// weekday and weekend come from the column `hour`, `YYMMDDHH`; the first `rows` rows, or all. The
/// column `id` is left out.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] with the line's number for a missing column, a line with more or fewer
/// cells, a label that is not 0 or 1, or an hour that is none.
pub fn avazu(path: &Path, rows: Option<usize>) -> Result<Table> {
    let mut names = vec!["hour"];
    names.extend(AVAZU);
    names.extend(["weekday", "weekend"]);
    let mut table = Table::of_categories(&names)?;
    let limit = rows.unwrap_or(usize::MAX);
    Csv::each(path, |csv, number, cells| {
        if table.len() >= limit {
            return Ok(false);
        }
        let [click, time] = csv.places(path, ["click", "hour"])?;
        let places = csv.places(path, AVAZU)?;
        let problem = |problem: String| broken(path, number, problem);
        let [hour, day, weekend] = moment(&cells[time]).map_err(problem)?;
        let mut row = vec![Cell::Category(&hour)];
        row.extend(places.iter().map(|at| Cell::Category(&cells[*at])));
        row.extend([Cell::Category(&day), Cell::Category(&weekend)]);
        table.push(&row, label(&cells[click]).map_err(problem)?)?;
        Ok(true)
    })?;
    Ok(table)
}

/// Hour of the day, weekday from Monday 0, and whether that is a Saturday or Sunday.
fn moment(text: &str) -> Result<[String; 3], String> {
    let wrong = || format!("the hour is `{text}`, not YYMMDDHH");
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let part = |at: usize| text[at..at + 2].parse::<i64>().map_err(|_| wrong());
    let (month, day, hour) = (part(2)?, part(4)?, part(6)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 {
        return Err(wrong());
    }
    let weekday = weekday(2000 + part(0)?, month, day);
    let weekend = u8::from(weekday >= 5).to_string();
    Ok([text[6..].to_owned(), weekday.to_string(), weekend])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_fall_into_buckets() {
        let found = ["", "-1", "0", "2", "3", "100", "1539"].map(|cell| bucket(cell).unwrap());
        // ln(3)² = 1.2, ln(100)² = 21.2, ln(1539)² = 53.9.
        assert_eq!(found, ["", "-1", "0", "2", "1", "21", "53"]);
        assert_eq!(bucket("x").unwrap_err(), "`x` is no finite number");
        assert_eq!(bucket("NaN").unwrap_err(), "`NaN` is no finite number");
    }

    #[test]
    fn hours_have_a_weekday() {
        assert_eq!(moment("14102100").unwrap(), ["00", "1", "0"]);
        assert_eq!(moment("14102523").unwrap(), ["23", "5", "1"]);
        for wrong in ["1410210", "14132100", "14102124", "hour"] {
            let error = moment(wrong).unwrap_err();
            assert_eq!(error, format!("the hour is `{wrong}`, not YYMMDDHH"));
        }
    }
}
