//! Integration tests.
#![allow(clippy::unwrap_used)]

mod depict;
mod prototype_net;
mod stacked_geo;

/// The device under test: `MENAGERIE_DEVICE`, else `flex`.
fn device() -> burn::tensor::Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or_else(|_| "flex".into());
    menagerie_core::device::parse(&name).unwrap()
}
