//! `.safetensors`: a JSON header of names, types and offsets, then the bytes.

use super::Tensors;
use burn::tensor::{BoolStore, DType};
use menagerie_core::{Error, Result, fs};
use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorView},
};
use serde_json::Value;
use std::path::Path;

pub(crate) fn read(path: &Path) -> Result<Tensors> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    parse(path, &bytes)
}

/// The tensors in `bytes`; `path` names the file in errors.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Tensors> {
    check_length(path, bytes)?;
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::format(path, format!("malformed safetensors header: {error}")))?;
    file.iter()
        .map(|(key, view)| {
            let shape = view.shape().to_vec();
            let data = dtype(view.dtype())
                .and_then(|dtype| super::tensor(view.data().to_vec(), shape, dtype))
                .map_err(|problem| Error::format(path, format!("`{key}`: {problem}")))?;
            Ok((key.to_owned(), data))
        })
        .collect()
}

/// Says how much is missing, where the library says only that something is.
fn check_length(path: &Path, bytes: &[u8]) -> Result<()> {
    let found = bytes.len() as u64;
    let Some(length) = bytes.first_chunk::<8>() else {
        return Err(Error::format(
            path,
            format!("truncated: {found} bytes, expected at least the 8 of the header's length"),
        ));
    };
    let header = u64::from_le_bytes(*length).saturating_add(8);
    if header > found {
        return Err(Error::format(
            path,
            format!(
                "truncated or no safetensors file: {found} bytes, expected a header of {header}"
            ),
        ));
    }
    // A header that cannot be parsed is for the library to describe.
    let parsed = bytes
        .get(8..header as usize)
        .and_then(|text| serde_json::from_slice(text).ok());
    let Some(Value::Object(entries)) = parsed else {
        return Ok(());
    };
    let ends = entries
        .values()
        .filter_map(|entry| entry.get("data_offsets")?.get(1)?.as_u64());
    let expected = header.saturating_add(ends.max().unwrap_or(0));
    if expected != found {
        let what = if found < expected {
            "truncated"
        } else {
            "too long"
        };
        return Err(Error::format(
            path,
            format!("{what}: {found} bytes, expected {expected}"),
        ));
    }
    Ok(())
}

pub(crate) fn write(path: &Path, tensors: &Tensors) -> Result<()> {
    let views = tensors
        .iter()
        .map(|(key, data)| {
            let dtype = official_dtype(data.dtype())
                .ok_or_else(|| Error::format(path, format!("`{key}` is {:?}", data.dtype())))?;
            let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes())
                .map_err(|error| Error::format(path, format!("`{key}`: {error}")))?;
            Ok((key.as_str(), view))
        })
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, None)
        .map_err(|error| Error::format(path, format!("cannot be serialised: {error}")))?;
    fs::write(path, bytes)
}

fn dtype(dtype: Dtype) -> Result<DType, String> {
    Ok(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool(BoolStore::Native),
        other => return Err(format!("elements of type {other:?} are not supported")),
    })
}

fn official_dtype(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 | DType::Flex32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 | DType::Bool(BoolStore::U32) => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool(_) => Dtype::BOOL,
        DType::QFloat(_) => return None,
    })
}
