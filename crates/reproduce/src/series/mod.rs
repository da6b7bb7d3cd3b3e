//! Recipes of `menagerie-series`.
