//! The bands of a place, in one file or in several.

use super::{raster::Raster, tags::GeoTags};
use menagerie_core::{Error, Result};
use std::{ops::Range, path::Path};

/// Pixels that are read together, about.
const PIXELS: usize = 1 << 15;

/// Rasters of one size, whose bands count through.
#[derive(Debug)]
pub struct Scene {
    rasters: Vec<Raster>,
    bands: usize,
    rows_together: usize,
}

impl Scene {
    /// The bands of these files in their order.
    ///
    /// # Errors
    /// Those of [`Raster::open`]; [`Error::Input`] if there is no file; [`Error::Format`] for a file
    /// whose size or pixel size is not that of the first.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self> {
        let rasters: Result<Vec<Raster>> = paths.iter().map(Raster::open).collect();
        Self::new(rasters?)
    }

    /// The bands of these rasters in their order.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn new(rasters: Vec<Raster>) -> Result<Self> {
        let Some(first) = rasters.first() else {
            let rule = "a scene needs at least one";
            return Err(Error::input("the number of files", 0, rule));
        };
        let (width, height) = (first.width(), first.height());
        for raster in &rasters[1..] {
            if (raster.width(), raster.height()) != (width, height) {
                let problem = format!(
                    "is {}x{} pixels, but {} is {width}x{height}: bands of one scene must be of one \
                     size",
                    raster.width(),
                    raster.height(),
                    first.path().display()
                );
                return Err(Error::format(raster.path(), problem));
            }
        }
        let bands = rasters.iter().map(Raster::bands).sum();
        let together = rasters.iter().map(Raster::rows_together).max();
        let together = together.unwrap_or(1);
        // Whole strips or tiles, as many as make up a good portion of work.
        let rows_together = (PIXELS / width.max(1)).div_ceil(together).max(1) * together;
        Ok(Self {
            rasters,
            bands,
            rows_together: rows_together.min(height.max(1)),
        })
    }

    /// The files.
    pub fn rasters(&self) -> &[Raster] {
        &self.rasters
    }

    /// Values of a pixel.
    pub fn bands(&self) -> usize {
        self.bands
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.rasters.first().map_or(0, Raster::width)
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.rasters.first().map_or(0, Raster::height)
    }

    /// Where it lies, as the first file says.
    pub fn geo(&self) -> &GeoTags {
        // There is at least one.
        self.rasters[0].geo()
    }

    /// How many portions of rows there are to read one after the other, or several at a time.
    pub fn blocks(&self) -> usize {
        self.height().div_ceil(self.rows_together)
    }

    /// The rows of portion `index`.
    pub fn block_rows(&self, index: usize) -> Range<usize> {
        let start = (index * self.rows_together).min(self.height());
        start..(start + self.rows_together).min(self.height())
    }

    /// Reads some rows into `values`, `[rows · width, bands]`; pixels without data are NaN in the bands
    /// that have none. Threads may read at once.
    ///
    /// # Errors
    /// As [`Raster::read_rows`].
    pub fn read_rows(&self, rows: Range<usize>, values: &mut Vec<f32>) -> Result<()> {
        let pixels = rows.len() * self.width();
        values.clear();
        values.resize(pixels * self.bands, 0.0);
        let mut first = 0;
        for raster in &self.rasters {
            raster.read_rows(rows.clone(), values, self.bands, first)?;
            first += raster.bands();
        }
        Ok(())
    }
}
