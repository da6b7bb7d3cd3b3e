//! Result tables.

use crate::stat::{Stat, fixed, number};
use menagerie_core::{Error, Result};
use std::fmt;

/// One cell of a [`Table`], or the value of a setting.
///
/// Made by `From` of text, integers, floats, [`Stat`] and `Option`s of them (`None` is
/// [`Empty`](Self::Empty)); [`cells!`](crate::cells) converts a whole row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cell {
    /// Nothing known or nothing to say; prints as a dash.
    Empty,
    /// Words.
    Text(String),
    /// A count; wide enough for every `u64` and `i64`.
    Integer(i128),
    /// A measurement.
    Number {
        /// The value; `NaN` and infinities print as such.
        value: f64,
        /// Decimals; `None` prints up to four significant digits.
        digits: Option<usize>,
    },
    /// A measurement over several runs.
    Stat {
        /// Mean, deviation and number of runs.
        stat: Stat,
        /// Decimals; `None` lets the deviation decide.
        digits: Option<usize>,
    },
}

impl Cell {
    /// A number or [`Stat`] printed with `digits` decimals; other cells stay as they are.
    pub fn fixed(cell: impl Into<Self>, digits: usize) -> Self {
        let digits = Some(digits);
        match cell.into() {
            Self::Number { value, .. } => Self::Number { value, digits },
            Self::Stat { stat, .. } => Self::Stat { stat, digits },
            other => other,
        }
    }

    /// The number that cells are compared by, the mean of a [`Stat`].
    pub(crate) fn value(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Number { value, .. } => Some(*value),
            Self::Stat { stat, .. } => Some(stat.mean),
            Self::Empty | Self::Text(_) => None,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("–"),
            Self::Text(text) => f.write_str(text),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number {
                value,
                digits: Some(digits),
            } => f.write_str(&fixed(*value, *digits)),
            Self::Number { value, .. } => f.write_str(&number(*value)),
            Self::Stat {
                stat,
                digits: Some(digits),
            } => write!(f, "{stat:.digits$}"),
            Self::Stat { stat, .. } => write!(f, "{stat}"),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Text(if value { "yes" } else { "no" }.into())
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number {
            value,
            digits: None,
        }
    }
}

impl From<f32> for Cell {
    fn from(value: f32) -> Self {
        Self::from(f64::from(value))
    }
}

impl From<Stat> for Cell {
    fn from(stat: Stat) -> Self {
        Self::Stat { stat, digits: None }
    }
}

impl<C: Into<Self>> From<Option<C>> for Cell {
    fn from(cell: Option<C>) -> Self {
        cell.map_or(Self::Empty, Into::into)
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Cell {
            fn from(value: $integer) -> Self {
                Self::Integer(value as i128)
            }
        }
    )*};
}
from_integers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

/// A row of [`Cell`]s from values of different types: `cells!["ours", stat, 0.95]`.
#[macro_export]
macro_rules! cells {
    ($($cell:expr),* $(,)?) => {
        [$($crate::Cell::from($cell)),*]
    };
}

/// Which of several numbers is the one to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Best {
    /// The largest, e.g. for accuracy.
    Highest,
    /// The smallest, e.g. for a loss.
    Lowest,
}

impl Best {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Highest => "highest",
            Self::Lowest => "lowest",
        }
    }
}

/// A titled table; numbers stand to the right, text to the left.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
    pub(crate) note: Option<String>,
    pub(crate) details: bool,
    best_of_columns: Vec<(String, Best)>,
    best_of_rows: Option<Best>,
}

impl Table {
    /// A table without rows; `columns` are the headings.
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        columns: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            title: title.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            note: None,
            details: false,
            best_of_columns: Vec::new(),
            best_of_rows: None,
        }
    }

    /// Adds a row; its length is checked by [`Report::table`](crate::Report::table).
    #[must_use]
    pub fn row<C: Into<Cell>>(mut self, cells: impl IntoIterator<Item = C>) -> Self {
        self.push(cells);
        self
    }

    /// Adds a row in place, for loops.
    pub fn push<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// A remark below the table: what is measured, on what, and where the paper's numbers stand.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Emphasises the best number of the column headed `column`.
    #[must_use]
    pub fn highlight_column(mut self, column: impl Into<String>, best: Best) -> Self {
        self.best_of_columns.push((column.into(), best));
        self
    }

    /// Emphasises the best number of every row.
    #[must_use]
    pub fn highlight_rows(mut self, best: Best) -> Self {
        self.best_of_rows = Some(best);
        self
    }

    /// Keeps the table out of [`Report::summary`](crate::Report::summary): it is too long for a
    /// terminal.
    #[must_use]
    pub fn details(mut self) -> Self {
        self.details = true;
        self
    }

    /// # Errors
    /// [`Error::Input`] for a table without columns, a row of another length than the headings,
    /// or the emphasis of a column that does not exist.
    pub(crate) fn check(&self) -> Result<()> {
        let what = |part: &str| format!("{part} of table `{}`", self.title);
        let width = self.columns.len();
        if width == 0 {
            return Err(Error::input(what("columns"), width, "must be at least 1"));
        }
        for (index, row) in self.rows.iter().enumerate() {
            if row.len() != width {
                return Err(Error::input(
                    what(&format!("length of row {index}")),
                    row.len(),
                    format!("must be {width}, one cell per column"),
                ));
            }
        }
        for (column, _) in &self.best_of_columns {
            if !self.columns.contains(column) {
                return Err(Error::input(
                    what("emphasised column"),
                    column,
                    format!("must be one of {}", self.columns.join(", ")),
                ));
            }
        }
        Ok(())
    }

    /// Whether each cell is the best of its row or column.
    ///
    /// A number that is alone among its peers or not finite is never emphasised.
    pub(crate) fn emphasis(&self) -> Vec<Vec<bool>> {
        let mut emphasis: Vec<Vec<bool>> =
            self.rows.iter().map(|row| vec![false; row.len()]).collect();
        for (name, best) in &self.best_of_columns {
            let column = self.columns.iter().position(|column| column == name);
            let Some(column) = column else { continue };
            let cells = || self.rows.iter().filter_map(move |row| row.get(column));
            if let Some(value) = extreme(cells(), *best) {
                for (row, marks) in self.rows.iter().zip(&mut emphasis) {
                    marks[column] |= row[column].value() == Some(value);
                }
            }
        }
        if let Some(best) = self.best_of_rows {
            for (row, marks) in self.rows.iter().zip(&mut emphasis) {
                if let Some(value) = extreme(row.iter(), best) {
                    for (cell, mark) in row.iter().zip(marks) {
                        *mark |= cell.value() == Some(value);
                    }
                }
            }
        }
        emphasis
    }

    /// What the emphasis means, e.g. `lowest of its row`; `None` without emphasis.
    pub(crate) fn legend(&self) -> Option<String> {
        let columns = self
            .best_of_columns
            .iter()
            .map(|(column, best)| format!("{} {column}", best.word()));
        let rows = self
            .best_of_rows
            .map(|best| format!("{} of its row", best.word()));
        let parts: Vec<String> = columns.chain(rows).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Whether a column holds numbers (or nothing) only, and so is set to the right.
    pub(crate) fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column));
        !self.rows.is_empty() && cells.all(|cell| !matches!(cell, Cell::Text(_)))
    }
}

fn extreme<'a>(cells: impl Iterator<Item = &'a Cell>, best: Best) -> Option<f64> {
    let values: Vec<f64> = cells
        .filter_map(Cell::value)
        .filter(|value| value.is_finite())
        .collect();
    if values.len() < 2 {
        return None;
    }
    values.into_iter().reduce(match best {
        Best::Highest => f64::max,
        Best::Lowest => f64::min,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_print_what_they_hold() {
        let cells = cells![
            "QLAE",
            3_usize,
            u64::MAX,
            0.5_f32,
            f64::NAN,
            None::<f64>,
            Cell::fixed(1.0, 2),
            Cell::fixed(Stat::of(&[1.0, 3.0]), 1),
        ];
        let printed: Vec<String> = cells.iter().map(Cell::to_string).collect();
        assert_eq!(
            printed,
            [
                "QLAE",
                "3",
                "18446744073709551615",
                "0.5",
                "NaN",
                "–",
                "1.00",
                "2.0 ± 1.4 (n=2)"
            ]
        );
    }

    #[test]
    fn the_best_of_rows_and_columns_is_marked() {
        let table = Table::new("t", ["arm", "a", "b"])
            .row(cells!["x", 1.0, 2.0])
            .row(cells!["y", 3.0, f64::NAN])
            .row(cells!["z", None::<f64>, -1.0]);
        let columns = table.clone().highlight_column("a", Best::Highest);
        assert_eq!(columns.emphasis()[1], [false, true, false]);
        assert_eq!(
            columns.emphasis().concat().iter().filter(|m| **m).count(),
            1
        );
        let rows = table.highlight_rows(Best::Lowest);
        assert_eq!(
            rows.emphasis(),
            [[false, true, false], [false; 3], [false; 3]],
            "a number without a finite rival is not emphasised"
        );
        assert_eq!(rows.legend().unwrap(), "lowest of its row");
    }

    #[test]
    fn malformed_tables_are_refused() {
        let error = |table: Table| table.check().unwrap_err().to_string();
        assert_eq!(
            error(Table::new("t", ["a", "b"]).row(["x", "y"]).row(["x"])),
            "length of row 1 of table `t` is 1: must be 2, one cell per column"
        );
        assert_eq!(
            error(Table::new("t", ["a", "b"]).highlight_column("c", Best::Lowest)),
            "emphasised column of table `t` is \"c\": must be one of a, b"
        );
        assert_eq!(
            error(Table::new("t", Vec::<String>::new())),
            "columns of table `t` is 0: must be at least 1"
        );
    }
}
