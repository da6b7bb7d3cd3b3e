//! Neural-network blocks that two or more Menagerie families share.
//!
//! | module | holds |
//! | --- | --- |
//! | [`adam`] | the update of Adam in one pass over memory |
//! | [`batch_norm`] | batch normalisation of columns with the ReLU and the dropout after it |
//! | [`bilinear`] | bilinear forms of aligned slices of two vectors |
//! | [`classification`] | smoothed targets, their cross-entropy, accuracy |
//! | [`clustering`] | k-means and k-means++ over points in memory or in a file; scores of a clustering |
//! | [`conv`] | 2-D convolution and its adjoint, the transposed convolution, with separate padding on all four sides |
//! | [`conv1d`] | 1-D convolution and its adjoint: stride, dilation, groups, a leaky ReLU before it |
//! | [`depthwise`] | depth-wise convolution of tokens on a grid |
//! | [`diffusion`] | noise schedules, the forward process, DDPM and DDIM, losses |
//! | [`dropout`] | dropout whose draw is a function of a number |
//! | [`embedding`] | gradients of the looked-up rows of a table, and the update of all rows in one pass |
//! | [`group_norm`] | group normalisation, alone and with modulation and SiLU |
//! | [`linear_attention`] | attention without softmax, linear in the tokens, with a depth-wise convolution of the values |
//! | [`mix`] | mixup and CutMix |
//! | [`noise`] | normal numbers that are the same on every device |
//! | [`norm`] | instance normalisation, alone and with its neighbours |
//! | [`ode`] | adaptive solvers of ordinary and stochastic differential equations, with gradients |
//! | [`regression`] | least squares and ridge regression in closed form |
//! | [`resample`] | maps at twice and at half their size |
//! | [`block`] | convolution, instance normalisation and activation as one operation |
//! | [`pointwise`] | tanh and the mean squared error in one pass over memory |
//! | [`sparse`] | top-k selection, and products of sparse codes with the rows of a dictionary |
//! | [`stft`] | magnitudes of the short-time Fourier transform |
//! | [`transformer`] | linear layers, layer normalisation, GELU, causal attention, cross-entropy |
//! | [`vit`] | the parts of vision transformers: blocks, patches, masks, positions |
//!
//! Every function is written on Burn operations and runs on every backend. For single-precision
//! tensors on the `flex` backend the same functions run hand-written kernels, forward and
//! backward; results agree to rounding.

pub mod adam;
pub mod batch_norm;
pub mod bilinear;
pub mod block;
pub mod classification;
pub mod clustering;
pub mod conv;
pub mod conv1d;
pub mod depthwise;
pub mod diffusion;
pub mod dropout;
pub mod embedding;
pub mod group_norm;
pub mod linear_attention;
pub mod mix;
pub mod noise;
pub mod norm;
pub mod ode;
pub mod pointwise;
pub mod regression;
pub mod resample;
pub mod sparse;
pub mod stft;
pub mod transformer;
pub mod vit;

#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod kernel;
mod level;
#[cfg(feature = "flex")]
mod memory;
