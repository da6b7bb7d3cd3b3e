//! Recipes of `menagerie-representation`.

pub mod qlae;
