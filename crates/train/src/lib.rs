//! Training that survives a kill and says what it does.
//!
//! A [`Run`] is a folder; [`Run::fit`] drives a [`Procedure`] through its steps and leaves in it
//!
//! | file | holds |
//! | --- | --- |
//! | `config.json` | the configuration the run was started with |
//! | `metrics.jsonl` | one JSON object per logged step or evaluation |
//! | `checkpoints/step-<n>/` | everything the procedure needs to go on, and `state.json` |
//!
//! A run that was killed goes on from its last checkpoint and logs the same numbers as one that
//! was not: batches ([`Sampler`]), learning rates ([`Schedule`]) and random draws
//! ([`menagerie_core::Seed`]) are functions of the step, not of what happened before it.
//!
//! A method that is a loss implements Burn's `TrainStep` and trains through [`Supervised`], which
//! adds schedules, layer-wise rates, gradient clipping and accumulation, an exponential moving
//! average and several devices. A method that is a procedure of its own (alternating phases,
//! adversarial stages, layer-local learning) implements [`Procedure`] and gets the rest from
//! [`Run`].
//!
//! ```no_run
//! use menagerie_train::{FitConfig, Metrics, Procedure, Progress, Run, Scalars};
//! # use menagerie_core::Result;
//! # use std::path::Path;
//! /// Newton's iteration for a square root, to show the shape of a procedure.
//! struct SquareRoot { of: f64, estimate: f64 }
//!
//! impl Procedure for SquareRoot {
//!     fn step(&mut self, _step: usize) -> Result<Scalars> {
//!         self.estimate = 0.5 * (self.estimate + self.of / self.estimate);
//!         Ok(Scalars::new().with_value("estimate", self.estimate))
//!     }
//!     fn save(&self, folder: &Path) -> Result<()> {
//!         menagerie_core::config::save(&self.estimate, &folder.join("estimate.json"))
//!     }
//!     fn load(&mut self, folder: &Path) -> Result<()> {
//!         self.estimate = menagerie_core::config::load(&folder.join("estimate.json"))?;
//!         Ok(())
//!     }
//! }
//!
//! let run = Run::create(Path::new("runs/root"), &2.0, false)?;
//! let mut procedure = SquareRoot { of: 2.0, estimate: 1.0 };
//! let summary = run.fit(&mut procedure, &FitConfig::new(10), &Progress::auto())?;
//! assert_eq!(summary.step, 10);
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod adam;
mod adamw;
mod checkpoint;
mod ema;
mod fit;
mod gradients;
mod initialise;
mod metrics;
mod progress;
mod run;
mod sampler;
mod schedule;
mod signum;
mod supervised;

pub use adam::{Adam, AdamConfig};
pub use adamw::{AdamW, parameters};
pub use checkpoint::{load_module, load_optimiser, save_module, save_optimiser};
pub use ema::Ema;
pub use fit::{EarlyStop, FitConfig, Procedure, Summary};
pub use gradients::{clip_global_norm, global_norm, scale};
pub use initialise::initialise;
pub use metrics::{Metrics, Scalars};
pub use progress::Progress;
pub use run::{Record, Run, Split};
pub use sampler::Sampler;
pub use schedule::{Decay, Rates, Schedule};
pub use signum::{Signum, SignumConfig};
pub use supervised::{Supervised, execution_strategy, non_finite};
