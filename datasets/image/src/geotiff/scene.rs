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
    /// Those of [`Raster::open`]; [`Error::Input`] if there is no file; [`Error::Format`] for a file of
    /// another size, or of other ground: where two files both say how large their pixels are, where the
    /// first of them lies, or what their coordinate system is, they must agree. Pixels may be apart by a
    /// hundredth of one, which is rounding.
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
        for (index, raster) in rasters.iter().enumerate() {
            same_ground(&rasters[..index], raster)?;
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

/// By how much of a pixel two rasters of the same ground may be apart.
const ROUNDING: f64 = 0.01;

/// Refuses a raster that shows other ground than those before it, as far as they say.
fn same_ground(before: &[Raster], raster: &Raster) -> Result<()> {
    let differs = |what: &str, here: String, there: String, other: &Raster| {
        let other = other.path().display();
        let problem = format!(
            "has {what} {here}, but {other} has {there}: bands of one scene must show the same ground"
        );
        Err(Error::format(raster.path(), problem))
    };
    let geo = raster.geo();
    let far = [raster.width(), raster.height()].map(|side| side as f64);
    if let Some(size) = geo.pixel_size()
        && let Some((other, theirs)) = first(before, GeoTags::pixel_size)
        // Summed up over the raster.
        && (0..2).any(|at| (size[at] - theirs[at]).abs() * far[at] > ROUNDING * theirs[at].abs())
    {
        return differs("pixels of", show(size), show(theirs), other);
    }
    if let (Some(size), Some(origin)) = (geo.pixel_size(), geo.origin())
        && let Some((other, theirs)) = first(before, GeoTags::origin)
        && (0..2).any(|at| (origin[at] - theirs[at]).abs() > ROUNDING * size[at].abs())
    {
        let what = "its upper left corner at";
        return differs(what, show(origin), show(theirs), other);
    }
    if let Some(code) = geo.epsg()
        && let Some((other, theirs)) = first(before, GeoTags::epsg)
        && code != theirs
    {
        let what = "the coordinate system EPSG";
        return differs(what, code.to_string(), theirs.to_string(), other);
    }
    Ok(())
}

/// The first raster that says something, with what it says.
fn first<T>(rasters: &[Raster], of: impl Fn(&GeoTags) -> Option<T>) -> Option<(&Raster, T)> {
    let mut said = rasters
        .iter()
        .filter_map(|raster| Some((raster, of(raster.geo())?)));
    said.next()
}

fn show([x, y]: [f64; 2]) -> String {
    format!("({x}, {y})")
}
