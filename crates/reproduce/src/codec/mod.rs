//! Recipes of `menagerie-codec`.

pub mod rave;
