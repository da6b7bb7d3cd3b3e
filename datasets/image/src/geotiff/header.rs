//! The first directory of a TIFF file: tags with their values (TIFF 6.0; BigTIFF).

use menagerie_core::{Error, Result};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

/// Numbers of the tags that are read or written.
pub(super) mod tag {
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const SAMPLES: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTES: u16 = 279;
    pub const PLANAR: u16 = 284;
    pub const PREDICTOR: u16 = 317;
    pub const COLOUR_MAP: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_HEIGHT: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTES: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const PIXEL_SCALE: u16 = 33_550;
    pub const TIEPOINTS: u16 = 33_922;
    pub const TRANSFORMATION: u16 = 34_264;
    pub const GEO_KEYS: u16 = 34_735;
    pub const GEO_DOUBLES: u16 = 34_736;
    pub const GEO_TEXT: u16 = 34_737;
    pub const GDAL_METADATA: u16 = 42_112;
    pub const GDAL_NODATA: u16 = 42_113;
}

/// Bytes of the largest value that is read: the places of the strips of a large scene.
const LARGEST: u64 = 1 << 28;

/// The values of a tag.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    Whole(Vec<u64>),
    Real(Vec<f64>),
    Text(String),
}

/// The tags of the first image of a file.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub little: bool,
    entries: BTreeMap<u16, Values>,
}

/// An unsigned number of up to 8 bytes.
pub(super) fn number(bytes: &[u8], little: bool) -> u64 {
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    if little {
        bytes.iter().rev().fold(0, add)
    } else {
        bytes.iter().fold(0, add)
    }
}

impl Directory {
    /// Reads the directory of an open file.
    ///
    /// # Errors
    /// [`Error::Format`] if it is no TIFF file or the directory is cut short.
    pub(super) fn read(file: &mut File, path: &Path) -> Result<Self> {
        let malformed = |problem: &str| Error::format(path, problem);
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        let mut head = [0; 16];
        let count = read_some(file, &mut head).map_err(Error::io("read", path))?;
        let little = match &head[..count.min(4)] {
            [b'I', b'I', 42 | 43, 0] => true,
            [b'M', b'M', 0, 42 | 43] => false,
            _ => {
                return Err(malformed(
                    "is no TIFF file: it begins with neither II nor MM",
                ));
            }
        };
        let big = number(&head[2..4], little) == 43;
        let (place, counted, width) = if big {
            (number(&head[8..16], little), 8, 20)
        } else {
            (number(&head[4..8], little), 2, 12)
        };
        let cut = || malformed("is cut short within its directory");
        let mut at = |place: u64, bytes: &mut [u8]| -> Result<()> {
            file.seek(SeekFrom::Start(place))
                .and_then(|_| file.read_exact(bytes))
                .map_err(|_| cut())
        };
        let mut total = [0; 8];
        at(place, &mut total[..counted])?;
        let total = number(&total[..counted], little);
        if total
            .checked_mul(width as u64)
            .is_none_or(|bytes| bytes > size)
        {
            return Err(cut());
        }
        let mut table = vec![0; total as usize * width];
        at(place + counted as u64, &mut table)?;
        let mut entries = BTreeMap::new();
        for entry in table.chunks_exact(width) {
            let tag = number(&entry[..2], little) as u16;
            let kind = number(&entry[2..4], little) as u16;
            let (count, inline) = entry[4..].split_at(if big { 8 } else { 4 });
            let count = number(count, little);
            let Some(each) = kind_size(kind) else {
                // Of a kind that nobody knows; the format says to leave such tags out.
                continue;
            };
            let bytes = count.saturating_mul(each as u64);
            if bytes > size.min(LARGEST) {
                let problem = format!("tag {tag} announces {bytes} bytes, more than there are");
                return Err(malformed(&problem));
            }
            let mut value = vec![0; bytes as usize];
            if value.len() <= inline.len() {
                value.copy_from_slice(&inline[..bytes as usize]);
            } else {
                at(number(inline, little), &mut value)?;
            }
            entries.insert(tag, decode(kind, &value, each, little));
        }
        Ok(Self { little, entries })
    }

    /// The whole numbers of a tag; none if it is not there.
    pub(super) fn whole(&self, tag: u16) -> &[u64] {
        match self.entries.get(&tag) {
            Some(Values::Whole(values)) => values,
            _ => &[],
        }
    }

    /// The first number of a tag, or `default`.
    pub(super) fn first(&self, tag: u16, default: u64) -> u64 {
        self.whole(tag).first().copied().unwrap_or(default)
    }

    /// The numbers of a tag; none if it is not there.
    pub(super) fn reals(&self, tag: u16) -> Vec<f64> {
        match self.entries.get(&tag) {
            Some(Values::Real(values)) => values.clone(),
            Some(Values::Whole(values)) => values.iter().map(|&value| value as f64).collect(),
            _ => Vec::new(),
        }
    }

    /// The text of a tag, without what ends it.
    pub(super) fn text(&self, tag: u16) -> Option<&str> {
        match self.entries.get(&tag) {
            Some(Values::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// As many bytes as there are, up to the whole buffer.
fn read_some(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..])? {
            0 => break,
            read => count += read,
        }
    }
    Ok(count)
}

/// Bytes of a value.
fn kind_size(kind: u16) -> Option<usize> {
    Some(match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => return None,
    })
}

fn decode(kind: u16, bytes: &[u8], each: usize, little: bool) -> Values {
    let numbers = bytes.chunks_exact(each).map(|bytes| number(bytes, little));
    let real = Values::Real;
    match kind {
        2 => {
            let text = String::from_utf8_lossy(bytes);
            Values::Text(text.trim_end_matches('\0').to_owned())
        }
        6 => real(numbers.map(|value| f64::from(value as u8 as i8)).collect()),
        8 => real(
            numbers
                .map(|value| f64::from(value as u16 as i16))
                .collect(),
        ),
        9 => real(
            numbers
                .map(|value| f64::from(value as u32 as i32))
                .collect(),
        ),
        17 => real(numbers.map(|value| value as i64 as f64).collect()),
        11 => real(
            numbers
                .map(|value| f64::from(f32::from_bits(value as u32)))
                .collect(),
        ),
        12 => real(numbers.map(f64::from_bits).collect()),
        // Two numbers of four bytes each, the first divided by the second.
        5 | 10 => {
            let parts = bytes
                .chunks_exact(4)
                .map(|bytes| number(bytes, little) as u32);
            let parts: Vec<f64> = match kind {
                5 => parts.map(f64::from).collect(),
                _ => parts.map(|part| f64::from(part as i32)).collect(),
            };
            real(
                parts
                    .chunks_exact(2)
                    .map(|pair| pair[0] / pair[1])
                    .collect(),
            )
        }
        _ => Values::Whole(numbers.collect()),
    }
}
