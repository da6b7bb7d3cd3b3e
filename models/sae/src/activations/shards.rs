//! Rows on disk: a folder of safetensors files with an index.
//!
//! | file | holds |
//! | --- | --- |
//! | `index.json` | a [`ShardIndex`] |
//! | `shard-<n>.safetensors` | `x` `[rows, width]`, and `paired` `[rows, paired width]` if there is something, `f32` |

use super::{
    buffer::read_rows,
    rows::{ActivationSource, Rows},
};
use burn::config::Config;
use menagerie_core::{Error, Result, Seed, config};
use menagerie_hub::StateDict;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Component, Path},
};

pub(super) const INDEX: &str = "index.json";

/// How rows are laid out on disk.
#[derive(Config, Debug, PartialEq)]
pub struct SpillConfig {
    /// Rows of a shard; as many are in memory while it is filled.
    pub rows_per_shard: usize,
    /// Rows in all; `None` for all that the source has.
    #[config(default = "None")]
    pub rows: Option<usize>,
}

impl SpillConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("rows_per_shard", self.rows_per_shard),
            ("rows", self.rows.unwrap_or(1)),
        ] {
            if value == 0 {
                let rule = "must be at least 1";
                return Err(Error::config("SpillConfig", field, value, rule));
            }
        }
        Ok(())
    }
}

/// Where rows came from: two folders with the same origin hold the same rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The model that was read.
    pub model: String,
    /// The hook at which it was read.
    pub hook: String,
    /// The seed of the order in which it was read.
    pub seed: Seed,
}

/// What a folder of shards holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardIndex {
    /// Where the rows came from.
    pub origin: Origin,
    /// Width of an activation.
    pub width: usize,
    /// Width of what belongs to each; `None` where there is nothing.
    pub paired_width: Option<usize>,
    /// Rows of all shards.
    pub rows: usize,
    /// Rows of a full shard.
    pub rows_per_shard: usize,
    /// The files, in the order of their rows.
    pub shards: Vec<ShardInfo>,
    /// Whether all rows that were asked for are there.
    pub complete: bool,
    /// Whether they are all that the source has.
    #[serde(default)]
    pub ended: bool,
    /// The source's block from which the next shard would start.
    pub block: u64,
    /// Rows of that block that are in a shard.
    pub taken: usize,
}

/// One file of a folder of shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardInfo {
    /// Its name inside the folder.
    pub file: String,
    /// Its rows.
    pub rows: usize,
    /// CRC-32 of its bytes.
    pub crc32: u32,
}

impl ShardIndex {
    /// Reads the index of `folder`.
    ///
    /// # Errors
    /// A folder without an index, and an index that contradicts itself, by its path.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(INDEX);
        let index: Self = config::load(&path)?;
        let problem = |problem: String| Err(Error::format(&path, problem));
        if index.width == 0 || index.paired_width == Some(0) {
            return problem("a width of 0, expected at least 1".into());
        }
        let mut rows = 0usize;
        for shard in &index.shards {
            let mut parts = Path::new(&shard.file).components();
            let plain = matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            );
            if !plain {
                return problem(format!(
                    "shard `{}`, expected the name of a file in this folder",
                    shard.file
                ));
            }
            if shard.rows == 0 {
                return problem(format!("shard `{}` of 0 rows", shard.file));
            }
            rows = rows.saturating_add(shard.rows);
        }
        if rows != index.rows {
            return problem(format!(
                "shards of {rows} rows in all, expected {}, its `rows`",
                index.rows
            ));
        }
        Ok(index)
    }

    /// Bytes of the largest shard's rows.
    pub fn shard_bytes(&self) -> usize {
        let rows = self.shards.iter().map(|shard| shard.rows).max();
        rows.unwrap_or(0)
            .saturating_mul(self.width + self.paired_width.unwrap_or(0))
            .saturating_mul(size_of::<f32>())
    }

    /// The rows of shard `number`.
    ///
    /// # Errors
    /// A file that is missing, truncated, damaged, of other widths or another number of rows, or
    /// that holds a number that is not finite; all name the file.
    pub(super) fn read(&self, folder: &Path, number: usize) -> Result<Rows> {
        let shard = &self.shards[number];
        let path = folder.join(&shard.file);
        let rows = read_rows(&path)?;
        let found = checksum(&path)?;
        if found != shard.crc32 {
            return Err(Error::format(
                &path,
                format!(
                    "damaged: its CRC-32 is {found:08x}, expected {:08x}",
                    shard.crc32
                ),
            ));
        }
        rows.check_widths(self.width, self.paired_width.unwrap_or(0))
            .map_err(|error| Error::format(&path, error.to_string()))?;
        if rows.len() != shard.rows {
            return Err(Error::format(
                &path,
                format!("{} rows, expected {}", rows.len(), shard.rows),
            ));
        }
        if let Some((row, value)) = rows.non_finite() {
            return Err(Error::format(
                &path,
                format!("{value} in row {row}, expected finite numbers"),
            ));
        }
        Ok(rows)
    }
}

fn checksum(path: &Path) -> Result<u32> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io("open", path))?);
    let mut hasher = crc32fast::Hasher::new();
    let mut bytes = vec![0; 1 << 20];
    loop {
        match file.read(&mut bytes).map_err(Error::io("read", path))? {
            0 => return Ok(hasher.finalize()),
            count => hasher.update(&bytes[..count]),
        }
    }
}

/// Writes the rows of `source` into `folder`, shard by shard.
///
/// Shards and index appear whole, the index after the shard it names. If the folder holds the
/// beginning of the same rows, it is taken up after its last shard; if it holds all of them,
/// nothing is read.
///
/// **Memory**: the rows of one shard, twice while it is written, and one block of the source.
///
/// # Errors
/// What [`SpillConfig::validate`] reports; a folder of another origin or layout; a source without
/// rows; whatever the source or the file system reports.
pub fn spill(
    source: &mut dyn ActivationSource,
    origin: &Origin,
    folder: &Path,
    config: &SpillConfig,
) -> Result<ShardIndex> {
    config.validate()?;
    menagerie_core::fs::create_dir(folder)?;
    let (width, paired_width) = (source.width(), source.paired_width());
    let mut index = if folder.join(INDEX).exists() {
        let index = ShardIndex::open(folder)?;
        let found = (
            &index.origin,
            index.width,
            index.paired_width,
            index.rows_per_shard,
        );
        let ours = (origin, width, paired_width, config.rows_per_shard);
        if found != ours {
            return Err(Error::format(
                folder.join(INDEX),
                format!("was written from {found:?}, not from {ours:?}; choose another folder"),
            ));
        }
        index
    } else {
        ShardIndex {
            origin: origin.clone(),
            width,
            paired_width,
            rows: 0,
            rows_per_shard: config.rows_per_shard,
            shards: Vec::new(),
            complete: false,
            ended: false,
            block: source.position(),
            taken: 0,
        }
    };
    let wanted = config.rows.unwrap_or(usize::MAX);
    if index.rows >= wanted || index.ended {
        return Ok(index);
    }

    let paired = paired_width.unwrap_or(0);
    source.seek(index.block)?;
    let (mut block, mut taken) = (index.block, index.taken);
    let mut rest = match taken {
        0 => None,
        _ => source.next()?,
    };
    let mut ended = false;
    while index.rows < wanted && !ended {
        let goal = config.rows_per_shard.min(wanted - index.rows);
        let mut rows = Rows::empty(width, paired);
        while rows.len() < goal {
            let current = match rest.take() {
                Some(current) => current,
                None => {
                    (block, taken) = (source.position(), 0);
                    let Some(current) = source.next()? else {
                        ended = true;
                        break;
                    };
                    current.check_widths(width, paired)?;
                    current
                }
            };
            let count = current.len().saturating_sub(taken).min(goal - rows.len());
            rows.reserve(count)?;
            rows.extend(&current, taken, count);
            taken += count;
            if taken < current.len() {
                rest = Some(current);
            } else {
                (block, taken) = (source.position(), 0);
            }
        }
        if !rows.is_empty() {
            let info = write(rows, folder, index.shards.len())?;
            index.rows += info.rows;
            index.shards.push(info);
        }
        (index.block, index.taken) = (block, taken);
        index.ended = ended;
        index.complete = ended || index.rows >= wanted;
        if index.rows > 0 {
            config::save(&index, &folder.join(INDEX))?;
        }
    }
    if index.rows == 0 {
        return Err(Error::input("rows of the source", 0, "must be at least 1"));
    }
    Ok(index)
}

fn write(rows: Rows, folder: &Path, number: usize) -> Result<ShardInfo> {
    let (count, file) = (rows.len(), format!("shard-{number:05}.safetensors"));
    let path = folder.join(&file);
    let tensors = StateDict::from_tensors(&file, rows.into_tensors());
    tensors.save_safetensors(&path)?;
    Ok(ShardInfo {
        file,
        rows: count,
        crc32: checksum(&path)?,
    })
}
