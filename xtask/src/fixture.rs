//! The metadata of parity fixtures, read without touching a tensor.

use crate::{fault::Result, workspace::files_below};
use serde_json::Value;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// The most that a safetensors header can reasonably take; a larger one is no fixture.
const HEADER_LIMIT: u64 = 100 << 20;

/// A fixture file.
#[derive(Debug, PartialEq, Eq)]
pub struct Fixture {
    /// The file.
    pub path: PathBuf,
    /// The system, by the metadata, else by the folder below the fixtures' root.
    pub slug: String,
    /// What the file pins, if the metadata says so.
    pub case: Option<String>,
    /// The size of the file in bytes.
    pub bytes: u64,
}

/// Every fixture below `root`.
///
/// # Errors
/// A folder that cannot be read.
pub fn fixtures(root: &Path) -> Result<Vec<Fixture>> {
    let mut found = Vec::new();
    for path in files_below(root)? {
        if path
            .extension()
            .is_none_or(|extension| extension != "safetensors")
        {
            continue;
        }
        let metadata = metadata(&path).unwrap_or_default();
        let text = |key: &str| metadata.get(key).and_then(Value::as_str).map(String::from);
        let folder = || {
            let below = path.strip_prefix(root).unwrap_or(&path);
            let first = below.iter().next().unwrap_or_default();
            first.to_string_lossy().into_owned()
        };
        found.push(Fixture {
            slug: text("slug").unwrap_or_else(folder),
            case: text("case"),
            bytes: path.metadata().map_or(0, |metadata| metadata.len()),
            path,
        });
    }
    Ok(found)
}

/// The `__metadata__` of a safetensors file.
fn metadata(path: &Path) -> Option<Value> {
    let mut file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_LIMIT {
        return None;
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).ok()?;
    let mut header: Value = serde_json::from_slice(&header).ok()?;
    Some(header.get_mut("__metadata__")?.take())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    /// The bytes of a safetensors file without tensors.
    pub fn safetensors(metadata: &Value) -> Vec<u8> {
        let header = json!({ "__metadata__": metadata }).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes
    }

    #[test]
    fn the_metadata_decides_and_the_folder_is_the_fallback() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("qlae/deep");
        std::fs::create_dir_all(&folder).unwrap();
        let metadata = json!({ "slug": "cmim", "case": "loss" });
        std::fs::write(folder.join("a.safetensors"), safetensors(&metadata)).unwrap();
        std::fs::write(
            folder.join("b.safetensors"),
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
        )
        .unwrap();
        std::fs::write(folder.join("README.md"), "").unwrap();
        let found = fixtures(dir.path()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|f| (f.slug.as_str(), f.case.as_deref()))
            .collect();
        assert_eq!(found, [("cmim", Some("loss")), ("qlae", None)]);
    }
}
