//! Activations of a language model as a stream of training batches.
//!
//! ```text
//! tokens ─ Probe ─▶ HostSource ─▶ ActivationBuffer ─────────▶ batches
//!                        └─ spill ─▶ shards on disk ─ ShardSource ─▶ batches
//! ```
//!
//! | item | does |
//! | --- | --- |
//! | [`HookedModel`], any [`Probe`] | reads a model at a hook: activations, with gradients or targets if wanted |
//! | [`HostSource`] | runs windows of tokens through a probe and drops rows that are not wanted |
//! | [`RowSource`] | rows that are in memory already, e.g. procedural data |
//! | [`ActivationBuffer`] | mixes the rows of a source in a bounded buffer and cuts batches from it |
//! | [`spill`], [`ShardSource`] | rows on disk, and batches from them in a shuffled order |
//! | [`Norms`], [`geometric_median`] | what is estimated of a data set before training |
//!
//! Everything random is a function of a [`Seed`](menagerie_core::Seed) and a counter, and both
//! kinds of batches save where they are, so that a run that was killed goes on with the batches it
//! would have seen.
//!
//! ```
//! use burn::tensor::Device;
//! use menagerie_core::Seed;
//! use menagerie_sae::activations::{ActivationBuffer, Batches, BufferConfig, RowSource, Rows};
//!
//! let rows = Rows::new(2, (0..200).map(|i| i as f32).collect())?;
//! let source = RowSource::new(rows, 10, 1)?;
//! let mut buffer = ActivationBuffer::new(source, &BufferConfig::new(40, 8), Seed(1))?;
//! let device = Device::default();
//! let mut seen = 0;
//! while let Some(batch) = buffer.next_batch(&device)? {
//!     assert_eq!(batch.x.dims(), [8, 2]);
//!     seen += 8;
//! }
//! assert_eq!(seen, 96); // 100 rows; a last batch that is not full is dropped
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod buffer;
mod host;
mod probe;
mod rows;
mod shard_source;
mod shards;
mod statistics;

pub use buffer::{ActivationBuffer, BufferConfig, BufferState};
pub use host::{HostSource, HostSourceConfig, Probe};
pub use probe::HookedModel;
pub use rows::{ActivationSource, Batch, Batches, RowSource, Rows};
pub use shard_source::{ShardSource, ShardSourceConfig, ShardState};
pub use shards::{Origin, ShardIndex, ShardInfo, SpillConfig, spill};
pub use statistics::{Norms, geometric_median};
