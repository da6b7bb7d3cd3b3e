//! Small fixtures on disk.

use burn::tensor::{DType, TensorData};
use safetensors::{Dtype, tensor::TensorView};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

#[derive(Clone)]
pub struct Maker {
    metadata: HashMap<String, String>,
    tensors: BTreeMap<String, TensorData>,
}

impl Maker {
    pub fn new(slug: &str, case: &str) -> Self {
        let metadata = [
            ("slug", slug),
            ("case", case),
            ("config", "{}"),
            ("tol", "1e-5"),
            ("grad_tol", "0.001"),
        ];
        Self {
            metadata: metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            tensors: BTreeMap::new(),
        }
    }

    pub fn tensor(mut self, name: &str, data: impl Into<TensorData>) -> Self {
        self.tensors.insert(name.to_owned(), data.into());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        assert!(self.tensors.remove(name).is_some());
        self
    }

    pub fn metadata(mut self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.metadata.insert(key.to_owned(), value.to_owned()),
            None => self.metadata.remove(key),
        };
        self
    }

    pub fn config(self, json: &str) -> Self {
        self.metadata("config", Some(json))
    }

    pub fn tol(self, tol: &str) -> Self {
        self.metadata("tol", Some(tol))
    }

    /// Writes `dir/<slug>/<name>.safetensors`; without a slug into the folder `toy`.
    pub fn write(self, dir: &Path, name: &str) -> PathBuf {
        let slug = self.metadata.get("slug").map_or("toy", String::as_str);
        let dir = dir.join(slug);
        fs::create_dir_all(&dir).unwrap();
        let views: Vec<_> = self
            .tensors
            .iter()
            .map(|(key, data)| {
                let dtype = match data.dtype() {
                    DType::F32 => Dtype::F32,
                    DType::I64 => Dtype::I64,
                    other => panic!("fixtures hold no {other:?}"),
                };
                let shape = data.shape().to_vec();
                (key, TensorView::new(dtype, shape, data.as_bytes()).unwrap())
            })
            .collect();
        let path = dir.join(format!("{name}.safetensors"));
        fs::write(
            &path,
            safetensors::serialize(views, Some(self.metadata)).unwrap(),
        )
        .unwrap();
        path
    }
}
