//! Clustering and prototype models on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `prototype-net` | [`prototype_net`] | Li et al., *Deep Learning for Case-Based Reasoning through Prototypes*, AAAI 2018 |

pub mod prototype_net;
