//! Recipes of `menagerie-mae`.

mod common;
pub mod mae_base;
pub mod videomae_v2;
