//! `.npz`: a zip archive of `.npy` arrays.
//!
//! The `.npy` header is read here rather than by a crate, because it must not panic on a shape
//! whose number of elements overflows and nothing but plain arrays is wanted of it.

use super::Tensors;
use crate::axes;
use burn::tensor::{BoolStore, DType, TensorData};
use menagerie_core::{Error, Result};
use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};
use zip::ZipArchive;

type Archive = ZipArchive<BufReader<File>>;

fn open(path: &Path) -> Result<Archive> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    ZipArchive::new(BufReader::new(file)).map_err(|error| {
        Error::format(
            path,
            format!("truncated or damaged archive ({error}); expected a whole .npz or .pt file"),
        )
    })
}

/// Whether a zip archive holds arrays rather than a PyTorch checkpoint.
pub(crate) fn is_npz(path: &Path) -> Result<bool> {
    let archive = open(path)?;
    let mut names = archive.file_names();
    Ok(names.any(|name| name.is_ok_and(|name| name.ends_with(".npy"))))
}

pub(crate) fn read(path: &Path) -> Result<Tensors> {
    let mut archive = open(path)?;
    let mut tensors = Tensors::new();
    for index in 0..archive.len() {
        let damaged =
            |name: &str, problem: String| Error::format(path, format!("array `{name}`: {problem}"));
        let mut entry = archive
            .by_index(index)
            .map_err(|error| damaged(&index.to_string(), error.to_string()))?;
        let full_name = entry
            .name()
            .map_err(|error| damaged(&index.to_string(), error.to_string()))?
            .into_owned();
        let Some(name) = full_name.strip_suffix(".npy") else {
            continue;
        };
        let mut bytes = Vec::new();
        entry
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(name, format!("damaged or truncated: {error}")))?;
        let data = parse(&bytes).map_err(|problem| damaged(name, problem))?;
        tensors.insert(name.to_owned(), data);
    }
    if tensors.is_empty() {
        return Err(Error::format(
            path,
            "no arrays, expected at least one .npy entry",
        ));
    }
    Ok(tensors)
}

/// One `.npy` array.
fn parse(bytes: &[u8]) -> Result<TensorData, String> {
    let (header, data) = split_header(bytes)?;
    let descr = quoted(value(header, "descr")?)
        .ok_or("structured elements, expected a plain numeric array")?;
    let shape = shape(value(header, "shape")?)?;
    let fortran = value(header, "fortran_order")?.starts_with("True");
    array(descr, &shape, fortran, data)
}

/// An array of elements `descr`, e.g. `<f4`, from the bytes of its elements, column by column if
/// `fortran`.
pub(super) fn array(
    descr: &str,
    shape: &[usize],
    fortran: bool,
    data: &[u8],
) -> Result<TensorData, String> {
    let (big_endian, dtype) = dtype(descr)?;

    let expected = shape
        .iter()
        .try_fold(dtype.size(), |size, extent| size.checked_mul(*extent))
        .ok_or_else(|| format!("shape {shape:?} is beyond any memory"))?;
    if data.len() != expected {
        return Err(format!(
            "{} bytes of data, expected {expected} for shape {shape:?} of `{descr}`",
            data.len()
        ));
    }
    let mut data = data.to_vec();
    if big_endian {
        for element in data.chunks_exact_mut(dtype.size()) {
            element.reverse();
        }
    }
    if fortran && shape.len() > 1 {
        // Column-major storage is the row-major storage of the transposed array.
        let reversed: Vec<usize> = shape.iter().rev().copied().collect();
        let axes: Vec<usize> = (0..shape.len()).rev().collect();
        return axes::permute(&super::tensor(data, reversed, dtype)?, &axes);
    }
    super::tensor(data, shape.to_vec(), dtype)
}

/// The dictionary of a `.npy` file as text, and the bytes after it.
fn split_header(bytes: &[u8]) -> Result<(&str, &[u8]), String> {
    let rest = bytes
        .strip_prefix(b"\x93NUMPY")
        .ok_or("no NumPy magic at its start")?;
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (u16::from_le_bytes([*a, *b]).into(), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [version, ..] => return Err(format!("truncated, or of the unknown version {version}")),
        [] => return Err("truncated after its magic".into()),
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(|| {
        format!(
            "truncated: {} bytes, expected a header of {length}",
            rest.len()
        )
    })?;
    let header = std::str::from_utf8(header).map_err(|_| "a header that is not text")?;
    Ok((header, data))
}

/// What stands behind `'key':` in the header.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    ["'", "\""]
        .iter()
        .find_map(|quote| {
            let after = header.split_once(&format!("{quote}{key}{quote}"))?.1;
            Some(after.trim_start().strip_prefix(':')?.trim_start())
        })
        .ok_or_else(|| format!("no `{key}` in the header"))
}

/// The text between the quotes that `value` begins with.
fn quoted(value: &str) -> Option<&str> {
    let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    value[1..].split_once(quote).map(|(text, _)| text)
}

fn shape(value: &str) -> Result<Vec<usize>, String> {
    let inside = value
        .strip_prefix('(')
        .and_then(|value| value.split_once(')'))
        .ok_or("no tuple for a shape in the header")?
        .0;
    inside
        .split(',')
        .map(str::trim)
        .filter(|extent| !extent.is_empty())
        .map(|extent| {
            let digits = extent.trim_end_matches('L');
            digits
                .parse()
                .map_err(|_| format!("the extent `{extent}` in its shape"))
        })
        .collect()
}

/// Whether the elements are big-endian, and their type.
fn dtype(descr: &str) -> Result<(bool, DType), String> {
    let unsupported = || format!("elements of type `{descr}` are not supported");
    let mut characters = descr.chars();
    let big_endian = match characters.next() {
        Some('<' | '|' | '=') => false,
        Some('>') => true,
        _ => return Err(unsupported()),
    };
    let dtype = match characters.as_str() {
        "f8" => DType::F64,
        "f4" => DType::F32,
        "f2" => DType::F16,
        "i8" => DType::I64,
        "i4" => DType::I32,
        "i2" => DType::I16,
        "i1" => DType::I8,
        "u8" => DType::U64,
        "u4" => DType::U32,
        "u2" => DType::U16,
        "u1" => DType::U8,
        "b1" => DType::Bool(BoolStore::Native),
        _ => return Err(unsupported()),
    };
    Ok((big_endian, dtype))
}
