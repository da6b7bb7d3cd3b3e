//! Rows in host memory, where they come from and what is cut from them.

use burn::tensor::{Device, Tensor, TensorData};
use menagerie_core::{Error, Result};
use std::path::Path;

/// Activations in host memory, one row after the other, each with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    width: usize,
    x: Vec<f32>,
    /// 0 where nothing is paired.
    paired_width: usize,
    paired: Vec<f32>,
}

/// Activations on a device, the rows of one training step.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The activations `[rows, width]`.
    pub x: Tensor<2>,
    /// What belongs to each row: the gradient of the host's loss, or a transcoder's target
    /// `[rows, paired width]`.
    pub paired: Option<Tensor<2>>,
}

/// A stream of activations in blocks, which can be taken up at any block.
///
/// The same position gives the same block, whatever was read before it.
pub trait ActivationSource {
    /// Width of an activation.
    fn width(&self) -> usize;

    /// Width of what belongs to each activation; `None` where there is nothing.
    fn paired_width(&self) -> Option<usize>;

    /// The next block, which may be empty; `None` at the end.
    ///
    /// # Errors
    /// Whatever prevents the block, such as an activation that is not finite.
    fn next(&mut self) -> Result<Option<Rows>>;

    /// How many blocks lie before the next one.
    fn position(&self) -> u64;

    /// Goes to the block before which `position` others lie.
    ///
    /// # Errors
    /// Whatever prevents it; a position behind the end is the end.
    fn seek(&mut self, position: u64) -> Result<()>;
}

impl<S: ActivationSource + ?Sized> ActivationSource for Box<S> {
    fn width(&self) -> usize {
        (**self).width()
    }

    fn paired_width(&self) -> Option<usize> {
        (**self).paired_width()
    }

    fn next(&mut self) -> Result<Option<Rows>> {
        (**self).next()
    }

    fn position(&self) -> u64 {
        (**self).position()
    }

    fn seek(&mut self, position: u64) -> Result<()> {
        (**self).seek(position)
    }
}

/// A stream of training batches, which can be saved and taken up at any batch.
pub trait Batches {
    /// Width of an activation.
    fn width(&self) -> usize;

    /// The next batch; `None` at the end, where a batch that is not full is dropped.
    ///
    /// # Errors
    /// Whatever prevents the batch, such as a damaged file.
    fn next_batch(&mut self, device: &Device) -> Result<Option<Batch>>;

    /// Writes into `folder` all that the next batches depend on.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be written.
    fn save(&self, folder: &Path) -> Result<()>;

    /// Goes to where [`save`](Self::save) was called; the next batch is the one that came then.
    ///
    /// # Errors
    /// A file that is missing, damaged, or of another stream.
    fn load(&mut self, folder: &Path) -> Result<()>;
}

impl Rows {
    /// Rows of `width` numbers each, one after the other.
    ///
    /// # Errors
    /// A width of 0, and a length that is not a multiple of it.
    pub fn new(width: usize, x: Vec<f32>) -> Result<Self> {
        check_length("x", x.len(), width)?;
        Ok(Self {
            width,
            x,
            paired_width: 0,
            paired: Vec::new(),
        })
    }

    /// No rows yet.
    pub(crate) fn empty(width: usize, paired_width: usize) -> Self {
        Self {
            width,
            x: Vec::new(),
            paired_width,
            paired: Vec::new(),
        }
    }

    /// The rows of a tensor `[rows, width]`.
    ///
    /// # Errors
    /// A width of 0, and a tensor that cannot be read.
    pub fn from_tensor(x: Tensor<2>) -> Result<Self> {
        let [_, width] = x.dims();
        Self::new(width, floats(x.into_data())?)
    }

    /// With `width` numbers that belong to each row: its gradient, or a transcoder's target.
    ///
    /// # Errors
    /// A width of 0, and another number of rows.
    pub fn with_paired(mut self, width: usize, paired: Vec<f32>) -> Result<Self> {
        check_length("paired values", paired.len(), width)?;
        if paired.len() / width != self.len() {
            return Err(Error::input(
                "paired rows",
                paired.len() / width,
                format!("must be as many as activations, {}", self.len()),
            ));
        }
        self.paired_width = width;
        self.paired = paired;
        Ok(self)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.x.len() / self.width
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.x.is_empty()
    }

    /// Width of an activation.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Width of what belongs to each activation; `None` where there is nothing.
    pub fn paired_width(&self) -> Option<usize> {
        (self.paired_width > 0).then_some(self.paired_width)
    }

    /// All activations, row after row.
    pub fn x(&self) -> &[f32] {
        &self.x
    }

    /// All that belongs to them, row after row; empty where there is nothing.
    pub fn paired(&self) -> &[f32] {
        &self.paired
    }

    /// The same rows on a device.
    pub fn into_batch(self, device: &Device) -> Batch {
        let rows = self.len();
        let tensor = |values: Vec<f32>, width: usize| {
            Tensor::from_data(TensorData::new(values, [rows, width]), device)
        };
        let paired = (self.paired_width > 0).then(|| tensor(self.paired, self.paired_width));
        Batch {
            x: tensor(self.x, self.width),
            paired,
        }
    }

    /// Appends row `index` of `other`, which has the same widths.
    pub(super) fn push(&mut self, other: &Self, index: usize) {
        self.extend(other, index, 1);
    }

    /// Appends `count` rows of `other`, which has the same widths, from `start`.
    pub(super) fn extend(&mut self, other: &Self, start: usize, count: usize) {
        let span = |width: usize| start * width..(start + count) * width;
        self.x.extend_from_slice(&other.x[span(self.width)]);
        self.paired
            .extend_from_slice(&other.paired[span(self.paired_width)]);
    }

    /// Appends a row, or one half of it and then the other.
    pub(super) fn push_values(&mut self, x: &[f32], paired: &[f32]) {
        self.x.extend_from_slice(x);
        self.paired.extend_from_slice(paired);
    }

    /// Overwrites row `slot` with row `index` of `other`, which has the same widths.
    pub(super) fn replace(&mut self, slot: usize, other: &Self, index: usize) {
        let span = |row: usize, width: usize| row * width..(row + 1) * width;
        let (to, from) = (span(slot, self.width), span(index, self.width));
        self.x[to].copy_from_slice(&other.x[from]);
        let (to, from) = (
            span(slot, self.paired_width),
            span(index, self.paired_width),
        );
        self.paired[to].copy_from_slice(&other.paired[from]);
    }

    /// Room for `rows` more rows, or an error where there is no memory for them.
    pub(super) fn reserve(&mut self, rows: usize) -> Result<()> {
        let room = |values: &mut Vec<f32>, width: usize| {
            rows.checked_mul(width)
                .is_some_and(|count| values.try_reserve_exact(count).is_ok())
        };
        if room(&mut self.x, self.width) && room(&mut self.paired, self.paired_width) {
            return Ok(());
        }
        Err(Error::input(
            "rows in memory",
            rows,
            format!(
                "must fit into memory at {} bytes each",
                4 * (self.width + self.paired_width)
            ),
        ))
    }

    /// Refuses rows of other widths, as of another model.
    pub(super) fn check_widths(&self, width: usize, paired_width: usize) -> Result<()> {
        if (self.width, self.paired_width) == (width, paired_width) {
            return Ok(());
        }
        Err(Error::input(
            "widths of the rows [x, paired]",
            [self.width, self.paired_width],
            format!("must be {:?}, as announced", [width, paired_width]),
        ))
    }

    /// The first row with a number that is not finite, and that number.
    pub fn non_finite(&self) -> Option<(usize, f32)> {
        let find = |values: &[f32], width: usize| {
            let index = non_finite(values)?;
            Some((index / width, values[index]))
        };
        find(&self.x, self.width).or_else(|| find(&self.paired, self.paired_width))
    }

    /// The rows as tensors `x` and, where there is something, `paired`.
    pub(super) fn into_tensors(self) -> Vec<(String, TensorData)> {
        let rows = self.len();
        let mut tensors = Vec::new();
        if self.paired_width > 0 {
            let paired = TensorData::new(self.paired, [rows, self.paired_width]);
            tensors.push(("paired".to_owned(), paired));
        }
        tensors.push(("x".to_owned(), TensorData::new(self.x, [rows, self.width])));
        tensors
    }
}

/// The position of the first number that is not finite.
pub(super) fn non_finite(values: &[f32]) -> Option<usize> {
    // A sum of zeros unless one of the products is not a number; it runs at the speed of memory.
    const CHUNK: usize = 1024;
    let mut start = 0;
    for chunk in values.chunks(CHUNK) {
        if chunk.iter().map(|value| value * 0.0).sum::<f32>() != 0.0 {
            let inside = chunk.iter().position(|value| !value.is_finite());
            return inside.map(|inside| start + inside);
        }
        start += chunk.len();
    }
    None
}

/// The numbers of a tensor of any floating type.
pub(super) fn floats(data: TensorData) -> Result<Vec<f32>> {
    data.try_into_vec_as()
        .map_err(|error| Error::other("reading a tensor", format!("{error:?}")))
}

fn check_length(what: &str, length: usize, width: usize) -> Result<()> {
    if width == 0 {
        return Err(Error::input(
            format!("width of {what}"),
            width,
            "must be at least 1",
        ));
    }
    if !length.is_multiple_of(width) {
        return Err(Error::input(
            format!("numbers of {what}"),
            length,
            format!("must be whole rows of {width}"),
        ));
    }
    Ok(())
}

/// Rows that are in memory already, in blocks; visited `epochs` times in the same order.
#[derive(Clone, Debug)]
pub struct RowSource {
    rows: Rows,
    block: usize,
    blocks_per_epoch: u64,
    end: u64,
    position: u64,
}

impl RowSource {
    /// `rows` in blocks of `block` rows, `epochs` times over.
    ///
    /// # Errors
    /// No rows, blocks or epochs; a number that is not finite, with its row.
    pub fn new(rows: Rows, block: usize, epochs: usize) -> Result<Self> {
        for (what, value) in [
            ("rows of a source", rows.len()),
            ("rows of a block", block),
            ("epochs", epochs),
        ] {
            if value == 0 {
                return Err(Error::input(what, value, "must be at least 1"));
            }
        }
        if let Some((row, value)) = rows.non_finite() {
            return Err(Error::input(
                format!("a number of row {row}"),
                value,
                "must be finite",
            ));
        }
        let blocks_per_epoch = rows.len().div_ceil(block) as u64;
        Ok(Self {
            rows,
            block,
            blocks_per_epoch,
            end: blocks_per_epoch.saturating_mul(epochs as u64),
            position: 0,
        })
    }
}

impl ActivationSource for RowSource {
    fn width(&self) -> usize {
        self.rows.width
    }

    fn paired_width(&self) -> Option<usize> {
        self.rows.paired_width()
    }

    fn next(&mut self) -> Result<Option<Rows>> {
        if self.position >= self.end {
            return Ok(None);
        }
        let start = (self.position % self.blocks_per_epoch) as usize * self.block;
        let count = self.block.min(self.rows.len() - start);
        let mut block = Rows::empty(self.rows.width, self.rows.paired_width);
        block.extend(&self.rows, start, count);
        self.position += 1;
        Ok(Some(block))
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn seek(&mut self, position: u64) -> Result<()> {
        self.position = position.min(self.end);
        Ok(())
    }
}
