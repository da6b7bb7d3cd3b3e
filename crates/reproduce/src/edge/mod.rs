//! Recipes of `menagerie-edge`.

pub mod maestro;
