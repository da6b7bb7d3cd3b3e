//! Devices by name, chosen at run time among the backends that are compiled in.
//!
//! | name | backend | Cargo feature | needs |
//! | --- | --- | --- | --- |
//! | `flex` | Burn's pure-Rust CPU backend, the default | `flex` | nothing |
//! | `ndarray` | `burn-ndarray`, CPU | `ndarray` | nothing |
//! | `tch`, `tch:cuda:0`, `tch:mps` | LibTorch through `burn-tch` | `tch` | libtorch 2.9 |
//! | `cuda:0` | CubeCL on NVIDIA | `cuda` | the CUDA toolkit |
//! | `wgpu`, `wgpu:0` | CubeCL on Vulkan, Metal or WebGPU | `wgpu` | a graphics driver |
//! | `remote:ws://host:port` | a Burn server elsewhere | `remote` | that server |
//!
//! ```
//! let device = menagerie_core::device::parse("flex")?;
//! assert!(!device.is_autodiff());
//! assert!(device.autodiff().is_autodiff());
//! # Ok::<(), menagerie_core::Error>(())
//! ```

use crate::{Error, Result, Seed};
use burn::tensor::Device;
use std::sync::{Mutex, PoisonError};

/// A backend that this project knows, compiled in or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The name in front of the first colon, which is also the Cargo feature.
    pub name: &'static str,
    /// How a device of it is written.
    pub syntax: &'static str,
    /// Whether this build has it.
    pub compiled: bool,
}

/// Every backend with whether it is compiled in, the default first.
pub const BACKENDS: &[Backend] = &[
    Backend {
        name: "flex",
        syntax: "flex",
        compiled: cfg!(feature = "flex"),
    },
    Backend {
        name: "ndarray",
        syntax: "ndarray",
        compiled: cfg!(feature = "ndarray"),
    },
    Backend {
        name: "tch",
        syntax: "tch, tch:cuda:<index>, tch:mps",
        compiled: cfg!(feature = "tch"),
    },
    Backend {
        name: "cuda",
        syntax: "cuda, cuda:<index>",
        compiled: cfg!(feature = "cuda"),
    },
    Backend {
        name: "wgpu",
        syntax: "wgpu, wgpu:<discrete GPU's index>",
        compiled: cfg!(feature = "wgpu"),
    },
    Backend {
        name: "remote",
        syntax: "remote:ws://<host>:<port>",
        compiled: cfg!(feature = "remote"),
    },
];

/// The names of the backends that are compiled in.
pub fn compiled() -> impl Iterator<Item = &'static str> {
    BACKENDS.iter().filter(|b| b.compiled).map(|b| b.name)
}

/// The device that `name` denotes, without autodiff; call [`Device::autodiff`] on it to train.
///
/// # Errors
/// [`Error::Unknown`] for a name that is none of [`BACKENDS`], [`Error::BackendMissing`] (which
/// names the Cargo feature) for one that is not compiled in, [`Error::Argument`] for a malformed
/// index or address, or for a device that this machine does not have.
pub fn parse(name: &str) -> Result<Device> {
    let (backend, rest) = match name.split_once(':') {
        Some((backend, rest)) => (backend, Some(rest)),
        None => (name, None),
    };
    let known = BACKENDS
        .iter()
        .find(|known| known.name == backend)
        .ok_or_else(|| Error::unknown("device", name, BACKENDS.iter().map(|b| b.name)))?;
    let missing = || Error::BackendMissing {
        device: name.into(),
        feature: known.name,
        compiled: compiled().collect::<Vec<_>>().join(", "),
    };
    if !known.compiled {
        return Err(missing());
    }
    let malformed = || Error::argument("device", name, format!("write {}", known.syntax));
    match (backend, rest) {
        #[cfg(feature = "flex")]
        ("flex", None) => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[expect(
            deprecated,
            reason = "a first-class backend here, whatever Burn's later plans"
        )]
        ("ndarray", None) => Ok(Device::ndarray()),
        #[cfg(feature = "tch")]
        ("tch", rest) => match parse_tch(rest, malformed)? {
            device if matches!(rest, None | Some("cpu")) => Ok(device),
            device => usable(name, device),
        },
        #[cfg(feature = "cuda")]
        ("cuda", rest) => usable(name, Device::cuda(index(rest, malformed)?)),
        #[cfg(feature = "wgpu")]
        ("wgpu", rest) => {
            use burn::tensor::DeviceKind;
            let kind = match rest {
                None => DeviceKind::DefaultDevice,
                rest => DeviceKind::DiscreteGpu(index(rest, malformed)?),
            };
            usable(name, Device::wgpu(kind))
        }
        #[cfg(feature = "remote")]
        ("remote", Some(url)) if url.starts_with("ws://") || url.starts_with("wss://") => {
            let host = burn::tensor::remote::RemoteHost::websocket(url);
            Device::remote_options(&host)
                .init()
                .map_err(|error| Error::other(format!("connecting to {url}"), error))
        }
        _ => Err(malformed()),
    }
}

/// Proves a device that needs hardware: a backend panics at the first tensor if it is not there.
#[cfg(any(feature = "tch", feature = "cuda", feature = "wgpu"))]
fn usable(name: &str, device: Device) -> Result<Device> {
    use burn::tensor::Tensor;
    use std::panic;

    // The panic is expected and becomes an error; its message would only confuse.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let probe = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        Tensor::<1>::zeros([1], &device).try_into_data().is_ok()
    }));
    panic::set_hook(hook);
    match probe {
        Ok(true) => Ok(device),
        _ => Err(Error::argument(
            "device",
            name,
            "its backend is compiled in, but this machine has no such device or no driver for it",
        )),
    }
}

/// Runs `draw`, e.g. a model's `init`, with the backend's random generator started at `seed`, and
/// keeps other calls of this function waiting meanwhile: a backend has one generator for the whole
/// process, so two threads that initialise models at once would share its numbers.
///
/// Burn draws a parameter when it is first used, so a module's `init` alone draws nothing;
/// `menagerie_train::initialise` draws all of it.
pub fn seeded<T>(device: &Device, seed: Seed, draw: impl FnOnce() -> T) -> T {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed.0);
    draw()
}

#[cfg(feature = "tch")]
#[expect(
    deprecated,
    reason = "a first-class backend here, whatever Burn's later plans"
)]
fn parse_tch(rest: Option<&str>, malformed: impl Fn() -> Error) -> Result<Device> {
    match rest {
        None | Some("cpu") => Ok(Device::libtorch()),
        Some("mps") => Ok(Device::libtorch_mps()),
        Some("cuda") => Ok(Device::libtorch_cuda(0)),
        Some(rest) => match rest.strip_prefix("cuda:") {
            Some(digits) => Ok(Device::libtorch_cuda(index(Some(digits), malformed)?)),
            None => Err(malformed()),
        },
    }
}

#[cfg(any(feature = "tch", feature = "cuda", feature = "wgpu"))]
fn index(rest: Option<&str>, malformed: impl Fn() -> Error) -> Result<usize> {
    rest.map_or(Ok(0), |digits| digits.parse().map_err(|_| malformed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_device_names_the_known_ones() {
        let error = parse("quantum:0").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.to_string(),
            "unknown device `quantum:0`; known: flex, ndarray, tch, cuda, wgpu, remote"
        );
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_backend_that_is_not_compiled_in_names_its_feature() {
        let error = parse("cuda:0").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("`--features cuda`"), "{text}");
        assert!(text.contains("compiled in: "), "{text}");
    }

    #[cfg(feature = "tch")]
    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        let error = parse("tch:cuda:77").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("no such device"), "{error}");
        assert!(parse("tch").is_ok());
    }

    #[cfg(feature = "flex")]
    #[test]
    fn seeded_draws_repeat() {
        use burn::tensor::{Distribution, Tensor};
        let device = parse("flex").unwrap();
        let draw = |seed| {
            seeded(&device, Seed(seed), || {
                Tensor::<1>::random([8], Distribution::Default, &device)
                    .into_data()
                    .try_to_vec::<f32>()
                    .unwrap()
            })
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[cfg(feature = "flex")]
    #[test]
    fn a_malformed_device_shows_the_syntax() {
        let error = parse("flex:0").unwrap_err().to_string();
        assert_eq!(error, "device `flex:0`: write flex");
    }
}
