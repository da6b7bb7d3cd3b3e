//! Batches from rows on disk.

use super::{
    rows::{Batch, Batches, Rows},
    shards::{INDEX, ShardIndex},
};
use burn::{config::Config, tensor::Device};
use menagerie_core::{Error, Result, Seed, config};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const STATE: &str = "shards.json";

/// How batches are cut from shards.
#[derive(Config, Debug, PartialEq)]
pub struct ShardSourceConfig {
    /// Rows of a batch.
    pub batch: usize,
    /// Shards that are in memory at once, and whose rows are mixed.
    #[config(default = 4)]
    pub group: usize,
    /// Passes over all rows, each in an order of its own.
    #[config(default = 1)]
    pub epochs: usize,
}

impl ShardSourceConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("batch", self.batch),
            ("group", self.group),
            ("epochs", self.epochs),
        ] {
            if value == 0 {
                let rule = "must be at least 1";
                return Err(Error::config("ShardSourceConfig", field, value, rule));
            }
        }
        Ok(())
    }
}

/// The place of the next row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardState {
    /// The pass.
    pub epoch: usize,
    /// The group of shards in this pass.
    pub group: usize,
    /// The row of this group, in its shuffled order.
    pub row: usize,
}

/// Batches of the rows in a folder that [`spill`](super::spill) wrote.
///
/// Each pass visits the shards in a random order, a group at a time, and the rows of a group in a
/// random order; a batch may reach into the next group and pass. Both orders are functions of seed,
/// pass and group, so three numbers say where it is.
///
/// **Memory**: the rows of `group` shards, [`ShardIndex::shard_bytes`] each, and one file while it
/// is read.
pub struct ShardSource {
    folder: PathBuf,
    index: ShardIndex,
    config: ShardSourceConfig,
    seed: Seed,
    state: ShardState,
    loaded: Option<Group>,
}

/// The rows of the group at which a [`ShardSource`] is.
struct Group {
    epoch: usize,
    group: usize,
    shards: Vec<Rows>,
    /// Shard and row of each row in its shuffled order.
    order: Vec<(u32, u32)>,
}

impl ShardSource {
    /// Opens a folder of shards.
    ///
    /// # Errors
    /// What [`ShardSourceConfig::validate`] and [`ShardIndex::open`] report; a folder that is not
    /// complete, or that holds less than a batch.
    pub fn open(folder: &Path, config: &ShardSourceConfig, seed: Seed) -> Result<Self> {
        config.validate()?;
        let index = ShardIndex::open(folder)?;
        let path = folder.join(INDEX);
        if !index.complete {
            let problem = format!(
                "is incomplete with {} rows; spill into the same folder to go on",
                index.rows
            );
            return Err(Error::format(path, problem));
        }
        if index.rows.saturating_mul(config.epochs) < config.batch {
            let problem = format!(
                "{} rows, expected at least one batch, {}",
                index.rows, config.batch
            );
            return Err(Error::format(path, problem));
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            index,
            config: config.clone(),
            seed,
            state: ShardState::default(),
            loaded: None,
        })
    }

    /// What the folder holds.
    pub fn index(&self) -> &ShardIndex {
        &self.index
    }

    /// Batches of all passes.
    pub fn batches(&self) -> usize {
        self.index.rows.saturating_mul(self.config.epochs) / self.config.batch
    }

    /// The place of the next row.
    pub fn state(&self) -> ShardState {
        self.state
    }

    /// Goes to a place that [`state`](Self::state) gave.
    ///
    /// # Errors
    /// A place that these shards do not have.
    pub fn restore(&mut self, state: ShardState) -> Result<()> {
        let groups = self.groups();
        let fits = state.epoch <= self.config.epochs
            && state.group < groups
            && state.row <= self.index.rows;
        if !fits {
            return Err(Error::input(
                "a place in the shards",
                state,
                format!(
                    "must lie within {} passes of {groups} groups of the {} rows",
                    self.config.epochs, self.index.rows
                ),
            ));
        }
        self.state = state;
        Ok(())
    }

    /// The rows of the next batch; `None` at the end.
    ///
    /// # Errors
    /// A shard that is missing or damaged, by its file.
    pub fn next_rows(&mut self) -> Result<Option<Rows>> {
        let start = self.state;
        let mut batch = Rows::empty(self.index.width, self.index.paired_width.unwrap_or(0));
        batch.reserve(self.config.batch)?;
        while batch.len() < self.config.batch {
            if self.state.epoch >= self.config.epochs {
                self.state = start;
                return Ok(None);
            }
            let state = self.state;
            let group = self.load_group(state)?;
            let end = group
                .order
                .len()
                .min(state.row + self.config.batch - batch.len());
            for &(shard, row) in group.order.get(state.row..end).unwrap_or_default() {
                batch.push(&group.shards[shard as usize], row as usize);
            }
            let finished = end >= group.order.len();
            self.loaded = Some(group);
            self.state.row = end;
            if finished {
                self.state = match state.group + 1 {
                    next if next < self.groups() => ShardState {
                        group: next,
                        row: 0,
                        ..state
                    },
                    _ => ShardState {
                        epoch: state.epoch + 1,
                        group: 0,
                        row: 0,
                    },
                };
            }
        }
        Ok(Some(batch))
    }

    fn groups(&self) -> usize {
        self.index.shards.len().div_ceil(self.config.group)
    }

    /// The group of `state`, read where it is not in memory.
    fn load_group(&mut self, state: ShardState) -> Result<Group> {
        // The group before is dropped first, so that only one is in memory.
        if let Some(group) = self.loaded.take()
            && (group.epoch, group.group) == (state.epoch, state.group)
        {
            return Ok(group);
        }
        let seed = self.seed.at(state.epoch as u64);
        let mut numbers: Vec<usize> = (0..self.index.shards.len()).collect();
        numbers.shuffle(&mut seed.stream("shards").rng());
        let shards = numbers
            .into_iter()
            .skip(state.group * self.config.group)
            .take(self.config.group)
            .map(|number| self.index.read(&self.folder, number))
            .collect::<Result<Vec<Rows>>>()?;
        let mut order: Vec<(u32, u32)> = Vec::new();
        for (shard, rows) in shards.iter().enumerate() {
            order.extend((0..rows.len()).map(|row| (shard as u32, row as u32)));
        }
        let rows = seed.stream("rows").at(state.group as u64);
        order.shuffle(&mut rows.rng());
        Ok(Group {
            epoch: state.epoch,
            group: state.group,
            shards,
            order,
        })
    }
}

impl Batches for ShardSource {
    fn width(&self) -> usize {
        self.index.width
    }

    fn next_batch(&mut self, device: &Device) -> Result<Option<Batch>> {
        Ok(self.next_rows()?.map(|rows| rows.into_batch(device)))
    }

    /// Writes `shards.json`; the shards must stay where they are.
    fn save(&self, folder: &Path) -> Result<()> {
        config::save(&self.state, &folder.join(STATE))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(STATE);
        let state = config::load(&path)?;
        self.restore(state)
            .map_err(|error| Error::format(path, error.to_string()))
    }
}
