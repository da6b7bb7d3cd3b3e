//! IDX, the format of MNIST: a magic number, the size of each dimension, the elements.
//!
//! The magic number is two zero bytes, the type of the elements and the number of dimensions; sizes
//! are 32-bit and everything is big-endian (<http://yann.lecun.com/exdb/mnist/>).

use crate::{
    ImageSet,
    bytes::{decompress, open, read_up_to},
};
use menagerie_core::{Error, Result};
use std::{io::BufRead, path::Path};

/// The largest content that is read, in bytes: a header is no reason to fill the memory.
const MAX_BYTES: usize = 1 << 31;

/// The type of an IDX file's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Unsigned bytes, code `0x08`.
    U8,
    /// Signed bytes, code `0x09`.
    I8,
    /// 16-bit integers, code `0x0b`.
    I16,
    /// 32-bit integers, code `0x0c`.
    I32,
    /// 32-bit floats, code `0x0d`.
    F32,
    /// 64-bit floats, code `0x0e`.
    F64,
}

impl Element {
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x08 => Self::U8,
            0x09 => Self::I8,
            0x0b => Self::I16,
            0x0c => Self::I32,
            0x0d => Self::F32,
            0x0e => Self::F64,
            _ => return None,
        })
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// The content of an IDX file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// The type of the elements.
    pub element: Element,
    /// The size of each dimension, the slowest first.
    pub dims: Vec<usize>,
    /// The elements in row-major order, big-endian: as many bytes as type and sizes say.
    pub data: Vec<u8>,
}

/// Reads the IDX file at `path`, plain or gzip.
///
/// # Errors
/// [`Error::Io`] when it cannot be opened; [`Error::Format`], with what was found and what was
/// expected, when it is not IDX, is shorter than its header says, or is longer.
pub fn read(path: &Path) -> Result<Idx> {
    from_reader(&mut *open(path)?, path)
}

/// Reads an IDX file, plain or gzip, from memory; errors name it `path`.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<Idx> {
    let mut reader = decompress(bytes).map_err(Error::io("read", path))?;
    from_reader(&mut *reader, path)
}

/// Reads unlabelled grey images, `[images, height, width]` unsigned bytes.
///
/// # Errors
/// As [`read`], and [`Error::Format`] for other dimensions or elements.
pub fn read_images(path: &Path) -> Result<ImageSet> {
    let idx = read(path)?;
    match (idx.element, idx.dims.as_slice()) {
        (Element::U8, &[_, height, width]) if height > 0 && width > 0 => {
            ImageSet::new(idx.data, [1, height, width], Vec::new(), Vec::new())
        }
        _ => Err(unsuitable(
            &idx,
            path,
            "images are three dimensions of unsigned bytes",
        )),
    }
}

/// Reads class labels, `[images]` unsigned bytes.
///
/// # Errors
/// As [`read`], and [`Error::Format`] for other dimensions or elements.
pub fn read_labels(path: &Path) -> Result<Vec<usize>> {
    let idx = read(path)?;
    if idx.element != Element::U8 || idx.dims.len() != 1 {
        return Err(unsuitable(
            &idx,
            path,
            "labels are one dimension of unsigned bytes",
        ));
    }
    Ok(idx.data.into_iter().map(usize::from).collect())
}

/// Reads grey images with their labels in the order of `class_names`.
///
/// # Errors
/// As [`read_images`] and [`read_labels`]; [`Error::Format`] where the files hold different numbers
/// of items or a label has no class.
pub fn read_labelled(images: &Path, labels: &Path, class_names: &[&str]) -> Result<ImageSet> {
    let set = read_images(images)?;
    let classes = read_labels(labels)?;
    if classes.len() != set.len() {
        let problem = format!(
            "holds {} labels, but {} holds {} images",
            classes.len(),
            images.display(),
            set.len()
        );
        return Err(Error::format(labels, problem));
    }
    let known = class_names.len();
    if let Some((item, class)) = classes
        .iter()
        .enumerate()
        .find(|(_, class)| **class >= known)
    {
        let problem = format!("label {class} of item {item} must be below {known}");
        return Err(Error::format(labels, problem));
    }
    set.with_labels(
        classes,
        class_names.iter().map(ToString::to_string).collect(),
    )
}

fn unsuitable(idx: &Idx, path: &Path, rule: &str) -> Error {
    Error::format(
        path,
        format!(
            "holds {:?} elements of shape {:?}: {rule}",
            idx.element, idx.dims
        ),
    )
}

fn from_reader(reader: &mut dyn BufRead, path: &Path) -> Result<Idx> {
    let magic = header(reader, path, "the magic number")?;
    let [0, 0, code, rank] = magic else {
        let problem = format!("starts with {magic:02x?}, expected two zero bytes as IDX files do");
        return Err(Error::format(path, problem));
    };
    let element = Element::from_code(code).ok_or_else(|| {
        let problem =
            format!("has the element type {code:#04x}, expected 0x08, 0x09 or 0x0b..=0x0e");
        Error::format(path, problem)
    })?;
    let dims = (0..rank)
        .map(|_| header(reader, path, "the sizes").map(|size| u32::from_be_bytes(size) as usize))
        .collect::<Result<Vec<_>>>()?;
    let expected = dims
        .iter()
        .try_fold(element.size(), |bytes, size| bytes.checked_mul(*size))
        .filter(|bytes| *bytes <= MAX_BYTES)
        .ok_or_else(|| {
            let problem = format!("announces the shape {dims:?}, which is more than 2 GiB");
            Error::format(path, problem)
        })?;
    // One byte more than announced is enough to see that the file is too long.
    let data = read_up_to(reader, expected as u64 + 1, path)?;
    if data.len() > expected {
        let problem =
            format!("goes on after the {expected} bytes of elements that the shape {dims:?} takes");
        return Err(Error::format(path, problem));
    }
    if data.len() < expected {
        let problem = format!(
            "is cut short: {} bytes of elements, expected {expected} for the shape {dims:?}",
            data.len()
        );
        return Err(Error::format(path, problem));
    }
    Ok(Idx {
        element,
        dims,
        data,
    })
}

/// The next four bytes.
fn header(reader: &mut dyn BufRead, path: &Path, what: &str) -> Result<[u8; 4]> {
    let bytes = read_up_to(reader, 4, path)?;
    <[u8; 4]>::try_from(bytes.as_slice()).map_err(|_| {
        Error::format(
            path,
            format!(
                "ends within the header: {} of 4 bytes of {what}",
                bytes.len()
            ),
        )
    })
}
