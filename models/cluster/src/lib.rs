//! Clustering and prototype models on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `depict` | [`depict`] | Ghasedi Dizaji et al., *Deep Clustering via Joint Convolutional Autoencoder Embedding and Relative Entropy Minimization*, ICCV 2017 |
//! | `prototype-net` | [`prototype_net`] | Li et al., *Deep Learning for Case-Based Reasoning through Prototypes*, AAAI 2018 |
//! | `stacked-geo` | [`stacked_geo`] | Nagar et al., *Remote sensing framework for geological mapping via stacked autoencoders and clustering*, Advances in Space Research 2024 |

pub mod depict;
mod fingerprint;
pub mod prototype_net;
pub mod stacked_geo;
