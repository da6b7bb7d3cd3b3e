//! Rows of numbers with their labels, and batches of them.

use super::config::{Field, FieldKind, validate_fields};
use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_data_tabular::{Encoder, Encoding, Table};
use std::sync::Arc;

/// Labelled rows in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Impressions {
    fields: Arc<[Field]>,
    ids: Vec<u32>,
    numbers: Vec<f32>,
    labels: Vec<bool>,
    slots: usize,
    columns: usize,
}

/// Rows of [`Impressions`] on a device.
#[derive(Clone, Debug)]
pub struct Batch {
    pub(crate) fields: Arc<[Field]>,
    /// `[rows, slots]`, row after row.
    pub(crate) ids: Arc<Vec<u32>>,
    pub(crate) slots: usize,
    /// `[rows, numeric fields]`; none where there is no such field.
    pub(crate) numbers: Option<Tensor<2>>,
    /// 0 or 1, `[rows]`.
    pub labels: Tensor<1>,
    /// What the dropout of a training step is drawn from; without it nothing is dropped.
    pub draw: Option<Seed>,
}

impl Batch {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.labels.dims()[0]
    }
}

impl Impressions {
    /// Rows of `fields`: `ids` `[rows, slots]` and `numbers` `[rows, numeric fields]` in the order of the
    /// fields, row after row.
    ///
    /// # Errors
    /// [`Error::Config`] for fields that no model takes; [`Error::Input`] for no rows, for lists that are not
    /// of one length, for an id that is not below its field's vocabulary, and for a number that is not
    /// finite.
    pub fn new(
        fields: Vec<Field>,
        ids: Vec<u32>,
        numbers: Vec<f32>,
        labels: Vec<bool>,
    ) -> Result<Self> {
        validate_fields("Impressions", &fields)?;
        let slots: usize = fields.iter().map(Field::slots).sum();
        let is_number = |field: &&Field| field.kind == FieldKind::Number;
        let columns = fields.iter().filter(is_number).count();
        if labels.is_empty() {
            return Err(Error::input("the number of rows", 0, "must be at least 1"));
        }
        for (what, found, each) in [
            ("the number of ids", ids.len(), slots),
            ("the number of numbers", numbers.len(), columns),
        ] {
            if found != each * labels.len() {
                let rule = format!("must be {each} for each of {} rows", labels.len());
                return Err(Error::input(what, found, rule));
            }
        }
        let owners: Vec<&Field> = fields
            .iter()
            .flat_map(|field| std::iter::repeat_n(field, field.slots()))
            .collect();
        for (row, ids) in ids.chunks_exact(slots.max(1)).enumerate() {
            let wrong = ids.iter().zip(&owners);
            let mut wrong = wrong.filter(|(id, field)| **id as usize >= field.vocabulary());
            if let Some((id, field)) = wrong.next() {
                let what = format!("the id of {} in row {row}", field.name);
                let rule = format!("must be below the vocabulary, {}", field.vocabulary());
                return Err(Error::input(what, id, rule));
            }
        }
        let named: Vec<&Field> = fields.iter().filter(is_number).collect();
        for (at, number) in numbers.iter().enumerate() {
            if !number.is_finite() {
                let what = format!("{} in row {}", named[at % columns].name, at / columns);
                return Err(Error::input(what, number, "must be finite"));
            }
        }
        Ok(Self {
            fields: fields.into(),
            ids,
            numbers,
            labels,
            slots,
            columns,
        })
    }

    /// The rows of a table, as an encoder numbers them: names that training has not seen get the last number
    /// of their vocabulary.
    ///
    /// # Errors
    /// As [`Encoder::encode`] and [`new`](Self::new).
    pub fn of(encoder: &Encoder, table: &Table) -> Result<Self> {
        let both = encoder.fields().iter().zip(encoder.encodings());
        let fields = both.map(|(field, encoding)| match encoding {
            Encoding::Category(names) => Field::category(&field.name, names.size()),
            Encoding::Number { .. } => Field::number(&field.name),
            Encoding::Sequence { vocabulary, length } => {
                Field::sequence(&field.name, vocabulary.size(), *length)
            }
        });
        let encoded = encoder.encode(table)?;
        Self::new(
            fields.collect(),
            encoded.ids,
            encoded.numbers,
            encoded.labels,
        )
    }

    /// Labels from numbers.
    ///
    /// # Errors
    /// [`Error::Input`] for one that is not 0 or 1.
    pub fn labels_of(numbers: &[f32]) -> Result<Vec<bool>> {
        let label = |(row, number): (usize, &f32)| match *number {
            0.0 => Ok(false),
            1.0 => Ok(true),
            other => Err(Error::input(
                format!("the label of row {row}"),
                other,
                "must be 0 or 1",
            )),
        };
        numbers.iter().enumerate().map(label).collect()
    }

    /// The columns.
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

    /// Never: at least one row is there.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The rows at these places.
    ///
    /// # Panics
    /// If there is no place, or one is beyond the last row.
    pub fn batch(&self, rows: &[usize], device: &Device, draw: Option<Seed>) -> Batch {
        assert!(!rows.is_empty(), "a batch of no rows");
        let mut ids = Vec::with_capacity(rows.len() * self.slots);
        let mut numbers = Vec::with_capacity(rows.len() * self.columns);
        for row in rows {
            ids.extend_from_slice(&self.ids[row * self.slots..][..self.slots]);
            numbers.extend_from_slice(&self.numbers[row * self.columns..][..self.columns]);
        }
        let labels = rows
            .iter()
            .map(|row| f32::from(u8::from(self.labels[*row])));
        let labels = TensorData::new(labels.collect::<Vec<_>>(), [rows.len()]);
        let numbers = (self.columns > 0).then(|| {
            Tensor::from_data(TensorData::new(numbers, [rows.len(), self.columns]), device)
        });
        Batch {
            fields: self.fields.clone(),
            ids: Arc::new(ids),
            slots: self.slots,
            numbers,
            labels: Tensor::from_data(labels, device),
            draw,
        }
    }

    /// All rows in their order, `size` at a time, without dropout.
    ///
    /// # Panics
    /// If `size` is 0.
    pub fn batches(&self, size: usize, device: &Device) -> impl Iterator<Item = Batch> {
        let places: Vec<usize> = (0..self.len()).collect();
        let chunks: Vec<Vec<usize>> = places.chunks(size).map(<[usize]>::to_vec).collect();
        let device = device.clone();
        chunks
            .into_iter()
            .map(move |rows| self.batch(&rows, &device, None))
    }
}
