//! Text files line by line, with errors that name file and line.

use menagerie_core::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A problem in line `line`, counted from 1.
pub(crate) fn broken(path: &Path, line: usize, problem: impl std::fmt::Display) -> Error {
    Error::format(path, format!("line {line}: {problem}"))
}

/// Hands every line to `take`, with its number from 1 and without its end, until the file ends or
/// `take` says that it has enough.
pub(crate) fn each(
    path: &Path,
    mut take: impl FnMut(usize, &str) -> Result<bool>,
) -> Result<usize> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut bytes, mut number) = (Vec::new(), 0);
    loop {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes);
        if read.map_err(Error::io("read", path))? == 0 {
            return Ok(number);
        }
        number += 1;
        let line = std::str::from_utf8(&bytes).map_err(|_| broken(path, number, "is no UTF-8"))?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if !take(number, line)? {
            return Ok(number);
        }
    }
}

/// The cells of a line of comma-separated values; quotes around a cell protect commas, and a doubled
/// quote inside stands for one.
pub(crate) fn cells(line: &str) -> Result<Vec<String>, &'static str> {
    if !line.contains('"') {
        return Ok(line.split(',').map(str::to_owned).collect());
    }
    let mut cells = vec![String::new()];
    let mut characters = line.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                push(&mut cells, '"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => push(&mut cells, other),
        }
    }
    match quoted {
        true => Err("a quote is not closed"),
        false => Ok(cells),
    }
}

fn push(cells: &mut [String], character: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(character);
    }
}

/// A label that is written as 0 or 1.
pub(crate) fn label(text: &str) -> Result<bool, String> {
    match text.trim() {
        "0" | "0.0" => Ok(false),
        "1" | "1.0" => Ok(true),
        other => Err(format!("the label is `{other}`, not 0 or 1")),
    }
}

/// The columns of a file with a heading, by name.
pub(crate) struct Csv {
    names: Vec<String>,
}

impl Csv {
    /// Hands every line below the heading to `take`, with its number and its cells.
    ///
    /// # Errors
    /// A file that cannot be read, a line with more or fewer cells than the heading, an open quote.
    pub(crate) fn each(
        path: &Path,
        mut take: impl FnMut(&Self, usize, &[String]) -> Result<bool>,
    ) -> Result<()> {
        let mut csv: Option<Self> = None;
        let lines = each(path, |number, line| {
            let cells = cells(line).map_err(|problem| broken(path, number, problem))?;
            let Some(csv) = &csv else {
                // A mark of the byte order before the first name.
                let clean = |name: String| name.trim_start_matches('\u{feff}').trim().to_owned();
                csv = Some(Self {
                    names: cells.into_iter().map(clean).collect(),
                });
                return Ok(true);
            };
            if cells.len() != csv.names.len() {
                let problem = format!(
                    "has {} cells where the heading has {}",
                    cells.len(),
                    csv.names.len()
                );
                return Err(broken(path, number, problem));
            }
            take(csv, number, &cells)
        })?;
        match lines {
            0 => Err(Error::format(path, "is empty")),
            _ => Ok(()),
        }
    }

    /// The places of columns.
    ///
    /// # Errors
    /// [`Error::Format`] for one that is not there.
    pub(crate) fn places<const N: usize>(
        &self,
        path: &Path,
        names: [&str; N],
    ) -> Result<[usize; N]> {
        let mut places = [0; N];
        for (place, name) in places.iter_mut().zip(names) {
            let at = self.names.iter().position(|known| known == name);
            *place = at.ok_or_else(|| {
                let known = self.names.join(", ");
                broken(
                    path,
                    1,
                    format!("has no column `{name}`; there are: {known}"),
                )
            })?;
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_protect_commas() {
        assert_eq!(cells("a,,b").unwrap(), ["a", "", "b"]);
        let line = r#"11,"American President, The (1995)",Comedy"#;
        assert_eq!(
            cells(line).unwrap(),
            ["11", "American President, The (1995)", "Comedy"]
        );
        assert_eq!(cells(r#""a ""b"" c","#).unwrap(), [r#"a "b" c"#, ""]);
        assert_eq!(cells(r#"a,"b"#).unwrap_err(), "a quote is not closed");
    }

    #[test]
    fn labels_are_zero_or_one() {
        assert_eq!(label("1.0"), Ok(true));
        assert_eq!(label(" 0"), Ok(false));
        assert_eq!(label("2").unwrap_err(), "the label is `2`, not 0 or 1");
    }
}
