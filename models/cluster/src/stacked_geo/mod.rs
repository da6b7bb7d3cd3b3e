//! Maps the rock units of a satellite scene without labels: a chain of small autoencoders compresses
//! every pixel to two numbers, k-means groups the pixels.
//!
//! Each pixel is a short vector of band reflectances, scaled to 0..1. The first autoencoder passes on its
//! reconstruction, the second one of its layers, and the code of the third is what is clustered; a
//! majority filter cleans the map. The comparison is with principal components and with one ordinary
//! autoencoder, under the same k-means.
//!
//! Nagar, Farahbakhsh, Awange and Chandra, *Remote sensing framework for geological mapping via stacked
//! autoencoders and clustering*, Advances in Space Research 74(10), 2024,
//! [arXiv:2404.02180](https://arxiv.org/abs/2404.02180).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use menagerie_cluster::stacked_geo::{ClassMap, StackConfig};
//!
//! let device = Device::default();
//! let stack = StackConfig::landsat8().init(&device)?;
//! // A thousand pixels of seven bands become a thousand pairs of numbers.
//! assert_eq!(stack.encode(Tensor::zeros([1_000, 7], &device))?.dims(), [1_000, 2]);
//!
//! // A single pixel of another class is cleaned away.
//! let map = ClassMap::new(vec![0, 0, 0, 0, 1, 0, 0, 0, 0], [3, 3])?;
//! assert_eq!(map.majority(3)?.classes(), [0; 9]);
//!
//! let error = stack.encode(Tensor::zeros([1_000, 9], &device)).unwrap_err();
//! assert!(error.to_string().starts_with("pixels is [1000, 9]: must be [batch, 7]"));
//! # Ok::<(), menagerie_core::Error>(())
//! ```
//!
//! A [`Scene`](menagerie_data_image::geotiff::Scene) of GeoTIFF files becomes points by [`ScenePixels`],
//! which are read a few rows at a time; [`Fit`] trains autoencoders and stacks on all of them or on a
//! [`sample`], and tells whether a code has collapsed ([`CodeVariance`]); [`Features`] computes what is
//! clustered, [`elbow`] shows into how many clusters, [`label`] makes the map.
//!
//! # Conventions of the notebooks
//! - The second stage passes on its layer of five units, although the notebooks call the object an
//!   encoder; inputs are joined as `[new, old]`.
//! - The penalty is on the activations of every layer, summed over units and divided by the batch.
//! - Adam is that of Keras, which adds its ε, 1e-7, before the second moment is corrected.

mod chain;
mod code;
mod config;
mod direct;
mod elbow;
mod features;
mod map;
mod model;
mod objective;
mod pca;
mod pixels;
mod scaling;
mod training;
pub mod weights;

pub use code::CodeVariance;
pub use config::{AutoencoderConfig, StackConfig, StageConfig};
pub use elbow::elbow;
pub use features::Features;
pub use map::{ClassMap, NO_CLASS, palette};
pub use model::{Activations, Autoencoder, Stack, StackForward, in_parts, selu};
pub use objective::{AutoencoderLoss, autoencoder_loss};
pub use pca::Pca;
pub use pixels::{FeaturePoints, ScenePixels, collect, label, sample};
pub use scaling::MinMax;
pub use training::{AutoencoderTraining, Fit, Trained, draw_order};

use menagerie_core::{Claim, Figure, Gate, System};

/// What the paper claims. Indices and losses were read from the outputs of the released notebooks.
pub const SYSTEM: System = System {
    slug: "stacked-geo",
    title: "Remote sensing framework for geological mapping via stacked autoencoders and clustering",
    family: "cluster",
    summary: "Maps of rock units from multispectral scenes: stacked autoencoders and k-means, GeoTIFF in and out",
    paper: "arXiv:2404.02180",
    paper_url: "https://arxiv.org/abs/2404.02180",
    code_url: Some("https://github.com/sydney-machine-learning/autoencoders_remotesensing"),
    claims: &[
        Claim {
            id: "autoencoders-learn",
            text: "The autoencoders compress the bands: what they lose is small against what the bands vary.",
            figures: &[
                Figure {
                    name: "Landsat 8 canonical autoencoder, final loss",
                    value: 6.56e-4,
                    verified: true,
                },
                Figure {
                    name: "ASTER canonical autoencoder, final loss",
                    value: 8.43e-4,
                    verified: true,
                },
                Figure {
                    name: "Sentinel-2 canonical autoencoder, final loss",
                    value: 8.39e-4,
                    verified: true,
                },
                Figure {
                    name: "Landsat 8 third stage, final loss",
                    value: 7.83e-4,
                    verified: true,
                },
                Figure {
                    name: "ASTER third stage, final loss",
                    value: 1.2e-3,
                    verified: true,
                },
                Figure {
                    name: "Sentinel-2 third stage, final loss",
                    value: 1.1e-3,
                    verified: true,
                },
            ],
            gate: Gate::Decided,
        },
        Claim {
            id: "agrees-with-pytorch",
            text: "Maps are as accurate as those of the same features in PyTorch on the same scene.",
            figures: &[],
            gate: Gate::Decided,
        },
        Claim {
            id: "stack-accuracy",
            text: "Stacked autoencoders and k-means give more accurate maps than principal components or one autoencoder.",
            figures: &[
                Figure {
                    name: "least accuracy of the stacked maps over sensors, %",
                    value: 86.6,
                    verified: false,
                },
                Figure {
                    name: "greatest accuracy of the stacked maps over sensors, %",
                    value: 90.0,
                    verified: false,
                },
            ],
            gate: Gate::Reported,
        },
        Claim {
            id: "several-sensors",
            text: "The framework works for several sensors without labels.",
            figures: &[
                Figure {
                    name: "Landsat 8 PCA, Calinski-Harabasz",
                    value: 725_156.0,
                    verified: true,
                },
                Figure {
                    name: "Landsat 8 PCA, Davies-Bouldin",
                    value: 0.8481,
                    verified: true,
                },
                Figure {
                    name: "Landsat 8 autoencoder, Calinski-Harabasz",
                    value: 712_419.0,
                    verified: true,
                },
                Figure {
                    name: "Landsat 8 autoencoder, Davies-Bouldin",
                    value: 0.8029,
                    verified: true,
                },
                Figure {
                    name: "Landsat 8 stack, Calinski-Harabasz",
                    value: 560_856.0,
                    verified: true,
                },
                Figure {
                    name: "Landsat 8 stack, Davies-Bouldin",
                    value: 0.8261,
                    verified: true,
                },
                Figure {
                    name: "ASTER PCA, Calinski-Harabasz",
                    value: 3_203_478.0,
                    verified: true,
                },
                Figure {
                    name: "ASTER PCA, Davies-Bouldin",
                    value: 0.8819,
                    verified: true,
                },
                Figure {
                    name: "ASTER autoencoder, Calinski-Harabasz",
                    value: 3_127_690.0,
                    verified: true,
                },
                Figure {
                    name: "ASTER autoencoder, Davies-Bouldin",
                    value: 0.8973,
                    verified: true,
                },
                Figure {
                    name: "ASTER stack, Calinski-Harabasz",
                    value: 1_645_733.0,
                    verified: true,
                },
                Figure {
                    name: "ASTER stack, Davies-Bouldin",
                    value: 0.9066,
                    verified: true,
                },
                Figure {
                    name: "Sentinel-2 PCA, Calinski-Harabasz",
                    value: 7_975_444.0,
                    verified: true,
                },
                Figure {
                    name: "Sentinel-2 PCA, Davies-Bouldin",
                    value: 0.7990,
                    verified: true,
                },
                Figure {
                    name: "Sentinel-2 autoencoder, Calinski-Harabasz",
                    value: 4_672_222.0,
                    verified: true,
                },
                Figure {
                    name: "Sentinel-2 autoencoder, Davies-Bouldin",
                    value: 0.8285,
                    verified: true,
                },
                Figure {
                    name: "Sentinel-2 stack, Calinski-Harabasz",
                    value: 5_018_638.0,
                    verified: true,
                },
                Figure {
                    name: "Sentinel-2 stack, Davies-Bouldin",
                    value: 0.8601,
                    verified: true,
                },
            ],
            gate: Gate::Reported,
        },
    ],
    hub_ids: &[],
};
