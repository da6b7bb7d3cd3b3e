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

/// A file `<root>/<slug>/<name>.safetensors`.
#[derive(Debug, PartialEq, Eq)]
pub struct Fixture {
    /// The file.
    pub path: PathBuf,
    /// The system by the metadata; by the folder if the file is damaged.
    pub slug: String,
    /// What the file pins; nothing if it is damaged.
    pub case: Option<String>,
    /// The size of the file in bytes.
    pub bytes: u64,
}

/// The fixtures in the folders below `root`. As for the harness, a readable file without `slug`
/// and `case` in its metadata is none, and a damaged one is.
///
/// # Errors
/// A folder that cannot be read.
pub fn fixtures(root: &Path) -> Result<Vec<Fixture>> {
    let mut found = Vec::new();
    for path in files_below(root)? {
        let below: Vec<_> = path.strip_prefix(root).unwrap_or(&path).iter().collect();
        let &[folder, name] = below.as_slice() else {
            continue;
        };
        if !name.to_string_lossy().ends_with(".safetensors") {
            continue;
        }
        let (slug, case) = match metadata(&path) {
            None => (folder.to_string_lossy().into_owned(), None),
            Some(metadata) => match (metadata["slug"].as_str(), metadata["case"].as_str()) {
                (Some(slug), Some(case)) => (slug.to_owned(), Some(case.to_owned())),
                _ => continue,
            },
        };
        found.push(Fixture {
            bytes: path.metadata().map_or(0, |metadata| metadata.len()),
            path,
            slug,
            case,
        });
    }
    Ok(found)
}

/// The `__metadata__` of a safetensors file, null if it has none.
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
    let header: Value = serde_json::from_slice(&header).ok()?;
    Some(header["__metadata__"].clone())
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
    fn the_metadata_decides_what_a_fixture_is() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("qlae");
        std::fs::create_dir_all(folder.join("deep")).unwrap();
        let metadata = json!({ "slug": "cmim", "case": "loss" });
        for (name, bytes) in [
            ("a.safetensors", safetensors(&metadata)),
            ("damaged.safetensors", vec![255; 8]),
            (
                "foreign.safetensors",
                safetensors(&json!({ "format": "pt" })),
            ),
            ("deep/b.safetensors", safetensors(&metadata)),
            ("README.md", Vec::new()),
        ] {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        let found = fixtures(dir.path()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|f| (f.slug.as_str(), f.case.as_deref()))
            .collect();
        assert_eq!(found, [("cmim", Some("loss")), ("qlae", None)]);
    }
}
