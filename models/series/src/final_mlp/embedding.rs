//! Embeddings of all fields, side by side.

use super::config::{Field, FieldKind};
use super::data::Batch;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use menagerie_core::{Error, Result};
use menagerie_nn::embedding::Lookup;

/// Where a field's embedding comes from.
#[derive(Clone, Debug)]
struct Place {
    field: Field,
    /// Its first row in the table.
    offset: u32,
    /// Its first slot in a batch.
    slot: usize,
    /// Its column among a batch's numbers.
    column: usize,
}

/// Embeddings of fields: the tables of all categories and sequences one below the other, so that a batch
/// is one look-up, and a vector for each number.
///
/// The tables of FuxiCTR, one for each field, are the parts of `table`; see
/// [`weights`](super::weights).
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[sum of vocabularies, dim]`; none where all fields are numbers.
    pub table: Option<Param<Tensor<2>>>,
    /// What a number is multiplied by, `[numeric fields, dim]`; none where there is no such field.
    pub numbers: Option<Param<Tensor<2>>>,
    #[module(skip)]
    places: Vec<Place>,
    #[module(skip)]
    dim: usize,
}

impl Embedding {
    /// Normal tables with deviation 1e-4 and zero padding, Glorot's normal vectors for numbers, of those of
    /// `all` fields that are called by `names`, in the order of `names`.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a name that no field has.
    pub(crate) fn init(all: &[Field], names: &[&str], dim: usize, device: &Device) -> Result<Self> {
        let (mut slot, mut column) = (0, 0);
        let mut known = Vec::with_capacity(all.len());
        for field in all {
            known.push((field, slot, column));
            slot += field.slots();
            column += usize::from(field.kind == FieldKind::Number);
        }
        let mut places = Vec::with_capacity(names.len());
        let mut offset = 0;
        for name in names {
            let Some((field, slot, column)) = known.iter().find(|(field, ..)| field.name == *name)
            else {
                return Err(Error::unknown(
                    "field",
                    *name,
                    all.iter().map(|f| f.name.as_str()),
                ));
            };
            places.push(Place {
                field: (*field).clone(),
                offset,
                slot: *slot,
                column: *column,
            });
            offset += field.vocabulary() as u32;
        }
        let rows = offset as usize;
        let table = (rows > 0).then(|| {
            let padding: Vec<u32> = padding(&places).collect();
            let device = device.clone();
            let normal = Distribution::Normal(0.0, 1e-4);
            Param::from_tensor(zero_rows(
                Tensor::random([rows, dim], normal, &device),
                &padding,
            ))
        });
        let vectors = places
            .iter()
            .filter(|place| place.field.kind == FieldKind::Number);
        let vectors = vectors.count();
        let glorot = Initializer::XavierNormal { gain: 1.0 };
        let numbers = (vectors > 0).then(|| {
            // Each is a layer of its own from one number to `dim`.
            glorot.init_with([vectors, dim], Some(1), Some(dim), device)
        });
        Ok(Self {
            table,
            numbers,
            places,
            dim,
        })
    }

    /// Of all fields.
    pub(crate) fn of_all(fields: &[Field], dim: usize, device: &Device) -> Result<Self> {
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        Self::init(fields, &names, dim, device)
    }

    /// The fields, in the order of their embeddings.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.places.iter().map(|place| &place.field)
    }

    /// The table rows that a batch looks up, `[rows, slots]`; those of padding take no gradient. `None`
    /// without a table.
    pub(crate) fn lookup(&self, batch: &Batch) -> Option<Lookup> {
        let table = self.table.as_ref()?;
        let mut ids = Vec::with_capacity(batch.rows() * batch.slots);
        let mut padded = false;
        for row in batch.ids.chunks_exact(batch.slots) {
            for place in &self.places {
                for id in &row[place.slot..][..place.field.slots()] {
                    padded |= *id == 0;
                    ids.push(place.offset + id);
                }
            }
        }
        let padding: Vec<u32> = padding(&self.places).collect();
        let frozen = |row: u32| padded && padding.binary_search(&row).is_ok();
        Some(Lookup::new(table.lazy_shape().dims::<2>()[0], ids, frozen))
    }

    /// The looked-up rows, `[rows · slots, dim]`, through autodiff; padding takes no gradient.
    pub fn looked_up(&self, batch: &Batch) -> Option<Tensor<2>> {
        let lookup = self.lookup(batch)?;
        let rows = lookup.select(self.table.as_ref()?.val());
        if !rows.is_autodiff() || !batch.ids.contains(&0) {
            return Some(rows);
        }
        let mut keep = Vec::with_capacity(rows.dims()[0]);
        for row in batch.ids.chunks_exact(batch.slots) {
            for place in &self.places {
                let ids = &row[place.slot..][..place.field.slots()];
                keep.extend(ids.iter().map(|id| f32::from(u8::from(*id != 0))));
            }
        }
        let shape = [keep.len(), 1];
        let keep = Tensor::from_data(TensorData::new(keep, shape), &rows.device());
        let fixed = rows.clone().detach() * (1.0 - keep.clone());
        Some(rows * keep + fixed)
    }

    /// Embeddings of all fields side by side, `[rows, fields · dim]`, from the looked-up rows of the table.
    pub(crate) fn assemble(&self, rows: Option<Tensor<2>>, batch: &Batch) -> Tensor<2> {
        let (count, dim) = (batch.rows(), self.dim);
        let plain = |place: &Place| matches!(place.field.kind, FieldKind::Category { .. });
        if let Some(rows) = &rows
            && self.places.iter().all(plain)
        {
            return rows.clone().reshape([count, self.places.len() * dim]);
        }
        let rows = rows.map(|rows| {
            let slots = rows.dims()[0] / count;
            rows.reshape([count, slots * dim])
        });
        let mut parts = Vec::with_capacity(self.places.len());
        let (mut slot, mut number) = (0, 0);
        for place in &self.places {
            let slots = place.field.slots();
            let looked_up = rows.as_ref().filter(|_| slots > 0);
            let looked_up = looked_up.map(|rows| rows.clone().narrow(1, slot * dim, slots * dim));
            slot += slots;
            parts.extend(match (&place.field.kind, looked_up) {
                (FieldKind::Category { .. }, rows) => rows,
                (FieldKind::Sequence { .. }, Some(rows)) => {
                    Some(mean_of_present(rows, place, batch))
                }
                (FieldKind::Number, _) => {
                    let vector = self
                        .numbers
                        .as_ref()
                        .map(|numbers| numbers.val().narrow(0, number, 1));
                    number += 1;
                    let values = batch
                        .numbers
                        .clone()
                        .map(|all| all.narrow(1, place.column, 1));
                    values.zip(vector).map(|(values, vector)| values * vector)
                }
                (FieldKind::Sequence { .. }, None) => None,
            });
        }
        Tensor::cat(parts, 1)
    }
}

/// The first row of every field's table, ascending.
fn padding(places: &[Place]) -> impl Iterator<Item = u32> + '_ {
    let tables = places
        .iter()
        .filter(|place| place.field.kind != FieldKind::Number);
    tables.map(|place| place.offset)
}

fn zero_rows(table: Tensor<2>, rows: &[u32]) -> Tensor<2> {
    let [_, dim] = table.dims();
    rows.iter().fold(table, |table, row| {
        let row = *row as usize;
        let zeros = Tensor::zeros([1, dim], &table.device());
        table.slice_assign([row..row + 1, 0..dim], zeros)
    })
}

/// The sum of a sequence's embeddings over its ids that are not padding, divided by their count plus
/// 1e-12: `[rows, dim]` of `[rows, length · dim]`.
///
/// FuxiCTR finds out what is padding from embeddings that add up to 0, which also passes over a row of
/// the table whose numbers cancel; the two agree where none does.
fn mean_of_present(rows: Tensor<2>, place: &Place, batch: &Batch) -> Tensor<2> {
    let [count, width] = rows.dims();
    let length = place.field.slots();
    let mut shares = Vec::with_capacity(count * length);
    for ids in batch.ids.chunks_exact(batch.slots) {
        let ids = &ids[place.slot..][..length];
        let present = ids.iter().filter(|id| **id != 0).count();
        let share = (1.0 / (present as f64 + 1e-12)) as f32;
        shares.extend(ids.iter().map(|id| if *id == 0 { 0.0 } else { share }));
    }
    let shares = TensorData::new(shares, [count, length, 1]);
    let shares = Tensor::<3>::from_data(shares, &rows.device());
    let rows = rows.reshape([count, length, width / length]) * shares;
    rows.sum_dim(1).squeeze_dim::<2>(1)
}
