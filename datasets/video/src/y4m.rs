//! YUV4MPEG2: uncompressed planes of luma and chroma after a line of text, the format that players
//! and encoders exchange through pipes (`ffmpeg -i film.mp4 film.y4m`).

use crate::{Clip, clip::MAX_BYTES};
use menagerie_core::{Error, Result};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// The longest line of text.
const MAX_LINE: u64 = 4096;

/// How many luma samples share a chroma sample, along columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chroma {
    columns: usize,
    rows: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    height: usize,
    width: usize,
    /// `None` for luma alone.
    chroma: Option<Chroma>,
}

impl Header {
    /// Bytes of the luma plane and of one chroma plane.
    fn planes(&self) -> Option<(usize, usize)> {
        let luma = self.height.checked_mul(self.width)?;
        let chroma = self.chroma.map_or(0, |chroma| {
            self.height.div_ceil(chroma.rows) * self.width.div_ceil(chroma.columns)
        });
        Some((luma, chroma))
    }
}

/// Reads a whole file: in colour, or with one channel where it holds luma alone.
///
/// Samples are 8 bits in the limited range of ITU-R BT.601 (luma 16..=235, chroma 16..=240), chroma
/// 4:2:0, 4:2:2 or 4:4:4, repeated over the pixels that share it.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be opened; [`Error::Format`] with the path for one that is
/// no YUV4MPEG2, has another kind of samples, or ends within a frame.
pub fn read(path: &Path) -> Result<Clip> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    parse(&mut BufReader::with_capacity(1 << 16, file), path)
}

/// Reads from memory or a pipe; errors name the file `path`.
///
/// # Errors
/// As [`read`].
pub fn parse(reader: &mut dyn BufRead, path: &Path) -> Result<Clip> {
    let fault = |problem: String| Error::format(path, problem);
    let first = line(reader, path)?.ok_or_else(|| fault("is empty".into()))?;
    let header = header(&first).map_err(fault)?;
    let (luma, chroma) = header
        .planes()
        .filter(|(luma, _)| luma.saturating_mul(3) <= MAX_BYTES)
        .ok_or_else(|| fault("has frames of more than 2 GiB".into()))?;
    let size = [header.height, header.width];
    let channels = if header.chroma.is_some() { 3 } else { 1 };
    let mut planes = vec![0; luma + 2 * chroma];
    let mut index = 0;
    let frames = std::iter::from_fn(|| {
        let start = line(reader, path).transpose()?;
        index += 1;
        Some(start.and_then(|start| {
            if start != "FRAME" && !start.starts_with("FRAME ") {
                return Err(fault(format!(
                    "frame {index} starts with `{}`, expected `FRAME`",
                    start.chars().take(20).collect::<String>()
                )));
            }
            let found = fill(reader, &mut planes).map_err(Error::io("read", path))?;
            if found < planes.len() {
                return Err(fault(format!(
                    "is cut short: frame {index} has {found} of {} bytes",
                    planes.len()
                )));
            }
            Ok((pixels(&planes, &header, luma, chroma), size))
        }))
    });
    Clip::collect(frames, channels, |index, problem| {
        fault(format!("frame {} {problem}", index + 1))
    })?
    .ok_or_else(|| fault("holds no frame".into()))
}

/// The next line without its end, `None` at the end of the file.
fn line(reader: &mut dyn BufRead, path: &Path) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_LINE)
        .read_until(b'\n', &mut bytes)
        .map_err(Error::io("read", path))?;
    match bytes.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Some(_) => {
            let problem = "ends, or goes on for 4096 bytes, within a line of text";
            Err(Error::format(path, problem))
        }
    }
}

/// Reads until `bytes` is full or the file ends; how many bytes there were.
fn fill(reader: &mut dyn BufRead, bytes: &mut [u8]) -> std::io::Result<usize> {
    let mut found = 0;
    while found < bytes.len() {
        match reader.read(&mut bytes[found..]) {
            Ok(0) => break,
            Ok(read) => found += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn header(text: &str) -> Result<Header, String> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    if words.next() != Some("YUV4MPEG2") {
        return Err("does not start with `YUV4MPEG2`".into());
    }
    let (mut width, mut height, mut kind) = (None, None, "420");
    let side = |value: &str, name: &str| {
        value
            .parse::<usize>()
            .ok()
            .filter(|side| *side > 0)
            .ok_or_else(|| format!("has the {name} `{value}`, expected a number above 0"))
    };
    for word in words {
        match (word.get(..1), word.get(1..)) {
            (Some("W"), Some(value)) => width = Some(side(value, "width")?),
            (Some("H"), Some(value)) => height = Some(side(value, "height")?),
            (Some("C"), Some(value)) => kind = value,
            _ => {}
        }
    }
    let (Some(width), Some(height)) = (width, height) else {
        return Err(format!("has no width (W) or height (H) in `{text}`"));
    };
    let shared = |columns, rows| Some(Chroma { columns, rows });
    let chroma = match kind {
        "mono" => None,
        // They differ in where the chroma samples lie, by half a pixel.
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => shared(2, 2),
        "422" => shared(2, 1),
        "444" => shared(1, 1),
        other => {
            return Err(format!(
                "has samples of the kind `{other}`, expected mono, 420, 420jpeg, 420mpeg2, \
                 420paldv, 422 or 444 (8 bits)"
            ));
        }
    };
    Ok(Header {
        height,
        width,
        chroma,
    })
}

/// One frame `[height, width, channels]`.
fn pixels(planes: &[u8], header: &Header, luma: usize, chroma: usize) -> Vec<u8> {
    let Some(shared) = header.chroma else {
        return planes[..luma].iter().map(|&y| grey(y)).collect();
    };
    let (y, rest) = planes.split_at(luma);
    let (u, v) = rest.split_at(chroma);
    let columns = header.width.div_ceil(shared.columns);
    let mut pixels = Vec::with_capacity(3 * luma);
    for (row, line) in y.chunks(header.width).enumerate() {
        let start = row / shared.rows * columns;
        for (column, &y) in line.iter().enumerate() {
            let at = start + column / shared.columns;
            pixels.extend(colour(y, u[at], v[at]));
        }
    }
    pixels
}

/// Luma in 16..=235 as 0..=255.
fn grey(y: u8) -> u8 {
    byte((f32::from(y) - 16.0) * (255.0 / 219.0))
}

/// ITU-R BT.601 in the limited range: `R = 1.164 (Y - 16) + 1.596 (V - 128)` and so on.
fn colour(y: u8, u: u8, v: u8) -> [u8; 3] {
    /// Weights of red and blue in the luma.
    const RED: f32 = 0.299;
    const BLUE: f32 = 0.114;
    const GREEN: f32 = 1.0 - RED - BLUE;
    let luma = (f32::from(y) - 16.0) * (255.0 / 219.0);
    let [u, v] = [u, v].map(|chroma| (f32::from(chroma) - 128.0) * (255.0 / 224.0));
    let (red, blue) = (2.0 * (1.0 - RED) * v, 2.0 * (1.0 - BLUE) * u);
    let green = -(RED * red + BLUE * blue) / GREEN;
    [luma + red, luma + green, luma + blue].map(byte)
}

/// The nearest byte; out-of-range values go to the nearest end.
fn byte(value: f32) -> u8 {
    value.round() as u8
}
