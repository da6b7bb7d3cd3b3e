//! Integration tests of the systems of the crate.
#![allow(clippy::unwrap_used)]

mod jepa_linear;
mod shallow;

use burn::tensor::Device;

/// The device under test: `MENAGERIE_DEVICE`, else `flex`.
fn device() -> Device {
    let name = std::env::var("MENAGERIE_DEVICE").unwrap_or_else(|_| "flex".into());
    menagerie_core::device::parse(&name).unwrap()
}

/// The text of an error.
fn text<T>(result: menagerie_core::Result<T>) -> String {
    match result {
        Ok(_) => panic!("nothing was refused"),
        Err(error) => error.to_string(),
    }
}
