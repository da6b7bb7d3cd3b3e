//! Names to numbers, as FuxiCTR numbers them.
//!
//! Each column of categories has a vocabulary of its own, made from the training rows alone: 0 is
//! padding, then come the names by how often they occur, and the last number stands for every name
//! that is not in the vocabulary: too rare, missing, or never seen in training.

use crate::table::{Column, Field, Kind, Names, Table};
use menagerie_core::{Error, Result};
use std::collections::HashMap;

/// How vocabularies are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Names that occur less often in training are left out of the vocabulary.
    pub min_count: usize,
    /// The names that a sequence keeps, its last ones; 0 for as many as the longest of training has.
    pub max_length: usize,
    /// Whether numbers lose their mean and are divided by their standard deviation, both of the
    /// training rows.
    pub standardise: bool,
}

impl Default for EncoderConfig {
    /// Every name, whole sequences, numbers as they are.
    fn default() -> Self {
        Self {
            min_count: 1,
            max_length: 0,
            standardise: false,
        }
    }
}

/// The numbers of a column's names.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    ids: HashMap<String, u32>,
}

impl Vocabulary {
    /// The place of padding.
    pub const PADDING: u32 = 0;

    /// By falling count; names that occur equally often in the order in which they came first.
    fn fit(names: &Names, codes: &[u32], min_count: usize) -> Self {
        let mut counts = vec![0usize; names.texts().len()];
        for code in codes {
            counts[*code as usize] += 1;
        }
        // Names of a table that was split may not occur in the part at hand.
        let floor = min_count.max(1);
        let mut order: Vec<usize> = (0..counts.len())
            .filter(|at| counts[*at] >= floor && !names.texts()[*at].is_empty())
            .collect();
        order.sort_by_key(|at| std::cmp::Reverse(counts[*at]));
        let ids = order.iter().zip(1..);
        Self {
            ids: ids
                .map(|(at, id)| (names.texts()[*at].clone(), id))
                .collect(),
        }
    }

    /// All numbers that occur, with padding and that of unknown names.
    pub fn size(&self) -> usize {
        self.ids.len() + 2
    }

    /// The number of names that are not in the vocabulary.
    pub fn unknown(&self) -> u32 {
        self.ids.len() as u32 + 1
    }

    /// The number of a name.
    pub fn id(&self, name: &str) -> u32 {
        self.ids.get(name).copied().unwrap_or(self.unknown())
    }
}

/// How a column is encoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoding {
    /// One number of a vocabulary.
    Category(Vocabulary),
    /// `(x - mean) / deviation`.
    Number {
        /// What is taken off.
        mean: f64,
        /// What the rest is divided by.
        deviation: f64,
    },
    /// As many numbers of a vocabulary; short sequences are padded at the left.
    Sequence {
        /// The names.
        vocabulary: Vocabulary,
        /// How many.
        length: usize,
    },
}

/// Vocabularies and scales of all columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder {
    fields: Vec<Field>,
    encodings: Vec<Encoding>,
}

/// Rows as numbers, field after field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// `[rows, slots]`, row after row: a slot for each category, `length` for each sequence.
    pub ids: Vec<u32>,
    /// `[rows, numbers]`, row after row.
    pub numbers: Vec<f32>,
    /// One per row.
    pub labels: Vec<bool>,
}

impl Encoder {
    /// Vocabularies and scales of training rows.
    ///
    /// # Errors
    /// [`Error::Input`] for a table without rows.
    pub fn fit(train: &Table, config: &EncoderConfig) -> Result<Self> {
        if train.is_empty() {
            let rule = "must be at least 1";
            return Err(Error::input("the number of training rows", 0, rule));
        }
        let encodings = train.columns().iter().map(|column| match column {
            Column::Category { names, codes } => {
                Encoding::Category(Vocabulary::fit(names, codes, config.min_count))
            }
            Column::Number(values) => scale(values, config.standardise),
            Column::Sequence {
                names,
                codes,
                starts,
            } => {
                let longest = starts.windows(2).map(|ends| ends[1] - ends[0]).max();
                let length = match config.max_length {
                    0 => longest.unwrap_or(0).max(1),
                    length => length,
                };
                Encoding::Sequence {
                    vocabulary: Vocabulary::fit(names, codes, config.min_count),
                    length,
                }
            }
        });
        Ok(Self {
            encodings: encodings.collect(),
            fields: train.fields().to_vec(),
        })
    }

    /// Names and kinds of the columns.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// One per field.
    pub fn encodings(&self) -> &[Encoding] {
        &self.encodings
    }

    /// Numbers of a table's rows.
    ///
    /// # Errors
    /// [`Error::Input`] for a table of other fields.
    pub fn encode(&self, table: &Table) -> Result<Encoded> {
        if table.fields() != self.fields {
            let names: Vec<&str> = self
                .fields
                .iter()
                .map(|field| field.name.as_str())
                .collect();
            let rule = format!("must be those of the training rows: {}", names.join(", "));
            let found: Vec<&str> = table.fields().iter().map(|f| f.name.as_str()).collect();
            return Err(Error::input("the fields", found, rule));
        }
        // A look-up for each distinct name instead of each cell.
        let known: Vec<Vec<u32>> = table
            .columns()
            .iter()
            .zip(&self.encodings)
            .map(|(column, encoding)| match (column, encoding) {
                (Column::Category { names, .. }, Encoding::Category(vocabulary)) => names
                    .texts()
                    .iter()
                    .map(|name| vocabulary.id(name))
                    .collect(),
                (Column::Sequence { names, .. }, Encoding::Sequence { vocabulary, .. }) => {
                    let id = |name: &String| match name.is_empty() {
                        true => Vocabulary::PADDING,
                        false => vocabulary.id(name),
                    };
                    names.texts().iter().map(id).collect()
                }
                _ => Vec::new(),
            })
            .collect();
        let mut encoded = Encoded {
            labels: table.labels().to_vec(),
            ..Encoded::default()
        };
        for row in 0..table.len() {
            let columns = table.columns().iter().zip(&self.encodings);
            for ((column, encoding), known) in columns.zip(&known) {
                encoded.push(column, encoding, known, row);
            }
        }
        Ok(encoded)
    }
}

impl Encoded {
    fn push(&mut self, column: &Column, encoding: &Encoding, known: &[u32], row: usize) {
        match (column, encoding) {
            (Column::Category { codes, .. }, _) => self.ids.push(known[codes[row] as usize]),
            (Column::Number(values), Encoding::Number { mean, deviation }) => {
                let value = (f64::from(values[row]) - mean) / deviation;
                self.numbers.push(value as f32);
            }
            (Column::Sequence { codes, starts, .. }, Encoding::Sequence { length, .. }) => {
                let codes = &codes[starts[row]..starts[row + 1]];
                let kept = &codes[codes.len().saturating_sub(*length)..];
                let padding = std::iter::repeat_n(Vocabulary::PADDING, length - kept.len());
                self.ids.extend(padding);
                self.ids
                    .extend(kept.iter().map(|code| known[*code as usize]));
            }
            // A table of other kinds was refused.
            _ => {}
        }
    }
}

fn scale(values: &[f32], standardise: bool) -> Encoding {
    let (mut mean, mut deviation) = (0.0, 1.0);
    if standardise {
        let count = values.len() as f64;
        mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let square = |value: &f32| (f64::from(*value) - mean).powi(2);
        let variance = values.iter().map(square).sum::<f64>() / count;
        // A column of one value stays at 0.
        deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
    }
    Encoding::Number { mean, deviation }
}

impl Encoding {
    /// What the column holds.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Category(_) => Kind::Category,
            Self::Number { .. } => Kind::Number,
            Self::Sequence { .. } => Kind::Sequence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Cell;

    fn table(rows: &[(&str, f32, &[&str])]) -> Table {
        let fields = [
            ("who", Kind::Category),
            ("age", Kind::Number),
            ("tags", Kind::Sequence),
        ];
        let fields = fields.map(|(name, kind)| Field::new(name, kind));
        let mut table = Table::new(fields.into()).unwrap();
        for (who, age, tags) in rows {
            let cells = [
                Cell::Category(who),
                Cell::Number(*age),
                Cell::Sequence(tags.to_vec()),
            ];
            table.push(&cells, true).unwrap();
        }
        table
    }

    #[test]
    fn names_are_numbered_by_their_count() {
        let train = table(&[
            ("b", 1.0, &["x", "y"]),
            ("a", 3.0, &["y"]),
            ("a", 5.0, &[]),
            ("", 7.0, &["y", "z", "x"]),
        ]);
        let encoder = Encoder::fit(&train, &EncoderConfig::default()).unwrap();
        let Encoding::Category(who) = &encoder.encodings()[0] else {
            panic!("a category")
        };
        assert_eq!([who.id("a"), who.id("b"), who.id("c")], [1, 2, 3]);
        assert_eq!(who.size(), 4);
        let kinds: Vec<Kind> = encoder.encodings().iter().map(Encoding::kind).collect();
        assert_eq!(kinds, [Kind::Category, Kind::Number, Kind::Sequence]);
        // y, x, z; padded at the left; a missing name is an unknown one.
        let encoded = encoder.encode(&train).unwrap();
        assert_eq!(encoded.ids[..8], [2, 0, 2, 1, 1, 0, 0, 1]);
        assert_eq!(encoded.ids[8..], [1, 0, 0, 0, 3, 1, 3, 2]);
        assert_eq!(encoded.numbers, [1.0, 3.0, 5.0, 7.0]);

        // Unknown names and a sequence that is too long, of which the end is kept.
        let test = table(&[("new", 0.0, &["new", "z", "", "y"])]);
        let encoded = encoder.encode(&test).unwrap();
        assert_eq!(encoded.ids, [3, 3, 0, 1]);
    }

    #[test]
    fn rare_names_are_unknown_and_numbers_standardised() {
        let rows = [
            ("a", 1.0, &["x"] as &[&str]),
            ("a", 3.0, &[]),
            ("b", 5.0, &[]),
        ];
        let config = EncoderConfig {
            min_count: 2,
            max_length: 2,
            standardise: true,
        };
        let encoder = Encoder::fit(&table(&rows), &config).unwrap();
        let encoded = encoder.encode(&table(&rows)).unwrap();
        assert_eq!(encoded.ids, [1, 0, 1, 1, 0, 0, 2, 0, 0]);
        let one = (2.0 / (8.0f64 / 3.0).sqrt()) as f32;
        assert_eq!(encoded.numbers, [-one, 0.0, one]);
    }

    #[test]
    fn a_vocabulary_is_that_of_the_part_at_hand() {
        let all = table(&[("a", 0.0, &[]), ("b", 0.0, &[])]);
        let encoder = Encoder::fit(&all.select(&[1]), &EncoderConfig::default()).unwrap();
        assert_eq!(encoder.encode(&all).unwrap().ids, [2, 0, 1, 0]);
        let other = Table::of_categories(&["who"]).unwrap();
        assert_eq!(
            encoder.encode(&other).unwrap_err().to_string(),
            "the fields is [\"who\"]: must be those of the training rows: who, age, tags"
        );
        let error = Encoder::fit(&other, &EncoderConfig::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of training rows is 0: must be at least 1"
        );
    }
}
