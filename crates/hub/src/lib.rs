//! Official weights for Burn modules.
//!
//! | module | holds |
//! | --- | --- |
//! | [`state_dict`] | [`StateDict`]: tensors under their official names, from `.safetensors`, PyTorch and NumPy files |
//! | [`key_map`] | [`KeyMap`]: a declarative, invertible map between official names and module paths |
//! | [`load`](mod@load) | [`load()`](load()): weights into a module, strict by default; [`values`] and [`gradients`] out of one |
//! | [`source`] | [`Source`]: a local file or a file of a repository on the Hub |
//! | [`options`] | [`HubOptions`]: where the Hub and its cache are, and how to reach them |
//!
//! ```
//! use burn::{nn::LinearConfig, tensor::TensorData};
//! use menagerie_core::device;
//! use menagerie_hub::{KeyMap, StateDict, load};
//!
//! // PyTorch stores `[outputs, inputs]`, Burn `[inputs, outputs]`.
//! let weights = StateDict::from_tensors(
//!     "an example",
//!     [
//!         ("fc1.weight".into(), TensorData::from([[1f32, 2., 3.], [4., 5., 6.]])),
//!         ("fc1.bias".into(), TensorData::from([0f32, 1.])),
//!     ],
//! );
//! let map = KeyMap::new()
//!     .transpose("fc1.weight", "weight")
//!     .rename("fc1.bias", "bias");
//! let linear = LinearConfig::new(3, 2).init(&device::parse("flex")?);
//! let linear = load(linear, &weights, &map)?;
//! assert_eq!(linear.weight.val().to_data(), TensorData::from([[1f32, 4.], [2., 5.], [3., 6.]]));
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod axes;
mod convert;
mod download;
mod formats;
pub mod key_map;
pub mod load;
pub mod options;
mod pattern;
pub mod source;
pub mod state_dict;

pub use key_map::{KeyMap, Op};
pub use load::{LoadReport, Strictness, gradients, load, load_with, values};
pub use options::HubOptions;
pub use source::Source;
pub use state_dict::{Scalar, StateDict};
