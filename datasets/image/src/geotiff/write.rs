//! New files with the tags of an old one.

use super::{header::tag, tags::GeoTags};
use flate2::{Compression, write::ZlibEncoder};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use menagerie_core::{Error, Result, fs};
use rayon::prelude::*;
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// Bytes of a strip, about.
const STRIP: usize = 1 << 18;

/// The values of a raster, `[height · width, bands]`: all bands of a pixel, then those of the next.
#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// Bytes.
    U8(&'a [u8]),
    /// 16-bit numbers.
    U16(&'a [u16]),
    /// Single-precision numbers.
    F32(&'a [f32]),
}

impl Samples<'_> {
    fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::U16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Bits of a value, and the format's number for its kind.
    fn format(&self) -> (u16, u16) {
        match self {
            Self::U8(_) => (8, 1),
            Self::U16(_) => (16, 1),
            Self::F32(_) => (32, 3),
        }
    }

    /// The values from `start` to `end` as a file has them.
    fn bytes(&self, start: usize, end: usize) -> Vec<u8> {
        match self {
            Self::U8(values) => values[start..end].to_vec(),
            Self::U16(values) => values[start..end]
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
            Self::F32(values) => values[start..end]
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
        }
    }
}

/// Writes a raster of `bands` bands and `[height, width]` pixels, Deflate in strips, whole or not at
/// all.
///
/// # Errors
/// [`Error::Input`] if the values are not of that many pixels, or a size is 0 or beyond the format;
/// [`Error::Io`] if the file cannot be written.
pub fn write_bands(
    path: &Path,
    samples: Samples,
    bands: usize,
    size: [usize; 2],
    geo: &GeoTags,
    nodata: Option<f64>,
) -> Result<()> {
    write(path, samples, bands, size, geo, nodata, None)
}

/// Writes a map of classes, `[height · width]`, with the colours of `palette`, Deflate in strips, whole
/// or not at all. `nodata` stands for pixels without a class.
///
/// # Errors
/// As [`write_bands`].
pub fn write_classes(
    path: &Path,
    classes: &[u8],
    size: [usize; 2],
    geo: &GeoTags,
    nodata: u8,
    palette: &[[u8; 3]],
) -> Result<()> {
    let samples = Samples::U8(classes);
    let nodata = Some(f64::from(nodata));
    write(path, samples, 1, size, geo, nodata, Some(palette))
}

/// Writes a picture of a map of classes, `[height · width]`, as PNG, whole or not at all: class `c` in
/// the colour `palette[c]`, others (which have no class) transparent.
///
/// # Errors
/// [`Error::Input`] if the classes are not of that many pixels, or a size is 0; [`Error::Io`] if the
/// file cannot be written.
pub fn write_map(path: &Path, classes: &[u8], size: [usize; 2], palette: &[[u8; 3]]) -> Result<()> {
    let [height, width] = check(classes.len(), 1, size)?;
    let mut pixels = Vec::with_capacity(4 * classes.len());
    for &class in classes {
        match palette.get(usize::from(class)) {
            Some([red, green, blue]) => pixels.extend([*red, *green, *blue, 255]),
            None => pixels.extend([0; 4]),
        }
    }
    fs::write_with(path, |temporary| {
        let file = File::create(temporary).map_err(Error::io("create", path))?;
        let encoder = PngEncoder::new(BufWriter::new(file));
        encoder
            .write_image(&pixels, width, height, ExtendedColorType::Rgba8)
            .map_err(|error| Error::other(format!("writing {}", path.display()), error))
    })
}

/// Refuses values that do not make up the pixels; gives the sides as the format has them.
fn check(values: usize, bands: usize, [height, width]: [usize; 2]) -> Result<[u32; 2]> {
    let expected = height
        .checked_mul(width)
        .and_then(|pixels| pixels.checked_mul(bands));
    if values == 0 || expected != Some(values) {
        let rule = format!("must be {bands} for each of {width}x{height} pixels, and not 0");
        return Err(Error::input("the number of values", values, rule));
    }
    let side = |side: usize| {
        u32::try_from(side).map_err(|_| Error::input("a side", side, "must fit into 32 bits"))
    };
    Ok([side(height)?, side(width)?])
}

/// The directory of a file in the making: little-endian TIFF 6.0.
#[derive(Default)]
struct Entries(Vec<(u16, u16, u32, Vec<u8>)>);

impl Entries {
    fn shorts(&mut self, tag: u16, values: &[u16]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.0.push((tag, 3, values.len() as u32, bytes.collect()));
    }

    fn longs(&mut self, tag: u16, values: &[u32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.0.push((tag, 4, values.len() as u32, bytes.collect()));
    }

    fn doubles(&mut self, tag: u16, values: &[f64]) {
        if !values.is_empty() {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            self.0.push((tag, 12, values.len() as u32, bytes.collect()));
        }
    }

    fn text(&mut self, tag: u16, text: &str) {
        if !text.is_empty() {
            let bytes = [text.as_bytes(), &[0]].concat();
            self.0.push((tag, 2, bytes.len() as u32, bytes));
        }
    }

    /// The bytes of the directory and its values, which begin at `start`.
    fn finish(mut self, start: usize) -> Vec<u8> {
        self.0.sort_by_key(|(tag, ..)| *tag);
        let mut table = (self.0.len() as u16).to_le_bytes().to_vec();
        let mut values = Vec::new();
        let after = start + 2 + 12 * self.0.len() + 4;
        for (tag, kind, count, bytes) in self.0 {
            table.extend(tag.to_le_bytes());
            table.extend(kind.to_le_bytes());
            table.extend(count.to_le_bytes());
            if bytes.len() <= 4 {
                let mut inline = [0; 4];
                inline[..bytes.len()].copy_from_slice(&bytes);
                table.extend(inline);
            } else {
                table.extend(((after + values.len()) as u32).to_le_bytes());
                values.extend(&bytes);
                // Values begin at even places.
                values.resize(values.len().next_multiple_of(2), 0);
            }
        }
        // No further image.
        table.extend([0; 4]);
        table.extend(values);
        table
    }
}

fn write(
    path: &Path,
    samples: Samples,
    bands: usize,
    size: [usize; 2],
    geo: &GeoTags,
    nodata: Option<f64>,
    palette: Option<&[[u8; 3]]>,
) -> Result<()> {
    let [height, width] = check(samples.len(), bands, size)?;
    let (bits, kind) = samples.format();
    let row = size[1] * bands;
    let rows = (STRIP / (row * usize::from(bits) / 8).max(1)).clamp(1, size[0]);
    let strips: Vec<Vec<u8>> = (0..size[0].div_ceil(rows))
        .into_par_iter()
        .map(|strip| {
            let end = ((strip + 1) * rows).min(size[0]);
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            // Writing into memory does not fail.
            let written = encoder.write_all(&samples.bytes(strip * rows * row, end * row));
            written.and_then(|()| encoder.finish())
        })
        .collect::<std::io::Result<_>>()
        .map_err(Error::io("compress", path))?;
    let mut entries = Entries::default();
    let per_band = |value: u16| vec![value; bands];
    entries.longs(tag::WIDTH, &[width]);
    entries.longs(tag::HEIGHT, &[height]);
    entries.shorts(tag::BITS, &per_band(bits));
    entries.shorts(tag::COMPRESSION, &[8]);
    entries.shorts(tag::PHOTOMETRIC, &[if palette.is_some() { 3 } else { 1 }]);
    entries.shorts(tag::SAMPLES, &[bands as u16]);
    entries.longs(tag::ROWS_PER_STRIP, &[rows as u32]);
    entries.shorts(tag::PLANAR, &[1]);
    entries.shorts(tag::SAMPLE_FORMAT, &per_band(kind));
    if bands > 1 {
        entries.shorts(tag::EXTRA_SAMPLES, &vec![0; bands - 1]);
    }
    if let Some(palette) = palette {
        // All reds, all greens, all blues, 16 bits each.
        let colour = |channel: usize, at: usize| {
            let colour = palette.get(at).map_or(0, |colour| colour[channel]);
            u16::from(colour) * 257
        };
        let places = (0..3).flat_map(|channel| (0..256).map(move |at| (channel, at)));
        let map: Vec<u16> = places.map(|(channel, at)| colour(channel, at)).collect();
        entries.shorts(tag::COLOUR_MAP, &map);
    }
    entries.doubles(tag::PIXEL_SCALE, &geo.pixel_scale);
    entries.doubles(tag::TIEPOINTS, &geo.tiepoints);
    entries.doubles(tag::TRANSFORMATION, &geo.transformation);
    entries.doubles(tag::GEO_DOUBLES, &geo.doubles);
    entries.text(tag::GEO_TEXT, &geo.text);
    if !geo.keys.is_empty() {
        entries.shorts(tag::GEO_KEYS, &geo.keys);
    }
    if let Some(nodata) = nodata {
        entries.text(tag::GDAL_NODATA, &nodata.to_string());
    }
    // The strips come first, so that their places are known.
    let (mut at, mut offsets) = (8, Vec::with_capacity(strips.len()));
    for strip in &strips {
        offsets.push(at as u32);
        at += strip.len().next_multiple_of(2);
    }
    if bands > usize::from(u16::MAX) || at > u32::MAX as usize / 2 {
        let rule = "a file of this format holds at most 65535 bands and 2 GB";
        return Err(Error::input("the number of values", samples.len(), rule));
    }
    entries.longs(tag::STRIP_OFFSETS, &offsets);
    let lens: Vec<u32> = strips.iter().map(|strip| strip.len() as u32).collect();
    entries.longs(tag::STRIP_BYTES, &lens);
    let directory = entries.finish(at);
    fs::write_with(path, |temporary| {
        let file = File::create(temporary).map_err(Error::io("create", path))?;
        let mut file = BufWriter::new(file);
        let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(Error::io("write", path));
        put(b"II\x2a\x00")?;
        put(&(at as u32).to_le_bytes())?;
        for strip in &strips {
            put(strip)?;
            if !strip.len().is_multiple_of(2) {
                put(&[0])?;
            }
        }
        put(&directory)?;
        file.flush().map_err(Error::io("write", path))
    })
}
