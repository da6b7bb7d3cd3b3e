//! Recipes of `menagerie-mae`.

pub mod color_mae;
mod common;
pub mod dmae;
pub mod mae_base;
pub mod videomae_v2;
