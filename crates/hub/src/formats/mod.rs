//! The file formats in which weights are published.

mod numpy;
mod pickle;
mod pytorch;
pub(crate) mod safetensors;

use crate::state_dict::Scalar;
use burn::tensor::{DType, TensorData};
use menagerie_core::{Error, Result};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

/// Tensors under their names.
pub(crate) type Tensors = BTreeMap<String, TensorData>;

/// Values that are no tensors under their names.
pub(crate) type Scalars = BTreeMap<String, Scalar>;

/// A tensor from the bytes of a file, which are row-major and little-endian.
///
/// `Err` says what does not fit.
fn tensor(bytes: Vec<u8>, shape: Vec<usize>, dtype: DType) -> Result<TensorData, String> {
    TensorData::try_from_bytes_vec(bytes, shape, dtype).map_err(|error| error.to_string())
}

/// Reads the tensors of `path`, whatever its format, and the values beside them.
pub(crate) fn read(path: &Path) -> Result<(Tensors, Scalars)> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let is_dir = file.metadata().is_ok_and(|metadata| metadata.is_dir());
    if is_dir {
        return Err(Error::format(
            path,
            "is a folder, expected a file of weights",
        ));
    }
    let mut head = Vec::with_capacity(16);
    BufReader::new(file)
        .take(16)
        .read_to_end(&mut head)
        .map_err(Error::io("read", path))?;
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let alone = |tensors| (tensors, Scalars::new());
    match Format::of(&head, &extension) {
        Some(Format::Safetensors) => safetensors::read(path).map(alone),
        Some(Format::Zip) if numpy::is_npz(path)? => numpy::read(path).map(alone),
        Some(Format::Zip | Format::PyTorch) => pytorch::read(path),
        Some(Format::Npz) => numpy::read(path).map(alone),
        Some(Format::Pickle) => pickle::read(path).map(alone),
        None => Err(Error::format(
            path,
            format!(
                "{} bytes that begin with {head:02x?} are no weights; expected .safetensors, .pt, .pth, .bin, .npz or .pickle",
                std::fs::metadata(path).map_or(0, |metadata| metadata.len())
            ),
        )),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Safetensors,
    Zip,
    PyTorch,
    Npz,
    Pickle,
}

impl Format {
    fn of(head: &[u8], extension: &str) -> Option<Self> {
        match head {
            [b'P', b'K', 3 | 5, 4 | 6, ..] => return Some(Self::Zip),
            [_, _, _, _, _, _, _, _, b'{', ..] => return Some(Self::Safetensors),
            [0x80, 1..=5, ..] if matches!(extension, "pickle" | "pkl") => {
                return Some(Self::Pickle);
            }
            // The protocol byte of a pickle stream.
            [0x80, 1..=5, ..] => return Some(Self::PyTorch),
            _ => {}
        }
        match extension {
            "safetensors" => Some(Self::Safetensors),
            "pt" | "pth" | "bin" | "ckpt" => Some(Self::PyTorch),
            "npz" => Some(Self::Npz),
            _ => None,
        }
    }
}
