//! Procedural data sets with exact ground-truth factors: nothing to download, the same images on
//! every machine.
//!
//! | module | draws |
//! | --- | --- |
//! | [`scenes`] | multispectral scenes with the unit of ground of every pixel |
//! | [`sprites`] | one flat figure per image on a full grid of factors, as dSprites does |
//! | [`textures`] | textured shapes on a textured ground, with a class for every pixel |
//!
//! Each generator has a module of its own; [`geometry`] is the rasteriser of the exact ones.

pub mod geometry;
pub mod scenes;
pub mod sprites;
pub mod textures;

pub use scenes::{MultispectralScene, ScenesConfig};
pub use sprites::{Factor, Shape, Sprites, SpritesConfig};
pub use textures::{TexturedImage, TexturesConfig};
