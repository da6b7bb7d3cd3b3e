//! Rows as their files have them: text and numbers, column by column, and a label.

use menagerie_core::{Error, Result, Seed};
use rand::seq::SliceRandom;
use std::collections::HashMap;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of many names.
    Category,
    /// A number.
    Number,
    /// Any number of names, in order.
    Sequence,
}

/// A column's name and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// How the column is called.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

impl Field {
    /// A column of `kind`.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        let name = name.into();
        Self { name, kind }
    }
}

/// One cell of a row to be added.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// A name; empty where it is missing.
    Category(&'a str),
    /// A number.
    Number(f32),
    /// Names, empty ones missing.
    Sequence(Vec<&'a str>),
}

impl Cell<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::Category(_) => Kind::Category,
            Self::Number(_) => Kind::Number,
            Self::Sequence(_) => Kind::Sequence,
        }
    }
}

/// Distinct names, numbered in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Names {
    codes: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Names {
    fn code(&mut self, name: &str) -> u32 {
        if let Some(code) = self.codes.get(name) {
            return *code;
        }
        let code = self.texts.len() as u32;
        self.codes.insert(name.to_owned(), code);
        self.texts.push(name.to_owned());
        code
    }

    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Column {
    Category {
        names: Names,
        codes: Vec<u32>,
    },
    Number(Vec<f32>),
    /// `codes[starts[i]..starts[i + 1]]` are row i's.
    Sequence {
        names: Names,
        codes: Vec<u32>,
        starts: Vec<usize>,
    },
}

/// Labelled rows of named columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    fields: Vec<Field>,
    columns: Vec<Column>,
    labels: Vec<bool>,
}

impl Table {
    /// Without rows yet.
    ///
    /// # Errors
    /// [`Error::Input`] for no field, or two of one name.
    pub fn new(fields: Vec<Field>) -> Result<Self> {
        if fields.is_empty() {
            return Err(Error::input("fields", "[]", "must name at least one"));
        }
        for (at, field) in fields.iter().enumerate() {
            if fields[..at].iter().any(|other| other.name == field.name) {
                let rule = "must be called by different names";
                return Err(Error::input("fields", &field.name, rule));
            }
        }
        let columns = fields
            .iter()
            .map(|field| match field.kind {
                Kind::Category => Column::Category {
                    names: Names::default(),
                    codes: Vec::new(),
                },
                Kind::Number => Column::Number(Vec::new()),
                Kind::Sequence => Column::Sequence {
                    names: Names::default(),
                    codes: Vec::new(),
                    starts: vec![0],
                },
            })
            .collect();
        Ok(Self {
            fields,
            columns,
            labels: Vec::new(),
        })
    }

    /// Categories called by `names`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_categories(names: &[&str]) -> Result<Self> {
        let fields = names.iter().map(|name| Field::new(*name, Kind::Category));
        Self::new(fields.collect())
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::Input`] for cells that are not those of the fields, or a number that is not finite.
    pub fn push(&mut self, cells: &[Cell], label: bool) -> Result<()> {
        if cells.len() != self.fields.len() {
            let rule = format!("must be that of the fields, {}", self.fields.len());
            return Err(Error::input("the number of cells", cells.len(), rule));
        }
        for (field, cell) in self.fields.iter().zip(cells) {
            if field.kind != cell.kind() {
                let rule = format!("must be a {:?}", field.kind);
                return Err(Error::input(&field.name, cell, rule));
            }
            if let Cell::Number(value) = cell
                && !value.is_finite()
            {
                return Err(Error::input(&field.name, value, "must be finite"));
            }
        }
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            match (column, cell) {
                (Column::Category { names, codes }, Cell::Category(name)) => {
                    codes.push(names.code(name));
                }
                (Column::Number(values), Cell::Number(value)) => values.push(*value),
                (
                    Column::Sequence {
                        names,
                        codes,
                        starts,
                    },
                    Cell::Sequence(items),
                ) => {
                    codes.extend(items.iter().map(|name| names.code(name)));
                    starts.push(codes.len());
                }
                // Kinds were compared above.
                _ => {}
            }
        }
        self.labels.push(label);
        Ok(())
    }

    /// Names and kinds of the columns.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// One per row.
    pub fn labels(&self) -> &[bool] {
        &self.labels
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The text of a cell: names, several of them joined by `|`, or a number.
    ///
    /// # Errors
    /// [`Error::Input`] for a row that is not there, [`Error::Unknown`] for a field that is not.
    pub fn text(&self, row: usize, field: &str) -> Result<String> {
        if row >= self.len() {
            let rule = format!("must be below {}", self.len());
            return Err(Error::input("the row", row, rule));
        }
        let known = || self.fields.iter().map(|field| field.name.as_str());
        let Some(at) = known().position(|name| name == field) else {
            return Err(Error::unknown("field", field, known()));
        };
        Ok(match &self.columns[at] {
            Column::Category { names, codes } => names.texts[codes[row] as usize].clone(),
            Column::Number(values) => values[row].to_string(),
            Column::Sequence {
                names,
                codes,
                starts,
            } => {
                let codes = &codes[starts[row]..starts[row + 1]];
                let items = codes
                    .iter()
                    .map(|code| names.texts[*code as usize].as_str());
                items.collect::<Vec<_>>().join("|")
            }
        })
    }

    /// The rows at these places, in this order.
    ///
    /// # Panics
    /// For a place that is not there.
    pub fn select(&self, rows: &[usize]) -> Self {
        let columns = self.columns.iter().map(|column| match column {
            Column::Category { names, codes } => Column::Category {
                names: names.clone(),
                codes: rows.iter().map(|row| codes[*row]).collect(),
            },
            Column::Number(values) => Column::Number(rows.iter().map(|row| values[*row]).collect()),
            Column::Sequence {
                names,
                codes,
                starts,
            } => {
                let (mut taken, mut ends) = (Vec::new(), vec![0]);
                for row in rows {
                    taken.extend_from_slice(&codes[starts[*row]..starts[row + 1]]);
                    ends.push(taken.len());
                }
                Column::Sequence {
                    names: names.clone(),
                    codes: taken,
                    starts: ends,
                }
            }
        });
        Self {
            fields: self.fields.clone(),
            columns: columns.collect(),
            labels: rows.iter().map(|row| self.labels[*row]).collect(),
        }
    }

    /// Parts of the rows in random order, each with its share; the last one takes what is left.
    ///
    /// # Errors
    /// [`Error::Input`] for shares that are not positive or do not add up to 1.
    pub fn split<const N: usize>(&self, shares: [f64; N], seed: Seed) -> Result<[Self; N]> {
        let sum: f64 = shares.iter().sum();
        if shares.iter().any(|share| share.is_nan() || *share <= 0.0) || (sum - 1.0).abs() > 1e-9 {
            let rule = "must be above 0 and add up to 1";
            return Err(Error::input("shares", shares, rule));
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut seed.rng());
        let (mut start, mut share) = (0, 0.0);
        Ok(std::array::from_fn(|part| {
            share += shares[part];
            let end = match part + 1 == N {
                true => order.len(),
                false => (share * order.len() as f64).round() as usize,
            };
            let part = self.select(&order[start..end.max(start)]);
            start = end.max(start);
            part
        }))
    }
}

/// Training, validation and test rows of the same fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits {
    /// What a model is fitted to.
    pub train: Table,
    /// What decides when to stop.
    pub valid: Table,
    /// What it is measured on.
    pub test: Table,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let fields = [
            ("who", Kind::Category),
            ("age", Kind::Number),
            ("tags", Kind::Sequence),
        ];
        let fields = fields.map(|(name, kind)| Field::new(name, kind));
        let mut table = Table::new(fields.into()).unwrap();
        for row in 0..10u8 {
            let who = ["a", "b", "c"][usize::from(row % 3)];
            let tags = ["x", "y", "z"][..usize::from(row % 4).min(3)].to_vec();
            let cells = [
                Cell::Category(who),
                Cell::Number(f32::from(row)),
                Cell::Sequence(tags),
            ];
            table.push(&cells, row % 2 == 1).unwrap();
        }
        table
    }

    #[test]
    fn rows_are_selected_with_all_their_cells() {
        let part = table().select(&[7, 2]);
        let texts = |row| ["who", "age", "tags"].map(|field| part.text(row, field).unwrap());
        assert_eq!(texts(0), ["b", "7", "x|y|z"]);
        assert_eq!(texts(1), ["c", "2", "x|y"]);
        assert_eq!(part.labels(), [true, false]);
    }

    #[test]
    fn parts_share_all_rows() {
        let table = table();
        let parts = table.split([0.5, 0.2, 0.3], Seed(3)).unwrap();
        assert_eq!(parts.each_ref().map(Table::len), [5, 2, 3]);
        let ages = |part: &Table| -> Vec<String> {
            (0..part.len())
                .map(|row| part.text(row, "age").unwrap())
                .collect()
        };
        let mut all: Vec<String> = parts.iter().flat_map(ages).collect();
        assert_ne!(all, ages(&table), "in random order");
        all.sort();
        assert_eq!(all, ages(&table));
        assert_eq!(table.split([0.5, 0.2, 0.3], Seed(3)).unwrap(), parts);
        let error = table.split([0.5, 0.4], Seed(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shares is [0.5, 0.4]: must be above 0 and add up to 1"
        );
    }

    #[test]
    fn what_is_not_of_the_fields_is_refused() {
        let mut table = table();
        let refused =
            |table: &mut Table, cells: &[Cell]| table.push(cells, true).unwrap_err().to_string();
        assert_eq!(
            refused(&mut table, &[Cell::Number(1.0)]),
            "the number of cells is 1: must be that of the fields, 3"
        );
        let cells = |age| [Cell::Category("a"), age, Cell::Sequence(vec![])];
        assert_eq!(
            refused(&mut table, &cells(Cell::Number(f32::NAN))),
            "age is NaN: must be finite"
        );
        assert_eq!(
            refused(&mut table, &cells(Cell::Category("b"))),
            "age is Category(\"b\"): must be a Number"
        );
        assert_eq!(table.len(), 10);
        let text = |error: Error| error.to_string();
        assert_eq!(
            text(Table::new(vec![]).unwrap_err()),
            "fields is \"[]\": must name at least one"
        );
        assert_eq!(
            text(Table::of_categories(&["a", "b", "a"]).unwrap_err()),
            "fields is \"a\": must be called by different names"
        );
        assert_eq!(
            text(table.text(0, "agee").unwrap_err()),
            "unknown field `agee`; did you mean `age`?"
        );
    }
}
