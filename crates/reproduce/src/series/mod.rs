//! Recipes of `menagerie-series`.

pub mod final_mlp;
pub mod local_reg_nde;
