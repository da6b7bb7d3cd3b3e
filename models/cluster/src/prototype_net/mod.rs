//! A classifier that explains itself: it compares an image with learned prototypes and can show
//! them.
//!
//! An encoder maps the image to a latent vector, and the class scores are a linear function of the
//! squared distances from it to a small set of prototype vectors, and of nothing else. A decoder,
//! trained along, turns each prototype into a picture. Two terms of the objective tie prototypes
//! and data to each other: each prototype must lie near some image of the batch, each image near
//! some prototype.
//!
//! Li, Liu, Chen and Rudin, *Deep Learning for Case-Based Reasoning through Prototypes: A Neural
//! Network that Explains Its Predictions*, AAAI 2018,
//! [arXiv:1710.04806](https://arxiv.org/abs/1710.04806).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_cluster::prototype_net::PrototypeNetConfig;
//!
//! let device = Device::default();
//! let model = PrototypeNetConfig::mnist().init(&device)?;
//! let images = Tensor::zeros([2, 1, 28, 28], &device);
//!
//! assert_eq!(model.predict(images.clone())?.dims(), [2, 10]);
//! assert_eq!(model.decode_prototypes().dims(), [15, 1, 28, 28]);
//!
//! // A score is the sum of what each prototype contributes to it.
//! let why = &model.explain(images)?[0];
//! let sum: f32 = why.contributions.iter().map(|row| row[why.class]).sum();
//! assert!((sum - why.logits[why.class]).abs() < 1e-3 * sum.abs());
//!
//! let error = model.encode(Tensor::zeros([2, 3, 28, 28], &device)).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "images is [2, 3, 28, 28]: must be [batch, 1, 28, 28] with at least one image"
//! );
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! Training goes through [`TrainingConfig::optimizer`], [`Batches`] and Burn's `TrainStep`, which
//! [`PrototypeNet`] and the baseline [`PlainNet`] implement.

mod config;
pub mod elastic;
pub mod measures;
mod model;
pub mod objective;
mod plain;
mod training;
pub mod weights;

pub use config::{Initialisation, LossWeights, PrototypeNetConfig};
pub use model::{
    Decoder, Encoder, Explanation, Forward, NearestImage, PrototypeNet, squared_distances,
};
pub use plain::{PlainNet, PlainNetConfig};
pub use training::{Batches, Examples, LabelledImages, TrainingConfig, evaluate};

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims. Accuracies that are marked unverified are recalled from secondary
/// sources; the small run decides the claims for which its rules leave a margin.
pub const SYSTEM: System = System {
    slug: "prototype-net",
    title: "Deep Learning for Case-Based Reasoning through Prototypes: A Neural Network that Explains Its Predictions",
    family: "cluster",
    summary: "Image classifier that explains itself by learned prototypes which decode to pictures",
    paper: "arXiv:1710.04806",
    paper_url: "https://arxiv.org/abs/1710.04806",
    code_url: Some("https://github.com/OscarcarLi/PrototypeDL"),
    claims: &[
        Claim {
            id: "accuracy-gap",
            text: "Interpretability costs almost no accuracy: the network is on a par with the same encoder and a linear head.",
            figures: &[
                Figure {
                    name: "MNIST test accuracy, %",
                    value: 99.22,
                    verified: true,
                },
                Figure {
                    name: "MNIST test accuracy without prototypes and decoder, %",
                    value: 99.24,
                    verified: false,
                },
                Figure {
                    name: "Fashion-MNIST test accuracy, %",
                    value: 89.95,
                    verified: false,
                },
                Figure {
                    name: "cars test accuracy, %",
                    value: 93.5,
                    verified: false,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "realistic-prototypes",
            text: "Learned prototypes decode to realistic images of the training classes.",
            figures: &[],
            gate: Gate::Reported,
        },
        Claim {
            id: "terms-needed",
            text: "Without R1 and R2 prototypes become unrealistic and do not represent the data.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "one-class-each",
            text: "Each prototype is claimed by one class: its most negative weight is at the class that it depicts.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "sub-classes",
            text: "More prototypes than classes capture variation within a class.",
            figures: &[],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[],
};
