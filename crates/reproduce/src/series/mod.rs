//! Recipes of `menagerie-series`.

pub mod final_mlp;
