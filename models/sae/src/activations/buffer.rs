//! A bounded buffer that mixes the rows of a source.

use super::rows::{ActivationSource, Batch, Batches, Rows, floats};
use burn::{config::Config, tensor::Device};
use menagerie_core::{Error, Result, Seed, config};
use menagerie_hub::StateDict;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::path::Path;

const STATE: &str = "buffer.json";
const ROWS: &str = "buffer.safetensors";

/// How many rows are mixed, and how many make a batch.
#[derive(Config, Debug, PartialEq)]
pub struct BufferConfig {
    /// Rows that the buffer holds at most. More rows mix farther apart contexts.
    pub capacity: usize,
    /// Rows of a batch.
    pub batch: usize,
}

impl BufferConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.batch == 0 {
            let rule = "must be at least 1";
            return Err(Error::config("BufferConfig", "batch", self.batch, rule));
        }
        if self.capacity < self.batch {
            let rule = format!("must be at least one batch, {}", self.batch);
            return Err(Error::config(
                "BufferConfig",
                "capacity",
                self.capacity,
                rule,
            ));
        }
        Ok(())
    }

    /// Bytes of a full buffer of rows of `width`, with `paired_width` numbers beside each
    /// (as many again for gradients): capacity · (width + paired width) · 4.
    pub fn bytes(&self, width: usize, paired_width: usize) -> usize {
        self.capacity
            .saturating_mul(width.saturating_add(paired_width))
            .saturating_mul(size_of::<f32>())
    }
}

/// Where a buffer is in its stream, without the rows that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferState {
    /// How many times it was shuffled.
    pub shuffles: u64,
    /// Batches that were served.
    pub batches: u64,
    /// Rows that are still served before the next refill.
    pub serving: usize,
    /// The source's block that comes next, or that was taken in part.
    pub block: u64,
    /// Rows of that block that were taken.
    pub taken: usize,
    /// Whether the source has ended.
    pub ended: bool,
}

/// Mixes the rows of a source and cuts batches from them, by SAELens' rule: fill, shuffle, serve
/// half of what is there in whole batches, refill. At the source's end the rest is served.
///
/// **Memory**: never more than `capacity` rows, [`BufferConfig::bytes`], plus the one block of the
/// source that did not fit; a row is copied in once and out once. Saving writes the rows that it
/// holds, and needs a copy of them while it does.
pub struct ActivationBuffer<S> {
    source: S,
    config: BufferConfig,
    seed: Seed,
    /// Slots of rows, in use or free.
    slots: Rows,
    /// Slots in use; served from the end.
    order: Vec<usize>,
    free: Vec<usize>,
    /// The block that did not fit.
    pending: Option<Rows>,
    state: BufferState,
}

impl<S: ActivationSource> ActivationBuffer<S> {
    /// An empty buffer; the first batch fills it.
    ///
    /// # Errors
    /// What [`BufferConfig::validate`] reports.
    pub fn new(source: S, config: &BufferConfig, seed: Seed) -> Result<Self> {
        config.validate()?;
        let state = BufferState {
            shuffles: 0,
            batches: 0,
            serving: 0,
            block: source.position(),
            taken: 0,
            ended: false,
        };
        Ok(Self {
            slots: Rows::empty(source.width(), source.paired_width().unwrap_or(0)),
            source,
            config: config.clone(),
            seed,
            order: Vec::new(),
            free: Vec::new(),
            pending: None,
            state,
        })
    }

    /// Rows that it holds, at most its capacity.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether it holds no row, as before the first batch.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Where it is in its stream.
    pub fn state(&self) -> &BufferState {
        &self.state
    }

    /// The source it reads.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The rows of the next batch; `None` at the end.
    ///
    /// # Errors
    /// Whatever the source reports, rows of other widths than it announced, and a stream that
    /// ends before its first batch.
    pub fn next_rows(&mut self) -> Result<Option<Rows>> {
        let batch = self.config.batch;
        if self.state.serving < batch {
            self.fill()?;
            let held = self.order.len();
            let batches = match (self.state.ended, held / batch) {
                (true, whole) => whole,
                (false, whole) => (whole / 2).max(1),
            };
            if batches == 0 {
                if self.state.batches == 0 {
                    return Err(Error::input(
                        "rows of the source",
                        held,
                        format!("must be at least one batch, {batch}"),
                    ));
                }
                return Ok(None);
            }
            let mut rng = self.seed.at(self.state.shuffles).rng();
            self.order.shuffle(&mut rng);
            self.state.shuffles += 1;
            self.state.serving = batches * batch;
        }
        let mut rows = Rows::empty(self.slots.width(), self.slots.paired_width().unwrap_or(0));
        rows.reserve(batch)?;
        let served = self.order.split_off(self.order.len() - batch);
        for &slot in &served {
            rows.push(&self.slots, slot);
        }
        self.free.extend(served);
        self.state.serving -= batch;
        self.state.batches += 1;
        Ok(Some(rows))
    }

    /// Takes rows until the buffer is full or the source has ended.
    fn fill(&mut self) -> Result<()> {
        let (width, paired_width) = (self.slots.width(), self.slots.paired_width().unwrap_or(0));
        self.slots
            .reserve(self.config.capacity - self.slots.len())?;
        while self.order.len() < self.config.capacity && !self.state.ended {
            let block = match self.pending.take() {
                Some(block) => block,
                None => {
                    self.state.block = self.source.position();
                    self.state.taken = 0;
                    let Some(block) = self.source.next()? else {
                        self.state.ended = true;
                        break;
                    };
                    block.check_widths(width, paired_width)?;
                    block
                }
            };
            let room = self.config.capacity - self.order.len();
            let start = self.state.taken;
            let end = block.len().min(start + room);
            for index in start..end {
                let slot = match self.free.pop() {
                    Some(slot) => {
                        self.slots.replace(slot, &block, index);
                        slot
                    }
                    None => {
                        self.slots.push(&block, index);
                        self.slots.len() - 1
                    }
                };
                self.order.push(slot);
            }
            self.state.taken = end;
            if end < block.len() {
                self.pending = Some(block);
            } else {
                self.state.block = self.source.position();
                self.state.taken = 0;
            }
        }
        Ok(())
    }

    /// The rows that it holds in the order in which they are served.
    fn held(&self) -> Rows {
        let mut rows = Rows::empty(self.slots.width(), self.slots.paired_width().unwrap_or(0));
        for &slot in &self.order {
            rows.push(&self.slots, slot);
        }
        rows
    }
}

impl<S: ActivationSource> Batches for ActivationBuffer<S> {
    fn width(&self) -> usize {
        self.slots.width()
    }

    fn next_batch(&mut self, device: &Device) -> Result<Option<Batch>> {
        Ok(self.next_rows()?.map(|rows| rows.into_batch(device)))
    }

    /// Writes `buffer.json` and, as rows of the past cannot be read again, the rows that are held
    /// in `buffer.safetensors`.
    fn save(&self, folder: &Path) -> Result<()> {
        let rows = StateDict::from_tensors("a buffer", self.held().into_tensors());
        rows.save_safetensors(folder.join(ROWS))?;
        config::save(&self.state, &folder.join(STATE))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let state: BufferState = config::load(&folder.join(STATE))?;
        let path = folder.join(ROWS);
        let rows = read_rows(&path)?;
        rows.check_widths(self.slots.width(), self.slots.paired_width().unwrap_or(0))
            .and_then(|()| match rows.len() {
                held if held > self.config.capacity || held < state.serving => Err(Error::input(
                    "rows of a saved buffer",
                    held,
                    format!(
                        "must be at least the {} to be served and at most the capacity, {}",
                        state.serving, self.config.capacity
                    ),
                )),
                _ => Ok(()),
            })
            .map_err(|error| Error::format(&path, error.to_string()))?;
        self.source.seek(state.block)?;
        self.pending = None;
        if state.taken > 0 {
            let block = self.source.next()?;
            let block = block.filter(|block| block.len() > state.taken);
            self.pending = Some(block.ok_or_else(|| {
                Error::input(
                    format!("block {} of the source", state.block),
                    "shorter than before",
                    "must be the block that the saved buffer was filled from",
                )
            })?);
        }
        self.order = (0..rows.len()).collect();
        self.free.clear();
        self.slots = rows;
        self.state = state;
        Ok(())
    }
}

/// The tensors `x` and `paired` of a file as rows.
pub(super) fn read_rows(path: &Path) -> Result<Rows> {
    let mut tensors = StateDict::open(path)?.into_f32()?;
    let mut take = |name: &str| {
        // Taken out, so that the rows are not twice in memory.
        let Some(data) = tensors.remove(name) else {
            return Ok(None);
        };
        let shape = data.shape().to_vec();
        let [_, width] = shape[..] else {
            return Err(Error::format(
                path,
                format!("`{name}` has shape {shape:?}, expected [rows, width]"),
            ));
        };
        Ok(Some((width, floats(data)?)))
    };
    let problem = |error: Error| Error::format(path, error.to_string());
    let Some((width, x)) = take("x")? else {
        return Err(Error::format(path, "no tensor `x`"));
    };
    let rows = Rows::new(width, x).map_err(problem)?;
    match take("paired")? {
        Some((width, paired)) => rows.with_paired(width, paired).map_err(problem),
        None => Ok(rows),
    }
}
