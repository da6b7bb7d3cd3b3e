//! Deep residual stacks and their shallow expansions: all layers beside each other, with the same
//! parameters.
//!
//! A stack of residual layers `h ← h + F(h)` expands into a sum over all ordered subsets of layers,
//! like a Taylor series. Without the terms of second and higher order all layers are parallel, on the
//! same input: one wide layer. The module has both forms with shared weights, the single convolution
//! that the parallel one is, the terms of every order of linear stacks, and how far both are apart.
//!
//! Bermeitinger, Hrycej and Handschuh, *Make Deep Networks Shallow Again*, KDIR 2023,
//! [arXiv:2309.08414](https://arxiv.org/abs/2309.08414).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_theory::shallow::{Form, ShallowConfig};
//!
//! let device = Device::default();
//! let config = ShallowConfig::new(1, 6, 4, 3);
//! let deep = config.init(&device)?;
//! let images = Tensor::ones([2, 1, 6, 6], &device);
//!
//! let shallow = deep.to_parallel();
//! assert_eq!(shallow.config().form, Form::Parallel);
//! let one_kernel = shallow.fused_parallel().forward(images.clone())?;
//! let off = (shallow.forward(images.clone())? - one_kernel).abs().max();
//! assert!(off.into_scalar::<f32>() < 1e-4);
//!
//! // Five orders of four layers.
//! assert_eq!(deep.orders(images)?.len(), 5);
//! let error = ShallowConfig::new(1, 6, 4, 3).with_stride(2).init(&device).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "ShallowConfig.stride = 2: must be 1: the identity needs maps of one size"
//! );
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! # What the reproduction found
//!
//! `cargo xtask reproduce shallow`: garments of 14², three seeds; the test loss of the parallel
//! form beside the sequential one of as many layers and filters:
//!
//! | layers × filters | 1×4, 1×8 | 2×4 | 2×8 | 4×4 | 4×8 | 8×4 | 8×8 | 16×4 |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | difference, % | 0.0 | +2.6 ± 0.2 | +1.9 ± 1.1 | +4.8 ± 2.7 | +3.0 ± 1.3 | +0.7 ± 3.0 | +3.3 ± 3.6 | +1.9 ± 5.1 |
//!
//! A stack without identity falls behind with its depth: 1.13 for 0.50 with 16 layers of 4 filters. Sixteen
//! layers of 32 filters take 12 % less time in parallel, a training step 18 % less.

mod config;
mod model;
pub mod objective;
mod training;
pub mod weights;

pub use config::{Activation, Form, GRID, Objective, ShallowConfig, TrainingConfig};
pub use model::{FusedStack, ResidualStack, SameConv};
pub use training::{Examples, LabelledImages, evaluate};

use menagerie_core::{Claim, Gate, System};

/// What the paper claims. Its numbers were not at hand, nor its exact grid, stem and head: a
/// convolution without activation before, and a linear layer of all pixels after the stack.
pub const SYSTEM: System = System {
    slug: "shallow",
    title: "Make Deep Networks Shallow Again",
    family: "theory",
    summary: "Residual stacks and their parallel first-order expansions, with shared weights",
    paper: "arXiv:2309.08414",
    paper_url: "https://arxiv.org/abs/2309.08414",
    code_url: None,
    claims: &[
        Claim {
            id: "expansion",
            text: "Residual stacks expand like a Taylor series; a single layer is its own first order.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "equal-losses",
            text: "Parallel and sequential networks reach similar validation losses.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "beats-plain",
            text: "Where depth is large, the parallel form is no worse than a deep stack without identity.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "equal-training",
            text: "Parallel and sequential networks reach similar training losses.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "generalises",
            text: "Shallow variants sometimes generalise better.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "faster",
            text: "Parallel layers could simplify and speed up training.",
            figures: &[],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[],
};
