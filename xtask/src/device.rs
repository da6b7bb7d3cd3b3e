//! Which Cargo feature a device needs; the devices themselves are `menagerie_core::device`'s.

use crate::fault::{Fault, Result};

/// The backends by name, which is also the Cargo feature; the default first.
pub const BACKENDS: &[&str] = &["flex", "ndarray", "tch", "cuda", "wgpu", "remote"];

/// The feature that `device` needs besides the default ones.
///
/// # Errors
/// [`Fault::Usage`] for a device of no known backend.
pub fn feature(device: &str) -> Result<Option<&'static str>> {
    let backend = device.split(':').next().unwrap_or_default();
    match BACKENDS.iter().position(|known| *known == backend) {
        Some(0) => Ok(None),
        Some(index) => Ok(Some(BACKENDS[index])),
        None => Err(Fault::unknown("device", device, BACKENDS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_names_its_feature() {
        assert_eq!(feature("flex"), Ok(None));
        assert_eq!(feature("tch:cuda:0"), Ok(Some("tch")));
        assert_eq!(feature("remote:ws://host:1"), Ok(Some("remote")));
        let error = feature("cpu0").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.to_string(),
            "unknown device `cpu0`; known: flex, ndarray, tch, cuda, wgpu, remote"
        );
    }
}
