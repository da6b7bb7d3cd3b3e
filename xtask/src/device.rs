//! Which Cargo feature a device needs; the devices themselves are `menagerie_core::device`'s.

use crate::fault::{Fault, Result};

/// A backend as the command line knows it.
struct Backend {
    /// What stands in front of the first colon, which is also the Cargo feature.
    name: &'static str,
    /// How its devices are written.
    syntax: &'static str,
    /// Whether what stands behind the first colon, if there is one, denotes a device.
    accepts: fn(Option<&str>) -> bool,
}

/// The backends that `menagerie_core::device` knows; the default first.
const BACKENDS: &[Backend] = &[
    Backend {
        name: "flex",
        syntax: "flex",
        accepts: |rest| rest.is_none(),
    },
    Backend {
        name: "ndarray",
        syntax: "ndarray",
        accepts: |rest| rest.is_none(),
    },
    Backend {
        name: "tch",
        syntax: "tch, tch:cuda:<index>, tch:mps",
        accepts: |rest| match rest {
            None | Some("cpu" | "mps" | "cuda") => true,
            Some(rest) => rest.strip_prefix("cuda:").is_some_and(is_index),
        },
    },
    Backend {
        name: "cuda",
        syntax: "cuda, cuda:<index>",
        accepts: |rest| rest.is_none_or(is_index),
    },
    Backend {
        name: "wgpu",
        syntax: "wgpu, wgpu:<discrete GPU's index>",
        accepts: |rest| rest.is_none_or(is_index),
    },
    Backend {
        name: "remote",
        syntax: "remote:ws://<host>:<port>",
        accepts: |rest| {
            rest.is_some_and(|url| url.starts_with("ws://") || url.starts_with("wss://"))
        },
    },
];

fn is_index(digits: &str) -> bool {
    digits.parse::<usize>().is_ok()
}

/// The feature that `device` needs besides the default ones.
///
/// # Errors
/// [`Fault::Usage`] for a device of no known backend or one that is not written as its backend's
/// are, so that neither costs a build.
pub fn feature(device: &str) -> Result<Option<&'static str>> {
    let (name, rest) = match device.split_once(':') {
        Some((name, rest)) => (name, Some(rest)),
        None => (device, None),
    };
    let Some(index) = BACKENDS.iter().position(|known| known.name == name) else {
        let names: Vec<_> = BACKENDS.iter().map(|backend| backend.name).collect();
        return Err(Fault::unknown("device", device, &names));
    };
    let backend = &BACKENDS[index];
    if !(backend.accepts)(rest) {
        return Err(Fault::usage(format!(
            "device `{device}`: write {}",
            backend.syntax
        )));
    }
    Ok((index > 0).then_some(backend.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_names_its_feature() {
        assert_eq!(feature("flex"), Ok(None));
        for (device, name) in [
            ("ndarray", "ndarray"),
            ("tch", "tch"),
            ("tch:cpu", "tch"),
            ("tch:cuda:0", "tch"),
            ("cuda", "cuda"),
            ("cuda:1", "cuda"),
            ("wgpu:0", "wgpu"),
            ("remote:ws://host:1", "remote"),
        ] {
            assert_eq!(feature(device), Ok(Some(name)), "{device}");
        }
        let error = feature("cpu0").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.to_string(),
            "unknown device `cpu0`; known: flex, ndarray, tch, cuda, wgpu, remote"
        );
    }

    #[test]
    fn a_malformed_device_shows_the_syntax() {
        for device in [
            "flex:0",
            "ndarray:",
            "tch:0",
            "tch:cuda:",
            "cuda:x",
            "wgpu:-1",
            "remote",
            "remote:http://host",
        ] {
            let error = feature(device).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{device}");
        }
        let error = feature("flex:0").unwrap_err().to_string();
        assert_eq!(error, "device `flex:0`: write flex");
    }
}
