//! Tensors under official names, with where they came from.

use crate::formats;
use burn::tensor::{DType, TensorData};
use menagerie_core::{Error, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Tensors under official names, in the official layout, with where they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct StateDict {
    origin: String,
    tensors: BTreeMap<String, TensorData>,
    scalars: BTreeMap<String, Scalar>,
}

/// A plain value that stands beside the tensors of a PyTorch checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A string.
    Text(String),
}

impl StateDict {
    /// Reads a `.safetensors`, PyTorch (`.pt`, `.pth`, `.bin`) or NumPy (`.npz`, `.pickle`) file, told
    /// apart by content, else by extension. The arrays of a pickled list are called by their numbers.
    ///
    /// Nested dictionaries of a PyTorch checkpoint are joined with dots. Where all tensors lie
    /// below one entry (`{"state_dict": {…}, "epoch": 3}`), that entry is the root; where they
    /// lie below several, choose one with [`below`](Self::below). Nothing in the file is executed.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::Format`] for one that is truncated,
    /// malformed, of another format, or that holds elements without a counterpart in Burn.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (tensors, scalars) = formats::read(path)?;
        Ok(Self {
            origin: path.display().to_string(),
            tensors,
            scalars,
        })
    }

    /// Tensors that come from elsewhere; `origin` names the place in errors.
    pub fn from_tensors(
        origin: impl Into<String>,
        tensors: impl IntoIterator<Item = (String, TensorData)>,
    ) -> Self {
        Self {
            origin: origin.into(),
            tensors: tensors.into_iter().collect(),
            scalars: BTreeMap::new(),
        }
    }

    /// Writes all tensors as a `.safetensors` file, complete or not at all.
    ///
    /// # Errors
    /// [`Error::Format`] for quantised tensors, which the format cannot hold; [`Error::Io`].
    pub fn save_safetensors(&self, path: impl AsRef<Path>) -> Result<()> {
        formats::safetensors::write(path.as_ref(), &self.tensors)
    }

    /// Where the tensors came from, e.g. a file's path.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The tensor called `key`.
    pub fn get(&self, key: &str) -> Option<&TensorData> {
        self.tensors.get(key)
    }

    /// The plain value called `key`, e.g. a hyper-parameter that a PyTorch checkpoint holds
    /// beside its tensors. Names of nested dictionaries are joined with dots, as for tensors.
    pub fn scalar(&self, key: &str) -> Option<&Scalar> {
        self.scalars.get(key)
    }

    /// All tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorData)> {
        self.tensors.iter().map(|(key, data)| (key.as_str(), data))
    }

    /// All names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Adds a tensor; returns the one that had this name.
    pub fn insert(&mut self, key: impl Into<String>, data: TensorData) -> Option<TensorData> {
        self.tensors.insert(key.into(), data)
    }

    /// Takes the tensor called `key` out, without a copy of it.
    pub fn remove(&mut self, key: &str) -> Option<TensorData> {
        self.tensors.remove(key)
    }

    /// The tensors and plain values below `root.`, without that prefix: one model of a checkpoint
    /// that holds several.
    ///
    /// # Errors
    /// [`Error::Format`] that names the roots there are.
    pub fn below(&self, root: &str) -> Result<Self> {
        let prefix = format!("{}.", root.trim_end_matches('.'));
        let tensors: BTreeMap<_, _> = self
            .tensors
            .iter()
            .filter_map(|(key, data)| Some((key.strip_prefix(&prefix)?.to_owned(), data.clone())))
            .collect();
        if tensors.is_empty() {
            let roots: BTreeSet<&str> = self
                .keys()
                .filter_map(|key| Some(key.split_once('.')?.0))
                .collect();
            let roots: Vec<_> = roots.into_iter().collect();
            return Err(Error::format(
                &self.origin,
                format!(
                    "no tensor below `{prefix}`; there are: {}",
                    roots.join(", ")
                ),
            ));
        }
        let scalars = self
            .scalars
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value.clone())))
            .collect();
        Ok(Self {
            origin: format!("{} ({root})", self.origin),
            tensors,
            scalars,
        })
    }

    /// The same tensors with every floating-point one (`f16`, `bf16`, `f64`) as `f32`.
    ///
    /// # Errors
    /// [`Error::Format`] for a tensor that cannot be converted.
    pub fn into_f32(self) -> Result<Self> {
        let Self {
            origin,
            tensors,
            scalars,
        } = self;
        let tensors = tensors
            .into_iter()
            .map(|(key, data)| {
                let data = match data.dtype() {
                    DType::F64 | DType::F16 | DType::BF16 => data
                        .try_cast(DType::F32)
                        .map_err(|error| Error::format(&origin, format!("`{key}`: {error}")))?,
                    _ => data,
                };
                Ok((key, data))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            origin,
            tensors,
            scalars,
        })
    }
}
