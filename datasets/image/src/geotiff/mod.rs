//! GeoTIFF: rasters of any number of bands, where they lie on the Earth, and maps of classes.
//!
//! | item | is |
//! | --- | --- |
//! | [`Raster`] | one TIFF or BigTIFF file: strips or tiles, chunky or planar, uncompressed, Deflate, LZW or PackBits, with or without prediction, 1 to 64 bits; GDAL's nodata value, scale and offset are applied |
//! | [`Scene`] | the bands of one or several rasters of one size and the same ground, read a few rows at a time |
//! | [`GeoTags`] | the tags that say where the pixels lie, as they are in the file |
//! | [`write_bands`], [`write_classes`] | new files with the tags of an old one |
//! | [`write_map`] | a coloured picture of a map, PNG |
//!
//! A raster is read as numbers: whether a file calls them grey, red or entries of a palette is of no
//! concern. Values without data are NaN. Reading is by rows, in parallel, and holds no more than the
//! strips or tiles of those rows, as bytes; of strips and tiles that are not compressed, however large,
//! only the rows themselves are read.
//!
//! The format is read and written here rather than by the crate `tiff`: that one reads colours (it
//! refuses, inverts or looks up what calls itself red or palette), and it would turn on a feature of
//! `half`, on which all of Burn stands.
//!
//! ```
//! use menagerie_data_image::geotiff::{GeoTags, Samples, Scene, write_bands};
//!
//! let dir = std::env::temp_dir().join("menagerie-geotiff-example");
//! std::fs::create_dir_all(&dir).unwrap();
//! let path = dir.join("scene.tif");
//! // Two bands of 2x3 pixels; 9 stands for no data.
//! let values = [1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 9, 60];
//! let geo = GeoTags::north_up([500_000.0, 4_000_000.0], [30.0, 30.0]);
//! write_bands(&path, Samples::U8(&values), 2, [2, 3], &geo, Some(9.0))?;
//!
//! let scene = Scene::open(&[path])?;
//! assert_eq!((scene.bands(), scene.height(), scene.width()), (2, 2, 3));
//! let mut rows = Vec::new();
//! scene.read_rows(0..2, &mut rows)?;
//! assert_eq!(rows[..4], [1.0, 10.0, 2.0, 20.0]);
//! assert!(rows[10].is_nan());
//! assert_eq!(scene.geo().pixel_size(), Some([30.0, 30.0]));
//! # std::fs::remove_dir_all(&dir).ok();
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod decode;
mod header;
mod raster;
mod scene;
mod tags;
mod write;

pub use raster::Raster;
pub use scene::Scene;
pub use tags::GeoTags;
pub use write::{Samples, write_bands, write_classes, write_map};
