//! Neural-network blocks that two or more Menagerie families share.
//!
//! | module | holds |
//! | --- | --- |
//! | [`adam`] | the update of Adam in one pass over memory |
//! | [`conv`] | 2-D convolution and its adjoint, the transposed convolution, with separate padding on all four sides |
//! | [`norm`] | instance normalisation, alone and with its neighbours |
//! | [`block`] | convolution, instance normalisation and activation as one operation |
//! | [`sparse`] | top-k selection, and products of sparse codes with the rows of a dictionary |
//! | [`transformer`] | linear layers, layer normalisation, GELU, causal attention, cross-entropy |
//! | [`vit`] | the parts of vision transformers: blocks, patches, masks, positions |
//!
//! Every function is written on Burn operations and runs on every backend. For single-precision
//! tensors on the `flex` backend the same functions run hand-written kernels, forward and
//! backward; results agree to rounding.

pub mod adam;
pub mod block;
pub mod conv;
pub mod norm;
pub mod sparse;
pub mod transformer;
pub mod vit;

#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod kernel;
#[cfg(feature = "flex")]
mod memory;
