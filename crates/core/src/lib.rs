//! The ground floor of Menagerie: what every crate above it agrees on.
//!
//! | module | holds |
//! | --- | --- |
//! | [`system`] | [`System`], the descriptor that stands beside each paper's code |
//! | [`error`] | [`Error`] and [`Result`]: errors that name the thing, the value and the rule |
//! | [`seed`] | [`Seed`]: independent, reproducible random streams from one number |
//! | [`config`] | configuration files in TOML or JSON; an unknown key is an error that names it |
//! | [`fs`] | files that appear under their final name only when they are complete |
//! | [`device`] | `parse("flex")`, `parse("tch:cuda:0")` … and the list of what is compiled in |
//!
//! With `default-features = false` the crate does not depend on Burn, so that light programs can
//! share its errors and descriptors. The feature `tensor` adds [`device`]; each backend feature
//! (`flex`, `ndarray`, `tch`, `cuda`, `wgpu`, `remote`) turns on the Burn backend of that name.

pub mod config;
#[cfg(feature = "tensor")]
pub mod device;
pub mod error;
pub mod fs;
pub mod seed;
pub mod system;

pub use error::{Error, Result};
pub use seed::Seed;
pub use system::{Claim, Figure, Gate, System};
