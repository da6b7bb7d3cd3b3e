//! Recipes of `menagerie-cluster`.

pub mod prototype_net;
