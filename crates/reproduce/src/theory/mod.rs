//! Recipes of `menagerie-theory`.

pub mod jepa_linear;
pub mod shallow;
