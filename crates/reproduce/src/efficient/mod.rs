//! Recipes of `menagerie-efficient`.

pub(crate) mod common;
pub mod convit;
pub mod slab;
