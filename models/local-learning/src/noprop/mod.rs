//! Blocks that learn alone to denoise the label.
//!
//! A classifier is a chain of blocks, each of which takes an image and a noisy embedding of its label
//! and returns a cleaner one. What a block has to denoise is drawn in closed form from the true label,
//! so that each of them trains without a pass through the others, and no gradient crosses from one to
//! the next. An inference starts from noise and runs the chain; a linear layer reads the class off.
//!
//! Li, Teh and Pascanu, *NoProp: Training Neural Networks without Back-propagation or
//! Forward-propagation*, 2025, [arXiv:2503.24322](https://arxiv.org/abs/2503.24322).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_core::Seed;
//! use menagerie_local_learning::noprop::{
//!     DtConfig, DtNoise, Embedding, Labelled, Mode, NetworkConfig,
//! };
//!
//! let device = Device::default();
//! let config = DtConfig::new(NetworkConfig::small(Embedding::OneHot)).with_steps(3);
//! let model = config.init(&device)?;
//! let images = Tensor::ones([4, 1, 28, 28], &device);
//!
//! // The second block learns from its own draw, whatever the first one would have said.
//! let batch = Labelled { images: images.clone(), labels: vec![0, 1, 2, 3] };
//! let noise = DtNoise::draw([4, 10], Seed(1), &device);
//! let loss = model.loss(1, &batch, noise, Mode::Train(Seed(2)))?;
//! assert_eq!(loss.estimate.dims(), [4, 10]);
//!
//! // An inference runs all three.
//! let trajectory = model.trajectory(images.clone(), Seed(3))?;
//! assert_eq!(trajectory.z.len(), 3);
//! assert_eq!(model.predict(images, Seed(3))?.dims(), [4]);
//!
//! let error = config.with_clip(0.5).init(&device).unwrap_err();
//! assert!(error.to_string().contains("must be above 0 and below 0.5"));
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! | model | is |
//! | --- | --- |
//! | [`NoPropDt`] | T blocks in discrete time, a fixed cosine schedule |
//! | [`NoPropCt`] | one block for all times, a trained schedule |
//! | [`NoPropFm`] | one block that predicts a velocity (flow matching) |
//! | [`Backprop`] | the blocks of the first one, trained from end to end |
//! | [`Adjoint`] | a neural ordinary differential equation |
//!
//! What the paper leaves open is a field of a configuration and says so there. Algorithm 1 prints z_t
//! where its loss needs z_{t-1}, which is what block t reads here, as in the paper's equation 8.

mod adjoint;
mod backprop;
mod block;
mod config;
mod continuous;
mod flow;
mod layers;
mod model;
pub mod objective;
mod prototypes;
mod readout;
mod rectify;
mod schedule;
mod training;
pub mod weights;

pub use adjoint::Adjoint;
pub use backprop::Backprop;
pub use block::{ContinuousBlock, ContinuousLabel, DenseLabel, DtBlock, DtLabel};
pub use config::{
    AdjointConfig, BackpropConfig, CtConfig, DtConfig, Embedding, FmConfig, Head, NetworkConfig,
    Solver,
};
pub use continuous::{CtDraws, NoPropCt};
pub use flow::{FmDraws, NoPropFm};
pub use layers::{ImagePath, Mode, RowNorm};
pub use model::{DtNoise, NoPropDt, Trajectory};
pub use objective::{CtLoss, DtLoss, FmLoss};
pub use prototypes::prototypes;
pub use readout::{Labelled, Readout};
pub use schedule::{CosineSchedule, GammaSchedule, Level, Posterior, draw_times, time_embedding};
pub use training::{Learner, Training, TrainingConfig};

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims.
pub const SYSTEM: System = System {
    slug: "noprop",
    title: "NoProp: Training Neural Networks without Back-propagation or Forward-propagation",
    family: "local-learning",
    summary: "Trains each block of a classifier alone, to denoise the label's embedding, without gradients between blocks",
    paper: "arXiv:2503.24322",
    paper_url: "https://arxiv.org/abs/2503.24322",
    code_url: None,
    claims: &[
        Claim {
            id: "accuracy",
            text: "Blocks that never see each other in training classify well as a chain.",
            figures: &[
                Figure {
                    name: "NoProp-DT, one-hot, MNIST test accuracy, %",
                    value: 99.47,
                    verified: true,
                },
                Figure {
                    name: "NoProp-DT, one-hot, CIFAR-10 test accuracy, %",
                    value: 79.25,
                    verified: true,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "back-propagation",
            text: "In discrete time it is as accurate as back-propagation through the same blocks.",
            figures: &[
                Figure {
                    name: "back-propagation, one-hot, MNIST test accuracy, %",
                    value: 99.46,
                    verified: true,
                },
                Figure {
                    name: "back-propagation, one-hot, CIFAR-10 test accuracy, %",
                    value: 79.92,
                    verified: true,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "constant-memory",
            text: "The memory of a training step does not grow with the number of blocks.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "half-memory",
            text: "Training takes about half the memory of back-propagation.",
            figures: &[
                Figure {
                    name: "NoProp-DT, one-hot, MNIST, GPU memory, GB",
                    value: 0.49,
                    verified: true,
                },
                Figure {
                    name: "back-propagation, one-hot, MNIST, GPU memory, GB",
                    value: 0.87,
                    verified: true,
                },
            ],
            gate: Gate::Reported,
        },
        Claim {
            id: "continuous-time",
            text: "In continuous time and by flow matching it is more accurate on CIFAR, and faster everywhere, than the adjoint method.",
            figures: &[
                Figure {
                    name: "NoProp-CT, one-hot, MNIST test accuracy, %",
                    value: 97.84,
                    verified: true,
                },
                Figure {
                    name: "NoProp-FM, one-hot, MNIST test accuracy, %",
                    value: 99.21,
                    verified: true,
                },
                Figure {
                    name: "adjoint, one-hot, MNIST test accuracy, %",
                    value: 98.62,
                    verified: true,
                },
            ],
            gate: Gate::Reported,
        },
        Claim {
            id: "embeddings",
            text: "Learned and prototype embeddings are at least as good as one-hot ones in discrete time.",
            figures: &[
                Figure {
                    name: "NoProp-DT, 20 dimensions, MNIST test accuracy, %",
                    value: 99.49,
                    verified: true,
                },
                Figure {
                    name: "NoProp-DT, prototypes, MNIST test accuracy, %",
                    value: 99.54,
                    verified: true,
                },
            ],
            gate: Gate::Reported,
        },
        Claim {
            id: "other-methods",
            text: "It is more accurate than earlier methods without back-propagation.",
            figures: &[
                Figure {
                    name: "Forward-Forward, MNIST test accuracy, %",
                    value: 98.63,
                    verified: true,
                },
                Figure {
                    name: "difference target propagation, MNIST test accuracy, %",
                    value: 98.06,
                    verified: true,
                },
                Figure {
                    name: "forward gradient, MNIST test accuracy, %",
                    value: 97.45,
                    verified: true,
                },
            ],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[],
};
