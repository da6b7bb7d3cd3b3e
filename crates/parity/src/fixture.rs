//! One recorded run of a reference implementation.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use menagerie_core::{Error, Result};
use menagerie_hub::{KeyMap, StateDict};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// One fixture: its tensors and what its metadata says.
#[derive(Clone, Debug)]
pub struct Fixture {
    path: PathBuf,
    slug: String,
    case: String,
    config: String,
    tol: f64,
    grad_tol: f64,
    metadata: HashMap<String, String>,
    tensors: StateDict,
}

impl Fixture {
    /// Reads a fixture.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] for a file that is no safetensors file or whose
    /// metadata lacks `slug`, `case`, `config` or `tol` (and `grad_tol` where it holds gradients),
    /// or has one that is no JSON or no finite, non-negative number.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let metadata = read_metadata(path)?;
        let tensors = StateDict::open(path)?;
        let text = |key: &str| {
            metadata
                .get(key)
                .filter(|value| !value.is_empty())
                .cloned()
                .ok_or_else(|| Error::format(path, format!("no `{key}` in the metadata")))
        };
        let tolerance = |key: &str| {
            let value = text(key)?;
            match value.parse::<f64>() {
                Ok(tol) if tol.is_finite() && tol >= 0.0 => Ok(tol),
                _ => Err(Error::format(
                    path,
                    format!(
                        "metadata `{key}` is `{value}`, expected a finite number of at least 0"
                    ),
                )),
            }
        };
        let config = text("config")?;
        serde_json::from_str::<serde_json::Value>(&config).map_err(|error| {
            Error::format(path, format!("metadata `config` is no JSON: {error}"))
        })?;
        let has_gradients = tensors.keys().any(|key| root(key).starts_with("grad"));
        let grad_tol = if has_gradients || metadata.contains_key("grad_tol") {
            tolerance("grad_tol")?
        } else {
            0.0
        };
        let fixture = Self {
            slug: text("slug")?,
            case: text("case")?,
            tol: tolerance("tol")?,
            path: path.to_path_buf(),
            config,
            grad_tol,
            metadata,
            tensors,
        };
        if fixture.expected().next().is_none() {
            return Err(Error::format(
                path,
                "no out/ and no grad/ tensor: nothing to hold against",
            ));
        }
        Ok(fixture)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The system, e.g. `qlae`.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// What the file pins, e.g. `forward`.
    pub fn case(&self) -> &str {
        &self.case
    }

    /// The tolerance of results, relative to `max(1, max|b|)`.
    pub fn tol(&self) -> f64 {
        self.tol
    }

    /// The tolerance of gradients, relative to `max|b|`.
    pub fn grad_tol(&self) -> f64 {
        self.grad_tol
    }

    /// Another entry of the metadata, e.g. `notes`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The configuration: every size and switch needed to rebuild the module.
    ///
    /// # Errors
    /// [`Error::Format`] that says which field is missing or of another type.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.config)
            .map_err(|error| Error::format(&self.path, format!("metadata `config`: {error}")))
    }

    /// Whether there is an `in/<name>`.
    pub fn has_input(&self, name: &str) -> bool {
        self.tensors.get(&format!("in/{name}")).is_some()
    }

    /// The tensor `in/<name>` as it is stored.
    ///
    /// # Errors
    /// [`Error::Format`] that names the inputs there are.
    pub fn input_data(&self, name: &str) -> Result<&TensorData> {
        self.data("in/", name)
    }

    /// The floating-point tensor `in/<name>` of rank `D` on `device`.
    ///
    /// # Errors
    /// [`Error::Format`] where there is none of that name and rank.
    pub fn input<const D: usize>(&self, name: &str, device: &Device) -> Result<Tensor<D>> {
        let data = self.of_rank::<D>(&format!("in/{name}"), self.input_data(name)?)?;
        Ok(Tensor::from_data(data.clone(), device))
    }

    /// The integer tensor `in/<name>` of rank `D` on `device`; floats that are whole numbers
    /// count as integers.
    ///
    /// # Errors
    /// [`Error::Format`] where there is none of that name and rank.
    pub fn input_int<const D: usize>(&self, name: &str, device: &Device) -> Result<Tensor<D, Int>> {
        let data = self.of_rank::<D>(&format!("in/{name}"), self.input_data(name)?)?;
        if data.dtype().is_float() && data.iter::<f64>().any(|value| value.fract() != 0.0) {
            return Err(Error::format(
                &self.path,
                format!("`in/{name}` holds fractions, expected whole numbers"),
            ));
        }
        let data = data
            .clone()
            .try_cast_as::<i64>()
            .map_err(|error| Error::format(&self.path, format!("`in/{name}`: {error}")))?;
        Ok(Tensor::from_data(data, device))
    }

    /// The tensor `param/<key>` as it is stored.
    ///
    /// # Errors
    /// [`Error::Format`] that names the parameters there are.
    pub fn param_data(&self, key: &str) -> Result<&TensorData> {
        self.data("param/", key)
    }

    /// The floating-point tensor `param/<key>` of rank `D` on `device`.
    ///
    /// # Errors
    /// [`Error::Format`] where there is none of that name and rank.
    pub fn param<const D: usize>(&self, key: &str, device: &Device) -> Result<Tensor<D>> {
        let data = self.of_rank::<D>(&format!("param/{key}"), self.param_data(key)?)?;
        Ok(Tensor::from_data(data.clone(), device))
    }

    /// All weights and buffers under their official keys.
    pub fn weights(&self) -> StateDict {
        let weights = self
            .tensors
            .iter()
            .filter_map(|(key, data)| Some((key.strip_prefix("param/")?.to_owned(), data.clone())));
        StateDict::from_tensors(self.path.display().to_string(), weights)
    }

    /// `module` with the fixture's weights, every weight in its place.
    ///
    /// # Errors
    /// [`Error::Weights`] that lists the missing, unexpected and misshapen keys.
    pub fn load<M: Module>(&self, module: M, map: &KeyMap) -> Result<M> {
        menagerie_hub::load(module, &self.weights(), map)
    }

    /// Every tensor that a case must be held against, by its full name.
    pub fn expected(&self) -> impl Iterator<Item = (&str, &TensorData)> {
        self.tensors
            .iter()
            .filter(|(key, _)| !matches!(root(key), "param" | "in"))
    }

    /// The recorded tensor of a full name such as `out/recon`.
    pub(crate) fn recorded(&self, key: &str) -> Option<&TensorData> {
        self.tensors.get(key)
    }

    fn data(&self, root: &str, name: &str) -> Result<&TensorData> {
        self.tensors.get(&format!("{root}{name}")).ok_or_else(|| {
            let known: Vec<&str> = self
                .tensors
                .keys()
                .filter_map(|key| key.strip_prefix(root))
                .take(20)
                .collect();
            Error::format(
                &self.path,
                format!(
                    "no `{root}{name}`; below {root} there are: {}",
                    known.join(", ")
                ),
            )
        })
    }

    fn of_rank<'a, const D: usize>(
        &self,
        key: &str,
        data: &'a TensorData,
    ) -> Result<&'a TensorData> {
        if data.rank() == D {
            return Ok(data);
        }
        Err(Error::format(
            &self.path,
            format!(
                "`{key}` has shape {:?}, expected {D} axes",
                data.shape().to_vec()
            ),
        ))
    }
}

/// What stands before the first slash.
fn root(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

/// The metadata of a safetensors file, read without its tensors; empty where it has none.
pub(crate) fn read_metadata(path: &Path) -> Result<HashMap<String, String>> {
    let malformed = |problem: String| Error::format(path, problem);
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    let mut header = [0; 8];
    file.read_exact(&mut header).map_err(|_| {
        malformed(format!(
            "truncated: {size} bytes, expected a safetensors header"
        ))
    })?;
    let length = u64::from_le_bytes(header);
    if length > size.saturating_sub(8) {
        return Err(malformed(format!(
            "truncated or no safetensors file: {size} bytes, expected a header of {length}"
        )));
    }
    let mut text = Vec::new();
    file.take(length)
        .read_to_end(&mut text)
        .map_err(Error::io("read", path))?;
    let header: Header = serde_json::from_slice(&text)
        .map_err(|error| malformed(format!("malformed safetensors header: {error}")))?;
    Ok(header.metadata)
}

/// The header of a safetensors file without its tensors.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: HashMap<String, String>,
}
