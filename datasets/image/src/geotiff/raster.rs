//! One file of bands.

use super::{
    decode::{Compression, Format, Kind, Predictor, Rows},
    header::{Directory, tag},
    tags::GeoTags,
};
use menagerie_core::{Error, Result};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Bytes of the largest strip or tile that is read as a whole.
const LARGEST: usize = 1 << 31;

/// A GeoTIFF file, open for reading; any number of threads may read at once.
#[derive(Debug)]
pub struct Raster {
    path: PathBuf,
    width: usize,
    height: usize,
    bands: usize,
    nodata: Option<f64>,
    /// The same in the precision of the values.
    absent: Option<f64>,
    /// What a value is multiplied with and what is added, for each band.
    scales: Vec<[f64; 2]>,
    geo: GeoTags,
    format: Format,
    /// Rows and columns of a strip or tile, also of one at the border.
    chunk: [usize; 2],
    tiled: bool,
    planar: bool,
    /// Where each strip or tile begins and how many bytes it has.
    places: Vec<[u64; 2]>,
    /// Handles that no thread is using.
    idle: Mutex<Vec<File>>,
}

impl Raster {
    /// Opens a file and reads what it says of itself.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened; [`Error::Format`] if it is no TIFF file, its bands are of
    /// different types or of one that is not supported, or its header is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let directory = Directory::read(&mut file, path)?;
        Self::new(path, file, &directory).map_err(|problem| Error::format(path, problem))
    }

    fn new(path: &Path, file: File, directory: &Directory) -> Result<Self, String> {
        let number = |tag: u16, default: u64| {
            let value = directory.first(tag, default);
            usize::try_from(value).map_err(|_| format!("tag {tag} is {value}"))
        };
        let [width, height] = [number(tag::WIDTH, 0)?, number(tag::HEIGHT, 0)?];
        let bands = number(tag::SAMPLES, 1)?;
        if [width, height, bands].contains(&0) {
            return Err(format!(
                "is {width}x{height} pixels of {bands} bands, expected at least 1"
            ));
        }
        let alike = |tag: u16, default: u64| {
            let values = directory.whole(tag);
            let first = values.first().copied().unwrap_or(default);
            let same = values.iter().all(|value| *value == first);
            same.then_some(first)
                .ok_or_else(|| format!("has bands of different types, {values:?}"))
        };
        let bits = alike(tag::BITS, 1)?;
        let format = Format {
            little: directory.little,
            compression: Compression::of(directory.first(tag::COMPRESSION, 1))?,
            predictor: Predictor::of(directory.first(tag::PREDICTOR, 1))?,
            kind: Kind::of(alike(tag::SAMPLE_FORMAT, 1)?, bits)?,
            bits: bits as usize,
        };
        if directory.first(tag::FILL_ORDER, 1) != 1 {
            return Err("fills bytes from their low end, which nobody does".into());
        }
        let planar = bands > 1 && directory.first(tag::PLANAR, 1) == 2;
        let tiled = !directory.whole(tag::TILE_OFFSETS).is_empty();
        let (chunk, offsets, bytes) = if tiled {
            let size = [number(tag::TILE_HEIGHT, 0)?, number(tag::TILE_WIDTH, 0)?];
            (size, tag::TILE_OFFSETS, tag::TILE_BYTES)
        } else {
            // A strip may announce more rows than there are.
            let rows = number(tag::ROWS_PER_STRIP, height as u64)?.min(height);
            ([rows, width], tag::STRIP_OFFSETS, tag::STRIP_BYTES)
        };
        let samples = if planar { 1 } else { bands };
        let largest = chunk[0]
            .checked_mul(chunk[1])
            .and_then(|pixels| pixels.checked_mul(samples)?.checked_mul(format.bits));
        // Of what is not compressed only the rows that are asked for are read.
        let limit = match format.compression {
            Compression::None => usize::MAX,
            _ => LARGEST,
        };
        if chunk.contains(&0) || largest.is_none_or(|bits| bits / 8 > limit) {
            return Err(format!(
                "has strips or tiles of {}x{} pixels",
                chunk[1], chunk[0]
            ));
        }
        let planes = if planar { bands } else { 1 };
        let expected = width.div_ceil(chunk[1]) * height.div_ceil(chunk[0]) * planes;
        let (offsets, bytes) = (directory.whole(offsets), directory.whole(bytes));
        if offsets.len() < expected || bytes.len() < expected {
            return Err(format!(
                "names {} strips or tiles, expected {expected}",
                offsets.len().min(bytes.len())
            ));
        }
        let nodata = directory.text(tag::GDAL_NODATA).map(|text| {
            let parsed = text.trim().parse::<f64>();
            parsed.map_err(|_| format!("has the nodata value `{text}`, which is no number"))
        });
        let nodata = nodata.transpose()?;
        let metadata = directory.text(tag::GDAL_METADATA).unwrap_or_default();
        Ok(Self {
            path: path.to_path_buf(),
            width,
            height,
            bands,
            nodata,
            absent: nodata.map(|value| format.rounded(value)),
            scales: scales(metadata, bands),
            geo: GeoTags::of(directory),
            format,
            chunk,
            tiled,
            planar,
            places: offsets
                .iter()
                .zip(bytes)
                .map(|(&at, &len)| [at, len])
                .collect(),
            idle: Mutex::new(vec![file]),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Values of a pixel.
    pub fn bands(&self) -> usize {
        self.bands
    }

    /// The value, before scale and offset, that stands for no data, as the file's text has it; values
    /// of 32-bit floats are compared with it rounded to that precision.
    pub fn nodata(&self) -> Option<f64> {
        self.nodata
    }

    /// For each band what a stored value is multiplied with and what is added to it.
    pub fn scales(&self) -> &[[f64; 2]] {
        &self.scales
    }

    /// Where it lies.
    pub fn geo(&self) -> &GeoTags {
        &self.geo
    }

    /// Rows that are read together: reading a multiple of them wastes nothing. Those of a strip or
    /// tile, but 1 for strips that are not compressed, of which any row can be read alone.
    pub fn rows_together(&self) -> usize {
        match self.format.compression {
            Compression::None if !self.tiled => 1,
            _ => self.chunk[0],
        }
    }

    /// Reads some rows: pixel `p` of them goes to `out[p * stride + first..]`, one value per band. A
    /// band that has the nodata value, or one that is not finite, becomes NaN.
    ///
    /// # Errors
    /// [`Error::Input`] for rows that are not there or an `out` that is too short; [`Error::Format`] if
    /// the file is damaged.
    pub fn read_rows(
        &self,
        rows: Range<usize>,
        out: &mut [f32],
        stride: usize,
        first: usize,
    ) -> Result<()> {
        if rows.start > rows.end || rows.end > self.height {
            let rule = format!("must lie in 0..{}", self.height);
            return Err(Error::input("the rows", rows, rule));
        }
        let pixels = rows.len() * self.width;
        if first + self.bands > stride || out.len() < pixels * stride {
            let rule = format!(
                "must be {stride} for each of {pixels} pixels, with {} bands from place {first} on",
                self.bands
            );
            return Err(Error::input("the number of values", out.len(), rule));
        }
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut file = match idle {
            Some(file) => file,
            None => File::open(&self.path).map_err(Error::io("open", &self.path))?,
        };
        let read = self.read_with(&mut file, rows, out, stride, first);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(file);
        read
    }

    fn read_with(
        &self,
        file: &mut File,
        rows: Range<usize>,
        out: &mut [f32],
        stride: usize,
        first: usize,
    ) -> Result<()> {
        let [chunk_rows, chunk_columns] = self.chunk;
        let across = self.width.div_ceil(chunk_columns);
        let plane = across * self.height.div_ceil(chunk_rows);
        let (planes, samples) = if self.planar {
            (self.bands, 1)
        } else {
            (1, self.bands)
        };
        let mut from = Vec::new();
        for chunk_row in rows.start / chunk_rows..rows.end.div_ceil(chunk_rows) {
            let top = chunk_row * chunk_rows;
            // Strips end with the image, tiles go on.
            let height = if self.tiled {
                chunk_rows
            } else {
                chunk_rows.min(self.height - top)
            };
            let wanted = rows.start.max(top)..rows.end.min(top + height);
            for chunk_column in 0..across {
                let left = chunk_column * chunk_columns;
                let width = chunk_columns.min(self.width - left);
                for band in 0..planes {
                    let index = band * plane + chunk_row * across + chunk_column;
                    let within = wanted.start - top..wanted.end - top;
                    let read = self.rows(file, index, height, within, samples)?;
                    for (at, row) in wanted.clone().enumerate() {
                        read.read(at, &mut from);
                        let start = (row - rows.start) * self.width + left;
                        let pixels = out[start * stride..].chunks_mut(stride);
                        let from = from[..width * samples].chunks_exact(samples);
                        for (pixel, from) in pixels.zip(from) {
                            for (sample, &value) in from.iter().enumerate() {
                                pixel[first + band + sample] = self.scaled(value, band + sample);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A value with scale and offset of its band, NaN if it stands for no data.
    fn scaled(&self, value: f64, band: usize) -> f32 {
        if self.absent == Some(value) || !value.is_finite() {
            return f32::NAN;
        }
        let [scale, offset] = self.scales[band];
        (value * scale + offset) as f32
    }

    /// The rows `wanted` of a strip or tile of `rows` rows.
    fn rows(
        &self,
        file: &mut File,
        index: usize,
        rows: usize,
        wanted: Range<usize>,
        samples: usize,
    ) -> Result<Rows> {
        let [place, len] = self.places[index];
        let damaged = |problem| self.damaged(index, problem);
        let (pixels, format) = (self.chunk[1], self.format);
        if format.compression != Compression::None {
            if len > LARGEST as u64 {
                return Err(damaged(format!("announces {len} bytes")));
            }
            let bytes = self.bytes(file, index, place, len)?;
            let read = format.rows(bytes, rows, pixels, samples);
            return read
                .map(|read| read.starting(wanted.start))
                .map_err(damaged);
        }
        // Rows lie one after the other, and predictors begin anew in each.
        let row_bytes = format.row_bytes(pixels, samples) as u64;
        let expected = rows as u64 * row_bytes;
        if len < expected {
            return Err(damaged(format!("has {len} bytes, expected {expected}")));
        }
        let place = place.saturating_add(wanted.start as u64 * row_bytes);
        let bytes = self.bytes(file, index, place, wanted.len() as u64 * row_bytes)?;
        format
            .rows(bytes, wanted.len(), pixels, samples)
            .map_err(damaged)
    }

    /// `len` bytes of a strip or tile from `place` on.
    fn bytes(&self, file: &mut File, index: usize, place: u64, len: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(place))
            .and_then(|_| file.take(len).read_to_end(&mut bytes))
            .map_err(Error::io("read", &self.path))?;
        if (bytes.len() as u64) < len {
            let problem = format!("is cut short: {} of {len} bytes", bytes.len());
            return Err(self.damaged(index, problem));
        }
        Ok(bytes)
    }

    fn damaged(&self, index: usize, problem: String) -> Error {
        let what = if self.tiled { "tile" } else { "strip" };
        Error::format(&self.path, format!("{what} {index} {problem}"))
    }
}

/// Scale and offset of each band out of GDAL's description, an XML text:
/// `<Item name="SCALE" sample="0" role="scale">0.0001</Item>`.
fn scales(metadata: &str, bands: usize) -> Vec<[f64; 2]> {
    let mut scales = vec![[1.0, 0.0]; bands];
    for item in metadata.split("<Item").skip(1) {
        let Some((head, rest)) = item.split_once('>') else {
            continue;
        };
        let attribute = |name: &str| {
            let after = head.split_once(&format!(" {name}=\""))?.1;
            Some(after.split_once('"')?.0)
        };
        let part = match attribute("role") {
            Some("scale") => 0,
            Some("offset") => 1,
            _ => continue,
        };
        let value = rest.split_once("</Item").map(|(value, _)| value.trim());
        let value = value.and_then(|value| value.parse::<f64>().ok());
        let band = attribute("sample").and_then(|band| band.parse::<usize>().ok());
        if let (Some(value), Some(scale)) = (value, band.and_then(|band| scales.get_mut(band))) {
            scale[part] = value;
        }
    }
    scales
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_and_offsets_are_found_in_the_description() {
        let text = "<GDALMetadata>\n  <Item name=\"STATISTICS_MEAN\" sample=\"0\">61.2</Item>\n  \
                    <Item name=\"SCALE\" sample=\"1\" role=\"scale\">0.5</Item>\n  \
                    <Item name=\"OFFSET\" sample=\"1\" role=\"offset\">-3</Item>\n  \
                    <Item name=\"SCALE\" sample=\"9\" role=\"scale\">7</Item>\n</GDALMetadata>";
        assert_eq!(scales(text, 2), [[1.0, 0.0], [0.5, -3.0]]);
        assert_eq!(scales("<Item <<< role=\"scale\"", 1), [[1.0, 0.0]]);
    }
}
