//! Recipes of `menagerie-local-learning`.

pub mod noprop;
