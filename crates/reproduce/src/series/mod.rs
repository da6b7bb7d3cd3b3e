//! Recipes of `menagerie-series`.

pub mod local_reg_nde;
