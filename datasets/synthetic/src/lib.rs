//! Procedural data sets with exact ground-truth factors: nothing to download, the same images on
//! every machine.
//!
//! | module | draws |
//! | --- | --- |
//! | [`sprites`] | one flat figure per image on a full grid of factors, as dSprites does |
//!
//! Each generator has a module of its own; [`geometry`] is the rasteriser that they share.

pub mod geometry;
pub mod sprites;

pub use sprites::{Factor, Shape, Sprites, SpritesConfig};
