//! Neural audio codecs on Burn.
//!
//! | system | module | paper |
//! | --- | --- | --- |
//! | `rave` | [`rave`] | Caillon and Esling, *RAVE: A variational autoencoder for fast and high-quality neural audio synthesis*, arXiv 2111.05011 |

pub mod rave;
