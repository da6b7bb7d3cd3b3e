//! Integration tests: refusals, objectives, training, formats, hosts.
#![allow(clippy::unwrap_used)]

mod activations;
mod dark_matter;
mod dark_matter_injection;
mod formats;
mod host;
mod host_training;
mod shards;
