//! PyTorch checkpoints: pickled dictionaries of tensors, of which nothing is executed.

use super::{Scalars, Tensors};
use crate::state_dict::Scalar;
use burn::tensor::{BoolStore, DType};
use menagerie_core::{Error, Result};
use pytorch_reader::{PickleValue, PytorchReader};
use std::{collections::HashMap, path::Path};

pub(crate) fn read(path: &Path) -> Result<(Tensors, Scalars)> {
    let malformed = |problem: String| {
        Error::format(
            path,
            format!("{problem}; expected a checkpoint that `torch.save` wrote"),
        )
    };
    let reader = PytorchReader::new(path).map_err(|error| malformed(error.to_string()))?;
    if reader.is_empty() {
        return Err(malformed("holds no tensors".into()));
    }
    let structure = PytorchReader::read_pickle_data(path, None)
        .map_err(|error| malformed(error.to_string()))?;
    let root = match &structure {
        PickleValue::Dict(entries) => root(entries, &reader),
        _ => String::new(),
    };
    let mut scalars = Scalars::new();
    collect(&structure, String::new(), &root, &mut scalars);
    let tensors = reader
        .tensors()
        .iter()
        .map(|(key, tensor)| {
            let bytes = tensor
                .read()
                .map_err(|error| malformed(error.to_string()))?;
            let data = super::tensor(bytes, tensor.shape().to_vec(), dtype(tensor.dtype()))
                .map_err(|problem| malformed(format!("`{key}`: {problem}")))?;
            let key = key.strip_prefix(&root).unwrap_or(key);
            Ok((key.to_owned(), data))
        })
        .collect::<Result<Tensors>>()?;
    Ok((tensors, scalars))
}

/// The plain values of nested dictionaries under their names joined with dots.
fn collect(value: &PickleValue, name: String, root: &str, scalars: &mut Scalars) {
    let scalar = match value {
        PickleValue::Dict(entries) => {
            for (key, value) in entries {
                let inner = match name.as_str() {
                    "" => key.clone(),
                    outer => format!("{outer}.{key}"),
                };
                collect(value, inner, root, scalars);
            }
            return;
        }
        PickleValue::Bool(value) => Scalar::Bool(*value),
        PickleValue::Int(value) => Scalar::Int(*value),
        PickleValue::Float(value) => Scalar::Float(*value),
        PickleValue::String(value) => Scalar::Text(value.clone()),
        _ => return,
    };
    let name = name.strip_prefix(root).unwrap_or(&name).to_owned();
    scalars.insert(name, scalar);
}

/// The prefix of the innermost dictionary that all tensors lie in, e.g. `state_dict.`.
///
/// Names that merely contain dots are not dictionaries: a model whose every parameter is called
/// `encoder.…` keeps its names.
fn root(entries: &HashMap<String, PickleValue>, reader: &PytorchReader) -> String {
    let mut root = String::new();
    let mut level = entries;
    loop {
        let inside = level.iter().find_map(|(key, value)| {
            let prefix = format!("{root}{key}.");
            let holds_all = reader
                .tensors()
                .keys()
                .all(|name| name.starts_with(&prefix));
            match value {
                PickleValue::Dict(inner) if holds_all => Some((prefix, inner)),
                _ => None,
            }
        });
        match inside {
            Some((prefix, inner)) => (root, level) = (prefix, inner),
            None => return root,
        }
    }
}

fn dtype(dtype: pytorch_reader::DType) -> DType {
    use pytorch_reader::DType as Stored;
    match dtype {
        Stored::F64 => DType::F64,
        Stored::F32 => DType::F32,
        Stored::F16 => DType::F16,
        Stored::BF16 => DType::BF16,
        Stored::I64 => DType::I64,
        Stored::I32 => DType::I32,
        Stored::I16 => DType::I16,
        Stored::I8 => DType::I8,
        Stored::U64 => DType::U64,
        Stored::U32 => DType::U32,
        Stored::U16 => DType::U16,
        Stored::U8 => DType::U8,
        Stored::Bool => DType::Bool(BoolStore::Native),
    }
}
