//! Recipes of `menagerie-cluster`.

pub mod depict;
pub mod prototype_net;
pub mod stacked_geo;
